//! How often the user is told, that no number is lost, and that the state stays small.

mod common;

use std::collections::HashMap;

use common::*;
use engine::*;
use policy::Reason;
use proptest::prelude::*;

/// Counts what came in and what was told, and checks the distance between two warnings
/// about one culprit.
#[derive(Default)]
struct Ledger {
    refused: u64,
    found: u64,
    warned: u64,
    last_warning: HashMap<Option<String>, Timestamp>,
    warnings: usize,
}

impl Ledger {
    fn take(&mut self, actions: &[Action], now: Timestamp) {
        for action in actions {
            match action {
                Action::Append(Entry::Verdict(verdict)) => {
                    self.refused += u64::from(verdict.verdict == Answer::Refuse);
                }
                Action::Append(Entry::Finding(finding)) => self.found += 1 + finding.suppressed,
                Action::Append(_) | Action::Sample { .. } => {}
                Action::Warn(warning) => {
                    self.warned += 1 + warning.suppressed;
                    self.warnings += 1;
                    let who = warning.culprit.as_deref().map(str::to_owned);
                    if let Some(before) = self.last_warning.insert(who, now) {
                        assert!(now.since_ns(before) >= 60 * SECOND, "{warning:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_culprit_is_warned_about_once_a_minute_with_the_number_held_back() {
    let mut engine = Engine::new(Settings::default());
    let mut told = Vec::new();
    for second in 0..=120 {
        for _ in 0..10 {
            told.extend(engine.handle(
                connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
                at(second),
            ));
        }
    }
    let numbers: Vec<_> = warnings(&told)
        .iter()
        .map(|warning| warning.suppressed)
        .collect();
    assert_eq!(numbers, [0, 598, 599]);
    assert!(
        warnings(&told)[1]
            .body
            .ends_with("\n598 more warnings about /opt/bot were held back."),
        "{}",
        warnings(&told)[1].body
    );
    assert_eq!(
        findings(&told)
            .iter()
            .map(|found| found.suppressed)
            .collect::<Vec<_>>(),
        [0, 598, 599]
    );
}

/// Somebody elsewhere connects to a server of this machine from a mail port, again and again,
/// while a person's bot speaks IRC.
#[test]
fn answers_of_servers_are_no_finding_and_one_entry_an_hour() {
    let mut engine = Engine::new(Settings::default());
    engine.handle(Event::FlowOpened(irc(1, 99, "/opt/chatbot")), at(0));
    let answer = |second: u64| Event::Answered {
        own_port: 7777,
        destination: server(9, 25),
        observed: second == 0,
    };
    let mut told = Vec::new();
    for second in 0..=7200 {
        told.extend(engine.handle(answer(second), at(second)));
    }
    assert!(warnings(&told).is_empty() && findings(&told).is_empty());
    let texts: Vec<_> = told
        .iter()
        .map(|action| match action {
            Action::Append(Entry::Notice(notice)) => (notice.text.as_str(), notice.count),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        texts.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
        [Some(1), Some(3599), Some(3600)]
    );
    assert!(
        texts[0]
            .0
            .contains("port 7777 to 192.0.2.9:25 would have been dropped")
    );
    assert!(
        texts[1]
            .0
            .ends_with("; 3598 more like it since this was last said")
    );
    // Nor does it count against whoever is refused later.
    let refused = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(7201),
    );
    assert_eq!(findings(&refused).len(), 1);
    assert!(!findings(&refused)[0].evidence.is_empty());
}

#[test]
fn what_is_held_comes_at_the_deadline_without_another_event() {
    let mut engine = Engine::new(Settings::default());
    assert_eq!(engine.next_deadline(), None);
    for _ in 0..3 {
        engine.handle(
            connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
            at(0),
        );
    }
    assert_eq!(engine.next_deadline(), Some(at(60)));
    assert_eq!(engine.tick(at(59)), []);
    let actions = engine.tick(at(60));
    assert_eq!(
        (
            findings(&actions)[0].suppressed,
            warnings(&actions)[0].suppressed
        ),
        (1, 1)
    );
    assert_eq!(engine.next_deadline(), None);
    assert_eq!(engine.tick(at(1000)), []);
}

#[test]
fn each_user_is_told_about_his_own_processes() {
    let mut engine = Engine::new(Settings::default());
    for uid in [1000, 1001] {
        let mut actor = bot("/opt/bot", 4242);
        actor.uid = uid;
        let actions = engine.handle(connect(actor, 25, Reason::NotAMailer), at(0));
        assert_eq!(warnings(&actions)[0].uid, uid);
    }
}

/// One user's hundred thousand culprits cost another neither a finding nor a warning, nor do
/// they make the journal write anything of his under the other's name.
#[test]
fn one_user_does_not_silence_another() {
    let mut engine = Engine::new(Settings::default());
    let mut told = Vec::new();
    for number in 0..20_000u32 {
        let mut actor = bot(&format!("/home/mallory/{number}"), 10_000 + number);
        actor.uid = 1666;
        told.extend(engine.handle(connect(actor, 9, Reason::NotAMailer), at(0)));
        let mut flow = irc(u64::from(number), 10_000 + number, "/home/mallory/chat");
        flow.uid = 1666;
        told.extend(engine.handle(Event::FlowOpened(flow), at(0)));
        if number == 0 {
            let flow = irc(1 << 40, 4242, "/opt/bot");
            told.extend(engine.handle(Event::FlowOpened(flow), at(0)));
        }
    }
    let quiet = Settings::default();
    assert!(warnings(&told).len() <= quiet.warnings_tracked + 1);
    for number in 0..quiet.warnings_tracked as u32 {
        let actor = bot(&format!("/opt/bot-{number}"), 4242 + number);
        let actions = engine.handle(connect(actor, 25, Reason::NotAMailer), at(1));
        let found = findings(&actions);
        // His own IRC connection was not pushed out either.
        assert_eq!(found[0].finding, FindingKind::BotSuspected);
        assert_eq!((found[0].uid, found[0].suppressed), (1000, 0));
        let warned = warnings(&actions);
        assert_eq!((warned[0].uid, warned[0].suppressed), (1000, 0));
        assert!(warned[0].culprit.is_some());
    }
    // What was held back goes out under the name of the user whose it is.
    let later = engine.tick(at(60));
    for found in findings(&later) {
        assert_eq!((found.uid, found.suppressed > 1000), (1666, true));
    }
    for warning in warnings(&later) {
        assert_eq!(warning.uid, 1666);
        assert!(!warning.body.contains("/opt/bot"), "{}", warning.body);
    }
}

/// A user namespace gives a user 65,536 ids more. They are one account.
#[test]
fn subordinate_ids_take_one_share() {
    let settings = Settings {
        subordinate: Subordinate::read("mallory:100000:65536\n"),
        ..Settings::default()
    };
    let mut engine = Engine::new(settings.clone());
    let mut told = Vec::new();
    for number in 0..2000u32 {
        let mut actor = bot(&format!("/home/mallory/{number}"), 10_000 + number);
        actor.uid = 100_000 + number;
        told.extend(engine.handle(connect(actor, 9, Reason::NotAMailer), at(0)));
    }
    assert!(warnings(&told).len() <= settings.warnings_tracked + 1);
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(1),
    );
    assert_eq!(warnings(&actions)[0].culprit.as_deref(), Some("/opt/bot"));
}

#[test]
fn a_bot_that_is_found_out_while_held_back_is_told_as_a_bot() {
    let mut engine = Engine::new(Settings::default());
    engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(0),
    );
    engine.handle(Event::FlowOpened(irc(1, 4242, "/opt/bot")), at(1));
    let actions = engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(2),
    );
    // The journal has it at once; the user a minute after the first warning.
    assert_eq!(findings(&actions)[0].finding, FindingKind::BotSuspected);
    assert_eq!(warnings(&actions), Vec::<&Warning>::new());
    engine.handle(
        Event::FlowClosed {
            flow: irc(1, 4242, "/opt/bot"),
            bytes_sent: 0,
            bytes_received: 0,
        },
        at(3),
    );
    engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(4),
    );
    let actions = engine.tick(at(60));
    let warning = warnings(&actions)[0];
    assert_eq!(
        (warning.finding, warning.suppressed),
        (FindingKind::BotSuspected, 1)
    );
}

#[test]
fn a_hundred_thousand_culprits_do_not_fill_the_memory_or_the_screen() {
    let settings = Settings::default();
    let mut engine = Engine::new(settings.clone());
    let mut ledger = Ledger::default();
    let mut most = 0;
    for number in 0..100_000u32 {
        let now = START.plus_ns(u64::from(number) * SECOND / 1000);
        let before = ledger.warnings;
        let actor = bot(&format!("/tmp/bot-{number}"), 10_000 + number);
        ledger.take(
            &engine.handle(
                connect(actor, (number % 250) as u8, Reason::NotAMailer),
                now,
            ),
            now,
        );
        let mut flow = irc(u64::from(number), number, "/usr/bin/msmtp");
        flow.kind = FlowKind::Grant;
        ledger.take(&engine.handle(Event::FlowOpened(flow), now), now);
        most = most.max(ledger.warnings - before);
    }
    assert_eq!(engine.open_grants().count(), settings.grants_tracked);
    assert_eq!(engine.forgotten(), 100_000 - settings.grants_tracked as u64);
    ledger.take(&engine.tick(at(1000)), at(1000));
    assert_eq!(
        (ledger.refused, ledger.found, ledger.warned),
        (100_000, 100_000, 100_000)
    );
    // A hundred seconds: two windows and what was held at their ends.
    assert!(
        ledger.warnings <= 3 * (settings.warnings_tracked + 1),
        "{}",
        ledger.warnings
    );
    assert!(most <= settings.warnings_tracked + 2, "{most}");
}

#[test]
fn forgotten_connections_are_counted_and_told() {
    let mut engine = Engine::new(Settings {
        irc_tracked: 2,
        ..Settings::default()
    });
    for cookie in 0..5 {
        engine.handle(Event::FlowOpened(irc(cookie, 9, "/opt/bot")), at(0));
    }
    assert_eq!((engine.open_irc().count(), engine.forgotten()), (2, 3));
    let actions = engine.tick(at(60));
    let Action::Append(Entry::Notice(notice)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert!(notice.text.contains("forgotten"), "{}", notice.text);
}

#[test]
fn a_clock_set_back_does_not_silence_the_engine() {
    let mut engine = Engine::new(Settings::default());
    engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(100_000),
    );
    engine.handle(
        connect(bot("/opt/bot", 4242), 25, Reason::NotAMailer),
        at(100_000),
    );
    assert_eq!(engine.tick(at(0)), []);
    let actions = engine.tick(at(60));
    assert_eq!(warnings(&actions).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever comes, out of order within a second, every refusal is found and warned
    /// about exactly once, itself or as a number, and nobody more than once a minute.
    #[test]
    fn every_refusal_is_told_or_counted(
        steps in prop::collection::vec((0u32..40, 0u64..20, 0u64..999, 0usize..11, any::<bool>()), 1..400),
    ) {
        let mut engine = Engine::new(Settings { findings_tracked: 8, warnings_tracked: 4, users_tracked: 3, ..Settings::default() });
        let mut ledger = Ledger::default();
        let mut now = at(0);
        for (who, wait, jitter, reason, chats) in steps {
            now = now.plus_ns(wait * SECOND);
            if chats {
                let chat = Event::FlowOpened(irc(u64::from(who), who, "/opt/chat"));
                ledger.take(&engine.handle(chat, now), now);
            }
            let reason = Reason::ALL[reason];
            let shaken = Timestamp(now.0 - jitter * 1_000_000);
            let actions = engine.handle(connect(bot(&format!("/opt/bot-{who}"), who), 25, reason), shaken);
            ledger.take(&actions, now);
        }
        for _ in 0..2 {
            now = now.plus_ns(61 * SECOND);
            ledger.take(&engine.tick(now), now);
        }
        prop_assert_eq!(ledger.refused, ledger.found);
        prop_assert_eq!(ledger.refused, ledger.warned);
        prop_assert_eq!(engine.next_deadline(), None);
    }
}
