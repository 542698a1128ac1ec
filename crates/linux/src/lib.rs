//! What the program asks of Linux.

pub mod identity;
