//! The whole way: capture, packets, flows.

use std::collections::VecDeque;

use protocols::Roles;

use crate::capture::{Capture, Packet};
use crate::error::{Damage, Error};
use crate::flow::{Flow, FlowRecord, Key, Transport, UNSEEN};
use crate::follow::Way;
use crate::fragments::Fragments;
use crate::layers::Layer;
use crate::network::{self, Datagram};
use crate::observe::{FlowsOnly, News, Out, Sink, ends};
use crate::port;
use crate::source::Input;
use crate::table::Table;
use crate::transport::{Tcp, Udp};
use crate::unread::NotRead;

/// How many packets pass before flows that ended are looked for.
const EXPIRE_EVERY: u64 = 64;
/// How long a connection may be unanswered: clients ask again after 1 s and 3 s (RFC 6298).
const UNANSWERED_NS: u64 = 4_000_000_000;
/// Most connections that are looked after for that long.
const ASKED_MAX: usize = 32_768;
/// How long nothing may come from a server before it counts as quiet.
const QUIET_NS: u64 = 5_000_000_000;

/// Bounds. The defaults hold replay below 64 MiB.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most flows at the same time.
    pub flows_max: usize,
    /// Most bytes that are held back for flows which are not yet decided.
    pub held_max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flows_max: 49_152,
            held_max_bytes: 8 * 1024 * 1024,
        }
    }
}

/// What a capture came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Packets read.
    pub packets: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Flows told.
    pub flows: u64,
    /// Flows that left the table early because there were too many at the same time.
    pub evicted: u64,
    /// What of the packets was not read.
    pub not_read: NotRead,
    /// Where reading ended before the end.
    pub damage: Option<Damage>,
}

impl Summary {
    /// Was all that can hold a conversation of hosts read, to the end of the capture?
    pub fn is_complete(&self) -> bool {
        self.damage.is_none() && self.not_read.telling().is_empty()
    }
}

/// Reads a capture and hands each flow to `each` as it ends.
///
/// # Errors
///
/// When it cannot be read at all. A damaged capture is read up to the damage, which is
/// [`Summary::damage`].
pub fn replay(
    input: Input,
    settings: &Settings,
    each: impl FnMut(FlowRecord),
) -> Result<Summary, Error> {
    replay_into(input, settings, &mut FlowsOnly(each))
}

