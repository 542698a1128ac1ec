//! How much a line speaks for IRC, and for which side.
//!
//! A word alone proves little: others say `NICK bob`, `USER a b c d`, `PING 1` or `NOTICE x`
//! too. So the kinds of lines are counted, each once, and the names in them are kept: a server
//! that calls the client by the name that the client has just asked for speaks IRC.

use super::message::{Message, is_channel, is_nickname};
use super::names::Names;
use super::words::is_command;

/// Kinds of lines that a client sends: bits of [`Score::asked`].
pub mod ask {
    /// `NICK name`.
    pub const NICK: u8 = 1;
    /// `USER name mode * :real name`.
    pub const USER: u8 = 2;
    /// `CAP LS`, or what else begins a connection.
    pub const CAP: u8 = 4;
    /// `JOIN #channel`.
    pub const JOIN: u8 = 8;
    /// `PRIVMSG target :text`.
    pub const MESSAGE: u8 = 16;
    /// `MODE`, `TOPIC`, `PART` and others of a channel.
    pub const CHANNEL: u8 = 32;
}

/// Kinds of lines that a server sends: bits of [`Score::said`].
pub mod say {
    /// A numeric reply of the greeting: 001 to 005, and the message of the day.
    pub const WELCOME: u8 = 1;
    /// Another numeric reply.
    pub const NUMERIC: u8 = 2;
    /// What somebody did, with `nick!user@host` before it.
    pub const FULL: u8 = 4;
    /// `NOTICE AUTH` or `NOTICE *`, and notices of the server itself.
    pub const NOTICE: u8 = 8;
    /// The answer to `CAP`.
    pub const CAP: u8 = 16;
    /// A message, a join or a mode with a plain name before it.
    pub const PREFIXED: u8 = 32;
    /// `ERROR :Closing Link: host (reason)`.
    pub const ERROR: u8 = 64;
}

/// Kinds of lines that servers send to each other: bits of [`Score::linked`].
mod link {
    pub const SERVER: u8 = 1;
    pub const PASS: u8 = 2;
    pub const CAPABILITIES: u8 = 4;
    pub const INFO: u8 = 8;
    pub const BURST: u8 = 16;
    pub const NUMBERED: u8 = 32;
}

/// What one side's lines amount to, read as a client's and as a server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Points of lines as clients send them. They only tell the sides apart.
    pub client: u16,
    /// Points of lines as servers send them.
    pub server: u16,
    /// Lines that fit.
    pub good: u16,
    /// Lines that are no IRC.
    pub bad: u16,
    /// Kinds of a client's lines.
    pub asked: u8,
    /// Kinds of a server's lines.
    pub said: u8,
    /// `ERROR :text`, which others say too.
    pub error: bool,
    /// Lines of those kinds, each counted.
    pub strong: u16,
    linked: u8,
    /// Messages to channels or people.
    messages: u8,
    /// Names that the client asked for, and channels that it joined.
    pub own: Names,
    /// To whom or where the server's lines go, and whom they name as sender.
    pub addressed: Names,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// No IRC.
    Bad,
    /// It fits IRC, and others.
    Common,
    /// A line of one of the kinds, or one with a name that the other side may confirm.
    Strong,
}

impl Score {
    /// Takes a line into account. `cut` says that its end is missing.
    pub fn line(&mut self, line: &[u8], cut: bool) -> Worth {
        if line.trim_ascii().is_empty() {
            return Worth::Common;
        }
        let Some(message) = Message::parse(line) else {
            return self.bad(cut);
        };
        let before = (self.asked, self.said, self.linked, self.strong);
        let names = (self.own, self.addressed);
        if !self.weigh(&message) {
            return self.bad(cut);
        }
        add(&mut self.good, 1);
        let changed = before != (self.asked, self.said, self.linked, self.strong)
            || names != (self.own, self.addressed);
        if changed {
            Worth::Strong
        } else {
            Worth::Common
        }
    }

    /// How many kinds of a client's lines there were. A second message counts as another kind, and
    /// so does a message that is a request between clients: no other protocol has these.
    pub const fn asks(&self) -> u32 {
        let repeated = self.asked & ask::MESSAGE != 0 && self.messages > 1;
        self.asked.count_ones() + repeated as u32
    }

    /// How many kinds of a server's lines there were.
    pub const fn speaks(&self) -> u32 {
        self.said.count_ones()
    }

