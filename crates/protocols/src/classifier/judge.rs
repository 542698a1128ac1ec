//! What the points of both sides amount to.

use super::{Classifier, HOPELESS_BYTES, Half, LIMIT_BYTES, Outcome, Roles, Stage};
use crate::app::App;
use crate::facts::{Facts, Side, Tunnel};
use crate::others;

/// Below this, nothing is claimed.
const CLAIM: f32 = 0.5;
/// From here on a protocol is certain, and only facts are still gathered.
const CERTAIN: f32 = 0.95;
/// One side that is plainly IRC, while the other is silent or unreadable, comes to this.
const ONE_SIDE: f32 = 0.9;
/// Points of a server that need no client.
const SERVER_ALONE: u16 = 6;

impl Classifier {
    /// Are more bytes of no use?
    pub(super) fn seen_enough(&self) -> bool {
        let [client, server] = &self.halves;
        if client.seen >= LIMIT_BYTES || server.seen >= LIMIT_BYTES {
            return true;
        }
        if self.halves.iter().any(|half| half.stage == Stage::Proxy) {
            return false;
        }
        let ended = |half: &Half| half.stage == Stage::Binary;
        if ended(client) && ended(server) {
            return true;
        }
        let silent = client.irc.good == 0 && server.irc.good == 0 && !mail(client) && !mail(server);
        let hopeless =
            |half: &Half| half.seen >= HOPELESS_BYTES || (ended(half) && half.seen >= 512);
        if silent && (hopeless(client) || hopeless(server)) {
            return true;
        }
        if let Some(smtp) = &self.smtp
            && (smtp.mail_from.is_some() || smtp.starttls)
            && self.mail().0 >= CERTAIN
        {
            return true;
        }
        let others = |a, b| others::best(a, b).is_some_and(|(_, confidence)| confidence >= CERTAIN);
        silent && others(&client.others, &server.others)
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
        match self.through {
            Some(Tunnel::HttpConnect) => return self.outcome(App::Http, 0.9, false, Facts::None),
            Some(_) => return self.outcome(App::Socks, 0.8, false, Facts::None),
            None => {}
        }
        let [client, server] = &self.halves;
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
        let sure = match self.roles {
            Roles::Known => irc_of(a, b),
            Roles::Guessed => irc_of(a, b).max(irc_of(b, a)),
        };
        (sure, swapped)
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
            && server.mostly_fits()
            && server.server >= SERVER_ALONE
            && self.irc().0 >= ONE_SIDE
            && self.mail().0 < CLAIM
    }

    /// How sure mail is, and whether the sides have to be swapped.
    fn mail(&self) -> (f32, bool) {
        let [a, b] = &self.halves;
        let straight = mail_of(a, b);
        if self.roles == Roles::Known {
            return (straight, false);
        }
        better(straight, mail_of(b, a))
    }
}

fn better(straight: f32, turned: f32) -> (f32, bool) {
    if turned > straight {
        (turned, true)
    } else {
        (straight, false)
    }
}

fn mail(half: &Half) -> bool {
    half.smtp.client > 0 || half.smtp.server > 0
}

/// The higher of the points that count for the side, and those of the other role at half:
/// between servers, and in captures of one side's proxy, lines of both kinds go one way.
fn irc_of(client: &Half, server: &Half) -> f32 {
    let points = |half: &Half, own: u16, other: u16| {
        if half.irc.mostly_fits() {
            own.max(other / 2)
        } else {
            0
        }
    };
    let from_client = points(client, client.irc.client, client.irc.server);
    let from_server = points(server, server.irc.server, server.irc.client);
    // The other side answers in lines that are not IRC: asked was something else.
    let denied = |half: &Half| half.irc.bad > half.irc.good && half.irc.bad >= 1;
    if denied(client) || denied(server) {
        // Many lines of the one side can be right all the same.
        return if from_client.max(from_server) >= 16 {
            0.6
        } else {
            0.3
        };
    }
    match (from_client, from_server) {
        (3.., 3..) => 0.99,
        (3.., 1..) | (1.., 3..) if from_client + from_server >= 6 => 0.95,
        (3.., 1..) | (1.., 3..) => 0.8,
        (6.., 0) | (0, 6..) => ONE_SIDE,
        // Words that others share (`STARTTLS`, `PASS`), answered as only IRC servers do.
        (0, 3..) if client.irc.good > 0 => 0.9,
        (3.., 0) | (0, 3..) if client.irc.bad + server.irc.bad == 0 => 0.6,
        _ => 0.0,
    }
}

fn mail_of(client: &Half, server: &Half) -> f32 {
    let (asks, answers) = (&client.smtp, &server.smtp);
    let talks = asks.hello || asks.envelope;
    if answers.other_server {
        return 0.3;
    }
    if talks {
        return match (answers.greeting, answers.replies) {
            (true, 2..) => 0.99,
            (true, _) => 0.97,
            (false, 1..) if answers.server > 0 => 0.95,
            (false, 1..) if asks.hello && asks.envelope => 0.9,
            (false, 1..) => 0.6,
            // It answers in other words than mail servers do.
            _ if server.others.lines() > 0 || server.stage == Stage::Binary && !asks.envelope => {
                0.3
            }
            _ if asks.hello && asks.envelope => 0.9,
            _ if asks.envelope => 0.8,
            _ => 0.6,
        };
    }
    match (answers.surely_server, asks.client) {
        (true, 1..) => 0.9,
        // The greeting of a mail server, and nobody who speaks to it.
        (true, 0) if answers.server >= 3 => 0.6,
        _ => 0.0,
    }
}
