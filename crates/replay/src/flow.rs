//! What is known of one flow.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use protocols::irc::{self, Heard};
use protocols::{App, Classifier, Facts, Outcome, Progress, Roles, Side};

use crate::network::Address;
use crate::observe::{News, questions};
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
    /// The same ends in another network: tunnels can carry several with the same addresses.
    variant: u8,
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
            variant: 0,
        };
        (key, usize::from(turned))
    }

    /// The same ends in another network.
    pub const fn variant(self, variant: u8) -> Self {
        Self { variant, ..self }
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

/// The network of an end that has not sent anything yet.
pub const UNSEEN: u32 = u32::MAX;

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
    /// A number that no other flow has.
    pub id: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub packets: u64,
    /// Which end is taken for the client.
    client: usize,
    roles: Roles,
    pub streams: [Stream; 2],
    /// The network in which each end's packets came: 0 outside of tunnels.
    pub networks: [u32; 2],
    /// It has ended, and waits for stragglers.
    pub closed: bool,
    /// The first packet of the connection was seen.
    pub opened: bool,
    /// More than attempts to connect was seen.
    pub established: bool,
    /// It was told that it came to nothing.
    pub failed: bool,
    /// When payload last came from the server.
    last_inbound_ns: u64,
    /// What it was told to be.
    told: App,
    watch: Watch,
}

/// How far the question what it is has come.
#[derive(Debug)]
enum Watch {
    /// No payload came yet.
    Silent,
    Looking(Box<Classifier>),
    /// It is IRC, and what is said in it is listened to.
    Listening(Box<(Outcome, irc::Watch)>),
    /// It was found to be something else, and then a client of IRC or mail seemed to begin.
    Again(Box<(Outcome, Classifier)>),
    Done(Box<Outcome>),
    /// Decided, and there is nothing beside the name.
    Named(App, f32, bool),
}

