//! The paper's rule, and what counts as evidence for it.

mod common;

use common::*;
use engine::*;
use policy::{Kind, Origin, Reason, Role, Tamper};

fn engine() -> Engine {
    Engine::new(Settings::default())
}

fn refuse(engine: &mut Engine, actor: Actor, reason: Reason, seconds: u64) -> FindingEntry {
    let actions = engine.handle(connect(actor, 25, reason), at(seconds));
    findings(&actions)[0].clone()
}

#[test]
fn an_illegal_send_without_irc_is_an_illegal_send() {
    let mut engine = engine();
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(0),
    );
    let kinds: Vec<_> = actions
        .iter()
        .map(|action| matches!(action, Action::Append(Entry::Verdict(_))))
        .collect();
    assert_eq!(kinds, [true, false, false]);
    let found = findings(&actions)[0];
    assert_eq!(found.finding, FindingKind::IllegalSend);
    assert_eq!(signs(found), [Sign::OwnEngine]);
    let warning = warnings(&actions)[0];
    assert_eq!(
        (warning.finding, warning.uid, warning.suppressed),
        (FindingKind::IllegalSend, 1000, 0)
    );
    assert_eq!(warning.culprit.as_deref(), Some("/opt/bot"));
    assert_eq!(warning.title, "Mail stopped: a program is not registered");
    assert_eq!(
        warning.body,
        "bot tried to send, and nobody registered it as a mailer.\n\
         /opt/bot tried to connect to the mail server 192.0.2.25:25, but it is not registered as a mailer."
    );
}

#[test]
fn an_illegal_send_during_irc_is_a_suspected_bot() {
    let mut engine = engine();
    assert_eq!(
        engine.handle(Event::FlowOpened(irc(1, 99, "/opt/other")), at(0)),
        []
    );
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(62),
    );
    let found = findings(&actions)[0];
    assert_eq!(found.finding, FindingKind::BotSuspected);
    assert_eq!(signs(found), [Sign::OwnEngine, Sign::IrcElsewhere]);
    let warning = warnings(&actions)[0];
    assert_eq!(warning.title, "This computer may be infected by a bot");
    assert!(
        warning.body.ends_with(
            "\nAt the same time: IRC connection to 192.0.2.66:6667 by /opt/other (pid 99), open for 62 s."
        ),
        "{}",
        warning.body
    );
}

#[test]
fn irc_of_the_same_lineage_is_heavier() {
    let elsewhere = {
        let mut engine = engine();
        engine.handle(Event::FlowOpened(irc(1, 99, "/opt/other")), at(0));
        refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1)
    };
    // By culprit, and by a process that stands in the lineage.
    let child = FlowInfo {
        pid: 99,
        program: "/opt/child".into(),
        ..irc(1, 4242, "/opt/bot")
    };
    for flow in [child, irc(1, 4242, "/opt/renamed")] {
        let mut engine = engine();
        engine.handle(Event::FlowOpened(flow), at(0));
        let same = refuse(&mut engine, driven_mailer(), Reason::ForeignOrigin, 1);
        assert_eq!(signs(&same), [Sign::IrcSameLineage, Sign::DrivesMailer]);
        assert!(
            same.evidence[0].weight
                > elsewhere
                    .evidence
                    .iter()
                    .map(|one| one.weight)
                    .max()
                    .unwrap()
        );
    }
}

/// The same program is not the same lineage: an interpreter runs a chat program and a script.
#[test]
fn another_run_of_the_same_program_is_another_lineage() {
    let mut engine = engine();
    engine.handle(Event::FlowOpened(irc(1, 99, "/usr/bin/python3.12")), at(0));
    let found = refuse(
        &mut engine,
        bot("/usr/bin/python3.12", 4242),
        Reason::NotAMailer,
        1,
    );
    assert_eq!(signs(&found), [Sign::OwnEngine, Sign::IrcElsewhere]);
}