    /// Do the lines speak for a server of IRC without any client's words?
    pub const fn needs_no_client(&self) -> bool {
        let kinds = self.said & !(say::NUMERIC | say::PREFIXED);
        self.strong >= 2
            && kinds != 0
            && (self.said.count_ones() >= 2 || self.said & (say::FULL | say::WELCOME) != 0)
    }

    /// How many kinds of lines there were that servers of IRC send to each other. The line
    /// with the server's name counts twice.
    pub const fn links(&self) -> u32 {
        if self.linked & !link::PASS == 0 {
            return 0;
        }
        self.linked.count_ones() + (self.linked & link::SERVER != 0) as u32
    }

    /// Is there anything that needs more lines to be confirmed?
    pub const fn is_evidence(&self) -> bool {
        self.asked != 0 || self.said != 0 || self.linked & !link::PASS != 0
    }

    /// Did the client begin to register?
    pub const fn registers(&self) -> bool {
        self.asked & (ask::NICK | ask::USER) == ask::NICK | ask::USER
    }

    fn bad(&mut self, cut: bool) -> Worth {
        // A line that is too long says little.
        if !cut {
            add(&mut self.bad, 1);
        }
        Worth::Bad
    }

    fn ask(&mut self, kind: u8) -> bool {
        self.asked |= kind;
        add(&mut self.strong, 1);
        add(&mut self.client, 3);
        true
    }

    fn say(&mut self, kind: u8) -> bool {
        self.said |= kind;
        add(&mut self.strong, 1);
        add(&mut self.server, if kind == say::FULL { 4 } else { 3 });
        true
    }

    /// `false` for what is no IRC.
    fn weigh(&mut self, message: &Message<'_>) -> bool {
        if let Some(number) = message.numeric() {
            return self.numeric(message, number);
        }
        if self.between_servers(message) {
            return true;
        }
        match message.prefix {
            Some(_) => self.prefixed(message),
            None => self.bare(message),
        }
    }

    /// `:server 001 me :text` (RFC 2812, 5), or the same without the server's name.
    fn numeric(&mut self, message: &Message<'_>, number: u16) -> bool {
        let Some(target) = message.parameter(0) else {
            return false;
        };
        let greets = matches!(number, 1..=5 | 251..=255 | 265 | 266 | 372 | 375 | 376 | 422);
        let names = is_nickname(target) && message.parameters().len() >= 2;
        let Some(prefix) = message.prefix else {
            // FTP, mail and news have such lines too: only the name can confirm it.
            let known = greets || matches!(number, 332 | 353 | 366 | 433 | 451 | 462 | 464 | 465);
            if known && names {
                self.addressed.add(target);
                add(&mut self.server, 1);
            }
            return known && names;
        };
        if number == 0 || !prefix.is_server() {
            return false;
        }
        if names {
            self.addressed.add(target);
            if number == 433
                && let Some(refused) = message.parameter(1)
            {
                self.addressed.add(refused);
            }
        }
        // A name without a dot may be anything that counts: a clock, a sensor.
        let sure = prefix.name.contains(&b'.') || target == b"*";
        if !sure {
            add(&mut self.server, u16::from(names));
            return names;
        }
        self.say(if greets { say::WELCOME } else { say::NUMERIC })
    }

    /// A line with a name before it.
    fn prefixed(&mut self, message: &Message<'_>) -> bool {
        let Some(prefix) = message.prefix else {
            return false;
        };
        if !is_command(message.command) {
            return false;
        }
        let first = message.parameter(0).unwrap_or_default();
        let count = message.parameters().len();
        if prefix.is_full() {
            self.addressed.add(prefix.name);
            self.addressed.add(first);
            return self.say(say::FULL);
        }
        if !prefix.is_server() && !is_nickname(prefix.name) {
            return false;
        }
        if message.is(b"NOTICE") && count >= 2 {
            self.addressed.add(first);
            return self.say(say::NOTICE);
        }
        if message.is(b"CAP") {
            self.addressed.add(first);
            return match capability(message.parameters()) {
                Some(Capability::Answer) => self.say(say::CAP),
                _ => false,
            };
        }
        let in_channel = [&b"JOIN"[..], b"PART", b"MODE", b"TOPIC", b"KICK"];
        let is_act = in_channel.iter().any(|word| message.is(word)) && is_channel(first)
            || message.is(b"PRIVMSG") && count >= 2;
        if is_act {
            self.addressed.add(prefix.name);
            self.addressed.add(first);
            return self.say(say::PREFIXED);
        }
        add(&mut self.server, 1);
        true
    }

