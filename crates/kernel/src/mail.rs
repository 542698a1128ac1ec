//! Mail on a port that is no mail port: a process that may not send and begins to speak SMTP
//! or LMTP gets no further. What a client says is read until the server has answered in
//! another protocol; which words are mail, [`policy::ClientLine`] knows.
//!
//! Bytes that may still become a word of mail wait until that is known: what is dropped here
//! stays in the socket, and leaves together with what is written next. So neither single
//! bytes nor blank lines get a greeting through.

use abi::{Counter, MailWatch, ProcessRecord, Sampling, Settings, VerdictOrigin};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_load_bytes};
use aya_ebpf::programs::SkBuffContext;
use policy::{ClientLine, Reason, has_line_end, is_mail_server};

use crate::hooks::verdict::{self, Actor, Judged, Left};
use crate::maps::PROCESSES;
use crate::packet::{self, Packet, Payload};
use crate::repeat::each;
use crate::report::count;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64;
/// Pieces of the largest packet that is put together for the hardware to cut (512 KiB).
const PIECES_MAX: u32 = 8192;
/// How many bytes of a client are read while its server is silent. A mail server that has not
/// greeted yet reads nothing, and its system takes no more than a few megabytes for it.
const SILENT_BYTES: u32 = 16 << 20;
/// How long bytes wait for more: some protocols begin with an empty line, and some clients
/// with single bytes. While the server is silent, once for each connection.
const HOLD_NS: u64 = 3_000_000_000;

/// Whether the client is still read.
#[inline(always)]
pub fn is_read(sampling: &Sampling) -> bool {
    sampling.mail != MailWatch::Over as u8
}

/// Whether a packet of a client that is read may leave.
#[inline(never)]
pub fn may_leave(ctx: &SkBuffContext, settings: &Settings, sampling: &mut Sampling) -> bool {
    let Some(payload) = Payload::of(ctx) else {
        // Extension headers, which only a socket that asked for them sends.
        return settings.observe != 0;
    };
    if payload.bytes == 0 {
        return true;
    }
    if sampling.mail == MailWatch::Caught as u8 {
        return settings.observe != 0;
    }
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
        },
        suspected,
        spoke: 0,
    };
    // Where mail is taken, nobody but a client of mail has reason to hide what it says.
    let mut spoke = reader.read() || (suspected && reader.line.hides != 0);
    let line = reader.line;
    // An urgent byte among the letters of a greeting hides it from whoever reads along.
    let open = line.may_become_mail(suspected) || payload.is_urgent;
    if !spoke && open && settings.observe == 0 {
        if waits(sampling) {
            return false;
        }
        // Nobody but a client of mail begins like that where mail is taken.
        spoke = suspected;
    }
    if spoke {
        sampling.mail = MailWatch::Caught as u8;
        count(Counter::PacketsRefused);
        tell(ctx, settings, sampling);
        return settings.observe != 0;
    }
    sampling.line_word = line.word;
    sampling.line_letters = line.letters;
    sampling.line_others = line.others;
    sampling.line_hides = line.hides;
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

/// The server's first payload tells whether the client has to be read further.
#[inline(never)]
pub fn server_speaks<P: Packet>(packet: &P, payload: &Payload, sampling: &mut Sampling) {
    let mut first = [0; 3];
    for (place, letter) in first.iter_mut().enumerate() {
        // SAFETY: room for one byte. What is not there stays zero.
        unsafe { packet.copy(payload.offset + place as u32, (&raw mut *letter).cast(), 1) };
    }
    if !is_mail_server(first, payload.bytes) {
        sampling.mail = MailWatch::Over as u8;
        return;
    }
    sampling.mail = MailWatch::Suspected as u8;
    sampling.held_ns = 0;
}

/// Whether bytes that may become mail still wait for more.
#[inline(always)]
fn waits(sampling: &mut Sampling) -> bool {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
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
