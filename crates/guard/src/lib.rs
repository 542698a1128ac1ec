//! What decides which programs are registered, and how the guard is set up: what is known of programs,
//! and what the configuration says.
//!
//! Nothing here knows a platform. What only a platform can tell, such as which file a path leads to, is
//! passed in.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod config;
pub mod identity;
pub mod keeper;
pub mod unsuitable;
