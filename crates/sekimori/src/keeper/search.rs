//! What the keeper looks for in /proc for the watcher, and how often. Strangers decide how often
//! there is a reason to, and users how much there is to read, so both have a bound.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use guard::keeper::allowance::Allowance;
use linux::decode::Owner;
use linux::procfs;

use crate::channel::request::{OPEN_MAX, encode_address};

/// Searches for a connection's owner at once, and how long until there is one more. With the
/// bound of each in [`procfs`], they take a tenth of a processor at most.
const OWNERS_AT_ONCE: u32 = 8;
const OWNER_EVERY: Duration = Duration::from_secs(4);
/// How long it is believed that somebody listens at a port.
const LISTENING_KEPT: Duration = Duration::from_secs(10);

/// Searches for IRC connections at once, how long until there is one more, and how long each
/// may take: every watcher that starts asks once.
const IRC_AT_ONCE: u32 = 3;
const IRC_EVERY: Duration = Duration::from_secs(10);
const IRC_SEARCH_MAX: Duration = Duration::from_millis(500);

/// How long what was read of open connections counts at least.
const OPEN_KEPT: Duration = Duration::from_secs(1);
/// How many times as long as it took to read: so the reads take a fiftieth of a processor at most.
const OPEN_KEPT_TIMES: u32 = 50;

/// Which of some connections are still open, as far as that was read.
#[derive(Debug, Default)]
struct Open {
    closed: HashSet<u64>,
    /// When it is read again.
    due: Option<Instant>,
}

impl Open {
    /// One byte for each inode: 1 when it is open. The table of connections may be long, and every
    /// report of the gate is a reason to ask. So an answer may be some seconds old.
    fn ask(
        &mut self,
        inodes: &[u64],
        now: Instant,
        read: impl FnOnce(&HashSet<u64>) -> (HashSet<u64>, Duration),
    ) -> Vec<u8> {
        if self.due.is_none_or(|due| now >= due) {
            let asked: HashSet<u64> = inodes.iter().copied().collect();
            let (open, took) = read(&asked);
            self.closed = asked.difference(&open).copied().collect();
            self.due = Some(now + took + OPEN_KEPT.max(took * OPEN_KEPT_TIMES));
        }
        let is_open = |inode: &u64| u8::from(!self.closed.contains(inode));
        inodes.iter().map(is_open).collect()
    }
}

/// What was found, and what may still be looked for.
#[derive(Debug)]
pub struct Search {
    owners: Allowance,
    listening: HashSet<u16>,
    listened: Option<Instant>,
    put_off: u64,
    irc_searches: Allowance,
    irc: Vec<u8>,
    open: Open,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            owners: Allowance::new(OWNERS_AT_ONCE, OWNER_EVERY, Instant::now()),
            listening: HashSet::new(),
            listened: None,
            put_off: 0,
            irc_searches: Allowance::new(IRC_AT_ONCE, IRC_EVERY, Instant::now()),
            irc: Vec::new(),
            open: Open::default(),
        }
    }
}

impl Search {
    /// Whose the connection from `own_port` to `remote` is.
    pub fn owner(&mut self, own_port: u16, remote: SocketAddr) -> Owner {
        let holder = || procfs::tcp_owner(own_port, remote);
        self.owner_by(own_port, Instant::now(), procfs::listening_ports, holder)
    }

    /// The connections to these ports. Of each: inode, process, user, address. What was found
    /// last when it is asked too often: whoever of them is gone is found out by asking whether
    /// it is still open.
    pub fn older_irc(&mut self, ports: RangeInclusive<u16>) -> Vec<u8> {
        self.older_irc_by(Instant::now(), || find_irc(&ports))
    }

    fn older_irc_by(&mut self, now: Instant, find: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        if self.irc_searches.take(now) {
            self.irc = find();
        }
        self.irc.clone()
    }

    /// Which of these sockets are still connected, a byte for each. The answer may be a second old,
    /// more where the table of connections is very long.
    pub fn open(&mut self, inodes: &[u64]) -> Vec<u8> {
        self.open.ask(inodes, Instant::now(), |asked| {
            let begun = Instant::now();
            let open = procfs::established(asked);
            (open, begun.elapsed())
        })
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

fn find_irc(ports: &RangeInclusive<u16>) -> Vec<u8> {
    let connections: HashMap<u64, SocketAddr> = procfs::connections()
        .into_iter()
        .filter(|one| one.established && one.inode != 0 && ports.contains(&one.remote.port()))
        .take(OPEN_MAX)
        .map(|one| (one.inode, one.remote))
        .collect();
    let inodes = connections.keys().copied().collect();
    let mut out = Vec::new();
    for (inode, pid) in procfs::socket_owners(&inodes, IRC_SEARCH_MAX) {
        let Some(uid) = procfs::user(pid) else {
            continue;
        };
        out.extend(inode.to_le_bytes());
        out.extend(pid.to_le_bytes());
        out.extend(uid.to_le_bytes());
        out.extend(encode_address(connections[&inode]));
    }
    out
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
    fn irc_is_searched_for_now_and_then_and_known_in_between() {
        let (mut search, mut searches) = (Search::default(), 0_u8);
        let now = Instant::now();
        let mut ask = |now| {
            search.older_irc_by(now, || {
                searches += 1;
                vec![searches]
            })
        };
        let answers: Vec<_> = (0..100).map(|_| ask(now)).collect();
        assert_eq!((&*answers[0], &*answers[99]), (&[1][..], &[3][..]));
        assert_eq!(ask(now + IRC_EVERY * 2), [4]);
    }

    #[test]
    fn open_connections_are_read_seldom_and_their_end_is_seen() {
        let mut open = Open::default();
        let begun = Instant::now();
        let mut reads = 0;
        let mut ask = |after, still: &[u64], took| {
            open.ask(&[5, 6], begun + after, |_| {
                reads += 1;
                (still.iter().copied().collect(), took)
            })
        };
        let quick = Duration::from_millis(8);
        for wake in 0..100 {
            assert_eq!(ask(Duration::from_millis(wake), &[5, 6], quick), [1, 1]);
        }
        assert_eq!(ask(OPEN_KEPT * 2, &[6], quick), [0, 1]);
        assert_eq!(ask(OPEN_KEPT * 2, &[], quick), [0, 1]);
        // Where a read takes long, the next one waits for longer.
        let slow = Duration::from_millis(200);
        assert_eq!(ask(OPEN_KEPT * 4, &[6], slow), [0, 1]);
        assert_eq!(ask(OPEN_KEPT * 10, &[], slow), [0, 1]);
        assert_eq!(ask(OPEN_KEPT * 20, &[], slow), [0, 0]);
        assert_eq!(reads, 4);
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
