//! Reports and samples of the kernel programs → events → actions.

use abi::Counter;
use engine::{Action, Entry, Event, FindingEntry};
use linux::decode::{self, GateNames, Names};
use linux::gate::{Events, Gate};
use linux::sample;
use policy::Tamper;

use super::Daemon;
use crate::clock;

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
    /// What was lost before this daemon started is not news.
    pub fn at(gate: &Gate) -> Self {
        Self(LOSSES.map(|(counter, _)| gate.counter(counter)))
    }
}

impl Daemon {
    /// Handles the samples that wait, at most `limit` of them. They come before the verdicts:
    /// what a program said before it tried to send belongs to the finding.
    pub(super) fn take_samples(&mut self, samples: &mut Events, limit: usize) {
        let (gate, programs) = (&mut self.gate, &mut self.programs);
        let (engine, outbox, journal) = (&mut self.engine, &mut self.outbox, &mut self.journal);
        samples.drain(limit, |bytes| {
            let mut names = GateNames { gate, programs };
            match sample::decode(bytes, &mut names) {
                Ok((boot_ns, sample)) => {
                    let at = clock::since_boot(boot_ns);
                    let mut actions = engine.handle(Event::Sampled(sample), at);
                    for action in &mut actions {
                        match action {
                            Action::Sample { cookie, wish } => {
                                if let Ok(interest) = sample::interest(bytes, *wish)
                                    && let Err(error) = gate.set_interest(*cookie, &interest)
                                {
                                    outbox.trouble(&error.to_string());
                                }
                            }
                            Action::Append(Entry::Finding(finding)) => {
                                let mut names = GateNames { gate, programs };
                                add_lineage(finding, &mut names);
                            }
                            Action::Append(_) | Action::Warn(_) => {}
                        }
                    }
                    outbox.perform(journal, actions, at);
                }
                Err(error) => outbox.trouble(&error.to_string()),
            }
        });
        outbox.flush(journal);
    }

    /// Handles what waits in the ring buffer, at most `limit` reports.
    pub(super) fn take_reports(&mut self, reports: &mut Events, limit: usize) {
        let (gate, programs) = (&self.gate, &mut self.programs);
        let (engine, outbox, journal) = (&mut self.engine, &mut self.outbox, &mut self.journal);
        reports.drain(limit, |bytes| {
            let mut names = GateNames { gate, programs };
            match decode::decode(bytes, &mut names) {
                Ok(Some((boot_ns, event))) => {
                    let at = clock::since_boot(boot_ns);
                    let actions = engine.handle(event, at);
                    outbox.perform(journal, actions, at);
                }
                Ok(None) => {}
                Err(error) => outbox.trouble(&error.to_string()),
            }
        });
        outbox.flush(journal);
    }

    /// Says what was lost since it was last said.
    pub(super) fn tell_losses(&mut self) {
        let now = clock::now();
        for (slot, (counter, what)) in LOSSES.into_iter().enumerate() {
            let total = self.gate.counter(counter);
            let told = &mut self.lost_told.0[slot];
            if total > *told {
                let count = total - *told;
                *told = total;
                let actions = self.engine.handle(Event::Lost { what, count }, now);
                self.outbox.perform(&mut self.journal, actions, now);
            }
        }
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
    }
}
