//! Which variable or argument was a sign of tampering, and what was wrong with it.

use crate::{Tamper, arguments, variables};

/// What is wrong with a variable's value, or that it was an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flaw {
    /// A path below a folder in which others than root may write.
    UsersPath = 1,
    /// A path that depends on the folder in which the program is started.
    CurrentFolder = 2,
    /// The variable is set: that alone has an effect.
    Switch = 3,
    /// An option that makes the program run other code, or obey another program.
    Option = 4,
    /// A path where only a name is expected.
    PathForName = 5,
    /// The value is longer than what is read of it.
    TooLong = 6,
    /// An argument.
    Argument = 7,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::UsersPath,
        Self::CurrentFolder,
        Self::Switch,
        Self::Option,
        Self::PathForName,
        Self::TooLong,
        Self::Argument,
    ];

    /// Reads a code; none for 0 and for what this version does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|flaw| *flaw as u8 == code)
    }

    /// The word for it in the journal.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UsersPath => "users-path",
            Self::CurrentFolder => "current-folder",
            Self::Switch => "switch",
            Self::Option => "option",
            Self::PathForName => "path-for-name",
            Self::TooLong => "too-long",
            Self::Argument => "argument",
        }
    }
}

/// A sign of tampering with its cause, in one word, because the kernel's verifier follows words. The
/// lowest byte is the [`Tamper`], the next one the [`Flaw`], and above these two is the number of the
/// variable or argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sign(pub u32);

impl Sign {
    /// No sign.
    pub const NONE: Self = Self(0);

    /// A sign without a cause that has a name.
    #[must_use]
    #[inline(always)]
    pub const fn of(tamper: Tamper) -> Self {
        Self(tamper.0 as u32)
    }

    /// A sign that a variable or an argument is.
    #[must_use]
    #[inline(always)]
    pub const fn by(tamper: Tamper, flaw: Flaw, number: u16) -> Self {
        Self(tamper.0 as u32 | (flaw as u32) << 8 | (number as u32) << 16)
    }

    /// Both. The first one that has a cause keeps it.
    #[must_use]
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        let cause = if self.0 >> 8 != 0 { self.0 } else { other.0 };
        Self(cause & !0xff | (self.0 | other.0) & 0xff)
    }

    /// It, where it is one of these signs.
    #[must_use]
    #[inline(always)]
    pub const fn only(self, counts: Tamper) -> Self {
        let kept = self.0 & counts.0 as u32;
        if kept == 0 {
            Self::NONE
        } else {
            Self(self.0 & !0xff | kept)
        }
    }

    /// The signs alone.
    #[must_use]
    #[inline(always)]
    pub const fn tamper(self) -> Tamper {
        Tamper(self.0 as u8)
    }

    /// The code of the [`Flaw`]; 0 when there is none.
    #[must_use]
    #[inline(always)]
    pub const fn flaw(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The number of the variable or argument; 0 when there is none.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The cause by name.
    pub fn cause(self) -> Option<Cause> {
        Cause::from_codes(self.number(), self.flaw())
    }
}

/// Which variable or argument was a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The variable's name, or how the argument begins.
    pub name: &'static str,
    /// What was wrong with it.
    pub flaw: Flaw,
}

impl Cause {
    /// Reads what a record keeps; none for what it does not have, or this version does not know.
    pub fn from_codes(number: u16, flaw: u8) -> Option<Self> {
        let flaw = Flaw::from_code(flaw)?;
        let name = match flaw {
            Flaw::Argument => arguments::name_of_number(number)?,
            _ => variables::name_of_number(number)?,
        };
        Some(Self { name, flaw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_keeps_its_first_cause() {
        let first = Sign::by(Tamper::ENVIRONMENT, Flaw::UsersPath, 7);
        let second = Sign::by(Tamper::REMOTE_CONTROL, Flaw::Argument, 9);
        let both = Sign::of(Tamper::TRACED).with(first).with(second);
        let tamper = Tamper::TRACED
            .with(Tamper::ENVIRONMENT)
            .with(Tamper::REMOTE_CONTROL);
        assert_eq!(both.tamper(), tamper);
        assert_eq!((both.flaw(), both.number()), (Flaw::UsersPath as u8, 7));
    }

    #[test]
    fn every_flaw_has_a_word_and_a_code_of_its_own() {
        for flaw in Flaw::ALL {
            assert_eq!(Flaw::from_code(flaw as u8), Some(flaw));
            let alike = Flaw::ALL.iter().filter(|other| other.word() == flaw.word());
            assert_eq!(alike.count(), 1);
        }
        assert_eq!(Flaw::from_code(0), None);
        assert_eq!(Cause::from_codes(0, 0), None);
    }
}
