//! What the points of both sides amount to.

use super::{Classifier, Half, LIMIT_BYTES, Outcome, Roles, Stage};
use crate::app::App;
use crate::facts::{Facts, Side, Tunnel};
use crate::irc::say;
use crate::others;

/// Below this, nothing is claimed.
const CLAIM: f32 = 0.5;
/// From here on a protocol is certain, and only facts are still gathered.
const CERTAIN: f32 = 0.95;
/// One side that is plainly IRC, while the other is silent or unreadable, comes to this.
const ONE_SIDE: f32 = 0.9;
/// Something else speaks against it.
const DENIED: f32 = 0.3;
/// What the first bytes of one side say, when the other side does not confirm it.
const UNCONFIRMED: f32 = 0.8;
/// Bytes of one side that are read once a client has registered with IRC: its server may
/// first send a long text.
const REGISTERED_BYTES: u64 = 512 * 1024;
/// Bytes of one side that are read in a second look.
const AGAIN_BYTES: u64 = 48 * 1024;
/// Bytes of one side that are read within WebSocket.
const FRAMES_BYTES: u64 = 16 * 1024;
/// Bytes of one side that are read when its first bytes told what it is, and the other side is
/// silent.
const NAMED_BYTES: u64 = 4 * 1024;

impl Classifier {
    /// Are more bytes of no use?
    pub(super) fn seen_enough(&self) -> bool {
        let [client, server] = &self.halves;
        if self.irc_inside {
            return false;
        }
        let most = client.seen.max(server.seen);
        if client.is_evidence() || server.is_evidence() {
            let limit = match self.before {
                Some(_) => AGAIN_BYTES,
                None if client.irc.registers() || server.irc.registers() => REGISTERED_BYTES,
                None => LIMIT_BYTES,
            };
            return most >= limit || self.is_certain_mail();
        }
        // A second look begins with a client's words: they were none.
        if most >= LIMIT_BYTES || self.before.is_some() {
            return true;
        }
        if self.halves.iter().any(|half| half.stage == Stage::Proxy) {
            return false;
        }
        if self.frames.is_some() {
            return most >= FRAMES_BYTES;
        }
        let ended = |half: &Half| half.stage == Stage::Binary;
        if ended(client) && ended(server) {
            return true;
        }
        let spoke = |half: &Half| half.seen > 0 && half.stage != Stage::Start;
        let looks = |half: &Half| half.look.is_some();
        if looks(client) || looks(server) {
            // A banner is easily sent: the key exchange is none of text.
            let is_ssh = client.look == Some(App::Ssh) || server.look == Some(App::Ssh);
            if is_ssh && !ended(client) && !ended(server) {
                return most >= NAMED_BYTES;
            }
            return spoke(client) && spoke(server) || most >= NAMED_BYTES;
        }
        if ended(client) && client.seen >= 512 || ended(server) && server.seen >= 512 {
            return true;
        }
        others::best(&client.others, &server.others)
            .is_some_and(|(_, confidence)| confidence >= CERTAIN)
    }

    fn is_certain_mail(&self) -> bool {
        self.smtp
            .as_ref()
            .is_some_and(|smtp| smtp.mail_from.is_some() || smtp.starttls)
            && self.mail().0 >= CERTAIN
    }

