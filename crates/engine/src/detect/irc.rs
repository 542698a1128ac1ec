//! What speaks for a bot in IRC: its name, keys of channels, orders and answers.

use std::net::SocketAddr;

use protocols::Side;
use protocols::irc::{Command, IrcFacts, Text};

use super::commands::{self, Order};
use super::mail::{Mail, Prompt};
use super::obey::Obey;
use super::state::HOLDS_NS;
use super::{Hearsay, counted, nick, replies, span};
use crate::event::Timestamp;
use crate::evidence::{Evidence, seconds};
use crate::observation::Connection;
use crate::printable::printable;
use crate::sign::Sign;

const SESSIONS_MAX: usize = 4;
const SHOWN_MAX: usize = 3;
const GIVEN_MAX: usize = 8;
const NAME_CHARS: usize = 48;
const TEXT_CHARS: usize = 80;
/// How long after an order what begins may be its execution. Bots begin at once; some fetch a list
/// first.
const PROMPTS_NS: u64 = 60 * 1_000_000_000;

/// A connection to an IRC server.
#[derive(Debug)]
struct Session {
    id: u64,
    /// The server, with the name that it gives itself.
    place: String,
    destination: Option<SocketAddr>,
    nick: String,
    channel: String,
    since: Timestamp,
    ended: Option<Timestamp>,
}

/// Some of what was said, and how often it was.
#[derive(Debug, Default)]
struct Said {
    times: u32,
    shown: Vec<String>,
    last: Timestamp,
}

impl Said {
    /// `true` for the first.
    fn add(&mut self, words: String, now: Timestamp) -> bool {
        self.times = self.times.saturating_add(1);
        self.last = self.last.max(now);
        if self.shown.len() < SHOWN_MAX && !self.shown.contains(&words) {
            self.shown.push(words);
        }
        self.times == 1
    }

    fn counts(&self, now: Timestamp) -> bool {
        self.times > 0 && now.since_ns(self.last) <= HOLDS_NS
    }

    fn held_bytes(&self) -> usize {
        self.shown.capacity() * size_of::<String>()
            + self.shown.iter().map(String::capacity).sum::<usize>()
    }
}

/// What a subject does in IRC.
#[derive(Debug, Default)]
pub(super) struct Irc {
    sessions: Vec<Session>,
    /// The name, and what is odd about it.
    machine_nick: Option<(String, String)>,
    /// The channel with a key, the server, when.
    keyed: Option<(String, String, Timestamp)>,
    orders: Said,
    words: Said,
    replies: Said,
    /// Orders that the subject gave itself: to whom.
    given: Vec<(String, Order)>,
    /// When the last order came in, or the subject answered one.
    prompted: Option<Timestamp>,
    /// The targets of orders.
    pub(super) obey: Obey,
}

impl Irc {
    /// A connection is IRC, or has another channel or name.
    pub(super) fn recognised(
        &mut self,
        connection: &Connection,
        facts: &IrcFacts,
        now: Timestamp,
        hearsay: &mut Option<Hearsay>,
    ) -> bool {
        let server = facts.server.as_deref().filter(|name| !name.is_empty());
        let place = match server {
            Some(name) => format!("{} ({})", connection.destination, short(name, NAME_CHARS)),
            None => connection.destination.to_string(),
        };
        let nick = facts.nick.as_deref().unwrap_or_default();
        let channels: Vec<String> = facts
            .channels
            .iter()
            .take(SHOWN_MAX)
            .map(|channel| short(&channel.name, NAME_CHARS))
            .collect();
        let known = self
            .sessions
            .iter_mut()
            .find(|session| session.id == connection.id);
        let new = known.is_none();
        let (nick_words, channel) = (short(nick, NAME_CHARS), channels.join(", "));
        match known {
            Some(session) => {
                session.nick = nick_words;
                session.channel = channel;
                session.place.clone_from(&place);
            }
            None => self.begin(Session {
                id: connection.id,
                place: place.clone(),
                destination: Some(connection.destination),
                nick: nick_words,
                channel,
                since: now,
                ended: None,
            }),
        }
        let mut grown = new;
        if self.machine_nick.is_none()
            && let Some(why) = nick::machine_made(nick)
        {
            self.machine_nick = Some((short(nick, NAME_CHARS), why));
            grown = true;
        }
        if self.keyed.is_none()
            && let Some(channel) = facts.channels.iter().find(|channel| channel.with_key)
        {
            self.keyed = Some((short(&channel.name, NAME_CHARS), place, now));
            grown = true;
        }
        if new {
            for text in &facts.texts {
                grown |= self.text(connection.id, text, now, hearsay);
            }
        }
        grown
    }

