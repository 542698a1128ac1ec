//! Command and reaction: bytes come in on a quiet connection, and within seconds the subject
//! does something new. Whatever the protocol, encrypted or not.
//!
//! A busy host does something soon after any moment, and a schedule does the same things again
//! and again with or without a channel. So two questions are asked. Is the act *new*: another
//! host, another file, another mail server? And do acts follow the bytes of one source more often
//! than chance explains? The second is a sequential test (A. Wald, "Sequential Tests of
//! Statistical Hypotheses", 1945): each act multiplies the odds by how much likelier it is after
//! an order than at any other time, acts without an order before them count against it, and the
//! odds have to reach [`ODDS`].

use std::net::SocketAddr;

use super::beacon::MAIL_CHECKS;
use super::seen::Seen;
use super::state::HOLDS_NS;
use super::{counted, span};
use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::sign::Sign;

const SECOND: u64 = 1_000_000_000;
/// Quiet enough before bytes come in.
const QUIET_NS: u64 = 5 * SECOND;
/// A reaction follows within this part of the silence before, within these bounds. Most bots act
/// at once; some wait a little, so that a second, slower window is looked at as well.
const WINDOWS: [(u64, u64, u64); 2] = [(10, SECOND, 10 * SECOND), (3, SECOND, 30 * SECOND)];
/// An act is a new one when nothing of its kind was done for so long before it, or for half as long as
/// the source was quiet that is quiet for the shortest time.
const REST_NS: u64 = 15 * SECOND;
/// What is done within this time belongs to one act.
const TOGETHER_NS: u64 = 30 * SECOND;
/// Reactions from which on it may be no chance.
const TIMES_FROM: u16 = 2;
/// The share of a bot's acts that follow an order.
const OBEDIENT: f64 = 0.9;
/// No window is taken for rarer than this, however long the channel was watched.
const RAREST: f64 = 0.01;
/// The odds against chance from which on it is a sign.
const ODDS: f64 = 100.0;
/// Intervals from which on a rhythm can be told, and how far they may be off their mean.
const RHYTHM_FROM: u32 = 5;
const JITTER_MAX: f64 = 0.1;
const SOURCES_MAX: usize = 8;
/// Units from which on something is an act, by [`Kind`].
const ENOUGH: [u16; 3] = [3, 5, 1];

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

/// Acts that are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mail.
    Mail,
    /// A scan, or a flood.
    Scan,
    /// A download.
    Fetch,
}

impl Act {
    const fn kind(self) -> Kind {
        match self {
            Self::Refused | Self::Mail => Kind::Mail,
            Self::Failed | Self::Burst(_) => Kind::Scan,
            Self::Fetched => Kind::Fetch,
        }
    }

    /// One connection to a mail server, or one that comes to nothing, is nothing to speak of.
    const fn units(self) -> u16 {
        match self {
            Self::Refused => ENOUGH[Kind::Mail as usize],
            Self::Burst(_) => ENOUGH[Kind::Scan as usize],
            Self::Mail | Self::Failed | Self::Fetched => 1,
        }
    }
}

/// Bytes that may have been an order.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    at: Timestamp,
    quiet_ns: u64,
}

impl Came {
    /// For how long what is done may be a reaction.
    fn follows_ns(&self, window: usize) -> u64 {
        let (part, least, most) = WINDOWS[window];
        (self.quiet_ns / part).clamp(least, most)
    }
}

/// What is known of the acts of one kind that were done while a source was watched.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Acts in all.
    acts: u16,
    /// Those that followed bytes from the source, by window.
    followed: [u16; WINDOWS.len()],
}

/// Whoever sends bytes after a silence.
#[derive(Debug)]
struct Source {
    address: SocketAddr,
    /// From when on it is watched: the beginning of the first silence.
    since: Timestamp,
    /// The last two times that bytes came: what came to nothing is told late.
    came: [Came; 2],
    /// How often they came.
    times: u32,
    /// How often the subject had asked for them.
    asked: u32,
    /// How regularly they came: intervals, their mean, and the sum of the squares of what they were
    /// off it.
    rhythm: (u32, f64, f64),
    /// The time in which an act would count as a reaction, by window.
    covered_ns: [u64; WINDOWS.len()],
    tallies: [Tally; 3],
}

impl Source {
    /// The bytes that an act at `at` followed, within a window.
    fn before(&self, at: Timestamp, window: usize) -> Option<Came> {
        let follows = |came: &&Came| {
            came.at.0 > 0 && at >= came.at && at.since_ns(came.at) <= came.follows_ns(window)
        };
        self.came.iter().rev().find(follows).copied()
    }

