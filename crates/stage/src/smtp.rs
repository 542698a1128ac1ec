//! A small mail server that keeps what it receives (RFC 5321), and counts every byte.

pub(crate) mod client;
mod session;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::accept::{Acceptor, Line, Lines, Serve};
use session::{Session, Step};

/// Connections served at a time. The next one is told to come back.
const MOST_CONNECTIONS: usize = 256;
/// Records of connections kept; later ones are only counted.
const MOST_RECORDS: usize = 20_000;
/// Commands kept for each connection, and characters of each.
const MOST_COMMANDS: usize = 200;
const LONGEST_COMMAND: usize = 600;
/// Longest line in bytes: the 1000 of RFC 5321 and much room for sloppy clients.
const LONGEST_LINE_BYTES: usize = 64 * 1024;
/// Content of all messages together that is kept, in bytes.
const MOST_CONTENT_BYTES: usize = 64 << 20;
/// How long a silent client is kept.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct SmtpOptions {
    /// The name in its greeting.
    pub name: String,
    /// Offers AUTH PLAIN and LOGIN, and accepts whatever is given.
    pub authentication: bool,
    /// How long a client waits for the greeting.
    pub silence: Duration,
    /// Largest message in bytes.
    pub largest_bytes: usize,
}

impl Default for SmtpOptions {
    fn default() -> Self {
        Self {
            name: "mail.example.net".to_owned(),
            authentication: false,
            silence: Duration::ZERO,
            largest_bytes: 10 << 20,
        }
    }
}

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The client that delivered it.
    pub peer: SocketAddr,
    /// The envelope's sender, without angle brackets; empty for a bounce.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Header and body, dots unstuffed, with CRLF line ends.
    pub content: Vec<u8>,
}

