//! Bytes of one side in: the proxy's part off, frames off, lines out.

use super::{Classifier, Roles, Stage};
use crate::app::App;
use crate::begin::{begins_anew, may_count};
use crate::facts::{Facts, Side, Tunnel};
use crate::irc::Worth;
use crate::shape::{has_control, is_text};
use crate::signature::{Look, look};
use crate::tunnel::{Strip, strip};
use crate::websocket;

/// Bytes of one side after which only those lines are read that may count, while nothing has
/// spoken for IRC or mail.
const READ_CLOSELY_BYTES: u64 = 4 * 1024;
/// Longest head of an answer that changes to WebSocket.
const HEAD_MAX_BYTES: usize = 8 * 1024;

impl Classifier {
    pub(super) fn take(&mut self, side: Side, bytes: &[u8]) {
        let half = &mut self.halves[side.index()];
        half.seen += bytes.len() as u64;
        match half.stage {
            Stage::Start if self.before.is_some() => self.start_again(side, bytes),
            Stage::Start => {
                let mut start = std::mem::take(&mut half.start);
                if start.is_empty() {
                    self.start(side, bytes);
                } else {
                    start.extend_from_slice(bytes);
                    self.start(side, &start);
                }
                if self.halves[side.index()].stage == Stage::Start && begins_anew(bytes) {
                    // It began like another protocol whose rest does not come.
                    self.read_start(side);
                }
            }
            Stage::Proxy => {
                half.start.extend_from_slice(bytes);
                let start = std::mem::take(&mut half.start);
                self.proxy(side, &start);
            }
            Stage::Head => {
                half.start.extend_from_slice(bytes);
                let head = std::mem::take(&mut half.start);
                self.head(side, head);
            }
            Stage::Frames => self.unwrap(side, bytes),
            Stage::Text | Stage::Binary => {
                self.read_lines(side, bytes);
            }
        }
    }

    /// Reads the first bytes that did not tell, as lines.
    pub(super) fn read_start(&mut self, side: Side) {
        let half = &mut self.halves[side.index()];
        if !matches!(half.stage, Stage::Start | Stage::Proxy) || half.start.is_empty() {
            return;
        }
        half.stage = if is_text(&half.start) {
            Stage::Text
        } else {
            Stage::Binary
        };
        let start = std::mem::take(&mut half.start);
        self.read_lines(side, &start);
    }

