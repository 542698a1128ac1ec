//! A small web server (a subset of RFC 9112) that a bot polls for its orders.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::accept::{Acceptor, Line, Lines, Serve};

/// Connections served at a time.
const MOST_CONNECTIONS: usize = 256;
/// Orders that wait to be fetched.
const MOST_ORDERS: usize = 1000;
const LONGEST_LINE_BYTES: usize = 8192;
/// How long a silent client is kept, and how long an answer is held back.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The server. A request for [`HttpServer::WAIT`] is answered with the next order as soon as
/// there is one; any other path at once, with an order if there is one. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct HttpServer {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<String>,
    requests: u64,
    waiting: usize,
    closed: bool,
}

impl HttpServer {
    /// The path whose answer is held back until there is an order.
    pub const WAIT: &str = "/wait";

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

    /// Gives an order to whoever asks first.
    pub fn order(&self, text: &str) {
        let mut state = self.shared.lock();
        if state.orders.len() < MOST_ORDERS {
            state.orders.push_back(text.to_owned());
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How many requests came so far.
    pub fn requests(&self) -> u64 {
        self.shared.lock().requests
    }

    /// Waits until somebody waits for an order.
    ///
    /// # Errors
    /// When nobody does within `limit`.
    pub fn wait_for_poll(&self, limit: Duration) -> Result<(), Error> {
        self.shared
            .wait(limit, |state| (state.waiting > 0).then_some(()))
            .ok_or_else(|| Error::Timeout {
                what: "nobody asks for orders".to_owned(),
                limit,
            })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(
        &self,
        limit: Duration,
        mut answer: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(answer) = answer(&mut state) {
                return Some(answer);
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|_| !state.closed)?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn answer(&self, path: &str) -> Option<String> {
        let mut state = self.lock();
        state.requests += 1;
        if path != HttpServer::WAIT {
            return Some(state.orders.pop_front().unwrap_or_default());
        }
        state.waiting += 1;
        drop(state);
        self.changed.notify_all();
        let order = self.wait(SILENCE_LIMIT, |state| state.orders.pop_front());
        self.lock().waiting -= 1;
        order
    }
}

impl Serve for Shared {
    fn serve(&self, _number: u64, mut stream: TcpStream, _peer: SocketAddr) {
        let _ = stream.set_read_timeout(Some(SILENCE_LIMIT));
        let _ = stream.set_write_timeout(Some(SILENCE_LIMIT));
        let Ok(reader) = stream.try_clone() else {
            return;
        };
        let mut lines = Lines::new(reader, LONGEST_LINE_BYTES);
        let mut path = None;
        while let Line::Whole(line) = lines.next(|_| ()) {
            let line = String::from_utf8_lossy(&line).into_owned();
            match (&path, line.trim_end()) {
                (None, request) => path = request.split(' ').nth(1).map(str::to_owned),
                (Some(asked), "") => {
                    let Some(order) = self.answer(asked) else {
                        break;
                    };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nServer: stage\r\nContent-Type: text/plain\r\n\
                         Content-Length: {}\r\n\r\n{order}",
                        order.len()
                    );
                    if stream.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                    path = None;
                }
                (Some(_), _) => {}
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn turn_away(&self, _number: u64, mut stream: TcpStream, _peer: SocketAddr) {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    const LIMIT: Duration = Duration::from_secs(5);

    fn ask(reader: &mut BufReader<TcpStream>, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: stage\r\n\r\n");
        reader.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn body(reader: &mut BufReader<TcpStream>) -> String {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(digits) = line.strip_prefix("Content-Length: ") {
                length = digits.trim_end().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(reader, &mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn an_answer_waits_for_its_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HttpServer::start(vec![listener]).unwrap();
        let stream = TcpStream::connect(server.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = BufReader::new(stream);
        ask(&mut client, "/now");
        assert_eq!(body(&mut client), "");
        for order in ["first", "second"] {
            ask(&mut client, HttpServer::WAIT);
            server.wait_for_poll(LIMIT).unwrap();
            server.order(order);
            assert_eq!(body(&mut client), order);
        }
        assert_eq!(server.requests(), 3);
        assert!(server.wait_for_poll(Duration::from_millis(1)).is_err());
    }

    #[test]
    fn a_held_answer_does_not_hold_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HttpServer::start(vec![listener]).unwrap();
        let mut client = BufReader::new(TcpStream::connect(server.addresses()[0]).unwrap());
        ask(&mut client, HttpServer::WAIT);
        server.wait_for_poll(LIMIT).unwrap();
        drop(server);
        let mut line = String::new();
        assert_eq!(client.read_line(&mut line).unwrap_or(0), 0, "{line}");
    }
}
