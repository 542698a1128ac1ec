//! What several targets share: how an input tells a story of pieces from two sides.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use abi::{ProcessRecord, ProgramEvent};
use linux::decode::{Names, Owner};
use protocols::{Classifier, Outcome, Progress, Roles, Side};

/// Most that a classifier may hold beside itself, in bytes, whatever it is fed.
pub const HELD_MAX_BYTES: usize = 64 * 1024;

/// One step of a story.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What happens.
    pub kind: u8,
    /// The bytes that come with it.
    pub bytes: &'a [u8],
}

/// Reads an input as steps: a byte for the kind, two for the length, lower first, and so
/// many bytes; the last step takes what there is.
pub fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let ([kind, low, high], rest) = input.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, after) = rest.split_at(length);
        input = after;
        Some(Step { kind: *kind, bytes })
    })
}

/// Writes a step, as [`steps`] reads it.
pub fn put_step(story: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    story.push(kind);
    story.extend(length.to_le_bytes());
    story.extend(&bytes[..usize::from(length)]);
}

/// In a step's kind: it comes from the server's side.
pub const FROM_SERVER: u8 = 1;
/// In a step's kind: bytes are missing.
pub const GAP: u8 = 2;
/// In a step's kind: it is a datagram.
pub const DATAGRAM: u8 = 4;

/// Has a classifier hear a story, and checks what it promises.
pub fn classify(roles: Roles, story: &[u8]) -> Outcome {
    let mut classifier = Classifier::new(roles);
    let mut decided = false;
    for step in steps(story) {
        let side = match step.kind & FROM_SERVER {
            0 => Side::Client,
            _ => Side::Server,
        };
        if step.kind & GAP != 0 {
            classifier.gap(side);
            continue;
        }
        let progress = match step.kind & DATAGRAM {
            0 => classifier.feed(side, step.bytes),
            _ => classifier.datagram(side, step.bytes),
        };
        assert!(
            !decided || progress == Progress::Enough,
            "decided is decided"
        );
        decided = progress == Progress::Enough;
        let held = classifier.held_bytes();
        assert!(held <= HELD_MAX_BYTES, "{held} bytes held");
        assert!(!decided || held == 0, "{held} bytes held for nothing");
    }
    let outcome = classifier.finish();
    assert!((0.0..=1.0).contains(&outcome.confidence), "{outcome:?}");
    outcome
}

/// Every program has a name but the one with number 0.
pub struct Numbered;

impl Names for Numbered {
    fn name(&mut self, index: u32) -> Option<Arc<str>> {
        (index != 0).then(|| format!("/program/{index}").into())
    }

    fn seen(&mut self, _: &ProgramEvent) {}

    fn process(&mut self, _: u32) -> Option<ProcessRecord> {
        None
    }

    fn owner(&mut self, _: u16, _: SocketAddr) -> Owner {
        Owner::Unknown
    }

    fn path(&mut self, _: u32) -> Option<Arc<str>> {
        None
    }
}