#[test]
fn what_another_user_does_is_no_evidence_and_is_not_shown() {
    let mut engine = engine();
    let others = |cookie, pid, program| FlowInfo {
        uid: 1001,
        ..irc(cookie, pid, program)
    };
    // Open and closed ones, by the very program and process that tries to send.
    let closed = others(1, 4242, "/opt/bot");
    engine.handle(Event::FlowOpened(closed.clone()), at(0));
    engine.handle(
        Event::FlowClosed {
            flow: closed,
            bytes_sent: 1,
            bytes_received: 1,
        },
        at(1),
    );
    engine.handle(Event::FlowOpened(others(2, 4242, "/opt/bot")), at(1));
    engine.handle(Event::FlowOpened(others(3, 99, "/opt/chat")), at(1));
    // His refusals, tampering, and conduct.
    for host in 0..20 {
        let mut actor = bot("/opt/bot", 4242);
        actor.uid = 1001;
        engine.handle(connect(actor, host, Reason::NotAMailer), at(2));
    }
    let tampered = Event::Tampered {
        by: Party {
            program: path("/home/other/gdb"),
            pid: 50,
        },
        uid: 1001,
        target: Party {
            program: path("/opt/bot"),
            pid: 4242,
        },
        signs: Tamper::TRACED,
    };
    engine.handle(tampered, at(2));
    let mut actor = bot("/opt/bot", 4242);
    actor.tampered = Tamper::TRACED;
    let actions = engine.handle(connect(actor, 25, Reason::NotAMailer), at(3));
    let found = findings(&actions)[0];
    assert_eq!(found.finding, FindingKind::IllegalSend);
    assert_eq!(signs(found), [Sign::OwnEngine, Sign::Tampering]);
    let told = format!("{found:?} {:?}", warnings(&actions));
    for secret in ["192.0.2.66", "/opt/chat", "/home/other"] {
        assert!(!told.contains(secret), "{told}");
    }
    // Nor does root's own program become a bot by what a user does.
    let mut actor = bot("/opt/backup", 77);
    actor.uid = 0;
    assert_eq!(
        refuse(&mut engine, actor, Reason::NotAMailer, 4).finding,
        FindingKind::IllegalSend
    );
}

#[test]
fn a_starter_is_not_to_blame_for_what_it_starts() {
    let mut engine = engine();
    let mut actor = bot("/tmp/bot", 4243);
    let nohup = link("/usr/bin/nohup", 4242, Role::Unknown, Origin::Foreign);
    actor.lineage.links.insert(2, nohup);
    actor.lineage.culprit = Some(Culprit {
        program: "/usr/bin/nohup".into(),
        pid: 4242,
    });
    // The gate reports the connection under what it recorded.
    let chat = FlowInfo {
        culprit: actor.lineage.culprit.clone(),
        ..irc(1, 4250, "/tmp/child")
    };
    engine.handle(Event::FlowOpened(chat), at(0));
    let actions = engine.handle(connect(actor, 25, Reason::NotAMailer), at(1));
    let Action::Append(Entry::Verdict(verdict)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(verdict.culprit.as_deref(), Some("/tmp/bot"));
    let found = findings(&actions)[0];
    assert_eq!(
        (found.culprit.as_deref(), found.culprit_pid),
        (Some("/tmp/bot"), Some(4243))
    );
    assert_eq!(
        signs(found),
        [Sign::IrcSameLineage, Sign::OwnEngine, Sign::DropperPath]
    );
    let warning = warnings(&actions)[0];
    assert_eq!(warning.culprit.as_deref(), Some("/tmp/bot"));
    assert!(!warning.body.contains("nohup"), "{}", warning.body);
}

#[test]
fn irc_of_a_system_process_is_in_nobodys_lineage() {
    let mut engine = engine();
    engine.handle(Event::FlowOpened(irc(1, 1, "/usr/lib/bouncer")), at(0));
    let found = refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1);
    assert_eq!(signs(&found), [Sign::OwnEngine, Sign::IrcElsewhere]);
}

