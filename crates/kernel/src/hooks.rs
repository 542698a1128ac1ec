//! One file for each hook, and what two of them share.

mod connect;
mod egress;
mod exec;
mod exit;
mod flow;
mod fork;
mod release;
mod socket_state;
mod tamper;
mod trace;