    fn start(&mut self, side: Side, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let half = &mut self.halves[side.index()];
        match look(bytes) {
            Look::More => half.start = bytes.to_vec(),
            Look::Text => {
                half.stage = Stage::Text;
                self.read_lines(side, bytes);
            }
            Look::Binary => {
                half.stage = Stage::Binary;
                self.read_lines(side, bytes);
            }
            Look::Is {
                app,
                side: sender,
                facts,
            } => self.looks_like(side, app, sender, facts, bytes),
            // A proxy behind a proxy: what is inside is read as it comes.
            Look::Through(..) if self.through.is_some() => {
                half.stage = Stage::Text;
                half.look = Some(App::Http);
                self.read_lines(side, bytes);
            }
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

    /// The first bytes give a protocol away. They are read as lines all the same.
    fn looks_like(
        &mut self,
        side: Side,
        app: App,
        sender: Option<Side>,
        facts: Facts,
        bytes: &[u8],
    ) {
        let half = &mut self.halves[side.index()];
        half.look = Some(app);
        half.stage = if is_text(bytes) {
            Stage::Text
        } else {
            Stage::Binary
        };
        // In a tunnel TLS or HTTP change nothing: it stays a tunnel.
        if self.through.is_none() && self.named.is_none() {
            let named = self.named_by(app, 0.95, sender, side, facts);
            self.named = Some(Box::new(named));
        }
        if app == App::Http && self.upgrades(side, bytes) {
            return;
        }
        // The other side has confirmed it, and nothing spoke for IRC or mail.
        let [client, server] = &self.halves;
        if client.look == server.look && !client.is_evidence() && !server.is_evidence() {
            return;
        }
        self.read_lines(side, bytes);
    }

    /// In a second look, a server that goes on in HTTP answers a request.
    fn start_again(&mut self, side: Side, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let half = &mut self.halves[side.index()];
        half.stage = Stage::Text;
        if self.before == Some(App::Http)
            && side == Side::Server
            && let Look::Is { app: App::Http, .. } = look(bytes)
        {
            self.decided = Some(super::Outcome::default());
            self.release();
            return;
        }
        self.read_lines(side, bytes);
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
            Strip::More => {
                half.start = bytes.to_vec();
                // The proxy's answer does not come, but lines do.
                if is_text(bytes) && bytes.split(|byte| *byte == b'\n').any(begins_anew) {
                    self.no_proxy(side);
                }
            }
            Strip::Refused => self.refused(side, tunnel, role, bytes),
            Strip::Inside(taken) => {
                half.stage = Stage::Start;
                half.seen = (bytes.len() - taken) as u64;
                if taken < bytes.len() {
                    self.start(side, &bytes[taken..]);
                }
            }
        }
    }

    /// The proxy refuses, or what looked like a proxy is none.
    fn refused(&mut self, side: Side, tunnel: Tunnel, role: Side, bytes: &[u8]) {
        let answers = match tunnel {
            Tunnel::HttpConnect => matches!(look(bytes), Look::Is { app: App::Http, .. }),
            Tunnel::Socks4 => bytes.first() == Some(&0),
            Tunnel::Socks5 | Tunnel::WebSocket => bytes.first() == Some(&5),
        };
        let asked = &self.halves[side.other().index()];
        if role == Side::Server && answers && !asked.is_evidence() {
            return self.decide_tunnel();
        }
        self.halves[side.index()].start = bytes.to_vec();
        self.no_proxy(side);
    }

    /// What both sides said is read as lines from its beginning.
    fn no_proxy(&mut self, side: Side) {
        let app = match self.through {
            Some(Tunnel::HttpConnect) => App::Http,
            _ => App::Socks,
        };
        self.halves[self.proxy_client.index()].look = Some(app);
        let named = self.named_by(
            app,
            0.95,
            Some(Side::Client),
            self.proxy_client,
            Facts::None,
        );
        self.named.get_or_insert_with(|| Box::new(named));
        self.through = None;
        for side in [side.other(), side] {
            self.read_start(side);
            let half = &mut self.halves[side.index()];
            if half.stage == Stage::Proxy {
                half.stage = Stage::Start;
            }
        }
    }

    fn decide_tunnel(&mut self) {
        let app = match self.through {
            Some(Tunnel::HttpConnect) => App::Http,
            _ => App::Socks,
        };
        self.decide(app, 0.9, Some(Side::Client), self.proxy_client, Facts::None);
    }

    /// Does this side change to WebSocket with these bytes? Then its head is taken off.
    fn upgrades(&mut self, side: Side, bytes: &[u8]) -> bool {
        if self.before.is_some() {
            return false;
        }
        let switches = websocket::is_switching(bytes);
        let upgrades = websocket::upgrades(bytes);
        self.asks_frames |= upgrades && !switches;
        let taken = upgrades || switches && self.asks_frames;
        if !taken {
            return false;
        }
        self.halves[side.index()].stage = Stage::Head;
        self.head(side, bytes.to_vec());
        true
    }

    fn head(&mut self, side: Side, head: Vec<u8>) {
        let half = &mut self.halves[side.index()];
        let Some(end) = websocket::head_end(&head) else {
            if head.len() > HEAD_MAX_BYTES {
                half.stage = Stage::Text;
            } else {
                half.start = head;
            }
            return;
        };
        half.stage = Stage::Frames;
        if websocket::is_switching(&head) {
            self.irc_inside = websocket::names_irc(&head[..end]);
            self.through = Some(Tunnel::WebSocket);
            let other = &mut self.halves[side.other().index()];
            if !matches!(other.stage, Stage::Head) {
                other.stage = Stage::Frames;
            }
            if self.irc_inside {
                self.irc.get_or_insert_default();
            }
        }
        self.frames.get_or_insert_default();
        self.unwrap(side, &head[end..]);
    }

    fn unwrap(&mut self, side: Side, bytes: &[u8]) {
        let Some(mut frames) = self.frames.take() else {
            return;
        };
        frames[side.index()].feed(bytes, &mut |inside| self.read_lines(side, inside));
        self.frames.get_or_insert(frames);
    }

    pub(super) fn read_lines(&mut self, side: Side, bytes: &[u8]) {
        let half = &mut self.halves[side.index()];
        let is_end = bytes == b"\n";
        if !is_end && !is_text(bytes) && has_control(bytes) {
            return self.read_binary(side, bytes);
        }
        if half.stage == Stage::Binary && !is_end {
            half.stage = Stage::Text;
        }
        let begun = half.lines.rest();
        if !begun.is_empty() && !is_end && (begins_anew(bytes) || has_control(begun)) {
            // What had begun is no part of this.
            let begun = std::mem::take(&mut half.lines);
            self.line(side, begun.rest(), true);
        }
        let mut lines = std::mem::take(&mut self.halves[side.index()].lines);
        lines.feed(bytes, |line, cut| {
            let torn = std::mem::take(&mut self.halves[side.index()].torn);
            self.line(side, line, cut || torn);
        });
        self.halves[side.index()].lines = lines;
    }

    /// Lines within what is no text, after STARTTLS for one. Only those count that stand out.
    fn read_binary(&mut self, side: Side, bytes: &[u8]) {
        let half = &mut self.halves[side.index()];
        if half.stage != Stage::Frames {
            half.stage = Stage::Binary;
        }
        half.lines.clear();
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = clear_end(&bytes[from..end]);
            from = end + 1;
            if may_count(line) && is_text(line) && !has_control(line) {
                self.line(side, line.trim_ascii_end(), false);
            }
        }
        let rest = clear_end(&bytes[from..]);
        if may_count(rest) && is_text(rest) {
            self.halves[side.index()].lines.feed(rest, |_, _| {});
        }
    }

