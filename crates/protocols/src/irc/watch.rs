//! Listens to an IRC connection that was recognised, for as long as it lives: an order may
//! come hours after the first bytes.

use super::facts::{Heard, IrcFacts};
use crate::facts::Side;
use crate::lines::Lines;
use crate::shape::{has_control, is_text};
use crate::websocket::Frames;

/// Reads on in a connection that is known to be IRC. Holds its facts and at most a line of
/// each side.
///
/// The sides are the right ones: where [`Outcome::swapped`](crate::Outcome::swapped) is set,
/// the caller turns them.
#[derive(Debug, Default)]
pub struct Watch {
    facts: Box<IrcFacts>,
    halves: [Half; 2],
    /// It goes on within WebSocket.
    frames: Option<Box<[Frames; 2]>>,
}

#[derive(Debug, Default)]
struct Half {
    lines: Lines,
    /// Bytes are missing: what comes up to the end of a line is the end of another one.
    torn: bool,
    /// It went on in something that is no text, such as TLS after `STARTTLS`.
    mute: bool,
}

impl Watch {
    /// Goes on from these facts, with whole lines.
    pub fn new(facts: IrcFacts) -> Self {
        Self {
            facts: Box::new(facts),
            halves: Default::default(),
            frames: None,
        }
    }

    /// Goes on from these facts, within the lines that the client and the server have begun.
    pub(crate) fn within(
        facts: Box<IrcFacts>,
        client: Lines,
        server: Lines,
        frames: Option<Box<[Frames; 2]>>,
    ) -> Self {
        let half = |lines| Half {
            lines,
            ..Half::default()
        };
        Self {
            facts,
            halves: [half(client), half(server)],
            frames,
        }
    }

    /// Takes the next bytes that `side` sent; tells what is new in each line that they end.
    pub fn feed(&mut self, side: Side, bytes: &[u8], mut heard: impl FnMut(Heard<'_>)) {
        let Some(mut frames) = self.frames.take() else {
            return self.read(side, bytes, &mut heard);
        };
        frames[side.index()].feed(bytes, &mut |inside| self.read(side, inside, &mut heard));
        self.frames = Some(frames);
    }

    fn read(&mut self, side: Side, bytes: &[u8], heard: &mut impl FnMut(Heard<'_>)) {
        let half = &mut self.halves[side.index()];
        if half.mute || bytes.is_empty() {
            return;
        }
        if !is_text(bytes) && has_control(bytes) {
            // Encryption lasts; other bytes may be there to end the listening.
            half.mute = matches!(bytes, [0x14..=0x17, 3, 0..=4, ..]);
            half.lines.clear();
            return;
        }
        let mut bytes = bytes;
        if half.torn {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            half.torn = false;
            bytes = &bytes[end + 1..];
        }
        let facts = &mut self.facts;
        half.lines
            .feed(bytes, |line, _| facts.hear(side, line, heard));
    }

    /// Some bytes of this side are missing.
    pub fn gap(&mut self, side: Side) {
        if let Some(frames) = &mut self.frames {
            frames[side.index()].gap();
        }
        let half = &mut self.halves[side.index()];
        half.lines.clear();
        half.torn = true;
    }

    /// What is known so far: channels and the nickname are kept up to date.
    pub const fn facts(&self) -> &IrcFacts {
        &self.facts
    }

    /// What was learned, with no more to come.
    pub fn into_facts(self) -> Box<IrcFacts> {
        self.facts
    }

    /// Bytes held beside itself.
    pub fn held_bytes(&self) -> usize {
        let lines: usize = self.halves.iter().map(|half| half.lines.held_bytes()).sum();
        size_of::<IrcFacts>() + self.facts.held_bytes() + lines
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::irc::{CHANNELS_MAX, MESSAGES_MAX};

    fn hear(watch: &mut Watch, side: Side, bytes: &[u8]) -> Vec<String> {
        let mut words = Vec::new();
        watch.feed(side, bytes, |heard| {
            words.push(match heard {
                Heard::Text(text) => format!("text {}", text.text),
                Heard::Joined(channel) => format!("join {} {}", channel.name, channel.with_key),
                Heard::Nick(nick) => format!("nick {nick}"),
            });
        });
        words
    }

    #[test]
    fn an_order_after_many_others_is_heard() {
        let mut watch = Watch::default();
        hear(&mut watch, Side::Client, b"NICK a\r\nJOIN #x key\r\n");
        for _ in 0..5000 {
            let heard = hear(&mut watch, Side::Server, b":m!u@h PRIVMSG #x :hello\r\n");
            assert_eq!(heard, ["text hello"]);
        }
        assert_eq!(
            hear(
                &mut watch,
                Side::Server,
                b":m!u@192.0.2.9 PRIVMSG #x :.advs"
            ),
            [""; 0]
        );
        assert_eq!(
            hear(&mut watch, Side::Server, b"can\r\n"),
            ["text .advscan"]
        );
        assert_eq!(watch.facts().texts.len(), MESSAGES_MAX);
    }

    #[test]
    fn names_and_keys_are_told_once() {
        let mut watch = Watch::default();
        let heard = hear(
            &mut watch,
            Side::Client,
            b"NICK a\r\nNICK a\r\nJOIN #x\r\nJOIN #x\r\n",
        );
        assert_eq!(heard, ["nick a", "join #x false"]);
        assert_eq!(
            hear(&mut watch, Side::Client, b"JOIN #x k\r\n"),
            ["join #x true"]
        );
        assert_eq!(
            hear(&mut watch, Side::Server, b":a!u@h NICK b\r\n"),
            ["nick b"]
        );
        assert_eq!(watch.facts().nick.as_deref(), Some("b"));
    }

    #[test]
    fn a_torn_line_is_left_out() {
        let mut watch = Watch::default();
        watch.feed(Side::Server, b":m!u@h PRIVMSG #x :.sc", |_| {});
        watch.gap(Side::Server);
        assert_eq!(
            hear(
                &mut watch,
                Side::Server,
                b"PRIVMSG #y :no\r\n:m!u@h PRIVMSG #x :yes\r\n"
            ),
            ["join #x false", "text yes"]
        );
    }

    #[test]
    fn encryption_ends_it() {
        let mut watch = Watch::default();
        watch.feed(Side::Client, b"\x16\x03\x01\x00\x05aaaaa", |_| {});
        assert_eq!(hear(&mut watch, Side::Client, b"NICK a\r\n"), [""; 0]);
    }

    proptest! {
        #[test]
        fn never_panics_and_is_bounded(pieces in prop::collection::vec(
            (any::<bool>(), any::<bool>(), "((:[a-z!@]{1,5} )?(JOIN|PRIVMSG|TOPIC|NICK) [#a-z,]{0,9} :?[a-z]{0,9}\r?\n?)?.{0,900}"), 0..40)) {
            let mut watch = Watch::default();
            for (client, gap, piece) in pieces {
                let side = if client { Side::Client } else { Side::Server };
                watch.feed(side, piece.as_bytes(), |_| {});
                if gap {
                    watch.gap(side);
                }
            }
            prop_assert!(watch.facts().channels.len() <= CHANNELS_MAX);
            prop_assert!(watch.held_bytes() < 16 * 1024);
        }
    }
}
