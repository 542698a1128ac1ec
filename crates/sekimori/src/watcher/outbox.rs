//! Performs what the engine asks for: entries go to the journal and to the log on standard
//! error, warnings to the terminal, and by the keeper to the desktop.
//!
//! Enforcement does not depend on any of it. When the journal cannot be written, that is
//! said once, and what was not kept is counted.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Action, FindingKind, Timestamp, Warning};
use journal::{Journal, NewEntry};

use super::Place;
use crate::channel::link::Link;
use crate::channel::request::{BODY_BYTES_MAX, LINE_BYTES_MAX, Request, TITLE_BYTES_MAX};
use crate::control::waiters::Waiters;
use crate::notify::cut;
use crate::output::{tell, trouble};
use crate::render::{self, Style};
use crate::syslog;

/// Entries that are written in one transaction.
const BATCH: usize = 512;
/// So many entries are always taken before the journal is pruned, and a tenth of what it may
/// hold: looking through all of it costs time.
const PRUNE_AFTER: u64 = 1000;
/// How often it is tried to go on with another journal. Whoever spoils them one after the
/// other gets no more than this.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How many findings are remembered by number. A warning is about one of the last minute, and no more
/// culprits are told apart in that time.
const NUMBERED_MAX: usize = 256;
/// Lines for the system log that wait. The keeper lets fewer through at once.
const LINES_MAX: usize = 256;

struct Pending {
    time_ns: u64,
    kind: &'static str,
    uid: Option<u32>,
    body: String,
    /// What it is about, when it is a finding.
    about: Option<About>,
    /// The line for the system log, when it is a refusal that administrators are told of.
    line: Option<String>,
}

/// What a finding and a warning have in common: user, culprit and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct About(u32, Arc<str>, FindingKind);

impl Pending {
    fn new(entry: &engine::Entry, at: Timestamp) -> Self {
        let (mut about, mut line) = (None, None);
        match entry {
            engine::Entry::Finding(finding) => {
                let culprit = finding.culprit.as_ref().unwrap_or(&finding.program);
                about = Some(About(finding.uid, culprit.clone(), finding.finding));
            }
            engine::Entry::Verdict(verdict) if syslog::is_reported(verdict) => {
                line = Some(syslog::line(verdict));
            }
            _ => {}
        }
        Self {
            time_ns: at.0,
            kind: entry.kind_word(),
            uid: entry.uid(),
            body: serde_json::to_string(entry).unwrap_or_default(),
            about,
            line,
        }
    }
}

/// The journal, and what waits to be written.
pub struct Outbox {
    pending: Vec<Pending>,
    place: Place,
    journal: Option<Journal>,
    /// When it was last tried to open it for writing.
    tried: Instant,
    style: Style,
    /// Entries that the journal did not take.
    unwritten: u64,
    journal_failed: bool,
    /// Entries that were written since old ones were last removed.
    unpruned: u64,
    /// When it was last tried to go on with another journal.
    renewed: Option<Instant>,
    /// When a few entries of an older journal were last indexed; none when all are.
    indexed: Option<Instant>,
    waiters: Waiters,
    /// The numbers of the last findings, newest at the end.
    numbered: VecDeque<(About, u64)>,
    /// Lines for the system log that wait to be sent, each with its user.
    lines: Vec<(u32, String)>,
    /// Lines that had no room among them.
    lines_left_out: u32,
}

impl Outbox {
    /// An empty one, without a journal.
    pub fn new(place: Place, style: Style) -> Self {
        Self {
            pending: Vec::new(),
            place,
            journal: None,
            tried: Instant::now(),
            style,
            unwritten: 0,
            journal_failed: false,
            unpruned: 0,
            renewed: None,
            indexed: None,
            waiters: Waiters::default(),
            numbered: VecDeque::new(),
            lines: Vec::new(),
            lines_left_out: 0,
        }
    }

    /// Who waits for new entries.
    pub fn waiters(&self) -> Waiters {
        self.waiters.clone()
    }