    /// The best explanation of what was seen.
    pub(super) fn judged(&mut self) -> Outcome {
        let (irc, irc_swapped) = self.irc();
        let (mail, mail_swapped) = self.mail();
        if irc >= CLAIM && irc >= mail {
            let facts = self.irc.take().map_or(Facts::None, Facts::Irc);
            return self.outcome(App::Irc, irc, irc_swapped, facts);
        }
        if mail >= CLAIM {
            let facts = self.smtp.take().map_or(Facts::None, Facts::Smtp);
            return self.outcome(App::Smtp, mail, mail_swapped, facts);
        }
        if self.before.is_some() {
            return Outcome::default();
        }
        match self.through {
            Some(Tunnel::HttpConnect) => return self.outcome(App::Http, 0.9, false, Facts::None),
            Some(Tunnel::Socks4 | Tunnel::Socks5) => {
                return self.outcome(App::Socks, 0.8, false, Facts::None);
            }
            Some(Tunnel::WebSocket) | None => {}
        }
        let [client, server] = &self.halves;
        if let Some(named) = self.named.take() {
            let silent = client.seen == 0 || server.seen == 0;
            // What one side alone claims may be there to hide something.
            let denied = !silent && !self.is_confirmed() && !is_encrypted_or_binary(client, server);
            return Outcome {
                confidence: if denied {
                    UNCONFIRMED
                } else {
                    named.confidence
                },
                ..*named
            };
        }
        let straight =
            others::best(&client.others, &server.others).map(|(app, sure)| (app, sure, false));
        let turned =
            others::best(&server.others, &client.others).map(|(app, sure)| (app, sure, true));
        let turned = turned.filter(|_| self.roles == Roles::Guessed);
        let best = match (straight, turned) {
            (Some(straight), Some(turned)) if turned.1 > straight.1 => Some(turned),
            (straight, turned) => straight.or(turned),
        };
        match best {
            Some((app, sure, swapped)) => self.outcome(app, sure, swapped, Facts::None),
            None => Outcome::default(),
        }
    }

    fn outcome(&self, app: App, confidence: f32, swapped: bool, facts: Facts) -> Outcome {
        let proxy_swapped = self.through.is_some() && self.proxy_client == Side::Server;
        Outcome {
            app,
            confidence,
            swapped: self.roles == Roles::Guessed && (swapped || proxy_swapped),
            through: self.through,
            facts,
        }
    }

    /// How sure IRC is, and whether the sides have to be swapped.
    fn irc(&self) -> (f32, bool) {
        let [a, b] = &self.halves;
        let straight = a.irc.client.saturating_add(b.irc.server);
        let turned = a.irc.server.saturating_add(b.irc.client);
        // Clearly so: a single message is much the same from either side.
        let swapped = self.roles == Roles::Guessed && turned > straight.saturating_add(3);
        if self.irc_inside {
            return (0.97, swapped);
        }
        let sure = match self.roles {
            Roles::Known => self.irc_of(a, b),
            Roles::Guessed => self.irc_of(a, b).max(self.irc_of(b, a)),
        };
        (sure, swapped)
    }

    /// How sure IRC is when this is the client and that the server.
    fn irc_of(&self, client: &Half, server: &Half) -> f32 {
        let (asks, speaks) = (client.irc.asks(), server.irc.speaks());
        // A file of IRC lines that is sent, and one that comes back, take no turns.
        if self.is_confirmed() && self.turns < 2 {
            return DENIED;
        }
        // The server calls the client by its name, or speaks in its channel.
        if asks > 0 && client.irc.own.meets(&server.irc.addressed) {
            return 0.99;
        }
        let denied = server.denials > server.irc.strong;
        if asks >= 2 && speaks >= 2 {
            return 0.99;
        }
        if asks >= 2 && (speaks == 1 || server.irc.error) && !denied {
            return if server.irc.strong >= 2 { 0.99 } else { 0.95 };
        }
        if client.irc.links() >= 2 && server.irc.links() >= 2 {
            return 0.97;
        }
        if self.is_contested() {
            return DENIED;
        }
        // The client's lines are something else: asked was something else.
        let other_client = client.irc.bad > client.irc.good;
        if denied || other_client && asks < 2 {
            let many = asks >= 4 || server.irc.strong >= 5;
            return if many { 0.6 } else { DENIED };
        }
        match (asks, speaks) {
            (1.., 1..) => 0.95,
            (2.., 0) => ONE_SIDE,
            (0, 1..) if server.irc.needs_no_client() => ONE_SIDE,
            // Words that others share (`STARTTLS`, `PASS`), answered as only IRC servers do.
            (0, 1..) if client.irc.good > 0 => 0.8,
            // It is over before anything was said.
            (0, 1) if server.irc.said == say::ERROR && client.seen == 0 => 0.6,
            _ => links(client, server),
        }
    }

