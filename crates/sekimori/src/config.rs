//! The configuration: `/etc/sekimori/config.toml`, and nothing else.
//!
//! Every mistake in it is one line that names the file, the place, the key and what was
//! expected. Nothing is guessed and no unknown key is passed over, because a mistyped key
//! would leave a gate open that its owner believes shut.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use linux::load::CallsWatched;
use std::collections::BTreeMap;
use toml::{Spanned, Value};

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sekimori/config.toml";

/// No configuration is longer than this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

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

/// The settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// TCP ports that the gate guards, 1 to 16 of them.
    pub mail_ports: Vec<u16>,
    /// TCP ports where IRC servers listen.
    pub irc_ports: RangeInclusive<u16>,
    /// What is done with packets.
    pub packet_watch: PacketWatch,
    /// Whether writing into another's memory is watched, and `pidfd_getfd`, which makes every
    /// system call of the machine a little slower.
    pub call_watch: CallWatch,
    /// Connections a minute for one interactive or batch mailer; 0 is no limit.
    pub rate_per_minute: u32,
    /// Whether submitters started by a process that may not send are ended.
    pub guard_submitters: bool,
    /// Whether findings are shown on the desktop.
    pub notify: bool,
    /// How long journal entries are kept.
    pub journal_keep_days: u32,
    /// How many journal entries are kept at most.
    pub journal_max_entries: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mail_ports: vec![25, 465, 587],
            irc_ports: 6660..=6669,
            packet_watch: PacketWatch::Full,
            call_watch: CallWatch::Auto,
            rate_per_minute: 120,
            guard_submitters: true,
            notify: true,
            journal_keep_days: 90,
            journal_max_entries: 1_000_000,
        }
    }
}

const KEYS: [&str; 9] = [
    "mail_ports",
    "irc_ports",
    "packet_watch",
    "call_watch",
    "rate_per_minute",
    "guard_submitters",
    "notify",
    "journal_keep_days",
    "journal_max_entries",
];

impl Config {
    /// Reads `named`, or the default file when there is none. The default file may be
    /// absent, which means the defaults; a named one must be there.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match read_text(path)? {
            Some(text) => Self::parse(&text, path),
            None if named.is_none() => Ok(Self::default()),
            None => bail!("{}: no such file", path.display()),
        }
    }

    /// Reads the text of a configuration. `path` is only for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config = Self::default();
        let entries: BTreeMap<Spanned<String>, Spanned<Value>> =
            toml::from_str(text).map_err(|error| located(path, text, &error))?;
        for (key, value) in &entries {
            let at = Place::of(path, text, value.span().start);
            let name = key.get_ref().as_str();
            config
                .set(name, value.get_ref())
                .map_err(|expected| match expected {
                    Problem::UnknownKey => {
                        let at = Place::of(path, text, key.span().start);
                        anyhow!(
                            "{at}: unknown key \"{}\"{}",
                            name.escape_debug(),
                            or_else(name)
                        )
                    }
                    Problem::Expected(expected) => {
                        anyhow!(
                            "{at}: {name}: expected {expected}, found {}",
                            found(value.get_ref())
                        )
                    }
                })?;
        }
        if let Some(both) = config
            .mail_ports
            .iter()
            .find(|port| config.irc_ports.contains(port))
        {
            bail!(
                "{}: port {both} is both in mail_ports and in irc_ports, expected in one",
                path.display()
            );
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), Problem> {
        match key {
            "mail_ports" => {
                self.mail_ports = ports(value).ok_or(Problem::Expected(
                    "a list of 1 to 16 different ports, each from 1 to 65535",
                ))?;
            }
            "irc_ports" => {
                self.irc_ports = port_range(value).ok_or(Problem::Expected(
                    "ports as \"FIRST-LAST\", such as \"6660-6669\"",
                ))?;
            }
            "packet_watch" => {
                self.packet_watch = match value.as_str() {
                    Some("full") => PacketWatch::Full,
                    Some("mail") => PacketWatch::Mail,
                    Some("off") => PacketWatch::Off,
                    _ => return Err(Problem::Expected("\"full\", \"mail\" or \"off\"")),
                };
            }
            "call_watch" => {
                self.call_watch = match value.as_str() {
                    Some("auto") => CallWatch::Auto,
                    Some("on") => CallWatch::On,
                    Some("off") => CallWatch::Off,
                    _ => return Err(Problem::Expected("\"auto\", \"on\" or \"off\"")),
                };
            }
            "rate_per_minute" => {
                self.rate_per_minute = whole(value, 0..=1_000_000).ok_or(Problem::Expected(
                    "a whole number from 0 (no limit) to 1000000",
                ))?;
            }
            "guard_submitters" => self.guard_submitters = switch(value)?,
            "notify" => self.notify = switch(value)?,
            "journal_keep_days" => {
                self.journal_keep_days = whole(value, 1..=36_500)
                    .ok_or(Problem::Expected("a whole number of days from 1 to 36500"))?;
            }
            "journal_max_entries" => {
                self.journal_max_entries = whole(value, 1_000..=1_000_000_000)
                    .ok_or(Problem::Expected("a whole number from 1000 to 1000000000"))?
                    .into();
            }
            _ => return Err(Problem::UnknownKey),
        }
        Ok(())
    }
}

