//! What the user is told on the terminal and on the desktop: the text of the warnings.

use std::sync::Arc;

use crate::case_kind::{CaseKind, is_machines_user, short_name};
use crate::entry::{FindingEntry, FindingKind};
use crate::printable::program_name;
use crate::sentence::{Case, finding_sentence};

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
    /// What kind of case it is, in at most [`crate::TITLE_MAX`] letters.
    pub title: String,
    /// A few lines: the reason in a line that fits a desktop's banner, then what happened, with paths
    /// and addresses, and the strongest evidence.
    pub body: String,
    /// Warnings held back since the last one about the same culprit, this one not counted.
    /// The body says so too.
    pub suppressed: u64,
}

impl Warning {
    /// The body with the number of the entry that it is about, and the next step, as its second
    /// line. Without a number where the journal gave none.
    pub fn body_with_next_step(&self, entry: Option<u64>) -> String {
        // What the machine's users do, only administrators may read.
        let sudo = if is_machines_user(self.uid) {
            "sudo "
        } else {
            ""
        };
        let next = match entry {
            Some(entry) => {
                format!("Entry {entry}. To see what to do: {sudo}sekimori explain {entry}")
            }
            None => format!("To see all entries: {sudo}sekimori log"),
        };
        match self.body.split_once('\n') {
            Some((brief, rest)) => format!("{brief}\n{next}\n{rest}"),
            None => format!("{}\n{next}", self.body),
        }
    }
}

/// How many pieces of evidence a warning names when none is about IRC.
const EVIDENCE_SHOWN: usize = 3;

/// What is kept of a finding until its warning goes out.
#[derive(Debug)]
pub(crate) struct Draft {
    finding: FindingKind,
    uid: u32,
    culprit: Arc<str>,
    title: String,
    body: String,
}

impl Draft {
    pub(crate) fn new(entry: &FindingEntry) -> Self {
        let (title, brief) = head(entry);
        let mut body = format!("{brief}\n{}", finding_sentence(entry));
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
            title,
            body,
        }
    }

    pub(crate) fn finish(self, suppressed: u64, of_others: bool) -> Warning {
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
            title: self.title,
            body,
            suppressed,
        }
    }
}

/// The title, and the first line of the body.
fn head(entry: &FindingEntry) -> (String, String) {
    let case = Case::from(entry);
    match (entry.finding, entry.reason) {
        (FindingKind::IllegalSend, Some(reason)) => {
            let cause = CaseKind::of(reason, &case);
            (cause.title(entry.observed), cause.brief(&case))
        }
        // Nothing was refused, and nothing points to a bot.
        (FindingKind::IllegalSend, None) => (
            "Mail was sent while nobody was there".to_owned(),
            format!(
                "{} sent mail, and nobody had used this computer for a while.",
                short_name(&entry.program)
            ),
        ),
        (FindingKind::BotSuspected, reason) => {
            let culprit = short_name(entry.culprit.as_ref().unwrap_or(&entry.program));
            let did = if reason.is_some() {
                "tried to send mail and may be a bot"
            } else {
                "may be a bot"
            };
            let title = "This computer may be infected by a bot".to_owned();
            (title, format!("{culprit} {did}."))
        }
    }
}
