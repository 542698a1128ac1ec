//! How often something is told, what clocks do, and that nothing hostile breaks it.

use proptest::prelude::*;

use super::*;

#[test]
fn a_suspicion_that_grows_is_told_once_a_minute() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK a", "JOIN #x"], false);
    scene.said(1.0, Side::Server, Some("m"), ".advscan lsass 100");
    scene.said(2.0, Side::Client, None, "[SCAN]: started");
    assert_eq!(scene.told.len(), 1);
    scene.lookups(3.0, 15, &EXCHANGERS);
    scene.mail(4.0, 11);
    assert_eq!(scene.told.len(), 1);
    scene.said(63.0, Side::Server, Some("m"), "well done");
    assert_eq!(scene.told.len(), 2);
    assert_eq!(scene.told[1].since, scene.told[0].since);
    scene.said(200.0, Side::Server, Some("m"), "again");
    assert_eq!(scene.told.len(), 2);
}

#[test]
fn a_clock_that_is_set_back_begins_anew() {
    let mut scene = Scene::new();
    scene.mail(90_000.0, 11);
    assert!(scene.signs(90_001.0).contains(&Sign::FanOut));
    scene.mail(0.0, 1);
    assert!(!scene.signs(1.0).contains(&Sign::FanOut));
}

#[test]
fn what_the_engine_counts_itself_is_not_told_twice() {
    let mut scene = Scene::new();
    for number in 0..9 {
        scene.see(
            1.0,
            &Observation::Refused {
                destination: Some(host(number, 25)),
            },
        );
    }
    scene.lookups(2.0, 15, &EXCHANGERS);
    let evidence = scene.detector.evidence(&subject(), at(3.0));
    assert_eq!(
        evidence.iter().map(|one| one.what).collect::<Vec<_>>(),
        [Sign::MxLookups]
    );
}

fn any_observation() -> impl Strategy<Value = (u8, u64, u16, u64, String)> {
    (
        0u8..9,
        0u64..300,
        prop_oneof![Just(25u16), Just(80), any::<u16>()],
        0..200_000 * SECOND,
        "[.!]?(advscan|scan|udp)? ?[0-9a-z./:?=]{0,20}",
    )
}

proptest! {
    #[test]
    fn never_panics_and_is_bounded(seen in prop::collection::vec(any_observation(), 0..300)) {
        let settings = DetectSettings { subjects_max: 4, detail_max_bytes: 24 * 1024, ..DetectSettings::default() };
        let mut detector = Detector::new(settings);
        for (kind, number, port, time, words) in seen {
            let connection = Connection { id: number % 7, transport: if number % 2 == 0 { Transport::Udp } else { Transport::Tcp }, destination: host(number, port) };
            let mut facts = IrcFacts::default();
            facts.line(Side::Client, format!("JOIN #{words} {words}").as_bytes());
            facts.line(Side::Server, format!(":a!b@192.0.2.{} PRIVMSG #x :{words}", number % 256).as_bytes());
            let text = facts.texts.first().cloned();
            let http = Facts::Http(Box::new(HttpFacts { method: "GET".into(), target: words.clone(), host: Some(words.clone()), accept: false }));
            let irc = Facts::Irc(Box::new(facts));
            let question = Question { name: format!("mx.{words}"), record_type: if number % 3 == 0 { 15 } else { 1 } };
            let observation = match kind {
                0 => Observation::Opened(connection),
                1 => Observation::Failed(connection),
                2 => Observation::Refused { destination: Some(connection.destination) },
                3 => Observation::Burst { connections: u32::from(port), over_ns: time },
                4 => Observation::Inbound { connection, quiet_ns: time },
                5 => Observation::Recognised { connection, app: if number % 2 == 0 { App::Irc } else { App::Http }, facts: if number % 2 == 0 { &irc } else { &http }, own_chat: number % 5 == 0 },
                6 => match &text {
                    Some(text) => Observation::Irc { connection, text },
                    None => Observation::Served { app: App::Smtp },
                },
                7 => Observation::Query(&question),
                _ => Observation::Closed { connection, bytes_up: number, bytes_down: time % 2 },
            };
            let subject = Subject::Host(host(number % 9, 0).ip());
            let _ = detector.observe(&subject, &observation, Timestamp(time));
            prop_assert!(detector.subjects() <= 4);
            let _ = detector.suspicions(Timestamp(time)).count();
        }
    }
}

/// The same words make one host worse and give another one away: neither hides the other.
#[test]
fn two_suspicions_at_the_same_moment_are_both_told() {
    let mut scene = Scene::new();
    scene.irc(0.0, &["NICK a", "JOIN #x"], false);
    scene.said(1.0, Side::Server, Some("m"), ".advscan lsass 100");
    scene.said(2.0, Side::Client, None, "[SCAN]: started");
    scene.lookups(3.0, 15, &EXCHANGERS);
    scene.mail(4.0, 11);
    scene.said(5.0, Side::Client, None, ".advscan lsass 100 5 0 -r");
    assert_eq!(scene.told.len(), 1);
    let other = Some("b@192.0.2.99");
    scene.said(70.0, Side::Server, other, "[SCAN]: started");
    let told = scene.told[1..].iter().map(|one| one.subject.clone());
    let bot = Subject::Host("192.0.2.99".parse().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), [subject(), bot]);
}
