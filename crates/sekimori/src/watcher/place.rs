//! Where a refused program ran, for administrators: its unit, and the script of an interpreter.

use std::sync::Arc;

use engine::{Action, Entry, VerdictEntry, is_script};

use super::Watcher;
use crate::channel::request::{Request, UNIT_PIDS_MAX};
use crate::syslog::is_reported;

/// Unit and script, as far as they are known.
type Place = (Option<Arc<str>>, Option<Arc<str>>);

impl Watcher {
    /// Adds it to a refusal that administrators are told of, and to what else was found of the same
    /// process. The process may have ended by now: one that started it lives on while it waits.
    pub(super) fn add_place(&mut self, actions: &mut [Action]) {
        let reported = actions.iter().find_map(|action| match action {
            Action::Append(Entry::Verdict(verdict)) if is_reported(verdict) => Some(verdict),
            _ => None,
        });
        let Some(verdict) = reported else { return };
        let pid = verdict.pid;
        let Some((unit, script)) = self.ask_place(&question(verdict)) else {
            return;
        };
        for action in actions {
            let (found, place) = match action {
                Action::Append(Entry::Verdict(entry)) => {
                    (entry.pid, (&mut entry.unit, &mut entry.script))
                }
                Action::Append(Entry::Finding(entry)) => {
                    (entry.pid, (&mut entry.unit, &mut entry.script))
                }
                _ => continue,
            };
            if found == pid {
                place.0.clone_from(&unit);
                place.1.clone_from(&script);
            }
        }
    }

    fn ask_place(&mut self, question: &Request) -> Option<Place> {
        let answer = self.link.ask(question).ok().flatten()?;
        let answer = String::from_utf8_lossy(&answer);
        let (unit, script) = answer.split_once('\0')?;
        let known = |text: &str| (!text.is_empty()).then(|| text.into());
        Some((known(unit), known(script)))
    }
}

/// Asks about the process itself, then about those that led to it, the youngest first. Never about the
/// service manager, whose own unit says nothing.
fn question(verdict: &VerdictEntry) -> Request {
    let mut pids: Vec<u32> = Vec::with_capacity(UNIT_PIDS_MAX);
    let led = verdict.lineage.iter().rev().map(|link| link.pid);
    for pid in std::iter::once(verdict.pid).chain(led) {
        if pid > 1 && !pids.contains(&pid) && pids.len() < UNIT_PIDS_MAX {
            pids.push(pid);
        }
    }
    let interpreter = verdict.culprit.as_deref().is_some_and(is_script);
    Request::Unit {
        pids,
        interpreter: verdict.culprit_pid.filter(|_| interpreter).unwrap_or(0),
    }
}
