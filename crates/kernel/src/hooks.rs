//! One file for each hook.

mod connect;
mod egress;
mod exec;
mod exit;
mod fork;
mod socket_state;
mod tamper;
