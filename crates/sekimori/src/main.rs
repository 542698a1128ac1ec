//! Sekimori's one binary. All of it is in the library beside.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sekimori::main()
}
