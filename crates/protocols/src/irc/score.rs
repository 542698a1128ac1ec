//! How much a line speaks for IRC, and for which side.
//!
//! Points: 3 for what hardly any other protocol says (`NICK`, `JOIN #x`, `:server 001 me …`),
//! 4 for `nick!user@host`, 1 or 2 for what fits IRC and others too, none for words that FTP,
//! POP3 and NNTP share (`USER x`, `PASS x`, `QUIT`, `MODE READER`).

use super::message::{Message, is_channel, is_nickname};

/// What one side's lines amount to, read as a client's and as a server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Points of lines as clients send them.
    pub client: u16,
    /// Points of lines as servers send them.
    pub server: u16,
    /// Lines that fit.
    pub good: u16,
    /// Lines that are no IRC.
    pub bad: u16,
    /// A nickname, or `CAP` or `USER` with all its parts: how a connection begins.
    pub registers: bool,
    /// A server's numeric reply.
    pub numeric: bool,
}

impl Score {
    /// Takes a line into account. `cut` says that its end is missing.
    pub fn line(&mut self, line: &[u8], cut: bool) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let points = Message::parse(line).map_or(Points::Bad, |message| self.weigh(&message));
        match points {
            Points::Client(points) => add(&mut self.client, points),
            Points::Server(points) => add(&mut self.server, points),
            Points::Both(points) => {
                add(&mut self.client, points);
                add(&mut self.server, points);
            }
            // A line that is too long says little.
            Points::Bad if cut => return,
            Points::Bad => {
                add(&mut self.bad, 1);
                return;
            }
        }
        add(&mut self.good, 1);
    }

    /// More lines that fit than lines that do not?
    pub const fn mostly_fits(&self) -> bool {
        self.good > 0 && self.bad <= self.good
    }

    fn weigh(&mut self, message: &Message<'_>) -> Points {
        if let Some(number) = message.numeric() {
            return self.numeric(message, number);
        }
        match message.prefix {
            Some(prefix) if prefix.is_full() && is_command(message.command) => {
                // Servers pass it on in this form; some clients and bots write it too.
                Points::Server(4)
            }
            Some(prefix) => match command(message) {
                Points::Bad => Points::Bad,
                _ if message.is(b"NOTICE") && message.parameters().len() >= 2 => Points::Server(3),
                _ if message.is(b"CAP") || message.is(b"AUTHENTICATE") => {
                    self.registers = true;
                    Points::Server(3)
                }
                Points::Client(points) | Points::Server(points) | Points::Both(points) => {
                    if prefix.is_server() || is_nickname(prefix.name) {
                        Points::Server(points.max(1))
                    } else {
                        Points::Bad
                    }
                }
            },
            None => {
                let points = command(message);
                self.registers |= matches!(points, Points::Client(3..))
                    && (message.is(b"NICK") || message.is(b"USER") || message.is(b"CAP"));
                points
            }
        }
    }

    /// `:server 001 me :text` (RFC 2812, 5).
    fn numeric(&mut self, message: &Message<'_>, number: u16) -> Points {
        let (Some(prefix), Some(target)) = (message.prefix, message.parameter(0)) else {
            return Points::Bad;
        };
        let target_fits = is_nickname(target) || target == b"*" || is_channel(target);
        if number == 0 || !prefix.is_server() {
            return Points::Bad;
        }
        if !target_fits || message.parameters().len() < 2 {
            // Some servers leave the target out while the client has no name yet.
            return if prefix.name.contains(&b'.') {
                Points::Server(3)
            } else {
                Points::Bad
            };
        }
        self.numeric = true;
        Points::Server(4)
    }
}

enum Points {
    Client(u16),
    Server(u16),
    Both(u16),
    Bad,
}

fn add(sum: &mut u16, points: u16) {
    *sum = sum.saturating_add(points);
}

/// Words of RFC 1459, RFC 2812 and IRCv3 that begin a line.
const COMMANDS: &[&[u8]] = &[
    b"NICK",
    b"USER",
    b"PASS",
    b"CAP",
    b"AUTHENTICATE",
    b"JOIN",
    b"PART",
    b"PRIVMSG",
    b"NOTICE",
    b"PING",
    b"PONG",
    b"MODE",
    b"TOPIC",
    b"KICK",
    b"QUIT",
    b"INVITE",
    b"WHO",
    b"WHOIS",
    b"WHOWAS",
    b"NAMES",
    b"LIST",
    b"ISON",
    b"USERHOST",
    b"OPER",
    b"KILL",
    b"ERROR",
    b"AWAY",
    b"ACCOUNT",
    b"CHGHOST",
    b"SETNAME",
    b"TAGMSG",
    b"BATCH",
    b"WALLOPS",
    b"SERVER",
    b"SQUIT",
    b"MOTD",
    b"LUSERS",
    b"VERSION",
    b"STATS",
    b"TIME",
    b"ADMIN",
    b"INFO",
    b"WEBIRC",
    b"STARTTLS",
    b"MONITOR",
    b"SILENCE",
    b"PROTOCTL",
    b"KNOCK",
    b"WATCH",
    b"LINKS",
    b"FAIL",
    b"WARN",
    b"NOTE",
    b"CLEARCHAT",
    b"CLEARMSG",
    b"ROOMSTATE",
    b"USERSTATE",
    b"GLOBALUSERSTATE",
    b"USERNOTICE",
    b"HOSTTARGET",
    b"RECONNECT",
    b"NICKSERV",
    b"CHANSERV",
    b"IDENTIFY",
    b"REHASH",
    b"DIE",
];

