//! What the journal's refusals teach: which registrations would have let honest mail through, how often
//! and when last, and which refusals no registration should change.
//!
//! Pure but for the proposer, which looks at the files that are proposed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use engine::{LineageLink, VerdictEntry};
use policy::{Origin, Reason, Role};
use serde_json::{Value, json};

use crate::proposal::{Began, Offer, Proposal, Proposer, short_name};

/// Chains that are kept of each proposal.
const CHAINS_MAX: usize = 4;

/// How often something was seen, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Refusals.
    pub count: u64,
    /// The time of the last one, RFC 3339.
    pub last: String,
    /// The number of that entry.
    pub entry: u64,
    /// Programs from the first to the last, as people read them.
    pub chains: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, refusal: &Refusal) {
        self.count += refusal.verdict.count;
        if refusal.id >= self.entry {
            self.entry = refusal.id;
            self.last.clone_from(&refusal.time);
        }
        if self.chains.len() < CHAINS_MAX {
            self.chains.insert(chain(&refusal.verdict.lineage));
        }
    }
}

/// One refusal of the journal.
pub struct Refusal {
    id: u64,
    time: String,
    verdict: VerdictEntry,
}

impl Refusal {
    /// Reads an entry as `log --json` prints it. None when it is no refusal.
    pub fn read(entry: &Value) -> Option<Self> {
        if entry["type"] != "verdict" || entry["verdict"] != "refuse" {
            return None;
        }
        Some(Self {
            id: entry["id"].as_u64()?,
            time: entry["time"].as_str()?.to_owned(),
            verdict: serde_json::from_value(entry.clone()).ok()?,
        })
    }
}

/// A proposal with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// What to register.
    pub offer: Offer,
    /// What was seen.
    pub seen: Seen,
}

/// A program for which nothing is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path.
    pub program: String,
    /// Why, and what to do.
    pub why: String,
    /// What was seen.
    pub seen: Seen,
}

/// All that was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Refusals that were looked at.
    pub refusals: u64,
    /// Those whose programs have been registered since.
    pub settled: u64,
    /// To be registered, the most frequent first.
    pub lessons: Vec<Lesson>,
    /// Not proposed, the most frequent first.
    pub left: Vec<Left>,
}

/// What stands in the way of one refusal.
enum Obstacle {
    Starter(String),
    Sender(String, Began),
    Settled,
    Not(String, String),
}

/// Learns from refusals.
pub fn learn(
    refusals: impl Iterator<Item = Refusal>,
    proposer: &Proposer,
    registered: &HashSet<String>,
) -> Learned {
    let mut learned = Learned::default();
    let mut lessons: BTreeMap<String, Lesson> = BTreeMap::new();
    let mut left: BTreeMap<(String, String), Left> = BTreeMap::new();
    let mut asked: BTreeMap<(String, u8), Proposal> = BTreeMap::new();
    for refusal in refusals {
        learned.refusals += refusal.verdict.count;
        let obstacles = obstacles(&refusal.verdict, registered);
        if obstacles
            .iter()
            .all(|obstacle| matches!(obstacle, Obstacle::Settled))
        {
            learned.settled += refusal.verdict.count;
            continue;
        }
        let mut offers = Vec::new();
        let mut not = None;
        for obstacle in obstacles {
            let (program, proposal) = match obstacle {
                Obstacle::Settled => continue,
                Obstacle::Not(program, why) => (program, Proposal::Not(why)),
                Obstacle::Starter(program) => {
                    let key = (program.clone(), 0);
                    let proposal = asked
                        .entry(key)
                        .or_insert_with(|| proposer.starter(&program));
                    (program, proposal.clone())
                }
                Obstacle::Sender(program, began) => {
                    let key = (program.clone(), 1 + began as u8);
                    let proposal = asked
                        .entry(key)
                        .or_insert_with(|| proposer.sender(&program, began));
                    (program, proposal.clone())
                }
            };
            match proposal {
                Proposal::Offer(offer) => offers.push(offer),
                Proposal::Not(why) => not = not.or(Some((program, why))),
            }
        }
        // Where one program of a chain is not to be registered, the others would help nobody.
        if let Some((program, why)) = not {
            let left = left
                .entry((program.clone(), why.clone()))
                .or_insert_with(|| Left {
                    program,
                    why,
                    seen: Seen::default(),
                });
            left.seen.add(&refusal);
            continue;
        }
        for offer in offers {
            let key = offer.path.display().to_string();
            let lesson = lessons.entry(key).or_insert_with(|| Lesson {
                offer,
                seen: Seen::default(),
            });
            lesson.seen.add(&refusal);
        }
    }
    learned.lessons = lessons.into_values().collect();
    learned.left = left.into_values().collect();
    learned
        .lessons
        .sort_by_key(|it| std::cmp::Reverse(it.seen.count));
    learned
        .left
        .sort_by_key(|it| std::cmp::Reverse(it.seen.count));
    learned
}

