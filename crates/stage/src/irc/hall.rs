//! Who is connected, who is in which channel, and what follows from a line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

use super::IrcMessage;

const SERVER: &str = "irc.stage";
const MOST_CHANNELS: usize = 100;
const MOST_MESSAGES: usize = 1000;
const LONGEST_NAME_BYTES: usize = 50;

/// Lines to send, each to one client.
pub(super) type Mailing = Vec<(u64, String)>;

/// What follows from a line.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub lines: Mailing,
    /// The connection ends after the lines.
    pub close: bool,
}

/// The whole state of the server.
#[derive(Debug, Default)]
pub(super) struct Hall {
    clients: BTreeMap<u64, Client>,
    channels: BTreeMap<String, Channel>,
    pub said: Vec<IrcMessage>,
    pub payload_bytes: u64,
}

#[derive(Debug, Default)]
struct Client {
    writer: Option<TcpStream>,
    nick: Option<String>,
    user: Option<String>,
    welcomed: bool,
}

#[derive(Debug, Default)]
struct Channel {
    topic: Option<String>,
    members: BTreeSet<u64>,
}

impl Hall {
    pub(super) fn enter(&mut self, number: u64, writer: TcpStream) {
        self.clients.insert(
            number,
            Client {
                writer: Some(writer),
                ..Client::default()
            },
        );
    }

    /// The client is gone; its channels hear of it.
    pub(super) fn leave(&mut self, number: u64, reason: &str) -> Mailing {
        let prefix = self.prefix(number);
        let peers = self.peers(number);
        if self.clients.remove(&number).is_none() {
            return Mailing::new();
        }
        self.channels.retain(|_, channel| {
            channel.members.remove(&number);
            !channel.members.is_empty() || channel.topic.is_some()
        });
        peers
            .into_iter()
            .map(|peer| (peer, format!(":{prefix} QUIT :{reason}\r\n")))
            .collect()
    }

    pub(super) fn members(&self, channel: &str) -> Vec<String> {
        let Some(channel) = self.channels.get(&channel.to_lowercase()) else {
            return Vec::new();
        };
        channel
            .members
            .iter()
            .map(|number| self.nick(*number).to_owned())
            .collect()
    }

    /// A line for everybody in a channel, or for one nick, but not for `except`.
    pub(super) fn tell(&self, to: &str, except: Option<u64>, line: &str) -> Mailing {
        let hearers: Vec<u64> = match self.channels.get(&to.to_lowercase()) {
            Some(channel) => channel.members.iter().copied().collect(),
            None => self
                .clients
                .iter()
                .filter(|(_, client)| client.is(to))
                .map(|(number, _)| *number)
                .collect(),
        };
        hearers
            .into_iter()
            .filter(|number| Some(*number) != except)
            .map(|number| (number, line.to_owned()))
            .collect()
    }

    pub(super) fn set_topic(&mut self, channel: &str, prefix: &str, topic: &str) -> Mailing {
        self.channels
            .entry(channel.to_lowercase())
            .or_default()
            .topic = Some(topic.to_owned());
        self.tell(
            channel,
            None,
            &format!(":{prefix} TOPIC {channel} :{topic}\r\n"),
        )
    }

