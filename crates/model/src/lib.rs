//! The words that everything shares. So far: moments, as people and programs write them.

#![forbid(unsafe_code)]

mod time;

pub use time::{parse_rfc3339, rfc3339};
