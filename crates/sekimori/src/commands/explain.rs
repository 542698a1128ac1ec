//! `explain ID`.

use std::process::ExitCode;

use super::log;
use crate::failure::Failure;
use crate::output::{say, style};
use crate::paths::Paths;

/// `explain ID`.
pub fn run(id: u64, json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let entry = log::entry(id, paths)?;
    if json {
        say(&entry.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let text = present::explain(&entry, style())
        .map_err(|error| Failure::failed(format!("entry {id} is not readable: {error}")))?;
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