    /// Somebody said something.
    pub(super) fn text(
        &mut self,
        id: u64,
        text: &Text,
        now: Timestamp,
        hearsay: &mut Option<Hearsay>,
    ) -> bool {
        let session = self.sessions.iter().find(|session| session.id == id);
        let (place, nick) = match session {
            Some(session) => (session.place.clone(), session.nick.clone()),
            None => (String::new(), String::new()),
        };
        let from_other = text
            .from
            .as_deref()
            .is_some_and(|from| !nick.is_empty() && short(from, NAME_CHARS) != nick);
        // A server that is linked to another, or a bouncer, passes on what others said.
        if text.side == Side::Client && from_other {
            return false;
        }
        let own =
            text.side == Side::Client || (text.from.is_some() && !from_other && !nick.is_empty());
        let target = short(&text.target, NAME_CHARS);
        if own {
            if replies::is_reply(&text.text) {
                let words = format!("\"{}\" to {target}", short(&text.text, TEXT_CHARS));
                self.prompted = Some(now);
                return self.replies.add(words, now);
            }
            // Who gives orders is no bot. Who got them shows when he answers.
            if let Some(order) = commands::order(&text.text) {
                if self.given.len() >= GIVEN_MAX {
                    self.given.remove(0);
                }
                self.given.push((target, order));
            }
            return false;
        }
        if let (Some(from), Some(host)) = (&text.from, &text.host)
            && let Ok(host) = host.parse()
            && replies::is_reply(&text.text)
        {
            let nick = short(from, NAME_CHARS);
            let given = self
                .given
                .iter()
                .position(|(to, _)| *to == nick || to.starts_with('#'));
            *hearsay = Some(Hearsay {
                host,
                nick,
                place,
                order: given.map(|given| self.given.remove(given).1),
                said: Some(short(&text.text, TEXT_CHARS)),
            });
            return false;
        }
        // Between others, as a server passes it on to nobody but its channels.
        if text.command == Command::Notice && text.from.is_none() {
            return false;
        }
        match commands::order(&text.text) {
            Some(order) => {
                let by = text.from.as_deref().map_or_else(
                    || " as the topic".to_owned(),
                    |from| format!(" by {}", short(from, NAME_CHARS)),
                );
                self.order(order, &format!("in {target}{by}"), now)
            }
            None => false,
        }
    }

    /// Somebody else's conversation shows that it takes orders, or answers them.
    pub(super) fn hearsay(&mut self, hearsay: Hearsay, now: Timestamp) -> bool {
        let mut grown = false;
        if self.sessions.is_empty() {
            grown = true;
            if let Some(why) = nick::machine_made(&hearsay.nick) {
                self.machine_nick = Some((hearsay.nick.clone(), why));
            }
            self.begin(Session {
                id: u64::MAX,
                place: hearsay.place,
                destination: None,
                nick: hearsay.nick.clone(),
                channel: String::new(),
                since: now,
                ended: None,
            });
        }
        if let Some(order) = hearsay.order {
            grown |= self.order(order, &format!("to {}", hearsay.nick), now);
        }
        if let Some(said) = hearsay.said {
            self.prompted = Some(now);
            grown |= self
                .replies
                .add(format!("\"{said}\" as {}", hearsay.nick), now);
        }
        grown
    }

    /// What an act follows that begins now.
    pub(super) fn prompt(&self, now: Timestamp) -> Prompt {
        let follows = |at: Timestamp| now >= at && now.since_ns(at) <= PROMPTS_NS;
        let during = |session: &Session| {
            now >= session.since
                && session
                    .ended
                    .is_none_or(|ended| now.since_ns(ended) <= HOLDS_NS)
        };
        Prompt {
            order: self.prompted.is_some_and(follows),
            login: self.sessions.iter().any(during),
        }
    }

