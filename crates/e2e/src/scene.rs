//! The scene of most tests of detection: a person's desktop, a mail server, a mailer, and a
//! bot that reaches for them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stage::{Desktop, SmtpServer};

use crate::theatre::{Options, Theatre, word};
use crate::{LIMIT, wait_until};

/// A guarded theatre with a bot in it. Fields go in this order: servers, then the theatre.
#[derive(Debug)]
pub struct Scene {
    /// The mail server that gets no byte.
    pub mail: SmtpServer,
    /// Whatever is started here is started by the person's desktop.
    pub desktop: Desktop,
    /// A registered mailer.
    pub mailer: PathBuf,
    /// A program that nobody registered.
    pub bot: PathBuf,
    /// The rest.
    pub theatre: Theatre,
}

impl Scene {
    /// Opens it with these lines in the configuration. `None`, with the reason printed,
    /// where such tests cannot run.
    pub fn open(config: &str) -> Option<Self> {
        Self::open_after(config, |_| ())
    }

    /// The same, with something to prepare before the gate is up.
    pub fn open_after(config: &str, prepare: impl FnOnce(&Theatre)) -> Option<Self> {
        Self::open_with(config, |theatre| {
            prepare(theatre);
            Vec::new()
        })
    }

    /// The same, where the preparation says with which more arguments the daemon runs.
    pub fn open_with(config: &str, prepare: impl FnOnce(&Theatre) -> Vec<String>) -> Option<Self> {
        let theatre = Theatre::open_with(&Options {
            config: config.to_owned(),
            ..Options::default()
        })?;
        let mail = theatre.smtp();
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let bot = theatre.player("bot");
        let arguments = prepare(&theatre);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if !theatre.raise_with(&arguments) {
            return None;
        }
        let desktop = theatre.desktop();
        Some(Self {
            mail,
            desktop,
            mailer,
            bot,
            theatre,
        })
    }

    /// Starts the bot with these words, and goes on.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_bot(&self, words: &str) -> u32 {
        self.start(&self.bot, words)
    }

    /// The same with another program.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self, program: &Path, words: &str) -> u32 {
        self.desktop
            .launch(program, words.split_whitespace())
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    /// Runs the bot to its end, which is a failure: nothing is delivered.
    ///
    /// # Panics
    /// When it does not end, or has success.
    pub fn run_bot(&self, words: &str) {
        let pid = self.start_bot(words);
        self.fails(pid);
    }

    /// Waits until a bot has ended without success.
    ///
    /// # Panics
    /// When it does not end, or has success.
    pub fn fails(&self, pid: u32) {
        let exit = self.desktop.wait(pid, LIMIT).expect("the end of the bot");
        assert!(!exit.success(), "{}", self.desktop.stdout());
    }

    /// Waits until the status shows an IRC connection to this server.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_irc(&self, server: &str) {
        let shown = || {
            let status = self.theatre.status();
            let irc = status["irc"].as_array()?;
            irc.iter()
                .any(|irc| word(irc, "destination") == server)
                .then_some(())
        };
        wait_until(LIMIT, shown)
            .unwrap_or_else(|| panic!("no IRC to {server}: {}", self.theatre.status()));
    }

    /// Waits for the first refusal after an entry. Not a byte has reached the mail server.
    ///
    /// # Panics
    /// When none comes.
    pub fn refusal_after(&self, before: u64) -> Value {
        let refusal = self.theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        assert_eq!(self.mail.payload_bytes(), 0);
        refusal
    }

    /// Waits for the first finding after an entry that is about a refusal.
    ///
    /// # Panics
    /// When none comes, or its evidence is out of order, or a byte has reached the mail server.
    pub fn finding_after(&self, before: u64) -> Value {
        self.finding_that(before, "finding about a refusal", |entry| {
            !entry["reason"].is_null()
        })
    }

    /// The first finding that is wanted.
    ///
    /// # Panics
    /// When none comes, or its evidence is out of order, or a byte has reached the mail server.
    pub fn finding_that(&self, before: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let finding = self.theatre.wait_after(before, what, |entry| {
            entry["type"] == "finding" && wanted(entry)
        });
        let weights: Vec<i64> = evidence(&finding)
            .filter_map(|item| item["weight"].as_i64())
            .collect();
        assert!(
            !weights.is_empty() && weights.is_sorted_by(|a, b| a >= b),
            "strongest first: {finding}"
        );
        assert_eq!(self.mail.payload_bytes(), 0);
        finding
    }

    /// All findings so far.
    pub fn findings(&self) -> Vec<Value> {
        let mut all = self.theatre.log();
        all.retain(|entry| entry["type"] == "finding");
        all
    }

    /// The bot is the culprit, and stands in the lineage.
    ///
    /// # Panics
    /// When it is not.
    pub fn blames_the_bot(&self, entry: &Value) {
        let bot = self.bot.to_string_lossy();
        assert_eq!(word(entry, "culprit"), bot, "{entry}");
        let lineage = entry["lineage"].as_array().into_iter().flatten();
        assert!(
            lineage.clone().any(|link| word(link, "program") == bot),
            "{entry}"
        );
    }
}

fn evidence(finding: &Value) -> impl Iterator<Item = &Value> {
    finding["evidence"].as_array().into_iter().flatten()
}

/// What the evidence of one sign says, if the finding has it.
pub fn detail<'a>(finding: &'a Value, sign: &str) -> Option<&'a str> {
    evidence(finding)
        .find(|item| word(item, "what") == sign)
        .map(|item| word(item, "detail"))
}

/// What all the evidence says, a line for each.
pub fn details(finding: &Value) -> String {
    evidence(finding)
        .map(|item| format!("{}: {}\n", word(item, "what"), word(item, "detail")))
        .collect()
}