#[test]
fn the_users_own_chat_does_not_count() {
    let chat = FlowInfo {
        role: Role::Chat,
        origin: Origin::User,
        culprit: None,
        ..irc(1, 99, "/usr/bin/hexchat")
    };
    let mut engine = engine();
    engine.handle(Event::FlowOpened(chat.clone()), at(0));
    assert_eq!(engine.open_irc().count(), 1);
    let found = refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1);
    assert_eq!(
        (found.finding, signs(&found)),
        (FindingKind::IllegalSend, vec![Sign::OwnEngine])
    );

    // The same program driven by somebody else does count, and so does an unregistered one.
    for flow in [
        FlowInfo {
            origin: Origin::Foreign,
            ..chat.clone()
        },
        FlowInfo {
            role: Role::Unknown,
            ..chat
        },
    ] {
        let mut engine = crate::engine();
        engine.handle(Event::FlowOpened(flow), at(0));
        assert_eq!(
            refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1).finding,
            FindingKind::BotSuspected
        );
    }
}

#[test]
fn irc_that_ended_does_not_make_a_bot_but_is_told() {
    let mut engine = engine();
    let flow = irc(1, 4242, "/opt/bot");
    engine.handle(Event::FlowOpened(flow.clone()), at(0));
    let closed = Event::FlowClosed {
        flow,
        bytes_sent: 1,
        bytes_received: 1,
    };
    assert_eq!(engine.handle(closed, at(10)), []);
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(15),
    );
    let found = findings(&actions)[0].clone();
    assert_eq!(found.finding, FindingKind::IllegalSend);
    assert_eq!(signs(&found), [Sign::OwnEngine, Sign::IrcJustEnded]);
    let body = &warnings(&actions)[0].body;
    assert!(
        body.contains("\nShortly before: IRC connection") && !body.contains("At the same time"),
        "{body}"
    );
    assert!(
        found.evidence[1].detail.ends_with("closed 5 s before"),
        "{}",
        found.evidence[1].detail
    );
    let later = refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1000);
    assert_eq!(signs(&later), [Sign::OwnEngine]);
}

#[test]
fn many_irc_connections_are_summed_up() {
    let mut engine = engine();
    for cookie in 0..20 {
        engine.handle(Event::FlowOpened(irc(cookie, 99, "/opt/other")), at(0));
    }
    let found = refuse(&mut engine, bot("/opt/bot", 4242), Reason::NotAMailer, 1);
    let irc: Vec<_> = found
        .evidence
        .iter()
        .filter(|one| one.what == Sign::IrcElsewhere)
        .collect();
    assert_eq!(irc.len(), 5);
    assert_eq!(irc[4].detail, "and 16 more IRC connections");
}

