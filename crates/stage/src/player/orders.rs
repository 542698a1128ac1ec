//! Where a bot takes its orders from: a channel of an IRC server, or a web server that it
//! polls.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::args::Args;
use crate::http::HttpServer;
use crate::irc::client::IrcClient;

/// Longest time that it waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Longest line and longest answer of a web server.
const LONGEST_ANSWER_BYTES: u64 = 8192;

/// A bot's connection to its master.
pub(super) enum Master {
    /// A channel of an IRC server.
    Irc(IrcClient),
    /// A web server.
    Web(Web),
    /// A server that is told a line of `--say` and is then left alone.
    Other { _stream: TcpStream },
}

impl Master {
    /// Connects as the arguments say; none when they say nothing.
    pub(super) fn find(args: &Args) -> Result<Option<io::Result<Self>>, String> {
        if let Some(server) = args.address("--irc")? {
            return Ok(Some(join(server, args).map(Self::Irc)));
        }
        if let Some(server) = args.address("--http")? {
            let way = match args.number("--poll-ms")? {
                Some(every) => Way::Polled(Duration::from_millis(every)),
                None if args.text("--anew").is_some() => Way::Anew,
                None if args.text("--half-closed").is_some() => Way::HalfClosed,
                None => Way::Kept,
            };
            return Ok(Some(Web::connect(server, way).map(Self::Web)));
        }
        let Some(server) = args.address("--other")? else {
            return Ok(None);
        };
        let say = args.text("--say").unwrap_or_default();
        Ok(Some(
            greet(server, say).map(|_stream| Self::Other { _stream }),
        ))
    }

    /// Waits until an order has come that holds `text`. It is no failure when none comes.
    pub(super) fn wait_for(&mut self, text: &str, limit: Duration) {
        match self {
            Self::Irc(irc) => drop(irc.wait_for(text, limit)),
            Self::Web(web) => drop(web.wait_for(text, limit)),
            Self::Other { .. } => sleep(limit),
        }
    }

    /// Says goodbye, where that is usual.
    pub(super) fn leave(&mut self) {
        if let Self::Irc(irc) = self {
            irc.quit();
        }
    }
}

fn join(server: SocketAddr, args: &Args) -> io::Result<IrcClient> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    let nick = args.text("--nick").unwrap_or("bot-8472");
    let channel = args.text("--channel").unwrap_or("#orders");
    let mut irc = IrcClient::new(stream);
    if args.text("--in-pieces").is_some() {
        irc = irc.in_pieces()?;
    }
    let mut irc = irc.register(nick, PATIENCE)?;
    irc.join(channel, args.text("--key"), PATIENCE)?;
    print_event("joined")?;
    Ok(irc)
}

fn greet(server: SocketAddr, say: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{say}\r\n").as_bytes())?;
    let mut answer = [0; 64];
    let _ = stream.read(&mut answer)?;
    print_event("greeted")?;
    Ok(stream)
}

fn print_event(event: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{{\"event\":\"{event}\"}}\n").as_bytes())?;
    output.flush()
}

/// Asks a web server for orders.
pub(super) struct Web {
    server: SocketAddr,
    way: Way,
    connection: BufReader<TcpStream>,
}

/// How it asks.
#[derive(Clone, Copy)]
enum Way {
    /// Over one connection on which an answer is long in coming.
    Kept,
    /// The same over a connection for each order.
    Anew,
    /// The same, and its own side of the connection is closed behind the question.
    HalfClosed,
    /// Again and again, over a connection for each question, which is answered at once.
    Polled(Duration),
}

impl Web {
    fn connect(server: SocketAddr, way: Way) -> io::Result<Self> {
        Ok(Self {
            server,
            way,
            connection: open(server)?,
        })
    }

    fn wait_for(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let path = match self.way {
                Way::Kept | Way::Anew | Way::HalfClosed => HttpServer::WAIT,
                Way::Polled(every) => {
                    sleep(every.min(left));
                    "/"
                }
            };
            question(&mut self.connection, path)?;
            if matches!(self.way, Way::HalfClosed) {
                self.connection.get_ref().shutdown(Shutdown::Write)?;
            }
            let order = answer(&mut self.connection, left)?;
            if !matches!(self.way, Way::Kept) {
                self.connection = open(self.server)?;
            }
            if order.contains(text) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn open(server: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    TcpStream::connect_timeout(&server, PATIENCE).map(BufReader::new)
}

/// Asks for a path and returns the body of the answer.
pub(super) fn ask(
    connection: &mut BufReader<TcpStream>,
    path: &str,
    limit: Duration,
) -> io::Result<String> {
    question(connection, path)?;
    answer(connection, limit)
}

fn question(connection: &mut BufReader<TcpStream>, path: &str) -> io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"
    );
    connection.get_mut().write_all(request.as_bytes())
}

fn answer(connection: &mut BufReader<TcpStream>, limit: Duration) -> io::Result<String> {
    let limit = limit.max(Duration::from_millis(1));
    connection.get_ref().set_read_timeout(Some(limit))?;
    let mut length = 0;
    let mut head = Read::take(&mut *connection, LONGEST_ANSWER_BYTES);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(digits) = line.strip_prefix("Content-Length: ") {
            length = digits.trim_end().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = String::new();
    Read::take(connection, LONGEST_ANSWER_BYTES.min(length)).read_to_string(&mut body)?;
    Ok(body)
}
