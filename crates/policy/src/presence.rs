//! Presence: has a person typed into this terminal, or used this seat, before mail is sent?
//!
//! A line that a bot plants in a start-up file runs inside the user's own shell, before its user has
//! typed anything. So a shell vouches for a batch mailer or a submitter only after somebody has
//! pressed Enter in its terminal. An interactive mailer sends when a person presses send, so it
//! is looked at when the seat was used last.

use crate::{Invocation, Kind, Origin, Reason, Role, Standing, Verdict};

/// Bytes of a terminal's buffer of what was typed (`N_TTY_BUF_SIZE`). It goes round.
pub const TERMINAL_BUFFER: u64 = 4096;

/// Where the buffer of a terminal stood when a shell began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// How many bytes had been typed.
    pub head: u64,
    /// How many of them had been read.
    pub tail: u64,
}

/// The piece of memory through which the bytes of a keyboard, or of the program that holds the other end,
/// come to a terminal (`tty_buffer`). What a program puts into the terminal itself does not come through
/// it. A piece that has no room for what comes is left for another one, of 256 bytes or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies.
    pub address: u64,
    /// How many of its bytes are past: handed to the terminal when the shell began, or come by now.
    pub count: u32,
    /// How many bytes had still room when the shell began, or were on their way.
    pub room: u32,
}

impl Piece {
    /// The piece before the newest `waiting` bytes came. What came by an earlier piece is not known any more.
    #[must_use]
    #[inline(always)]
    pub const fn before(self, waiting: u64) -> Self {
        if waiting <= self.count as u64 {
            Self {
                count: self.count - waiting as u32,
                ..self
            }
        } else {
            Self {
                address: 0,
                count: 0,
                room: u32::MAX,
            }
        }
    }
}

/// How many bytes at most came to a terminal, from the piece at the beginning to the piece now, when no
/// more than one piece was left meanwhile. When two were left, more than [`COUNTED`] bytes came.
#[must_use]
#[inline(always)]
pub const fn arrived_since(begun: Piece, now: Piece) -> u64 {
    if now.address != begun.address {
        begun.room as u64 + now.count as u64
    } else if now.count >= begun.count {
        (now.count - begun.count) as u64
    } else {
        // The same memory again, for another piece.
        u64::MAX
    }
}

/// So many bytes are compared with what arrived. Beyond it the kernel may have forgotten some that
/// arrived: two pieces are left with 257 bytes, of which a terminal may have kept some fewer.
pub const COUNTED: u64 = 200;

/// Which bytes of a terminal's buffer were typed since: from the first number to before the second.
/// `arrived` is how many bytes came to the terminal from outside in that time, by [`arrived_since`]. Where
/// there are more in the buffer, a program put some there itself (TIOCSTI), and none counts.
///
/// The kernel counts from zero again when a program throws away what was not read. The count is below
/// what had been read at the beginning then. It also goes back when somebody presses the key
/// that erases. What was read cannot be erased, so the two are told apart.
#[must_use]
#[inline(always)]
pub const fn typed_since(begun: Begun, arrived: u64, head: u64) -> (u64, u64) {
    let start = if head >= begun.head {
        begun.head
    } else if head < begun.tail {
        0
    } else {
        head
    };
    if head - start > arrived && head - start <= COUNTED {
        return (head, head);
    }
    if head - start > TERMINAL_BUFFER {
        (head - TERMINAL_BUFFER, head)
    } else {
        (start, head)
    }
}

/// Whether a person pressed Enter: `byte` was typed, and the two bytes of `before` right before it,
/// the nearer one first.
///
/// No command line is run without it. A terminal's answer to a query (where is the cursor, which
/// terminal is it) is typed too, as far as the kernel can tell, but has neither a carriage return nor a
/// line feed. Enter of the keypad sends ESC O M in some modes.
#[must_use]
#[inline(always)]
pub const fn is_enter(byte: u8, before: [u8; 2]) -> bool {
    matches!(byte, b'\r' | b'\n') || (byte == b'M' && before[0] == b'O' && before[1] == 0x1b)
}

/// Whether an image is a shell whose user has yet to type, now that it begins.
#[must_use]
#[inline(always)]
pub fn awaits_typing(after: &Standing, invocation: Invocation) -> bool {
    after.origin == Origin::User
        && after.role == Role::Shell
        && matches!(invocation, Invocation::Terminal)
}

/// Whether an image still depends on what was typed into the terminal of the shell that vouched for
/// it. What a person does in an interactive mailer does not.
#[must_use]
#[inline(always)]
pub fn depends_on_typing(before: &Standing, after: &Standing) -> bool {
    let was_interactive = before.role == Role::Mailer && before.kind.is_interactive();
    after.origin == Origin::User && after.vouched && !was_interactive
}

