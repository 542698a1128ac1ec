//! Reading a packet of a cgroup_skb program: where its headers and its payload lie.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_coarse_ns, bpf_sk_fullsock, bpf_skb_load_bytes,
    bpf_skc_to_tcp_sock,
};
use aya_ebpf::programs::SkBuffContext;

use crate::kernel_memory::{Address, Typed};
use crate::maps::offset;

/// `SKBFL_SHARED_FRAG` in `linux/skbuff.h`.
const SHARED_FRAGS: u8 = 2;

pub const SOCK_STREAM: u32 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
const IPV6_HEADER_BYTES: u32 = 40;
pub const TCP_SYN_SENT: u32 = 2;
pub const TCP_FIN_WAIT1: u32 = 4;
pub const TCP_FIN_WAIT2: u32 = 5;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;
const AF_INET6: u16 = 10;
/// Extension headers of IPv6 by their numbers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const EXTENSIONS_MAX: u32 = 4;
/// Of an IPv4 header's fragment field: more follow, or some came before.
const IPV4_FRAGMENT: u16 = 0x3fff;
/// Flags in the fourteenth byte of a TCP header.
const TCP_SYN: u8 = 2;
const TCP_URG: u8 = 0x20;

/// The full socket that a packet belongs to, or null.
#[inline(always)]
pub fn full_socket(ctx: &SkBuffContext) -> *mut bpf_sock {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return socket;
    }
    // SAFETY: the socket is the context's own and not null.
    unsafe { bpf_sk_fullsock(socket) }
}

#[inline(always)]
pub fn cookie(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) }
}

/// Whether any program of the kernel keeps something in this `sock`. Most have nothing, and need not be
/// asked for it by a call.
#[inline(always)]
pub fn has_storage(socket: Typed) -> bool {
    socket.read::<*const c_void>(offset!(sock_storage)) != core::ptr::null()
}

/// The kernel's own `tcp_sock`, with which `sock` begins too. Reading through it costs no call.
#[derive(Clone, Copy)]
pub struct Tcp(Typed);

impl Tcp {
    /// Of the packet's socket; none when that is no full socket of TCP. One call tells it all.
    #[inline(always)]
    pub fn of(ctx: &SkBuffContext) -> Option<Self> {
        // SAFETY: the context is valid while the program runs.
        Self::behind(unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk })
    }

    /// Of the socket that a program was given, or null.
    #[inline(always)]
    pub fn behind(socket: *mut bpf_sock) -> Option<Self> {
        if socket.is_null() {
            return None;
        }
        // SAFETY: a context's own socket, and not null. Since 5.9.
        let tcp = unsafe { bpf_skc_to_tcp_sock(socket.cast()) };
        if tcp.is_null() {
            return None;
        }
        // The helper asks for the protocol alone, and a raw socket may have that of TCP.
        let tcp = Self(Typed::given(tcp));
        (tcp.field::<u16>(offset!(sock_type)) == SOCK_STREAM as u16).then_some(tcp)
    }

    /// One of its fields.
    #[inline(always)]
    pub fn field<T: Copy>(self, offset: usize) -> T {
        self.0.read(offset)
    }

    /// See [`has_storage`].
    #[inline(always)]
    pub fn has_storage(self) -> bool {
        has_storage(self.0)
    }

    /// Whether a packet that leaves now may carry payload: what is neither sent nor acknowledged
    /// is more than the SYN. True as long as the socket is locked, and it is whenever TCP sends.
    #[inline(always)]
    pub fn may_carry(self) -> bool {
        let written: u32 = self.field(offset!(tcp_write_seq));
        let acknowledged: u32 = self.field(offset!(tcp_snd_una));
        let syn = u32::from(self.state() == TCP_SYN_SENT);
        written.wrapping_sub(acknowledged) != syn
    }

    /// Whether neither side has said anything yet, as in the handshake.
    #[inline(always)]
    pub fn is_silent(self) -> bool {
        self.field::<u64>(offset!(tcp_bytes_received)) == 0 && !self.may_carry()
    }

    /// Whether it takes this payload in, as far as its numbers tell (RFC 9293 section 3.10.7.4): anybody
    /// can send a packet that bears the server's address.
    #[inline(always)]
    pub fn takes(self, payload: &Payload) -> bool {
        let next: u32 = self.field(offset!(tcp_rcv_nxt));
        let window: u32 = self.field(offset!(tcp_rcv_wnd));
        let behind = payload.sequence.wrapping_add(payload.bytes);
        let edge = next.wrapping_add(window);
        behind.wrapping_sub(next) as i32 > 0 && edge.wrapping_sub(payload.sequence) as i32 > 0
    }

    /// Which bytes of a server's stream come with payload that it takes in.
    #[inline(always)]
    pub fn part(self, payload: &Payload) -> Part {
        if self.heard() != 0 {
            return Part::Later;
        }
        let next: u32 = self.field(offset!(tcp_rcv_nxt));
        let before = next.wrapping_sub(payload.sequence);
        if before as i32 >= 0 {
            Part::First(before)
        } else {
            Part::BehindGap
        }
    }

    /// How many payload bytes it has taken in from the server. The kernel counts the server's FIN
    /// like a byte, and here it is none. A socket that has closed its own side answers the FIN
    /// before its state tells of it: there, a single byte may be one, and counts for nothing.
    #[inline(always)]
    pub fn heard(self) -> u64 {
        let bytes: u64 = self.field(offset!(tcp_bytes_received));
        let has_closed = matches!(self.state(), TCP_FIN_WAIT1 | TCP_FIN_WAIT2);
        bytes.saturating_sub(u64::from(has_closed || self.has_heard_all()))
    }

    /// Whether the server has said that it sends no more.
    #[inline(always)]
    pub fn has_heard_all(self) -> bool {
        matches!(self.state(), TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING)
    }

    /// Whether its process may have what the server says dropped before any hook sees that: by a
    /// filter of its own, or because the packets have come too far.
    #[inline(always)]
    pub fn may_be_deaf(self) -> bool {
        let filter: *const c_void = self.field(offset!(sock_filter));
        if filter != core::ptr::null() || self.field::<u8>(offset!(inet_min_ttl)) != 0 {
            return true;
        }
        let pinet6 = offset!(inet_pinet6);
        if pinet6 == 0 || self.field::<u16>(offset!(sock_family)) != AF_INET6 {
            return false;
        }
        let ipv6 = self.address().follow(pinet6);
        ipv6.read::<u8>(offset!(ipv6_min_hops)) != 0
    }

    /// Whether a process holds it in a call at this moment.
    #[inline(always)]
    pub fn is_owned(self) -> bool {
        self.field::<i32>(offset!(sock_owned)) != 0
    }

    /// Whether it is a connection of Multipath TCP, or what such a one falls back to.
    #[inline(always)]
    pub fn is_multipath(self) -> bool {
        let is_mptcp = offset!(tcp_is_mptcp);
        is_mptcp != 0 && self.field::<u8>(is_mptcp) != 0
    }

    /// The port at the other end, in host order.
    #[inline(always)]
    pub fn port(self) -> u16 {
        u16::from_be(self.field(offset!(sock_dport)))
    }

    /// The port at this end, in host order.
    #[inline(always)]
    pub fn own_port(self) -> u16 {
        self.field(offset!(sock_num))
    }

    /// Its state.
    #[inline(always)]
    pub fn state(self) -> u32 {
        u32::from(self.field::<u8>(offset!(sock_state)))
    }

    /// For helpers that take any socket.
    #[inline(always)]
    pub fn pointer(self) -> *mut c_void {
        self.0.pointer()
    }

    /// For what reads it by calls.
    #[inline(always)]
    pub fn address(self) -> Address {
        self.0.address()
    }
}

