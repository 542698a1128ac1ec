//! A search for victims: many hosts on one port that do not answer. Whoever looks after hosts asks
//! the same ones again and again, whether they answer or not; a search goes on to others.

use std::net::{IpAddr, SocketAddr};

use super::distinct::Distinct;
use super::mail::Prompt;
use super::seen::Seen;
use super::state::HOLDS_NS;
use super::{counted, hash, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

/// Hosts on one port from which on it is a scan. A few servers are always down.
const HOSTS_FROM: usize = 20;
/// Hosts from which on it may be a worm's.
const WORM_FROM: usize = 128;
/// Networks of other people, of 65,536 addresses each, from which on it is no search for something
/// in one's own.
const NETWORKS_FROM: usize = 24;
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
/// A host that did not answer is asked again: not by the same connection, which tries for some
/// seconds.
const AGAIN_NS: u64 = 5 * 1_000_000_000;
/// The share of attempts at hosts that were tried before from which on somebody looks after them.
const AGAIN_SHARE: u32 = 3;
/// The time over which connections to one destination are counted, as the live gate does.
const PERIOD_NS: u64 = 1 << 33;
const FLOODS_MAX: usize = 4;

#[derive(Debug)]
struct Port {
    number: u16,
    since: Timestamp,
    last: Timestamp,
    hosts: Distinct<128>,
    networks: Distinct<24>,
    /// What it followed.
    prompt: Prompt,
    seen: Seen,
    tries: u32,
    /// Attempts at hosts that had been tried before.
    again: u32,
    /// When the host that was tried last was tried.
    latest: Option<(IpAddr, Timestamp)>,
}

impl Port {
    fn new(number: u16, prompt: Prompt, now: Timestamp) -> Self {
        Self {
            number,
            since: now,
            last: now,
            hosts: Distinct::default(),
            networks: Distinct::default(),
            prompt,
            seen: Seen::default(),
            tries: 0,
            again: 0,
            latest: None,
        }
    }

    fn is_scan(&self) -> bool {
        self.hosts.count() >= HOSTS_FROM && self.again * AGAIN_SHARE < self.tries
    }

    fn is_worm(&self) -> bool {
        self.is_scan()
            && self.hosts.count() >= WORM_FROM
            && self.networks.count() >= NETWORKS_FROM
            && WORM_PORTS.contains(&self.number)
    }
}

/// Connections to one destination within a short time.
#[derive(Debug)]
struct Flood {
    address: IpAddr,
    since: Timestamp,
    connections: u32,
}

/// Connections of a subject that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Scan {
    ports: Vec<Port>,
    /// The largest burst: connections, over how many nanoseconds, when.
    burst: Option<(u32, u64, Timestamp)>,
    /// What the burst followed.
    burst_prompt: Prompt,
    floods: Vec<Flood>,
}

impl Scan {
    pub(super) fn failed(
        &mut self,
        destination: SocketAddr,
        prompt: Prompt,
        now: Timestamp,
    ) -> bool {
        let number = destination.port();
        let place = match self.ports.iter().position(|port| port.number == number) {
            Some(place) => place,
            None => {
                self.make_room();
                self.ports.push(Port::new(number, prompt, now));
                self.ports.len() - 1
            }
        };
        let port = &mut self.ports[place];
        let fired = port.hosts.count() >= HOSTS_FROM;
        if now.since_ns(port.last) > if fired { HOLDS_NS } else { PAUSE_NS } {
            *port = Port::new(number, prompt, now);
        }
        let (scan, worm) = (port.is_scan(), port.is_worm());
        let address = destination.ip().to_canonical();
        // Tried twice in a row is the same attempt, in a connection of its own.
        let same = port
            .latest
            .replace((address, now))
            .is_some_and(|(before, at)| before == address && now.since_ns(at) < AGAIN_NS);
        port.since = port.since.min(now);
        port.last = port.last.max(now);
        if !same {
            port.tries = port.tries.saturating_add(1);
            port.again += u32::from(!port.seen.add(hash(address)));
        }
        port.hosts.add(address);
        if let Some(network) = network(address) {
            port.networks.add(network);
        }
        (port.is_scan() && !scan) | (port.is_worm() && !worm)
    }

    /// A connection was opened. Says how many to this host there were, and within how many
    /// nanoseconds, when they make a burst.
    pub(super) fn opened(&mut self, destination: IpAddr, now: Timestamp) -> Option<(u32, u64)> {
        let address = destination.to_canonical();
        let place = match self.floods.iter().position(|one| one.address == address) {
            Some(place) => place,
            None => {
                if self.floods.len() >= FLOODS_MAX {
                    self.floods.remove(0);
                }
                self.floods.push(Flood {
                    address,
                    since: now,
                    connections: 0,
                });
                self.floods.len() - 1
            }
        };
        let flood = &mut self.floods[place];
        if now.since_ns(flood.since) > PERIOD_NS {
            flood.since = now;
            flood.connections = 0;
        }
        flood.connections = flood.connections.saturating_add(1);
        (flood.connections == BURST_FROM).then(|| (BURST_FROM, now.since_ns(flood.since)))
    }

    pub(super) fn burst(
        &mut self,
        connections: u32,
        over_ns: u64,
        prompt: Prompt,
        now: Timestamp,
    ) -> bool {
        if connections < BURST_FROM || over_ns > BURST_NS {
            return false;
        }
        let last = self.burst.map(|(.., at)| at);
        if last.is_none_or(|last| now.since_ns(last) > PAUSE_NS) {
            self.burst_prompt = prompt;
        }
        if self.burst.is_none_or(|(most, ..)| connections >= most) {
            self.burst = Some((connections, over_ns, now));
        }
        last.is_none()
    }

    /// With dead peers, ports that nobody registered are theirs, and count there. Says what the
    /// scan followed.
    pub(super) fn evidence(
        &self,
        now: Timestamp,
        dead_peers: bool,
        evidence: &mut Vec<Evidence>,
    ) -> Prompt {
        let widest = self
            .ports
            .iter()
            .filter(|port| {
                port.is_scan()
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
            let sign = if port.is_worm() {
                Sign::WormScan
            } else {
                Sign::Scan
            };
            evidence.push(Evidence::new(sign, detail));
            return port.prompt;
        }
        if let Some((connections, over_ns, at)) = self.burst
            && now.since_ns(at) <= HOLDS_NS
        {
            let connections = counted(connections as usize, "connection");
            let detail = format!("opened {connections} in {}", span(over_ns));
            evidence.push(Evidence::new(Sign::Scan, detail));
            return self.burst_prompt;
        }
        Prompt::default()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.ports.capacity() * size_of::<Port>()
            + self
                .ports
                .iter()
                .map(|port| {
                    port.hosts.held_bytes() + port.networks.held_bytes() + port.seen.held_bytes()
                })
                .sum::<usize>()
            + self.floods.capacity() * size_of::<Flood>()
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

/// The network of an address of other people's.
fn network(address: IpAddr) -> Option<[u8; 4]> {
    match address {
        IpAddr::V4(v4) if v4.is_private() || v4.is_loopback() || v4.is_link_local() => None,
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            Some([a, b, 0, 0])
        }
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => None,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.octets();
            Some([a, b, c, d])
        }
    }
}
