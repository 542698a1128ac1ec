//! What on this machine keeps honest programs from sending, and what leaves the gate weaker than it could be.
//!
//! Each check is a file of its own and returns findings. A finding may come with registrations that settle
//! it. Nothing is registered here: see `commands/doctor.rs`.

mod chain;
mod gate;
mod servers;
mod variables;

use std::collections::HashSet;

use linux::gate::Gate;
use linux::pins::Pins;
use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::proposal::{Offer, Proposer};
use crate::registry;
use crate::setup::{Surroundings, find};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work, or the gate does not guard.
    Problem,
    /// The gate guards less than it could; nothing that worked is broken.
    Limit,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Limit => "limit",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check has found it.
    pub check: &'static str,
    /// How much it weighs.
    pub level: Level,
    /// What is so, and what follows from that.
    pub text: String,
    /// What to do about it, other than to register something.
    pub next: Option<String>,
    /// Registrations that settle it: all of them together.
    pub offers: Vec<Offer>,
}

impl Finding {
    fn problem(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Problem,
            text: text.into(),
            next: None,
            offers: Vec::new(),
        }
    }

    fn limit(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Limit,
            ..Self::problem(check, text)
        }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self {
            next: Some(next.into()),
            ..self
        }
    }

    fn offering(self, offers: Vec<Offer>) -> Self {
        Self { offers, ..self }
    }

    /// For `--json`. `registered` says so of each offer.
    pub fn json(&self, registered: &[bool]) -> Value {
        let offers = self.offers.iter().zip(registered);
        json!({
            "type": "finding",
            "check": self.check,
            "level": self.level.word(),
            "text": self.text,
            "next": self.next,
            "offers": offers.map(|(offer, done)| offer.json(*done)).collect::<Vec<_>>(),
            "settled": is_settled(registered),
        })
    }
}

/// Whether all that was offered was registered, and something was.
pub fn is_settled(registered: &[bool]) -> bool {
    !registered.is_empty() && registered.iter().all(|done| *done)
}

/// What the checks look at.
struct Machine<'a> {
    paths: &'a Paths,
    proposer: Proposer,
    registered: HashSet<String>,
    gate: Option<Gate>,
}

/// Looks at this machine.
///
/// # Errors
///
/// When the catalog or the registered programs cannot be read.
pub fn examine(paths: &Paths) -> Result<Vec<Finding>, Failure> {
    let catalog = Catalog::load(Some(std::path::Path::new(crate::catalog::EXTRA_FOLDER)))?;
    let around = Surroundings::of_this_computer();
    let found = find(&catalog, &around);
    let registered = registry::peek(paths)?
        .into_iter()
        .map(|entry| entry.stored.path)
        .collect();
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    let gate = if pins.has_maps() {
        Gate::open(&pins).ok()
    } else {
        None
    };
    let machine = Machine {
        paths,
        proposer: Proposer::new(catalog),
        registered,
        gate,
    };
    let mut findings = gate::check(&machine)?;
    findings.extend(servers::check(&machine, &found, &around));
    findings.extend(chain::check(&machine));
    findings.extend(variables::check(&machine));
    Ok(findings)
}

/// People's user ids: services have lower ones.
const FIRST_PERSON: u32 = 1000;

fn is_person(uid: u32) -> bool {
    uid >= FIRST_PERSON
}

/// `a, b and 2 more`.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
