//! What the kernel programs and user space hand each other: map keys and values, events,
//! settings. Plain data of fixed size, the same on both sides.
//!
//! Every struct is `repr(C)` without padding, so that each byte is defined; the sizes are
//! checked below. Words of the policy travel as their one-byte codes.
//!
//! Change a layout, and [`LAYOUT`] must go up: a daemon adopts pinned maps of its own
//! layout only.

#![no_std]
#![forbid(unsafe_code)]

mod event;
mod lineage;
mod sample;
mod settings;

pub use event::{
    CodeEvent, CodeLook, EventHeader, EventTag, FOLD_AFTER, FOLD_NS, FlowEvent, FlowKind, Fold,
    ProgramEvent, ScriptEvent, TamperEvent, VerdictEvent, VerdictOrigin,
};
pub use lineage::{
    BEGINNING_LOST, CHAIN_LENGTH, Link, PATH_DEPTH_MAX, PATH_END_PARTS, PATH_PART_BYTES,
    PATH_PARTS, ProcessRecord, ProgramEntry, ProgramKey, ProgramPath, ROOTS_SCRIPT, Registration,
    RegistrationKey, SCRIPT_OF_OTHERS, SCRIPT_PATH_BYTES, ScriptKey,
};
pub use sample::{
    Interest, MailWatch, SAMPLE_BYTES, Sample, SampleHead, SampleState, Sampled, Sampling,
    ServerKey, Wish,
};
pub use settings::{
    Calls, Counter, Flow, MAIL_PORTS_MAX, Offsets, RateWindow, Settings, WRITING_CALLS_MAX,
};

/// The version of every layout in this crate. It is part of the pin folder's name.
pub const LAYOUT: u32 = 9;

/// Stands in the object for the number of the kernel's function `bpf_dynptr_from_skb`, which each
/// kernel numbers for itself: the loader puts that in its place. No helper has this number.
pub const PACKET_READER: u32 = 0x5345_4b49;

/// Checks that a struct has the size that both sides count on.
macro_rules! plain {
    ($($name:ty = $bytes:expr),* $(,)?) => {$(
        const _: () = assert!(core::mem::size_of::<$name>() == $bytes);
    )*};
}

plain! {
    ProgramKey = 32,
    RegistrationKey = 16,
    Registration = 32,
    ScriptKey = SCRIPT_PATH_BYTES,
    ProgramPath = PATH_PARTS * PATH_PART_BYTES + SCRIPT_PATH_BYTES + 16,
    ProgramEntry = PATH_PARTS * PATH_PART_BYTES + SCRIPT_PATH_BYTES + 24,
    Link = 12,
    ProcessRecord = 40 + 12 * CHAIN_LENGTH,
    EventHeader = 24,
    VerdictEvent = 80 + 40 + 12 * CHAIN_LENGTH,
    Fold = 32 + 80 + 40 + 12 * CHAIN_LENGTH,
    FlowEvent = 96,
    ProgramEvent = 64,
    TamperEvent = 40,
    CodeEvent = 48,
    CodeLook = 24,
    ScriptEvent = 24 + SCRIPT_PATH_BYTES,
    Settings = 96,
    Flow = 56,
    RateWindow = 16,
    Sampling = 112,
    Interest = 48,
    ServerKey = 20,
    SampleHead = 104,
    Sample = 104 + SAMPLE_BYTES,
}