/// Which bytes of a server's stream a packet brings.
pub enum Part {
    /// The first one, behind so many bytes that count for nothing.
    First(u32),
    /// Later ones, while the first one is still on its way.
    BehindGap,
    /// Later ones. The first one has come already.
    Later,
}

/// Bytes of the packet, its IP header included.
#[inline(always)]
pub fn bytes(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).len }
}

/// So many bytes at `offset`, at most 255, of the headers. They lie in one piece as a rule: then it
/// costs no call.
#[inline(always)]
fn header_bytes<const COUNT: usize>(ctx: &SkBuffContext, offset: u8) -> Option<[u8; COUNT]> {
    // SAFETY: the context is valid while the program runs. Since 5.0 in cgroup_skb.
    let (begin, end) = unsafe {
        (
            (*ctx.skb.skb).data as usize,
            (*ctx.skb.skb).data_end as usize,
        )
    };
    let at = begin + usize::from(offset);
    if at + COUNT <= end {
        // SAFETY: it lies before the end of what is in one piece.
        Some(unsafe { (at as *const [u8; COUNT]).read_unaligned() })
    } else {
        ctx.load(usize::from(offset)).ok()
    }
}

/// A packet as the hook has it that sees it come or go.
pub trait Packet {
    /// The cookie of its socket.
    fn cookie(&self) -> u64;
    /// The time in nanoseconds, as exactly as the hook can tell it cheaply.
    fn now(&self) -> u64;
    /// Copies `bytes` bytes of it that begin at `offset`, and says whether they are there.
    ///
    /// # Safety
    ///
    /// `to` is room for so many.
    unsafe fn copy(&self, offset: u32, to: *mut c_void, bytes: u32) -> bool;
}

impl Packet for SkBuffContext {
    #[inline(always)]
    fn cookie(&self) -> u64 {
        cookie(self)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut c_void, bytes: u32) -> bool {
        // SAFETY: the caller's room.
        unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), offset, to, bytes) == 0 }
    }
}

/// What an IP header says.
#[derive(Clone, Copy)]
pub struct Header {
    /// 4 or 6.
    pub version: u8,
    /// Of the transport. That of an IPv6 extension header where there is one.
    pub protocol: u8,
    /// Where the transport header begins.
    pub transport: u32,
}

