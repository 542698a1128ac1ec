//! Standard output and standard error: colours, and readers that go away.

use std::io::{IsTerminal as _, Write as _};

use crate::render::Style;

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

/// Prints a line. `false` when nobody reads any more, as behind `| head`.
pub fn say(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// Prints a line on standard error. Where that cannot be written, as on a full disk, the line
/// is lost and nothing else: `eprintln!` would end the process.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