enum Problem {
    UnknownKey,
    Expected(&'static str),
}

fn switch(value: &Value) -> Result<bool, Problem> {
    value.as_bool().ok_or(Problem::Expected("true or false"))
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

/// A value for a message, short enough for one line.
fn found(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 60 && !text.contains(char::is_control) {
        text
    } else {
        format!("{} of {} characters", value.type_str(), text.len())
    }
}

fn or_else(key: &str) -> String {
    match nearest(key, KEYS.iter().copied()) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => format!("; expected one of {}", KEYS.join(", ")),
    }
}

/// The candidate that a mistyped word most likely meant, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain = |word: &str| word.to_lowercase().replace(['-', ' ', '.'], "_");
    let word = plain(word);
    candidates
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many characters to insert, delete or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// A place in a file: `FILE:LINE:COLUMN`, both counted from 1.
pub struct Place<'a> {
    path: &'a Path,
    line: usize,
    column: usize,
}

impl<'a> Place<'a> {
    /// The place of a byte offset.
    pub fn of(path: &'a Path, text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self { path, line, column }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// What the TOML reader said, in one line, with its place.
pub fn located(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let message: String = error.message().trim().replace('\n', "; ");
    let message: String = message
        .chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_debug().collect()
            } else {
                vec![c]
            }
        })
        .collect();
    match error.span() {
        Some(span) => anyhow!("{}: {message}", Place::of(path, text, span.start)),
        None => anyhow!("{}: {message}", path.display()),
    }
}