impl Header {
    /// Reads it. What cannot be read is zero.
    #[inline(always)]
    pub fn of(ctx: &SkBuffContext) -> Self {
        // What both versions have at least.
        let ip: [u8; 20] = header_bytes(ctx, 0).unwrap_or([0; 20]);
        if ip[0] >> 4 == 4 {
            Self {
                version: 4,
                protocol: ip[9],
                transport: u32::from(ip[0] & 0xf) * 4,
            }
        } else {
            Self {
                version: 6,
                protocol: ip[6],
                transport: IPV6_HEADER_BYTES,
            }
        }
    }

    /// The same behind the extension headers of IPv6 (RFC 8200 section 4), four at most. None
    /// where there are more.
    #[inline(always)]
    pub fn behind_extensions(mut self, ctx: &SkBuffContext) -> Option<Self> {
        if self.version != 6 {
            return Some(self);
        }
        let mut count = 0;
        while count < EXTENSIONS_MAX {
            let at = self.transport as usize;
            let length = u32::from(ctx.load::<u8>(at + 1).unwrap_or(0));
            let bytes = match self.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => (length + 1) * 8,
                FRAGMENT => 8,
                AUTHENTICATION => (length + 2) * 4,
                _ => return Some(self),
            };
            self.protocol = ctx.load::<u8>(at).unwrap_or(0);
            self.transport += bytes;
            count += 1;
        }
        None
    }

    /// Whether this is a whole TCP packet that begins nothing and carries nothing. A fragment may
    /// leave the rest of it to the next one.
    #[inline(always)]
    pub fn is_mere_answer(&self, ctx: &SkBuffContext) -> bool {
        let fragment = ctx.load::<u16>(6).map_or(u16::MAX, u16::from_be);
        let is_whole = if self.version == 4 {
            fragment & IPV4_FRAGMENT == 0
        } else {
            self.transport == IPV6_HEADER_BYTES
        };
        let at = self.transport as usize;
        let Ok(words) = ctx.load::<u8>(at + 12) else {
            return false;
        };
        let Ok(flags) = ctx.load::<u8>(at + 13) else {
            return false;
        };
        let payload = self.transport + u32::from(words >> 4) * 4;
        is_whole && flags & TCP_SYN == 0 && bytes(ctx) == payload
    }

    /// The destination port in host order, where the transport has one.
    #[inline(always)]
    pub fn port(&self, ctx: &SkBuffContext) -> u16 {
        u16::from_be(ctx.load::<u16>(self.transport as usize + 2).unwrap_or(0))
    }

    /// The destination in network order; IPv4 in the first four bytes.
    #[inline(always)]
    pub fn destination(&self, ctx: &SkBuffContext) -> [u8; 16] {
        if self.version == 4 {
            let mut address = [0; 16];
            let destination: [u8; 4] = ctx.load(16).unwrap_or([0; 4]);
            address[..4].copy_from_slice(&destination);
            address
        } else {
            ctx.load(24).unwrap_or([0; 16])
        }
    }
}

/// Where the payload of a TCP packet lies.
#[derive(Clone, Copy)]
pub struct Payload {
    /// From the packet's start.
    pub offset: u32,
    /// How long it is.
    pub bytes: u32,
    /// The sequence number of its first byte.
    pub sequence: u32,
    /// A byte of it may not be where it seems: the other side reads it apart.
    pub is_urgent: bool,
}

impl Payload {
    /// Finds it; none in a packet that is no TCP or has extension headers.
    #[inline(always)]
    pub fn of(ctx: &SkBuffContext) -> Option<Self> {
        let header = Header::of(ctx);
        if header.protocol != IPPROTO_TCP {
            return None;
        }
        let transport = header.transport;
        let tcp: [u8; 14] = header_bytes(ctx, transport as u8)?;
        Some(Self::behind(tcp, transport, bytes(ctx)))
    }

    /// Behind the first bytes of a TCP header that lies at `transport` in a packet of `bytes` bytes.
    #[inline(always)]
    pub fn behind(header: [u8; 14], transport: u32, bytes: u32) -> Self {
        let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let flags = header[13];
        let offset = transport + u32::from(header[12] >> 4) * 4;
        Self {
            offset,
            bytes: bytes.saturating_sub(offset),
            // The SYN takes a number, and data may come with it (RFC 7413).
            sequence: sequence.wrapping_add(u32::from(flags & TCP_SYN != 0)),
            is_urgent: flags & TCP_URG != 0,
        }
    }

    /// Whether it lies in memory that may still change: pages of a file (sendfile, splice), or of the
    /// process itself (MSG_ZEROCOPY). What is read of it need not be what arrives.
    #[inline(always)]
    pub fn may_change(ctx: &SkBuffContext) -> bool {
        // The program's context is the kernel's own `sk_buff`.
        let packet = Address(ctx.skb.skb as u64);
        let head: u64 = packet.read(offset!(skb_head));
        let end: u32 = packet.read(offset!(skb_end));
        let shared_info = Address(head + u64::from(end));
        shared_info.read::<u8>(offset!(shared_info_flags)) & SHARED_FRAGS != 0
    }

    /// Whether a packet has any.
    #[inline(never)]
    pub fn is_in(ctx: &SkBuffContext) -> bool {
        Self::of(ctx).is_some_and(|payload| payload.bytes > 0)
    }
}
