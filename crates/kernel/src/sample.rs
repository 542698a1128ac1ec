//! Sampling: what the hooks hand to user space so that it can tell protocols, commands and
//! reactions. Decides nothing: whatever fails here only makes user space know less.
//!
//! Bounded for each process (connections and queries), for each connection (packets) and for
//! each packet (bytes). Reports have a ring buffer of their own, so that a flood of them can
//! never push out a verdict.

use abi::{
    Counter, EventHeader, EventTag, ProcessRecord, SAMPLE_BYTES, Sample, SampleHead, SampleState,
    Sampled, Sampling, Wish,
};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, bpf_sock};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_coarse_ns, bpf_ringbuf_query, bpf_sk_storage_get,
    bpf_skb_load_bytes,
};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::SkBuffContext;
use policy::Origin;

use crate::hooks::flow::Carried;
use crate::maps::{INTERESTS, PROCESSES, SAMPLES, samples, samplings};
use crate::report::{count, current_process, current_user};

/// The time over which a process's connections and queries are counted: 2^33 ns, 8.6 s.
const PERIOD_BITS: u32 = 33;
/// Connections of one process that are sampled well in one period, and queries that are
/// reported at all.
const EACH_PERIOD: u32 = 64;
/// Connections of one process in one period that are told as a burst.
const BURST: u32 = 200;
/// How far is counted.
const COUNTED_MOST: u32 = 0xff;
/// What is reported of each connection beyond [`EACH_PERIOD`]: enough for a login.
const CROWDED: [u8; 2] = [10, 20];
/// What is reported of a connection, each way, before user space has to say more; see
/// [`Sampling::left`]. Fourteen full packets, or as many bytes one by one as a login has.
const FIRST: u8 = 128;
/// The same in each window of a connection that is followed, sent and received.
const FOLLOWED: [u8; 2] = [128, 255];
/// The same when a connection is looked at again.
const AGAIN: u8 = 48;
/// How long such a window is, and how long a connection is left alone before it is looked at
/// again.
const WINDOW_NS: u64 = 30_000_000_000;
/// Payload that comes in after as long is told: a person's next click, or a master's order.
const QUIET_NS: u64 = 3_000_000_000;
/// How exactly the last payload's time is kept.
const EXACT_NS: u64 = 1_000_000_000;
/// Unread bytes at which user space is woken in any case.
const UNREAD_BYTES: u64 = 128 * 1024;

const TCP_ESTABLISHED: u32 = 1;
/// The headers of IPv6 and of TCP with all the options that a handshake has.
const HANDSHAKE_BYTES: u32 = 80;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPV6_HEADER_BYTES: u32 = 40;
const UDP_HEADER_BYTES: u32 = 8;
const DNS_PORT: u16 = 53;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sent = 0,
    Received = 1,
}

/// Whether what a process does is sampled: only what may not send can be a bot's.
#[inline(always)]
fn is_watched(record: &ProcessRecord) -> bool {
    record.origin == Origin::Foreign as u8 || record.tampered != 0
}

/// What is counted in [`ProcessRecord::sampled`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Connections = 8,
    Queries = 0,
}

/// Counts one more in this period, and says the how manieth it is. Threads of a process may
/// lose a count to each other; it is a bound, not a statistic.
#[inline(always)]
fn counted(record: &mut ProcessRecord, what: Counted) -> u32 {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let period = (now >> PERIOD_BITS) as u32 & 0xffff;
    if record.sampled >> 16 != period {
        record.sampled = period << 16;
    }
    let shift = what as u32;
    let before = record.sampled >> shift & 0xff;
    if before < COUNTED_MOST {
        record.sampled += 1 << shift;
    }
    before + 1
}

