//! The configuration: `/etc/sekimori/config.toml`, and nothing else.
//!
//! Every mistake in it is one line that names the file, the place, the key and what was
//! expected. Nothing is guessed and no unknown key is passed over, because a mistyped key
//! would leave a gate open that its owner believes shut.

mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use toml::{Spanned, Value};

pub use keys::{CallWatch, Config, GuardForwarded, KEYS, Key, PacketWatch, Syslog, Takes};

use keys::Problem;

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sekimori/config.toml";

/// No configuration is longer than this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

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
    let names = KEYS.iter().map(|key| key.name);
    match nearest(key, names.clone()) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => format!("; expected one of {}", names.collect::<Vec<_>>().join(", ")),
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
mod tests;
