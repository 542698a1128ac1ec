//! Mail on a port that is no mail port: a process that may not send and begins to speak SMTP
//! or LMTP gets no further. What a client says is read until the server has answered in
//! another protocol; which words are mail, [`policy::ClientLine`] knows.
//!
//! Bytes that are mail, or may still become it, wait until the server has spoken: what is dropped
//! here stays in the socket, and TCP sends it again, together with what is written next. When the
//! server says 220, the bytes never leave. When it says anything else, they leave at once.
//!
//! A server that stays silent is no mail server, because those greet first. Many honest ones say
//! nothing: they take a file by FTP, or a log. So the wait ends [`GREETING_NS`] after the connection
//! came up. What a mail server that greets later gets by then, and does itself against clients that
//! speak too early, SECURITY.md describes ("Mail on other ports").

use abi::{Counter, MailWatch, ProcessRecord, Sampling, ServerKey, Settings, VerdictOrigin};
use aya_ebpf::bindings::{__sk_buff, BPF_ANY};
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_load_bytes};
use aya_ebpf::programs::SkBuffContext;
use policy::{ClientLine, Reason, has_line_end, is_mail_server};

use crate::hooks::verdict::{self, Actor, Judged, Left};
use crate::maps::{GREETED, PROCESSES};
use crate::packet::{self, Packet, Payload, TCP_SYN_SENT, Tcp};
use crate::repeat::each;
use crate::report::count;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64;
/// Pieces of the largest packet that is put together for the hardware to cut (512 KiB).
const PIECES_MAX: u32 = 8192;
/// How many bytes of a client are read while its server is silent. A mail server that has not
/// greeted yet reads nothing, and its system takes no more than a few megabytes for it.
const SILENT_BYTES: u32 = 16 << 20;
/// How long half a word waits for the other half where the server has said 220.
const HOLD_NS: u64 = 3_000_000_000;
/// How long after the connection came up a mail server may take to greet. Postfix looks up the
/// client's name before; Exim, and Sendmail with a pause before its greeting, end the session of a
/// client that speaks earlier.
const GREETING_NS: u64 = 1_000_000_000;
/// The same for a client whose first line makes a mail server end the session
/// ([`ClientLine::refused`]). Less than TCP waits before it sends a dropped packet again.
const REFUSED_NS: u64 = 150_000_000;
/// For how long a server that has said 220 counts as a mail server on later connections.
const REMEMBERED_NS: u64 = 3_600_000_000_000;

/// Whether the client is still read.
#[inline(always)]
pub fn is_read(sampling: &Sampling) -> bool {
    sampling.mail != MailWatch::Over as u8
}

/// Whether a packet of a client that is read may leave.
#[inline(never)]
pub fn may_leave(
    ctx: &SkBuffContext,
    settings: &Settings,
    tcp: Tcp,
    sampling: &mut Sampling,
) -> bool {
    let Some(payload) = Payload::of(ctx) else {
        // Extension headers, which only a socket that asked for them sends.
        return settings.observe != 0;
    };
    if sampling.mail == MailWatch::Silent as u8 {
        notice_server(tcp, sampling);
    }
    let suspected = sampling.mail == MailWatch::Suspected as u8;
    if suspected && sampling.said_mail != 0 {
        return catch(ctx, settings, sampling) || payload.bytes == 0;
    }
    if payload.bytes == 0 {
        // Not the SYN: the server must know that the connection is up before it can greet.
        if sampling.up_ns == 0 && tcp.state() != TCP_SYN_SENT {
            sampling.up_ns = now();
        }
        return true;
    }
    if sampling.mail == MailWatch::Caught as u8 {
        return settings.observe != 0;
    }
    // Over, or let go: a client of mail is caught when the server greets after all.
    if sampling.mail == MailWatch::Over as u8 || sampling.said_mail != 0 {
        return true;
    }
    is_no_mail(ctx, settings, tcp, sampling, &payload)
}

