//! Mail: fan-out, lookups, and who sends much of it honestly.

use super::*;

#[test]
fn mail_ports_come_from_the_settings() {
    let fans_out = |mail_ports: &[u16], port: u16, later: Option<&[u16]>| {
        let mut scene = Scene::new();
        scene.detector = Detector::new(DetectSettings {
            mail_ports: mail_ports.to_vec(),
            ..DetectSettings::default()
        });
        if let Some(later) = later {
            scene.detector.set_mail_ports(later.to_vec());
        }
        for number in 0..12 {
            let connection = Connection {
                id: number,
                transport: Transport::Tcp,
                destination: host(number, port),
            };
            scene.see(1.0, &Observation::Opened(connection));
        }
        scene.has(Sign::FanOut)
    };
    assert!(fans_out(&[25], 25, None) && !fans_out(&[25], 2525, None));
    assert!(fans_out(&[2525], 2525, None) && !fans_out(&[2525], 25, None));
    assert!(fans_out(&[25], 2525, Some(&[2525])));
}

#[test]
fn second_generation() {
    let mut scene = Scene::new();
    scene.lookups(0.0, 15, &EXCHANGERS[..2]);
    assert!(!scene.has(Sign::MxLookups), "a look by hand");
    scene.lookups(0.0, 15, &EXCHANGERS);
    assert!(scene.has(Sign::MxLookups));
}

#[test]
fn third_generation() {
    let guess = |names: &[&str], exchangers: bool| {
        let mut scene = Scene::new();
        if exchangers {
            scene.lookups(0.0, 15, &["a.example"]);
        }
        for (number, name) in names.iter().enumerate() {
            let seconds = 5.0 * number as f64;
            scene.lookups(seconds, 1, &[name]);
            scene.see(
                seconds + 0.2,
                &Observation::Refused {
                    destination: Some(host(number as u64, 25)),
                },
            );
        }
        scene.has(Sign::MailHostLookups)
    };
    let hosts = ["mx1.a.example", "mail.b.example", "smtp.c.example"];
    assert!(guess(&hosts, false));
    assert!(!guess(&hosts, true), "it asked for exchangers");
    assert!(!guess(&["smtp.a.example"; 3], false), "one's own server");
    assert!(!guess(
        &["www.a.example", "www.b.example", "cdn.c.example"],
        false
    ));
}

#[test]
fn a_mail_server_is_no_bot() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK postmaster", "JOIN #mail"], false);
    scene.see(1.0, &Observation::Served { app: App::Smtp });
    for round in 0..20 {
        scene.see(
            f64::from(round) * 60.0,
            &Observation::Opened(to(9, "203.0.113.8:443")),
        );
    }
    scene.lookups(1300.0, 15, &EXCHANGERS);
    scene.mail(1301.0, 40);
    assert!(scene.has(Sign::FanOut) && scene.has(Sign::MxLookups));
    assert_eq!(scene.told, []);
}

#[test]
fn a_mailer_that_is_not_registered_is_no_bot() {
    let mut scene = Scene::new();
    let connection = to(1, "198.51.100.7:993");
    for round in 0..5 {
        let seconds = 300.0 * f64::from(round);
        let came = Observation::Inbound {
            connection,
            quiet_ns: 290 * SECOND,
        };
        scene.see(seconds, &came);
        let there = Some("198.51.100.8:587".parse().unwrap());
        scene.see(seconds + 1.0, &Observation::Refused { destination: there });
    }
    assert_eq!(scene.signs(1300.0), [Sign::RefusedMail]);
    assert_eq!(scene.told, []);
}
