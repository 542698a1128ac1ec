//! The grammar of one IRC line (RFC 2812, 2.3.1; tags after IRCv3 "message tags").

/// Most parameters of a message (RFC 2812, 2.3); what follows is a part of the last one.
pub const PARAMETERS_MAX: usize = 15;

/// Who sent a message, as its prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'a> {
    /// The nickname, or the name of a server.
    pub name: &'a [u8],
    /// What stands behind `!`.
    pub user: Option<&'a [u8]>,
    /// What stands behind `@`.
    pub host: Option<&'a [u8]>,
}

impl<'a> Prefix<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (rest, host) = split(text, b'@');
        let (name, user) = split(rest, b'!');
        let fits = !name.is_empty()
            && name
                .iter()
                .all(|byte| !byte.is_ascii_control() && !matches!(byte, b':' | b',' | b'"' | b'<'));
        fits.then_some(Self { name, user, host })
    }

    /// `nick!user@host`: a person or a bot, as no other protocol writes it.
    pub const fn is_full(&self) -> bool {
        self.user.is_some() && self.host.is_some()
    }

    /// May it be the name of a server? It has a dot, or is a plain word.
    pub fn is_server(&self) -> bool {
        self.user.is_none()
            && self
                .name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_:/*".contains(byte))
    }
}

fn split(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == at) {
        Some(position) => (&text[..position], Some(&text[position + 1..])),
        None => (text, None),
    }
}

/// One message. It borrows the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The tags, without their `@`.
    pub tags: Option<&'a [u8]>,
    /// Who sent it. Clients leave it out.
    pub prefix: Option<Prefix<'a>>,
    /// A word of letters, or three digits.
    pub command: &'a [u8],
    /// The last parameter had a colon before it.
    pub trailing: bool,
    parameters: [&'a [u8]; PARAMETERS_MAX],
    count: usize,
}

impl<'a> Message<'a> {
    /// Reads a line without its CR and LF. `None` for what is no message. Spaces before it
    /// and more than one between its parts are pardoned, as servers do.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut rest = skip_spaces(line);
        let mut tags = None;
        if let Some(tagged) = rest.strip_prefix(b"@") {
            let (found, after) = until_space(tagged);
            tags = Some(found).filter(|tags| !tags.is_empty());
            tags?;
            rest = skip_spaces(after);
        }
        let mut prefix = None;
        if let Some(prefixed) = rest.strip_prefix(b":") {
            let (found, after) = until_space(prefixed);
            prefix = Some(Prefix::parse(found)?);
            rest = skip_spaces(after);
        }
        let (command, mut rest) = until_space(rest);
        let numeric = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
        let name = (2..=16).contains(&command.len()) && command.iter().all(u8::is_ascii_alphabetic);
        if !numeric && !name {
            return None;
        }
        let mut message = Self {
            tags,
            prefix,
            command,
            trailing: false,
            parameters: [b""; PARAMETERS_MAX],
            count: 0,
        };
        loop {
            rest = skip_spaces(rest);
            if rest.is_empty() {
                return Some(message);
            }
            let last = message.count + 1 == PARAMETERS_MAX;
            let trailing = rest.strip_prefix(b":");
            let (parameter, after) = match trailing {
                Some(trailing) => (trailing, &b""[..]),
                None if last => (rest, &b""[..]),
                None => until_space(rest),
            };
            message.parameters[message.count] = parameter;
            message.count += 1;
            rest = after;
            if trailing.is_some() || last {
                message.trailing = trailing.is_some();
                return Some(message);
            }
        }
    }

    /// The parameters, the trailing one last.
    pub fn parameters(&self) -> &[&'a [u8]] {
        &self.parameters[..self.count]
    }

    /// One parameter.
    pub fn parameter(&self, index: usize) -> Option<&'a [u8]> {
        self.parameters().get(index).copied()
    }

    /// Is this its command? Capital and small letters are the same.
    pub fn is(&self, command: &[u8]) -> bool {
        self.command.eq_ignore_ascii_case(command)
    }

    /// The number of a server's reply.
    pub fn numeric(&self) -> Option<u16> {
        match self.command {
            [a, b, c] if self.command.iter().all(u8::is_ascii_digit) => {
                Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
            }
            _ => None,
        }
    }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| *byte != b' ');
    &text[start.unwrap_or(text.len())..]
}

fn until_space(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b' ');
    text.split_at(end.unwrap_or(text.len()))
}

/// Is it the name of a channel (RFC 2811, 2.1)?
pub(super) fn is_channel(name: &[u8]) -> bool {
    matches!(name, [b'#' | b'&' | b'+' | b'!', ..])
        && name.len() <= 200
        && !name.iter().any(|byte| matches!(byte, 0 | 7 | b' ' | b','))
}

/// May it be a nickname? Wider than RFC 2812, as servers are: letters of any alphabet.
pub(super) fn is_nickname(name: &[u8]) -> bool {
    (1..=64).contains(&name.len())
        && name.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"[]\\`_^{|}-~".contains(byte)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_parts_of_a_message() {
        let line = b"@time=12:00;+x=y :nick!user@host.example PRIVMSG #room :hello  you :)";
        let message = Message::parse(line).unwrap();
        assert_eq!(message.tags, Some(&b"time=12:00;+x=y"[..]));
        let prefix = message.prefix.unwrap();
        assert!(prefix.is_full() && prefix.name == b"nick");
        assert!(message.is(b"privmsg"));
        assert_eq!(message.parameters(), [&b"#room"[..], b"hello  you :)"]);
    }

    #[test]
    fn numerics_and_spaces() {
        let message = Message::parse(b":irc.example.net 001 me :Welcome").unwrap();
        assert_eq!(message.numeric(), Some(1));
        assert!(message.prefix.unwrap().is_server());
        let message = Message::parse(b"   JOIN     #a    key").unwrap();
        assert_eq!(message.parameters(), [&b"#a"[..], b"key"]);
    }

    #[test]
    fn what_is_no_message() {
        for line in [
            &b""[..],
            b":",
            b": PING",
            b"@ PING",
            b"220 mx.example ESMTP"[..0].as_ref(),
            b"250-SIZE",
            b"<?xml version='1.0'?>",
            b"$MyNick a|",
        ] {
            assert_eq!(Message::parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&line);
        }

        #[test]
        fn parameters_are_bounded(line in "[@:]?[a-zA-Z!@. ]{0,40}[A-Z]{2,5}( :?[a-z]{0,3}){0,40}") {
            if let Some(message) = Message::parse(line.as_bytes()) {
                prop_assert!(message.parameters().len() <= PARAMETERS_MAX);
            }
        }
    }
}