    fn line(&mut self, side: Side, line: &[u8], cut: bool) {
        let half = &mut self.halves[side.index()];
        // Once there is a name for it, or much was read, most lines are none of interest.
        let quickly =
            (half.look.is_some() || half.seen > READ_CLOSELY_BYTES) && !half.is_evidence();
        let line = if quickly && !may_count(line) {
            let clear = clear_end(line);
            if clear.len() == line.len() || !may_count(clear) {
                return;
            }
            clear
        } else {
            line
        };
        let worth = half.irc.line(line, cut);
        let mails = half.smtp.line(line);
        if !quickly {
            half.others.line(line);
        }
        let (irc, smtp) = (half.irc, half.smtp);
        if worth == Worth::Bad && !cut && !mails {
            let other_spoke = self.halves[side.other().index()].irc.strong > 0;
            let half = &mut self.halves[side.index()];
            half.denials = half.denials.saturating_add(u16::from(other_spoke));
        }
        if worth == Worth::Strong || mails {
            if self.spoke_last.is_some_and(|last| last != side) {
                self.turns = self.turns.saturating_add(1);
            }
            self.spoke_last = Some(side);
        }
        if worth == Worth::Strong || worth == Worth::Common && self.irc.is_some() {
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
}

/// What follows the last byte of a line that is no text.
fn clear_end(line: &[u8]) -> &[u8] {
    let unclear = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..);
    // Colours and actions are a part of messages, so only the beginning is looked at.
    let head = &line[..line.len().min(64)];
    if !head
        .first()
        .is_some_and(|byte| unclear(byte) || *byte >= 0x80)
    {
        return line;
    }
    let last = head.iter().rposition(|byte| unclear(byte) || *byte >= 0x80);
    last.map_or(line, |last| &line[last + 1..])
}
