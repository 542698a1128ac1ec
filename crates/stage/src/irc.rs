//! A small IRC server (a subset of RFC 2812): several clients, channels, and a way for the
//! test to speak in a channel as a bot's master does.

pub(crate) mod client;
mod hall;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::accept::{Acceptor, Line, Lines, Serve};
use hall::{Hall, Outgoing};

/// Connections served at a time.
const MOST_CONNECTIONS: usize = 128;
/// The 512 of RFC 2812 and some room.
const LONGEST_LINE_BYTES: usize = 2048;
/// How long a silent client is kept.
const SILENCE_LIMIT: Duration = Duration::from_secs(180);
/// How long a client may take to accept what is sent to it.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// A message that a client sent with PRIVMSG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrcMessage {
    /// The sender's nick.
    pub from: String,
    /// Channel or nick.
    pub to: String,
    /// The text.
    pub text: String,
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct IrcServer {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    hall: Mutex<Hall>,
    changed: Condvar,
}

impl IrcServer {
    /// Serves on sockets that listen already, which may belong to another network
    /// namespace (see [`crate::Sandbox::listen`]).
    ///
    /// # Errors
    /// When a listening socket cannot be prepared.
    pub fn start(listeners: Vec<TcpListener>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let acceptor = Acceptor::start(listeners, MOST_CONNECTIONS, Arc::clone(&shared))?;
        Ok(Self { acceptor, shared })
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.acceptor.addresses()
    }

    /// Says something to a channel or a nick, as `from`. Returns how many clients heard it.
    pub fn say(&self, to: &str, from: &str, text: &str) -> usize {
        let line = format!(":{from}!{from}@stage PRIVMSG {to} :{text}\r\n");
        let mut hall = self.shared.lock();
        let heard = hall.tell(to, None, &line);
        let count = heard.len();
        hall.send(heard);
        count
    }

    /// Sets the topic of a channel, as `from`.
    pub fn set_topic(&self, channel: &str, from: &str, topic: &str) {
        let mut hall = self.shared.lock();
        let heard = hall.set_topic(channel, &format!("{from}!{from}@stage"), topic);
        hall.send(heard);
    }