    /// Writes lines out. A client that does not take them loses its connection.
    pub(super) fn send(&mut self, lines: Mailing) {
        for (number, line) in lines {
            let Some(client) = self.clients.get_mut(&number) else {
                continue;
            };
            let failed = client
                .writer
                .as_mut()
                .is_some_and(|writer| writer.write_all(line.as_bytes()).is_err());
            if failed && let Some(writer) = client.writer.take() {
                let _ = writer.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// What follows from one line of a client.
    pub(super) fn line(&mut self, number: u64, line: &str) -> Outgoing {
        let (command, parameters) = split(line);
        let parameter = |index: usize| {
            parameters
                .get(index)
                .copied()
                .filter(|p: &&str| !p.is_empty())
        };
        let one = |text: String| Outgoing {
            lines: vec![(number, text)],
            close: false,
        };
        let welcomed = self
            .clients
            .get(&number)
            .is_some_and(|client| client.welcomed);
        match (command.as_str(), parameter(0), parameter(1)) {
            ("", ..) | ("PONG" | "CAP" | "PASS", ..) => Outgoing::default(),
            ("NICK", None, _) => one(self.numeric(number, 431, ":No nickname given")),
            ("NICK", Some(nick), _) => self.take_nick(number, nick),
            ("USER", Some(user), _) if parameters.len() >= 4 => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client
                        .user
                        .get_or_insert_with(|| user.chars().take(LONGEST_NAME_BYTES).collect());
                }
                Outgoing {
                    lines: self.welcome(number),
                    close: false,
                }
            }
            ("PING", token, _) => one(format!(
                ":{SERVER} PONG {SERVER} :{}\r\n",
                token.unwrap_or_default()
            )),
            ("QUIT", reason, _) => {
                let mut lines = vec![(
                    number,
                    format!("ERROR :Closing link ({})\r\n", reason.unwrap_or("quit")),
                )];
                self.send(std::mem::take(&mut lines));
                Outgoing {
                    lines: self.leave(number, reason.unwrap_or("quit")),
                    close: true,
                }
            }
            _ if !welcomed => one(self.numeric(number, 451, ":You have not registered")),
            ("JOIN", Some(channels), _) => {
                let lines = channels
                    .split(',')
                    .flat_map(|channel| self.join(number, channel))
                    .collect();
                Outgoing {
                    lines,
                    close: false,
                }
            }
            ("PRIVMSG" | "NOTICE", Some(to), Some(text)) => Outgoing {
                lines: self.pass_on(number, &command, to, text),
                close: false,
            },
            ("PRIVMSG", Some(_), None) => one(self.numeric(number, 412, ":No text to send")),
            ("TOPIC", Some(channel), topic) => Outgoing {
                lines: self.topic(number, channel, topic),
                close: false,
            },
            ("MODE", Some(target), _) => one(match target.starts_with('#') {
                true => self.numeric(number, 324, &format!("{target} +nt")),
                false => self.numeric(number, 221, "+i"),
            }),
            ("USER" | "JOIN" | "PRIVMSG" | "TOPIC" | "MODE", ..) => {
                one(self.numeric(number, 461, &format!("{command} :Not enough parameters")))
            }
            _ => one(self.numeric(number, 421, &format!("{command} :Unknown command"))),
        }
    }

    fn take_nick(&mut self, number: u64, nick: &str) -> Outgoing {
        let answer = |text: String| Outgoing {
            lines: vec![(number, text)],
            close: false,
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_[]\\`^{}|".contains(c);
        if nick.len() > LONGEST_NAME_BYTES || !nick.chars().all(allowed) {
            return answer(self.numeric(number, 432, &format!("{nick} :Erroneous nickname")));
        }
        if self
            .clients
            .iter()
            .any(|(other, client)| *other != number && client.is(nick))
        {
            return answer(self.numeric(number, 433, &format!("{nick} :Nickname is in use")));
        }
        let prefix = self.prefix(number);
        let mut hearers = self.peers(number);
        hearers.insert(number);
        let Some(client) = self.clients.get_mut(&number) else {
            return Outgoing::default();
        };
        client.nick = Some(nick.to_owned());
        let lines = match client.welcomed {
            true => hearers
                .into_iter()
                .map(|hearer| (hearer, format!(":{prefix} NICK :{nick}\r\n")))
                .collect(),
            false => self.welcome(number),
        };
        Outgoing {
            lines,
            close: false,
        }
    }

    /// The welcome, once both NICK and USER have come.
    fn welcome(&mut self, number: u64) -> Mailing {
        let Some(client) = self.clients.get_mut(&number) else {
            return Mailing::new();
        };
        if client.welcomed || client.nick.is_none() || client.user.is_none() {
            return Mailing::new();
        }
        client.welcomed = true;
        let prefix = self.prefix(number);
        let lines = [
            (1, format!(":Welcome to the stage {prefix}")),
            (2, format!(":Your host is {SERVER}, running stage-1")),
            (3, ":This server was created just now".to_owned()),
            (4, format!("{SERVER} stage-1 i nt")),
            (375, format!(":- {SERVER} Message of the day -")),
            (372, ":- Welcome.".to_owned()),
            (376, ":End of /MOTD command".to_owned()),
        ];
        lines
            .into_iter()
            .map(|(code, text)| (number, self.numeric(number, code, &text)))
            .collect()
    }

    fn join(&mut self, number: u64, channel: &str) -> Mailing {
        let named = channel.starts_with('#') && channel.len() <= LONGEST_NAME_BYTES;
        if !named
            || (self.channels.len() >= MOST_CHANNELS
                && !self.channels.contains_key(&channel.to_lowercase()))
        {
            return vec![(
                number,
                self.numeric(number, 403, &format!("{channel} :No such channel")),
            )];
        }
        if !self
            .channels
            .entry(channel.to_lowercase())
            .or_default()
            .members
            .insert(number)
        {
            return Mailing::new();
        }
        let mut lines = self.tell(
            channel,
            None,
            &format!(":{} JOIN {channel}\r\n", self.prefix(number)),
        );
        if self
            .channels
            .get(&channel.to_lowercase())
            .is_some_and(|channel| channel.topic.is_some())
        {
            lines.extend(self.topic(number, channel, None));
        }
        let names = self.members(channel).join(" ");
        lines.push((
            number,
            self.numeric(number, 353, &format!("= {channel} :{names}")),
        ));
        lines.push((
            number,
            self.numeric(number, 366, &format!("{channel} :End of /NAMES list")),
        ));
        lines
    }

    fn topic(&mut self, number: u64, channel: &str, new: Option<&str>) -> Mailing {
        let Some(known) = self.channels.get(&channel.to_lowercase()) else {
            return vec![(
                number,
                self.numeric(number, 403, &format!("{channel} :No such channel")),
            )];
        };
        match (new, &known.topic) {
            (Some(topic), _) if known.members.contains(&number) => {
                let prefix = self.prefix(number);
                self.set_topic(channel, &prefix, topic)
            }
            (Some(_), _) => vec![(
                number,
                self.numeric(
                    number,
                    442,
                    &format!("{channel} :You're not on that channel"),
                ),
            )],
            (None, Some(topic)) => vec![(
                number,
                self.numeric(number, 332, &format!("{channel} :{topic}")),
            )],
            (None, None) => vec![(
                number,
                self.numeric(number, 331, &format!("{channel} :No topic is set")),
            )],
        }
    }

    fn pass_on(&mut self, number: u64, command: &str, to: &str, text: &str) -> Mailing {
        let is_channel = self.channels.contains_key(&to.to_lowercase());
        if !is_channel && !self.clients.values().any(|client| client.is(to)) {
            return vec![(
                number,
                self.numeric(number, 401, &format!("{to} :No such nick or channel")),
            )];
        }
        if self.said.len() < MOST_MESSAGES {
            let from = self.nick(number).to_owned();
            self.said.push(IrcMessage {
                from,
                to: to.to_owned(),
                text: text.to_owned(),
            });
        }
        self.tell(
            to,
            Some(number),
            &format!(":{} {command} {to} :{text}\r\n", self.prefix(number)),
        )
    }

    /// Everybody who shares a channel with the client.
    fn peers(&self, number: u64) -> BTreeSet<u64> {
        let shared = self
            .channels
            .values()
            .filter(|channel| channel.members.contains(&number));
        let mut peers: BTreeSet<u64> = shared
            .flat_map(|channel| channel.members.iter().copied())
            .collect();
        peers.remove(&number);
        peers
    }

    fn nick(&self, number: u64) -> &str {
        self.clients
            .get(&number)
            .and_then(|client| client.nick.as_deref())
            .unwrap_or("*")
    }

    fn prefix(&self, number: u64) -> String {
        let user = self
            .clients
            .get(&number)
            .and_then(|client| client.user.as_deref())
            .unwrap_or("unknown");
        format!("{}!{user}@stage", self.nick(number))
    }

    fn numeric(&self, number: u64, code: u16, text: &str) -> String {
        format!(":{SERVER} {code:03} {} {text}\r\n", self.nick(number))
    }
}

impl Client {
    fn is(&self, nick: &str) -> bool {
        self.nick
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(nick))
    }
}

/// The command in capitals and its parameters; a prefix, which a client should not send, is
/// passed over.
fn split(line: &str) -> (String, Vec<&str>) {
    let line = match line.strip_prefix(':') {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
        None => line,
    };
    let (words, trailing) = match line.split_once(" :") {
        Some((words, trailing)) => (words, Some(trailing)),
        None => (line, None),
    };
    let mut words = words.split_ascii_whitespace().take(20);
    let command = words.next().unwrap_or_default().to_ascii_uppercase();
    let mut parameters: Vec<&str> = words
        .map(|word| word.strip_prefix(':').unwrap_or(word))
        .collect();
    parameters.extend(trailing);
    (command, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hall_with(nicks: &[&str]) -> Hall {
        let mut hall = Hall::default();
        for (number, nick) in (0..).zip(nicks) {
            hall.clients.insert(number, Client::default());
            hall.line(number, &format!("NICK {nick}"));
            hall.line(number, "USER u 0 * :Name");
        }
        hall
    }

    fn answer(hall: &mut Hall, line: &str) -> String {
        hall.line(0, line)
            .lines
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn lines_are_split_as_the_rfc_says() {
        assert_eq!(
            split("privmsg #a :hello  there"),
            ("PRIVMSG".into(), vec!["#a", "hello  there"])
        );
        assert_eq!(split(":me PING :x"), ("PING".into(), vec!["x"]));
        assert_eq!(split(""), (String::new(), vec![]));
    }

    #[test]
    fn errors_have_their_numerics() {
        let mut hall = hall_with(&["one", "two"]);
        for (line, code) in [
            ("NICK", "431"),
            ("NICK a b c!", ""),
            ("NICK a!", "432"),
            ("NICK Two", "433"),
            ("PRIVMSG nobody :x", "401"),
            ("PRIVMSG two", "412"),
            ("JOIN nochannel", "403"),
            ("TOPIC #none", "403"),
            ("JOIN", "461"),
            ("WHAT", "421"),
            ("MODE one", "221"),
        ] {
            assert!(answer(&mut hall, line).contains(code), "{line}");
        }
        let mut fresh = Hall::default();
        fresh.clients.insert(0, Client::default());
        assert!(answer(&mut fresh, "JOIN #a").contains("451"));
    }
}
