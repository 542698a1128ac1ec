//! Standings and programs as words of 64 bits, and an exec put together from its parts.
//!
//! For the kernel: its verifier follows each way through a function, and an exec asks many questions that have
//! nothing to do with each other. So the kernel asks each in a function of its own, whose answer is a number,
//! and [`standing_of_parts`] puts the answers together without asking anything. It is what
//! [`Standing::after_exec`] says, in another form; a test compares the two.

use crate::{Invocation, Kind, Origin, Program, Rights, Role, Standing, Tamper};

/// Where a standing's word has the signs of tampering.
pub const TAMPER_AT: u32 = 24;

const VOUCHED_AT: u32 = 40;
const CHANGED_AT: u32 = 41;
const ACTIVATED_AT: u32 = 42;

impl Standing {
    /// As a word.
    #[must_use]
    #[inline(always)]
    pub const fn word(&self) -> u64 {
        self.origin as u64
            | (self.role as u64) << 8
            | (self.kind as u64) << 16
            | (self.tampered.0 as u64) << TAMPER_AT
            | (self.rights.0 as u64) << 32
            | (self.vouched as u64) << VOUCHED_AT
            | (self.changed as u64) << CHANGED_AT
            | (self.activated as u64) << ACTIVATED_AT
    }

    /// Reads a word.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            origin: Origin::from_code(word as u8),
            role: Role::from_code((word >> 8) as u8),
            kind: Kind::from_code((word >> 16) as u8),
            tampered: Tamper((word >> TAMPER_AT) as u8),
            rights: Rights((word >> 32) as u8),
            vouched: word >> VOUCHED_AT & 1 != 0,
            changed: word >> CHANGED_AT & 1 != 0,
            activated: word >> ACTIVATED_AT & 1 != 0,
        }
    }
}

/// Set in a program's word where somebody else than root starts it.
pub const BY_USER: u64 = 1 << 33;
/// Set in a program's word where it is root's own.
pub const IS_ROOTS: u64 = 1 << 34;

const INVOCATION_AT: u32 = 16;
const RIGHTS_AT: u32 = 24;
const FILE_CHANGED_AT: u32 = 32;

impl Program {
    /// The program and how it was started, as a word.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, how: Invocation) -> u64 {
        self.role as u64
            | (self.kind as u64) << 8
            | (how as u64) << INVOCATION_AT
            | (self.rights.0 as u64) << RIGHTS_AT
            | (self.changed as u64) << FILE_CHANGED_AT
            | (self.by_user as u64 * BY_USER)
            | (self.is_roots as u64 * IS_ROOTS)
    }

    /// Reads a word.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> (Self, Invocation) {
        let program = Self {
            role: Role::from_code(word as u8),
            kind: Kind::from_code((word >> 8) as u8),
            rights: Rights((word >> RIGHTS_AT) as u8),
            changed: word >> FILE_CHANGED_AT & 1 != 0,
            by_user: word & BY_USER != 0,
            is_roots: word & IS_ROOTS != 0,
        };
        let how = match (word >> INVOCATION_AT) as u8 {
            1 => Invocation::Terminal,
            2 => Invocation::Script,
            3 => Invocation::LoginFromHere,
            _ => Invocation::Plain,
        };
        (program, how)
    }
}

/// Answers to the questions of an exec.
#[derive(Clone, Copy)]
pub struct Parts {
    /// [`origin_of`].
    pub origin: u64,
    /// [`is_guarded`].
    pub is_guarded: u64,
    /// [`kind_of`].
    pub kind: u64,
    /// [`is_vouched`].
    pub vouched: u64,
    /// [`is_activated`].
    pub activated: u64,
}

/// The code of the origin after an exec.
#[inline(always)]
pub fn origin_of(before: u64, program: u64) -> u64 {
    let (program, how) = Program::from_word(program);
    Standing::from_word(before).origin_with(program, how) as u64
}

/// 1 where a changed program is guarded as what takes mail.
#[inline(always)]
pub fn is_guarded(before: u64, program: u64) -> u64 {
    let (program, how) = Program::from_word(program);
    Standing::from_word(before)
        .is_guarded_changed(program, how)
        .into()
}

/// The code of the kind after an exec.
#[inline(always)]
pub fn kind_of(before: u64, program: u64) -> u64 {
    let (program, _) = Program::from_word(program);
    Standing::from_word(before).kind_after(program) as u64
}

/// 1 where what called exec vouches for the program.
#[inline(always)]
pub fn is_vouched(before: u64) -> u64 {
    Standing::from_word(before).vouches_for_next_image().into()
}

/// 1 where the user's own service manager makes the program the user's.
#[inline(always)]
pub fn is_activated(before: u64, program: u64) -> u64 {
    let (program, _) = Program::from_word(program);
    Standing::from_word(before)
        .activates(program.counts_as(), program.kind)
        .into()
}

/// The word of the standing after an exec, without further signs of tampering.
#[inline(always)]
pub const fn standing_of_parts(before: u64, program: u64, parts: Parts) -> u64 {
    // The codes of origins in binary: system 00, user 01, foreign 10, service 11.
    let (low, high) = (parts.origin & 1, parts.origin >> 1 & 1);
    let (is_user, is_service) = (low & (high ^ 1), low & high);
    let changed = program >> FILE_CHANGED_AT & 1;
    let has_role = (changed ^ 1) | (parts.is_guarded & 1);
    let role = (program & 0xff) & has_role.wrapping_neg();
    let rights = (program >> RIGHTS_AT & 0xff) & (is_service & (changed ^ 1)).wrapping_neg();
    let activated = is_user & (before >> ACTIVATED_AT | parts.activated) & 1;
    (parts.origin & 3)
        | role << 8
        | (parts.kind & 0xff) << 16
        | (before & 0xff << TAMPER_AT)
        | rights << 32
        | (parts.vouched & 1) << VOUCHED_AT
        | changed << CHANGED_AT
        | activated << ACTIVATED_AT
}
