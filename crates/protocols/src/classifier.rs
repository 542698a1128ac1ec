//! Pieces of a connection in, the protocol out.

use crate::app::App;
use crate::facts::{Facts, Side, Tunnel};
use crate::irc::{self, IrcFacts};
use crate::lines::Lines;
use crate::others;
use crate::shape::{has_control, is_text};
use crate::signature::{Look, look, look_at_datagram};
use crate::smtp::{self, SmtpFacts};
use crate::tunnel::{Strip, strip};

mod judge;

/// Bytes of one side after which no more are looked at.
pub const LIMIT_BYTES: u64 = 16 * 1024;
/// Bytes of one side after which no more are looked at when nothing spoke for any protocol.
const HOPELESS_BYTES: u64 = 4 * 1024;
/// Datagrams that are looked at.
const DATAGRAMS_MAX: u8 = 4;

/// Is it known which side is the client?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// The beginning of the connection was seen.
    Known,
    /// It was guessed: what is said may turn it around.
    Guessed,
}

/// Whether more bytes are of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Go on.
    More,
    /// It is decided; what follows is not looked at.
    Enough,
}

/// What a connection was found to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The protocol.
    pub app: App,
    /// From 0 (nothing known) to 1.
    pub confidence: f32,
    /// The sides were guessed wrong: the server is the side that was called client.
    pub swapped: bool,
    /// The proxy that it goes through.
    pub through: Option<Tunnel>,
    /// What was learned. Its sides are the right ones, whether swapped or not.
    pub facts: Facts,
}

/// How far one side has been understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The first bytes have to tell what comes.
    #[default]
    Start,
    /// A proxy's part has not ended.
    Proxy,
    /// Lines of text.
    Text,
    /// Something else, or encrypted.
    Binary,
}

#[derive(Debug, Default)]
struct Half {
    stage: Stage,
    /// First bytes that did not tell yet.
    start: Vec<u8>,
    /// Bytes inside the tunnel.
    seen: u64,
    lines: Lines,
    irc: irc::Score,
    smtp: smtp::Score,
    others: others::Score,
}

/// Finds out what a connection is. Holds at most some 10 KiB, mostly less than 1.
#[derive(Debug)]
pub struct Classifier {
    roles: Roles,
    halves: [Half; 2],
    through: Option<Tunnel>,
    /// The side that asked the proxy.
    proxy_client: Side,
    datagrams: u8,
    irc: Option<Box<IrcFacts>>,
    smtp: Option<Box<SmtpFacts>>,
    decided: Option<Outcome>,
    /// Lines that had begun when IRC was decided on.
    begun: Option<Box<[Lines; 2]>>,
}

impl Classifier {
    /// A classifier that has seen nothing.
    pub fn new(roles: Roles) -> Self {
        Self {
            roles,
            halves: Default::default(),
            through: None,
            proxy_client: Side::Client,
            datagrams: 0,
            irc: None,
            smtp: None,
            decided: None,
            begun: None,
        }
    }

