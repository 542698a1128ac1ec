//! Events in, actions out: what the gate reports becomes entries of the journal and
//! warnings for the user.
//!
//! Pure: no clock, no I/O, and a state that cannot grow beyond its [`Settings`]. Live
//! operation, replay and tests share it.

#![forbid(unsafe_code)]

mod accounts;
mod answers;
mod attempts;
mod blame;
mod bounded;
mod case_kind;
mod conduct;
mod detect;
mod engine;
mod entry;
mod event;
mod evidence;
mod limiter;
mod observation;
mod printable;
mod sampling;
mod sentence;
mod sign;
mod suspicion;
mod tampering;
mod warning;
mod words;

pub use accounts::Subordinate;
pub use blame::{is_starter, to_blame};
pub use case_kind::{
    BRIEF_MAX, CaseKind, TITLE_MAX, between, culprit_link, is_machines_user, is_script,
    is_without_person, login_of, short_name,
};
pub use detect::{DetectSettings, Detector, MAIL_PORTS};
pub use engine::{Action, Engine, Settings};
pub use entry::{
    Answer, Entry, FindingEntry, FindingKind, GrantChange, GrantEntry, JudgedWord, NoticeEntry,
    VerdictEntry,
};
pub use event::{
    Actor, Culprit, Event, FlowInfo, FlowKind, Judged, Lineage, LineageLink, Party, Payload,
    Sample, SampleKind, Timestamp,
};
pub use evidence::{Evidence, dropper_place};
pub use observation::{Connection, Observation, Subject, Transport};
pub use printable::{printable, program_name};
pub use sampling::Wish;
pub use sentence::{Case, finding_sentence, reason_sentence};
pub use sign::Sign;
pub use suspicion::Suspicion;
pub use tampering::{TamperedBy, tamper_words};
pub use warning::Warning;
