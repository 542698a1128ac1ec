//! A look at one variable: is its value a sign of tampering?
//!
//! The look takes one byte after the other and keeps a few numbers. So the kernel's verifier follows it
//! once, however long the value is, and user space uses the same code.

use crate::folders::is_roots;
use crate::options::{self, Meaning};
use crate::variables::{self, Class, Rule};
use crate::{Flaw, Sign, Tamper, hashed};

/// Bytes of `NAME=value` that are looked at. A value that goes on is a sign.
pub const VARIABLE_MAX: usize = 4096;

const ABSOLUTE: u64 = 1;
const SLASH: u64 = 2;
const TRUSTED: u64 = 4;
/// A component `.` or `..`, or a character that the reader of the value replaces.
const ODD: u64 = 8;
/// The rest of this word is paths.
const PATHS: u64 = 16;
/// There was more than this element.
const SEVERAL: u64 = 32;
/// Of a word: it begins with two hyphens, or has a colon.
const LONG: u64 = 64;

/// What is to be done with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// [`Look::other_byte`].
    Other,
    /// [`Look::path_byte`].
    Path,
    /// First [`Look::end_part`], then [`Look::path_byte`].
    PathPart,
}

/// The look at one variable. Plain words, which the kernel keeps in a map.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Look {
    /// A bit for each of [`crate::CODE_FOLDERS`] that is root's.
    folders: u64,
    /// What the program reads: bits of [`crate::Readers`].
    readers: u64,
    /// The [`Rule`] of the variable; 0 until its name has been read.
    rule: u64,
    /// Number of the variable.
    number: u64,
    /// Hash of the name, then of the path or word so far.
    hash: u64,
    /// Bytes of the element.
    length: u64,
    /// Bytes of the path's component, and how many of them are dots.
    part: u64,
    dots: u64,
    flags: u64,
    /// The [`Sign`] that was found.
    sign: u64,
}

impl Look {
    /// The look at a variable, before its first byte.
    #[inline(always)]
    pub fn begin(folders: u64, readers: u8) -> Self {
        Self {
            folders,
            readers: readers as u64,
            rule: 0,
            number: 0,
            hash: hashed::EMPTY,
            length: 0,
            part: 0,
            dots: 0,
            flags: 0,
            sign: 0,
        }
    }

    /// The next byte. Whether the look has come to its end.
    ///
    /// The kernel does the same with [`Look::stage`] and the three functions that it leads to, each of them
    /// a function of its own for the verifier.
    #[inline(always)]
    pub fn step(&mut self, byte: u8) -> bool {
        match self.stage(byte) {
            Stage::Other => self.other_byte(byte),
            Stage::Path => self.path_byte(byte),
            Stage::PathPart => {
                self.end_part();
                self.path_byte(byte)
            }
        }
    }

    /// What is to be done with the next byte.
    #[inline(always)]
    pub fn stage(&self, byte: u8) -> Stage {
        if !self.is_of_paths() {
            Stage::Other
        } else if byte == b'/' || self.separator(byte) != 0 {
            Stage::PathPart
        } else {
            Stage::Path
        }
    }

    /// Whether a path is looked at, or a name that may be one.
    #[inline(always)]
    fn is_of_paths(&self) -> bool {
        let rule = Rule(self.rule as u32);
        rule.has_paths() || self.flags & PATHS != 0
    }

    #[inline(always)]
    fn separator(&self, byte: u8) -> u32 {
        Rule(self.rule as u32).separates(byte, self.flags & PATHS != 0)
    }

    /// A byte of a name, or of a value that is no path.
    #[inline(always)]
    pub fn other_byte(&mut self, byte: u8) -> bool {
        let rule = Rule(self.rule as u32);
        if rule.0 == 0 {
            return self.name_byte(byte);
        }
        if byte == 0 {
            return true;
        }
        match rule.class() {
            Class::Name => byte == b'/' && self.found(Flaw::PathForName),
            Class::Letters => self.letter(rule, byte),
            Class::Options => self.option_byte(rule, byte),
            _ => self.found(Flaw::Switch),
        }
    }

    /// What was found, after [`Look::end_part`]. `cut` says that the variable goes on behind the last byte.
    #[inline(always)]
    pub fn end(&mut self, cut: bool) -> Sign {
        let rule = Rule(self.rule as u32);
        if self.sign == 0 && rule.0 != 0 {
            // A value of no bytes at all names nothing.
            let is_empty = self.length == 0 && self.flags & SEVERAL == 0;
            if self.is_of_paths() && !is_empty {
                self.end_element(rule);
            }
            if cut {
                self.found(Flaw::TooLong);
            }
        }
        Sign(self.sign as u32)
    }

    #[inline(always)]
    fn found(&mut self, flaw: Flaw) -> bool {
        if self.sign == 0 {
            let tamper = match flaw {
                Flaw::TooLong => Tamper::UNREADABLE,
                _ => Tamper::ENVIRONMENT,
            };
            self.sign = Sign::by(tamper, flaw, self.number as u16).0 as u64;
        }
        true
    }

