//! A packet's way through layers and tunnels to the flow that it belongs to, or to the count of
//! what was not read.

use crate::capture::Packet;
use crate::flow::{Key, UNSEEN};
use crate::fragments::Added;
use crate::layers::{self, Found, Layer};
use crate::names;
use crate::network::{self, Datagram, Unread};
use crate::observe::{Out, Sink};
use crate::replay::Follower;
use crate::transport::{Tcp, Udp};
use crate::tunnel::{self, Carried, Content, Inside};
use crate::unread::What;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Most tunnels in each other.
const TUNNELS_MAX: u8 = 8;
/// Most networks in which the same ends are told apart.
const NETWORKS_MAX: u8 = 8;

/// Where a packet is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// When it was captured, nanoseconds since 1970.
    pub time_ns: u64,
    /// The network that the tunnels around it make; 0 outside of tunnels.
    pub network: u32,
    /// Bytes that the capture cut off at its end.
    missing: usize,
    /// Its bytes, as captured.
    bytes: usize,
    /// How many tunnels are around it.
    depth: u8,
}

impl Way {
    /// The beginning.
    #[inline]
    pub const fn new(packet: &Packet<'_>) -> Self {
        Self {
            time_ns: packet.time_ns,
            network: 0,
            missing: packet.missing,
            bytes: packet.bytes.len(),
            depth: 0,
        }
    }

    /// Within this tunnel.
    fn within(self, inside: &Inside<'_>) -> Self {
        let mixed = self.network.rotate_left(7) ^ inside.network.wrapping_mul(0x9e37_79b1);
        // Neither outside of tunnels nor not known.
        let network = mixed.clamp(1, UNSEEN - 1);
        Self {
            network,
            depth: self.depth + 1,
            ..self
        }
    }
}

impl Follower {
    /// Goes down to IP.
    #[cold]
    pub fn layers(&mut self, layer: Layer, bytes: &[u8], way: Way, out: &mut Out<'_, impl Sink>) {
        match layers::descend(layer, bytes, way.missing) {
            Ok(Found::Datagram(datagram)) => self.datagram(&datagram, way, out),
            Ok(Found::Several(frames)) => {
                for frame in frames {
                    self.layers(Layer::Llc, frame, way, out);
                }
            }
            Err(unread) => self.not_read(unread, way),
        }
    }

    #[cold]
    fn not_read(&mut self, unread: Unread, way: Way) {
        let what = match unread {
            Unread::Nothing => return,
            Unread::Short => What::CutHeaders,
            Unread::For(what) => what,
        };
        self.summary.not_read.add(what, way.bytes);
    }

    /// Takes a datagram, or a part of one.
    #[inline]
    pub fn datagram(&mut self, datagram: &Datagram<'_>, way: Way, out: &mut Out<'_, impl Sink>) {
        if datagram.fragment.is_some() {
            self.part(datagram, way, out);
        } else {
            self.whole(datagram, way, out);
        }
    }

    #[cold]
    fn part(&mut self, datagram: &Datagram<'_>, way: Way, out: &mut Out<'_, impl Sink>) {
        match self.fragments.add(datagram, way.network, self.now_ns) {
            Added::Waits => {}
            Added::Whole(whole) => {
                let way = Way { missing: 0, ..way };
                self.whole(&whole.datagram(), way, out);
            }
            Added::Cut => {
                if holds(datagram.protocol) {
                    self.not_read(Unread::For(What::CutPayload), way);
                }
            }
        }
    }

    /// Parts that wait for others will not be put together any more.
    pub fn not_put_together(&mut self) {
        for (protocol, amount) in self.fragments.given_up() {
            if holds(protocol) {
                self.summary.not_read.add_amount(What::Fragments, amount);
            }
        }
    }

    #[inline]
    fn whole(&mut self, datagram: &Datagram<'_>, way: Way, out: &mut Out<'_, impl Sink>) {
        let mut datagram = *datagram;
        if datagram.open_ended {
            datagram.wire_bytes += way.missing;
        }
        let (payload, wire_bytes) = (datagram.payload, datagram.wire_bytes);
        let known = match datagram.protocol {
            TCP => Tcp::parse(payload, wire_bytes).map(|tcp| self.tcp(&datagram, &tcp, way, out)),
            UDP => match Udp::parse(payload, wire_bytes) {
                // What the capture cut off is missing inside.
                Some(udp) if tunnel::may_carry(&udp) && self.carried(&datagram, &udp, way, out) => {
                    return;
                }
                udp => udp.map(|udp| self.udp(&datagram, &udp, way.time_ns, out)),
            },
            _ => return self.other(&datagram, way, out),
        };
        if payload.len() < wire_bytes {
            let what = match known {
                Some(()) => What::CutPayload,
                None => What::CutHeaders,
            };
            self.not_read(Unread::For(what), way);
        } else if known.is_none() {
            self.not_read(network::MALFORMED, way);
        }
    }