#[test]
fn conduct_is_evidence() {
    let mut engine = engine();
    let mut actor = bot("/tmp/.x/bot", 4242);
    actor.tampered = Tamper::TRACED;
    let target = Party {
        program: actor.program.clone(),
        pid: 4242,
    };
    let by = Party {
        program: path("/usr/bin/gdb"),
        pid: 50,
    };
    let actions = engine.handle(
        Event::Tampered {
            by,
            uid: 1000,
            target,
            signs: Tamper::TRACED,
        },
        at(0),
    );
    let Action::Append(Entry::Notice(notice)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(
        notice.text,
        "/usr/bin/gdb (pid 50) tampered with /tmp/.x/bot (pid 4242): another process traced it; it may not send \
         mail until it is started again"
    );
    let mut last = Vec::new();
    for host in 0..10 {
        last.extend(engine.handle(connect(actor.clone(), host, Reason::NotAMailer), at(1)));
    }
    last.extend(engine.tick(at(61)));
    let found = findings(&last);
    assert_eq!(found.len(), 2);
    assert_eq!(
        signs(found[1]),
        [
            Sign::OwnEngine,
            Sign::Tampering,
            Sign::FanOut,
            Sign::DropperPath,
            Sign::Repeated
        ]
    );
    let details: Vec<_> = found[1]
        .evidence
        .iter()
        .map(|one| one.detail.as_str())
        .collect();
    assert_eq!(
        details,
        [
            "/tmp/.x/bot speaks to mail servers without being a mailer",
            "another process traced it (by /usr/bin/gdb, pid 50)",
            "10 different mail servers in less than a second",
            "/tmp/.x/bot runs from a folder for temporary files",
            "10 refused attempts in less than a second",
        ]
    );
}

#[test]
fn what_speaks_against_an_infection_is_told_too() {
    let mut engine = engine();
    let mut actor = bot("/usr/bin/thunderbird", 4242);
    actor.role = Role::Mailer;
    actor.kind = Kind::Interactive;
    actor.origin = Origin::System;
    actor.lineage.culprit = None;
    actor.lineage.links[2].role = Role::Mailer;
    actor.lineage.links[2].seeded = true;
    let found = refuse(&mut engine, actor, Reason::NeedsUser, 0);
    assert_eq!(signs(&found), [Sign::OlderThanGate, Sign::NoCulprit]);
    assert!(found.evidence.iter().all(|one| one.weight < 0));
}

#[test]
fn an_observed_refusal_is_journaled_and_found_as_such() {
    let mut engine = engine();
    let Event::Verdict {
        actor,
        judged,
        reason,
        ..
    } = connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer)
    else {
        unreachable!()
    };
    let event = Event::Verdict {
        actor,
        judged,
        reason,
        observed: true,
    };
    let actions = engine.handle(event, at(0));
    let Action::Append(Entry::Verdict(verdict)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert!(verdict.observed && verdict.verdict == Answer::Refuse);
    assert!(findings(&actions)[0].observed);
    let warning = warnings(&actions)[0];
    assert!(
        warning.body.contains("it would have been refused"),
        "{}",
        warning.body
    );
    assert_eq!(
        warning.title,
        "Would be stopped: a program is not registered"
    );
}

#[test]
fn a_refusal_that_stands_for_many_counts_as_many() {
    let mut engine = engine();
    let event = connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer);
    engine.handle(event.clone(), at(0));
    let event = Box::new(event);
    let actions = engine.handle(Event::Repeated { event, count: 1234 }, at(1));
    let Action::Append(Entry::Verdict(verdict)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(verdict.count, 1234);
    let json = serde_json::to_value(verdict).unwrap();
    assert_eq!(json["count"], 1234);
    // Its absence means one.
    let once = engine.handle(
        connect(bot("/opt/bot", 4242), 26, Reason::NotAMailer),
        at(2),
    );
    let Action::Append(Entry::Verdict(verdict)) = &once[0] else {
        panic!("{once:?}")
    };
    let json = serde_json::to_value(verdict).unwrap();
    assert!(json.get("count").is_none(), "{json}");
    let read: VerdictEntry = serde_json::from_value(json).unwrap();
    assert_eq!(read.count, 1);
    // The finding that was held back knows of all of them.
    let later = engine.tick(at(61));
    let found = findings(&later);
    let said = found[0]
        .evidence
        .iter()
        .any(|one| one.detail.contains("1236 refused"));
    assert!(said, "{found:?}");
}

#[test]
fn what_is_permitted_is_journaled_and_nothing_else() {
    let mut engine = engine();
    engine.handle(Event::FlowOpened(irc(1, 4242, "/opt/bot")), at(0));
    let actions = engine.handle(connect(driven_mailer(), 25, Reason::Permitted), at(0));
    assert!(
        matches!(
            &actions[..],
            [Action::Append(Entry::Verdict(VerdictEntry {
                verdict: Answer::Allow,
                ..
            }))]
        ),
        "{actions:?}"
    );
}

#[test]
fn grants_are_journaled_once_each_way() {
    let mut engine = engine();
    let flow = FlowInfo {
        kind: FlowKind::Grant,
        ..irc(5, 9, "/usr/bin/msmtp")
    };
    assert_eq!(
        engine.handle(Event::FlowOpened(flow.clone()), at(0)).len(),
        1
    );
    assert_eq!(engine.handle(Event::FlowOpened(flow.clone()), at(1)), []);
    assert_eq!(engine.open_grants().collect::<Vec<_>>(), [&flow]);
    let closed = Event::FlowClosed {
        flow,
        bytes_sent: 10,
        bytes_received: 20,
    };
    let actions = engine.handle(closed, at(2));
    let [Action::Append(Entry::Grant(grant))] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (grant.event, grant.bytes_sent, grant.bytes_received),
        (GrantChange::Closed, Some(10), Some(20))
    );
    assert_eq!(engine.open_grants().count(), 0);
}
