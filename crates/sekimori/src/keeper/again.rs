//! Processes that are older than the gate are judged again when registrations change.
//!
//! The look at them takes as long as they let themselves be read, so it happens beside the loop, with
//! maps of its own. The loop puts the new records in force, and only when no registration has changed
//! since the look began: a program that was unregistered meanwhile must not vouch for anybody.

use linux::decode::{GateNames, Names as _};
use linux::gate::Gate;
use linux::programs::Programs;
use linux::seed::{self, Looked};
use serde_json::{Value, json};

use super::Keeper;
use super::looker::{Found, Lane};
use super::sockets::Asked;
use crate::control::protocol::Line;
use crate::control::server::failed;
use crate::output::trouble;

/// How many programs a notice names.
const NAMED: usize = 8;

/// What is under way.
#[derive(Default)]
pub struct Again {
    /// A look is being taken.
    running: bool,
    /// Registrations have changed since it began.
    wanted: bool,
    /// Who waits for the end of it.
    asked: Vec<Asked>,
    /// Processes that have become the user's since somebody asked.
    clean: Vec<Value>,
}

impl Keeper {
    /// Has the processes that are older than the gate looked at, now or after the look that is under way.
    pub(super) fn judge_again(&mut self) {
        // Where nothing was known of the users of an older gate, nobody becomes one without a login.
        if self.loaded.nothing_carried {
            return self.answer_judged(&[]);
        }
        if self.again.running {
            self.again.wanted = true;
            return;
        }
        self.again.running = true;
        self.again.wanted = false;
        let pins = self.gate.pins().clone();
        let cgroup = self.cgroup.clone();
        let look = move || {
            let looked = Gate::open(&pins).map(|mut gate| seed::look_again(&mut gate, &cgroup));
            Some(Found::Judged(looked))
        };
        self.looker.begin(Lane::Commands, Box::new(look));
    }

    /// The same, and somebody waits for what comes of it.
    pub(super) fn judge_again_for(&mut self, asked: Asked) {
        self.again.asked.push(asked);
        self.judge_again();
    }

    /// Takes what the look has found.
    pub(super) fn judged_again(&mut self, looked: Result<Looked, linux::Error>) {
        self.again.running = false;
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => {
                trouble(&format!(
                    "processes that are older than the gate could not be judged again: {error}"
                ));
                Looked::default()
            }
        };
        if self.again.wanted {
            return self.judge_again();
        }
        let clean = match seed::apply(&mut self.gate, looked.judged) {
            Ok(clean) => clean,
            Err(error) => {
                trouble(&error.to_string());
                Vec::new()
            }
        };
        let mut programs = Programs::default();
        let mut names = GateNames {
            gate: &self.gate,
            programs: &mut programs,
        };
        let mut shown = |pid: u32, index: u32| {
            let name = names.name(index).map(|name| name.to_string());
            json!({ "pid": pid, "program": name })
        };
        let clean: Vec<Value> = clean
            .iter()
            .map(|(pid, record)| shown(*pid, record.program))
            .collect();
        let start_again: Vec<Value> = looked
            .start_again
            .iter()
            .filter_map(|pid| Some(shown(*pid, self.gate.process(*pid)?.program)))
            .collect();
        if !clean.is_empty() {
            self.notice(clean_words(&clean));
            if !start_again.is_empty() {
                self.notice(start_again_words(&start_again));
            }
        }
        self.again.clean.extend(clean);
        self.answer_judged(&start_again);
    }

    fn answer_judged(&mut self, start_again: &[Value]) {
        let asked = std::mem::take(&mut self.again.asked);
        if asked.is_empty() {
            return;
        }
        let clean = std::mem::take(&mut self.again.clean);
        let answer = json!({ "not_foreign_any_more": clean, "start_again": start_again });
        for one in asked {
            one.answer(|_, _| vec![Line::Item(answer.clone())]);
        }
    }

    /// Nobody waits for a daemon that ends.
    pub(super) fn give_up_judging(&mut self) {
        for one in std::mem::take(&mut self.again.asked) {
            one.answer(|_, _| vec![failed(1, "the daemon ends".to_owned())]);
        }
    }
}

/// For the journal.
fn clean_words(clean: &[Value]) -> String {
    let count = match clean.len() {
        1 => "1 process that is older than the gate is".to_owned(),
        count => format!("{count} processes that are older than the gate are"),
    };
    format!(
        "registrations changed: {count} not foreign any more: {}",
        list(clean)
    )
}

/// For the journal and for people.
pub fn start_again_words(start_again: &[Value]) -> String {
    format!(
        "these programs were started before what started them was registered; close them and start them \
         again: {}",
        list(start_again)
    )
}

fn list(processes: &[Value]) -> String {
    let named = processes.iter().take(NAMED).map(|process| {
        format!(
            "{} (process {})",
            engine::printable(process["program"].as_str().unwrap_or("?")),
            process["pid"]
        )
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if processes.len() > NAMED {
        text.push_str(&format!(", and {} more", processes.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let many: Vec<Value> = (1..=10)
            .map(|pid| json!({ "pid": pid, "program": "/usr/bin/xterm" }))
            .collect();
        let words = clean_words(&many);
        assert!(words.starts_with("registrations changed: 10 processes"));
        assert!(words.contains("/usr/bin/xterm (process 1)") && words.ends_with("and 2 more"));
        assert!(clean_words(&many[..1]).contains("1 process that is"));
    }
}