/// The text of a file of ours. `None` when it is not there.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("{shown}: cannot be read"))?,
    };
    if metadata.is_dir() {
        bail!("{shown}: is a folder, expected a TOML file");
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{shown}: cannot be read"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{shown}: is longer than 1 MiB, expected a short TOML file");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            bail!(
                "{}: is not UTF-8 text, expected a TOML file",
                Place::of(path, &text, good)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("c.toml"))
    }

    fn complaint(text: &str) -> String {
        let complaint = parse(text).unwrap_err().to_string();
        assert!(!complaint.contains('\n'), "{complaint}");
        complaint
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(parse("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_taken() {
        let config = parse(
            "mail_ports = [2525]\nirc_ports = \"6667\"\npacket_watch = \"off\"\ncall_watch = \"on\"\nrate_per_minute = 0\n\
             guard_submitters = false\nnotify = false\njournal_keep_days = 1\njournal_max_entries = 1000\n",
        )
        .unwrap();
        let expected = Config {
            mail_ports: vec![2525],
            irc_ports: 6667..=6667,
            packet_watch: PacketWatch::Off,
            call_watch: CallWatch::On,
            rate_per_minute: 0,
            guard_submitters: false,
            notify: false,
            journal_keep_days: 1,
            journal_max_entries: 1000,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn an_unknown_key_is_named_with_what_was_meant() {
        assert_eq!(
            complaint("\nmail_port = [25]"),
            "c.toml:2:1: unknown key \"mail_port\"; did you mean \"mail_ports\"?"
        );
        assert_eq!(
            complaint("notfy = true"),
            "c.toml:1:1: unknown key \"notfy\"; did you mean \"notify\"?"
        );
        assert_eq!(
            complaint("journal-keep-days = 3"),
            "c.toml:1:1: unknown key \"journal-keep-days\"; did you mean \"journal_keep_days\"?"
        );
        assert!(complaint("colour = 1").starts_with(
            "c.toml:1:1: unknown key \"colour\"; expected one of mail_ports, irc_ports"
        ));
        assert!(complaint("[gate]\nnotify = true").starts_with("c.toml:1:2: unknown key \"gate\""));
        assert!(complaint("\"a\\nb\" = 1").contains("unknown key \"a\\nb\""));
    }

    #[test]
    fn a_wrong_value_is_named_with_what_was_expected() {
        assert_eq!(
            complaint("notify = true\nmail_ports = \"25\""),
            "c.toml:2:14: mail_ports: expected a list of 1 to 16 different ports, each from 1 to 65535, found \"25\""
        );
        for bad in [
            "[]",
            "[0]",
            "[65536]",
            "[-1]",
            "[25, 25]",
            "[25.0]",
            "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
        ] {
            assert!(
                complaint(&format!("mail_ports = {bad}")).contains("mail_ports: expected a list"),
                "{bad}"
            );
        }
        for bad in [
            "6667",
            "\"\"",
            "\"6669-6660\"",
            "\"0-5\"",
            "\"6660-66690\"",
            "\"a-b\"",
            "\"1-2-3\"",
        ] {
            assert!(
                complaint(&format!("irc_ports = {bad}")).contains("irc_ports: expected ports"),
                "{bad}"
            );
        }
        assert_eq!(
            complaint("packet_watch = \"some\""),
            "c.toml:1:16: packet_watch: expected \"full\", \"mail\" or \"off\", found \"some\""
        );
        assert!(
            complaint("packet_watch = true")
                .ends_with("expected \"full\", \"mail\" or \"off\", found true")
        );
        assert!(complaint("rate_per_minute = -1").ends_with("found -1"));
        assert!(
            complaint("notify = \"yes\"")
                .ends_with("notify: expected true or false, found \"yes\"")
        );
        assert!(complaint("journal_keep_days = 0").contains("from 1 to 36500"));
        assert!(complaint("journal_max_entries = 1e6").contains("whole number"));
        assert!(complaint("mail_ports = [6667]").contains("both in mail_ports and in irc_ports"));
        assert!(
            complaint(&format!("notify = \"{}\"", "x".repeat(100)))
                .ends_with("found string of 102 characters")
        );
    }

    #[test]
    fn broken_toml_is_one_line_with_its_place() {
        assert!(
            complaint("notify = true\nnotify = false").starts_with("c.toml:2:1: duplicate key")
        );
        assert!(complaint("notify = ").starts_with("c.toml:1:10: "));
        assert!(complaint("\u{0}\u{1}\u{7f}").starts_with("c.toml:1:"));
        assert!(complaint("[[[").starts_with("c.toml:1:"));
    }

    #[test]
    fn files_that_are_no_configuration_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let load = |path: &Path| Config::load(Some(path)).unwrap_err().to_string();
        let path = folder.path().join("c.toml");
        assert!(load(&path).ends_with("c.toml: no such file"));
        assert!(load(folder.path()).contains("is a folder"));
        fs::write(&path, b"notify = true\n\x80\xff\x00").unwrap();
        assert!(load(&path).ends_with("c.toml:2:1: is not UTF-8 text, expected a TOML file"));
        fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        assert!(load(&path).contains("longer than 1 MiB"));
        fs::write(&path, "").unwrap();
        assert_eq!(Config::load(Some(&path)).unwrap(), Config::default());
        assert_eq!(
            Config::load(Some(Path::new("/dev/null"))).unwrap(),
            Config::default()
        );
    }
}
