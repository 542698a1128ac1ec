//! Captures in, flows out: reads pcap and pcapng, follows TCP and UDP, and asks `protocols`
//! what each flow is. What the hosts did on the way is told as observations, each host standing
//! for a lineage.
//!
//! Memory is bounded whatever is read: packets are looked at where they were read, the table
//! of flows has a limit, and what had to leave it early is counted.

#![forbid(unsafe_code)]

mod capture;
mod error;
mod exclude;
mod flow;
mod follow;
mod fragments;
mod hosts;
mod layers;
mod names;
mod network;
mod observe;
mod pcap;
mod pcapng;
mod port;
mod replay;
mod source;
mod stream;
mod table;
pub mod timeline;
mod transport;
mod tunnel;
mod unread;

pub use error::{Damage, Error};
pub use exclude::{Network, NotANetwork};
pub use flow::{FlowRecord, Transport};
pub use hosts::{HostSettings, Hosts};
pub use observe::Sink;
pub use replay::{Settings, Summary, replay, replay_into};
pub use source::Input;
pub use timeline::Timeline;
pub use unread::{Amount, NotRead, What};
