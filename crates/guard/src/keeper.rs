//! What the keeper decides by time alone: how often something may be done, how soon a file is looked at
//! again, and whether the watcher still works. Time is an argument.

pub mod allowance;
pub mod pace;
pub mod pulse;
