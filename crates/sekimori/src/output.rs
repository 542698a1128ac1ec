//! Standard output and standard error: colours, and readers that go away.

use std::io::{Error, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::render::Style;

/// The first thing that went wrong with standard output.
static LOST: Mutex<Option<String>> = Mutex::new(None);

/// Colours on a terminal, unless the user asked for none (`NO_COLOR`).
pub fn style() -> Style {
    Style {
        colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// The same for standard error.
pub fn stderr_style() -> Style {
    Style {
        colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Prints a line. `false` when it cannot be: there is no use in going on. [`all_said`] tells why.
pub fn say(line: &str) -> bool {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) => {
            not_said(&error);
            false
        }
    }
}

/// Something could not be written to standard output. All is well when nobody reads any more,
/// as behind `| head`.
pub fn not_said(error: &Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| format!("standard output: {error}"));
    }
}

/// Whether whoever reads got all that was said.
///
/// # Errors
///
/// Why not.
pub fn all_said() -> Result<(), Failure> {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    lost.take().map_or(Ok(()), |why| Err(Failure::failed(why)))
}

/// Says on standard error that something went wrong. Paths are in it, whatever they are made of.
pub fn trouble(text: &str) {
    tell(&format!("sekimori: {}", engine::printable(text)));
}

/// Prints a line on standard error. Where that cannot be written, as on a full disk, the line
/// is lost and nothing else: `eprintln!` would end the process. What the watcher does to the
/// standard error that it has from the keeper must not end the keeper.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