/// Reads a capture, and tells the sink flows as they end and what the hosts did.
///
/// # Errors
///
/// As [`replay`].
pub fn replay_into<S: Sink>(
    input: Input,
    settings: &Settings,
    sink: &mut S,
) -> Result<Summary, Error> {
    let mut window = input.start()?;
    let mut capture = Capture::open(&mut window)?;
    let mut follower = Follower::new(settings);
    let mut out = Out { sink, told: 0 };
    let damage = loop {
        match capture.next(&mut window) {
            Ok(Some(packet)) => {
                follower.packet(&packet, &mut out);
            }
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
    };
    follower.unanswered(&mut out);
    follower.table.drain(&mut |flow| out.leave(flow));
    follower.not_put_together();
    Ok(Summary {
        flows: out.told,
        evicted: follower.table.evicted(),
        damage,
        ..follower.summary
    })
}

pub struct Follower {
    pub table: Table,
    pub fragments: Fragments,
    pub summary: Summary,
    /// The latest time of a packet: captures of several interfaces are not quite in order.
    pub now_ns: u64,
    /// Some ends are in use in several networks.
    pub several: bool,
    /// Flows so far.
    count: u64,
    /// Connections that were asked for lately: when, and where in the table.
    asked: VecDeque<(u64, u32, u32)>,
}

impl Follower {
    fn new(settings: &Settings) -> Self {
        Self {
            table: Table::new(settings.flows_max, settings.held_max_bytes),
            fragments: Fragments::default(),
            summary: Summary::default(),
            now_ns: 0,
            several: false,
            count: 0,
            asked: VecDeque::new(),
        }
    }

    /// Tells which connections were not answered.
    fn unanswered<S: Sink>(&mut self, out: &mut Out<'_, S>) {
        while let Some((since, place, generation)) = self.asked.front().copied() {
            if self.now_ns.saturating_sub(since) < UNANSWERED_NS {
                break;
            }
            self.asked.pop_front();
            if let Some(flow) = self.table.same(place, generation)
                && flow.is_unanswered()
            {
                flow.failed = true;
                out.failed(flow, since);
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut Out<'_, impl Sink>) {
        let Packet {
            time_ns,
            link,
            bytes,
            ..
        } = *packet;
        self.summary.packets += 1;
        self.summary.bytes += bytes.len() as u64;
        self.now_ns = self.now_ns.max(time_ns);
        if self.summary.packets.is_multiple_of(EXPIRE_EVERY) {
            if !self.asked.is_empty() {
                self.unanswered(out);
            }
            self.table.expire(self.now_ns, &mut |flow| out.leave(flow));
        }
        let way = Way::new(packet);
        // Most packets need none of the rest.
        if link == 1
            && let Some(datagram) = network::plain(bytes)
        {
            self.datagram(&datagram, way, out);
        } else {
            self.layers(Layer::Link(link), bytes, way, out);
        }
    }

    pub fn tcp<S: Sink>(
        &mut self,
        datagram: &Datagram<'_>,
        tcp: &Tcp<'_>,
        way: Way,
        out: &mut Out<'_, S>,
    ) {
        let time_ns = way.time_ns;
        let source = (datagram.source, tcp.source_port);
        let destination = (datagram.destination, tcp.destination_port);
        let (key, from) = Key::of(Transport::Tcp, source, destination);
        let (key, mut found) = self.connection(key, from, tcp, way.network);
        // The same ends again: another connection.
        if tcp.syn
            && !tcp.ack
            && let Some(place) = found
            && let Some(flow) = self.table.touch(place, 0)
        {
            // It is counted below, for the connection that it belongs to.
            flow.packets -= 1;
            if flow.closed || flow.streams[from].begins_elsewhere(tcp.sequence) {
                self.table.remove(place, &mut |flow| out.leave(flow));
                found = None;
            }
        }
        let place = match found {
            Some(place) => place,
            // What follows an end, or says nothing, makes no flow.
            None if !tcp.syn && tcp.wire_bytes == 0 => return,
            None => {
                let (client, roles) = match (tcp.syn, tcp.ack) {
                    (true, false) => (from, Roles::Known),
                    (true, true) => (1 - from, Roles::Known),
                    (false, _) => (
                        guess(from, tcp.source_port, tcp.destination_port),
                        Roles::Guessed,
                    ),
                };
                self.insert(key, time_ns, client, roles, tcp.syn, out)
            }
        };
        let Some(flow) = self.table.touch(place, time_ns) else {
            return;
        };
        if flow.networks[from] == UNSEEN {
            flow.networks[from] = way.network;
        }
        let mut sequence = tcp.sequence;
        if tcp.syn {
            flow.set_client(if tcp.ack { 1 - from } else { from });
            if !flow.streams[from].is_started() {
                flow.streams[from].start(sequence);
            }
            sequence = sequence.wrapping_add(1);
        }
        flow.established |= !tcp.rst && (!tcp.syn || tcp.ack);
        let mut grown = 0;
        // A probe whether the other end is alive repeats one byte, which counts as known.
        if tcp.wire_bytes > 0 && !tcp.rst {
            let before = flow.streams[from].bytes;
            grown = segment(flow, from, sequence, tcp, time_ns, out);
            if S::OBSERVES
                && flow.streams[from].bytes > before
                && !flow.is_client(from)
                && let Some(quiet_ns) = flow.inbound(time_ns)
                && quiet_ns >= QUIET_NS
            {
                out.inbound(flow, quiet_ns, time_ns);
            }
        }
        flow.streams[from].fin |= tcp.fin;
        let ended = tcp.rst || flow.streams.iter().all(|stream| stream.fin);
        let closes = ended && !flow.closed;
        flow.closed |= ended;
        if S::OBSERVES && tcp.rst && closes && flow.opened && !flow.failed && flow.bytes() == (0, 0)
        {
            flow.failed = true;
            out.failed(flow, time_ns);
        }
        if closes {
            self.table.close(place, self.now_ns);
        }
        if grown != 0 {
            self.table.held(grown, &mut |flow| out.leave(flow));
        }
    }

    pub fn udp<S: Sink>(
        &mut self,
        datagram: &Datagram<'_>,
        udp: &Udp<'_>,
        time_ns: u64,
        out: &mut Out<'_, S>,
    ) {
        let source = (datagram.source, udp.source_port);
        let destination = (datagram.destination, udp.destination_port);
        let (key, from) = Key::of(Transport::Udp, source, destination);
        let place = match self.table.find(&key) {
            Some(place) => place,
            None => {
                let client = guess(from, udp.source_port, udp.destination_port);
                self.insert(key, time_ns, client, Roles::Guessed, true, out)
            }
        };
        if let Some(flow) = self.table.touch(place, time_ns) {
            let asks = S::OBSERVES && flow.is_dns() && flow.is_client(from);
            if !S::OBSERVES || (flow.is_done() && !asks) {
                flow.datagram(from, udp.payload, udp.wire_bytes, false, &mut |_| {});
                return;
            }
            let (host, connection) = ends(flow);
            let mut recognised = false;
            flow.datagram(
                from,
                udp.payload,
                udp.wire_bytes,
                asks,
                &mut |news| match news {
                    News::Recognised => recognised = true,
                    news => out.news(host, connection, &news, time_ns),
                },
            );
            if recognised {
                out.recognised(flow, time_ns);
            }
        }
    }

    /// Puts a new flow in. `opens` says that its beginning was seen.
    fn insert<S: Sink>(
        &mut self,
        key: Key,
        time_ns: u64,
        client: usize,
        roles: Roles,
        opens: bool,
        out: &mut Out<'_, S>,
    ) -> u32 {
        self.count += 1;
        let mut flow = Flow::new(key, self.count, time_ns, client, roles);
        let tcp = key.transport() == Transport::Tcp;
        flow.opened = opens && tcp;
        if S::OBSERVES && opens {
            out.opened(&flow, time_ns);
        }
        let place = self.table.insert(flow, &mut |flow| out.leave(flow));
        if S::OBSERVES && opens && tcp {
            // So many at once are a flood; those that leave the table are told then.
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            let generation = self.table.generation(place);
            self.asked.push_back((time_ns, place, generation));
        }
        place
    }
}

/// Hands a segment to its flow, and tells what is new.
#[inline]
fn segment<S: Sink>(
    flow: &mut Flow,
    from: usize,
    sequence: u32,
    tcp: &Tcp<'_>,
    time_ns: u64,
    out: &mut Out<'_, S>,
) -> isize {
    if !S::OBSERVES || flow.is_done() {
        return flow.segment(from, sequence, tcp.payload, tcp.wire_bytes, &mut |_| {});
    }
    let (host, connection) = ends(flow);
    let mut recognised = false;
    let grown = flow.segment(
        from,
        sequence,
        tcp.payload,
        tcp.wire_bytes,
        &mut |news| match news {
            News::Recognised => recognised = true,
            news => out.news(host, connection, &news, time_ns),
        },
    );
    if recognised {
        out.recognised(flow, time_ns);
    }
    grown
}

/// Which end is the client: the sender of the first packet, unless it comes from a port on
/// which servers listen.
fn guess(from: usize, source_port: u16, destination_port: u16) -> usize {
    if port::is_server(source_port, destination_port) {
        1 - from
    } else {
        from
    }
}
