//! Reports and samples of the kernel programs → events → actions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use abi::{Counter, FOLD_AFTER, VerdictEvent};
use engine::{Action, Culprit, Entry, Event, FindingEntry, Judged};
use linux::decode::{self, Names};
use linux::gate::Events;
use linux::sample;
use policy::{Reason, Tamper};

use super::names::Asked;
use super::{EVENTS_AT_ONCE, FOLDS_AFTER, LOSSES_AFTER, Watcher};
use crate::channel::link::Link;
use crate::channel::news::LIST_BYTES_MAX;
use crate::channel::request::Request;
use crate::clock;
use crate::output::trouble;

/// What the kernel counts as lost, in the words that the user reads.
const LOSSES: [(Counter, &str); 5] = [
    (Counter::EventsLost, "verdicts and connections"),
    (Counter::ProgramsLost, "programs"),
    (Counter::ProcessesLost, "processes"),
    (Counter::FlowsLost, "connection states"),
    (Counter::SamplesLost, "samples of connections"),
];

/// How much of each loss was told.
pub struct LostTold([u64; LOSSES.len()]);

impl LostTold {
    /// What was lost before this watcher started is not news.
    pub fn at(link: &mut Link) -> Self {
        Self(losses(link).unwrap_or_default())
    }
}

/// What was lost until now, of each kind. None when the keeper does not say.
fn losses(link: &mut Link) -> Option<[u64; LOSSES.len()]> {
    let counters = link.ask(&Request::Counters).ok().flatten()?;
    let of = |wanted: Counter| {
        let place = Counter::ALL
            .iter()
            .position(|(counter, _)| *counter as u32 == wanted as u32)?;
        let number = counters.chunks_exact(8).nth(place)?;
        Some(u64::from_le_bytes(number.try_into().ok()?))
    };
    let all: Option<Vec<u64>> = LOSSES.iter().map(|(counter, _)| of(*counter)).collect();
    all?.try_into().ok()
}

impl Watcher {
    /// Handles the samples that wait, at most `limit` of them.
    pub(super) fn take_samples(&mut self, samples: &mut Events, limit: usize) {
        self.sampled_until_ns = clock::boot_ns();
        let mut count = 0;
        let mut bytes = Vec::new();
        while count < limit && samples.next(&mut bytes) {
            self.take_sample(&bytes);
            count += 1;
        }
        self.taken(count);
    }

    fn take_sample(&mut self, bytes: &[u8]) {
        let (link, known) = (&mut self.link, &mut self.known);
        let mut names = Asked { link, known };
        let (boot_ns, sample) = match sample::decode(bytes, &mut names) {
            Ok(decoded) => decoded,
            Err(error) => return trouble(&error.to_string()),
        };
        let at = clock::since_boot(boot_ns);
        let mut actions = self.engine.handle(Event::Sampled(sample), at);
        for action in &mut actions {
            match action {
                Action::Sample { cookie, wish } => {
                    let wanted = sample::interest(bytes, *wish).map(|interest| {
                        let cookie = *cookie;
                        names.link.ask(&Request::SetInterest { cookie, interest })
                    });
                    if let Ok(Err(error)) = wanted {
                        trouble(&error);
                    }
                }
                Action::Append(Entry::Finding(finding)) => add_lineage(finding, &mut names),
                Action::Append(_) | Action::Warn(_) => {}
            }
        }
        self.outbox.perform(&mut self.link, actions, at);
    }

    /// Handles what waits in the ring buffer, at most `limit` reports. What a program said before it
    /// tried to send belongs to the finding, so samples come first: also those that came in since
    /// they were looked at last.
    pub(super) fn take_reports(
        &mut self,
        reports: &mut Events,
        samples: &mut Events,
        limit: usize,
    ) {
        let mut count = 0;
        let mut bytes = Vec::new();
        while count < limit && reports.next(&mut bytes) {
            count += 1;
            let begun_ns = decode::boot_ns(&bytes);
            if begun_ns.is_some_and(|boot_ns| boot_ns >= self.sampled_until_ns) {
                self.take_samples(samples, EVENTS_AT_ONCE);
            }
            self.take_report(&bytes);
        }
        // What the kernel could not tell because the buffer was full, it counts.
        self.may_be_counted |= count == limit;
        self.taken(count);
    }

