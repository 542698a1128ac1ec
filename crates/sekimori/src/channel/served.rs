//! The keeper's end. It never waits: what the watcher does not take yet is held back, and as
//! long as anything is, nothing more is read from it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, send, sendmsg, socketpair,
};

use super::news::{DESCRIPTORS, Hello, News, Packet};
use super::request::{REQUEST_BYTES_MAX, Request};

/// News that wait for a watcher; later ones are dropped and counted.
const NEWS_MAX: usize = 256;

/// Why there is nothing more to expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other end was closed.
    Ended,
    /// The watcher sent what is no request.
    Garbage(&'static str),
    /// The system said so.
    System(Errno),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("it closed its end"),
            Self::Garbage(what) => write!(f, "it sent what is no request: {what}"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

/// News that were not sent yet. They outlive a watcher.
#[derive(Debug, Default)]
pub struct Waiting {
    news: VecDeque<News>,
    dropped: u64,
}

impl Waiting {
    /// Adds one.
    pub fn push(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds what came meanwhile.
    pub fn append(&mut self, later: Self) {
        later.news.into_iter().for_each(|news| self.push(news));
        self.dropped += later.dropped;
    }

    fn next(&mut self) -> Option<News> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| News::Notice(format!("{dropped} notices were not kept")))
    }

    fn is_empty(&self) -> bool {
        self.news.is_empty() && self.dropped == 0
    }
}

/// The keeper's end of the channel to one watcher.
#[derive(Debug)]
pub struct Served {
    socket: OwnedFd,
    held_back: Option<Vec<u8>>,
}

impl Served {
    /// A channel: this end, and the watcher's.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors left.
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let held_back = None;
        Ok((Self { socket, held_back }, theirs))
    }

    /// Sends the first packet.
    ///
    /// # Errors
    ///
    /// When nobody takes it.
    pub fn greet(
        &self,
        hello: &Hello,
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
    ) -> Result<(), Errno> {
        let text = serde_json::to_vec(hello).unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(
            &self.socket,
            &[IoSlice::new(&text)],
            &mut control,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )
        .map(drop)
    }

    /// What to wait for: to be asked, or to get rid of what is held back.
    pub fn poll(&self, waiting: &Waiting) -> PollFd<'_> {
        let flags = if self.held_back.is_some() || !waiting.is_empty() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        PollFd::from_borrowed_fd(self.socket.as_fd(), flags)
    }

    /// Answers one request if there is one, and sends the news. Call it when [`Served::poll`]
    /// says so.
    ///
    /// # Errors
    ///
    /// When the watcher is gone or sends garbage.
    pub fn turn(
        &mut self,
        waiting: &mut Waiting,
        answer: impl FnOnce(Request) -> Packet,
    ) -> Result<(), Broken> {
        if !self.send_waiting(waiting)? {
            return Ok(());
        }
        let mut packet = [0; REQUEST_BYTES_MAX];
        let length = match recv(
            &self.socket,
            &mut packet[..],
            RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        ) {
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // It went without taking everything.
            Err(Errno::CONNRESET) => return Err(Broken::Ended),
            Err(error) => return Err(Broken::System(error)),
        };
        if length == 0 {
            return Err(Broken::Ended);
        }
        let packet = packet
            .get(..length)
            .ok_or(Broken::Garbage("it is too long"))?;
        let request = Request::decode(packet).map_err(|error| Broken::Garbage(error.0))?;
        self.held_back = Some(answer(request).encode());
        self.send_waiting(waiting).map(drop)
    }

    /// Sends what is held back, then the news. Whether all of it is gone.
    fn send_waiting(&mut self, waiting: &mut Waiting) -> Result<bool, Broken> {
        loop {
            let packet = match self.held_back.take() {
                Some(packet) => packet,
                None => match waiting.next() {
                    Some(news) => Packet::News(news).encode(),
                    None => return Ok(true),
                },
            };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, &packet, flags) {
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.held_back = Some(packet);
                    return Ok(false);
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Broken::Ended),
                Err(error) => return Err(Broken::System(error)),
            }
        }
    }
}