    /// Is this connection one of those?
    pub(super) fn is_in(&self, id: u64) -> bool {
        self.sessions.iter().any(|session| session.id == id)
    }

    pub(super) fn closed(&mut self, id: u64, now: Timestamp) {
        for session in &mut self.sessions {
            if session.id == id {
                session.ended = Some(now);
            }
        }
    }

    pub(super) fn evidence(
        &self,
        mail: Option<&Mail>,
        now: Timestamp,
        evidence: &mut Vec<Evidence>,
    ) {
        let counts = |session: &&Session| {
            session
                .ended
                .is_none_or(|ended| now.since_ns(ended) <= HOLDS_NS)
        };
        let Some(session) = self.sessions.iter().rev().find(counts) else {
            return;
        };
        let before = |since: Timestamp| match mail {
            Some(mail) if mail.since.0 > 0 && mail.since >= since => format!(
                ", {} before {}",
                span(mail.since.since_ns(since)),
                mail.words()
            ),
            _ => String::new(),
        };
        let mut push = |what, detail| evidence.push(Evidence::new(what, detail));
        let mut speaks = if session.destination.is_some() {
            format!("speaks IRC with {}", session.place)
        } else {
            format!("is in IRC on {}", session.place)
        };
        if !session.nick.is_empty() {
            speaks += &format!(" as {}", session.nick);
        }
        if !session.channel.is_empty() {
            speaks += &format!(" in {}", session.channel);
        }
        match session.ended {
            Some(ended) => speaks += &format!(", for {}", seconds(ended.since_ns(session.since))),
            None => speaks += &before(session.since),
        }
        push(Sign::SpeaksIrc, speaks);
        if let Some((nick, why)) = &self.machine_nick {
            push(Sign::MachineNick, format!("calls itself {nick}: {why}"));
        }
        if let Some((channel, place, since)) = &self.keyed {
            let detail = format!("joined {channel} with key on {place}{}", before(*since));
            push(Sign::KeyedChannel, detail);
        }
        if self.orders.counts(now) {
            push(Sign::BotCommand, several("order", &self.orders));
        }
        if self.words.counts(now) {
            push(
                Sign::BotCommandWord,
                several("word that bots obey", &self.words),
            );
        }
        if self.replies.counts(now) {
            push(Sign::BotReply, several("answer of a bot", &self.replies));
        }
        self.obey.evidence(now, evidence);
    }

    pub(super) fn held_bytes(&self) -> usize {
        let session = |session: &Session| {
            session.place.capacity() + session.nick.capacity() + session.channel.capacity()
        };
        let given = |(to, order): &(String, Order)| to.capacity() + order.words.capacity();
        self.sessions.capacity() * size_of::<Session>()
            + self.sessions.iter().map(session).sum::<usize>()
            + self
                .machine_nick
                .as_ref()
                .map_or(0, |(a, b)| a.capacity() + b.capacity())
            + self
                .keyed
                .as_ref()
                .map_or(0, |(a, b, _)| a.capacity() + b.capacity())
            + self.orders.held_bytes()
            + self.words.held_bytes()
            + self.replies.held_bytes()
            + self.given.capacity() * size_of::<(String, Order)>()
            + self.given.iter().map(given).sum::<usize>()
            + self.obey.held_bytes()
    }

    fn order(&mut self, order: Order, place: &str, now: Timestamp) -> bool {
        let words = format!("\"{}\" {place}", order.words);
        // In a channel full of people somebody says `!help` or `.status` all the time, and
        // whatever they do would follow it.
        if !order.clear {
            return self.words.add(words, now);
        }
        self.prompted = Some(now);
        self.obey.ordered(&order, now);
        self.orders.add(words, now)
    }

    fn begin(&mut self, session: Session) {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }
}

fn several(what: &str, said: &Said) -> String {
    match said.times {
        1 => said.shown.join(""),
        times => {
            let what = match what.split_once(' ') {
                Some((first, rest)) => format!("{} {rest}", counted(times as usize, first)),
                None => counted(times as usize, what),
            };
            format!("{what}: {}", said.shown.join(", "))
        }
    }
}

/// Safe to print, and cut.
fn short(text: &str, chars: usize) -> String {
    printable(&text.chars().take(chars).collect::<String>()).into_owned()
}
