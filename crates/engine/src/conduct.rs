//! Entries about what somebody did without asking for mail: conduct, and tampering.

use policy::{Role, Tamper};

use crate::blame::is_starter;
use crate::entry::{FindingEntry, FindingKind, JudgedWord, NoticeEntry};
use crate::event::{Culprit, Party, Sample};
use crate::printable::program_name;
use crate::suspicion::Suspicion;

/// The finding that somebody behaves like a bot, without a refusal. The lineage is not known
/// here; whoever performs the action may fill it in.
pub(crate) fn conduct(sample: &Sample, suspicion: Suspicion) -> FindingEntry {
    let flow = &sample.flow;
    let starter = flow
        .culprit
        .as_ref()
        .is_some_and(|culprit| is_starter(&culprit.program));
    let culprit = match &flow.culprit {
        Some(_) if starter && flow.role == Role::Unknown => Some(Culprit {
            program: flow.program.clone(),
            pid: flow.pid,
        }),
        other => other.clone(),
    };
    FindingEntry {
        finding: FindingKind::BotSuspected,
        reason: None,
        judged: JudgedWord::Conduct,
        observed: false,
        suppressed: 0,
        evidence: suspicion.evidence,
        culprit_pid: culprit.as_ref().map(|culprit| culprit.pid),
        culprit: culprit.map(|culprit| culprit.program),
        program: flow.program.clone(),
        role: flow.role,
        pid: flow.pid,
        uid: flow.uid,
        comm: String::new(),
        destination: Some(flow.destination),
        unit: None,
        script: None,
        tampered: Tamper::NONE,
        tampered_by: None,
        tampered_flaw: None,
        lineage: Vec::new(),
        lost: 0,
    }
}

/// What is written when somebody reaches into a process.
pub(crate) fn tampering(by: &Party, uid: u32, target: &Party, signs: Tamper) -> NoticeEntry {
    let what: Vec<_> = signs.words().collect();
    NoticeEntry {
        text: format!(
            "{} (pid {}) tampered with {} (pid {}): {}; it may not send mail until it is started again",
            program_name(&by.program),
            by.pid,
            program_name(&target.program),
            target.pid,
            what.join("; "),
        ),
        pid: Some(by.pid),
        uid: Some(uid),
        program: Some(by.program.clone()),
        count: None,
    }
}
