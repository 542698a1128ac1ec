//! What decides which programs are registered and what is proposed, what the configuration says, and what
//! the keeper decides by time alone.
//!
//! Nothing here knows a platform. What only a platform can tell, such as which file a path leads to, is
//! passed in, and so is the time.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod config;
pub mod identity;
pub mod keeper;
pub mod learn;
pub mod proposal;
pub mod unsuitable;