    /// Whether anybody waits for new entries.
    pub fn is_awaited(&self) -> bool {
        self.waiters.any()
    }

    /// Whether the journal is of a version that had no index by user, which is made in steps.
    pub fn is_indexing(&self) -> bool {
        self.indexed.is_some()
    }

    /// Indexes a few more entries, when the last were indexed `every` ago.
    pub fn index_some(&mut self, every: Duration) {
        if self.indexed.is_none_or(|at| at.elapsed() < every) {
            return;
        }
        let more = self.journal.as_mut().map(Journal::index_some);
        // A journal that takes nothing is indexed when it is opened again.
        self.indexed = matches!(more, Some(Ok(true))).then(Instant::now);
    }

    /// Opens the journal. Where it cannot be written, it is tried again later. Returns what
    /// has to be told of it.
    pub fn open_journal(&mut self) -> Option<String> {
        self.tried = Instant::now();
        match Journal::open(&self.place.inside) {
            Ok(opened) => {
                self.journal = Some(opened.journal);
                self.indexed = Some(self.tried);
                Some(set_aside(&self.place, &opened.set_aside?))
            }
            Err(error) => {
                self.not_kept(&error);
                None
            }
        }
    }

    /// A journal that could not be written may be by now. Returns what has to be told of it.
    pub fn reopen_journal(&mut self, every: Duration) -> Option<String> {
        if self.journal.is_some() || self.tried.elapsed() < every {
            return None;
        }
        let said = self.open_journal();
        self.journal.as_ref()?;
        self.journal_failed = false;
        Some(said.unwrap_or_else(|| {
            format!(
                "the journal can be written again; {} entries were not kept",
                self.unwritten
            )
        }))
    }

    /// Whether so much was written that there may be far more than `max_entries`: a program
    /// that is refused all the time would fill the disk before an hour is over.
    pub fn has_outgrown(&self, max_entries: u64) -> bool {
        self.unpruned > PRUNE_AFTER.max(max_entries / 10)
    }

    /// Removes what is old.
    pub fn prune(&mut self, keep_ns: u64, max_entries: u64) {
        self.unpruned = 0;
        let now_ns = crate::clock::now().0;
        let pruned = self
            .journal
            .as_mut()
            .map(|journal| journal.prune(now_ns, keep_ns, max_entries));
        if let Some(Err(error)) = pruned {
            trouble(&self.place.shown(&error));
        }
    }