impl Flow {
    pub fn new(key: Key, id: u64, now_ns: u64, client: usize, roles: Roles) -> Self {
        Self {
            key,
            first_ns: now_ns,
            last_ns: now_ns,
            packets: 0,
            id,
            client,
            roles,
            streams: Default::default(),
            networks: [UNSEEN; 2],
            closed: false,
            opened: false,
            established: false,
            failed: false,
            last_inbound_ns: 0,
            told: App::Unknown,
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

    /// Takes a segment of TCP from this end, and tells what is new. Says by how much the bytes
    /// held have grown.
    #[inline]
    pub fn segment(
        &mut self,
        from: usize,
        sequence: u32,
        payload: &[u8],
        wire_bytes: usize,
        tell: &mut impl FnMut(News<'_>),
    ) -> isize {
        if self.is_done() {
            // All that a decided flow costs: a look at four bytes.
            if !protocols::begins_anew(payload) {
                self.streams[from].count(sequence, wire_bytes);
                return 0;
            }
            self.look_again();
        }
        let before = self.held_bytes();
        if matches!(self.watch, Watch::Silent) {
            self.watch = Watch::Looking(Box::new(Classifier::new(self.roles)));
        }
        let side = self.side(from);
        match &mut self.watch {
            Watch::Looking(classifier) => {
                let mut progress = Progress::More;
                self.streams[from].segment(sequence, payload, wire_bytes, |piece| match piece {
                    Piece::Bytes(bytes) => progress = classifier.feed(side, bytes),
                    Piece::Gap => classifier.gap(side),
                });
                if progress == Progress::Enough || classifier.is_surely_irc() {
                    self.conclude(false, tell);
                } else if self.told == App::Unknown
                    && let Some(named) = classifier.named()
                {
                    self.told = named.app;
                    tell(News::Recognised);
                }
            }
            Watch::Again(again) => {
                let classifier = &mut again.1;
                let mut progress = Progress::More;
                self.streams[from].segment(sequence, payload, wire_bytes, |piece| match piece {
                    Piece::Bytes(bytes) => progress = classifier.feed(side, bytes),
                    Piece::Gap => classifier.gap(side),
                });
                if progress == Progress::Enough || classifier.is_surely_irc() {
                    self.conclude(false, tell);
                }
            }
            Watch::Listening(listening) => {
                let watch = &mut listening.1;
                self.streams[from].segment(sequence, payload, wire_bytes, |piece| match piece {
                    Piece::Bytes(bytes) => hear(watch, side, bytes, tell),
                    Piece::Gap => watch.gap(side),
                });
            }
            _ => {}
        }
        self.held_bytes().cast_signed() - before.cast_signed()
    }

    /// Takes a datagram of UDP from this end, and tells what is new.
    #[inline]
    pub fn datagram(
        &mut self,
        from: usize,
        payload: &[u8],
        wire_bytes: usize,
        asks: bool,
        tell: &mut impl FnMut(News<'_>),
    ) {
        self.streams[from].bytes += wire_bytes as u64;
        if payload.is_empty() {
            return;
        }
        match &mut self.watch {
            Watch::Named(..) => {}
            Watch::Done(outcome) => {
                if asks && outcome.app == App::Dns {
                    for question in questions(payload) {
                        tell(News::Asked(&question));
                    }
                }
            }
            _ => {
                let side = self.side(from);
                if matches!(self.watch, Watch::Silent) {
                    self.watch = Watch::Looking(Box::new(Classifier::new(self.roles)));
                }
                if let Watch::Looking(classifier) = &mut self.watch
                    && classifier.datagram(side, payload) == Progress::Enough
                {
                    self.decide(tell);
                }
            }
        }
    }

    /// Payload came from the server: for how long there was none, when there was some before.
    #[inline]
    pub fn inbound(&mut self, now_ns: u64) -> Option<u64> {
        let before = std::mem::replace(&mut self.last_inbound_ns, now_ns);
        (before != 0).then(|| now_ns.saturating_sub(before))
    }

    /// A connection was asked for, nothing came of it, and that was not told yet.
    pub const fn is_unanswered(&self) -> bool {
        self.opened && !self.established && !self.failed
    }

    /// The client's and the server's side, as far as is known.
    pub fn sides(&self) -> (SocketAddr, SocketAddr) {
        let client = self.client_end();
        (self.key.end(client), self.key.end(1 - client))
    }

    /// Payload that the client and the server sent.
    pub fn bytes(&self) -> (u64, u64) {
        let client = self.client_end();
        (self.streams[client].bytes, self.streams[1 - client].bytes)
    }

    /// Is this end the client, as far as is known?
    #[inline]
    pub fn is_client(&self, from: usize) -> bool {
        from == self.client_end()
    }

    /// Is it decided, with nothing more to listen to?
    #[inline]
    pub const fn is_done(&self) -> bool {
        matches!(self.watch, Watch::Done(_) | Watch::Named(..))
    }

    /// Do its datagrams ask for names?
    #[inline]
    pub fn is_dns(&self) -> bool {
        matches!(&self.watch, Watch::Done(outcome) if outcome.app == App::Dns)
    }

    /// Bytes held for it beside itself.
    pub fn held_bytes(&self) -> usize {
        let streams: usize = self.streams.iter().map(Stream::held_bytes).sum();
        match &self.watch {
            Watch::Looking(classifier) => streams + classifier.held_bytes(),
            Watch::Again(again) => {
                streams + size_of::<(Outcome, Classifier)>() + again.1.held_bytes()
            }
            Watch::Listening(listening) => streams + listening.1.held_bytes(),
            _ => streams,
        }
    }

    /// Ends the question what it is, and tells the answer when it is new. Nothing more comes.
    pub fn decide(&mut self, tell: &mut impl FnMut(News<'_>)) {
        if matches!(self.watch, Watch::Looking(_) | Watch::Again(_)) {
            self.flush(tell);
            self.conclude(true, tell);
        }
    }

    /// Ends the question what it is. Where more can come, lines that have begun are kept.
    fn conclude(&mut self, ended: bool, tell: &mut impl FnMut(News<'_>)) {
        let (before, classifier) = match std::mem::replace(&mut self.watch, Watch::Silent) {
            Watch::Looking(classifier) => (None, *classifier),
            Watch::Again(again) => (Some(again.0), again.1),
            other => {
                self.watch = other;
                return;
            }
        };
        let (mut outcome, watch) = if ended {
            let outcome = classifier.finish();
            match outcome.facts {
                Facts::Irc(facts) => {
                    let outcome = Outcome {
                        facts: Facts::None,
                        ..outcome
                    };
                    (outcome, Some(irc::Watch::new(*facts)))
                }
                _ => (outcome, None),
            }
        } else {
            classifier.finish_watching()
        };
        if let Some(before) = before {
            outcome = match outcome.app {
                App::Unknown => before,
                _ => Outcome {
                    through: outcome.through.or(before.through),
                    ..outcome
                },
            };
        }
        let app = outcome.app;
        self.watch = match watch {
            Some(watch) => Watch::Listening(Box::new((outcome, watch))),
            None => named(outcome),
        };
        if app != self.told {
            self.told = app;
            tell(News::Recognised);
        }
    }

    /// A flow that was decided is looked at again.
    #[cold]
    fn look_again(&mut self) {
        let outcome = match std::mem::replace(&mut self.watch, Watch::Silent) {
            Watch::Done(outcome) => *outcome,
            Watch::Named(app, confidence, swapped) => Outcome {
                app,
                confidence,
                swapped,
                ..Outcome::default()
            },
            other => {
                self.watch = other;
                return;
            }
        };
        let classifier = Classifier::again(self.roles, outcome.app);
        self.watch = Watch::Again(Box::new((outcome, classifier)));
    }

    /// What it was found to be, as far as it was.
    pub fn outcome(&self) -> Cow<'_, Outcome> {
        match &self.watch {
            Watch::Done(outcome) => Cow::Borrowed(outcome),
            Watch::Named(app, confidence, swapped) => Cow::Owned(Outcome {
                app: *app,
                confidence: *confidence,
                swapped: *swapped,
                ..Outcome::default()
            }),
            Watch::Listening(listening) => {
                let mut outcome = listening.0.clone();
                outcome.facts = Facts::Irc(Box::new(listening.1.facts().clone()));
                Cow::Owned(outcome)
            }
            Watch::Again(again) => Cow::Borrowed(&again.0),
            Watch::Looking(classifier) => match classifier.named() {
                Some(named) => Cow::Borrowed(named),
                None => Cow::Owned(Outcome::default()),
            },
            Watch::Silent => Cow::Owned(Outcome::default()),
        }
    }

    /// What is told of it in the end.
    pub fn into_record(mut self) -> FlowRecord {
        self.decide(&mut |_| {});
        self.flush(&mut |_| {});
        let client = self.client_end();
        let outcome = match self.watch {
            Watch::Done(outcome) => *outcome,
            _ => self.outcome().into_owned(),
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

    /// Takes what waits for bytes that never came.
    pub fn flush(&mut self, tell: &mut impl FnMut(News<'_>)) {
        for from in [0, 1] {
            let side = self.side(from);
            let watch = &mut self.watch;
            self.streams[from].flush(&mut |piece| match (&mut *watch, piece) {
                (Watch::Looking(classifier), Piece::Bytes(bytes)) => {
                    let _ = classifier.feed(side, bytes);
                }
                (Watch::Looking(classifier), Piece::Gap) => classifier.gap(side),
                (Watch::Again(again), Piece::Bytes(bytes)) => {
                    let _ = again.1.feed(side, bytes);
                }
                (Watch::Again(again), Piece::Gap) => again.1.gap(side),
                (Watch::Listening(listening), Piece::Bytes(bytes)) => {
                    hear(&mut listening.1, side, bytes, tell);
                }
                (Watch::Listening(listening), Piece::Gap) => listening.1.gap(side),
                _ => {}
            });
        }
    }

    /// The end that is the client: turned around when what was said shows that it was guessed
    /// wrong.
    fn client_end(&self) -> usize {
        let swapped = match &self.watch {
            Watch::Done(outcome) => outcome.swapped,
            Watch::Listening(listening) => listening.0.swapped,
            Watch::Named(_, _, swapped) => *swapped,
            Watch::Again(again) => again.0.swapped,
            Watch::Looking(classifier) => classifier.named().is_some_and(|named| named.swapped),
            Watch::Silent => false,
        };
        if swapped {
            1 - self.client
        } else {
            self.client
        }
    }

    /// The side as the classifier knows it: it was told which end was guessed, and turns the
    /// sides itself.
    fn side(&self, from: usize) -> Side {
        let client = match &self.watch {
            Watch::Looking(_) | Watch::Again(_) | Watch::Silent => self.client,
            _ => self.client_end(),
        };
        if from == client {
            Side::Client
        } else {
            Side::Server
        }
    }
}

/// Listens, and tells what is new.
fn hear(watch: &mut irc::Watch, side: Side, bytes: &[u8], tell: &mut impl FnMut(News<'_>)) {
    let mut renewed = false;
    watch.feed(side, bytes, |heard| match heard {
        Heard::Text(text) => tell(News::Said(text)),
        Heard::Joined(_) | Heard::Nick(_) => renewed = true,
    });
    if renewed {
        tell(News::Renewed(watch.facts()));
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
