//! Pieces of a connection in, the protocol out.

use crate::app::App;
use crate::facts::{Facts, Side, Tunnel};
use crate::irc::{self, IrcFacts};
use crate::lines::Lines;
use crate::others;
use crate::signature::{Look, look_at_datagram};
use crate::smtp::{self, SmtpFacts};
use crate::websocket::Frames;

mod judge;
mod reading;

/// Bytes of one side after which no more are looked at, unless a client has registered with
/// IRC and its server has not been understood yet.
pub const LIMIT_BYTES: u64 = 96 * 1024;
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
    /// The head of an answer that changes to WebSocket has not ended.
    Head,
    /// Frames of WebSocket.
    Frames,
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
    /// What the first bytes look like. The other side has to confirm it.
    look: Option<App>,
    lines: Lines,
    /// Bytes are missing before the line that has begun.
    torn: bool,
    irc: irc::Score,
    smtp: smtp::Score,
    others: others::Score,
    /// Lines that are no IRC, after the other side had spoken it.
    denials: u16,
}

impl Half {
    /// Is there anything that speaks for IRC or mail, and that more lines may confirm?
    const fn is_evidence(&self) -> bool {
        self.irc.is_evidence() || self.smtp.is_evidence()
    }
}

/// Finds out what a connection is. Holds at most some 10 KiB, mostly less than 1.
///
/// First bytes give a protocol away, but a single line may be there to hide another: so lines
/// of IRC and mail are looked for until the other side has confirmed the first bytes.
#[derive(Debug)]
pub struct Classifier {
    roles: Roles,
    halves: [Half; 2],
    through: Option<Tunnel>,
    /// The side that asked the proxy.
    proxy_client: Side,
    datagrams: u8,
    /// What the first bytes of one side gave away.
    named: Option<Box<Outcome>>,
    /// This is a second look, at what was found to be this.
    before: Option<App>,
    irc: Option<Box<IrcFacts>>,
    smtp: Option<Box<SmtpFacts>>,
    /// A client asks to change to WebSocket.
    asks_frames: bool,
    /// Frames of WebSocket, of both sides.
    frames: Option<Box<[Frames; 2]>>,
    /// Both sides agreed on IRC within WebSocket.
    irc_inside: bool,
    /// How often the other side answered in the same protocol, IRC or mail.
    turns: u8,
    spoke_last: Option<Side>,
    decided: Option<Outcome>,
    /// What had begun when IRC was decided on.
    begun: Option<Box<Begun>>,
}

/// What goes on in an IRC connection: lines and frames that have begun.
#[derive(Debug, Default)]
struct Begun {
    lines: [Lines; 2],
    frames: Option<Box<[Frames; 2]>>,
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
            named: None,
            before: None,
            irc: None,
            smtp: None,
            asks_frames: false,
            frames: None,
            irc_inside: false,
            turns: 0,
            spoke_last: None,
            decided: None,
            begun: None,
        }
    }

    /// A second look at a connection that was found to be something else, from where
    /// [`begins_anew`](crate::begins_anew) found that IRC or mail may begin. It finds IRC,
    /// mail, or nothing.
    pub fn again(roles: Roles, before: App) -> Self {
        Self {
            before: Some(before),
            ..Self::new(roles)
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
        if let Some(frames) = &mut self.frames {
            frames[side.index()].gap();
        }
        let half = &mut self.halves[side.index()];
        half.torn = true;
        half.lines.clear();
        if matches!(half.stage, Stage::Start | Stage::Proxy | Stage::Head) && !half.start.is_empty()
        {
            half.stage = Stage::Binary;
            half.start = Vec::new();
        }
    }

    /// What is known, with no more to come.
    pub fn finish(mut self) -> Outcome {
        if self.decided.is_none() {
            for side in [Side::Client, Side::Server] {
                self.read_start(side);
                if !self.halves[side.index()].lines.rest().is_empty() {
                    self.read_lines(side, b"\n");
                }
            }
        }
        match self.decided.take() {
            Some(outcome) => outcome,
            None => self.judged(),
        }
    }

    /// What the first bytes of one side gave away, while the other side has not confirmed it.
    pub fn named(&self) -> Option<&Outcome> {
        self.named.as_deref()
    }

    /// Did the client register with IRC, while it is not clear yet who answers? A caller that
    /// sees only a part of the connection has to see more.
    pub fn registers(&self) -> bool {
        self.halves.iter().any(|half| half.irc.registers())
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
                self.read_start(side);
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
        let Begun {
            lines: [client, server],
            mut frames,
        } = *self.begun.take().unwrap_or_default();
        let (client, server) = if outcome.swapped {
            if let Some(frames) = &mut frames {
                frames.swap(0, 1);
            }
            (server, client)
        } else {
            (client, server)
        };
        let facts = std::mem::take(facts);
        outcome.facts = Facts::None;
        let watch = irc::Watch::within(facts, client, server, frames);
        (outcome, Some(watch))
    }

    /// Bytes held beside the classifier itself.
    pub fn held_bytes(&self) -> usize {
        self.halves
            .iter()
            .map(|half| half.start.capacity() + half.lines.held_bytes())
            .sum()
    }

    /// Is anything known of the protocol that speaks against IRC and mail?
    fn is_contested(&self) -> bool {
        let other = |app: Option<App>| app.is_some_and(|app| app != App::Unknown);
        other(self.before) || self.halves.iter().any(|half| half.look.is_some())
    }

    /// Did both sides begin in the same other protocol?
    fn is_confirmed(&self) -> bool {
        let [client, server] = &self.halves;
        let agreed = client.look.is_some() && client.look == server.look;
        agreed || self.before.is_some_and(|app| app != App::Unknown)
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
        self.decided = Some(self.named_by(app, confidence, sender, from, facts));
        self.release();
    }

    fn named_by(
        &self,
        app: App,
        confidence: f32,
        sender: Option<Side>,
        from: Side,
        facts: Facts,
    ) -> Outcome {
        Outcome {
            app,
            confidence,
            swapped: self.roles == Roles::Guessed && sender.is_some_and(|sender| sender != from),
            through: self.through,
            facts,
        }
    }

    /// What has begun goes on in an IRC connection.
    fn keep_begun(&mut self) {
        if self
            .decided
            .as_ref()
            .is_some_and(|outcome| outcome.app == App::Irc)
        {
            let [client, server] = &mut self.halves;
            let lines = [client, server].map(|half| std::mem::take(&mut half.lines));
            let frames = self.frames.take();
            self.begun = Some(Box::new(Begun { lines, frames }));
        }
    }

    fn release(&mut self) {
        self.halves = Default::default();
        self.irc = None;
        self.smtp = None;
        self.frames = None;
        self.named = None;
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