    /// How often acts of a kind followed, when that is no chance.
    fn obeyed(&self, kind: Kind, now: Timestamp) -> Option<u16> {
        let tally = &self.tallies[kind as usize];
        let watched_ns = now.since_ns(self.since).max(1) as f64;
        (0..WINDOWS.len()).find_map(|window| {
            let followed = tally.followed[window];
            let chance = (self.covered_ns[window] as f64 / watched_ns).clamp(RAREST, OBEDIENT);
            let log_odds = f64::from(followed) * (OBEDIENT / chance).ln()
                + f64::from(tally.acts - followed) * ((1.0 - OBEDIENT) / (1.0 - chance)).ln();
            (followed >= TIMES_FROM && log_odds >= ODDS.ln()).then_some(followed)
        })
    }

    /// A program that asks regularly and then does the same each time keeps a schedule, and so does
    /// a job that runs at the same minutes as a server's pings come in. An order is an answer that
    /// differs from the others.
    fn is_schedule(&self, what: Act, times: u16) -> bool {
        let (intervals, mean, squares) = self.rhythm;
        let regular = intervals >= RHYTHM_FROM
            && (squares / f64::from(intervals)).sqrt() <= mean * JITTER_MAX;
        // What is refused may be the same each time; all else is new each time.
        let keeps = match what {
            Act::Refused => self.asked * 2 > self.times,
            _ => regular,
        };
        keeps && self.times < 2 * u32::from(times)
    }
}

/// An act that goes on.
#[derive(Debug, Default)]
struct Run {
    began: Timestamp,
    last: Option<Timestamp>,
    units: u16,
    /// Another connection than to whom had spoken.
    followed: Vec<(SocketAddr, u8)>,
    told: bool,
    seen: Seen,
}

/// Bytes that came in, and what followed.
#[derive(Debug, Default)]
pub(super) struct Reaction {
    sources: Vec<Source>,
    runs: [Run; 3],
    /// What was found, by kind.
    found: [Option<Found>; 3],
}

/// The last time that a reaction was seen.
#[derive(Debug)]
struct Found {
    times: u16,
    at: Timestamp,
    after_ns: u64,
    quiet_ns: u64,
    from: SocketAddr,
    what: Act,
}

impl Reaction {
    /// Bytes came in after so long a silence; `asked` when the subject had asked for them.
    pub(super) fn came_in(&mut self, from: SocketAddr, quiet_ns: u64, asked: bool, now: Timestamp) {
        // New mail comes in by itself, and mailers that are not registered yet try to send.
        if quiet_ns < QUIET_NS || MAIL_CHECKS.contains(&from.port()) {
            return;
        }
        let place = match self.sources.iter().position(|one| one.address == from) {
            Some(place) => place,
            None => {
                self.make_room();
                self.sources.push(Source {
                    address: from,
                    since: Timestamp(now.0.saturating_sub(quiet_ns)),
                    came: [Came::default(); 2],
                    times: 0,
                    asked: 0,
                    rhythm: (0, 0.0, 0.0),
                    covered_ns: [0; WINDOWS.len()],
                    tallies: [Tally::default(); 3],
                });
                self.sources.len() - 1
            }
        };
        let source = &mut self.sources[place];
        let last = source.came[1].at;
        // The answer to what was just asked.
        if last.0 > 0 && now.since_ns(last) < QUIET_NS {
            return;
        }
        if last.0 > 0 {
            let (intervals, mean, squares) = &mut source.rhythm;
            let interval = now.since_ns(last) as f64;
            *intervals = intervals.saturating_add(1);
            let off = interval - *mean;
            *mean += off / f64::from(*intervals);
            *squares += off * (interval - *mean);
        }
        let came = Came { at: now, quiet_ns };
        source.came = [source.came[1], came];
        source.times = source.times.saturating_add(1);
        source.asked += u32::from(asked);
        for (window, covered_ns) in source.covered_ns.iter_mut().enumerate() {
            *covered_ns = covered_ns.saturating_add(came.follows_ns(window));
        }
    }

