//! Options inside the values of variables such as `NODE_OPTIONS`: which of them run other code, or put
//! the program under remote control.

use crate::hashed::{self, Hashed};

/// Whose options they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// Chromium: the renderer of Qt's programs.
    Chromium = 1,
    /// Node.
    Node = 2,
    /// Java's virtual machine.
    Java = 3,
    /// Options of bash.
    Bash = 4,
    /// Perl.
    Perl = 5,
    /// Ruby.
    Ruby = 6,
}

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing that counts, as far as it has been read.
    None,
    /// It runs code, or gives others control.
    Code,
    /// Paths of code follow.
    Paths,
}

const CODE: u32 = 1;
const PATHS: u32 = 2;

/// How the options begin that count. Hyphens are as [`normal`] leaves them.
const LISTED: &[(Family, &str, u32)] = &[
    (Family::Chromium, "-remote-debugging", CODE),
    (Family::Chromium, "-remote-allow-origins", CODE),
    (Family::Chromium, "-renderer-cmd-prefix", CODE),
    (Family::Chromium, "-utility-cmd-prefix", CODE),
    (Family::Chromium, "-zygote-cmd-prefix", CODE),
    (Family::Chromium, "-ppapi-plugin-launcher", CODE),
    (Family::Chromium, "-plugin-launcher", CODE),
    (Family::Chromium, "-gpu-launcher", CODE),
    (Family::Chromium, "-browser-subprocess-path", CODE),
    (Family::Chromium, "-register-pepper-plugins", CODE),
    (Family::Chromium, "-load-extension", CODE),
    (Family::Chromium, "-load-component-extension", CODE),
    (Family::Chromium, "-load-and-launch-app", CODE),
    (Family::Chromium, "-inspect", CODE),
    (Family::Chromium, "-custom-devtools-frontend", CODE),
    (Family::Chromium, "-silent-debugger-extension-api", CODE),
    (Family::Node, "--require", CODE),
    (Family::Node, "-r", CODE),
    (Family::Node, "--import", CODE),
    (Family::Node, "--loader", CODE),
    (Family::Node, "--experimental-loader", CODE),
    (Family::Node, "--inspect", CODE),
    (Family::Node, "--debug", CODE),
    (Family::Node, "--eval", CODE),
    (Family::Node, "--env-file", CODE),
    (Family::Node, "--openssl-config", CODE),
    (Family::Node, "--openssl-shared-config", CODE),
    (Family::Node, "--snapshot-blob", CODE),
    (Family::Node, "--experimental-config-file", CODE),
    (Family::Node, "--experimental-default-config-file", CODE),
    (Family::Java, "-javaagent:", PATHS),
    (Family::Java, "-agentpath:", PATHS),
    (Family::Java, "-agentlib:", CODE),
    (Family::Java, "-xrun", CODE),
    (Family::Java, "-xdebug", CODE),
    (Family::Java, "-xbootclasspath:", PATHS),
    (Family::Java, "-xbootclasspath/a:", PATHS),
    (Family::Java, "-xbootclasspath/p:", PATHS),
    (Family::Java, "-cp", CODE),
    (Family::Java, "-classpath", CODE),
    (Family::Java, "--class-path", CODE),
    (Family::Java, "--module-path", CODE),
    (Family::Java, "--upgrade-module-path", CODE),
    (Family::Java, "--patch-module", CODE),
    (Family::Java, "-p", CODE),
    (Family::Java, "@", CODE),
    (Family::Java, "-djava.class.path=", PATHS),
    (Family::Java, "-djava.library.path=", PATHS),
    (Family::Java, "-dsun.boot.library.path=", PATHS),
    (Family::Java, "-djava.ext.dirs=", PATHS),
    (Family::Java, "-djava.endorsed.dirs=", PATHS),
    (Family::Java, "-djdk.module.", CODE),
    (Family::Java, "-djava.security.properties=", PATHS),
    (Family::Java, "-djava.security.manager", CODE),
    (Family::Java, "-djava.system.class.loader", CODE),
    (Family::Java, "-dcom.sun.management", CODE),
    (Family::Java, "-xx:onerror", CODE),
    (Family::Java, "-xx:onoutofmemoryerror", CODE),
    (Family::Java, "-xx:flags", CODE),
    (Family::Java, "-xx:vmoptionsfile", CODE),
    (Family::Java, "-xx:sharedarchivefile=", PATHS),
    // With it, bash runs what PS4 says before each command.
    (Family::Bash, "xtrace", CODE),
];

static TABLE: Hashed<4096> = table();

const fn table() -> Hashed<4096> {
    let mut hashes = [0; LISTED.len()];
    let mut numbers = [0; LISTED.len()];
    let mut index = 0;
    while index < LISTED.len() {
        let (family, text, number) = LISTED[index];
        hashes[index] = hashed::of(begin(family as u8), text.as_bytes());
        numbers[index] = number;
        index += 1;
    }
    Hashed::of(&hashes, &numbers, LISTED.len())
}

/// The hash of an option before its first byte: families do not share options.
#[inline(always)]
pub const fn begin(family: u8) -> u64 {
    hashed::add(hashed::EMPTY, family)
}

/// What an option does, by the hash of its beginning.
#[inline(always)]
pub fn meaning(hash: u64) -> Meaning {
    match TABLE.number(hash) {
        0 => Meaning::None,
        CODE => Meaning::Code,
        _ => Meaning::Paths,
    }
}

/// A byte as the program reads it; none for one that it leaves out. `before` is how many bytes of the
/// option there were.
#[inline(always)]
pub fn normal(family: u8, byte: u8, before: u64) -> Option<u8> {
    match byte {
        // Quotes may stand anywhere in a word.
        b'"' | b'\'' | b'\\' => None,
        b'_' if family == Family::Node as u8 => Some(b'-'),
        // Chromium takes one hyphen or two.
        b'-' if before == 1 && family == Family::Chromium as u8 => None,
        _ => Some(byte.to_ascii_lowercase()),
    }
}

/// Whether a letter among short options runs code. `is_long` says that the word is a long option,
/// or has a colon before.
#[inline(always)]
pub fn letter_is_code(family: u8, byte: u8, is_long: bool) -> bool {
    if family == Family::Ruby as u8 {
        return !is_long && (byte == b'r' || byte == b'I');
    }
    // Perl takes many options in one word, and code behind some. These are warnings, taint checks and
    // encodings.
    !matches!(
        byte,
        b'-' | b'w' | b'W' | b't' | b'T' | b'U' | b'C' | b'D' | b'S' | b'A' | b'E' | b'O' | b'0'
            ..=b'9'
    )
}
