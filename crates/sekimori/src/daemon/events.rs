//! Reports and samples of the kernel programs → events → actions.

use abi::{Counter, Interest};
use engine::{Action, Event, Wish};
use linux::decode::{self, GateNames};
use linux::gate::{Events, Gate};
use linux::sample;

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
                    let actions = engine.handle(Event::Sampled(sample), at);
                    for action in &actions {
                        if let Action::Sample { cookie, wish } = action
                            && let Err(error) = gate.set_interest(*cookie, interest(*wish))
                        {
                            outbox.trouble(&error.to_string());
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

const fn interest(wish: Wish) -> Interest {
    match wish {
        Wish::Enough => Interest::Enough,
        Wish::Follow => Interest::Follow,
    }
}