/// The storage of a socket that begins a connection in the calling task; none where it is
/// not sampled. Asked at connect(), because later packets may leave on behalf of anybody.
#[inline(always)]
pub fn begins(address: &[u8; 16], port: u16, family: u8) -> Option<Sampling> {
    let pid = current_process();
    let record = PROCESSES.get_ptr_mut(pid)?;
    // SAFETY: the record of the current process stays while it is in this call.
    let record = unsafe { &mut *record };
    if !is_watched(record) {
        return None;
    }
    let connections = counted(record, Counted::Connections);
    let (state, left) = if connections <= EACH_PERIOD {
        (SampleState::First, [FIRST; 2])
    } else if connections < COUNTED_MOST {
        (SampleState::First, CROWDED)
    } else {
        // It is looked at later, if it lasts.
        (SampleState::Spent, [0; 2])
    };
    let sampling = Sampling {
        // SAFETY: the helper has no preconditions.
        received_ns: unsafe { bpf_ktime_get_coarse_ns() },
        pid,
        uid: current_user(),
        program: record.program,
        culprit: record.culprit,
        culprit_pid: record.culprit_pid,
        address: *address,
        port,
        family,
        role: record.role,
        origin: record.origin,
        state: state as u8,
        left,
        ..Sampling::default()
    };
    if connections == BURST {
        burst(&sampling, connections);
    }
    Some(sampling)
}

/// A packet of a stream socket whose header begins the context.
#[inline(always)]
pub fn packet(ctx: &SkBuffContext, socket: *mut bpf_sock, way: Way) {
    // A handshake says nothing, and every connection has one. Data may come with it (RFC 7413).
    // SAFETY: a full socket, checked by the caller.
    if unsafe { (*socket).state } != TCP_ESTABLISHED && skb_bytes(ctx) <= HANDSHAKE_BYTES {
        return;
    }
    // SAFETY: map and socket are valid; without the create flag nothing is written.
    let storage =
        unsafe { bpf_sk_storage_get(samplings(), socket.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket, which lives as long as the packet.
    let Some(sampling) = (unsafe { storage.cast::<Sampling>().as_mut() }) else {
        return;
    };
    let sampled =
        sampling.state == SampleState::First as u8 || sampling.state == SampleState::Followed as u8;
    if way == Way::Received {
        // SAFETY: the helper has no preconditions.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        if now - sampling.received_ns > EXACT_NS {
            after_quiet(ctx, sampling, now);
        } else if !sampled {
            return;
        }
    }
    if sampled {
        payload(ctx, sampling, way);
    }
}

/// The first packet for more than a second comes in.
#[inline(never)]
fn after_quiet(ctx: &SkBuffContext, sampling: &mut Sampling, now: u64) {
    let Some(place) = find(ctx) else {
        return;
    };
    if place.bytes == 0 {
        return;
    }
    let quiet_ns = now - sampling.received_ns;
    sampling.received_ns = now;
    if sampling.state == SampleState::Spent as u8 {
        if now > sampling.window_ns {
            sampling.window_ns = now + WINDOW_NS;
            sampling.state = SampleState::First as u8;
            sampling.left = [AGAIN; 2];
        }
        follow_interest(sampling, cookie(ctx));
    }
    if quiet_ns >= QUIET_NS {
        let mut head = head(sampling, Sampled::AfterQuiet, cookie(ctx));
        head.quiet_ns = quiet_ns;
        tell(head);
    }
}

/// Reports payload while there are samples left.
#[inline(never)]
fn payload(ctx: &SkBuffContext, sampling: &mut Sampling, way: Way) {
    let Some(place) = find(ctx) else {
        return;
    };
    if place.bytes == 0 {
        return;
    }
    let side = if way == Way::Sent { 0 } else { 1 };
    let ahead = place.sequence.wrapping_sub(sampling.next[side]) as i32;
    let begun = sampling.begun[side] != 0;
    // Sent again.
    if begun && ahead.wrapping_add(place.bytes as i32) <= 0 {
        return;
    }
    sampling.next[side] = place.sequence.wrapping_add(place.bytes);
    sampling.begun[side] = 1;
    let cookie = cookie(ctx);
    follow_interest(sampling, cookie);
    if sampling.state == SampleState::Enough as u8 {
        return;
    }
    if sampling.state == SampleState::Followed as u8 {
        // SAFETY: the helper has no preconditions.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        if now > sampling.window_ns {
            sampling.window_ns = now + WINDOW_NS;
            sampling.left = FOLLOWED;
        }
    }
    if sampling.left[side] == 0 {
        if sampling.state == SampleState::First as u8 && sampling.left == [0; 2] {
            sampling.state = SampleState::Spent as u8;
        }
        return;
    }
    let most = SAMPLE_BYTES as u32;
    let captured = if place.bytes < most {
        place.bytes
    } else {
        most
    };
    sampling.left[side] = sampling.left[side].saturating_sub((1 + captured / 64) as u8);
    let what = if way == Way::Sent {
        Sampled::Sent
    } else {
        Sampled::Received
    };
    let mut head = head(sampling, what, cookie);
    head.wire_bytes = place.bytes;
    head.gap = (begun && ahead > 0) as u8;
    sampling.told = 1;
    // What was sent alone tells little: it waits for the answer.
    copy(ctx, head, place.offset, way == Way::Received);
}

