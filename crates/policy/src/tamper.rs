//! Signs that a process no longer runs only its own program.
//!
//! The table of variables is in `variables.rs`, once, for the kernel and for the seeding from /proc. What
//! their values may be is in `value.rs`. The table of arguments is in `arguments.rs`.

/// A set of signs of tampering. Signs are only ever added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tamper(pub u8);

impl Tamper {
    /// No sign.
    pub const NONE: Self = Self(0);
    /// A loader or interpreter variable in the environment.
    pub const ENVIRONMENT: Self = Self(1);
    /// Another process traces it, or did.
    pub const TRACED: Self = Self(2);
    /// Another process wrote into its memory.
    pub const MEMORY_WRITTEN: Self = Self(4);
    /// It was started under remote control.
    pub const REMOTE_CONTROL: Self = Self(8);
    /// Its arguments or environment could not be read to the end.
    pub const UNREADABLE: Self = Self(16);
    /// Another process took a file descriptor out of it.
    pub const DESCRIPTOR_TAKEN: Self = Self(32);
    /// It runs code from a file or from memory that others than root can write.
    pub const LOADED_CODE: Self = Self(64);
    /// An argument names code for it to run.
    pub const CODE_ARGUMENT: Self = Self(128);

    const WORDS: [(Self, &'static str); 8] = [
        (
            Self::ENVIRONMENT,
            "a loader or interpreter variable is set in its environment",
        ),
        (Self::TRACED, "another process traced it"),
        (
            Self::MEMORY_WRITTEN,
            "another process wrote into its memory",
        ),
        (Self::REMOTE_CONTROL, "it was started under remote control"),
        (
            Self::UNREADABLE,
            "its arguments, its environment or the files that it has loaded could not be read to the end",
        ),
        (
            Self::DESCRIPTOR_TAKEN,
            "another process took a file descriptor from it",
        ),
        (
            Self::LOADED_CODE,
            "it has loaded code that others than root can write",
        ),
        (
            Self::CODE_ARGUMENT,
            "one of its arguments names code for it to run",
        ),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without these signs.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is any sign.
    pub const fn any(self) -> bool {
        self.0 != 0
    }

    /// Each sign in plain words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS
            .into_iter()
            .filter(move |(sign, _)| self.0 & sign.0 != 0)
            .map(|(_, words)| words)
    }
}
