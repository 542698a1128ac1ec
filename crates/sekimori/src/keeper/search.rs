//! What the keeper looks for in /proc for the watcher, and how often. Strangers decide how often
//! there is a reason to, and users how much there is to read, so both have a bound.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use linux::decode::Owner;
use linux::procfs;

use super::allowance::Allowance;

/// Searches for a connection's owner at once, and how long until there is one more. With the
/// bound of each in [`procfs`], they take a tenth of a processor at most.
const OWNERS_AT_ONCE: u32 = 8;
const OWNER_EVERY: Duration = Duration::from_secs(4);
/// How long it is believed that somebody listens at a port.
const LISTENING_KEPT: Duration = Duration::from_secs(10);

/// What was found, and what may still be looked for.
#[derive(Debug)]
pub struct Search {
    owners: Allowance,
    listening: HashSet<u16>,
    listened: Option<Instant>,
    put_off: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            owners: Allowance::new(OWNERS_AT_ONCE, OWNER_EVERY),
            listening: HashSet::new(),
            listened: None,
            put_off: 0,
        }
    }
}

impl Search {
    /// Whose the connection from `own_port` to `remote` is.
    pub fn owner(&mut self, own_port: u16, remote: SocketAddr) -> Owner {
        let holder = || procfs::tcp_owner(own_port, remote);
        self.owner_by(own_port, Instant::now(), procfs::listening_ports, holder)
    }

    /// How many owners were not looked for, because there was too much to look for.
    pub const fn put_off(&self) -> u64 {
        self.put_off
    }

    fn owner_by(
        &mut self,
        own_port: u16,
        now: Instant,
        listening: impl FnOnce() -> HashSet<u16>,
        holder: impl FnOnce() -> Option<u32>,
    ) -> Owner {
        let is_fresh = self
            .listened
            .is_some_and(|listened| now.saturating_duration_since(listened) < LISTENING_KEPT);
        if is_fresh && self.listening.contains(&own_port) {
            return Owner::Server;
        }
        if !self.owners.take(now) {
            // An older answer is better than none: a stranger who connects very often from a mail
            // port must not have a server suspected by that.
            if self.listening.contains(&own_port) {
                return Owner::Server;
            }
            self.put_off += 1;
            return Owner::Unknown;
        }
        self.listening = listening();
        self.listened = Some(now);
        if self.listening.contains(&own_port) {
            Owner::Server
        } else {
            holder().map_or(Owner::Unknown, Owner::Process)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: u16 = 7777;
    const OTHER: u16 = 40_000;

    fn ask(search: &mut Search, port: u16, now: Instant, searches: &mut u32) -> Owner {
        let listening = || {
            *searches += 1;
            HashSet::from([SERVER])
        };
        search.owner_by(port, now, listening, || Some(5))
    }

    #[test]
    fn a_flood_of_connections_to_a_server_is_one_search() {
        let (mut search, mut searches) = (Search::default(), 0);
        let now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(ask(&mut search, SERVER, now, &mut searches), Owner::Server);
        }
        assert_eq!((searches, search.put_off()), (1, 0));
        let later = now + LISTENING_KEPT;
        assert_eq!(
            ask(&mut search, SERVER, later, &mut searches),
            Owner::Server
        );
        assert_eq!(searches, 2);
    }

    #[test]
    fn searches_have_a_bound_and_a_server_is_still_known() {
        let (mut search, mut searches) = (Search::default(), 0);
        let now = Instant::now();
        let all: Vec<Owner> = (0..1000)
            .map(|_| ask(&mut search, OTHER, now, &mut searches))
            .collect();
        let found = all.iter().filter(|one| **one == Owner::Process(5)).count();
        assert_eq!((found, searches), (OWNERS_AT_ONCE as usize, OWNERS_AT_ONCE));
        assert_eq!(all.last(), Some(&Owner::Unknown));
        assert_eq!(search.put_off(), 1000 - u64::from(OWNERS_AT_ONCE));
        // Just before the next search may be made, and when what was found has grown old.
        search.listened = now.checked_sub(LISTENING_KEPT);
        assert_eq!(ask(&mut search, SERVER, now, &mut searches), Owner::Server);
        assert_eq!(searches, OWNERS_AT_ONCE);
    }
}
