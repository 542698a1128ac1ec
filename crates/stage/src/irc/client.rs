//! A small IRC client (a subset of RFC 2812): for the bot, and for its master.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The 512 of RFC 2812 and some room.
const LONGEST_LINE_BYTES: u64 = 4096;

/// A client. It answers PING whenever it reads.
#[derive(Debug)]
pub struct IrcClient {
    reader: BufReader<TcpStream>,
    nick: String,
    in_pieces: bool,
}

impl IrcClient {
    /// A client over a connection that exists.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
            nick: String::new(),
            in_pieces: false,
        }
    }

    /// Sends every byte as a packet of its own, as a bot may do to be overlooked.
    ///
    /// # Errors
    /// When the connection does not take the option.
    pub fn in_pieces(mut self) -> io::Result<Self> {
        self.reader.get_ref().set_nodelay(true)?;
        self.in_pieces = true;
        Ok(self)
    }

    /// Registers and waits for the welcome.
    ///
    /// # Errors
    /// When the server does not welcome it within `limit`; the message holds what the server
    /// said last.
    pub fn register(mut self, nick: &str, limit: Duration) -> io::Result<Self> {
        nick.clone_into(&mut self.nick);
        // Servers take more characters in a nick than in a user name.
        let user: String = nick.chars().filter(char::is_ascii_alphanumeric).collect();
        self.say(&format!("NICK {nick}\r\nUSER {user} 0 * :{nick}\r\n"))?;
        // The end of the message of the day, or that there is none.
        self.read_until(limit, |line| {
            line.contains(" 376 ") || line.contains(" 422 ")
        })?;
        Ok(self)
    }

    /// Joins a channel, with its key where it has one, and waits until that is done.
    ///
    /// # Errors
    /// When the server does not say so within `limit`.
    pub fn join(&mut self, channel: &str, key: Option<&str>, limit: Duration) -> io::Result<()> {
        let key = key.map(|key| format!(" {key}")).unwrap_or_default();
        self.say(&format!("JOIN {channel}{key}\r\n"))?;
        self.read_until(limit, |line| line.contains(" 366 "))
    }

    /// Gives a channel a key, and waits until it has it.
    ///
    /// # Errors
    /// When the server does not say so within `limit`.
    pub fn lock(&mut self, channel: &str, key: &str, limit: Duration) -> io::Result<()> {
        self.say(&format!("MODE {channel} +k {key}\r\n"))?;
        self.read_until(limit, |line| {
            line.contains(" MODE ") && line.contains(" +k ")
        })
    }

    /// Says something to a channel or a nick.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn tell(&mut self, to: &str, text: &str) -> io::Result<()> {
        self.say(&format!("PRIVMSG {to} :{text}\r\n"))
    }

    /// Waits until somebody says `text`.
    ///
    /// # Errors
    /// When nobody does within `limit`, or the connection ends.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        self.read_until(limit, |line| {
            line.contains(" PRIVMSG ") && line.contains(text)
        })
    }

    /// Waits until `nick` is in a channel that this client is in.
    ///
    /// # Errors
    /// When it is not within `limit`, or the connection ends.
    pub fn wait_for_member(
        &mut self,
        channel: &str,
        nick: &str,
        limit: Duration,
    ) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.say(&format!("NAMES {channel}\r\n"))?;
            let mut there = false;
            self.read_until(limit, |line| {
                // After the numeric, the names stand behind the second colon.
                let names = line.rsplit(':').next().unwrap_or_default();
                there |= line.contains(" 353 ")
                    && names
                        .split_whitespace()
                        .any(|name| name.trim_start_matches(['@', '+']) == nick);
                line.contains(" 366 ")
            })?;
            if there {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(timed_out(&format!("{nick} is not in {channel}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Says goodbye.
    pub fn quit(&mut self) {
        let _ = self.say("QUIT :done\r\n");
    }

    fn read_until(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let mut bytes = Vec::new();
        let mut last = String::new();
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .ok_or_else(|| timed_out(&format!("{} heard last {last:?}", self.nick)))?;
            self.reader.get_ref().set_read_timeout(Some(left))?;
            let read =
                Read::take(&mut self.reader, LONGEST_LINE_BYTES).read_until(b'\n', &mut bytes);
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // An unfinished line stays and is read on.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            }
            let line = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            if let Some(token) = line.strip_prefix("PING ") {
                self.say(&format!("PONG {}\r\n", token.trim_end()))?;
            }
            if wanted(&line) {
                return Ok(());
            }
            last = line;
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let stream = self.reader.get_mut();
        if !self.in_pieces {
            return stream.write_all(text.as_bytes());
        }
        text.as_bytes()
            .iter()
            .try_for_each(|byte| stream.write_all(&[*byte]))
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what.to_owned())
}
