//! Performs what the engine asks for: entries go to the journal and to the log on standard
//! error, warnings to the terminal and the desktop.
//!
//! Enforcement does not depend on any of it. When the journal cannot be written, that is
//! said once, and what was not kept is counted.

use engine::{Action, Timestamp, Warning};
use journal::{Journal, NewEntry};

use crate::notify::Notifier;
use crate::render::{self, Style};

/// Entries that are written in one transaction.
const BATCH: usize = 512;

struct Pending {
    time_ns: u64,
    kind: &'static str,
    uid: Option<u32>,
    body: String,
}

/// What waits to be written or delivered.
pub struct Outbox {
    pending: Vec<Pending>,
    notifier: Option<Notifier>,
    style: Style,
    /// Entries that the journal did not take.
    unwritten: u64,
    journal_failed: bool,
}

impl Outbox {
    /// An empty one. `notify`: whether warnings go to the desktop too.
    pub fn new(notify: bool) -> Self {
        use std::io::IsTerminal as _;
        let style = Style {
            colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let mut outbox = Self {
            pending: Vec::new(),
            notifier: None,
            style,
            unwritten: 0,
            journal_failed: false,
        };
        outbox.set_notify(notify);
        outbox
    }

    /// Whether warnings go to the desktop too.
    pub fn set_notify(&mut self, notify: bool) {
        // The link, not what it leads to now: after an upgrade of the file it still works.
        self.notifier = notify.then(|| Notifier::new("/proc/self/exe".into()));
    }

    /// Whether something has to be looked after without any new event.
    pub fn has_work(&self) -> bool {
        self.notifier.as_ref().is_some_and(Notifier::is_busy)
            || !self.pending.is_empty()
            || self.journal_failed
    }

    /// Entries that were lost because the journal could not be written.
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Performs actions that follow from an event at `at`.
    pub fn perform(&mut self, journal: &mut Journal, actions: Vec<Action>, at: Timestamp) {
        for action in actions {
            match action {
                Action::Append(entry) => {
                    let body = serde_json::to_string(&entry).unwrap_or_default();
                    self.pending.push(Pending {
                        time_ns: at.0,
                        kind: entry.kind_word(),
                        uid: entry.uid(),
                        body,
                    });
                    if self.pending.len() >= BATCH {
                        self.flush(journal);
                    }
                }
                Action::Warn(warning) => self.warn(&warning),
                // The gate's, see `events`.
                Action::Sample { .. } => {}
            }
        }
    }

    /// A notice of the daemon's own, when there is no engine yet.
    pub fn notice(&mut self, journal: &mut Journal, text: String) {
        let entry = engine::Entry::Notice(engine::NoticeEntry {
            text,
            ..engine::NoticeEntry::default()
        });
        self.perform(journal, vec![Action::Append(entry)], crate::clock::now());
        self.flush(journal);
    }

    /// Writes what waits, and prints it.
    pub fn flush(&mut self, journal: &mut Journal) {
        if let Some(notifier) = &mut self.notifier {
            notifier.reap();
        }
        if self.pending.is_empty() {
            return;
        }
        let entries: Vec<_> = self
            .pending
            .iter()
            .map(|entry| NewEntry {
                time_ns: entry.time_ns,
                kind: entry.kind,
                uid: entry.uid,
                body: &entry.body,
            })
            .collect();
        let ids = match journal.append(&entries) {
            Ok(ids) => {
                if self.journal_failed {
                    self.journal_failed = false;
                    eprintln!(
                        "sekimori: the journal can be written again; {} entries were not kept",
                        self.unwritten
                    );
                }
                ids
            }
            Err(error) => {
                self.unwritten += entries.len() as u64;
                if !self.journal_failed {
                    self.journal_failed = true;
                    eprintln!("sekimori: {error}; the gate goes on, but what it does is not kept");
                }
                vec![0; entries.len()]
            }
        };
        for (entry, id) in self.pending.drain(..).zip(ids) {
            let stored = journal::StoredEntry {
                id,
                time_ns: entry.time_ns,
                kind: entry.kind.to_owned(),
                uid: entry.uid,
                body: entry.body,
            };
            eprintln!("{}", render::log_line(&stored.to_json(), self.style));
        }
    }

    /// Something went wrong that is no event of the gate.
    pub fn trouble(&mut self, text: &str) {
        eprintln!("sekimori: {text}");
    }

    fn warn(&mut self, warning: &Warning) {
        eprintln!("WARNING: {}\n{}", warning.title, warning.body);
        let missed = self
            .notifier
            .as_mut()
            .map_or(0, |notifier| notifier.deliver(warning));
        if missed > 0 {
            self.trouble(&format!(
                "{missed} desktop notifications could not be started"
            ));
        }
    }
}
