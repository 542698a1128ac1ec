//! What the weighing of observations comes to.

use crate::event::Timestamp;
use crate::evidence::Evidence;
use crate::observation::Subject;

/// A subject whose evidence is enough for `bot-suspected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Whose conduct it is.
    pub subject: Subject,
    /// When the evidence became enough.
    pub since: Timestamp,
    /// The sum of the weights.
    pub score: i32,
    /// Strongest first.
    pub evidence: Vec<Evidence>,
}
