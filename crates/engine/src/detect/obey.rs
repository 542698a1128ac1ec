//! An order names its target, and the subject turns to it: it floods the victim, or fetches the
//! file. Nobody else does, so one order is enough.

use std::net::IpAddr;

use protocols::http::HttpFacts;

use super::commands::Order;
use super::state::HOLDS_NS;
use super::{counted, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::printable::printable;
use crate::sign::Sign;

/// How long after an order its target is looked for.
const FOLLOWS_NS: u64 = 120 * 1_000_000_000;
/// Connections to a target that make a flood. People who are told of an address look at it too.
const FLOOD_FROM: u32 = 20;
/// Bytes to a target that answers nothing.
const FLOOD_BYTES: u64 = 100_000;
const TARGETS_MAX: usize = 6;

/// A target that was named.
#[derive(Debug)]
struct Target {
    at: Timestamp,
    /// The host as the order names it, in small letters.
    host: String,
    address: Option<IpAddr>,
    /// The file, when a URL was named.
    path: Option<String>,
    connections: u32,
}

/// The targets of orders, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Obey {
    targets: Vec<Target>,
    /// What was done, and when.
    done: Option<(String, Timestamp)>,
}

impl Obey {
    /// An order came in.
    pub(super) fn ordered(&mut self, order: &Order, now: Timestamp) {
        let Some(named) = &order.target else {
            return;
        };
        let host = named.host.to_ascii_lowercase();
        if let Some(known) = self.targets.iter_mut().find(|target| target.host == host) {
            known.at = now;
            known.path.clone_from(&named.path);
            return;
        }
        if self.targets.len() >= TARGETS_MAX {
            self.targets.remove(0);
        }
        self.targets.push(Target {
            at: now,
            address: host.parse().ok(),
            host,
            path: named.path.clone(),
            connections: 0,
        });
    }

    /// A connection to this address. `true` when it has become a sign.
    pub(super) fn connected(&mut self, address: IpAddr, now: Timestamp) -> bool {
        let address = address.to_canonical();
        let Some(target) = due(&mut self.targets, now, |one| one.address == Some(address)) else {
            return false;
        };
        target.connections += 1;
        if target.connections < FLOOD_FROM {
            return false;
        }
        let after = span(now.since_ns(target.at));
        let many = counted(target.connections as usize, "connection");
        let detail = format!("was told to turn to {address}, and made {many} to it in {after}");
        self.done(detail, now)
    }

    /// So many bytes went to this address, and nothing came back.
    pub(super) fn sent(&mut self, address: IpAddr, bytes: u64, now: Timestamp) -> bool {
        let address = address.to_canonical();
        let Some(target) = due(&mut self.targets, now, |one| one.address == Some(address)) else {
            return false;
        };
        if bytes < FLOOD_BYTES {
            return false;
        }
        let after = span(now.since_ns(target.at));
        let detail =
            format!("was told to turn to {address}, and sent {bytes} bytes to it in {after}");
        self.done(detail, now)
    }

    /// A file was fetched, by no browser.
    pub(super) fn fetched(&mut self, facts: &HttpFacts, now: Timestamp) -> bool {
        let Some(host) = &facts.host else {
            return false;
        };
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                name
            } else {
                host
            }
        });
        let same = |one: &Target| {
            let path = one
                .path
                .as_deref()
                .map(|path| if path.is_empty() { "/" } else { path });
            one.host.eq_ignore_ascii_case(name)
                && path.is_some_and(|path| facts.target.starts_with(path))
        };
        let Some(target) = due(&mut self.targets, now, same) else {
            return false;
        };
        let detail = format!(
            "was told to fetch {}{}, and did so {} later",
            printable(&target.host),
            printable(target.path.as_deref().unwrap_or_default()),
            span(now.since_ns(target.at))
        );
        self.done(detail, now)
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        if let Some((detail, at)) = &self.done
            && now.since_ns(*at) <= HOLDS_NS
        {
            evidence.push(Evidence::new(Sign::Obeyed, detail.clone()));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let texts =
            |one: &Target| one.host.capacity() + one.path.as_ref().map_or(0, String::capacity);
        self.targets.capacity() * size_of::<Target>()
            + self.targets.iter().map(texts).sum::<usize>()
            + self
                .done
                .as_ref()
                .map_or(0, |(detail, _)| detail.capacity())
    }

    fn done(&mut self, detail: String, now: Timestamp) -> bool {
        self.done.replace((detail, now)).is_none()
    }
}

/// The target of that description that was named a short while ago.
fn due(
    targets: &mut [Target],
    now: Timestamp,
    is_it: impl Fn(&Target) -> bool,
) -> Option<&mut Target> {
    targets
        .iter_mut()
        .find(|one| now >= one.at && now.since_ns(one.at) <= FOLLOWS_NS && is_it(one))
}
