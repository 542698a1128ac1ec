//! What the keeper knows of the machine's network interfaces, and since when.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use linux::forward::Names;
use linux::forward::hands::{self, Beside, Hands};
use linux::forward::links::{self, Link};

use crate::forward;

/// A TUN device or virtual cable is looked at again after so long before it counts as root's:
/// who it is for is written down, or passed on, after it was made.
pub const YOUNG: Duration = Duration::from_secs(1);
/// How many looks in a row a device gets of which nothing is found out. The next change of any
/// interface begins anew.
const LOOKS_MAX: u32 = 20;

/// What the last look at the interfaces has found.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whose they are.
    pub names: Names,
    /// Words for each interface of a user's.
    pub users: BTreeMap<String, String>,
    /// Bridges.
    pub bridges: Vec<String>,
    /// Words for bridges with a port of a user's.
    pub users_bridges: BTreeMap<String, String>,
    /// There is a device of which nothing is known yet.
    pub waiting: bool,
}

/// The looks.
#[derive(Debug)]
pub struct Sight {
    /// What the last one has found.
    pub seen: Seen,
    /// When each interface was first seen.
    births: HashMap<(u32, String), Instant>,
    begun: Instant,
    looks: u32,
}

impl Sight {
    /// Nothing was looked at yet.
    pub fn new() -> Self {
        Self {
            seen: Seen::default(),
            births: HashMap::new(),
            begun: Instant::now(),
            looks: 0,
        }
    }

    /// Finds out which interface is whose.
    pub fn look(&mut self, changed: bool) {
        self.looks = if changed { 0 } else { self.looks + 1 };
        let Ok(links) = links::all() else {
            // What is in force stays. Interfaces that came since are closed.
            self.seen.waiting &= self.looks < LOOKS_MAX;
            return;
        };
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let beside = Beside::read(&links);
        let all = hands::all(&links, &beside);
        let now = Instant::now();
        let mut births = HashMap::new();
        let mut seen = Seen::default();
        for link in links.values() {
            let key = (link.index, link.name.clone());
            let is_new = self.begun.elapsed() > YOUNG && !self.births.contains_key(&key);
            let birth = self.births.get(&key).copied();
            let birth = birth
                .or_else(|| is_new.then_some(now))
                .unwrap_or(self.begun);
            births.insert(key.clone(), birth);
            let is_young = (link.kind == "tun" || hands::is_cable(link))
                && birth != self.begun
                && birth.elapsed() < YOUNG;
            if link.kind == "bridge" {
                seen.bridges.push(link.name.clone());
            }
            // Once a user's, always: a namespace may have lost its last process.
            let before = self.seen.users.get(&link.name);
            let before = before.filter(|_| hands::is_cable(link) && self.births.contains_key(&key));
            let hands = match (before, &all[&link.index]) {
                (Some(words), Hands::Root) => Some(words.clone()),
                (_, Hands::User(user)) => Some(words(user, link, &beside, &passwd)),
                _ => None,
            };
            match (hands, &all[&link.index]) {
                (Some(words), _) => {
                    if let Some(bridge) = link.master.and_then(|master| links.get(&master)) {
                        let port = format!("a bridge with {}, {words}", link.name);
                        seen.users_bridges.insert(bridge.name.clone(), port);
                    }
                    seen.names.users.insert(link.name.clone());
                    seen.users.insert(link.name.clone(), words);
                }
                (None, Hands::Root) if !is_young => {
                    seen.names.roots.insert(link.name.clone());
                }
                _ => seen.waiting = self.looks < LOOKS_MAX,
            }
        }
        seen.bridges.sort();
        seen.names = seen.names.plain();
        self.births = births;
        self.seen = seen;
    }
}

/// What a user's interface is, for people.
fn words(user: &hands::User, link: &Link, beside: &Beside, passwd: &str) -> String {
    match (user.uid, beside.lxc.get(&link.name)) {
        (Some(uid), _) => format!("{} of {}", user.what, forward::user(uid, passwd)),
        (None, Some(name)) => format!("{} of user {name}", user.what),
        (None, None) => user.what.to_owned(),
    }
}
