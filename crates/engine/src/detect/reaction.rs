//! Command and reaction: bytes come in on a quiet connection, and within seconds the subject
//! does something. Once is chance. Whatever the protocol, encrypted or not.

use std::net::SocketAddr;

use super::beacon::MAIL_CHECKS;
use super::state::HOLDS_NS;
use super::{counted, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

/// Quiet enough before bytes come in.
const QUIET_NS: u64 = 5 * 1_000_000_000;
/// A reaction follows within a tenth of the silence before, so that who is asked often is not
/// taken for obedient by chance; and within these bounds.
const FOLLOWS_LEAST_NS: u64 = 1_000_000_000;
const FOLLOWS_MOST_NS: u64 = 10 * 1_000_000_000;
/// Before an order, nothing of the kind was done for this long, or for half as long as the
/// connection was quiet: who acts all the time does not react.
const REST_NS: u64 = 30 * 1_000_000_000;
/// Times from which on it is no chance.
const TIMES_FROM: u32 = 2;
/// Connections that come to nothing, and mail servers, that make one act.
const FAILED_FROM: u32 = 5;
const MAIL_FROM: u32 = 3;
const ORDERS_MAX: usize = 4;

/// What a subject did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Mail that was refused.
    Refused,
    /// A connection to a mail server.
    Mail,
    /// A connection that came to nothing.
    Failed,
    /// So many connections at once.
    Burst(u32),
    /// A file, fetched by a program that is no browser.
    Fetched,
}

/// Bytes that may have been an order.
#[derive(Debug)]
struct Came {
    at: Timestamp,
    from: SocketAddr,
    quiet_ns: u64,
    /// Nothing was done before it.
    rested: bool,
    /// It was followed by an act.
    used: bool,
    mail: u32,
    failed: u32,
}

impl Came {
    /// For how long what is done may be a reaction.
    fn follows_ns(&self) -> u64 {
        (self.quiet_ns / 10).clamp(FOLLOWS_LEAST_NS, FOLLOWS_MOST_NS)
    }
}

/// Bytes that came in, and what followed.
#[derive(Debug, Default)]
pub(super) struct Reaction {
    came: Vec<Came>,
    last_act: Option<Timestamp>,
    times: u32,
    last: Option<Last>,
}

/// The last time that a reaction was seen.
#[derive(Debug)]
struct Last {
    at: Timestamp,
    after_ns: u64,
    quiet_ns: u64,
    from: SocketAddr,
    what: Act,
}

impl Reaction {
    /// Bytes came in after so long a silence.
    pub(super) fn came_in(&mut self, from: SocketAddr, quiet_ns: u64, now: Timestamp) {
        // New mail comes in by itself, and mailers that are not registered yet try to send.
        if quiet_ns < QUIET_NS || MAIL_CHECKS.contains(&from.port()) {
            return;
        }
        if self.came.len() >= ORDERS_MAX {
            self.came.remove(0);
        }
        let rest_ns = REST_NS.min(quiet_ns / 2);
        let rested = self
            .last_act
            .is_none_or(|last| now.since_ns(last) > rest_ns);
        self.came.push(Came {
            at: now,
            from,
            quiet_ns,
            rested,
            used: false,
            mail: 0,
            failed: 0,
        });
    }

    /// The subject did something. `true` when it has become a sign.
    pub(super) fn act(&mut self, what: Act, there: Option<SocketAddr>, now: Timestamp) -> bool {
        self.last_act = self.last_act.max(Some(now));
        let came = self.came.iter_mut().rev().find(|came| {
            // To answer whoever spoke is no act.
            now >= came.at
                && now.since_ns(came.at) <= came.follows_ns()
                && there.is_none_or(|there| there.ip() != came.from.ip())
        });
        let Some(came) = came else {
            return false;
        };
        came.mail += u32::from(what == Act::Mail);
        came.failed += u32::from(what == Act::Failed);
        let enough = match what {
            Act::Refused | Act::Burst(_) | Act::Fetched => true,
            Act::Mail => came.mail >= MAIL_FROM,
            Act::Failed => came.failed >= FAILED_FROM,
        };
        if !enough || came.used || !came.rested {
            return false;
        }
        came.used = true;
        if self
            .last
            .as_ref()
            .is_some_and(|last| came.at.since_ns(last.at) < QUIET_NS)
        {
            return false;
        }
        self.times = self.times.saturating_add(1);
        self.last = Some(Last {
            at: came.at,
            after_ns: now.since_ns(came.at),
            quiet_ns: came.quiet_ns,
            from: came.from,
            what,
        });
        self.times == TIMES_FROM
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        let Some(last) = &self.last else {
            return;
        };
        if self.times < TIMES_FROM || now.since_ns(last.at) > HOLDS_NS {
            return;
        }
        let did = match last.what {
            Act::Refused => "a refused attempt to send mail".to_owned(),
            Act::Mail => "connections to several mail servers".to_owned(),
            Act::Failed => "connections to hosts that did not answer".to_owned(),
            Act::Burst(connections) => {
                format!("a burst of {}", counted(connections as usize, "connection"))
            }
            Act::Fetched => "the download of a file".to_owned(),
        };
        let detail = format!(
            "{} times bytes came in on a quiet connection and it acted; at last {did} {} after bytes from {} that had been quiet for {}",
            self.times,
            span(last.after_ns),
            last.from,
            span(last.quiet_ns),
        );
        evidence.push(Evidence::new(Sign::CommandReaction, detail));
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.came.capacity() * size_of::<Came>()
    }
}
