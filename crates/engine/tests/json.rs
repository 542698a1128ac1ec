//! The field names that `log --json` promises, and that what is written can be read.

mod common;

use common::*;
use engine::*;
use policy::{Reason, Tamper};
use serde_json::json;

fn entries(event: Event) -> Vec<Entry> {
    let mut engine = Engine::new(Settings::default());
    engine.handle(Event::FlowOpened(irc(1, 4242, "/opt/bot")), at(0));
    let appended = engine
        .handle(event, at(2))
        .into_iter()
        .filter_map(|action| match action {
            Action::Append(entry) => Some(entry),
            Action::Warn(_) | Action::Sample { .. } => None,
        });
    appended.collect()
}

#[test]
fn a_verdict_has_the_promised_fields() {
    let mut actor = driven_mailer();
    actor.tampered = Tamper::TRACED;
    let verdict =
        serde_json::to_value(&entries(connect(actor, 25, Reason::ForeignOrigin))[0]).unwrap();
    assert_eq!(
        verdict,
        json!({
            "type": "verdict", "verdict": "refuse", "reason": "foreign-origin", "judged": "connect",
            "observed": false, "pid": 4243, "uid": 1000, "comm": "bot", "program": "/usr/bin/msmtp",
            "role": "mailer", "kind": "batch", "origin": "foreign", "culprit": "/opt/bot", "culprit_pid": 4242,
            "destination": "192.0.2.25:25", "tampered": ["another process traced it"], "lost": 0,
            "lineage": [
                {"program": "/usr/lib/systemd/systemd", "pid": 1, "role": "system", "origin": "system", "kind": "batch", "seeded": false},
                {"program": "/usr/bin/gnome-shell", "pid": 1200, "role": "session", "origin": "user", "kind": "batch", "seeded": false},
                {"program": "/opt/bot", "pid": 4242, "role": "unknown", "origin": "foreign", "kind": "batch", "seeded": false},
                {"program": "/usr/bin/msmtp", "pid": 4243, "role": "mailer", "origin": "foreign", "kind": "batch", "seeded": false},
            ],
        })
    );
}

#[test]
fn a_finding_has_the_promised_fields() {
    let finding =
        serde_json::to_value(&entries(connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer))[1])
            .unwrap();
    assert_eq!(finding["type"], "finding");
    assert_eq!(finding["finding"], "bot-suspected");
    assert_eq!(finding["suppressed"], 0);
    assert_eq!(
        finding["evidence"],
        json!([
            {"what": "irc-same-lineage", "weight": 60,
             "detail": "IRC connection to 192.0.2.66:6667 by /opt/bot (pid 4242), open for 2 s"},
            {"what": "own-engine", "weight": 30,
             "detail": "/opt/bot speaks to mail servers without being a mailer"},
        ])
    );
}

#[test]
fn a_submitter_has_no_destination_and_nobody_no_culprit() {
    let mut actor = driven_mailer();
    actor.lineage.culprit = None;
    let event = Event::Verdict {
        actor,
        judged: Judged::Submit,
        reason: Reason::NeedsTerminal,
        observed: false,
    };
    let verdict = serde_json::to_value(&entries(event)[0]).unwrap();
    for field in ["culprit", "culprit_pid", "destination"] {
        assert!(
            verdict[field].is_null() && verdict.as_object().unwrap().contains_key(field),
            "{field}"
        );
    }
    assert_eq!(verdict["judged"], "submit");
}

#[test]
fn every_entry_is_read_as_it_was_written() {
    let flow = FlowInfo {
        kind: FlowKind::Grant,
        ..irc(5, 9, "/usr/bin/msmtp")
    };
    let mut all = entries(Event::FlowClosed {
        flow,
        bytes_sent: 1,
        bytes_received: 2,
    });
    all.extend(entries(Event::Lost {
        what: "verdicts",
        count: 3,
    }));
    for reason in Reason::ALL {
        let mut actor = driven_mailer();
        actor.tampered = Tamper(63);
        all.extend(entries(connect(actor, 25, reason)));
    }
    assert!(all.len() > 20);
    for entry in all {
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            serde_json::from_str::<Entry>(&text).unwrap(),
            entry,
            "{text}"
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["type"], entry.kind_word());
    }
}

#[test]
fn an_unknown_word_is_refused_by_name() {
    let entry = &entries(connect(driven_mailer(), 25, Reason::NotAMailer))[0];
    let text = serde_json::to_string(entry)
        .unwrap()
        .replace("not-a-mailer", "bad-mood");
    let error = serde_json::from_str::<Entry>(&text)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown reason 'bad-mood'"), "{error}");
}
