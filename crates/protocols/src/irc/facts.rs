//! What was said in an IRC connection, bounded.

use super::message::{Message, Prefix, is_channel, is_nickname};
use crate::facts::Side;
use crate::text;

/// Most channels that are kept.
pub const CHANNELS_MAX: usize = 16;
/// Most texts that are kept.
pub const MESSAGES_MAX: usize = 16;
/// Longest name that is kept, in bytes.
const NAME_MAX_BYTES: usize = 64;
/// Longest text that is kept, in bytes.
const TEXT_MAX_BYTES: usize = 200;

/// A channel that was joined or spoken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name with `#` or `&`.
    pub name: String,
    /// It was joined with a key, as channels of bots mostly are.
    pub with_key: bool,
}

/// Where a text stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A message.
    Privmsg,
    /// A notice.
    Notice,
    /// A topic: bots take orders from it as they join.
    Topic,
}

/// What a line brought that was not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Somebody wrote something.
    Text(&'a Text),
    /// The client joined a channel, or joined it with a key, or speaks in one that it must
    /// have joined before.
    Joined(&'a Channel),
    /// The client has this nickname from now on.
    Nick(&'a str),
}

/// A text that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Who sent the bytes: the client its own words, the server those of others.
    pub side: Side,
    /// Where it stood.
    pub command: Command,
    /// Who wrote it, as the prefix says.
    pub from: Option<String>,
    /// The host in the prefix: where the server says that the writer is.
    pub host: Option<String>,
    /// A channel or a nickname.
    pub target: String,
    /// The first 200 bytes.
    pub text: String,
}

/// What was learned of an IRC connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IrcFacts {
    /// The client's nickname: the last one that it asked for, or that the server calls it.
    pub nick: Option<String>,
    /// The name in `USER`.
    pub user: Option<String>,
    /// The real name in `USER`.
    pub real_name: Option<String>,
    /// The name that the server gives itself.
    pub server: Option<String>,
    /// Channels, first come first.
    pub channels: Vec<Channel>,
    /// The first texts, those that a server writes before registration left out.
    pub texts: Vec<Text>,
    /// Messages of the client.
    pub sent: u32,
    /// Messages of the server.
    pub received: u32,
    /// The client changed to TLS (`STARTTLS`).
    pub starttls: bool,
    /// The client authenticated itself with SASL.
    pub sasl: bool,
}

impl IrcFacts {
    /// Takes a line that `side` sent into account.
    pub fn line(&mut self, side: Side, line: &[u8]) {
        self.hear(side, line, &mut |_| {});
    }

    /// Takes a line that `side` sent into account, and tells what is new in it.
    pub(super) fn hear(&mut self, side: Side, line: &[u8], heard: &mut impl FnMut(Heard<'_>)) {
        let Some(message) = Message::parse(line) else {
            return;
        };
        match side {
            Side::Client => self.sent = self.sent.saturating_add(1),
            Side::Server => self.received = self.received.saturating_add(1),
        }
        if let Some(number) = message.numeric() {
            self.reply(&message, number, heard);
            return;
        }
        let from_client = side == Side::Client;
        let first = message.parameter(0).unwrap_or_default();
        let own = from_client || self.is_own(&message);
        if message.is(b"NICK") && own && is_nickname(first) {
            self.call(first, heard);
        } else if message.is(b"USER") && from_client && message.parameters().len() >= 4 {
            self.user = Some(text(first, NAME_MAX_BYTES));
            self.real_name = message.parameter(3).map(|name| text(name, NAME_MAX_BYTES));
        } else if message.is(b"JOIN") && own {
            let mut keys = message
                .parameter(1)
                .unwrap_or_default()
                .split(|byte| *byte == b',');
            for name in first.split(|byte| *byte == b',') {
                let key = keys.next().is_some_and(|key| !key.is_empty());
                // In what a server passes on, the second parameter is an account.
                self.join(name, key && from_client, heard);
            }
        } else if message.is(b"PRIVMSG") {
            self.say(side, Command::Privmsg, &message, heard);
        } else if message.is(b"NOTICE") {
            self.say(side, Command::Notice, &message, heard);
        } else if message.is(b"TOPIC") {
            self.say(side, Command::Topic, &message, heard);
        } else if message.is(b"STARTTLS") && from_client {
            self.starttls = true;
        } else if message.is(b"AUTHENTICATE") && from_client {
            self.sasl = true;
        }
    }

    fn reply(&mut self, message: &Message<'_>, number: u16, heard: &mut impl FnMut(Heard<'_>)) {
        if self.server.is_none() {
            self.server = message.prefix.map(|prefix| text(prefix.name, 255));
        }
        // 001 calls the client by the name that it has now.
        if let (1, Some(nick)) = (number, message.parameter(0)) {
            self.call(nick, heard);
        }
        // 332: the topic of a channel that was just joined.
        if let (332, Some(channel), Some(topic)) =
            (number, message.parameter(1), message.parameter(2))
        {
            self.keep(
                text_of(Side::Server, Command::Topic, None, channel, topic),
                heard,
            );
        }
    }

