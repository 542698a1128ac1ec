//! `log`: entries of the journal, oldest first.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use journal::{Filter, Journal};
use serde_json::Value;

use super::reader;
use crate::cli::LogArgs;
use crate::clock;
use crate::control::client::{ask, nudge, wait};
use crate::control::protocol::{ENTRIES_MAX, Request};
use crate::failure::{Failure, need_root};
use crate::output::{say, style};
use crate::paths::Paths;

/// How often `--follow` looks for more where the daemon does not wait for it.
const FOLLOW_EVERY: Duration = Duration::from_millis(300);

/// From when on entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So many nanoseconds ago.
    Ago(u64),
    /// At this moment, nanoseconds since 1970.
    At(u64),
}

/// Reads `10m`, `2h`, `3d`, `45s`, or an RFC 3339 time.
///
/// # Errors
///
/// Says what was expected.
pub fn parse_since(text: &str) -> Result<Since, String> {
    let expected = || {
        "expected a length such as 10m, 2h or 3d, or a time such as 2026-11-22T08:00:00Z".to_owned()
    };
    if let Some(at) = model::parse_rfc3339(text) {
        return Ok(Since::At(at));
    }
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number
        .checked_mul(seconds * 1_000_000_000)
        .map(Since::Ago)
        .ok_or_else(expected)
}

/// `log`.
pub fn run(options: &LogArgs, paths: &Paths) -> Result<ExitCode, Failure> {
    let since = options.since.map(|since| match since {
        Since::Ago(length) => clock::now().0.saturating_sub(length),
        Since::At(moment) => moment,
    });
    let style = style();
    let json = options.json;
    let mut last = 0;
    let mut show = |entry: Value| {
        last = entry["id"].as_u64().unwrap_or(last);
        let line = if json {
            entry.to_string()
        } else {
            present::log_line(&entry, style)
        };
        say(&line)
    };
    let mut source = Source::find(paths)?;
    let mut after = None;
    nudge(source.socket());
    loop {
        let mut count = 0;
        let mut read_on = true;
        source.read(since, after, |entry| {
            count += 1;
            after = entry["id"].as_u64();
            read_on = show(entry);
            read_on
        })?;
        if !read_on || (count == 0 && !options.follow) {
            return Ok(ExitCode::SUCCESS);
        }
        if count == 0 && !wait(source.socket(), since, after) {
            sleep(FOLLOW_EVERY);
            nudge(source.socket());
        }
    }
}

/// Where entries come from: root's command reads the journal itself, which also works without
/// a daemon; others ask the daemon, which shows them what is about them.
enum Source<'a> {
    /// And the control socket.
    Journal(Box<Journal>, PathBuf),
    Daemon(&'a Paths),
}

impl<'a> Source<'a> {
    fn find(paths: &'a Paths) -> Result<Self, Failure> {
        if rustix::process::geteuid().is_root() {
            if !paths.journal.exists() {
                // A daemon whose journal was removed begins a new one.
                nudge(&paths.socket);
            }
            let (journal, socket) = reader::open(paths)?;
            return Ok(Self::Journal(Box::new(journal), socket));
        }
        Ok(Self::Daemon(paths))
    }

    /// The daemon's socket, by the name by which it is found now.
    fn socket(&self) -> &Path {
        match self {
            Self::Journal(_, socket) => socket,
            Self::Daemon(paths) => &paths.socket,
        }
    }

    /// Hands at most a chunk of entries to `each`, until it says no.
    fn read(
        &mut self,
        since: Option<u64>,
        after: Option<u64>,
        mut each: impl FnMut(Value) -> bool,
    ) -> Result<(), Failure> {
        match self {
            Self::Journal(journal, _) => {
                let filter = Filter {
                    since,
                    after_id: after,
                    ..Filter::default()
                };
                let mut left = ENTRIES_MAX;
                journal.query(&filter, |entry| {
                    left -= 1;
                    if each(entry.to_json()) && left > 0 {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
            }
            Self::Daemon(paths) => {
                let mut on = true;
                let answered = ask(&paths.socket, &Request::Entries { since, after }, |entry| {
                    if on {
                        on = each(entry);
                    }
                })?;
                if !answered {
                    need_root("log")?;
                }
            }
        }
        Ok(())
    }
}

/// One entry.
///
/// # Errors
///
/// When there is none with that number, or it is not this user's.
pub fn entry(id: u64, paths: &Paths) -> Result<Value, Failure> {
    let none = || Failure::failed(format!("no entry {id} (`sekimori log` lists them)"));
    if let Source::Journal(journal, _) = Source::find(paths)? {
        return Ok(journal.get(id)?.ok_or_else(none)?.to_json());
    }
    let mut found = None;
    if !ask(&paths.socket, &Request::Entry { id }, |entry| {
        found = Some(entry)
    })? {
        need_root("explain")?;
    }
    found.ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times_are_read() {
        assert_eq!(parse_since("10m"), Ok(Since::Ago(600_000_000_000)));
        assert_eq!(parse_since("3d"), Ok(Since::Ago(259_200_000_000_000)));
        assert!(matches!(
            parse_since("2026-11-22T08:00:00Z"),
            Ok(Since::At(_))
        ));
        for bad in [
            "",
            "m",
            "10",
            "-1h",
            "yesterday",
            "99999999999999999d",
            "1ü",
        ] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }
}
