//! What is written to the journal: one struct for each type of entry, with the field names
//! that `log --json` promises.

use std::net::SocketAddr;
use std::sync::Arc;

use policy::{Flaw, Kind, Origin, Reason, Role, Tamper};
use serde::{Deserialize, Serialize};

use crate::event::{Actor, FlowInfo, Judged, LineageLink};
use crate::evidence::Evidence;
use crate::words;

/// One entry of the journal, without its number and time, which the journal adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry {
    /// The gate decided.
    Verdict(VerdictEntry),
    /// A grant was born or died.
    Grant(GrantEntry),
    /// What the user is told.
    Finding(FindingEntry),
    /// Anything else worth keeping.
    Notice(NoticeEntry),
}

impl Entry {
    /// The word in `"type"`.
    pub const fn kind_word(&self) -> &'static str {
        match self {
            Self::Verdict(_) => "verdict",
            Self::Grant(_) => "grant",
            Self::Finding(_) => "finding",
            Self::Notice(_) => "notice",
        }
    }

    /// The user that it is about; none for what concerns the machine.
    pub const fn uid(&self) -> Option<u32> {
        match self {
            Self::Verdict(verdict) => Some(verdict.uid),
            Self::Grant(grant) => Some(grant.uid),
            Self::Finding(finding) => Some(finding.uid),
            Self::Notice(notice) => notice.uid,
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The gate let it through.
    Allow,
    /// The gate refused, or would have if it did not only observe.
    Refuse,
}

/// What was judged, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgedWord {
    /// A connect() to a mail port.
    Connect,
    /// The exec of a submitter.
    Submit,
    /// A packet without a grant.
    Packet,
    /// Nothing that was refused: what a lineage does on the network.
    Conduct,
}

impl From<&Judged> for JudgedWord {
    fn from(judged: &Judged) -> Self {
        match judged {
            Judged::Connect { .. } => Self::Connect,
            Judged::Submit => Self::Submit,
            Judged::Packet { .. } => Self::Packet,
        }
    }
}

/// A verdict with everything that `explain` needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictEntry {
    /// Yes or no.
    pub verdict: Answer,
    /// Why.
    #[serde(with = "words::reason")]
    pub reason: Reason,
    /// About what.
    pub judged: JudgedWord,
    /// The refusal was only noted, because the gate observes.
    pub observed: bool,
    /// How many verdicts the entry stands for: refusals of the same program, lineage, user and
    /// destination, for the same reason, in quick succession. Not written when it is one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// The process. Where there are many verdicts, the first of them.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name for itself.
    pub comm: String,
    /// Path of its program; empty when unknown.
    pub program: Arc<str>,
    /// What the program is registered as.
    #[serde(with = "words::role")]
    pub role: Role,
    /// How the program comes to act.
    #[serde(with = "words::kind")]
    pub kind: Kind,
    /// Whose will the process carries.
    #[serde(with = "words::origin")]
    pub origin: Origin,
    /// Path of the culprit.
    pub culprit: Option<Arc<str>>,
    /// The process that the culprit was.
    pub culprit_pid: Option<u32>,
    /// "ip:port"; none for a submitter.
    pub destination: Option<SocketAddr>,
    /// The unit of the service manager that the process ran in, such as `cron.service`; of a session, its
    /// scope. Known of refusals that administrators are told of, where it could be found in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Arc<str>>,
    /// The script that the culprit ran, where the culprit is an interpreter: what its arguments say, which
    /// proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Arc<str>>,
    /// Signs of tampering.
    #[serde(with = "words::tamper")]
    pub tampered: Tamper,
    /// The variable or argument that was the first sign: its name, or how the argument begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tampered_by: Option<Arc<str>>,
    /// What was wrong with it.
    #[serde(
        default,
        with = "words::flaw_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub tampered_flaw: Option<Flaw>,
    /// Oldest first.
    pub lineage: Vec<LineageLink>,
    /// Links lost between the last one and the one before it.
    pub lost: u32,
}

const fn one() -> u64 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

