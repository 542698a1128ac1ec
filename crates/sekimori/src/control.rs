//! How other commands talk to the daemon: one JSON line for the request, lines of JSON for
//! the answer, over a Unix socket. Who asks is known from the socket itself.

pub mod client;
mod clients;
pub mod protocol;
pub mod server;
mod turns;
pub mod waiters;
