//! What the tests of faults ask of a scene: that it still decides as it should.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use stage::HttpServer;

use crate::theatre::{times, word};
use crate::{SERVER, Scene};

/// A web server, whose port is not guarded.
pub const WEB: &str = "127.0.0.1:8080";

/// How long a storm may take on a machine that has other things to do.
pub const LONG: Duration = Duration::from_secs(300);

/// Whether storms last as long as somebody may ask of them, a minute or a million, and not
/// only as long as CI has time for: when `SEKIMORI_AT_LENGTH` is set.
pub fn at_length() -> bool {
    std::env::var_os("SEKIMORI_AT_LENGTH").is_some()
}

impl Scene {
    /// Runs a program of the person's to its end. Whether it had success.
    ///
    /// # Panics
    /// When it does not start or end.
    pub fn succeeds(&self, program: &Path, words: &str) -> bool {
        let words = words.split_whitespace();
        let exit = self.desktop.run(program, words, LONG);
        exit.expect("the end of a program").success()
    }

    /// The same with the bot.
    ///
    /// # Panics
    /// When it does not start or end.
    pub fn bot_succeeds(&self, words: &str) -> bool {
        self.succeeds(&self.bot, words)
    }

    /// Whether the person's mailer delivers a message.
    ///
    /// # Panics
    /// When it does not start or end.
    pub fn user_sends(&self) -> bool {
        self.succeeds(&self.mailer, &format!("mailer --server {SERVER}"))
    }

    /// The gate decides as it should, and traffic that is not guarded flows. Two refusals.
    ///
    /// # Panics
    /// When it does not.
    pub fn enforces(&self, web: &HttpServer) {
        let mailer = self.mailer.display();
        let (sent, polls) = (self.mail.messages().len(), web.requests());
        for refused in [
            format!("bot --smtp {SERVER}"),
            format!("launcher {mailer} mailer --server {SERVER}"),
        ] {
            assert!(!self.bot_succeeds(&refused), "{refused}");
        }
        assert!(self.user_sends(), "{}", self.desktop.stdout());
        assert_eq!(self.mail.messages().len(), sent + 1);
        assert!(self.bot_succeeds(&format!("technique visits --server {WEB} --count 3")));
        assert_eq!(web.requests(), polls + 3);
    }

    /// Waits for a notice with these words.
    ///
    /// # Panics
    /// When none comes.
    pub fn notice_after(&self, before: u64, words: &str) -> Value {
        self.theatre.wait_after(before, words, |entry| {
            word(entry, "type") == "notice" && word(entry, "text").contains(words)
        })
    }

    /// How often the daemon has said something on standard error.
    pub fn times_said(&self, words: &str) -> usize {
        self.theatre.daemon_words().matches(words).count()
    }

    /// All refusals that are in the journal. An entry that counts many refusals is repeated as often.
    pub fn refusals(&self) -> Vec<Value> {
        let log = self.theatre.log().into_iter();
        let refusals = log.filter(|entry| word(entry, "verdict") == "refuse");
        let each = |entry: Value| {
            let count = times(&entry) as usize;
            std::iter::repeat_n(entry, count)
        };
        refusals.flat_map(each).collect()
    }
}