    /// The subject did something; `there` is to whom, and `to` what tells it from what it did
    /// before. `true` when it has become a sign.
    pub(super) fn act(
        &mut self,
        what: Act,
        there: Option<SocketAddr>,
        to: Option<u64>,
        now: Timestamp,
    ) -> bool {
        let kind = what.kind();
        let rest_ns = self.rest_ns();
        let run = &mut self.runs[kind as usize];
        // Again: a schedule, whatever came in before.
        if to.is_some_and(|to| !run.seen.add(to)) {
            return false;
        }
        if run.last.is_none_or(|last| now.since_ns(last) > rest_ns) {
            run.began = now;
            run.units = 0;
            run.told = false;
            run.followed.clear();
            for source in &self.sources {
                let follows = |window| u8::from(source.before(now, window).is_some());
                // An answer to the one who spoke is no act. Many programs share the address of the
                // machine itself.
                let other = there.is_none_or(|there| {
                    there.ip() != source.address.ip() || there.ip().is_loopback()
                });
                let windows = (follows(0) | follows(1) << 1) * u8::from(other);
                run.followed.push((source.address, windows));
            }
        }
        run.last = run.last.max(Some(now));
        run.units = run.units.saturating_add(what.units());
        if run.told || run.units < ENOUGH[kind as usize] || now.since_ns(run.began) > TOGETHER_NS {
            return false;
        }
        run.told = true;
        self.weigh(what)
    }

    /// How long a rest ends an act.
    fn rest_ns(&self) -> u64 {
        let quiet = self.sources.iter().map(|source| source.came[1].quiet_ns);
        quiet.min().map_or(REST_NS, |quiet| REST_NS.min(quiet / 2))
    }

    /// An act has come about.
    fn weigh(&mut self, what: Act) -> bool {
        let kind = what.kind();
        let run = &self.runs[kind as usize];
        let began = run.began;
        let mut best: Option<Found> = None;
        for source in &mut self.sources {
            let at = run
                .followed
                .iter()
                .find(|(from, _)| *from == source.address);
            let Some((_, windows)) = at else {
                continue;
            };
            let tally = &mut source.tallies[kind as usize];
            tally.acts = tally.acts.saturating_add(1);
            for (window, followed) in tally.followed.iter_mut().enumerate() {
                *followed = followed.saturating_add(u16::from(windows >> window & 1));
            }
            let Some(times) = source.obeyed(kind, began) else {
                continue;
            };
            if source.is_schedule(what, times) {
                continue;
            }
            let before = source.before(began, 1).or_else(|| source.before(began, 0));
            let came = before.unwrap_or(source.came[1]);
            if best.as_ref().is_none_or(|best| best.times < times) {
                best = Some(Found {
                    times,
                    at: came.at,
                    after_ns: began.since_ns(came.at),
                    quiet_ns: came.quiet_ns,
                    from: source.address,
                    what,
                });
            }
        }
        let new = best.is_some() && self.found[kind as usize].is_none();
        self.found[kind as usize] = best;
        new
    }

    /// Whether acts of this kind are reactions.
    pub(super) fn is_sign(&self, kind: Kind, now: Timestamp) -> bool {
        self.found[kind as usize]
            .as_ref()
            .is_some_and(|found| now.since_ns(found.at) <= HOLDS_NS)
    }

    pub(super) fn evidence(&self, now: Timestamp, evidence: &mut Vec<Evidence>) {
        // Mail and scans say more than downloads.
        let Some(found) = [Kind::Mail, Kind::Scan, Kind::Fetch]
            .into_iter()
            .find(|kind| self.is_sign(*kind, now))
            .and_then(|kind| self.found[kind as usize].as_ref())
        else {
            return;
        };
        let did = match found.what {
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
            found.times,
            span(found.after_ns),
            found.from,
            span(found.quiet_ns),
        );
        evidence.push(Evidence::new(Sign::CommandReaction, detail));
    }

    pub(super) fn held_bytes(&self) -> usize {
        let runs = self.runs.iter().map(|run| {
            run.followed.capacity() * size_of::<(SocketAddr, u8)>() + run.seen.held_bytes()
        });
        self.sources.capacity() * size_of::<Source>() + runs.sum::<usize>()
    }

    /// Whoever was followed least and spoke longest ago leaves.
    fn make_room(&mut self) {
        if self.sources.len() < SOURCES_MAX {
            return;
        }
        let followed = |source: &Source| {
            let most = source.tallies.iter().map(|tally| tally.followed[1]);
            most.max().unwrap_or(0).min(TIMES_FROM)
        };
        let least = self
            .sources
            .iter()
            .enumerate()
            .min_by_key(|(_, source)| (followed(source), source.came[1].at))
            .map(|(place, _)| place);
        if let Some(place) = least {
            self.sources.swap_remove(place);
        }
    }
}
