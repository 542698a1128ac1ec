//! What is known of one flow.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use protocols::{App, Classifier, Outcome, Progress, Roles, Side};

use crate::network::Address;
use crate::stream::{Piece, Stream};

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The two ends, the smaller first, so that both directions have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    low: Address,
    high: Address,
    ports: u32,
    transport: Transport,
}

impl Key {
    /// The key of a packet, and whether it goes from the higher end to the lower.
    #[inline]
    pub fn of(
        transport: Transport,
        source: (Address, u16),
        destination: (Address, u16),
    ) -> (Self, usize) {
        let turned = source > destination;
        let (low, high) = if turned {
            (destination, source)
        } else {
            (source, destination)
        };
        let key = Self {
            low: low.0,
            high: high.0,
            ports: u32::from(low.1) << 16 | u32::from(high.1),
            transport,
        };
        (key, usize::from(turned))
    }

    /// One of the ends.
    fn end(&self, index: usize) -> SocketAddr {
        let (address, port) = match index {
            0 => (self.low, (self.ports >> 16) as u16),
            _ => (self.high, self.ports as u16),
        };
        let address = IpAddr::V6(Ipv6Addr::from_bits(address)).to_canonical();
        SocketAddr::new(address, port)
    }

    pub const fn transport(&self) -> Transport {
        self.transport
    }
}

/// A flow that has ended, or that the table had no more room for.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Its transport protocol.
    pub transport: Transport,
    /// The client's side.
    pub client: SocketAddr,
    /// The server's side.
    pub server: SocketAddr,
    /// What it was found to be.
    pub outcome: Outcome,
    /// Its first packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Its last packet, nanoseconds since 1970.
    pub last_ns: u64,
    /// Payload from client to server, each byte once.
    pub bytes_up: u64,
    /// Payload from server to client, each byte once.
    pub bytes_down: u64,
    /// Packets of both directions.
    pub packets: u64,
}

/// A flow in the table.
#[derive(Debug)]
pub struct Flow {
    pub key: Key,
    pub first_ns: u64,
    pub last_ns: u64,
    pub packets: u64,
    /// Which end is taken for the client.
    client: usize,
    roles: Roles,
    pub streams: [Stream; 2],
    /// It has ended, and waits for stragglers.
    pub closed: bool,
    watch: Watch,
}

/// How far the question what it is has come.
#[derive(Debug)]
enum Watch {
    /// No payload came yet.
    Silent,
    Looking(Box<Classifier>),
    Done(Box<Outcome>),
    /// Decided, and there is nothing beside the name.
    Named(App, f32, bool),
}

impl Flow {
    pub fn new(key: Key, now_ns: u64, client: usize, roles: Roles) -> Self {
        Self {
            key,
            first_ns: now_ns,
            last_ns: now_ns,
            packets: 0,
            client,
            roles,
            streams: Default::default(),
            closed: false,
            watch: Watch::Silent,
        }
    }

    /// The beginning was seen after all: this end connected.
    pub fn set_client(&mut self, client: usize) {
        if matches!(self.watch, Watch::Silent) {
            self.client = client;
            self.roles = Roles::Known;
        }
    }

    /// Takes a segment of TCP from this end. Says by how much the bytes held have grown.
    #[inline]
    pub fn segment(
        &mut self,
        from: usize,
        sequence: u32,
        payload: &[u8],
        wire_bytes: usize,
    ) -> isize {
        if matches!(self.watch, Watch::Done(_) | Watch::Named(..)) {
            self.streams[from].count(sequence, wire_bytes);
            return 0;
        }
        let side = self.side(from);
        let before = self.held_bytes();
        let roles = self.roles;
        if matches!(self.watch, Watch::Silent) {
            self.watch = Watch::Looking(Box::new(Classifier::new(roles)));
        }
        let Watch::Looking(classifier) = &mut self.watch else {
            return 0;
        };
        let mut progress = Progress::More;
        self.streams[from].segment(sequence, payload, wire_bytes, |piece| match piece {
            Piece::Bytes(bytes) => progress = classifier.feed(side, bytes),
            Piece::Gap => classifier.gap(side),
        });
        if progress == Progress::Enough {
            self.decide();
        }
        self.held_bytes().cast_signed() - before.cast_signed()
    }

    /// Takes a datagram of UDP from this end.
    #[inline]
    pub fn datagram(&mut self, from: usize, payload: &[u8], wire_bytes: usize) {
        self.streams[from].bytes += wire_bytes as u64;
        if matches!(self.watch, Watch::Done(_) | Watch::Named(..)) || payload.is_empty() {
            return;
        }
        let side = self.side(from);
        if matches!(self.watch, Watch::Silent) {
            self.watch = Watch::Looking(Box::new(Classifier::new(self.roles)));
        }
        if let Watch::Looking(classifier) = &mut self.watch
            && classifier.datagram(side, payload) == Progress::Enough
        {
            self.decide();
        }
    }

    /// Bytes held for it beside itself.
    pub fn held_bytes(&self) -> usize {
        let streams: usize = self.streams.iter().map(Stream::held_bytes).sum();
        match &self.watch {
            Watch::Looking(classifier) => streams + classifier.held_bytes(),
            _ => streams,
        }
    }

    /// Ends the question what it is.
    pub fn decide(&mut self) {
        if let Watch::Looking(classifier) = &mut self.watch {
            for from in [0, 1] {
                let side = if from == self.client {
                    Side::Client
                } else {
                    Side::Server
                };
                self.streams[from].flush(&mut |piece| match piece {
                    Piece::Bytes(bytes) => {
                        let _ = classifier.feed(side, bytes);
                    }
                    Piece::Gap => classifier.gap(side),
                });
            }
        }
        self.watch = match std::mem::replace(&mut self.watch, Watch::Silent) {
            Watch::Looking(classifier) => named(classifier.finish()),
            other => other,
        };
    }

    /// What is told of it in the end.
    pub fn into_record(mut self) -> FlowRecord {
        self.decide();
        let outcome = match self.watch {
            Watch::Done(outcome) => *outcome,
            Watch::Named(app, confidence, swapped) => Outcome {
                app,
                confidence,
                swapped,
                ..Outcome::default()
            },
            Watch::Silent | Watch::Looking(_) => Outcome::default(),
        };
        let client = if outcome.swapped {
            1 - self.client
        } else {
            self.client
        };
        FlowRecord {
            transport: self.key.transport,
            client: self.key.end(client),
            server: self.key.end(1 - client),
            outcome,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            bytes_up: self.streams[client].bytes,
            bytes_down: self.streams[1 - client].bytes,
            packets: self.packets,
        }
    }

    const fn side(&self, from: usize) -> Side {
        if from == self.client {
            Side::Client
        } else {
            Side::Server
        }
    }
}

/// Without facts there is no need to keep a whole outcome.
fn named(outcome: Outcome) -> Watch {
    if outcome.through.is_none() && outcome.facts == protocols::Facts::None {
        Watch::Named(outcome.app, outcome.confidence, outcome.swapped)
    } else {
        Watch::Done(Box::new(outcome))
    }
}