/// What would have to be registered for this not to be refused, or why nothing should be.
fn obstacles(verdict: &VerdictEntry, registered: &HashSet<String>) -> Vec<Obstacle> {
    let program = verdict.program.to_string();
    let not = |why: String| vec![Obstacle::Not(program.clone(), why)];
    let name = short_name(&program);
    match verdict.reason {
        Reason::ForeignOrigin | Reason::NotAMailer => {}
        Reason::Tampered => {
            let signs = verdict.tampered.words().collect::<Vec<_>>().join(", ");
            return not(format!(
                "{name} was tampered with ({signs}), and no registration permits that. Start it again without that."
            ));
        }
        Reason::FileChanged => {
            return not(format!(
                "The file of {name} changed after it was registered. If you changed it, register it again."
            ));
        }
        reason => {
            return not(format!(
                "{name} was refused for another reason ({}), and a registration of another program does not change \
                 that: sekimori explain shows what does.",
                reason.word()
            ));
        }
    }
    let links = &verdict.lineage;
    let first = links
        .iter()
        .position(|link| link.origin == Origin::Foreign)
        .unwrap_or(links.len());
    if let Some(link) = links.get(first).filter(|link| link.role != Role::Unknown) {
        return vec![Obstacle::Not(
            link.program.to_string(),
            wrong_start(link, first.checked_sub(1).map(|before| &links[before])),
        )];
    }
    if verdict.lost > 0 {
        return not(format!(
            "The lineage of {name} is too long to be known as a whole."
        ));
    }
    let mut obstacles: Vec<Obstacle> = Vec::new();
    let before_last = links.len().saturating_sub(1);
    for link in links.iter().take(before_last).skip(first) {
        if link.role != Role::Unknown {
            continue;
        }
        obstacles.push(if registered.contains(&*link.program) {
            Obstacle::Settled
        } else {
            Obstacle::Starter(link.program.to_string())
        });
    }
    if verdict.role == Role::Unknown {
        obstacles.push(if registered.contains(&program) {
            Obstacle::Settled
        } else {
            Obstacle::Sender(program.clone(), began(links))
        });
    } else if verdict.reason == Reason::NotAMailer {
        return not(format!(
            "{name} is registered as {}, and that is no mailer. A program has one role.",
            verdict.role.word()
        ));
    }
    if obstacles.is_empty() {
        return not(format!(
            "Nothing is known of what started {name}: it was started before the gate. Start it again."
        ));
    }
    obstacles
}

/// A registered program that was started in a way that makes it foreign.
fn wrong_start(link: &LineageLink, before: Option<&LineageLink>) -> String {
    let name = short_name(&link.program);
    let by = before.map(|before| short_name(&before.program));
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    match link.role {
        Role::Shell => format!(
            "{name} was started{by} to run a script or commands of another program, and nobody typed into it. Start the \
             program at a terminal or from the desktop."
        ),
        Role::Launcher => format!(
            "{name} was started{by} and not by a person, so what it starts is nobody's wish. For mail of the machine \
             itself, let a unit of the system start the program."
        ),
        role => format!(
            "{name} is registered as {}, and was started{by} in a way that makes it foreign. Start it from the desktop or \
             at a terminal.",
            role.word()
        ),
    }
}

/// Where a program that sends itself came from.
fn began(links: &[LineageLink]) -> Began {
    let mut before = links.iter().rev().skip(1);
    let known = before.find(|link| link.role != Role::Unknown);
    match known {
        Some(link) if link.origin == Origin::System => Began::System,
        Some(link) if link.role == Role::Shell => Began::Shell,
        _ => Began::Desktop,
    }
}

/// `systemd → xfce4-panel → claws-mail`: without what came before the person.
fn chain(links: &[LineageLink]) -> String {
    let first = links
        .iter()
        .position(|link| link.origin != Origin::System)
        .unwrap_or(0)
        .saturating_sub(1);
    let mut names: Vec<String> = Vec::new();
    for link in &links[first..] {
        let name = short_name(&link.program);
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.join(" → ")
}

impl Seen {
    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "count": self.count,
            "last": self.last,
            "entry": self.entry,
            "chains": self.chains,
        })
    }
}

#[cfg(test)]
mod tests;
