//! What the user is told on the terminal and on the desktop: the text of the warnings.

use std::sync::Arc;

use crate::entry::{FindingEntry, FindingKind};
use crate::printable::program_name;
use crate::sentence::finding_sentence;

/// One warning. Its texts are safe to print on a terminal; a notifier whose server reads
/// markup in bodies must still escape `&`, `<` and `>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which of the two.
    pub finding: FindingKind,
    /// Whose process it was, and who is to be told.
    pub uid: u32,
    /// Path of the culprit, or of the program itself when its lineage has none. None when
    /// the warning stands for many programs at once.
    pub culprit: Option<Arc<str>>,
    /// A few words.
    pub title: String,
    /// What happened, why it was refused, and the strongest evidence; a few lines.
    pub body: String,
    /// Warnings held back since the last one about the same culprit, this one not counted.
    /// The body says so too.
    pub suppressed: u64,
}

/// How many pieces of evidence a warning names when none is about IRC.
const EVIDENCE_SHOWN: usize = 3;

/// What is kept of a finding until its warning goes out.
#[derive(Debug)]
pub(crate) struct Draft {
    finding: FindingKind,
    uid: u32,
    culprit: Arc<str>,
    observed: bool,
    body: String,
}

impl Draft {
    pub(crate) fn new(entry: &FindingEntry) -> Self {
        let mut body = finding_sentence(entry);
        let irc = entry.evidence.iter().find(|one| one.what.is_open_irc());
        let ended = entry.evidence.iter().find(|one| one.what.is_irc());
        if let Some(irc) = irc {
            body += "\nAt the same time: ";
            body += &irc.detail;
            body += ".";
        } else if entry.finding == FindingKind::BotSuspected {
            for one in entry.evidence.iter().take(EVIDENCE_SHOWN) {
                body += "\n";
                body += &one.detail;
                body += ".";
            }
        } else if let Some(ended) = ended {
            body += "\nShortly before: ";
            body += &ended.detail;
            body += ".";
        }
        let culprit = entry.culprit.as_ref().unwrap_or(&entry.program).clone();
        Self {
            finding: entry.finding,
            uid: entry.uid,
            culprit,
            observed: entry.observed,
            body,
        }
    }

    pub(crate) fn finish(self, suppressed: u64, of_others: bool) -> Warning {
        let title = match (self.finding, self.observed) {
            (FindingKind::BotSuspected, _) => "This computer may be infected by a bot",
            (FindingKind::IllegalSend, false) => "Mail that nobody asked for was stopped",
            (FindingKind::IllegalSend, true) => {
                "Mail that nobody asked for would have been stopped"
            }
        };
        let mut body = self.body;
        match (suppressed, of_others) {
            (0, false) => {}
            (0, true) => body += "\nMany other programs were refused in the last minute as well.",
            (1, false) => {
                body += &format!(
                    "\n1 more warning about {} was held back.",
                    program_name(&self.culprit)
                )
            }
            (_, false) => {
                body += &format!(
                    "\n{suppressed} more warnings about {} were held back.",
                    program_name(&self.culprit)
                );
            }
            (_, true) => {
                body +=
                    &format!("\n{suppressed} more warnings about other programs were held back.")
            }
        }
        let culprit = (!of_others).then_some(self.culprit);
        Warning {
            finding: self.finding,
            uid: self.uid,
            culprit,
            title: title.to_owned(),
            body,
            suppressed,
        }
    }
}
