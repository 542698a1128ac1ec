//! What is this traffic? From the first bytes of a connection, both sides, to facts: IRC,
//! SMTP, DNS, TLS, HTTP, and what must not be mistaken for them.
//!
//! Pure functions over bytes: no I/O, no clock, no port numbers. Whatever the bytes are,
//! nothing here panics, and a [`Classifier`] holds at most some KiB.

#![forbid(unsafe_code)]

mod app;
mod begin;
mod classifier;
pub mod dns;
mod facts;
pub mod http;
pub mod irc;
mod lines;
mod others;
mod shape;
mod signature;
pub mod smtp;
pub mod tls;
mod tunnel;
mod websocket;

pub use app::App;
pub use begin::begins_anew;
pub use classifier::{Classifier, LIMIT_BYTES, Outcome, Progress, Roles};
pub use facts::{Facts, Side, Tunnel};

/// The text of some bytes, cut after `limit` bytes. What is no UTF-8 is replaced.
fn text(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned()
}
