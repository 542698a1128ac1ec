//! Mailers with a grant that run code of others: the kernel asks for a look, and a grant to such code
//! ends here.
//!
//! The kernel asks in a ring buffer of its own, which the keeper reads itself: neither a watcher that
//! has broken nor a flood of other reports holds a look up.

use policy::Tamper;

use linux::code::{Asked, Loaded};
use linux::roots;

use super::Keeper;
use crate::channel::news::News;
use crate::clock;
use crate::output::trouble;

/// Looks in a row before all else gets its turn.
const LOOKS_AT_ONCE: usize = 16;

impl Keeper {
    /// Answers what the kernel asks.
    pub(super) fn look_at_code(&mut self) {
        let mut report = Vec::new();
        for _ in 0..LOOKS_AT_ONCE {
            if !self.code.next(&mut report) {
                return;
            }
            if let Some(asked) = roots::Asked::read(&report) {
                self.look_at_script(&asked);
                continue;
            }
            let Some(asked) = Asked::read(&report) else {
                continue;
            };
            let (sign, file) = match self.looks.look(asked) {
                Loaded::Roots => {
                    self.gate.looked(asked.pid, asked.asked_ns);
                    continue;
                }
                Loaded::Others(file) => (Tamper::LOADED_CODE, Some(file)),
                Loaded::Unknown => (Tamper::UNREADABLE, None),
            };
            self.end_grants(asked, sign, file);
        }
    }

    /// Root runs a script of which nobody has looked yet who can write it.
    fn look_at_script(&mut self, asked: &roots::Asked) {
        let writer = self.looks.writer(asked);
        if let Err(error) = self.gate.judge_script(asked, writer) {
            trouble(&error.to_string());
        }
    }

    fn end_grants(&mut self, asked: Asked, sign: Tamper, file: Option<String>) {
        if let Err(error) = self.gate.spoil(asked.pid, sign, clock::boot_ns()) {
            trouble(&error.to_string());
        }
        // After the end of the grant: what waited for the look does not leave.
        self.gate.looked(asked.pid, asked.asked_ns);
        self.waiting.push(News::Loaded {
            pid: asked.pid,
            uid: asked.uid,
            destination: asked.destination,
            file,
            observed: self.options.observe,
        });
    }
}
