//! Between the keeper, which has privilege, and the watcher, which has none: one pair of
//! sockets, whole packets.
//!
//! The watcher asks, from the short table in [`request`]; the keeper answers, and sends news.
//! What the watcher sends is the border of privilege. It is read strictly, has a bound, and a
//! watcher that sends anything else is ended and started anew.

pub mod link;
pub mod news;
pub mod request;
pub mod served;