    #[inline(always)]
    fn name_byte(&mut self, byte: u8) -> bool {
        if byte != b'=' {
            self.hash = hashed::add(self.hash, byte);
            return byte == 0;
        }
        let rule = variables::rule(self.hash);
        if rule.0 == 0 || !rule.counts_for(self.readers as u8) {
            return true;
        }
        self.number = hashed::short(self.hash) as u64;
        self.rule = rule.0 as u64;
        self.begin_element();
        self.hash = match rule.class() {
            Class::Options => options::begin(rule.family()),
            _ => hashed::EMPTY,
        };
        matches!(rule.class(), Class::Always) && self.found(Flaw::Switch)
    }

    #[inline(always)]
    fn begin_element(&mut self) {
        self.hash = hashed::EMPTY;
        self.length = 0;
        self.part = 0;
        self.dots = 0;
        self.flags &= PATHS | SEVERAL;
    }

    /// A byte of a list of paths, or of names and paths.
    #[inline(always)]
    pub fn path_byte(&mut self, byte: u8) -> bool {
        if byte == 0 {
            return true;
        }
        let rule = Rule(self.rule as u32);
        let separator = self.separator(byte);
        if separator != 0 {
            if self.end_element(rule) {
                return true;
            }
            self.begin_element();
            self.flags |= SEVERAL;
            // The next option begins.
            if self.flags & PATHS != 0 && separator == variables::SPACE {
                self.flags = 0;
                self.hash = options::begin(rule.family());
            }
            return false;
        }
        if byte == b'/' {
            if self.length == 0 {
                self.flags |= ABSOLUTE;
            }
            self.flags |= SLASH;
            // Many slashes are one.
            if self.length == 0 || self.part > 0 {
                self.hash = hashed::add(self.hash, byte);
            }
            self.part = 0;
            self.dots = 0;
        } else {
            self.part += 1;
            if byte == b'.' {
                self.dots += 1;
            }
            if matches!(rule.class(), Class::Sourced) && (byte == b'$' || byte == b'`') {
                self.flags |= ODD;
            }
            self.hash = hashed::add(self.hash, byte);
        }
        self.length += 1;
        false
    }

    /// A component of a path has come to its end: is the path so far that of a known folder?
    #[inline(always)]
    pub fn end_part(&mut self) {
        if self.part == 0 || !self.is_of_paths() {
            return;
        }
        if self.part <= 2 && self.dots == self.part {
            self.flags |= ODD;
        }
        if is_roots(self.folders, self.hash, self.flags & TRUSTED != 0) {
            self.flags |= TRUSTED;
        } else {
            self.flags &= !TRUSTED;
        }
    }

    /// Whether the element that has come to its end is a sign.
    #[inline(always)]
    fn end_element(&mut self, rule: Rule) -> bool {
        if self.length == 0 {
            return rule.empty_is_current_folder() && self.found(Flaw::CurrentFolder);
        }
        if matches!(rule.class(), Class::NamesOrPaths) && self.flags & SLASH == 0 {
            return false;
        }
        if self.flags & ABSOLUTE == 0 {
            return self.found(Flaw::CurrentFolder);
        }
        self.flags & (TRUSTED | ODD) != TRUSTED && self.found(Flaw::UsersPath)
    }

    /// A byte of options that stand one after the other.
    #[inline(always)]
    fn option_byte(&mut self, rule: Rule, byte: u8) -> bool {
        if rule.separates(byte, false) != 0 {
            self.length = 0;
            self.hash = options::begin(rule.family());
            return false;
        }
        let Some(byte) = options::normal(rule.family(), byte, self.length) else {
            return false;
        };
        self.length += 1;
        self.hash = hashed::add(self.hash, byte);
        match options::meaning(self.hash) {
            Meaning::None => false,
            Meaning::Code => self.found(Flaw::Option),
            Meaning::Paths => {
                self.begin_element();
                self.flags = PATHS;
                false
            }
        }
    }

    /// A byte of options that are single letters, which may stand in one word.
    #[inline(always)]
    fn letter(&mut self, rule: Rule, byte: u8) -> bool {
        if rule.separates(byte, false) != 0 {
            self.length = 0;
            self.flags = 0;
            return false;
        }
        self.length += 1;
        if byte == b':' || (byte == b'-' && self.length == 2) {
            self.flags |= LONG;
        }
        let is_long = self.flags & LONG != 0;
        options::letter_is_code(rule.family(), byte, is_long) && self.found(Flaw::Option)
    }
}

/// Whether a variable, `NAME=value`, is a sign of tampering for a program that reads what `readers`
/// says, where `folders` has a bit for each of [`crate::CODE_FOLDERS`] that is root's.
pub fn variable_sign(variable: &[u8], folders: u64, readers: u8) -> Sign {
    let mut look = Look::begin(folders, readers);
    for byte in variable.iter().take(VARIABLE_MAX - 1) {
        if look.step(*byte) {
            break;
        }
    }
    look.end_part();
    look.end(variable.len() >= VARIABLE_MAX)
}
