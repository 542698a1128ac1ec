//! test
use crate::channel::link::Link;
pub fn play(_: &mut Link) {}