/// A datagram that the calling task sends: a DNS query?
#[inline(always)]
pub fn datagram(ctx: &SkBuffContext, socket: *mut bpf_sock) {
    // SAFETY: a full socket, checked by the caller.
    let port = unsafe { u16::from_be((*socket).dst_port) };
    // A socket that is not connected does not know: the packet has to be read.
    if port == DNS_PORT || port == 0 {
        query(ctx);
    }
}

#[inline(never)]
fn query(ctx: &SkBuffContext) {
    let Some((transport, version)) = transport(ctx, IPPROTO_UDP) else {
        return;
    };
    let port = u16::from_be(ctx.load::<u16>(transport as usize + 2).unwrap_or(0));
    let bytes = skb_bytes(ctx).saturating_sub(transport + UDP_HEADER_BYTES);
    if port != DNS_PORT || bytes == 0 {
        return;
    }
    let pid = current_process();
    let Some(record) = PROCESSES.get_ptr_mut(pid) else {
        return;
    };
    // SAFETY: UDP is sent in the calling task, whose record stays.
    let record = unsafe { &mut *record };
    if !is_watched(record) || counted(record, Counted::Queries) > EACH_PERIOD {
        return;
    }
    let mut address = [0; 16];
    if version == 4 {
        let destination: [u8; 4] = ctx.load(16).unwrap_or([0; 4]);
        address[..4].copy_from_slice(&destination);
    } else {
        address = ctx.load(24).unwrap_or([0; 16]);
    }
    let sampling = Sampling {
        pid,
        uid: current_user(),
        program: record.program,
        culprit: record.culprit,
        culprit_pid: record.culprit_pid,
        address,
        port,
        family: version,
        role: record.role,
        origin: record.origin,
        ..Sampling::default()
    };
    let mut head = head(&sampling, Sampled::Query, cookie(ctx));
    head.wire_bytes = bytes;
    copy(ctx, head, transport + UDP_HEADER_BYTES, false);
}

/// The last holder of a socket lets go of it.
#[inline(always)]
pub fn closed(sampling: &mut Sampling, cookie: u64, carried: Carried) {
    if sampling.told == 0 {
        return;
    }
    sampling.told = 0;
    let _ = INTERESTS.remove(cookie);
    let mut head = head(sampling, Sampled::Closed, cookie);
    head.bytes_sent = carried.sent;
    head.bytes_received = carried.received;
    tell(head);
}

fn burst(sampling: &Sampling, connections: u32) {
    let mut head = head(sampling, Sampled::Burst, 0);
    head.wire_bytes = connections;
    head.quiet_ns = 1 << PERIOD_BITS;
    tell(head);
}

/// Does what user space wants, when it has said so.
#[inline(always)]
fn follow_interest(sampling: &mut Sampling, cookie: u64) {
    // SAFETY: the value is copied out at once.
    match unsafe { INTERESTS.get(cookie) }.map(|interest| interest.wish) {
        Some(wish) if wish == Wish::Enough as u32 => sampling.state = SampleState::Enough as u8,
        Some(_) => sampling.state = SampleState::Followed as u8,
        None => {}
    }
}

