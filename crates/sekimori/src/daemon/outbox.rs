//! Performs what the engine asks for: entries go to the journal and to the log on standard
//! error, warnings to the terminal and the desktop.
//!
//! Enforcement does not depend on any of it. When the journal cannot be written, that is
//! said once, and what was not kept is counted.

use std::time::{Duration, Instant};

use engine::{Action, Timestamp, Warning};
use journal::{Journal, NewEntry};

use crate::notify::Notifier;
use crate::render::{self, Style};

/// Entries that are written in one transaction.
const BATCH: usize = 512;
/// How often it is tried to go on with another journal. Whoever spoils them one after the
/// other gets no more than this.
const RENEW_EVERY: Duration = Duration::from_secs(10);

struct Pending {
    time_ns: u64,
    kind: &'static str,
    uid: Option<u32>,
    body: String,
}

impl Pending {
    fn new(entry: &engine::Entry, at: Timestamp) -> Self {
        Self {
            time_ns: at.0,
            kind: entry.kind_word(),
            uid: entry.uid(),
            body: serde_json::to_string(entry).unwrap_or_default(),
        }
    }
}

/// What waits to be written or delivered.
pub struct Outbox {
    pending: Vec<Pending>,
    notifier: Option<Notifier>,
    style: Style,
    /// Entries that the journal did not take.
    unwritten: u64,
    journal_failed: bool,
    /// When it was last tried to go on with another journal.
    renewed: Option<Instant>,
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
            renewed: None,
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
                    self.pending.push(Pending::new(&entry, at));
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
        if let Err(error) = journal.check()
            && !self.renew(journal, &error)
            && error.is_damage()
        {
            self.not_kept(&error);
        }
        if self.pending.is_empty() {
            return;
        }
        let mut written = self.append(journal);
        if let Err(error) = &written
            && self.renew(journal, error)
        {
            written = self.append(journal);
        }
        let ids = match written {
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
                self.unwritten += self.pending.len() as u64;
                self.not_kept(&error);
                vec![0; self.pending.len()]
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

    fn append(&self, journal: &mut Journal) -> Result<Vec<u64>, journal::Error> {
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
        journal.append(&entries)
    }

    /// Goes on with another journal when this one broke while it was open. Whether there is
    /// one; it begins with saying so.
    fn renew(&mut self, journal: &mut Journal, because: &journal::Error) -> bool {
        let lately = self.renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY);
        if lately || !because.is_damage() {
            return false;
        }
        self.renewed = Some(Instant::now());
        let renewed = match journal.renew(because) {
            Ok(renewed) => renewed,
            Err(error) => {
                self.not_kept(&error);
                return false;
            }
        };
        let happened = match &renewed.set_aside {
            Some(aside) => format!(
                "the journal was damaged: it was set aside as {} and a new one begun",
                aside.display()
            ),
            None if renewed.begun => "the journal was removed: a new one was begun".to_owned(),
            None => "the journal was replaced: what lies there now is gone on with".to_owned(),
        };
        let text = format!(
            "{happened}; {} registered programs were carried over",
            renewed.programs
        );
        let entry = engine::Entry::Notice(engine::NoticeEntry {
            text,
            ..engine::NoticeEntry::default()
        });
        self.pending
            .insert(0, Pending::new(&entry, crate::clock::now()));
        true
    }

    /// Says once that the journal takes nothing.
    fn not_kept(&mut self, error: &journal::Error) {
        if !self.journal_failed {
            self.journal_failed = true;
            eprintln!("sekimori: {error}; the gate goes on, but what it does is not kept");
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
