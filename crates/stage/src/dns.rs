//! A small name server (a subset of RFC 1035, over UDP) that knows a mail server for every
//! domain and an address for every host, and remembers who asked for what.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Error, sys};

/// The record types that it knows.
pub const A: u16 = 1;
/// Mail exchanger.
pub const MX: u16 = 15;

/// Questions that are remembered.
const MOST_QUESTIONS: usize = 10_000;
/// RFC 1035 limits a message over UDP to this.
const LONGEST_MESSAGE_BYTES: usize = 512;
/// How often the thread looks whether it is to end.
const PULSE: Duration = Duration::from_millis(50);
/// The header before the questions.
const HEADER_BYTES: usize = 12;

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    questions: Arc<Mutex<Vec<(String, u16)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Serves on a socket that is bound already, which may belong to another network
    /// namespace (see [`crate::Sandbox::run_inside`]). Every host has the address `host`.
    ///
    /// # Errors
    /// When the socket cannot be prepared.
    pub fn start(socket: UdpSocket, host: Ipv4Addr) -> Result<Self, Error> {
        let failed = |e| Error::system("prepare a name server's socket", e);
        socket.set_read_timeout(Some(PULSE)).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let questions = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (questions, stop) = (Arc::clone(&questions), Arc::clone(&stop));
            move || {
                sys::name_thread(c"stage-names");
                serve(&socket, host, &questions, &stop);
            }
        });
        Ok(Self {
            address,
            questions,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names and record types that were asked for, the first 10,000 at most.
    pub fn questions(&self) -> Vec<(String, u16)> {
        lock(&self.questions).clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(questions: &Mutex<Vec<(String, u16)>>) -> MutexGuard<'_, Vec<(String, u16)>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    socket: &UdpSocket,
    host: Ipv4Addr,
    questions: &Mutex<Vec<(String, u16)>>,
    stop: &AtomicBool,
) {
    let mut message = [0; LONGEST_MESSAGE_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, peer)) = socket.recv_from(&mut message) else {
            continue;
        };
        let Some((name, kind, end)) = question(&message[..length]) else {
            continue;
        };
        let answer = answer(&message[..end], &name, kind, host);
        let mut questions = lock(questions);
        if questions.len() < MOST_QUESTIONS {
            questions.push((name, kind));
        }
        drop(questions);
        let _ = socket.send_to(&answer, peer);
    }
}

/// A query for one name.
pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question, nothing else.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    write_name(&mut message, name);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn write_name(message: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // Longest label of RFC 1035.
        let label = &label.as_bytes()[..label.len().min(63)];
        message.push(label.len() as u8);
        message.extend(label);
    }
    message.push(0);
}

/// The name and type of the first question, and where it ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = HEADER_BYTES;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label));
        at += length;
    }
    let kind = message.get(at..at + 2)?;
    Some((name, u16::from_be_bytes([kind[0], kind[1]]), at + 4))
        .filter(|(.., end)| *end <= message.len())
}

/// The query again, as an answer with one record, or with none for other types.
fn answer(query: &[u8], name: &str, kind: u16, host: Ipv4Addr) -> Vec<u8> {
    let mut data = Vec::new();
    match kind {
        A => data.extend(host.octets()),
        MX => {
            data.extend(10u16.to_be_bytes());
            write_name(&mut data, &format!("mx1.{name}"));
        }
        _ => {}
    }
    let mut message = query.to_vec();
    // An answer, recursion desired and available, no error.
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    // One question, one answer or none, nothing else.
    message[4..HEADER_BYTES].copy_from_slice(&[0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
    if !data.is_empty() {
        // The name is that of the question, behind the header.
        message.extend([0xc0, HEADER_BYTES as u8]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_remembers() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = DnsServer::start(socket, Ipv4Addr::new(192, 0, 2, 1)).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let ask = |name: &str, kind: u16| {
            client
                .send_to(&query(7, name, kind), server.address())
                .unwrap();
            let mut message = [0; 512];
            let length = client.recv(&mut message).unwrap();
            message[..length].to_vec()
        };
        let address = ask("mx1.example.test", A);
        assert_eq!(address[..4], [0, 7, 0x81, 0x80]);
        assert!(address.ends_with(&[192, 0, 2, 1]));
        let exchanger = ask("example.test", MX);
        assert!(
            exchanger
                .windows(4)
                .any(|bytes| bytes == [3, b'm', b'x', b'1'])
        );
        assert_eq!(ask("example.test", 16)[6..8], [0, 0]);
        assert_eq!(
            server.questions(),
            [
                ("mx1.example.test".to_owned(), A),
                ("example.test".to_owned(), MX),
                ("example.test".to_owned(), 16)
            ]
        );
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let whole = query(1, "example.test", MX);
        for length in 0..whole.len() {
            assert_eq!(question(&whole[..length]), None, "{length}");
        }
        assert!(question(&whole).is_some());
    }
}