/// Where the payload of a TCP packet lies.
#[derive(Clone, Copy)]
struct Place {
    offset: u32,
    bytes: u32,
    sequence: u32,
}

#[inline(always)]
fn find(ctx: &SkBuffContext) -> Option<Place> {
    let (transport, _) = transport(ctx, IPPROTO_TCP)?;
    let sequence = u32::from_be(ctx.load::<u32>(transport as usize + 4).ok()?);
    let words = ctx.load::<u8>(transport as usize + 12).ok()? >> 4;
    let offset = transport + u32::from(words) * 4;
    Some(Place {
        offset,
        bytes: skb_bytes(ctx).saturating_sub(offset),
        sequence,
    })
}

/// Where the transport header begins, when it is this one's, and the version of IP. Packets
/// with extension headers are passed over.
#[inline(always)]
fn transport(ctx: &SkBuffContext, wanted: u8) -> Option<(u32, u8)> {
    let first = ctx.load::<u8>(0).ok()?;
    let (protocol, offset, version) = if first >> 4 == 4 {
        (ctx.load::<u8>(9).ok()?, u32::from(first & 0xf) * 4, 4)
    } else {
        (ctx.load::<u8>(6).ok()?, IPV6_HEADER_BYTES, 6)
    };
    (protocol == wanted).then_some((offset, version))
}

#[inline(always)]
fn skb_bytes(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).len }
}

#[inline(always)]
fn cookie(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) }
}

#[inline(always)]
fn head(sampling: &Sampling, what: Sampled, cookie: u64) -> SampleHead {
    // SAFETY: the helper has no preconditions.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    SampleHead {
        header: EventHeader {
            tag: EventTag::Sample as u32,
            pid: sampling.pid,
            boot_ns,
            uid: sampling.uid,
            reserved: 0,
        },
        cookie,
        bytes_sent: 0,
        bytes_received: 0,
        quiet_ns: 0,
        address: sampling.address,
        program: sampling.program,
        culprit: sampling.culprit,
        culprit_pid: sampling.culprit_pid,
        wire_bytes: 0,
        port: sampling.port,
        family: sampling.family,
        role: sampling.role,
        origin: sampling.origin,
        what: what as u8,
        gap: 0,
        reserved: 0,
        length: 0,
        reserved2: 0,
    }
}

/// Reports a head alone.
#[inline(always)]
fn tell(head: SampleHead) {
    let Some(mut event) = SAMPLES.reserve_untyped::<SampleHead>(0) else {
        return count(Counter::SamplesLost);
    };
    event.write(head);
    submit(event, false);
}

/// Reports a head with the payload that lies at `offset`.
#[inline(always)]
fn copy(ctx: &SkBuffContext, mut head: SampleHead, offset: u32, wake: bool) {
    let Some(mut event) = SAMPLES.reserve_untyped::<Sample>(0) else {
        return count(Counter::SamplesLost);
    };
    let most = SAMPLE_BYTES as u32;
    let wanted = if head.wire_bytes < most {
        head.wire_bytes
    } else {
        most
    };
    // Says to the verifier what is known here: between one byte and all there is room for.
    let length = (core::hint::black_box(wanted.wrapping_sub(1)) & (most - 1)) + 1;
    let room = event.as_mut_ptr();
    // SAFETY: the room in the ring buffer is SAMPLE_BYTES long, and `length` is not more.
    let read = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            offset,
            (&raw mut (*room).data).cast(),
            length,
        )
    };
    head.length = if read == 0 { length } else { 0 };
    // SAFETY: as above.
    unsafe { (*room).head = head };
    submit(event, wake);
}

/// Hands a sample over. It wakes user space when it sleeps and this is worth it, or when
/// much is unread.
#[inline(always)]
fn submit<T>(event: RingBufEntry<T>, wake: bool) {
    // SAFETY: the map is a ring buffer.
    let unread = unsafe { bpf_ringbuf_query(samples(), u64::from(BPF_RB_AVAIL_DATA)) };
    let flags = if unread >= UNREAD_BYTES {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else if wake {
        0
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    };
    event.submit(flags);
}
