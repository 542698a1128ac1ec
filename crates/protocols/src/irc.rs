//! Internet Relay Chat: RFC 1459, RFC 2812, and what IRCv3 adds (tags, CAP, SASL).
//!
//! [`message`] is the grammar of one line, [`score`] says how much a line speaks for IRC, and
//! [`IrcFacts`] keeps what was said.

mod facts;
mod message;
mod score;

pub use facts::{CHANNELS_MAX, Channel, Command, IrcFacts, MESSAGES_MAX, Text};
pub use message::{Message, PARAMETERS_MAX, Prefix};
pub(crate) use score::Score;
