//! The table of the configuration's keys: what each is for, its default, and whether a new value
//! takes effect at a reload or only when the daemon starts again.
//!
//! One entry of the table makes the field, the reader, the default and the difference that a
//! reload computes. A key without a declaration does not compile.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use linux::load::CallsWatched;
use serde_json::{Map, json};
use toml::Value;

/// When a new value of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// As soon as the configuration is read again.
    Reload,
    /// When the daemon starts again, and not a part of it before: the value decides which
    /// programs are in the kernel.
    Restart,
}

/// What a key is, for messages, documents and tests.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// When a new value takes effect.
    pub takes: Takes,
    /// What is expected of a value.
    pub expected: &'static str,
    /// Values that mean different things, as they are written in the file; the default is the first.
    pub examples: &'static [&'static str],
}

/// Why a key or its value is not taken.
pub(super) enum Problem {
    UnknownKey,
    Expected(&'static str),
}

/// A value that is read from the file and shown by `status`.
trait Setting {
    fn shown(&self) -> serde_json::Value;
}

macro_rules! keys {
    ($(
        $(#[doc = $doc:literal])+
        $key:ident: $type:ty = $default:expr, $takes:ident,
        $read:expr, $expected:literal, [$first:literal $(, $example:literal)+];
    )+) => {
        /// The settings, checked.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type,)+
        }

        /// Every key, in the order of the documentation.
        pub static KEYS: &[Key] = &[
            $(Key {
                name: stringify!($key),
                takes: Takes::$takes,
                expected: $expected,
                examples: &[$first $(, $example)+],
            },)+
        ];

        impl Default for Config {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Config {
            /// Takes a value from the file.
            pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), Problem> {
                match key {
                    $(stringify!($key) => {
                        self.$key = ($read)(value).ok_or(Problem::Expected($expected))?;
                    })+
                    _ => return Err(Problem::UnknownKey),
                }
                Ok(())
            }

            /// Takes from a newer configuration what takes effect at a reload. Returns the
            /// keys whose new values wait for a restart.
            pub fn reload(&mut self, newer: &Self) -> Vec<&'static str> {
                let mut waiting = Vec::new();
                $(match Takes::$takes {
                    Takes::Reload => self.$key.clone_from(&newer.$key),
                    Takes::Restart if self.$key != newer.$key => waiting.push(stringify!($key)),
                    Takes::Restart => {}
                })+
                waiting
            }

            /// The values, as `status` shows them.
            pub fn shown(&self) -> Map<String, serde_json::Value> {
                let mut all = Map::new();
                $(all.insert(stringify!($key).to_owned(), self.$key.shown());)+
                all
            }
        }
    };
}

keys! {
    /// TCP ports that the gate guards, 1 to 16 of them.
    mail_ports: Vec<u16> = vec![25, 465, 587], Reload,
    ports, "a list of 1 to 16 different ports, each from 1 to 65535",
    ["[25, 465, 587]", "[25]", "[2525, 26]"];

    /// TCP ports where IRC servers listen.
    irc_ports: RangeInclusive<u16> = 6660..=6669, Reload,
    port_range, "ports as \"FIRST-LAST\", such as \"6660-6669\"",
    ["\"6660-6669\"", "\"6667\"", "\"7000-7010\""];

    /// What is done with packets.
    packet_watch: PacketWatch = PacketWatch::Full, Restart,
    PacketWatch::read, "\"full\", \"mail\" or \"off\"",
    ["\"full\"", "\"mail\"", "\"off\""];

    /// Whether writing into another's memory is watched, and `pidfd_getfd`, which makes every
    /// system call of the machine a little slower.
    call_watch: CallWatch = CallWatch::Auto, Restart,
    CallWatch::read, "\"auto\", \"on\" or \"off\"",
    ["\"auto\"", "\"on\"", "\"off\""];

    /// Whether packets to mail ports are refused that this machine forwards for others.
    guard_forwarded: GuardForwarded = GuardForwarded::Auto, Reload,
    GuardForwarded::read, "\"auto\", \"on\" or \"off\"",
    ["\"auto\"", "\"on\"", "\"off\""];

    /// Connections a minute for one interactive or batch mailer; 0 is no limit.
    rate_per_minute: u32 = 120, Reload,
    |value| whole(value, 0..=1_000_000), "a whole number from 0 (no limit) to 1000000",
    ["120", "0", "7"];

    /// Whether submitters started by a process that may not send are ended.
    guard_submitters: bool = true, Reload,
    Value::as_bool, "true or false",
    ["true", "false"];

    /// Whether findings are shown on the desktop.
    notify: bool = true, Reload,
    Value::as_bool, "true or false",
    ["true", "false"];

    /// Whether refused mail is reported to the machine's system log.
    syslog: Syslog = Syslog::On, Reload,
    Syslog::read, "true, false or the absolute path of the log's socket",
    ["true", "false", "\"/run/log\""];

    /// How long journal entries are kept.
    journal_keep_days: u32 = 90, Reload,
    |value| whole(value, 1..=36_500), "a whole number of days from 1 to 36500",
    ["90", "1", "365"];

    /// How many journal entries are kept at most.
    journal_max_entries: u64 = 1_000_000, Reload,
    |value| whole(value, 1_000..=1_000_000_000).map(u64::from),
    "a whole number from 1000 to 1000000000",
    ["1000000", "1000"];
}