    /// Whether something has to be looked after without any new event.
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty() || self.journal_failed || self.journal.is_none()
    }

    /// Entries that were lost because the journal could not be written.
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Performs actions that follow from an event at `at`.
    pub fn perform(&mut self, link: &mut Link, actions: Vec<Action>, at: Timestamp) {
        for action in actions {
            match action {
                Action::Append(entry) => {
                    self.pending.push(Pending::new(&entry, at));
                    if self.pending.len() >= BATCH {
                        self.flush();
                    }
                }
                Action::Warn(warning) => self.warn(link, &warning),
                // The gate's, see `events`.
                Action::Sample { .. } => {}
            }
        }
    }

    /// Writes what waits, and prints it.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.journal.as_mut().map(Journal::check)
            && !self.renew(&error)
            && error.is_damage()
        {
            self.not_kept(&error);
        }
        if self.pending.is_empty() {
            return;
        }
        let mut written = self.append();
        if let Some(Err(error)) = &written
            && self.renew(error)
        {
            written = self.append();
        }
        let ids = match written {
            Some(Ok(ids)) => {
                self.unpruned += ids.len() as u64;
                if self.journal_failed {
                    self.journal_failed = false;
                    trouble(&format!(
                        "the journal can be written again; {} entries were not kept",
                        self.unwritten
                    ));
                }
                ids
            }
            failed => {
                self.unwritten += self.pending.len() as u64;
                if let Some(Err(error)) = failed {
                    self.not_kept(&error);
                }
                vec![0; self.pending.len()]
            }
        };
        let about: Vec<_> = self.pending.iter().map(|entry| entry.uid).collect();
        self.waiters.tell(&about);
        for (entry, id) in self.pending.drain(..).zip(ids) {
            if let Some(line) = entry.line {
                if self.lines.len() < LINES_MAX {
                    let uid = entry.uid.unwrap_or(0);
                    self.lines.push((uid, syslog::numbered(&line, id)));
                } else {
                    self.lines_left_out = self.lines_left_out.saturating_add(1);
                }
            }
            if let Some(about) = entry.about.filter(|_| id != 0) {
                self.numbered.retain(|(other, _)| *other != about);
                self.numbered.push_back((about, id));
                if self.numbered.len() > NUMBERED_MAX {
                    self.numbered.pop_front();
                }
            }
            let stored = journal::StoredEntry {
                id,
                time_ns: entry.time_ns,
                kind: entry.kind.to_owned(),
                uid: entry.uid,
                body: entry.body,
            };
            tell(&render::log_line(&stored.to_json(), self.style));
        }
    }

    /// Has the keeper send what is for the system log.
    pub fn send_lines(&mut self, link: &mut Link) {
        let mut left_out = std::mem::take(&mut self.lines_left_out);
        for (uid, line) in std::mem::take(&mut self.lines) {
            let request = Request::Syslog {
                uid,
                left_out: std::mem::take(&mut left_out),
                line: cut(&line, LINE_BYTES_MAX),
            };
            // A keeper that is gone is noticed elsewhere.
            let _ = link.ask(&request);
        }
    }

    /// None when there is no journal.
    fn append(&mut self) -> Option<Result<Vec<u64>, journal::Error>> {
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
        self.journal
            .as_mut()
            .map(|journal| journal.append(&entries))
    }

    /// Goes on with another journal when this one broke while it was open. Whether there is
    /// one; it begins with saying so.
    fn renew(&mut self, because: &journal::Error) -> bool {
        let lately = self.renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY);
        let Some(journal) = self.journal.as_mut().filter(|_| !lately) else {
            return false;
        };
        if !because.is_damage() {
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
        let text = match &renewed.set_aside {
            Some(aside) => set_aside(&self.place, aside),
            None if renewed.begun => "the journal was removed: a new one was begun".to_owned(),
            None => "the journal was replaced: what lies there now is gone on with".to_owned(),
        };
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
            let error = self.place.shown(error);
            trouble(&format!(
                "{error}; the gate goes on, but what it does is not kept"
            ));
        }
    }

    /// The number of the finding that a warning is about. None when it stands for many.
    fn number(&self, warning: &Warning) -> Option<u64> {
        let about = About(warning.uid, warning.culprit.clone()?, warning.finding);
        let found = self.numbered.iter().find(|(other, _)| *other == about);
        found.map(|(_, id)| *id)
    }

    fn warn(&mut self, link: &mut Link, warning: &Warning) {
        // The finding gets its number when it is written, and the warning names it.
        self.flush();
        let body = warning.body_with_next_step(self.number(warning));
        tell(&format!("WARNING: {}\n{body}", warning.title));
        let request = Request::Warn {
            uid: warning.uid,
            urgent: warning.finding == FindingKind::BotSuspected,
            title: cut(&warning.title, TITLE_BYTES_MAX),
            body: cut(&body, BODY_BYTES_MAX),
        };
        let missed = link.ask(&request).ok().flatten();
        let missed = missed.and_then(|bytes| bytes.try_into().ok());
        let missed = missed.map_or(0, u32::from_le_bytes);
        if missed > 0 {
            trouble(&format!(
                "{missed} desktop notifications could not be started"
            ));
        }
    }
}

fn set_aside(place: &Place, aside: &Path) -> String {
    place.shown(&format_args!(
        "the journal was damaged: it was set aside as {} and a new one begun",
        aside.display()
    ))
}
