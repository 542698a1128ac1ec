//! When each host did what: kept for all hosts while a capture is read, because which of them
//! are suspicious is known only at its end.
//!
//! Bounded: a track that has too many marks makes its bins twice as wide, and when all hosts
//! together take too much, the ones that were idle the longest leave, and are counted. Sums
//! stay true whatever is merged.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use engine::MAIL_PORTS;
use protocols::{App, Facts};

use crate::flow::{FlowRecord, Transport};

/// Most marks of one track of one host: what a picture can show, and not more.
pub const MARKS_MAX: usize = 128;
/// Longest description of a flow that is kept, in bytes.
pub const WORDS_MAX_BYTES: usize = 160;
/// Most bytes that all hosts together take.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bins begin a millisecond wide, in powers of two of a nanosecond.
const FINEST: u32 = 20;
/// What a host takes beside what its tracks hold: itself and its places in the maps.
const HOST_BYTES: usize = size_of::<Activity>() + 160;

/// What is told apart in the life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    /// IRC connections.
    Irc,
    /// Names looked up, mail exchangers left out.
    Names,
    /// Mail exchangers (MX) looked up.
    Exchangers,
    /// Connections to mail servers that came about.
    Mail,
    /// Connections to mail ports without any payload.
    MailTried,
    /// Other TCP connections without any payload, as a scan makes them.
    Tried,
}

impl Track {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Irc,
        Self::Names,
        Self::Exchangers,
        Self::Mail,
        Self::MailTried,
        Self::Tried,
    ];

    /// Where a flow belongs; none for those that no track shows. A connection to a mail port
    /// that came to nothing belongs to the mail that was tried, not to a scan.
    pub fn of(flow: &FlowRecord, mail_ports: &[u16]) -> Option<Self> {
        let silent = flow.transport == Transport::Tcp && flow.bytes_up == 0 && flow.bytes_down == 0;
        let mail_port =
            flow.transport == Transport::Tcp && mail_ports.contains(&flow.server.port());
        match (flow.outcome.app, &flow.outcome.facts) {
            (App::Irc, _) => Some(Self::Irc),
            (App::Smtp, _) => Some(Self::Mail),
            // To everybody on the link: no server is asked.
            (App::Dns, _) if flow.server.ip().is_multicast() => None,
            (App::Dns, Facts::Dns(message))
                if message.questions.iter().any(|question| question.is_mx()) =>
            {
                Some(Self::Exchangers)
            }
            (App::Dns, _) => Some(Self::Names),
            _ if silent && mail_port => Some(Self::MailTried),
            _ if silent => Some(Self::Tried),
            (App::Tls | App::Unknown, _) if mail_port => Some(Self::Mail),
            _ => None,
        }
    }

    /// How many of its flows are kept one by one for each host.
    const fn kept_max(self) -> usize {
        match self {
            Self::Irc | Self::Mail => 24,
            Self::MailTried => 8,
            Self::Names | Self::Exchangers | Self::Tried => 0,
        }
    }

    /// Whether a host that has it stays longer than others. Anybody looks up names, and a
    /// flood with forged senders makes hosts that tried a connection and did nothing else.
    const fn telling(self) -> bool {
        !matches!(self, Self::Names | Self::Tried)
    }
}

/// Some flows that began near to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the first of them began, nanoseconds since 1970.
    pub first_ns: u64,
    /// When the last of them ended.
    pub last_ns: u64,
    /// How many there were.
    pub flows: u64,
}

/// A flow that is kept by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it was found to be.
    pub app: App,
    /// The host's end.
    pub client: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    /// Its first packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Its last packet.
    pub last_ns: u64,
    /// Payload from client to server.
    pub bytes_up: u64,
    /// Payload from server to client.
    pub bytes_down: u64,
    /// What was learned of it, at most [`WORDS_MAX_BYTES`]; as hostile as the capture.
    pub words: Box<str>,
}

/// One track of one host.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// In order, one for each bin that has any.
    marks: Vec<Mark>,
    /// How wide a bin is, in powers of two of a nanosecond beyond the finest.
    coarser: u32,
    flows: u64,
    kept: Vec<Kept>,
}

impl Line {
    /// In order of time; they lie in different bins.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The bin in which this moment lies: its beginning, and the beginning of the next.
    pub fn bin(&self, time_ns: u64) -> (u64, u64) {
        let width = self.width();
        let begin = time_ns >> width << width;
        (begin, begin.saturating_add(1 << width))
    }

    /// Flows in all.
    pub const fn flows(&self) -> u64 {
        self.flows
    }