/// An answer of the policy, for a process below a shell into whose terminal nothing was typed.
#[inline(always)]
pub fn without_typing(answer: Verdict, process: &Standing) -> Verdict {
    let asks = match process.role {
        Role::Mailer => !process.kind.is_interactive(),
        Role::Submitter => true,
        _ => false,
    };
    match answer {
        Verdict::Allow if asks && process.origin == Origin::User => {
            Verdict::Refuse(Reason::NeedsTyping)
        }
        answer => answer,
    }
}

/// Whether it is asked of a process when its seat was used last: an interactive mailer of the user's.
#[must_use]
#[inline(always)]
pub fn is_asked_for_presence(process: &Standing) -> bool {
    process.origin == Origin::User
        && process.role == Role::Mailer
        && process.kind == Kind::Interactive
}

/// What the gate does when an interactive mailer sends and nobody has used the seat for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PresenceRule {
    /// Nothing.
    #[default]
    Off = 0,
    /// It reports the time.
    Report = 1,
    /// It refuses the connection, and reports the time.
    Require = 2,
}

impl PresenceRule {
    /// Every rule.
    pub const ALL: [Self; 3] = [Self::Off, Self::Report, Self::Require];

    /// Reads a code. One that nobody assigned refuses.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Off,
            1 => Self::Report,
            _ => Self::Require,
        }
    }

    /// The word as the configuration takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Report => "report",
            Self::Require => "require",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn begun(head: u64, tail: u64) -> Begun {
        Begun { head, tail }
    }

    #[test]
    fn only_what_came_after_the_shell_counts() {
        assert_eq!(typed_since(begun(30, 30), 0, 30), (30, 30));
        assert_eq!(typed_since(begun(30, 30), 4, 34), (30, 34));
        assert_eq!(typed_since(begun(30, 30), u64::MAX, 34), (30, 34));
        // Typed before the shell began, and not read yet.
        assert_eq!(typed_since(begun(30, 20), 0, 30), (30, 30));
    }

    #[test]
    fn what_a_program_put_there_does_not_count() {
        assert_eq!(typed_since(begun(30, 30), 0, 33), (33, 33));
        // Beside a terminal's answer of six bytes.
        assert_eq!(typed_since(begun(30, 30), 6, 37), (37, 37));
        // Some keys are not kept, such as one that erases.
        assert_eq!(typed_since(begun(30, 30), 9, 37), (30, 37));
    }

    #[test]
    fn a_count_that_begins_anew_counts_from_zero() {
        assert_eq!(typed_since(begun(30, 30), 6, 6), (0, 6));
        assert_eq!(typed_since(begun(30, 30), 0, 6), (6, 6));
        // An erased byte is no new beginning: what lies before it is older.
        assert_eq!(typed_since(begun(30, 20), 2, 28), (28, 28));
    }

    #[test]
    fn no_more_than_the_buffer_is_looked_at() {
        assert_eq!(typed_since(begun(0, 0), 0, 10_000), (5904, 10_000));
    }

    #[test]
    fn what_arrived_is_counted_over_two_pieces() {
        let piece = |address, count, room| Piece {
            address,
            count,
            room,
        };
        let begun = piece(7, 40, 216);
        assert_eq!(arrived_since(begun, piece(7, 46, 0)), 6);
        assert_eq!(arrived_since(begun, piece(8, 5, 0)), 221);
        // A new terminal begins with a piece that has no room at all.
        assert_eq!(arrived_since(piece(1, 0, 0), piece(8, 6, 0)), 6);
        // The first piece was left, and is in use again.
        assert_eq!(arrived_since(begun, piece(7, 3, 0)), u64::MAX);
        // Six bytes wait to be read when the shell begins.
        assert_eq!(arrived_since(begun.before(6), piece(7, 46, 0)), 12);
        assert!(arrived_since(begun.before(60), piece(7, 46, 0)) > COUNTED);
        // Somebody pasted 300 bytes, and the kernel knows of the last 44.
        assert_eq!(typed_since(begun_at(0), 44, 300), (0, 300));
    }

    const fn begun_at(head: u64) -> Begun {
        begun(head, head)
    }

    #[test]
    fn enter_is_told_from_a_terminals_answers() {
        let has_enter = |text: &[u8]| {
            (0..text.len()).any(|at| {
                let back = |by: usize| at.checked_sub(by).map_or(0, |at| text[at]);
                is_enter(text[at], [back(1), back(2)])
            })
        };
        for answer in [
            &b"\x1b[24;80R"[..],
            b"\x1b[?64;1;2;6;9;15;18;21;22c",
            b"\x1b[>41;354;0c",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1bP1$r0m\x1b\\",
            b"\x1b[M !!",
            b"\x1b[?1u",
        ] {
            assert!(!has_enter(answer), "{}", answer.escape_ascii());
        }
        for typed in [
            &b"mutt\r"[..],
            b"mutt\n",
            b"mutt\x1bOM",
            b"\x1b[200~mutt\x1b[201~\r",
        ] {
            assert!(has_enter(typed), "{}", typed.escape_ascii());
        }
    }
}
