//! Answers of this machine's servers to connections that came from a mail port. Anybody may make
//! such connections, as many as he likes: they are no evidence of anything, and one entry now
//! and then speaks for all of them.

use std::net::SocketAddr;

use crate::entry::{FindingKind, NoticeEntry};
use crate::event::Timestamp;
use crate::limiter::{Limiter, Report};

/// One entry an hour.
const TOLD_EVERY_NS: u64 = 3_600_000_000_000;

/// More answers than this at once count as so many.
const COUNTED_MAX: u64 = 1_000_000;

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) own_port: u16,
    pub(crate) destination: SocketAddr,
    pub(crate) observed: bool,
}

/// Which of them are told.
#[derive(Debug)]
pub(crate) struct Answers(Limiter<(), Answer>);

impl Answers {
    pub(crate) fn new() -> Self {
        Self(Limiter::new(TOLD_EVERY_NS, 1, 1))
    }

    /// What is to be written about `count` answers now.
    pub(crate) fn take(
        &mut self,
        answer: Answer,
        count: u64,
        now: Timestamp,
    ) -> Option<NoticeEntry> {
        // All are equally harmless.
        let gravity = FindingKind::IllegalSend;
        let alike = (answer, count.min(COUNTED_MAX));
        self.0.offer_alike(0, (), gravity, alike, now).map(told)
    }

    /// What was held back and has waited long enough.
    pub(crate) fn expire(&mut self, now: Timestamp) -> impl Iterator<Item = NoticeEntry> + use<> {
        self.0.expire(now).into_iter().map(told)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.0.next_deadline()
    }

    /// The clock was set back.
    pub(crate) fn set_back(&mut self, nanoseconds: u64) {
        self.0.set_back(nanoseconds);
    }
}

fn told(report: Report<Answer>) -> NoticeEntry {
    let Answer {
        own_port,
        destination,
        observed,
    } = report.value;
    let fate = if observed {
        "would have been dropped"
    } else {
        "was dropped"
    };
    let others = match report.suppressed {
        0 => String::new(),
        more => format!("; {more} more like it since this was last said"),
    };
    NoticeEntry {
        text: format!(
            "an answer of the server on port {own_port} to {destination} {fate}: that connection came from a mail port, which nothing is sent to without a grant{others}"
        ),
        count: Some(report.suppressed + 1),
        ..NoticeEntry::default()
    }
}