    /// The first few of them that ended; none for tracks of small flows.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    const fn width(&self) -> u32 {
        FINEST + self.coarser
    }

    fn add(&mut self, mark: Mark) {
        self.flows += mark.flows;
        let width = self.width();
        let bin = mark.first_ns >> width;
        match self
            .marks
            .binary_search_by_key(&bin, |mark| mark.first_ns >> width)
        {
            Ok(at) => self.marks[at].join(mark),
            Err(at) => {
                if self.marks.len() == MARKS_MAX {
                    self.coarsen();
                    self.flows -= mark.flows;
                    return self.add(mark);
                }
                self.marks.insert(at, mark);
            }
        }
    }

    /// Bins twice as wide until half of the marks are left.
    fn coarsen(&mut self) {
        while self.marks.len() > MARKS_MAX / 2 {
            self.coarser += 1;
            let width = self.width();
            self.marks.dedup_by(|next, mark| {
                let same = next.first_ns >> width == mark.first_ns >> width;
                if same {
                    mark.join(*next);
                }
                same
            });
        }
    }

    fn held_bytes(&self) -> usize {
        let words: usize = self.kept.iter().map(|kept| kept.words.len()).sum();
        self.marks.capacity() * size_of::<Mark>() + self.kept.capacity() * size_of::<Kept>() + words
    }
}

impl Mark {
    fn join(&mut self, other: Self) {
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.flows += other.flows;
    }
}

/// What one host did.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    lines: [Line; Track::ALL.len()],
    /// Its place in the order of those that may leave.
    rank: Rank,
    held_bytes: usize,
}

/// Those with the smallest leave first: whether it did anything telling, then when it was
/// last heard of.
type Rank = (bool, u64);

impl Activity {
    /// One of its tracks.
    pub fn line(&self, track: Track) -> &Line {
        &self.lines[track as usize]
    }

    /// From its first mark to its last; none when it has no mark.
    pub fn span_ns(&self) -> Option<(u64, u64)> {
        let marks = || self.lines.iter().flat_map(Line::marks);
        Some((
            marks().map(|mark| mark.first_ns).min()?,
            marks().map(|mark| mark.last_ns).max()?,
        ))
    }

    /// Takes a flow in; `words` describes it.
    fn add(&mut self, track: Track, flow: &FlowRecord, words: impl FnOnce() -> String) {
        let line = &mut self.lines[track as usize];
        let before = line.held_bytes();
        line.add(Mark {
            first_ns: flow.first_ns,
            last_ns: flow.last_ns.max(flow.first_ns),
            flows: 1,
        });
        if line.kept.len() < track.kept_max() {
            line.kept.push(Kept {
                app: flow.outcome.app,
                client: flow.client,
                server: flow.server,
                first_ns: flow.first_ns,
                last_ns: flow.last_ns.max(flow.first_ns),
                bytes_up: flow.bytes_up,
                bytes_down: flow.bytes_down,
                words: cut(words()).into(),
            });
        }
        self.held_bytes = self.held_bytes - before + line.held_bytes();
    }
}

fn cut(mut words: String) -> String {
    let mut end = words.len().min(WORDS_MAX_BYTES);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words.truncate(end);
    words
}

/// The hosts of a capture.
#[derive(Debug)]
pub struct Timeline {
    hosts: HashMap<IpAddr, Box<Activity>>,
    order: BTreeSet<(Rank, IpAddr)>,
    told: u64,
    held_bytes: usize,
    bytes_max: usize,
    mail_ports: Vec<u16>,
    left: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new(BYTES_MAX, MAIL_PORTS.to_vec())
    }
}

impl Timeline {
    /// One that takes at most about so many bytes, where mail goes to these ports.
    pub fn new(bytes_max: usize, mail_ports: Vec<u16>) -> Self {
        Self {
            hosts: HashMap::new(),
            order: BTreeSet::new(),
            told: 0,
            held_bytes: 0,
            bytes_max,
            mail_ports,
            left: 0,
        }
    }

    /// Takes a flow that ended; `words` is asked for its description when it is kept.
    pub fn add(&mut self, flow: &FlowRecord, words: impl FnOnce() -> String) {
        let Some(track) = Track::of(flow, &self.mail_ports) else {
            return;
        };
        let address = flow.client.ip();
        self.told += 1;
        let host = self.hosts.entry(address).or_insert_with(|| {
            self.held_bytes += HOST_BYTES;
            Box::default()
        });
        self.order.remove(&(host.rank, address));
        host.rank = (host.rank.0 || track.telling(), self.told);
        self.order.insert((host.rank, address));
        let before = host.held_bytes;
        host.add(track, flow, words);
        self.held_bytes = self.held_bytes - before + host.held_bytes;
        while self.held_bytes > self.bytes_max {
            let Some((_, address)) = self.order.pop_first() else {
                break;
            };
            if let Some(host) = self.hosts.remove(&address) {
                self.held_bytes -= host.held_bytes + HOST_BYTES;
                self.left += 1;
            }
        }
    }

    /// What a host did; none when it did nothing that a track shows, or had to leave.
    pub fn take(&mut self, host: IpAddr) -> Option<Box<Activity>> {
        let activity = self.hosts.remove(&host)?;
        self.order.remove(&(activity.rank, host));
        self.held_bytes -= activity.held_bytes + HOST_BYTES;
        Some(activity)
    }

    /// How often a host had to leave because all together took too much.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that the hosts take, as far as they are counted.
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}
