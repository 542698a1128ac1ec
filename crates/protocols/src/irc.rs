//! Internet Relay Chat: RFC 1459, RFC 2812, and what IRCv3 adds (tags, CAP, SASL).
//!
//! [`message`] is the grammar of one line, [`score`] says how much a line speaks for IRC, and
//! [`IrcFacts`] keeps what was said first. [`Watch`] listens on, for as long as a connection
//! that was recognised lives.

mod facts;
mod message;
mod names;
mod score;
mod watch;
mod words;

pub use facts::{CHANNELS_MAX, Channel, Command, Heard, IrcFacts, MESSAGES_MAX, Text};
pub use message::{Message, PARAMETERS_MAX, Prefix};
pub(crate) use score::{Score, Worth, say};
pub use watch::Watch;
