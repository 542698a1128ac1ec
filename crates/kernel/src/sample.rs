//! Sampling: what the hooks hand to user space so that it can tell protocols, commands and
//! reactions. Whatever fails here only makes user space know less, but for one thing: a connection
//! for which nothing can be kept would not be read for mail (`mail.rs`), and does not begin.
//!
//! Bounded for each process (connections and queries), for each connection (packets) and for
//! each packet (bytes). Reports have a ring buffer of their own, so that a flood of them can
//! never push out a verdict.

use abi::{
    Counter, EventHeader, EventTag, MailWatch, ProcessRecord, SAMPLE_BYTES, Sample, SampleHead,
    SampleState, Sampled, Sampling, Settings, Wish,
};
use aya_ebpf::bindings::{
    BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock,
};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_uid, bpf_ktime_get_coarse_ns, bpf_ringbuf_query, bpf_sk_storage_get,
};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::SkBuffContext;
use policy::{Origin, Role, is_read_for_mail};

use crate::hooks::flow::Carried;
use crate::kernel_memory::Address;
use crate::mail;
use crate::maps::{INTERESTS, PROCESSES, SAMPLES, offset, samples, samplings};
use crate::packet::{
    self, Header, IPPROTO_UDP, Packet, Part, Payload, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_SYN_SENT,
    Tcp, cookie,
};
use crate::report::count;

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
/// How often one is looked at that has nothing left to report.
const REST_NS: u64 = 60_000_000;
/// How exactly the last payload's time is kept.
const EXACT_NS: u64 = 1_000_000_000;
/// Unread bytes at which user space is woken in any case.
const UNREAD_BYTES: u64 = 128 * 1024;

const UDP_HEADER_BYTES: u32 = 8;
const DNS_PORT: u16 = 53;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Sent = 0,
    Received = 1,
}

impl Way {
    /// Where in a pair of both ways.
    #[inline(always)]
    fn side(self) -> usize {
        if self == Self::Sent { 0 } else { 1 }
    }
}