    /// Does the prefix name the client itself?
    fn is_own(&self, message: &Message<'_>) -> bool {
        match (&self.nick, message.prefix) {
            (Some(nick), Some(prefix)) => nick.as_bytes() == prefix.name,
            _ => false,
        }
    }

    fn call(&mut self, name: &[u8], heard: &mut impl FnMut(Heard<'_>)) {
        let name = text(name, NAME_MAX_BYTES);
        if self.nick.as_ref() != Some(&name) {
            heard(Heard::Nick(&name));
            self.nick = Some(name);
        }
    }

    fn join(&mut self, name: &[u8], with_key: bool, heard: &mut impl FnMut(Heard<'_>)) {
        if !is_channel(name) {
            return;
        }
        let name = text(name, NAME_MAX_BYTES);
        if let Some(known) = self.channels.iter_mut().find(|known| known.name == name) {
            if with_key && !known.with_key {
                known.with_key = true;
                heard(Heard::Joined(known));
            }
        } else if self.channels.len() < CHANNELS_MAX {
            let channel = Channel { name, with_key };
            heard(Heard::Joined(&channel));
            self.channels.push(channel);
        }
    }

    fn say(
        &mut self,
        side: Side,
        command: Command,
        message: &Message<'_>,
        heard: &mut impl FnMut(Heard<'_>),
    ) {
        let (Some(target), Some(words)) = (message.parameter(0), message.parameter(1)) else {
            return;
        };
        if command == Command::Notice && (matches!(target, b"*" | b"AUTH") || self.nick.is_none()) {
            return;
        }
        // From the middle, no joining was seen.
        self.join(target, false, heard);
        self.keep(text_of(side, command, message.prefix, target, words), heard);
    }

    fn keep(&mut self, text: Text, heard: &mut impl FnMut(Heard<'_>)) {
        heard(Heard::Text(&text));
        if self.texts.len() < MESSAGES_MAX {
            self.texts.push(text);
        }
    }

    /// Bytes held beside itself.
    pub(super) fn held_bytes(&self) -> usize {
        let names = [&self.nick, &self.user, &self.real_name, &self.server];
        let names: usize = names.into_iter().flatten().map(String::capacity).sum();
        names
            + self.channels.capacity() * (size_of::<Channel>() + NAME_MAX_BYTES / 4)
            + self.texts.capacity() * size_of::<Text>()
            + self
                .texts
                .iter()
                .map(|text| text.text.capacity() + 32)
                .sum::<usize>()
    }
}

fn text_of(
    side: Side,
    command: Command,
    prefix: Option<Prefix<'_>>,
    target: &[u8],
    words: &[u8],
) -> Text {
    Text {
        side,
        command,
        from: prefix.map(|prefix| text(prefix.name, NAME_MAX_BYTES)),
        host: prefix
            .and_then(|prefix| prefix.host)
            .map(|host| text(host, 255)),
        target: text(target, NAME_MAX_BYTES),
        text: text(words, TEXT_MAX_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bot_joins_with_a_key_and_takes_an_order() {
        let mut facts = IrcFacts::default();
        facts.line(Side::Client, b"NICK [DEU|XP|4711]");
        facts.line(Side::Client, b"USER bot 0 * :bot");
        facts.line(Side::Server, b":irc.example.net 001 [DEU|XP|4711] :hi");
        facts.line(Side::Client, b"JOIN #x,#y s3cret");
        facts.line(
            Side::Server,
            b":irc.example.net 332 [DEU|XP|4711] #x :.scan 10.0.0.0",
        );
        assert_eq!(facts.nick.as_deref(), Some("[DEU|XP|4711]"));
        assert_eq!(facts.user.as_deref(), Some("bot"));
        let keys: Vec<_> = facts
            .channels
            .iter()
            .map(|channel| channel.with_key)
            .collect();
        assert_eq!(keys, [true, false]);
        assert_eq!(facts.texts[0].text, ".scan 10.0.0.0");
        assert_eq!(facts.texts[0].command, Command::Topic);
    }

    proptest! {
        #[test]
        fn never_panics_and_is_bounded(lines in prop::collection::vec("(:[a-z!@]{1,5} )?(JOIN|PRIVMSG|TOPIC|NICK|USER|332) [#a-z, :]{0,40}", 0..80)) {
            let mut facts = IrcFacts::default();
            for line in lines {
                facts.line(Side::Client, line.as_bytes());
                facts.line(Side::Server, line.as_bytes());
            }
            prop_assert!(facts.channels.len() <= CHANNELS_MAX && facts.texts.len() <= MESSAGES_MAX);
        }
    }
}