fn is_command(word: &[u8]) -> bool {
    COMMANDS
        .iter()
        .any(|command| word.eq_ignore_ascii_case(command))
}

/// Points of a command and its parameters, whoever sent it.
fn command(message: &Message<'_>) -> Points {
    let parameters = message.parameters();
    let first = message.parameter(0).unwrap_or_default();
    let count = parameters.len();
    let upper = message.command.to_ascii_uppercase();
    match &upper[..] {
        b"NICK" if (1..=2).contains(&count) && is_nickname(first) => Points::Client(3),
        // `USER name mode * :real name`; FTP and POP3 have one parameter.
        b"USER" if count >= 4 => Points::Client(3),
        b"USER" if count >= 1 => Points::Client(0),
        b"PASS" if count >= 1 => Points::Client(0),
        b"CAP" => capability(parameters),
        b"AUTHENTICATE" if count == 1 => match first {
            b"+" => Points::Both(2),
            name if name
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || b"-0123456789".contains(byte)) =>
            {
                Points::Client(2)
            }
            _ => Points::Both(1),
        },
        b"JOIN"
            if (1..=3).contains(&count) && first.split(|byte| *byte == b',').all(is_channel) =>
        {
            Points::Client(3)
        }
        b"JOIN" if count <= 1 => Points::Client(0),
        b"PART" | b"TOPIC" | b"KICK" | b"NAMES" if is_channel(first) => Points::Client(3),
        b"PRIVMSG" if count >= 2 => Points::Client(3),
        // Before registration servers write to AUTH or *.
        b"NOTICE" if count >= 2 && matches!(first, b"AUTH" | b"*") => Points::Server(3),
        b"NOTICE" if count >= 2 && (is_nickname(first) || is_channel(first)) => Points::Both(2),
        b"PING" if count >= 1 => Points::Both(1),
        b"PONG" if count >= 1 => Points::Both(1),
        b"MODE" if is_channel(first) => Points::Client(3),
        b"MODE" if count >= 2 && matches!(parameters[1], [b'+' | b'-', ..]) => Points::Client(2),
        b"INVITE" if count == 2 && is_channel(parameters[1]) => Points::Client(3),
        b"WHO" | b"WHOIS" | b"WHOWAS" | b"ISON" | b"USERHOST" if count >= 1 => Points::Client(1),
        b"OPER" if count == 2 => Points::Client(2),
        b"QUIT" if count == 1 => Points::Client(1),
        b"WEBIRC" if count >= 4 => Points::Client(3),
        b"SERVER" if count >= 3 && first.contains(&b'.') => Points::Both(3),
        b"PROTOCTL" if count >= 1 => Points::Both(2),
        b"ERROR" if count == 1 && starts_with(first, b"Closing Link") => Points::Server(3),
        b"STARTTLS" if count == 0 => Points::Client(0),
        _ if is_command(message.command) => Points::Client(0),
        _ => Points::Bad,
    }
}

/// `CAP LS 302` of a client, `CAP * LS :…` of a server (IRCv3 "capability negotiation").
fn capability(parameters: &[&[u8]]) -> Points {
    const WORDS: [&[u8]; 8] = [
        b"LS", b"LIST", b"REQ", b"ACK", b"NAK", b"NEW", b"DEL", b"END",
    ];
    let is_word = |parameter: Option<&&[u8]>| {
        parameter.is_some_and(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    if is_word(parameters.get(1)) {
        Points::Server(3)
    } else if is_word(parameters.first()) {
        Points::Client(3)
    } else {
        Points::Bad
    }
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(lines: &str) -> Score {
        let mut score = Score::default();
        for line in lines.lines() {
            score.line(line.as_bytes(), false);
        }
        score
    }

    #[test]
    fn both_sides_of_a_beginning() {
        let client = score("CAP LS 302\nNICK tester\nUSER tester 0 * :A Tester\nJOIN #room key");
        assert!(client.client >= 12 && client.registers && client.server == 0);
        let server = score(
            ":irc.example.net NOTICE * :*** Looking up\n:irc.example.net 001 tester :Welcome",
        );
        assert!(server.server >= 7 && server.numeric && server.client == 0);
    }

    #[test]
    fn words_that_others_share_are_worth_nothing() {
        for other in [
            "USER anonymous\nPASS me@example.org\nMODE S\nQUIT",
            "MODE READER\nLIST\nQUIT",
            "PING\nPONG\nINFO",
            "HELO a\nHELP\nQUIT",
            "STARTTLS",
        ] {
            let score = score(other);
            assert_eq!((score.client, score.server), (0, 0), "{other}");
        }
    }

    #[test]
    fn replies_of_other_servers_are_bad() {
        let score = score("220 ftp.example.org FTP server ready\n331 Password\n230 In");
        assert_eq!((score.server, score.bad), (0, 3));
    }
}
