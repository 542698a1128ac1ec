//! The three ways in which mail leaves a computer (figures 2, 3 and 4 of the paper), and the same
//! while IRC communication is going on.

use std::path::PathBuf;

use e2e::{LIMIT, SERVER, Theatre, word};
use serde_json::Value;
use stage::{Desktop, IrcServer, SmtpServer};

const IRC: &str = "127.0.0.1:6667";

struct Scene {
    theatre: Theatre,
    server: SmtpServer,
    irc: IrcServer,
    desktop: Desktop,
    mailer: PathBuf,
    bot: PathBuf,
}

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let (server, irc) = (theatre.smtp(), theatre.irc(IRC));
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        let desktop = theatre.desktop();
        Some(Self {
            theatre,
            server,
            irc,
            desktop,
            mailer,
            bot,
        })
    }

    /// Runs the bot to its end. Returns the refusal and the finding.
    fn bot_fails(&self, words: &[&str]) -> (Value, Value) {
        let before = self.theatre.newest();
        let bot = self
            .desktop
            .launch(&self.bot, [&["bot"], words].concat())
            .unwrap();
        let found = self.findings_after(before);
        self.irc.say("#orders", "master", "!die");
        assert!(
            !self.desktop.wait(bot, LIMIT).unwrap().success(),
            "{}",
            self.desktop.stdout()
        );
        found
    }

    fn findings_after(&self, before: u64) -> (Value, Value) {
        let refusal = self.theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        let finding = self
            .theatre
            .wait_after(before, "finding", |entry| entry["type"] == "finding");
        for entry in [&refusal, &finding] {
            assert_eq!(entry["culprit"], self.bot.to_str().unwrap(), "{entry}");
            assert_eq!(entry["destination"], SERVER, "{entry}");
        }
        let weights: Vec<i64> = finding["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item["weight"].as_i64())
            .collect();
        assert!(
            !weights.is_empty() && weights.is_sorted_by(|a, b| a >= b),
            "strongest first: {finding}"
        );
        assert_eq!(self.server.payload_bytes(), 0);
        (refusal, finding)
    }

    fn evidence<'a>(finding: &'a Value, what: &str) -> Option<&'a Value> {
        finding["evidence"]
            .as_array()?
            .iter()
            .find(|item| item["what"] == what)
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn figure_2_the_user_sends_with_the_mailer() {
    let Some(scene) = Scene::open() else { return };
    let exit = scene
        .desktop
        .run(&scene.mailer, ["mailer", "--server", SERVER], LIMIT)
        .unwrap();
    assert!(exit.success(), "{}", scene.desktop.stdout());
    assert_eq!(
        scene.server.wait_for_messages(1, LIMIT).unwrap()[0].from,
        "alice@example.org"
    );
    let verdict = scene
        .theatre
        .wait_for("verdict", |entry| word(entry, "verdict") == "allow");
    assert_eq!(verdict["reason"], "permitted");
    assert_eq!(verdict["origin"], "user");
    assert_eq!(verdict["culprit"], Value::Null);
    assert_eq!(verdict["program"], scene.mailer.to_str().unwrap());
    scene
        .theatre
        .wait_for("grant closed", |entry| entry["event"] == "closed");
    assert!(
        scene
            .theatre
            .log()
            .iter()
            .all(|entry| entry["type"] != "finding")
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn figure_3_a_bot_with_its_own_engine() {
    let Some(scene) = Scene::open() else { return };
    let (refusal, finding) = scene.bot_fails(&["--smtp", SERVER]);
    assert_eq!(refusal["reason"], "not-a-mailer");
    assert_eq!(finding["finding"], "illegal-send");
    assert!(
        Scene::evidence(&finding, "own-engine").is_some(),
        "{finding}"
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn figure_4_a_bot_drives_the_mailer() {
    let Some(scene) = Scene::open() else { return };
    let mailer = scene.mailer.to_str().unwrap();
    let (refusal, finding) =
        scene.bot_fails(&["--start-mailer", mailer, "mailer", "--server", SERVER]);
    assert_eq!(refusal["reason"], "foreign-origin");
    assert_eq!(refusal["program"], mailer);
    assert_eq!(finding["finding"], "illegal-send");
    assert!(
        Scene::evidence(&finding, "drives-mailer").is_some(),
        "{finding}"
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn figures_3_and_4_with_irc() {
    let Some(scene) = Scene::open() else { return };
    let mailer = scene.mailer.to_str().unwrap();
    let joins = [
        "--irc",
        IRC,
        "--nick",
        "b-1",
        "--await",
        "!spam",
        "--hold-ms",
        "30000",
    ];
    let ways: [(&[&str], &str); 2] = [
        (&["--smtp", SERVER], "not-a-mailer"),
        (
            &["--start-mailer", mailer, "mailer", "--server", SERVER],
            "foreign-origin",
        ),
    ];
    for (way, reason) in ways {
        let before = scene.theatre.newest();
        let bot = scene
            .desktop
            .launch(&scene.bot, [&["bot"], &joins[..], way].concat())
            .unwrap();
        scene.irc.wait_for_join("#orders", "b-1", LIMIT).unwrap();
        let irc = || {
            scene.theatre.status()["irc"]
                .as_array()
                .is_some_and(|irc| irc.len() == 1)
                .then_some(())
        };
        e2e::wait_until(LIMIT, irc).expect("the IRC connection in the status");
        assert_eq!(scene.irc.say("#orders", "master", "!spam 100"), 1);
        let (refusal, finding) = scene.findings_after(before);
        assert_eq!(refusal["reason"], reason, "{refusal}");
        assert_eq!(finding["finding"], "bot-suspected", "{finding}");
        assert_eq!(
            finding["evidence"][0]["what"], "irc-same-lineage",
            "{finding}"
        );
        scene.irc.say("#orders", "master", "!die");
        scene.desktop.wait(bot, LIMIT).unwrap();
        let none = || {
            scene.theatre.status()["irc"]
                .as_array()
                .is_some_and(Vec::is_empty)
                .then_some(())
        };
        e2e::wait_until(LIMIT, none).expect("the IRC connection is over");
    }
}

/// The paper's rule looks at the machine: somebody else's IRC counts, but weighs less.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn irc_elsewhere_counts_less() {
    let Some(scene) = Scene::open() else { return };
    let other = scene.theatre.player("other");
    let words = ["bot", "--irc", IRC, "--nick", "b-2", "--hold-ms", "30000"];
    scene.desktop.launch(&other, words).unwrap();
    scene.irc.wait_for_join("#orders", "b-2", LIMIT).unwrap();
    let (_, finding) = scene.bot_fails(&["--smtp", SERVER]);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    assert!(
        Scene::evidence(&finding, "irc-same-lineage").is_none(),
        "{finding}"
    );
    assert!(
        Scene::evidence(&finding, "irc-elsewhere").is_some(),
        "{finding}"
    );
}

/// People chat: a registered chat program that the user started is no evidence.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_persons_chat_is_no_evidence() {
    let Some(scene) = Scene::open() else { return };
    let chat = scene.theatre.registered("irssi", "chat", None);
    let words = ["bot", "--irc", IRC, "--nick", "alice", "--hold-ms", "60000"];
    scene.desktop.launch(&chat, words).unwrap();
    scene.irc.wait_for_join("#orders", "alice", LIMIT).unwrap();
    let (_, finding) = scene.bot_fails(&["--smtp", SERVER]);
    assert_eq!(finding["finding"], "illegal-send", "{finding}");

    // The same program, started by a bot, is.
    let keeper = scene.theatre.player("keeper");
    let words = [
        chat.to_str().unwrap(),
        "bot",
        "--irc",
        IRC,
        "--nick",
        "b-3",
        "--hold-ms",
        "60000",
    ];
    scene
        .desktop
        .launch(&keeper, [&["launcher"], &words[..]].concat())
        .unwrap();
    scene.irc.wait_for_join("#orders", "b-3", LIMIT).unwrap();
    let (_, finding) = scene.bot_fails(&["--smtp", SERVER]);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
}