/// Whether payload may leave: the client has said no word of mail yet.
#[inline(always)]
fn is_no_mail(
    ctx: &SkBuffContext,
    settings: &Settings,
    tcp: Tcp,
    sampling: &mut Sampling,
    payload: &Payload,
) -> bool {
    let suspected = sampling.mail == MailWatch::Suspected as u8;
    let mut known = 0;
    if sampling.line_begun != 0 {
        known = sampling.line_next.wrapping_sub(payload.sequence) as i32;
    }
    // What lies before it waits.
    if known < 0 {
        return settings.observe != 0;
    }
    let known = known as u32;
    if known >= payload.bytes {
        return true;
    }
    let mut reader = Reader {
        packet: ctx.skb.skb,
        offset: payload.offset + known,
        bytes: payload.bytes - known,
        piece: Piece([0; PIECE_BYTES]),
        at: 0,
        line: ClientLine {
            word: sampling.line_word,
            letters: sampling.line_letters,
            others: sampling.line_others,
            hides: sampling.line_hides | u8::from(Payload::may_change(ctx)),
            refused: sampling.line_refused,
        },
        suspected,
        spoke: 0,
    };
    // Where mail is taken, nobody but a client of mail has reason to hide what it says.
    let mut spoke = reader.read() || (suspected && reader.line.hides != 0);
    let line = reader.line;
    // An urgent byte among the letters of a greeting hides it from whoever reads along.
    let open = line.may_become_mail(suspected) || payload.is_urgent;
    if !suspected && (spoke || open) && settings.observe == 0 {
        match wait(tcp, sampling, &line) {
            Wait::On => return false,
            Wait::Over => sampling.said_mail = u8::from(spoke),
            Wait::OverForMail => spoke = true,
        }
        if sampling.said_mail != 0 {
            return true;
        }
    }
    if suspected && !spoke && open && settings.observe == 0 {
        if waits(sampling) {
            return false;
        }
        // Nobody but a client of mail begins like that where mail is taken.
        spoke = true;
    }
    if spoke {
        if suspected || settings.observe == 0 {
            return catch(ctx, settings, sampling);
        }
        sampling.said_mail = 1;
        return true;
    }
    sampling.line_word = line.word;
    sampling.line_letters = line.letters;
    sampling.line_others = line.others;
    sampling.line_hides = line.hides;
    sampling.line_refused = line.refused;
    sampling.line_next = payload.sequence.wrapping_add(payload.bytes);
    sampling.line_begun = 1;
    if suspected {
        sampling.held_ns = 0;
    } else {
        sampling.line_bytes += payload.bytes - known;
        if sampling.line_bytes >= SILENT_BYTES {
            sampling.mail = MailWatch::Over as u8;
        }
    }
    true
}

/// The client speaks mail to a mail server. Says whether its packets may leave all the same.
#[inline(never)]
fn catch(ctx: &SkBuffContext, settings: &Settings, sampling: &mut Sampling) -> bool {
    sampling.mail = MailWatch::Caught as u8;
    count(Counter::PacketsRefused);
    tell(ctx, settings, sampling);
    settings.observe != 0
}

/// The hook that reads servers may not have run for the server's first byte: a program of a
/// tracepoint does not run inside itself, and a socket that is half closed passes none. What the
/// socket has taken in tells.
#[inline(always)]
fn notice_server(tcp: Tcp, sampling: &mut Sampling) {
    if tcp.heard() != 0 {
        greeting_was_missed(sampling);
    } else if tcp.has_heard_all() {
        // The server has ended without a word.
        sampling.mail = MailWatch::Over as u8;
    }
}

/// The server has spoken, and nobody has read its first byte: it may have been a greeting.
#[inline(always)]
pub fn greeting_was_missed(sampling: &mut Sampling) {
    sampling.mail = MailWatch::Suspected as u8;
    sampling.held_ns = 0;
}

/// The server's first payload tells whether the client has to be read further. It begins behind
/// `before` bytes of the packet.
#[inline(never)]
pub fn server_speaks<P: Packet>(
    packet: &P,
    payload: &Payload,
    before: u32,
    sampling: &mut Sampling,
) {
    let offset = payload.offset + before;
    let bytes = payload.bytes.wrapping_sub(before);
    let mut first = [0; 3];
    let mut is_read = true;
    for (place, letter) in first.iter_mut().enumerate() {
        let place = place as u32;
        // SAFETY: room for one byte.
        let there = unsafe { packet.copy(offset + place, (&raw mut *letter).cast(), 1) };
        is_read &= there || place >= bytes;
    }
    if is_read && !is_mail_server(first, bytes) {
        sampling.mail = MailWatch::Over as u8;
        return;
    }
    greeting_was_missed(sampling);
    if is_read {
        let _ = GREETED.insert(server(sampling), &packet.now(), u64::from(BPF_ANY));
    }
}