    /// Both sides spoke as only IRC does, and which is which is clear.
    pub(super) fn surely_irc(&self) -> bool {
        let (sure, swapped) = self.irc();
        let [a, b] = &self.halves;
        let straight = a.irc.client.saturating_add(b.irc.server);
        let turned = a.irc.server.saturating_add(b.irc.client);
        let clear = self.roles == Roles::Known || swapped || straight > turned.saturating_add(3);
        sure > CERTAIN && clear && self.mail().0 < CLAIM
    }

    /// The server alone speaks as only IRC servers do, and nothing speaks against it.
    pub(super) fn server_is_irc(&self) -> bool {
        let server = &self.halves[Side::Server.index()].irc;
        self.roles == Roles::Known
            && server.needs_no_client()
            && self.irc().0 >= ONE_SIDE
            && self.mail().0 < CLAIM
    }

    /// How sure mail is, and whether the sides have to be swapped.
    fn mail(&self) -> (f32, bool) {
        let [a, b] = &self.halves;
        let straight = self.mail_of(a, b);
        if self.roles == Roles::Known {
            return (straight, false);
        }
        better(straight, self.mail_of(b, a))
    }

    fn mail_of(&self, client: &Half, server: &Half) -> f32 {
        let (asks, answers) = (&client.smtp, &server.smtp);
        if !asks.hello && !asks.envelope {
            return mail_by_server(client, server);
        }
        // Text about mail that is sent to a web server, and comes back, takes no turns.
        if self.is_confirmed() && self.turns < 2 {
            return DENIED;
        }
        if self.is_contested() && (answers.replies == 0 || answers.server == 0) {
            return DENIED;
        }
        let other = answers.other_server && answers.granted == 0;
        if other || answers.transfers && !(answers.surely_server && answers.granted > 0) {
            return DENIED;
        }
        match (answers.greeting, answers.replies) {
            (true, 2..) => 0.99,
            (true, _) => 0.97,
            (false, 1..) if answers.server > 0 => 0.95,
            (false, 1..) if asks.hello && asks.envelope => 0.9,
            (false, 1..) => 0.6,
            // It answers in other words than mail servers do.
            _ if server.others.lines() > 0 || server.stage == Stage::Binary && !asks.envelope => {
                DENIED
            }
            _ if asks.hello && asks.envelope => 0.9,
            _ if asks.envelope => 0.8,
            _ => 0.6,
        }
    }
}

/// A server that speaks mail to a client that has not greeted. FTP and Tor answer in much the
/// same form, so the client may say nothing that mail servers do not know.
fn mail_by_server(client: &Half, server: &Half) -> f32 {
    let (asks, answers) = (&client.smtp, &server.smtp);
    let silent = asks.unknown == 0 && client.look.is_none() && server.look.is_none();
    if !silent || answers.transfers || answers.other_server || !answers.surely_server {
        return 0.0;
    }
    match asks.client {
        1.. => 0.9,
        0 if answers.refuses => 0.7,
        // The greeting of a mail server, and nobody who speaks to it.
        0 if answers.server >= 3 => 0.6,
        0 => 0.0,
    }
}

/// Servers that link up: both introduce themselves, or one does while the other is silent.
fn links(client: &Half, server: &Half) -> f32 {
    match (client.irc.links(), server.irc.links()) {
        (2.., 2..) => 0.97,
        (3.., 0) if server.denials == 0 => 0.8,
        (0, 3..) if client.denials == 0 => 0.8,
        (2.., 0) if server.irc.said & say::ERROR != 0 => 0.8,
        _ => 0.0,
    }
}

/// Neither side can be read: nothing hides in lines.
fn is_encrypted_or_binary(client: &Half, server: &Half) -> bool {
    client.stage == Stage::Binary && server.stage == Stage::Binary
}

fn better(straight: f32, turned: f32) -> (f32, bool) {
    if turned > straight {
        (turned, true)
    } else {
        (straight, false)
    }
}