    fn take_report(&mut self, bytes: &[u8]) {
        let (link, known) = (&mut self.link, &mut self.known);
        match decode::decode(bytes, &mut Asked { link, known }) {
            Ok(Some((boot_ns, event))) => {
                if is_refusal(&event) {
                    self.refusals_told += 1;
                    self.may_be_counted |= self.refusals_told >= FOLD_AFTER;
                }
                let at = clock::since_boot(boot_ns);
                let mut actions = self.engine.handle(event, at);
                self.add_place(&mut actions);
                self.outbox.perform(&mut self.link, actions, at);
            }
            Ok(None) => {}
            Err(error) => trouble(&error.to_string()),
        }
    }

    fn taken(&mut self, count: usize) {
        self.outbox.flush();
        if self.may_be_counted && self.folds_due.is_none() {
            self.folds_due = Some(Instant::now() + FOLDS_AFTER);
        }
        if count > 0 && self.losses_due.is_none() {
            self.losses_due = Some(Instant::now() + LOSSES_AFTER);
        }
    }

    /// Handles the refusals that the gate has counted together.
    pub(super) fn take_folds(&mut self) {
        const EACH: usize = size_of::<VerdictEvent>();
        self.folds_due = None;
        self.may_be_counted = false;
        self.refusals_told = 0;
        let answer = self.link.ask(&Request::Folded).ok().flatten();
        let Some((left, events)) = answer.as_deref().and_then(<[u8]>::split_first) else {
            return;
        };
        for bytes in events.chunks_exact(EACH) {
            self.take_report(bytes);
        }
        self.outbox.flush();
        if *left != 0 {
            // A full answer has more behind it.
            let full = events.len() + EACH > LIST_BYTES_MAX;
            let pause = if full { Duration::ZERO } else { FOLDS_AFTER };
            self.folds_due = Some(Instant::now() + pause);
        }
    }

    /// A mailer's grant was ended because of the code that it runs: a refusal whose culprit is the file.
    pub(super) fn tell_loaded(
        &mut self,
        (pid, uid): (u32, u32),
        destination: SocketAddr,
        file: Option<String>,
        observed: bool,
    ) {
        let (link, known) = (&mut self.link, &mut self.known);
        let mut names = Asked { link, known };
        let record = names.process(pid).unwrap_or_default();
        let mut actor = decode::actor(pid, uid, &record, &mut names);
        if actor.program.is_empty()
            && let Some(path) = names.path(pid)
        {
            actor.program = path;
        }
        let sign = match file {
            Some(_) => Tamper::LOADED_CODE,
            None => Tamper::UNREADABLE,
        };
        actor.tampered = actor.tampered.with(sign);
        if let Some(file) = file {
            actor.lineage.culprit = Some(Culprit {
                program: file.into(),
                pid,
            });
        }
        let event = Event::Verdict {
            actor,
            judged: Judged::Packet {
                destination,
                cookie: 0,
            },
            reason: Reason::Tampered,
            observed,
        };
        let now = clock::now();
        let actions = self.engine.handle(event, now);
        self.perform(actions, now);
        self.outbox.flush();
    }

    /// Says what was lost since it was last said.
    pub(super) fn tell_losses(&mut self) {
        let Some(losses) = losses(&mut self.link) else {
            return;
        };
        let now = clock::now();
        for (slot, (_, what)) in LOSSES.into_iter().enumerate() {
            let told = std::mem::replace(&mut self.lost_told.0[slot], losses[slot]);
            let count = losses[slot].saturating_sub(told);
            if count > 0 {
                let actions = self.engine.handle(Event::Lost { what, count }, now);
                self.perform(actions, now);
            }
        }
    }
}

/// Whether the gate counts events of this kind together when there are many.
fn is_refusal(event: &Event) -> bool {
    match event {
        Event::Verdict { reason, .. } => *reason != Reason::Permitted,
        Event::Answered { .. } | Event::Repeated { .. } => true,
        _ => false,
    }
}

/// A finding about conduct comes without its lineage, which the gate has while the process
/// lives.
fn add_lineage(finding: &mut FindingEntry, names: &mut impl Names) {
    if !finding.lineage.is_empty() {
        return;
    }
    if let Some(record) = names.process(finding.pid) {
        let lineage = decode::lineage(&record, names);
        finding.lineage = lineage.links;
        finding.lost = lineage.lost;
        finding.tampered = Tamper(record.tampered);
        let cause = record.cause();
        finding.tampered_by = cause.map(|cause| cause.name.into());
        finding.tampered_flaw = cause.map(|cause| cause.flaw);
    }
}
