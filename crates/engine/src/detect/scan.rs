//! A search for victims: many hosts on one port that do not answer.

use std::net::SocketAddr;

use super::distinct::Distinct;
use super::state::HOLDS_NS;
use super::{counted, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

/// Hosts on one port from which on it is a scan. A few servers are always down.
const HOSTS_FROM: usize = 20;
/// Hosts from which on it is no search for something in the own network.
const WORM_FROM: usize = 128;
/// Ports that worms enter by: SSH, telnet, the file sharing of Windows, its databases and
/// desktops, consoles of routers, cameras and telephones.
const WORM_PORTS: [u16; 16] = [
    22, 23, 135, 139, 445, 1433, 2222, 2323, 3389, 5358, 5555, 7547, 8291, 23231, 37215, 52869,
];
/// Connections in a burst from which on it is a scan: a page of the web opens dozens.
pub(super) const BURST_FROM: u32 = 200;
/// The longest time over which a burst counts.
const BURST_NS: u64 = 60 * 1_000_000_000;
/// A pause after which counting begins anew.
const PAUSE_NS: u64 = 300 * 1_000_000_000;
const PORTS_MAX: usize = 6;

#[derive(Debug)]
struct Port {
    number: u16,
    since: Timestamp,
    last: Timestamp,
    hosts: Distinct<128>,
}

/// Connections of a subject that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Scan {
    ports: Vec<Port>,
    /// The largest burst: connections, over how many nanoseconds, when.
    burst: Option<(u32, u64, Timestamp)>,
}

impl Scan {
    pub(super) fn failed(&mut self, destination: SocketAddr, now: Timestamp) -> bool {
        let number = destination.port();
        let place = match self.ports.iter().position(|port| port.number == number) {
            Some(place) => place,
            None => {
                self.make_room();
                self.ports.push(Port {
                    number,
                    since: now,
                    last: now,
                    hosts: Distinct::default(),
                });
                self.ports.len() - 1
            }
        };
        let port = &mut self.ports[place];
        let fired = port.hosts.count() >= HOSTS_FROM;
        if now.since_ns(port.last) > if fired { HOLDS_NS } else { PAUSE_NS } {
            port.hosts.clear();
            port.since = now;
        }
        port.since = port.since.min(now);
        port.last = port.last.max(now);
        let before = port.hosts.count();
        port.hosts.add(destination.ip());
        let reached = |from: usize| before < from && port.hosts.count() >= from;
        reached(HOSTS_FROM) || reached(WORM_FROM)
    }

    pub(super) fn burst(&mut self, connections: u32, over_ns: u64, now: Timestamp) -> bool {
        if connections < BURST_FROM || over_ns > BURST_NS {
            return false;
        }
        let first = self.burst.is_none();
        if self.burst.is_none_or(|(most, ..)| connections >= most) {
            self.burst = Some((connections, over_ns, now));
        }
        first
    }

    /// With dead peers, ports that nobody registered are theirs, and count there.
    pub(super) fn evidence(&self, now: Timestamp, dead_peers: bool, evidence: &mut Vec<Evidence>) {
        let widest = self
            .ports
            .iter()
            .filter(|port| {
                port.hosts.count() >= HOSTS_FROM
                    && now.since_ns(port.last) <= HOLDS_NS
                    && !(dead_peers && port.number > 1023)
            })
            .max_by_key(|port| port.hosts.count());
        if let Some(port) = widest {
            let detail = format!(
                "{} did not answer on port {} in {}",
                port.hosts.words("host"),
                port.number,
                span(port.last.since_ns(port.since))
            );
            let worm = port.hosts.count() >= WORM_FROM && WORM_PORTS.contains(&port.number);
            let sign = if worm { Sign::WormScan } else { Sign::Scan };
            evidence.push(Evidence::new(sign, detail));
        } else if let Some((connections, over_ns, at)) = self.burst
            && now.since_ns(at) <= HOLDS_NS
        {
            let connections = counted(connections as usize, "connection");
            let detail = format!("opened {connections} in {}", span(over_ns));
            evidence.push(Evidence::new(Sign::Scan, detail));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.ports.capacity() * size_of::<Port>()
            + self
                .ports
                .iter()
                .map(|port| port.hosts.held_bytes())
                .sum::<usize>()
    }

    /// The port with the fewest hosts leaves.
    fn make_room(&mut self) {
        if self.ports.len() < PORTS_MAX {
            return;
        }
        let least = self
            .ports
            .iter()
            .enumerate()
            .min_by_key(|(_, port)| (port.hosts.count(), port.last))
            .map(|(place, _)| place);
        if let Some(place) = least {
            self.ports.swap_remove(place);
        }
    }
}