    /// Waits until `nick` is in `channel`.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub fn wait_for_join(&self, channel: &str, nick: &str, limit: Duration) -> Result<(), Error> {
        self.wait(limit, |hall| {
            hall.members(channel).iter().any(|member| member == nick)
        })
        .ok_or_else(|| Error::Timeout {
            what: format!("{nick} did not join {channel}"),
            limit,
        })
    }

    /// Waits until a client has sent a message that contains `text`.
    ///
    /// # Errors
    /// When none has within `limit`.
    pub fn wait_for_message(&self, text: &str, limit: Duration) -> Result<(), Error> {
        self.wait(limit, |hall| {
            hall.said.iter().any(|message| message.text.contains(text))
        })
        .ok_or_else(|| Error::Timeout {
            what: format!("nobody said {text:?}"),
            limit,
        })
    }

    /// The nicks in a channel.
    pub fn members(&self, channel: &str) -> Vec<String> {
        self.shared.lock().members(channel)
    }

    /// What clients have said so far, the first 1,000 messages at most.
    pub fn messages(&self) -> Vec<IrcMessage> {
        self.shared.lock().said.clone()
    }

    /// All bytes that any client ever sent.
    pub fn payload_bytes(&self) -> u64 {
        self.shared.lock().payload_bytes
    }

    fn wait(&self, limit: Duration, mut holds: impl FnMut(&Hall) -> bool) -> Option<()> {
        let deadline = Instant::now() + limit;
        let mut hall = self.shared.lock();
        while !holds(&hall) {
            let left = deadline.checked_duration_since(Instant::now())?;
            hall = self
                .shared
                .changed
                .wait_timeout(hall, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Some(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serve for Shared {
    fn serve(&self, number: u64, stream: TcpStream, _peer: SocketAddr) {
        let _ = stream.set_read_timeout(Some(SILENCE_LIMIT));
        let _ = stream.set_write_timeout(Some(WRITE_LIMIT));
        let (Ok(reader), Ok(writer)) = (stream.try_clone(), stream.try_clone()) else {
            return;
        };
        self.lock().enter(number, writer);
        let mut lines = Lines::new(reader, LONGEST_LINE_BYTES);
        while let Line::Whole(line) = lines.next(|bytes| self.lock().payload_bytes += bytes as u64)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut hall = self.lock();
            let Outgoing { lines, close } = hall.line(number, text.trim_end());
            hall.send(lines);
            drop(hall);
            self.changed.notify_all();
            if close {
                break;
            }
        }
        let mut hall = self.lock();
        let farewell = hall.leave(number, "Connection closed");
        hall.send(farewell);
        drop(hall);
        let _ = stream.shutdown(Shutdown::Both);
        self.changed.notify_all();
    }

    fn turn_away(&self, _number: u64, mut stream: TcpStream, _peer: SocketAddr) {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = std::io::Write::write_all(&mut stream, b"ERROR :Too many connections\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

    const LIMIT: Duration = Duration::from_secs(5);

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn new(server: &IrcServer, nick: &str) -> Self {
            let stream = TcpStream::connect(server.addresses()[0]).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut client = Self(BufReader::new(stream));
            client.say(&format!("NICK {nick}\r\nUSER {nick} 0 * :A Name\r\n"));
            client
                .until(" 376 ")
                .unwrap_or_else(|| client.until(" 422 ").unwrap());
            client
        }

        fn say(&mut self, text: &str) {
            self.0.get_mut().write_all(text.as_bytes()).unwrap();
        }

        fn until(&mut self, pattern: &str) -> Option<String> {
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                if line.contains(pattern) {
                    return Some(line);
                }
            }
        }
    }

    fn server() -> IrcServer {
        IrcServer::start(vec![TcpListener::bind("127.0.0.1:0").unwrap()]).unwrap()
    }

    #[test]
    fn a_master_speaks_to_a_bot() {
        let server = server();
        let mut bot = Client::new(&server, "bot-123");
        bot.say("JOIN #orders\r\n");
        server.wait_for_join("#orders", "bot-123", LIMIT).unwrap();
        assert!(bot.until(" 353 ").unwrap().contains("bot-123"));
        assert_eq!(server.say("#orders", "master", "!spam 10"), 1);
        assert_eq!(
            bot.until("!spam").unwrap(),
            ":master!master@stage PRIVMSG #orders :!spam 10\r\n"
        );
        server.set_topic("#orders", "master", ".scan");
        assert!(bot.until("TOPIC #orders").unwrap().contains(".scan"));
        bot.say("TOPIC #orders\r\n");
        assert!(bot.until(" 332 ").unwrap().contains(".scan"));
        assert!(server.payload_bytes() > 20);
    }

    #[test]
    fn clients_hear_each_other_and_see_who_leaves() {
        let server = server();
        let (mut one, mut two) = (Client::new(&server, "one"), Client::new(&server, "two"));
        one.say("JOIN #a\r\n");
        server.wait_for_join("#a", "one", LIMIT).unwrap();
        two.say("JOIN #a\r\n");
        one.until(":two!two@").unwrap();
        two.say("PRIVMSG #a :hello there\r\n");
        assert!(one.until("PRIVMSG").unwrap().contains("#a :hello there"));
        server.wait_for_message("hello", LIMIT).unwrap();
        two.say("PING :x\r\n");
        assert!(two.until("PONG").unwrap().contains(":x"));
        two.say("QUIT :bye\r\n");
        assert!(one.until("QUIT").unwrap().contains("bye"));
        server
            .wait(LIMIT, |hall| hall.members("#a") == ["one"])
            .unwrap();
    }
}
