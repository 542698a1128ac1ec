//! Who behaves like a bot? Observations in, suspicions out, beyond the paper's own rule.
//!
//! A bot takes orders and carries them out. So signs are of two kinds: *control* (IRC and its
//! traits, command and reaction, beaconing, rounds of servers, dead peers) and *act* (mail to
//! many servers, refusals, lookups as spam engines make them, scans). A subject is suspected
//! when the weights of its signs reach [`ENOUGH`] and both kinds are among them, or when
//! control alone reaches [`OVERWHELMING`]: several orders seen, answered as bots answer. One
//! kind alone is what honest programs have: people chat, mail servers look up exchangers and
//! talk to many servers, updaters call home, administrators scan.
//!
//! Both kinds side by side prove nothing either: people who chat send mail, and a monitor sits
//! beside a chat. So an act counts only when something ties it to the control: an order just
//! before it, acts that follow a channel more often than chance explains, a target that an order
//! named, or a host that is in IRC under a name that a machine made. Control alone is enough
//! only when the host has *responded* to it. See [`Conduct`].
//!
//! Pure: the time is an argument. Bounded in subjects and in bytes; whoever was idle longest
//! leaves first, and that is counted. Each file below knows one kind of conduct.

use std::net::IpAddr;

use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::observation::{Observation, Subject};
use crate::sign::Sign;
use crate::suspicion::Suspicion;
use state::{Conduct, State};
use table::Table;

mod beacon;
mod commands;
mod distinct;
mod irc;
mod mail;
mod nick;
mod obey;
mod peers;
mod reaction;
mod replies;
mod rounds;
mod scan;
mod seen;
mod state;
mod table;

#[cfg(test)]
mod tests;

/// The sum of weights from which on a subject with both kinds of signs is suspected.
const ENOUGH: i32 = 65;
/// The sum of weights of control that is enough alone.
const OVERWHELMING: i32 = 80;
/// The most that control weighs of the sort that honest people have too (see [`Sign::is_mild`]),
/// however much of it there is.
const MILD_MOST: i32 = 45;
/// The sum of the other weights of control that is needed where control is enough alone. One
/// order can be quoted, one nickname can be odd.
const STRONG_FROM: i32 = 60;
/// A suspicion that has grown is told again after this long at the earliest.
const TELL_EVERY_NS: u64 = 60 * 1_000_000_000;
/// A clock that was set back by more than this begins the counting anew. Captures tell the
/// end of an idle connection an hour late.
const SET_BACK_NS: u64 = 4 * 3600 * 1_000_000_000;

/// Bounds.
#[derive(Clone, Debug)]
pub struct DetectSettings {
    /// Most subjects at the same time.
    pub subjects_max: usize,
    /// Most bytes that are held for what they did.
    pub detail_max_bytes: usize,
    /// Ports that mail goes to. Mail on any other port counts once it is recognised.
    pub mail_ports: Vec<u16>,
}

/// Ports that mail goes to unless the configuration names others.
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            subjects_max: 100_000,
            detail_max_bytes: 112 * 1024 * 1024,
            mail_ports: MAIL_PORTS.to_vec(),
        }
    }
}

/// Weighs what subjects do.
#[derive(Debug)]
pub struct Detector {
    table: Table,
    mail_ports: Vec<u16>,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(settings: DetectSettings) -> Self {
        Self {
            table: Table::new(settings.subjects_max, settings.detail_max_bytes),
            mail_ports: settings.mail_ports,
        }
    }

    /// From now on mail goes to these ports. What is known already stays.
    pub fn set_mail_ports(&mut self, mail_ports: Vec<u16>) {
        self.mail_ports = mail_ports;
    }

    /// Takes one observation into account. A suspicion comes back when the evidence has just
    /// become enough, or has grown by a new sign since it was told, at most once a minute for
    /// a subject. In captures a second one may be about another host than `subject`: one that a
    /// conversation names.
    pub fn observe(
        &mut self,
        subject: &Subject,
        observation: &Observation<'_>,
        now: Timestamp,
    ) -> Vec<Suspicion> {
        let mail_ports = &self.mail_ports;
        let (grown, hearsay) = self.table.with(subject, |state| {
            if state.last.since_ns(now) > SET_BACK_NS {
                state.begin_anew();
                state.last = now;
            }
            state.last = state.last.max(now);
            let mut hearsay = None;
            let grown = state.observe(observation, mail_ports, now, &mut hearsay);
            (grown || state.untold, hearsay)
        });
        let own = if grown { self.tell(subject, now) } else { None };
        // Only an address of a capture names a subject. Live, a server could accuse anybody.
        let heard = match (subject, hearsay) {
            (Subject::Host(_), Some(hearsay)) => {
                let other = Subject::Host(hearsay.host);
                let grown = self.table.with(&other, |state| {
                    state.last = state.last.max(now);
                    state.hearsay(hearsay, now)
                });
                if grown { self.tell(&other, now) } else { None }
            }
            _ => None,
        };
        own.into_iter().chain(heard).collect()
    }