    /// A line without a name before it: a client's, as a rule.
    fn bare(&mut self, message: &Message<'_>) -> bool {
        let first = message.parameter(0).unwrap_or_default();
        let count = message.parameters().len();
        let upper = message.command.to_ascii_uppercase();
        match &upper[..] {
            b"NICK" if (1..=2).contains(&count) && is_nickname(first) => {
                self.own.add(first);
                self.ask(ask::NICK)
            }
            // FTP and POP3 have one parameter.
            b"USER" if count >= 4 => self.ask(ask::USER),
            b"CAP" => match capability(message.parameters()) {
                Some(Capability::Question) => self.ask(ask::CAP),
                Some(Capability::Answer) if first == b"*" => self.say(say::CAP),
                Some(Capability::Answer) => {
                    self.addressed.add(first);
                    true
                }
                None => false,
            },
            b"WEBIRC" if count >= 4 => self.ask(ask::CAP),
            b"JOIN"
                if (1..=3).contains(&count)
                    && first.split(|byte| *byte == b',').all(is_channel) =>
            {
                for name in first.split(|byte| *byte == b',').take(2) {
                    self.own.add(name);
                }
                self.ask(ask::JOIN)
            }
            b"PRIVMSG" if count >= 2 && (is_channel(first) || message.trailing) => {
                self.addressed.add(first);
                // A request between clients (CTCP) is marked by a byte that nobody else writes there.
                let marked = message
                    .parameter(1)
                    .is_some_and(|text| text.first() == Some(&1));
                self.messages = self.messages.saturating_add(1 + u8::from(marked));
                self.ask(ask::MESSAGE)
            }
            b"PART" | b"TOPIC" | b"KICK" | b"NAMES" | b"MODE" if is_channel(first) => {
                self.ask(ask::CHANNEL)
            }
            b"INVITE" if count == 2 && is_channel(message.parameters()[1]) => {
                self.ask(ask::CHANNEL)
            }
            // Before registration servers write to AUTH or *.
            b"NOTICE" if count >= 2 && matches!(first, b"AUTH" | b"*") && message.trailing => {
                self.say(say::NOTICE)
            }
            // Logs have the word: only the colon and the target make it a message.
            b"NOTICE" if count == 2 && message.trailing => {
                self.addressed.add(first);
                add(&mut self.server, 1);
                true
            }
            b"NOTICE" => false,
            b"ERROR" if count == 1 && message.trailing => {
                self.error = true;
                if is_closing_link(first) {
                    return self.say(say::ERROR);
                }
                add(&mut self.server, 1);
                true
            }
            b"ERROR" => false,
            b"WHO" | b"WHOIS" | b"WHOWAS" | b"ISON" | b"USERHOST" | b"OPER" if count >= 1 => {
                add(&mut self.client, 1);
                true
            }
            _ => is_command(message.command),
        }
    }

    /// Lines of two servers: TS6, InspIRCd, UnrealIRCd, P10, RFC 2813. `false` for others.
    fn between_servers(&mut self, message: &Message<'_>) -> bool {
        const IN_A_BURST: [&[u8]; 19] = [
            b"UID",
            b"EUID",
            b"SID",
            b"SJOIN",
            b"FJOIN",
            b"NJOIN",
            b"ENCAP",
            b"BURST",
            b"ENDBURST",
            b"EOB",
            b"EOS",
            b"BMASK",
            b"TMODE",
            b"FMODE",
            b"METADATA",
            b"OPERTYPE",
            b"SINFO",
            b"FTOPIC",
            b"SMO",
        ];
        let count = message.parameters().len();
        let first = message.parameter(0).unwrap_or_default();
        let numbers = || {
            message.parameters()[..3]
                .iter()
                .all(|number| is_number(number))
        };
        let kind = match message.prefix {
            Some(prefix) if !prefix.is_full() => {
                if !IN_A_BURST.iter().any(|word| message.is(word)) {
                    return false;
                }
                link::BURST
            }
            Some(_) => return false,
            None if message.is(b"SERVER") && first.contains(&b'.') && count >= 2 => {
                if !message.trailing {
                    return false;
                }
                let numbered = message.parameters().iter();
                if numbered
                    .clone()
                    .any(|part| matches!(*part, b"J10" | b"P10"))
                {
                    self.linked |= link::NUMBERED;
                }
                link::SERVER
            }
            None if message.is(b"PASS") && count >= 1 => link::PASS,
            None if message.is(b"CAPAB") && count >= 1 => link::CAPABILITIES,
            None if message.is(b"PROTOCTL") && count >= 1 => link::CAPABILITIES,
            None if message.is(b"SVINFO") && count >= 3 && numbers() => link::INFO,
            None if message.is(b"NICK") && count >= 6 => link::BURST,
            None => return false,
        };
        self.linked |= kind;
        if kind != link::PASS {
            add(&mut self.strong, 1);
            add(&mut self.server, 1);
            add(&mut self.client, 1);
        }
        true
    }
}

