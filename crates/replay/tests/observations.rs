//! What the hosts of a capture did, as it is told.

mod common;

use std::net::IpAddr;

use common::talks::{Talk, lookup, reset, syn, timed_pcap};
use common::*;
use engine::{Observation, Sign, Subject, Timestamp};
use replay::{FlowRecord, Hosts, Input, Settings, Sink};

const SECOND: u64 = 1_000_000_000;

/// Keeps what it is told, in short words, and weighs it.
#[derive(Default)]
struct Diary {
    lines: Vec<String>,
    hosts: Hosts,
}

impl Sink for Diary {
    fn flow(&mut self, _flow: FlowRecord) {}

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        let what = match observation {
            Observation::Opened(there) => format!("opened {}", there.destination),
            Observation::Failed(there) => format!("failed {}", there.destination),
            Observation::Inbound { quiet_ns, .. } => format!("inbound {}", quiet_ns / SECOND),
            Observation::Recognised { app, .. } => format!("is {}", app.word()),
            Observation::Irc { text, .. } => format!("said {}", text.text),
            Observation::Served { app } => format!("serves {}", app.word()),
            Observation::Query(question) => {
                format!("asked {} {}", question.record_type, question.name)
            }
            Observation::Closed {
                bytes_up,
                bytes_down,
                ..
            } => format!("closed {bytes_up} {bytes_down}"),
            other => format!("{other:?}"),
        };
        self.lines.push(format!("{host} {what}"));
        self.hosts.observe(host, observation, Timestamp(time_ns));
    }
}

fn told(packets: &[(f64, Vec<u8>)]) -> Diary {
    let mut diary = Diary::default();
    let input = Input::new(std::io::Cursor::new(timed_pcap(packets)));
    replay::replay_into(input, &Settings::default(), &mut diary).unwrap();
    diary
}

#[test]
fn an_order_an_hour_later() {
    let mut talk = Talk::new(0.0, 40_000, SERVER);
    talk.say(1.0, true, "NICK a\r\nUSER a 0 * :a\r\n");
    talk.say(1.1, false, ":irc.example 001 a :hi\r\n");
    talk.say(1.2, true, "JOIN #x key\r\n");
    // More than a classifier looks at.
    for number in 0..900 {
        talk.say(
            2.0 + f64::from(number),
            false,
            &format!(":m!u@h PRIVMSG #x :{}\r\n", "words ".repeat(12)),
        );
    }
    talk.say(3300.0, false, ":m!u@h PRIVMSG #x :.advsc");
    talk.say(3300.1, false, "an lsass 100 5\r\n");
    let diary = told(&talk.packets);
    assert!(
        diary
            .lines
            .contains(&"192.0.2.1 said .advscan lsass 100 5".to_owned())
    );
    assert!(
        diary.lines.contains(&"192.0.2.1 inbound 2399".to_owned()),
        "{:?}",
        diary.lines.last()
    );
    assert_eq!(
        diary
            .lines
            .iter()
            .filter(|line| line.ends_with("is irc"))
            .count(),
        2,
        "renewed by the key"
    );
}

#[test]
fn what_came_to_nothing() {
    let dead = ([198, 51, 100, 9], 445);
    let diary = told(&[
        syn(0.0, 1000, dead),
        syn(1.0, 1000, dead),
        syn(1.0, 1001, SERVER),
        reset(1.1, 1001, SERVER),
        syn(9.0, 1002, SERVER),
    ]);
    let failed: Vec<_> = diary
        .lines
        .iter()
        .filter(|line| line.contains("failed"))
        .collect();
    assert_eq!(
        failed,
        [
            "192.0.2.1 failed 198.51.100.7:9999",
            "192.0.2.1 failed 198.51.100.9:445",
            "192.0.2.1 failed 198.51.100.7:9999"
        ]
    );
    assert_eq!(
        diary
            .lines
            .iter()
            .filter(|line| line.contains("opened"))
            .count(),
        3
    );
}

#[test]
fn all_questions_of_a_flow() {
    let packets: Vec<_> = ["a.example", "b.example", "c.example"]
        .iter()
        .enumerate()
        .map(|(at, name)| lookup(at as f64, 5353, name, 15))
        .collect();
    let diary = told(&packets);
    for name in ["a", "b", "c"] {
        assert!(
            diary
                .lines
                .contains(&format!("192.0.2.1 asked 15 {name}.example"))
        );
    }
}

/// A spam bot from its order to its mail, in one capture; its server and its victims are
/// nothing to speak of.
#[test]
fn the_bot_is_found_and_nobody_else() {
    let mut talk = Talk::new(0.0, 40_000, ([198, 51, 100, 7], 8080));
    talk.say(1.0, true, "NICK DEU|XP|471147\r\nUSER a 0 * :a\r\n");
    talk.say(1.1, false, ":irc.example 001 DEU|XP|471147 :hi\r\n");
    talk.say(1.2, true, "JOIN #x key\r\n");
    talk.say(
        60.0,
        false,
        ":m!u@h PRIVMSG #x :.http.update http://203.0.113.1/list c:\\l\r\n",
    );
    let mut packets = talk.packets;
    for number in 0..12 {
        let seconds = 61.0 + f64::from(number) / 10.0;
        packets.push(lookup(
            seconds,
            5000,
            &format!("victim{number}.example"),
            15,
        ));
        let server = ([203, 0, 113, number as u8], 25);
        let mut mail = Talk::new(seconds, 41_000 + number as u16, server);
        mail.say(seconds, false, "220 mx.example ESMTP\r\n");
        mail.say(seconds, true, "EHLO a\r\n");
        mail.say(seconds, false, "250 mx.example\r\n");
        mail.say(seconds, true, "MAIL FROM:<a@b.example>\r\n");
        packets.extend(mail.packets);
    }
    let diary = told(&packets);
    let findings = diary.hosts.findings();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        findings[0].subject,
        Subject::Host("192.0.2.1".parse().unwrap())
    );
    let signs: Vec<Sign> = findings[0].evidence.iter().map(|one| one.what).collect();
    for sign in [
        Sign::BotCommand,
        Sign::FanOut,
        Sign::MxLookups,
        Sign::MachineNick,
        Sign::KeyedChannel,
    ] {
        assert!(signs.contains(&sign), "{sign:?} in {signs:?}");
    }
}
