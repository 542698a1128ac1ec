//! What the program asks of Linux: it loads and pins the gate, decodes its events, seeds
//! the process table and identifies programs.
//!
//! Loading happens once, in [`load`]; everything else works on what is pinned, through
//! [`gate::Gate`]. That a daemon adopts an older gate and that it starts a new one is so
//! the same code.

mod btf;
mod calls;
mod carry;
pub mod cgroup;
pub mod code;
pub mod confine;
pub mod decode;
pub mod descriptors;
mod error;
pub mod fallback;
pub mod folders;
pub mod forward;
mod functions;
pub mod gate;
pub mod hold;
pub mod identity;
pub mod load;
mod misses;
pub mod mounts;
pub mod pages;
mod parts;
mod patience;
pub mod pins;
pub mod procfs;
pub mod programs;
mod raw_map;
mod revoke;
pub mod roots;
pub mod sample;
pub mod seed;
pub mod unit;

pub use error::Error;