#[inline(always)]
fn server(sampling: &Sampling) -> ServerKey {
    ServerKey {
        address: sampling.address,
        port: sampling.port,
        family: sampling.family,
        reserved: 0,
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// What becomes of bytes that are mail, or may become mail, while the server is silent.
enum Wait {
    /// They do not leave yet.
    On,
    /// The server is silent for longer than a mail server: they leave.
    Over,
    /// It is a mail server all the same: they do not leave.
    OverForMail,
}

/// Whether the server has had time to greet, and could be heard.
#[inline(always)]
fn wait(tcp: Tcp, sampling: &Sampling, line: &ClientLine) -> Wait {
    let limit = if line.refused != 0 {
        REFUSED_NS
    } else {
        GREETING_NS
    };
    let now = now();
    if sampling.up_ns == 0 || now - sampling.up_ns < limit {
        return Wait::On;
    }
    // SAFETY: the value is copied out at once.
    let greeted = unsafe { GREETED.get(server(sampling)) }.copied();
    if tcp.may_be_deaf() || greeted.is_some_and(|last| now < last + REMEMBERED_NS) {
        Wait::OverForMail
    } else {
        Wait::Over
    }
}

/// Whether half a word still waits for more.
#[inline(always)]
fn waits(sampling: &mut Sampling) -> bool {
    let now = now();
    if sampling.held_ns == 0 {
        sampling.held_ns = now;
    }
    now - sampling.held_ns < HOLD_NS
}

/// Aligned, so that it can be read in words.
#[repr(align(8))]
struct Piece([u8; PIECE_BYTES]);

/// Payload that is read piece by piece, and what was made of it.
struct Reader {
    packet: *mut __sk_buff,
    /// Where the rest of it begins, and how much that is.
    offset: u32,
    bytes: u32,
    piece: Piece,
    /// Where in the piece the word is that is read.
    at: u32,
    line: ClientLine,
    suspected: bool,
    /// 1 when the client speaks mail. A word, because the verifier keeps track of words.
    spoke: u64,
}

impl Reader {
    /// Reads payload into the line and says whether the client speaks mail. All of it: whoever
    /// speaks before the server may put a whole message into one packet.
    #[inline(always)]
    fn read(&mut self) -> bool {
        each(PIECES_MAX, read_piece, self);
        self.spoke != 0
    }
}

/// One piece.
unsafe extern "C" fn read_piece(_index: u32, reader: *mut Reader) -> u64 {
    // SAFETY: see `each`.
    let reader = unsafe { &mut *reader };
    let most = PIECE_BYTES as u32;
    let wanted = if reader.bytes < most {
        reader.bytes
    } else {
        most
    };
    if wanted == 0 {
        return 1;
    }
    // Says to the verifier what is known here: between one byte and all there is room for.
    let length = (core::hint::black_box(wanted.wrapping_sub(1)) & (most - 1)) + 1;
    let room = reader.piece.0.as_mut_ptr().cast();
    // SAFETY: the room is PIECE_BYTES long, and `length` is not more.
    let failed = unsafe { bpf_skb_load_bytes(reader.packet.cast(), reader.offset, room, length) };
    if failed != 0 {
        return 1;
    }
    each(length.div_ceil(8), read_word, reader);
    reader.offset += wanted;
    reader.bytes -= wanted;
    reader.spoke
}

/// Eight bytes, most of which lie in the middle of a line.
unsafe extern "C" fn read_word(index: u32, reader: *mut Reader) -> u64 {
    // SAFETY: see `each`.
    let reader = unsafe { &mut *reader };
    let index = index as usize & (PIECE_BYTES / 8 - 1);
    let word = u64::from_ne_bytes(reader.piece.0.as_chunks::<8>().0[index]);
    if reader.line.waits_for_line_end() && !has_line_end(word) {
        return 0;
    }
    reader.at = index as u32 * 8;
    let left = reader.bytes.saturating_sub(reader.at);
    each(if left < 8 { left } else { 8 }, read_byte, reader);
    reader.spoke
}

/// One byte.
unsafe extern "C" fn read_byte(index: u32, reader: *mut Reader) -> u64 {
    // SAFETY: see `each`.
    let reader = unsafe { &mut *reader };
    let at = (reader.at + index) as usize & (PIECE_BYTES - 1);
    let byte = reader.piece.0[at];
    reader.spoke = reader.line.read(byte, reader.suspected).into();
    reader.spoke
}

/// The verdict names the process that connected; a packet may leave on behalf of anybody.
#[inline(always)]
fn tell(ctx: &SkBuffContext, settings: &Settings, sampling: &Sampling) {
    let judged = Judged {
        what: VerdictOrigin::Packet,
        cookie: packet::cookie(ctx),
        address: sampling.address,
        port: sampling.port,
        family: sampling.family,
        own_port: 0,
        observe: settings.observe,
    };
    let actor = Actor {
        pid: sampling.pid,
        uid: sampling.uid,
        comm: [0; 16],
        left: Left {
            program: sampling.program,
            culprit: sampling.culprit,
            culprit_pid: sampling.culprit_pid,
        },
    };
    let record = PROCESSES.get_ptr(sampling.pid);
    // SAFETY: at worst the slot is reused meanwhile, and another process stands in a report.
    let record: Option<&ProcessRecord> = record.map(|record| unsafe { &*record });
    // The number may be another process's by now.
    let record = record.filter(|record| {
        (record.culprit, record.culprit_pid) == (sampling.culprit, sampling.culprit_pid)
    });
    verdict::tell(&judged, Reason::MailOnOtherPort as u8, &actor, record);
}
