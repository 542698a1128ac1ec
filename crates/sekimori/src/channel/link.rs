//! The watcher's end: it asks and waits for the answer. News that come meanwhile are kept.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recv, recvmsg, send,
};

use super::news::{DESCRIPTORS, Hello, News, PACKET_BYTES_MAX, Packet};
use super::request::Request;

/// The keeper is gone, or speaks another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The watcher's end of the channel.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    packet: Vec<u8>,
    news: VecDeque<News>,
    gone: bool,
}

impl Link {
    /// Takes the first packet, with its descriptors.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with it.
    pub fn open(socket: OwnedFd) -> Result<(Self, Hello, [OwnedFd; DESCRIPTORS]), String> {
        let mut text = vec![0; PACKET_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|error| format!("the keeper's first words: {error}"))?;
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let hello = serde_json::from_slice(&text[..got.bytes])
            .map_err(|error| format!("the keeper's first words: {error}"))?;
        let descriptors = descriptors
            .try_into()
            .map_err(|_| "the keeper sent too few descriptors".to_owned())?;
        let link = Self {
            socket,
            packet: text,
            news: VecDeque::new(),
            gone: false,
        };
        Ok((link, hello, descriptors))
    }

    /// Asks. `Ok(None)`: there is none of it.
    ///
    /// # Errors
    ///
    /// When the keeper says why not, or is gone.
    pub fn ask(&mut self, request: &Request) -> Result<Option<Vec<u8>>, String> {
        let gone = |_| "the keeper is gone".to_owned();
        self.send(&request.encode()).map_err(gone)?;
        loop {
            match self.receive(RecvFlags::empty()).map_err(gone)? {
                Some(Packet::None) => return Ok(None),
                Some(Packet::Answer(bytes)) => return Ok(Some(bytes)),
                Some(Packet::Failed(text)) => return Err(text),
                Some(Packet::News(news)) => self.news.push_back(news),
                None => {}
            }
        }
    }

    /// The next piece of news, if there is one. Does not wait.
    ///
    /// # Errors
    ///
    /// When the keeper is gone.
    pub fn news(&mut self) -> Result<Option<News>, Gone> {
        if let Some(news) = self.news.pop_front() {
            return Ok(Some(news));
        }
        match self.receive(RecvFlags::DONTWAIT)? {
            Some(Packet::News(news)) => Ok(Some(news)),
            Some(_) => Err(self.lost()),
            None => Ok(None),
        }
    }

    /// Whether the keeper is gone.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Becomes readable when there is news.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends bytes as they are: for tests that play somebody who has taken the watcher over.
    #[cfg(debug_assertions)]
    pub(crate) fn send_raw(&mut self, packet: &[u8]) -> Result<(), Gone> {
        self.send(packet)
    }

    fn lost(&mut self) -> Gone {
        self.gone = true;
        Gone
    }

    fn send(&mut self, packet: &[u8]) -> Result<(), Gone> {
        loop {
            match send(&self.socket, packet, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(self.lost()),
            }
        }
    }

    /// A packet; none when none is there, or a signal came.
    fn receive(&mut self, flags: RecvFlags) -> Result<Option<Packet>, Gone> {
        match recv(&self.socket, &mut self.packet[..], flags) {
            Ok((_, 0)) => Err(self.lost()),
            Ok((_, length)) => match Packet::decode(&self.packet[..length]) {
                Some(packet) => Ok(Some(packet)),
                None => Err(self.lost()),
            },
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(_) => Err(self.lost()),
        }
    }
}
