//! 100,000 subjects that do their worst stay below 200 MiB. A process of its own: it counts
//! what is resident.

use std::net::{IpAddr, SocketAddr};

use engine::{Connection, DetectSettings, Detector, Observation, Subject, Timestamp, Transport};
use protocols::dns::Question;
use protocols::http::HttpFacts;
use protocols::irc::IrcFacts;
use protocols::{App, Facts, Side};

const SUBJECTS: u32 = 100_000;
const WORST: u32 = 2_000;
const ALL: u32 = 40_000;
const LIMIT_BYTES: u64 = 200 * 1024 * 1024;

#[test]
fn a_hundred_thousand_hostile_subjects() {
    let Some(before) = resident() else {
        eprintln!("skipped: no /proc/self/statm");
        return;
    };
    let mut detector = Detector::new(DetectSettings::default());
    let facts = irc();
    let mut most = 0;
    // Some do all that they can, then more than there is room for do something of each kind:
    // here the bytes are the bound, in the test below the number.
    for number in 0..ALL {
        let subject = Subject::Host(IpAddr::from(number.to_be_bytes()));
        let times = if number < WORST { 24 } else { 1 };
        worst(&mut detector, &subject, number, times, &facts);
        if number % 8192 == 0 {
            most = most.max(resident().unwrap_or(0));
        }
    }
    most = most.max(resident().unwrap_or(0)).saturating_sub(before);
    eprintln!(
        "{} subjects, {} forgotten, {} MiB",
        detector.subjects(),
        detector.forgotten(),
        most >> 20
    );
    assert!(detector.subjects() <= SUBJECTS as usize);
    assert_eq!(
        detector.subjects() as u64 + detector.forgotten(),
        u64::from(ALL)
    );
    assert!(most < LIMIT_BYTES, "{} MiB", most >> 20);
}

#[test]
fn a_hundred_thousand_ordinary_subjects_are_all_kept() {
    let mut detector = Detector::new(DetectSettings::default());
    for number in 0..SUBJECTS {
        let subject = Subject::Host(IpAddr::from(number.to_be_bytes()));
        for visit in 0..6 {
            let opened = Observation::Opened(Connection {
                id: visit,
                transport: Transport::Tcp,
                destination: SocketAddr::from(([198, 51, 100, visit as u8 % 3], 443)),
            });
            detector.observe(&subject, &opened, Timestamp(visit * 1_000_000_000));
        }
    }
    assert_eq!(
        (detector.subjects(), detector.forgotten()),
        (SUBJECTS as usize, 0)
    );
}

/// All kinds of conduct, with texts as long as they are let in.
fn worst(detector: &mut Detector, subject: &Subject, number: u32, times: u32, facts: &Facts) {
    let mut now = u64::from(number);
    let mut see = |observation: &Observation<'_>| {
        now += 1_000_000;
        detector.observe(subject, observation, Timestamp(now));
    };
    for id in 0..times {
        let connection = Connection {
            id: u64::from(id),
            transport: Transport::Tcp,
            destination: SocketAddr::from(([198, 51, id as u8, number as u8], 1024 + id as u16)),
        };
        let host = format!("{id}{}", "h".repeat(250));
        let http = Facts::Http(Box::new(HttpFacts {
            method: "GET".into(),
            target: format!("/{}?{id}", "t".repeat(180)),
            host: Some(host.clone()),
            accept: false,
        }));
        see(&Observation::Opened(connection));
        see(&Observation::Failed(connection));
        see(&Observation::Refused {
            destination: Some(connection.destination),
        });
        see(&Observation::Inbound {
            connection,
            quiet_ns: 60_000_000_000,
        });
        see(&Observation::Recognised {
            connection,
            app: App::Irc,
            facts,
            own_chat: false,
        });
        see(&Observation::Recognised {
            connection,
            app: App::Http,
            facts: &http,
            own_chat: false,
        });
        for record_type in [1, 15] {
            let name = format!("mx.{host}.example");
            see(&Observation::Query(&Question { name, record_type }));
        }
        let udp = Connection {
            transport: Transport::Udp,
            ..connection
        };
        see(&Observation::Closed {
            connection: udp,
            bytes_up: 1,
            bytes_down: 0,
        });
    }
}

fn irc() -> Facts {
    let mut facts = IrcFacts::default();
    facts.line(
        Side::Client,
        format!("NICK USA|XP|{}", "9".repeat(50)).as_bytes(),
    );
    for number in 0..16 {
        let line = format!("JOIN #{number}{} key", "c".repeat(60));
        facts.line(Side::Client, line.as_bytes());
        let line = format!(":m!u@h PRIVMSG #x{number} :.advscan {}", "s".repeat(190));
        facts.line(Side::Server, line.as_bytes());
        facts.line(
            Side::Client,
            format!("PRIVMSG #x :[SCAN]: {number} {}", "r".repeat(190)).as_bytes(),
        );
    }
    Facts::Irc(Box::new(facts))
}

fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
