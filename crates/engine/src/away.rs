//! What is told when an interactive mailer sends and nobody has used the computer for a while. It is
//! evidence, and makes nobody a bot by itself: a mailer may send at a set time.

use std::net::SocketAddr;

use crate::entry::{FindingEntry, FindingKind, JudgedWord, NoticeEntry};
use crate::event::Actor;
use crate::evidence::{Evidence, seconds};
use crate::printable::program_name;
use crate::sign::Sign;

/// A mailer that sent while nobody was there.
pub(crate) struct Away<'a> {
    actor: &'a Actor,
    destination: SocketAddr,
    idle_ns: u64,
    refused: bool,
}

impl<'a> Away<'a> {
    pub(crate) const fn new(
        actor: &'a Actor,
        destination: SocketAddr,
        idle_ns: u64,
        refused: bool,
    ) -> Self {
        Self {
            actor,
            destination,
            idle_ns,
            refused,
        }
    }

    /// The journal's entry, with the time.
    pub(crate) fn notice(&self) -> NoticeEntry {
        let what = if self.refused {
            "tried to connect"
        } else {
            "connected"
        };
        NoticeEntry {
            text: format!(
                "{} (pid {}) {what} to the mail server {}, and {}",
                program_name(&self.actor.program),
                self.actor.pid,
                self.destination,
                self.idle_words()
            ),
            pid: Some(self.actor.pid),
            uid: Some(self.actor.uid),
            program: Some(self.actor.program.clone()),
            count: None,
        }
    }

    /// The finding; none when the gate refused, because the refusal has one.
    pub(crate) fn finding(&self) -> Option<FindingEntry> {
        let actor = self.actor;
        let culprit = actor.lineage.culprit.as_ref();
        (!self.refused).then(|| FindingEntry {
            finding: FindingKind::IllegalSend,
            reason: None,
            judged: JudgedWord::Connect,
            observed: false,
            suppressed: 0,
            evidence: vec![Evidence::new(Sign::NobodyThere, self.idle_words())],
            culprit: culprit.map(|culprit| culprit.program.clone()),
            culprit_pid: culprit.map(|culprit| culprit.pid),
            program: actor.program.clone(),
            role: actor.role,
            pid: actor.pid,
            uid: actor.uid,
            comm: actor.comm.clone(),
            destination: Some(self.destination),
            tampered: actor.tampered,
            lineage: actor.lineage.links.clone(),
            lost: actor.lineage.lost,
            script: None,
            unit: None,
            tampered_by: None,
            tampered_flaw: None,
        })
    }

    fn idle_words(&self) -> String {
        format!(
            "nobody had used this computer for {}",
            seconds(self.idle_ns)
        )
    }
}
