//! Rounds of web servers: droppers go through the list of their servers, over and over, and
//! put a number with another name into each request so that no cache answers it. Monitors go their
//! rounds as well, and some of them put the time, a count or a random number into a request: such a
//! number has the same name each time, or none.
//!
//! Only requests that do not say what they accept are looked at: browsers always do.

use protocols::http::HttpFacts;

use super::state::HOLDS_NS;
use super::{counted, hash, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::printable::printable;
use crate::sign::Sign;

const SITES_MAX: usize = 12;
const HOST_CHARS: usize = 64;
const TARGET_CHARS: usize = 64;
/// Requests closer together than this are one visit.
const VISIT_NS: u64 = 3 * 1_000_000_000;
/// Visits, and servers with so many visits, from which on they are rounds.
const VISITS_FROM: u32 = 4;
const SITES_FROM: usize = 3;
/// Servers that are asked with another number each time.
const NUMBERED_FROM: usize = 2;
/// The slowest round goes so many times as long as the fastest, at most.
const SPREAD_MAX: f64 = 1.3;
const PAUSE_NS: u64 = 3600 * 1_000_000_000;

/// A file of a server.
#[derive(Debug)]
struct Site {
    host: String,
    path: u64,
    target: String,
    since: Timestamp,
    last: Timestamp,
    visits: u32,
    query: u64,
    /// Visits with another number than before.
    numbers: u32,
    /// The name of the last number.
    name: u64,
    /// Visits with a number of another name than before.
    odd: u32,
}

impl Site {
    fn period_ns(&self) -> f64 {
        self.last.since_ns(self.since) as f64 / f64::from(self.visits.saturating_sub(1).max(1))
    }
}

/// The files that a subject asks for.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    sites: Vec<Site>,
    rounds: bool,
    numbered: bool,
}

impl Rounds {
    pub(super) fn asked(&mut self, facts: &HttpFacts, now: Timestamp) -> bool {
        let Some(host) = facts.host.as_deref().filter(|_| !facts.method.is_empty()) else {
            return false;
        };
        if !matches!(facts.method.as_str(), "GET" | "POST" | "HEAD") {
            return false;
        }
        let (path, query) = facts.target.split_once('?').unwrap_or((&facts.target, ""));
        let (path, number) = (hash(path), hash(query));
        let name = hash(query.rsplit_once('=').map_or("", |(name, _)| name));
        let host: String = host.chars().take(HOST_CHARS).collect();
        let known = self
            .sites
            .iter_mut()
            .find(|site| site.host == host && site.path == path);
        let Some(site) = known else {
            self.make_room();
            self.sites.push(Site {
                host,
                path,
                target: facts.target.chars().take(TARGET_CHARS).collect(),
                since: now,
                last: now,
                visits: 1,
                query: number,
                numbers: u32::from(is_number(query)),
                name,
                odd: 0,
            });
            return false;
        };
        if now.since_ns(site.last) > PAUSE_NS {
            site.since = now;
            site.visits = 0;
            site.numbers = 0;
            site.odd = 0;
        } else if now.since_ns(site.last) < VISIT_NS {
            return false;
        }
        site.last = now;
        site.visits = site.visits.saturating_add(1);
        if is_number(query) && number != site.query {
            site.query = number;
            site.numbers = site.numbers.saturating_add(1);
            site.odd += u32::from(name != site.name);
            site.name = name;
        }
        let rounds = self.in_rounds(now).is_some();
        let numbered = self.numbered(now).count() >= NUMBERED_FROM;
        let grown = (rounds && !self.rounds) || (numbered && !self.numbered);
        self.rounds |= rounds;
        self.numbered |= numbered;
        grown
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        if let Some((sites, period_ns)) = self.in_rounds(now) {
            let visits: u32 = sites.iter().map(|site| site.visits).sum();
            let detail = format!(
                "asked {} in turn every {}, {visits} times, among them {}",
                counted(sites.len(), "web server"),
                span(period_ns as u64),
                printable(&sites[0].host),
            );
            evidence.push(Evidence::new(Sign::ServerRounds, detail));
        }
        let numbered: Vec<&Site> = self.numbered(now).collect();
        if numbered.len() >= NUMBERED_FROM {
            let times: u32 = numbered.iter().map(|site| site.numbers).sum();
            let detail = format!(
                "asked {} for the same file with another number each time, {times} times, as for {}{}",
                counted(numbered.len(), "web server"),
                printable(&numbered[0].host),
                printable(&numbered[0].target),
            );
            evidence.push(Evidence::new(Sign::NumberedRequests, detail));
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let texts = |site: &Site| site.host.capacity() + site.target.capacity();
        self.sites.capacity() * size_of::<Site>() + self.sites.iter().map(texts).sum::<usize>()
    }

    /// The servers that are asked in the same rhythm, and its period: the largest group.
    fn in_rounds(&self, now: Timestamp) -> Option<(Vec<&Site>, f64)> {
        let often =
            |site: &&Site| site.visits >= VISITS_FROM && now.since_ns(site.last) <= HOLDS_NS;
        let mut often: Vec<&Site> = self.sites.iter().filter(often).collect();
        often.sort_by(|a, b| a.period_ns().total_cmp(&b.period_ns()));
        let group = (0..often.len())
            .map(|from| {
                let fastest = often[from].period_ns();
                let same = |site: &&&Site| site.period_ns() <= fastest * SPREAD_MAX;
                often[from..]
                    .iter()
                    .take_while(same)
                    .copied()
                    .collect::<Vec<_>>()
            })
            .max_by_key(Vec::len)?;
        let mut hosts: Vec<&str> = group.iter().map(|site| site.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let period = group[group.len() / 2].period_ns();
        (hosts.len() >= SITES_FROM).then_some((group, period))
    }

    fn numbered(&self, now: Timestamp) -> impl Iterator<Item = &Site> {
        self.sites.iter().filter(move |site| {
            site.numbers >= VISITS_FROM
                && site.numbers >= site.visits
                && site.odd * 2 >= site.numbers
                && now.since_ns(site.last) <= HOLDS_NS
        })
    }

    fn make_room(&mut self) {
        if self.sites.len() < SITES_MAX {
            return;
        }
        let least = self
            .sites
            .iter()
            .enumerate()
            .min_by_key(|(_, site)| (site.visits.min(VISITS_FROM), site.last))
            .map(|(place, _)| place);
        if let Some(place) = least {
            self.sites.swap_remove(place);
        }
    }
}

/// Nothing but a number, or two: `17cb4=292380`, `1384521`.
fn is_number(query: &str) -> bool {
    query.len() >= 4
        && query
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'=' | b'&'))
        && query.bytes().filter(u8::is_ascii_digit).count() * 2 >= query.len()
}
