//! What processes that may not send do on the network: the paper's rule on any port, and
//! findings without a refusal.

mod common;

use common::*;
use engine::*;
use policy::{Origin, Reason, Role};

/// A sample of /opt/bot's connection to port 8080.
fn sampled(cookie: u64, kind: SampleKind) -> Event {
    Event::Sampled(Sample {
        flow: FlowInfo {
            cookie,
            kind: FlowKind::Sampled,
            pid: 4242,
            uid: 1000,
            program: "/opt/bot".into(),
            culprit: Some(Culprit {
                program: "/opt/bot".into(),
                pid: 4242,
            }),
            role: Role::Unknown,
            origin: Origin::Foreign,
            destination: "198.51.100.7:8080".parse().expect("an address"),
        },
        kind,
    })
}

fn payload(bytes: &[u8]) -> Payload {
    Payload {
        bytes: bytes.to_vec(),
        gap_before: false,
        gap_after: false,
    }
}

fn sent(bytes: &[u8]) -> Event {
    sampled(9, SampleKind::Sent(payload(bytes)))
}

fn received(bytes: &[u8]) -> Event {
    sampled(9, SampleKind::Received(payload(bytes)))
}

/// An engine that saw the bot log in to IRC on port 8080 and join a channel with a key.
fn engine_with_irc() -> Engine {
    let mut engine = Engine::new(Settings::default());
    engine.handle(sent(b"NICK [DEU|XP|81233]\r\nUSER x 0 * :x\r\n"), at(0));
    let actions = engine.handle(
        received(b":irc.example.net 001 [DEU|XP|81233] :hi\r\n"),
        at(1),
    );
    assert!(
        actions.contains(&Action::Sample {
            cookie: 9,
            wish: Wish::Follow
        }),
        "{actions:?}"
    );
    engine.handle(sent(b"JOIN #x key\r\n"), at(1));
    engine
}

#[test]
fn irc_on_any_port_makes_an_illegal_send_a_bots() {
    let mut engine = engine_with_irc();
    assert_eq!(engine.open_irc().count(), 1);
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(4),
    );
    let found = findings(&actions);
    assert_eq!(found[0].finding, FindingKind::BotSuspected);
    let told = &found[0].evidence;
    assert_eq!(told[0].what, Sign::IrcSameLineage);
    assert!(told[0].detail.contains("198.51.100.7:8080"), "{told:?}");
    assert!(
        told.iter().any(|one| one.detail.contains("#x with key")),
        "{told:?}"
    );
}

#[test]
fn without_irc_it_is_an_illegal_send() {
    let mut engine = Engine::new(Settings::default());
    let actions = engine.handle(sent(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), at(0));
    // The gate goes on with the little that it samples of any connection: IRC may begin yet.
    let samples = |action: &Action| matches!(action, Action::Sample { .. });
    assert!(!actions.iter().any(samples), "{actions:?}");
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(4),
    );
    assert_eq!(findings(&actions)[0].finding, FindingKind::IllegalSend);
}

/// One line of another protocol does not hide the IRC behind it.
#[test]
fn irc_behind_a_line_of_another_protocol_is_followed() {
    for first in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"PING\r\n",
    ] {
        let mut engine = Engine::new(Settings::default());
        engine.handle(sent(first), at(0));
        engine.handle(sent(b"NICK [DEU|XP|81233]\r\nUSER x 0 * :x\r\n"), at(1));
        let welcome = b":irc.example.net 001 [DEU|XP|81233] :hi\r\n";
        let actions = engine.handle(received(welcome), at(2));
        let follow = Action::Sample {
            cookie: 9,
            wish: Wish::Follow,
        };
        let said = String::from_utf8_lossy(first);
        assert_eq!(engine.open_irc().count(), 1, "{said}: {actions:?}");
        assert!(actions.contains(&follow), "{said}: {actions:?}");
    }
}

#[test]
fn irc_that_ended_does_not_go_on() {
    let mut engine = engine_with_irc();
    let over = SampleKind::Closed {
        bytes_sent: 1,
        bytes_received: 1,
    };
    engine.handle(sampled(9, over), at(5));
    assert_eq!(engine.open_irc().count(), 0);
}

#[test]
fn orders_and_answers_are_a_finding_without_any_mail() {
    let mut engine = engine_with_irc();
    let order = b":m!u@198.51.100.9 PRIVMSG #x :.advscan asn1smb 100 5 0 -r -b\r\n";
    let answer = b"PRIVMSG #x :[SCAN]: Random Port Scan started on 203.0.113.x:445\r\n";
    let mut all = engine.handle(received(order), at(60));
    all.extend(engine.handle(sent(answer), at(61)));
    let found = findings(&all);
    assert_eq!(found[0].finding, FindingKind::BotSuspected, "{all:?}");
    assert_eq!(
        (found[0].reason, found[0].judged),
        (None, JudgedWord::Conduct)
    );
    assert_eq!(found[0].culprit.as_deref(), Some("/opt/bot"));
    let warned = warnings(&all);
    assert!(
        warned[0]
            .body
            .starts_with("bot may be a bot.\n/opt/bot behaves on the network as bots do."),
        "{}",
        warned[0].body
    );
}

#[test]
fn a_finding_without_a_reason_is_read_again() {
    let mut engine = engine_with_irc();
    let order = b":m!u@198.51.100.9 PRIVMSG #x :.advscan asn1smb 100 5 0 -r -b\r\n";
    let answer = b"PRIVMSG #x :[SCAN]: Random Port Scan started on 203.0.113.x:445\r\n";
    let mut all = engine.handle(received(order), at(60));
    all.extend(engine.handle(sent(answer), at(61)));
    let written = serde_json::to_value(findings(&all)[0]).expect("JSON");
    assert!(written["reason"].is_null() && written["judged"] == "conduct");
    let read: FindingEntry = serde_json::from_value(written).expect("what was written");
    assert_eq!(&read, findings(&all)[0]);
}