impl VerdictEntry {
    /// The entry for one verdict of the gate.
    pub fn new(actor: &Actor, judged: &Judged, reason: Reason, observed: bool) -> Self {
        let culprit = actor.lineage.culprit.as_ref();
        Self {
            verdict: if reason == Reason::Permitted {
                Answer::Allow
            } else {
                Answer::Refuse
            },
            reason,
            judged: judged.into(),
            observed,
            count: 1,
            pid: actor.pid,
            uid: actor.uid,
            comm: actor.comm.clone(),
            program: actor.program.clone(),
            role: actor.role,
            kind: actor.kind,
            origin: actor.origin,
            culprit: culprit.map(|culprit| culprit.program.clone()),
            culprit_pid: culprit.map(|culprit| culprit.pid),
            destination: judged.destination(),
            unit: None,
            script: None,
            tampered: actor.tampered,
            tampered_by: actor.cause.map(|cause| cause.name.into()),
            tampered_flaw: actor.cause.map(|cause| cause.flaw),
            lineage: actor.lineage.links.clone(),
            lost: actor.lineage.lost,
        }
    }
}

/// Birth or death of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantChange {
    /// The connection was established.
    Opened,
    /// The connection was closed.
    Closed,
}

/// A grant was born or died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEntry {
    /// Which of the two.
    pub event: GrantChange,
    /// The socket.
    pub cookie: u64,
    /// The process that connected.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its program.
    pub program: Arc<str>,
    /// The mail server.
    pub destination: SocketAddr,
    /// Payload bytes that the server acknowledged; only when closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Payload bytes from the server; only when closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
}

impl GrantEntry {
    pub(crate) fn opened(flow: &FlowInfo) -> Self {
        Self {
            event: GrantChange::Opened,
            cookie: flow.cookie,
            pid: flow.pid,
            uid: flow.uid,
            program: flow.program.clone(),
            destination: flow.destination,
            bytes_sent: None,
            bytes_received: None,
        }
    }

    pub(crate) fn closed(flow: &FlowInfo, bytes_sent: u64, bytes_received: u64) -> Self {
        Self {
            event: GrantChange::Closed,
            bytes_sent: Some(bytes_sent),
            bytes_received: Some(bytes_received),
            ..Self::opened(flow)
        }
    }
}

/// The two warnings of the paper. The order is from light to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Somebody tried to send mail who may not.
    IllegalSend,
    /// The same while IRC communication was going on.
    BotSuspected,
}

impl FindingKind {
    /// The word as users and programs read it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::IllegalSend => "illegal-send",
            Self::BotSuspected => "bot-suspected",
        }
    }
}

/// What the user is told, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingEntry {
    /// Which of the two.
    pub finding: FindingKind,
    /// Why the gate refused; none when it did not have to.
    #[serde(with = "words::reason_if_any")]
    pub reason: Option<Reason>,
    /// What was judged.
    pub judged: JudgedWord,
    /// The refusal was only noted, because the gate observes.
    pub observed: bool,
    /// How many findings of the same culprit, kind and reason were held back since the last
    /// one that was journaled. This one is not among them.
    pub suppressed: u64,
    /// Strongest first.
    pub evidence: Vec<Evidence>,
    /// Path of the culprit.
    pub culprit: Option<Arc<str>>,
    /// The process that the culprit was.
    pub culprit_pid: Option<u32>,
    /// Path of the program that tried; empty when unknown.
    pub program: Arc<str>,
    /// What that program is registered as.
    #[serde(with = "words::role")]
    pub role: Role,
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name for itself.
    pub comm: String,
    /// "ip:port"; none for a submitter. Of conduct, where the evidence became enough.
    pub destination: Option<SocketAddr>,
    /// The unit of the service manager that the process ran in, such as `cron.service`; of a session, its
    /// scope. Known of refusals that administrators are told of, where it could be found in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Arc<str>>,
    /// The script that the culprit ran, where the culprit is an interpreter: what its arguments say, which
    /// proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Arc<str>>,
    /// Signs of tampering.
    #[serde(with = "words::tamper")]
    pub tampered: Tamper,
    /// The variable or argument that was the first sign: its name, or how the argument begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tampered_by: Option<Arc<str>>,
    /// What was wrong with it.
    #[serde(
        default,
        with = "words::flaw_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub tampered_flaw: Option<Flaw>,
    /// Oldest first.
    pub lineage: Vec<LineageLink>,
    /// Links lost between the last one and the one before it.
    pub lost: u32,
}

/// Anything else worth keeping: the daemon started, a program was tampered with, something
/// could not be reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeEntry {
    /// One sentence, safe to print.
    pub text: String,
    /// The process that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Arc<str>>,
    /// How many things were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}