/// A connection that a client made, still open or not.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub server: SocketAddr,
    /// All bytes it sent.
    pub payload_bytes: u64,
    /// Its command lines without their ends; what AUTH carried is left out.
    pub commands: Vec<String>,
    /// Whether it is still open.
    pub open: bool,
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct SmtpServer {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: SmtpOptions,
    records: Mutex<Records>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Records {
    connections: Vec<Connection>,
    connection_count: u64,
    payload_bytes: u64,
    messages: Vec<Message>,
    content_bytes: usize,
}

impl SmtpServer {
    /// Serves on sockets that listen already, which may belong to another network
    /// namespace (see [`crate::Sandbox::listen`]).
    ///
    /// # Errors
    /// When a listening socket cannot be prepared.
    pub fn start(listeners: Vec<TcpListener>, options: SmtpOptions) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            options,
            records: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = Acceptor::start(listeners, MOST_CONNECTIONS, Arc::clone(&shared))?;
        Ok(Self { acceptor, shared })
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.acceptor.addresses()
    }

    /// All messages delivered so far.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.lock().messages.clone()
    }

    /// All bytes that any client ever sent.
    pub fn payload_bytes(&self) -> u64 {
        self.shared.lock().payload_bytes
    }

    /// All connections so far, the first 20,000 at most.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.lock().connections.clone()
    }

    /// Number of connections so far.
    pub fn connection_count(&self) -> u64 {
        self.shared.lock().connection_count
    }

    /// Waits until `count` messages have been delivered in total.
    ///
    /// # Errors
    /// When that does not happen within `limit`.
    pub fn wait_for_messages(&self, count: usize, limit: Duration) -> Result<Vec<Message>, Error> {
        let deadline = Instant::now() + limit;
        let mut records = self.shared.lock();
        while records.messages.len() < count {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let what = format!(
                    "{} of {count} messages were delivered",
                    records.messages.len()
                );
                return Err(Error::Timeout { what, limit });
            };
            records = self
                .shared
                .changed
                .wait_timeout(records, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(records.messages.clone())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_record(&self, peer: SocketAddr, stream: &TcpStream) -> Option<usize> {
        let server = stream.local_addr().unwrap_or(peer);
        let mut records = self.lock();
        records.connection_count += 1;
        if records.connections.len() >= MOST_RECORDS {
            return None;
        }
        records.connections.push(Connection {
            peer,
            server,
            payload_bytes: 0,
            commands: Vec::new(),
            open: true,
        });
        Some(records.connections.len() - 1)
    }

    fn count(&self, record: Option<usize>, bytes: usize) {
        let mut records = self.lock();
        records.payload_bytes += bytes as u64;
        if let Some(connection) = record.and_then(|index| records.connections.get_mut(index)) {
            connection.payload_bytes += bytes as u64;
        }
    }

    fn note_command(&self, record: Option<usize>, command: String) {
        let mut records = self.lock();
        if let Some(connection) = record.and_then(|index| records.connections.get_mut(index))
            && connection.commands.len() < MOST_COMMANDS
        {
            connection
                .commands
                .push(command.chars().take(LONGEST_COMMAND).collect());
        }
    }

    fn close_record(&self, record: Option<usize>) {
        let mut records = self.lock();
        if let Some(connection) = record.and_then(|index| records.connections.get_mut(index)) {
            connection.open = false;
        }
    }

    fn keep(&self, message: Message) {
        let mut records = self.lock();
        records.content_bytes += message.content.len();
        if records.content_bytes <= MOST_CONTENT_BYTES {
            records.messages.push(message);
        }
        drop(records);
        self.changed.notify_all();
    }
}

impl Serve for Shared {
    fn serve(&self, _number: u64, mut stream: TcpStream, peer: SocketAddr) {
        let record = self.open_record(peer, &stream);
        let _ = stream.set_read_timeout(Some(SILENCE_LIMIT));
        let _ = stream.set_write_timeout(Some(SILENCE_LIMIT));
        let Ok(reader) = stream.try_clone() else {
            return self.close_record(record);
        };
        let mut lines = Lines::new(reader, LONGEST_LINE_BYTES);
        let mut session = Session::new(&self.options);
        std::thread::sleep(self.options.silence);
        let mut reply = session.greeting();
        loop {
            if stream.write_all(reply.as_bytes()).is_err() {
                // What it sent before it stopped listening still counts.
                while let Line::Whole(_) = lines.next(|bytes| self.count(record, bytes)) {}
                break;
            }
            let line = match lines.next(|bytes| self.count(record, bytes)) {
                Line::Whole(line) => line,
                Line::End => break,
                Line::TooLong => {
                    let _ = stream.write_all(b"500 5.5.2 Line too long\r\n");
                    break;
                }
            };
            if let Some(command) = session.command_to_note(&line) {
                self.note_command(record, command);
            }
            reply = match session.line(&line) {
                Step::Reply(reply) => reply,
                Step::Silent => String::new(),
                Step::Delivered { from, to, content } => {
                    self.keep(Message {
                        peer,
                        from,
                        to,
                        content,
                    });
                    "250 2.0.0 Delivered\r\n".to_owned()
                }
                Step::Close(reply) => {
                    let _ = stream.write_all(reply.as_bytes());
                    break;
                }
            };
        }
        let _ = stream.shutdown(Shutdown::Both);
        self.close_record(record);
    }

    fn turn_away(&self, _number: u64, mut stream: TcpStream, peer: SocketAddr) {
        let record = self.open_record(peer, &stream);
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = stream.write_all(b"421 4.7.0 Too many connections\r\n");
        self.close_record(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{Mail, deliver};
    use std::io::Read;

    const LIMIT: Duration = Duration::from_secs(5);

    fn server(options: SmtpOptions) -> (SmtpServer, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SmtpServer::start(vec![listener], options).unwrap();
        let address = server.addresses()[0];
        (server, address)
    }

    #[test]
    fn keeps_a_message_with_its_envelope() {
        let (server, address) = server(SmtpOptions::default());
        assert_eq!(server.payload_bytes(), 0);
        let mail = Mail {
            from: "a@example.org".into(),
            to: vec!["b@example.net".into()],
            ..Mail::default()
        };
        deliver(
            address,
            &Mail {
                body: "one\n.two\n..\n.\nend".into(),
                ..mail
            },
            LIMIT,
        )
        .unwrap();
        let messages = server.wait_for_messages(1, LIMIT).unwrap();
        assert_eq!(messages[0].from, "a@example.org");
        assert_eq!(messages[0].to, ["b@example.net"]);
        let content = String::from_utf8(messages[0].content.clone()).unwrap();
        assert!(
            content.ends_with("\r\n\r\none\r\n.two\r\n..\r\n.\r\nend\r\n"),
            "{content:?}"
        );
        assert!(server.payload_bytes() > 100);
        assert_eq!(server.connections()[0].commands[0], "EHLO localhost");
    }

    #[test]
    fn counts_bytes_that_are_no_commands() {
        let (server, address) = server(SmtpOptions::default());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("220 "), "{rest}");
        assert_eq!(server.payload_bytes(), 1);
        assert!(server.messages().is_empty());
    }

    #[test]
    fn an_endless_line_ends_the_connection() {
        let (_server, address) = server(SmtpOptions::default());
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(&vec![b'a'; LONGEST_LINE_BYTES + 8192]);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            rest.contains("500 5.5.2") || rest.is_empty() || rest.starts_with("220"),
            "{rest}"
        );
    }

    #[test]
    fn dropping_the_server_closes_its_connections() {
        let (server, address) = server(SmtpOptions::default());
        let mut stream = TcpStream::connect(address).unwrap();
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).unwrap();
        drop(server);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(TcpStream::connect(address).is_err());
    }
}
