//! Peers of a botnet without a server: addresses all over the world, at ports that nobody
//! registered, most of them long gone.

use std::net::{IpAddr, SocketAddr};

use super::distinct::Distinct;
use super::span;
use super::state::HOLDS_NS;
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

const PEERS_FROM: usize = 20;
/// Different ports: each peer takes its own. A scan has one.
const PORTS_FROM: usize = 10;
/// Ports above 1023 at which something known listens in the own network, answered or not:
/// SSDP, NetBIOS over UDP, LLMNR, multicast DNS, WS-Discovery, STUN, NAT-PMP.
const KNOWN: [u16; 6] = [1900, 3478, 3702, 5351, 5353, 5355];
const PAUSE_NS: u64 = 3600 * 1_000_000_000;

/// Peers of a subject.
#[derive(Debug, Default)]
pub(super) struct Peers {
    since: Timestamp,
    last: Timestamp,
    silent: Distinct<128>,
    ports: Distinct<32>,
    answered: Distinct<128>,
    /// It shares files in the open, with a protocol that has such peers.
    shares_files: bool,
}

impl Peers {
    /// This peer did not answer.
    pub(super) fn silent(&mut self, peer: SocketAddr, now: Timestamp) -> bool {
        if !is_peer(peer) {
            return false;
        }
        let before = self.is_sign();
        if now.since_ns(self.last) > if before { HOLDS_NS } else { PAUSE_NS } {
            self.silent.clear();
            self.ports.clear();
            self.answered.clear();
        }
        if self.silent.count() == 0 {
            self.since = now;
        }
        self.since = self.since.min(now);
        self.last = self.last.max(now);
        self.silent.add(peer.ip());
        self.ports.add(peer.port());
        self.is_sign() && !before
    }

    pub(super) fn answered(&mut self, peer: SocketAddr) {
        if is_peer(peer) {
            self.answered.add(peer.ip());
        }
    }

    pub(super) const fn shares_files(&mut self) {
        self.shares_files = true;
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        if self.is_sign() && now.since_ns(self.last) <= HOLDS_NS {
            let detail = format!(
                "{} at {} did not answer in {}, {} did",
                self.silent.words("peer"),
                self.ports.words("different port"),
                span(self.last.since_ns(self.since)),
                self.answered.count()
            );
            evidence.push(Evidence::new(Sign::DeadPeers, detail));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.silent.held_bytes() + self.ports.held_bytes() + self.answered.held_bytes()
    }

    pub(super) fn is_sign(&self) -> bool {
        !self.shares_files
            && self.silent.count() >= PEERS_FROM
            && self.ports.count() >= PORTS_FROM
            && self.silent.count() > self.answered.count()
    }
}

fn is_peer(peer: SocketAddr) -> bool {
    let single = match peer.ip().to_canonical() {
        IpAddr::V4(address) => {
            !address.is_multicast() && !address.is_broadcast() && address.octets()[3] != 255
        }
        IpAddr::V6(address) => !address.is_multicast(),
    };
    single && peer.port() > 1023 && !KNOWN.contains(&peer.port())
}
