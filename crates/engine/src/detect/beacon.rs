//! Calling home: connections to one destination, or bytes from it, at regular times.

use std::net::SocketAddr;

use super::span;
use super::state::HOLDS_NS;
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

const DESTINATIONS_MAX: usize = 12;
/// Regular intervals from which on it counts.
const INTERVALS_FROM: u32 = 6;
const PERIOD_MIN_NS: f64 = 10e9;
const PERIOD_MAX_NS: f64 = 86_400e9;
/// Standard deviation through mean, at most. Chance has 1.
const JITTER_MAX: f64 = 0.15;
/// Connections closer together than this are one visit.
const VISIT_NS: u64 = 3 * 1_000_000_000;
/// Asking for one's mail is no calling home.
pub(super) const MAIL_CHECKS: [u16; 4] = [110, 143, 993, 995];

/// The visits to one destination. Mean and variance after Welford (Technometrics 4, 1962).
#[derive(Debug)]
struct Destination {
    address: SocketAddr,
    last: Timestamp,
    intervals: u32,
    mean: f64,
    squares: f64,
}

impl Destination {
    fn visited(&mut self, now: Timestamp) -> bool {
        let interval = now.since_ns(self.last);
        if interval < VISIT_NS {
            return false;
        }
        self.last = now;
        let interval = interval as f64;
        // Another rhythm: a sleeping computer, or no rhythm at all.
        if self.intervals > 0 && (interval > self.mean * 1.6 || interval < self.mean * 0.6) {
            self.intervals = 0;
            self.mean = 0.0;
            self.squares = 0.0;
        }
        self.intervals = self.intervals.saturating_add(1);
        let off = interval - self.mean;
        self.mean += off / f64::from(self.intervals);
        self.squares += off * (interval - self.mean);
        true
    }

    fn jitter(&self) -> f64 {
        (self.squares / f64::from(self.intervals.max(1))).sqrt() / self.mean.max(1.0)
    }

    fn is_regular(&self) -> bool {
        self.intervals >= INTERVALS_FROM
            && (PERIOD_MIN_NS..=PERIOD_MAX_NS).contains(&self.mean)
            && self.jitter() <= JITTER_MAX
    }
}

/// The destinations that a subject visits.
#[derive(Debug, Default)]
pub(super) struct Beacons {
    destinations: Vec<Destination>,
    fired: bool,
}

impl Beacons {
    /// A connection was opened, or bytes came in on a quiet one. Says whether the sign is new, and how
    /// many nanoseconds ago the visit before this one was.
    pub(super) fn opened(&mut self, address: SocketAddr, now: Timestamp) -> (bool, Option<u64>) {
        if MAIL_CHECKS.contains(&address.port()) {
            return (false, None);
        }
        let known = self
            .destinations
            .iter_mut()
            .find(|destination| destination.address == address);
        let Some(known) = known else {
            self.make_room();
            self.destinations.push(Destination {
                address,
                last: now,
                intervals: 0,
                mean: 0.0,
                squares: 0.0,
            });
            return (false, None);
        };
        let ago_ns = now.since_ns(known.last);
        if !known.visited(now) {
            return (false, None);
        }
        let new = known.is_regular() && !std::mem::replace(&mut self.fired, true);
        (new, Some(ago_ns))
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        let recent = |destination: &&Destination| {
            destination.is_regular()
                && now.since_ns(destination.last) as f64 <= destination.mean * 3.0 + HOLDS_NS as f64
        };
        let most = self
            .destinations
            .iter()
            .filter(recent)
            .max_by_key(|destination| destination.intervals);
        if let Some(destination) = most {
            let detail = format!(
                "in touch with {} every {}, {} times, ±{:.0} %",
                destination.address,
                span(destination.mean as u64),
                destination.intervals + 1,
                destination.jitter() * 100.0
            );
            evidence.push(Evidence::new(Sign::Beaconing, detail));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.destinations.capacity() * size_of::<Destination>()
    }

    /// The one that was visited once and longest ago leaves, or the one that was longest ago.
    fn make_room(&mut self) {
        if self.destinations.len() < DESTINATIONS_MAX {
            return;
        }
        let least = self
            .destinations
            .iter()
            .enumerate()
            .min_by_key(|(_, destination)| {
                (destination.intervals.min(INTERVALS_FROM), destination.last)
            })
            .map(|(place, _)| place);
        if let Some(place) = least {
            self.destinations.swap_remove(place);
        }
    }
}
