//! Signs that a process no longer runs only its own program.
//!
//! What is looked for stands here, once, for the kernel and for the seeding from /proc.

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

    const WORDS: [(Self, &'static str); 6] = [
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
            "its arguments or environment are too long to check",
        ),
        (
            Self::DESCRIPTOR_TAKEN,
            "another process took a file descriptor from it",
        ),
    ];

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
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

/// Variables that make a loader or an interpreter run code from elsewhere, by their first
/// eight bytes. Eight bytes are one register, which is what the kernel can compare cheaply,
/// and are enough to tell these apart from everything usual.
const VARIABLES: [&[u8; 8]; 18] = [
    b"LD_PRELO", // LD_PRELOAD
    b"LD_AUDIT",
    b"LD_LIBRA", // LD_LIBRARY_PATH
    b"GTK_MODU", // GTK_MODULES; see variable_tampers
    b"GTK_PATH",
    b"GTK3_MOD", // GTK3_MODULES
    b"GIO_EXTR", // GIO_EXTRA_MODULES
    b"GCONV_PA", // GCONV_PATH
    b"QT_PLUGI", // QT_PLUGIN_PATH
    b"PERL5OPT",
    b"PERL5LIB",
    b"PERL5DB=",
    b"PYTHONPA", // PYTHONPATH
    b"PYTHONHO", // PYTHONHOME
    b"PYTHONST", // PYTHONSTARTUP
    b"BASH_ENV",
    b"NODE_OPT", // NODE_OPTIONS
    b"RUBYOPT=",
];

const SLOT_BITS: u32 = 7;

/// A multiplier that sends each variable to a slot of its own, so that the kernel needs one
/// comparison for each variable of an environment, and its verifier one branch.
const MULTIPLIER: u64 = multiplier();

const TABLE: [u64; 1 << SLOT_BITS] = match table(MULTIPLIER) {
    Some(table) => table,
    None => panic!("no slot of its own for each variable"),
};

#[inline(always)]
const fn slot(word: u64, multiplier: u64) -> usize {
    (word.wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
}

const fn table(multiplier: u64) -> Option<[u64; 1 << SLOT_BITS]> {
    let mut table = [0; 1 << SLOT_BITS];
    let mut index = 0;
    while index < VARIABLES.len() {
        let word = u64::from_ne_bytes(*VARIABLES[index]);
        let slot = slot(word, multiplier);
        if table[slot] != 0 {
            return None;
        }
        table[slot] = word;
        index += 1;
    }
    Some(table)
}

const fn multiplier() -> u64 {
    // Any odd number with its bits well spread; the golden ratio is the usual one.
    let mut multiplier = 0x9e37_79b9_7f4a_7c15_u64;
    while table(multiplier).is_none() {
        multiplier = multiplier
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(2)
            | 1;
    }
    multiplier
}

/// Whether an environment string that begins with these sixteen bytes is a sign of
/// tampering. Shorter strings are padded with zero bytes.
///
/// `GTK_MODULES` is set on many desktops to plain module names, which are only searched in
/// the system's folders. It is a sign only when it begins with a path.
#[inline(always)]
pub fn variable_tampers(first: [u8; 8], second: [u8; 8]) -> bool {
    let word = u64::from_ne_bytes(first);
    if TABLE[slot(word, MULTIPLIER)] != word || word == 0 {
        return false;
    }
    // "LES=" comes before the value.
    word != u64::from_ne_bytes(*b"GTK_MODU") || second[4] == b'/' || second[4] == b'.'
}

/// Whether an argument that begins with these sixteen bytes puts a mailer under remote
/// control: `--marionette`, `--remote-debugging-port`, `--remote-allow-hosts` and their
/// spellings with one dash. Shorter arguments are padded with zero bytes.
#[inline(always)]
pub fn remote_control_argument(first: [u8; 8], second: [u8; 8]) -> bool {
    let one = u64::from_ne_bytes(first);
    let two = u64::from_ne_bytes(second);
    (one == u64::from_ne_bytes(*b"--marion") && two == u64::from_ne_bytes(*b"ette\0\0\0\0"))
        || (one == u64::from_ne_bytes(*b"-marione") && two == u64::from_ne_bytes(*b"tte\0\0\0\0\0"))
        || one == u64::from_ne_bytes(*b"--remote")
        || one == u64::from_ne_bytes(*b"-remote-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(text: &str) -> ([u8; 8], [u8; 8]) {
        let mut bytes = [0; 16];
        for (slot, byte) in bytes.iter_mut().zip(text.bytes()) {
            *slot = byte;
        }
        let (first, second) = bytes.split_at(8);
        (first.try_into().unwrap(), second.try_into().unwrap())
    }

    #[test]
    fn loader_and_interpreter_variables_are_signs() {
        for text in [
            "LD_PRELOAD=/tmp/evil.so",
            "LD_AUDIT=x",
            "LD_LIBRARY_PATH=/tmp",
            "GTK_MODULES=/tmp/evil.so",
            "PERL5OPT=-Mevil",
            "PYTHONPATH=/tmp",
            "BASH_ENV=/tmp/x",
            "NODE_OPTIONS=--require=/tmp/x",
        ] {
            let (first, second) = halves(text);
            assert!(variable_tampers(first, second), "{text}");
        }
    }

    #[test]
    fn usual_variables_are_not() {
        for text in [
            "PATH=/usr/bin",
            "LANG=C",
            "GTK_MODULES=gail:atk-bridge",
            "LDFLAGS=-O2",
            "HOME=/root",
            "",
        ] {
            let (first, second) = halves(text);
            assert!(!variable_tampers(first, second), "{text}");
        }
    }

    #[test]
    fn remote_control_is_told_from_other_arguments() {
        for text in [
            "--marionette",
            "-marionette",
            "--remote-debugging-port=9222",
            "-remote-debugging-port",
        ] {
            let (first, second) = halves(text);
            assert!(remote_control_argument(first, second), "{text}");
        }
        for text in ["--compose", "-marion", "--mar", "mail@example.org"] {
            let (first, second) = halves(text);
            assert!(!remote_control_argument(first, second), "{text}");
        }
    }
}