    /// What is known of a subject, strongest first, for a finding on a refused send. What the
    /// engine counts itself in its refusals (how many, at how many servers) is left out.
    pub fn evidence(&self, subject: &Subject, now: Timestamp) -> Vec<Evidence> {
        let mut evidence = self
            .table
            .get(subject)
            .map_or_else(Vec::new, |state| state.evidence(now));
        evidence.retain(|one| !matches!(one.what, Sign::RefusedMail | Sign::FanOut));
        evidence
    }

    /// The suspicion of a subject as it stands, if its evidence is enough.
    pub fn suspicion(&self, subject: &Subject, now: Timestamp) -> Option<Suspicion> {
        let state = self.table.get(subject)?;
        weigh(subject, state, now)
    }

    /// All subjects whose evidence is enough, for the end of a capture.
    pub fn suspicions(&self, now: Timestamp) -> impl Iterator<Item = Suspicion> + '_ {
        self.table
            .iter()
            .filter_map(move |(subject, state)| weigh(subject, state, now))
    }

    /// Subjects that are known.
    pub fn subjects(&self) -> usize {
        self.table.len()
    }

    /// Subjects that had to leave because there were too many, or too much was known of them.
    pub const fn forgotten(&self) -> u64 {
        self.table.forgotten()
    }

    /// Is it time to speak of this subject?
    fn tell(&mut self, subject: &Subject, now: Timestamp) -> Option<Suspicion> {
        let state = self.table.get_mut(subject)?;
        let found = weigh(subject, state, now);
        let Some(mut suspicion) = found else {
            state.untold = false;
            return None;
        };
        let signs = suspicion
            .evidence
            .iter()
            .fold(0, |signs, one| signs | 1u64 << one.what as u32);
        let (told_signs, told_at) = match state.told {
            None => {
                state.told = Some((signs, now));
                state.since = Some(now);
                state.untold = false;
                suspicion.since = now;
                return Some(suspicion);
            }
            Some(told) => told,
        };
        let new = signs & !told_signs != 0;
        let early = now.since_ns(told_at) < TELL_EVERY_NS;
        state.untold = new && early;
        if !new || early {
            return None;
        }
        state.told = Some((signs | told_signs, now));
        Some(suspicion)
    }
}

fn weigh(subject: &Subject, state: &State, now: Timestamp) -> Option<Suspicion> {
    let conduct = state.conduct(now);
    conduct.is_enough().then(|| Suspicion {
        subject: subject.clone(),
        since: state.since.unwrap_or(now),
        score: conduct.sum(|_| true),
        evidence: conduct.evidence,
    })
}

impl Conduct {
    /// Is it a bot's?
    fn is_enough(&self) -> bool {
        let mild = self.sum(|sign| sign.is_control() && sign.is_mild());
        let strong = self.sum(|sign| sign.is_control() && !sign.is_mild());
        let control = mild.min(MILD_MOST) + strong;
        let doubts = self.sum(|sign| !sign.is_control() && !sign.is_act());
        let acts = self.sum(|sign| sign.is_act() && self.is_caused(sign));
        let both = control > 0 && acts > 0 && control + acts + doubts >= ENOUGH;
        let alone = self.responds()
            && (strong >= STRONG_FROM || self.has(Sign::NumberedRequests))
            && control + doubts >= OVERWHELMING;
        both || alone
    }

    /// Does something tie this act to the control?
    fn is_caused(&self, act: Sign) -> bool {
        let (prompt, reacts) = match act {
            // A target that was named, and a search through networks all over the world.
            Sign::Obeyed | Sign::WormScan => return true,
            Sign::MxLookups => (self.mx, self.reacts_by_mail),
            Sign::Scan => (self.scan, self.reacts_by_scan),
            _ => (self.mail, self.reacts_by_mail),
        };
        // To send mail is what a mail server is for. It sends some of it soon after anything.
        if act.is_mail_act() && self.has(Sign::MailServer) {
            return prompt.order;
        }
        if prompt.order || reacts {
            return true;
        }
        let odd_in_irc = self.has(Sign::MachineNick) || self.has(Sign::BotReply);
        odd_in_irc && prompt.login || self.has(Sign::DeadPeers) || self.has(Sign::NumberedRequests)
    }

    /// Has it answered, or done as it was told? What others say in a channel proves nothing.
    fn responds(&self) -> bool {
        self.has(Sign::BotReply)
            || self.has(Sign::MachineNick)
            || self.has(Sign::NumberedRequests)
            || self.has(Sign::CommandReaction)
    }

    fn has(&self, sign: Sign) -> bool {
        self.evidence.iter().any(|one| one.what == sign)
    }

    fn sum(&self, of: impl Fn(Sign) -> bool) -> i32 {
        let counted = self.evidence.iter().filter(|one| of(one.what));
        counted.map(|one| one.weight).sum()
    }
}

/// What a conversation tells about a host that is not part of it.
#[derive(Debug)]
struct Hearsay {
    host: IpAddr,
    nick: String,
    /// Where it was said.
    place: String,
    order: Option<commands::Order>,
    said: Option<String>,
}

/// A length of time with a digit more than [`crate::evidence::seconds`] where it matters.
fn span(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000_000_000 => format!("{:.1} s", nanoseconds as f64 / 1e9),
        _ => crate::evidence::seconds(nanoseconds),
    }
}

/// `word` with an `s` when there are several.
fn counted(count: usize, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}

/// A number that stands for a value.
fn hash(value: impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