/// Whether what a process does is sampled: only what may not send can be a bot's. What root's own files do
/// hands mail on and may not send; a program that was broken into may stand among it.
#[inline(always)]
fn is_watched(record: &ProcessRecord) -> bool {
    record.origin == Origin::Foreign as u8
        || record.tampered != 0
        || (record.origin == Origin::Service as u8 && record.role != Role::Mailer as u8)
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

/// Who begins a connection that is watched.
pub enum Beginner {
    /// One of whom nothing is told, but who must not send mail: a process without a record, or one
    /// that is the user's or the machine's and no mailer.
    Untold(Option<&'static ProcessRecord>),
    /// One that may be a bot's.
    Foreign(&'static mut ProcessRecord),
}

/// Whether this process's connections are watched. All that those of others pay.
#[inline(always)]
pub fn beginner(pid: u32) -> Option<Beginner> {
    let Some(record) = PROCESSES.get_ptr_mut(pid) else {
        return Some(Beginner::Untold(None));
    };
    // SAFETY: the record of the current process stays while it is in this call.
    let record = unsafe { &mut *record };
    if is_watched(record) {
        Some(Beginner::Foreign(record))
    } else {
        is_read_for_mail(&record.standing()).then_some(Beginner::Untold(Some(record)))
    }
}

/// The storage of a socket that begins a connection in the calling task. Made at connect(),
/// because later packets may leave on behalf of anybody.
#[inline(always)]
pub fn begins(beginner: Beginner, pid: u32, uid: u32, to: (&[u8; 16], u16, u8)) -> Sampling {
    let record = match beginner {
        Beginner::Foreign(record) => record,
        Beginner::Untold(record) => {
            let whose = match record {
                Some(record) => of(record, pid, uid, to),
                // Who has no record is foreign.
                None => Sampling {
                    pid,
                    uid,
                    origin: Origin::Foreign as u8,
                    role: Role::Unknown as u8,
                    ..connection(to)
                },
            };
            return Sampling {
                state: SampleState::Untold as u8,
                ..whose
            };
        }
    };
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
        state: state as u8,
        left,
        ..of(record, pid, uid, to)
    };
    if connections == BURST {
        burst(&sampling, connections);
    }
    sampling
}

/// What is known of whose connection or query it is.
#[inline(always)]
fn of(record: &ProcessRecord, pid: u32, uid: u32, to: (&[u8; 16], u16, u8)) -> Sampling {
    Sampling {
        pid,
        uid,
        program: record.program,
        culprit: record.culprit,
        culprit_pid: record.culprit_pid,
        role: record.role,
        origin: record.origin,
        ..connection(to)
    }
}

/// A connection of nobody.
#[inline(always)]
fn connection((address, port, family): (&[u8; 16], u16, u8)) -> Sampling {
    Sampling {
        // SAFETY: the helper has no preconditions.
        received_ns: unsafe { bpf_ktime_get_coarse_ns() },
        address: *address,
        port,
        family,
        mail: MailWatch::Silent as u8,
        ..Sampling::default()
    }
}

/// A packet that a connection sends; its header begins the context. Says whether it may leave.
#[inline(always)]
pub fn sent(ctx: &SkBuffContext, settings: &Settings, tcp: Tcp) -> bool {
    let Some(sampling) = sampling_of(tcp, 0) else {
        return !may_be_subflow(tcp) || adopt(ctx, tcp) || settings.observe != 0;
    };
    if mail::is_read(sampling) && !mail::may_leave(ctx, settings, tcp, sampling) {
        return false;
    }
    let state = tcp.state();
    if state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 {
        half_closed(ctx, sampling, tcp);
    }
    // Bytes that go one way only would be looked at for as long as they flow.
    if is_sampled(sampling)
        && !rests(ctx, sampling, Way::Sent)
        && let Some(place) = Payload::of(ctx)
        && place.bytes > 0
    {
        payload(ctx, sampling, &place, Way::Sent);
    }
    true
}

/// A client that has closed its side sends nothing more but acknowledgements. What they are for may
/// have passed no hook that sees it come in, and is told here: when, not what.
#[inline(always)]
fn half_closed(ctx: &SkBuffContext, sampling: &mut Sampling, tcp: Tcp) {
    let received = tcp.field::<u64>(offset!(tcp_bytes_received)) as u32;
    if sampling.half_closed != 0 && received != sampling.half_closed_received {
        notice_quiet(ctx, sampling);
    }
    sampling.half_closed = 1;
    sampling.half_closed_received = received;
}

/// A packet with payload that a connection receives.
#[inline(always)]
pub fn received<P: Packet>(packet: &P, tcp: Tcp, place: &Payload) {
    if !tcp.takes(place) {
        return;
    }
    let Some(sampling) = sampling_of(tcp, 0) else {
        return;
    };
    if sampling.mail == MailWatch::Silent as u8 {
        match tcp.part(place) {
            Part::First(before) => mail::server_speaks(packet, place, before, sampling),
            Part::BehindGap => {}
            Part::Later => mail::greeting_was_missed(sampling),
        }
    }
    notice_quiet(packet, sampling);
    if is_sampled(sampling) && !rests(packet, sampling, Way::Received) {
        payload(packet, sampling, place, Way::Received);
    }
}

/// Payload comes in: after how long?
#[inline(always)]
fn notice_quiet<P: Packet>(packet: &P, sampling: &mut Sampling) {
    if sampling.state == SampleState::Untold as u8 {
        return;
    }
    let now = packet.now();
    // The clock of one hook may be a little behind that of another.
    if now > sampling.received_ns + EXACT_NS {
        after_quiet(sampling, packet.cookie(), now);
    }
}

#[inline(always)]
fn is_sampled(sampling: &Sampling) -> bool {
    sampling.state == SampleState::First as u8 || sampling.state == SampleState::Followed as u8
}

/// What the socket's own storage holds of it.
#[inline(always)]
fn sampling_of<'a>(tcp: Tcp, flags: u64) -> Option<&'a mut Sampling> {
    // SAFETY: map and socket are valid; a null value means zeroed.
    let storage =
        unsafe { bpf_sk_storage_get(samplings(), tcp.pointer(), core::ptr::null_mut(), flags) };
    // SAFETY: the storage lives as long as its socket, which lives as long as the packet.
    unsafe { storage.cast::<Sampling>().as_mut() }
}

/// Whether this is the first packet of a Multipath TCP subflow. Its socket is the kernel's own
/// and was not in connect(); what it carries is the process's all the same, also when the server
/// speaks plain TCP only.
#[inline(always)]
pub fn may_be_subflow(tcp: Tcp) -> bool {
    tcp.state() == TCP_SYN_SENT && tcp.is_multipath()
}

/// Whether it may leave: not when nothing can be kept for the subflow.
#[inline(never)]
fn adopt(ctx: &SkBuffContext, tcp: Tcp) -> bool {
    let pid = current_process();
    let Some(beginner) = beginner(pid) else {
        return true;
    };
    let header = Header::of(ctx);
    let to = (&header.destination(ctx), header.port(ctx), header.version);
    // SAFETY: the helper takes the program's own context.
    let uid = unsafe { bpf_get_socket_uid(ctx.skb.skb) };
    let Some(sampling) = sampling_of(tcp, u64::from(BPF_SK_STORAGE_GET_F_CREATE)) else {
        count(Counter::FlowsLost);
        return false;
    };
    *sampling = begins(beginner, pid, uid, to);
    true
}

/// The current process, where the helper for it is there since 6.10 only.
#[inline(always)]
fn current_process() -> u32 {
    Address::current_task().read(offset!(task_tgid))
}

/// The first packet for more than a second comes in.
#[inline(never)]
fn after_quiet(sampling: &mut Sampling, cookie: u64, now: u64) {
    let quiet_ns = now - sampling.received_ns;
    sampling.received_ns = now;
    if sampling.state == SampleState::Spent as u8 {
        if now > sampling.window_ns {
            sampling.window_ns = now + WINDOW_NS;
            sampling.state = SampleState::First as u8;
            sampling.left = [AGAIN; 2];
        }
        follow_interest(sampling, cookie);
    }
    if quiet_ns >= QUIET_NS {
        let mut head = head(sampling, Sampled::AfterQuiet, cookie);
        head.quiet_ns = quiet_ns;
        tell(head);
    }
}

/// Whether the next look at a connection that has nothing left to report this way can wait: some
/// sixteen a second are enough to hear soon what user space wants.
#[inline(always)]
fn rests<P: Packet>(packet: &P, sampling: &mut Sampling, way: Way) -> bool {
    if sampling.left[way.side()] != 0 || sampling.state != SampleState::First as u8 {
        return false;
    }
    let now = packet.now();
    if now <= sampling.window_ns {
        return true;
    }
    sampling.window_ns = now + REST_NS;
    false
}

/// Reports payload while there are samples left.
#[inline(never)]
fn payload<P: Packet>(packet: &P, sampling: &mut Sampling, place: &Payload, way: Way) {
    let side = way.side();
    let ahead = place.sequence.wrapping_sub(sampling.next[side]) as i32;
    let begun = sampling.begun[side] != 0;
    // Sent again.
    if begun && ahead.wrapping_add(place.bytes as i32) <= 0 {
        return;
    }
    sampling.next[side] = place.sequence.wrapping_add(place.bytes);
    sampling.begun[side] = 1;
    let cookie = packet.cookie();
    follow_interest(sampling, cookie);
    if sampling.state == SampleState::Enough as u8 {
        return;
    }
    if sampling.state == SampleState::Followed as u8 {
        let now = packet.now();
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
    copy(packet, head, place.offset, way == Way::Received);
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
    let header = Header::of(ctx);
    let payload = header.transport + UDP_HEADER_BYTES;
    let bytes = packet::bytes(ctx).saturating_sub(payload);
    if header.protocol != IPPROTO_UDP || header.port(ctx) != DNS_PORT || bytes == 0 {
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
    // SAFETY: the helper takes the program's own context.
    let uid = unsafe { bpf_get_socket_uid(ctx.skb.skb) };
    let to = (&header.destination(ctx), DNS_PORT, header.version);
    let sampling = of(record, pid, uid, to);
    let mut head = head(&sampling, Sampled::Query, cookie(ctx));
    head.wire_bytes = bytes;
    copy(ctx, head, payload, false);
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
fn copy<P: Packet>(packet: &P, mut head: SampleHead, offset: u32, wake: bool) {
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
    let is_read = unsafe { packet.copy(offset, (&raw mut (*room).data).cast(), length) };
    head.length = if is_read { length } else { 0 };
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