    /// Another protocol than TCP and UDP: a tunnel, perhaps.
    #[cold]
    fn other(&mut self, datagram: &Datagram<'_>, way: Way, out: &mut Out<'_, impl Sink>) {
        let way = missing(datagram, way);
        // IPv4 with a header that IPv6 has too, or a whole that was put together.
        if network::is_extension(datagram.protocol) {
            return match network::extensions(*datagram) {
                Ok(next) => self.datagram(&next, way, out),
                Err(unread) => self.not_read(unread, way),
            };
        }
        match tunnel::open(datagram, way.missing) {
            Ok(Content::Packet(inside)) => self.enter(&inside, way, out),
            Ok(Content::Datagram(inner)) => {
                let inside = Inside {
                    layer: Layer::Ip,
                    bytes: inner.payload,
                    network: 0,
                };
                if way.depth < TUNNELS_MAX {
                    self.datagram(&inner, way.within(&inside), out);
                } else {
                    self.not_read(Unread::For(What::Nested), way);
                }
            }
            Err(unread) => self.not_read(unread, way),
        }
    }

    /// Is this datagram a tunnel's? Then its content was followed instead.
    #[cold]
    fn carried(
        &mut self,
        datagram: &Datagram<'_>,
        udp: &Udp<'_>,
        way: Way,
        out: &mut Out<'_, impl Sink>,
    ) -> bool {
        let way = missing(datagram, way);
        match tunnel::udp(udp, way.missing) {
            None => return false,
            Some(Carried::Hidden(what)) => {
                self.not_read(Unread::For(what), way);
                return false;
            }
            Some(Carried::Packet(Err(unread))) => self.not_read(unread, way),
            Some(Carried::Packet(Ok(inside))) => self.enter(&inside, way, out),
        }
        true
    }

    fn enter(&mut self, inside: &Inside<'_>, way: Way, out: &mut Out<'_, impl Sink>) {
        if way.depth < TUNNELS_MAX {
            self.layers(inside.layer, inside.bytes, way.within(inside), out);
        } else {
            self.not_read(Unread::For(What::Nested), way);
        }
    }

    /// The connection that a segment belongs to, and where it is in the table. The same ends
    /// in another network are another connection; but the two directions of one can come
    /// through tunnels with different numbers.
    #[inline]
    pub fn connection(
        &mut self,
        key: Key,
        from: usize,
        tcp: &Tcp<'_>,
        network: u32,
    ) -> (Key, Option<u32>) {
        let found = self.table.find(&key);
        let known = match found {
            None => !self.several,
            Some(place) => self
                .table
                .peek(place)
                .is_some_and(|flow| flow.networks[from] == network),
        };
        if known {
            (key, found)
        } else {
            self.among_networks(key, from, tcp, network)
        }
    }

    #[cold]
    fn among_networks(
        &mut self,
        key: Key,
        from: usize,
        tcp: &Tcp<'_>,
        network: u32,
    ) -> (Key, Option<u32>) {
        let mut free = None;
        let mut answered = None;
        for variant in 0..NETWORKS_MAX {
            let key = key.variant(variant);
            let Some(place) = self.table.find(&key) else {
                free.get_or_insert((key, None));
                continue;
            };
            let Some(flow) = self.table.peek(place) else {
                continue;
            };
            let (own, other) = (flow.networks[from], flow.networks[1 - from]);
            if own == network || (own == UNSEEN && other == network) {
                return (key, Some(place));
            }
            let answers = tcp.ack && flow.streams[1 - from].is_near(tcp.acknowledgement);
            if own == UNSEEN && answers {
                answered.get_or_insert((key, Some(place)));
            }
        }
        if answered.is_none() {
            self.several |= free.is_some_and(|(free, _)| free != key);
        }
        let first = || (key, self.table.find(&key));
        answered.or(free).unwrap_or_else(first)
    }
}

/// Where the capture has no more of a datagram, whatever it says of the packet.
fn missing(datagram: &Datagram<'_>, way: Way) -> Way {
    let missing = datagram.wire_bytes.saturating_sub(datagram.payload.len());
    Way {
        missing: way.missing.max(missing),
        ..way
    }
}

/// Can a conversation of TCP or UDP be in this IP protocol?
fn holds(protocol: u8) -> bool {
    names::ip_protocol(protocol).is_none() || names::ip_protocol_holds(protocol)
}
