//! Small things that every test needs.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Reads an address.
///
/// # Panics
/// When it is none.
pub fn address(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no ADDRESS:PORT"))
}

/// Whether one of these programs is not installed, which is printed as the reason for
/// skipping.
pub fn is_missing(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|path| !Path::new(path).exists())
        .collect();
    if !missing.is_empty() {
        println!("skipped: not installed: {missing:?}");
    }
    !missing.is_empty()
}

/// Asks again and again until there is an answer, for at most `limit`.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}
