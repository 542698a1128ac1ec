//! What the root tests share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stage::{Sandbox, SandboxOptions};

pub const LIMIT: Duration = Duration::from_secs(60);
pub const INIT: &str = env!("CARGO_BIN_EXE_stage-init");
pub const PLAYER: &str = env!("CARGO_BIN_EXE_stage-player");

/// A sandbox, or a printed reason why the test cannot run here.
pub fn sandbox() -> Option<Sandbox> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let options = SandboxOptions::new([INIT]).addresses([
        "198.51.100.25".parse().unwrap(),
        "2001:db8::25".parse().unwrap(),
    ]);
    match Sandbox::new(&options) {
        Ok(sandbox) => Some(sandbox),
        Err(error @ stage::Error::NoCgroup) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A copy of the stand-in program under a name of its own.
pub fn player(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.program(Path::new(PLAYER), name).unwrap()
}
