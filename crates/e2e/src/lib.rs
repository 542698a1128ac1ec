//! End-to-end tests: real programs on a stage, with the built daemon guarding them.
//!
//! A [`Theatre`] is a sandbox of the crate `stage` whose cgroup is guarded by a daemon of
//! its own. The sandbox's init is the topmost process and counts as part of the machine;
//! what a test starts through it is the system's, the user's or nobody's, by what was
//! registered as what. When a theatre closes, it makes sure that nothing of it is left.
//!
//! The tests stand in `tests/`. Each is ignored unless asked for, because it needs root,
//! and says `skipped:` with the reason where it cannot run.

#![forbid(unsafe_code)]

mod beside;
mod cron;
pub mod evasions;
mod fault;
mod herd;
pub mod peers;
mod remains;
mod scene;
mod servers;
pub mod ssh;
mod terminal;
mod theatre;
mod tools;

use std::time::Duration;

pub use beside::unpacked;
pub use cron::CRON;
pub use fault::{LONG, WEB, at_length};
pub use herd::Herd;
pub use scene::{Scene, detail, details};
pub use terminal::Terminal;
pub use theatre::{OLDER_HOOKS, Options, Ran, Theatre, Top, times, word};
pub use tools::{address, is_missing, open_files, own_kib, wait_until, watcher_account};

/// How long anything may take that takes a moment, on a machine that is busy with fifteen other
/// programs. Nothing waits that long where all is well.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The user and group that people and bots on the stage are.
pub const PERSON: (u32, u32) = (65534, 65534);

/// Where the mail server listens in most scenes.
pub const SERVER: &str = "127.0.0.1:25";