/// What the gate does with packets, beyond connect().
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketWatch {
    /// As [`PacketWatch::Mail`]; and of connections and DNS queries of what may not send, the
    /// first bytes are looked at, to find bots.
    Full,
    /// Packets to mail ports without a grant are dropped.
    Mail,
    /// No packet is looked at: only connect() is judged.
    Off,
}

impl PacketWatch {
    const WORDS: [(&str, Self); 3] = [
        ("full", Self::Full),
        ("mail", Self::Mail),
        ("off", Self::Off),
    ];

    fn read(value: &Value) -> Option<Self> {
        of_word(&Self::WORDS, value)
    }
}

/// Whether calls are watched that reach into another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallWatch {
    /// Where nothing else forbids them, and no further than it slows nobody down.
    Auto,
    /// All of them, always.
    On,
    /// Never.
    Off,
}

impl CallWatch {
    const WORDS: [(&str, Self); 3] = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];

    fn read(value: &Value) -> Option<Self> {
        of_word(&Self::WORDS, value)
    }

    /// What to watch on this machine. With Yama's `ptrace_scope` at 1 or more the kernel
    /// refuses the calls to everybody but a process's own ancestors, which started it and are
    /// in its lineage.
    pub fn on_this_machine(self) -> CallsWatched {
        match self {
            Self::On => CallsWatched::Every,
            Self::Off => CallsWatched::None,
            Self::Auto => {
                let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
                if scope
                    .is_ok_and(|scope| scope.trim().parse::<u32>().is_ok_and(|scope| scope >= 1))
                {
                    CallsWatched::None
                } else {
                    CallsWatched::Cheap
                }
            }
        }
    }
}

/// Where refused mail is reported to, beside the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// The machine's system log.
    On,
    /// Nowhere.
    Off,
    /// A log that listens at this socket.
    At(PathBuf),
}

impl Syslog {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(true) => Some(Self::On),
            Value::Boolean(false) => Some(Self::Off),
            Value::String(path) if path.starts_with('/') => Some(Self::At(path.into())),
            _ => None,
        }
    }
}

impl Setting for Syslog {
    fn shown(&self) -> serde_json::Value {
        match self {
            Self::On => true.into(),
            Self::Off => false.into(),
            Self::At(path) => path.to_string_lossy().into(),
        }
    }
}

/// Whether packets to mail ports are refused that come from no socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardForwarded {
    /// Those that come in by an interface in a user's hands.
    Auto,
    /// All that are forwarded, and those.
    On,
    /// None.
    Off,
}

impl GuardForwarded {
    const WORDS: [(&str, Self); 3] = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];

    fn read(value: &Value) -> Option<Self> {
        of_word(&Self::WORDS, value)
    }

    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl Setting for GuardForwarded {
    fn shown(&self) -> serde_json::Value {
        self.word().into()
    }
}

impl Setting for PacketWatch {
    fn shown(&self) -> serde_json::Value {
        word_of(&Self::WORDS, self)
    }
}

impl Setting for CallWatch {
    fn shown(&self) -> serde_json::Value {
        word_of(&Self::WORDS, self)
    }
}

impl Setting for RangeInclusive<u16> {
    fn shown(&self) -> serde_json::Value {
        json!(format!("{}-{}", self.start(), self.end()))
    }
}

macro_rules! plain {
    ($($type:ty),+) => {
        $(impl Setting for $type {
            fn shown(&self) -> serde_json::Value {
                json!(self)
            }
        })+
    };
}

plain!(Vec<u16>, bool, u32, u64);

fn of_word<T: Copy>(words: &[(&str, T)], value: &Value) -> Option<T> {
    let word = value.as_str()?;
    let found = words.iter().find(|(known, _)| *known == word);
    found.map(|(_, meaning)| *meaning)
}

fn word_of<T: PartialEq>(words: &[(&str, T)], value: &T) -> serde_json::Value {
    let found = words.iter().find(|(_, meaning)| meaning == value);
    found.map(|(word, _)| *word).into()
}

fn whole(value: &Value, range: RangeInclusive<u32>) -> Option<u32> {
    u32::try_from(value.as_integer()?)
        .ok()
        .filter(|number| range.contains(number))
}

fn ports(value: &Value) -> Option<Vec<u16>> {
    let port = |value: &Value| {
        u16::try_from(value.as_integer()?)
            .ok()
            .filter(|port| *port != 0)
    };
    let ports: Vec<u16> = value.as_array()?.iter().map(port).collect::<Option<_>>()?;
    let repeated = ports
        .iter()
        .enumerate()
        .any(|(index, port)| ports[..index].contains(port));
    (!repeated && (1..=abi::MAIL_PORTS_MAX).contains(&ports.len())).then_some(ports)
}

fn port_range(value: &Value) -> Option<RangeInclusive<u16>> {
    let text = value.as_str()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    let range = port(first)?..=port(last)?;
    (!range.is_empty()).then_some(range)
}
