//! One file for each hook, and what two of them share.

mod code;
mod connect;
mod egress;
mod exec;
mod exit;
pub mod flow;
mod fork;
mod holder;
mod ingress;
mod input;
mod memory;
mod received;
mod release;
mod send;
mod socket_state;
mod stuffed;
mod tamper;
mod trace;
pub mod verdict;