    /// Takes the next bytes that `side` sent. The sides may come in any order.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> Progress {
        if self.decided.is_some() {
            return Progress::Enough;
        }
        self.take(side, bytes);
        self.conclude()
    }

    /// Takes a datagram that `side` sent.
    pub fn datagram(&mut self, side: Side, bytes: &[u8]) -> Progress {
        if self.decided.is_some() {
            return Progress::Enough;
        }
        self.datagrams = self.datagrams.saturating_add(1);
        match look_at_datagram(bytes) {
            Look::Is {
                app,
                side: sender,
                facts,
            } => self.decide(app, 0.95, sender, side, facts),
            _ if self.datagrams >= DATAGRAMS_MAX => {
                self.decided = Some(Outcome::default());
                self.release();
            }
            _ => {}
        }
        match self.decided {
            Some(_) => Progress::Enough,
            None => Progress::More,
        }
    }

    /// Some bytes of this side are missing.
    pub fn gap(&mut self, side: Side) {
        let half = &mut self.halves[side.index()];
        half.lines.clear();
        if matches!(half.stage, Stage::Start | Stage::Proxy) && !half.start.is_empty() {
            half.stage = Stage::Binary;
            half.start = Vec::new();
        }
    }

    /// What is known, with no more to come.
    pub fn finish(mut self) -> Outcome {
        if self.decided.is_none() {
            for side in [Side::Client, Side::Server] {
                let half = &mut self.halves[side.index()];
                if half.stage == Stage::Start && is_text(&half.start) {
                    half.stage = Stage::Text;
                    let start = std::mem::take(&mut half.start);
                    self.read_lines(side, &start);
                }
                let rest = self.halves[side.index()].lines.rest().to_vec();
                if !rest.is_empty() {
                    self.read_lines(side, b"\n");
                }
            }
        }
        match self.decided.take() {
            Some(outcome) => outcome,
            None => self.judged(),
        }
    }

    /// Is it IRC beyond doubt, although more bytes could still add to its facts? Whoever wants
    /// to listen on need not wait for [`Progress::Enough`].
    pub fn is_surely_irc(&self) -> bool {
        self.decided.is_none() && self.irc.is_some() && self.surely_irc()
    }

    /// Does the server speak IRC, whatever the client says? The client's words may be hidden
    /// from whoever looks at a few packets, or be older than the look. A connection that lives
    /// on cannot wait for [`Classifier::finish`].
    pub fn is_irc_by_server(&self) -> bool {
        self.decided.is_none() && self.irc.is_some() && self.server_is_irc()
    }

    /// What is known now and, when it is IRC, who listens on to the rest of the connection.
    /// The facts are with the watch then.
    pub fn finish_watching(mut self) -> (Outcome, Option<irc::Watch>) {
        if self.decided.is_none() {
            for side in [Side::Client, Side::Server] {
                let half = &mut self.halves[side.index()];
                if half.stage == Stage::Start && is_text(&half.start) {
                    half.stage = Stage::Text;
                    let start = std::mem::take(&mut half.start);
                    self.read_lines(side, &start);
                }
            }
            if self.decided.is_none() {
                let outcome = self.judged();
                self.decided = Some(outcome);
                self.keep_begun();
            }
        }
        let mut outcome = self.decided.take().unwrap_or_default();
        let Facts::Irc(facts) = &mut outcome.facts else {
            return (outcome, None);
        };
        let [client, server] = *self.begun.take().unwrap_or_default();
        let (client, server) = if outcome.swapped {
            (server, client)
        } else {
            (client, server)
        };
        let facts = std::mem::take(facts);
        outcome.facts = Facts::None;
        (outcome, Some(irc::Watch::within(facts, client, server)))
    }

    /// Bytes held beside the classifier itself.
    pub fn held_bytes(&self) -> usize {
        self.halves
            .iter()
            .map(|half| half.start.capacity() + half.lines.held_bytes())
            .sum()
    }

    fn take(&mut self, side: Side, bytes: &[u8]) {
        let half = &mut self.halves[side.index()];
        half.seen += bytes.len() as u64;
        match half.stage {
            Stage::Start if half.start.is_empty() => self.start(side, bytes),
            Stage::Start => {
                half.start.extend_from_slice(bytes);
                let start = std::mem::take(&mut half.start);
                self.start(side, &start);
            }
            Stage::Proxy => {
                half.start.extend_from_slice(bytes);
                let start = std::mem::take(&mut half.start);
                self.proxy(side, &start);
            }
            Stage::Text => self.read_lines(side, bytes),
            Stage::Binary => {}
        }
    }

    fn start(&mut self, side: Side, bytes: &[u8]) {
        let inside = self.through.is_some();
        if inside && self.halves[side.index()].seen == 0 && bytes.is_empty() {
            return;
        }
        match look(bytes) {
            Look::More => self.halves[side.index()].start = bytes.to_vec(),
            Look::Text => {
                self.halves[side.index()].stage = Stage::Text;
                self.read_lines(side, bytes);
            }
            Look::Binary => self.halves[side.index()].stage = Stage::Binary,
            // In a tunnel TLS or HTTP change nothing: it stays a tunnel.
            Look::Is { .. } | Look::Through(..) if inside => self.decide_tunnel(),
            Look::Is {
                app,
                side: sender,
                facts,
            } => self.decide(app, 0.95, sender, side, facts),
            Look::Through(tunnel, _) => {
                self.through = Some(tunnel);
                self.proxy_client = side;
                // What the other side said before is the proxy's too.
                let other = &mut self.halves[side.other().index()];
                if other.seen == 0 || !other.start.is_empty() {
                    other.stage = Stage::Proxy;
                }
                self.halves[side.index()].stage = Stage::Proxy;
                self.proxy(side, bytes);
            }
        }
    }

    fn proxy(&mut self, side: Side, bytes: &[u8]) {
        let Some(tunnel) = self.through else {
            return;
        };
        let role = if side == self.proxy_client {
            Side::Client
        } else {
            Side::Server
        };
        let half = &mut self.halves[side.index()];
        match strip(tunnel, role, bytes) {
            Strip::More => half.start = bytes.to_vec(),
            Strip::Refused => self.decide_tunnel(),
            Strip::Inside(taken) => {
                half.stage = Stage::Start;
                half.seen = (bytes.len() - taken) as u64;
                if taken < bytes.len() {
                    self.start(side, &bytes[taken..]);
                }
            }
        }
    }

    fn read_lines(&mut self, side: Side, bytes: &[u8]) {
        // After STARTTLS, and in what only began like text.
        if !bytes.is_empty() && bytes != b"\n" && !is_text(bytes) && has_control(bytes) {
            self.halves[side.index()].stage = Stage::Binary;
            self.halves[side.index()].lines.clear();
            return;
        }
        let mut lines = std::mem::take(&mut self.halves[side.index()].lines);
        lines.feed(bytes, |line, cut| self.line(side, line, cut));
        self.halves[side.index()].lines = lines;
    }

    fn line(&mut self, side: Side, line: &[u8], cut: bool) {
        let half = &mut self.halves[side.index()];
        half.irc.line(line, cut);
        half.smtp.line(line);
        half.others.line(line);
        let irc = half.irc;
        let smtp = half.smtp;
        if irc.mostly_fits() {
            let role = self.role(side, irc.client, irc.server);
            self.irc.get_or_insert_default().line(role, line);
        }
        if smtp.client > 0 || smtp.server > 0 {
            let facts = self.smtp.get_or_insert_default();
            if smtp.client > smtp.server {
                facts.client_line(line);
            } else {
                facts.server_line(line);
            }
        }
    }

    /// Which side the sender is, with these points for both.
    fn role(&self, side: Side, client: u16, server: u16) -> Side {
        match (self.roles, client.cmp(&server)) {
            (Roles::Guessed, std::cmp::Ordering::Greater) => Side::Client,
            (Roles::Guessed, std::cmp::Ordering::Less) => Side::Server,
            _ => side,
        }
    }

    /// The protocol is clear from bytes that `from` sent, and that `sender` sends in it.
    fn decide(
        &mut self,
        app: App,
        confidence: f32,
        sender: Option<Side>,
        from: Side,
        facts: Facts,
    ) {
        let swapped = self.roles == Roles::Guessed && sender.is_some_and(|sender| sender != from);
        self.decided = Some(Outcome {
            app,
            confidence,
            swapped,
            through: self.through,
            facts,
        });
        self.release();
    }

    fn decide_tunnel(&mut self) {
        let app = match self.through {
            Some(Tunnel::HttpConnect) => App::Http,
            _ => App::Socks,
        };
        self.decide(app, 0.9, Some(Side::Client), self.proxy_client, Facts::None);
    }

    /// Lines that have begun go on in an IRC connection.
    fn keep_begun(&mut self) {
        if self
            .decided
            .as_ref()
            .is_some_and(|outcome| outcome.app == App::Irc)
        {
            let [client, server] = &mut self.halves;
            let lines = [client, server].map(|half| std::mem::take(&mut half.lines));
            self.begun = Some(Box::new(lines));
        }
    }

    fn release(&mut self) {
        self.halves = Default::default();
        self.irc = None;
        self.smtp = None;
    }

    fn conclude(&mut self) -> Progress {
        if self.decided.is_none() && self.seen_enough() {
            let outcome = self.judged();
            self.decided = Some(outcome);
            self.keep_begun();
            self.release();
            return Progress::Enough;
        }
        match self.decided {
            Some(_) => Progress::Enough,
            None => Progress::More,
        }
    }
}

#[cfg(test)]
mod tests;