fn add(sum: &mut u16, points: u16) {
    *sum = sum.saturating_add(points);
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// `Closing Link: name[host] (reason)`, as servers of IRC write it.
fn is_closing_link(text: &[u8]) -> bool {
    const START: &[u8] = b"Closing Link:";
    text.split_at_checked(START.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(START) && rest.iter().any(|byte| matches!(byte, b'(' | b'['))
        })
}

enum Capability {
    /// `CAP LS 302` of a client.
    Question,
    /// `CAP * LS :…` of a server.
    Answer,
}

/// Capability negotiation of IRCv3.
fn capability(parameters: &[&[u8]]) -> Option<Capability> {
    const WORDS: [&[u8]; 8] = [
        b"LS", b"LIST", b"REQ", b"ACK", b"NAK", b"NEW", b"DEL", b"END",
    ];
    let is_word = |parameter: Option<&&[u8]>| {
        parameter.is_some_and(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    let target = parameters.first().copied().unwrap_or_default();
    if is_word(parameters.first()) {
        Some(Capability::Question)
    } else if is_word(parameters.get(1)) && (target == b"*" || is_nickname(target)) {
        Some(Capability::Answer)
    } else {
        None
    }
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
        assert!(client.asks() == 4 && client.registers() && client.server == 0);
        let server = score(
            ":irc.example.net NOTICE * :*** Looking up\n:irc.example.net 001 tester :Welcome",
        );
        assert!(server.speaks() == 2 && server.needs_no_client() && server.client == 0);
        assert!(client.own.meets(&server.addressed));
        assert!(!server.own.meets(&client.addressed));
    }

    #[test]
    fn words_that_others_share_are_worth_nothing() {
        for other in [
            "USER anonymous\nPASS me@example.org\nMODE S\nQUIT",
            "MODE READER\nLIST\nQUIT",
            "PING\nPONG\nINFO",
            "PING 1565000000\nPONG 1565000001",
            "PING {\"t\":1}\nPONG :irc.example.net",
            "INFO started\nNOTICE worker listening on 8080\nWARN low\nERROR cannot open file",
            "ERROR :Closing Link to database",
            "SERVER a.example 1 2 3\nSERVER b.example 1 2 3",
            ":12 200 OK done\n:sensor 001 42 ok",
            "CAP foo LIST bar",
            "HELO a\nHELP\nQUIT",
            "STARTTLS",
        ] {
            let score = score(other);
            assert_eq!((score.asks(), score.speaks()), (0, 0), "{other}");
            assert!(!score.is_evidence() && score.links() == 0, "{other}");
        }
    }

    #[test]
    fn the_same_line_again_is_no_other_kind() {
        for line in ["NICK bob", "USER a b c d", "CAP LIST", "JOIN #x"] {
            assert_eq!(
                score(&format!("{line}\n{line}\n{line}")).asks(),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn numerics_without_a_name_before_them_name_the_client() {
        let client = score("NICK bob\nUSER b 0 * :b");
        assert!(client.own.meets(&score("001 BOB :Welcome").addressed));
        assert!(!client.own.meets(&score("001 alice :Welcome").addressed));
        assert!(!client.own.meets(&score("331 bob :password").addressed));
    }

    #[test]
    fn servers_speak_to_each_other() {
        for lines in [
            "PASS x TS 6 :42X\nCAPAB :QS EX\nSERVER irc.a.example 1 :a\nSVINFO 6 3 0 :1700000000",
            "PROTOCTL EAUTH=a.example SID=001\nPASS :x\nSERVER irc.a.example 1 :a\n:001 EOS",
            "PASS :x\nSERVER irc.a.example 1 1 2 J10 AB]]] +h6 :a",
            "CAPAB START 1205\nSERVER irc.a.example x 0 0AA :a\n:0AA BURST 17",
        ] {
            assert!(score(lines).links() >= 3, "{lines}");
        }
    }

    #[test]
    fn replies_of_other_servers_are_bad() {
        let score = score("220 ftp.example.org FTP server ready\n331 Password\n230 In");
        assert_eq!((score.server, score.bad), (0, 3));
    }
}
