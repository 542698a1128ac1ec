//! One direction of a TCP connection: bytes in order, each once, within bounds.

/// Segments that wait for a missing one.
const HELD_MAX: usize = 24;
/// Bytes of such segments.
const HELD_MAX_BYTES: usize = 24 * 1024;
/// Further ahead than any window: another connection, or damage.
const AHEAD_MAX: i32 = 1 << 25;
/// What is acknowledged is no further from what was seen than this.
const NEAR_MAX: u32 = 1 << 20;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes.
    Bytes(&'a [u8]),
    /// Some are missing here.
    Gap,
}

/// Where a direction is.
#[derive(Debug, Default)]
pub struct Stream {
    next: u32,
    started: bool,
    /// The end was announced.
    pub fin: bool,
    /// Bytes that were seen, each once.
    pub bytes: u64,
    /// Bytes before `next` that were not seen.
    missing: u64,
    #[expect(clippy::box_collection, reason = "most connections never need it")]
    held: Option<Box<Vec<Held>>>,
}

#[derive(Debug)]
struct Held {
    sequence: u32,
    bytes: Box<[u8]>,
    wire_bytes: usize,
}

impl Stream {
    /// The connection begins with the byte after this one.
    pub fn start(&mut self, sequence: u32) {
        self.next = sequence.wrapping_add(1);
        self.started = true;
    }

    /// Did anything come?
    pub const fn is_started(&self) -> bool {
        self.started
    }

    /// Can the other side acknowledge bytes up to here?
    pub const fn is_near(&self, sequence: u32) -> bool {
        self.started
            && sequence
                .wrapping_sub(self.next)
                .cast_signed()
                .unsigned_abs()
                < NEAR_MAX
    }

    /// Would a connection that begins here be another one?
    pub const fn begins_elsewhere(&self, sequence: u32) -> bool {
        self.started && self.bytes > 0 && sequence.wrapping_add(1) != self.next
    }

    /// Counts a segment whose bytes nobody wants to see.
    #[inline]
    pub fn count(&mut self, sequence: u32, wire_bytes: usize) {
        if !self.started {
            self.next = sequence;
            self.started = true;
        }
        let ahead = sequence.wrapping_sub(self.next).cast_signed();
        let length = wire_bytes as u64;
        if ahead >= 0 {
            if ahead < AHEAD_MAX {
                self.missing += u64::from(ahead.cast_unsigned());
            }
            self.bytes += length;
            self.next = sequence.wrapping_add(wire_bytes as u32);
            return;
        }
        // It begins before: new at its end, perhaps; before that a repetition, or what was missing.
        let known = u64::from(ahead.unsigned_abs());
        let new = length.saturating_sub(known);
        let fills = (length - new).min(self.missing);
        self.missing -= fills;
        self.bytes += new + fills;
        self.next = self.next.wrapping_add(new as u32);
    }

    /// Takes a segment and hands out what is in order now. `payload` can be shorter than
    /// `wire_bytes` where the capture cut it off.
    pub fn segment(
        &mut self,
        sequence: u32,
        payload: &[u8],
        wire_bytes: usize,
        mut each: impl FnMut(Piece<'_>),
    ) {
        if !self.started {
            self.next = sequence;
            self.started = true;
        }
        let ahead = sequence.wrapping_sub(self.next).cast_signed();
        if ahead >= AHEAD_MAX || ahead <= -AHEAD_MAX {
            // Somebody's mistake, or a capture with a long hole.
            self.flush(&mut each);
            each(Piece::Gap);
            self.next = sequence;
            self.deliver(payload, wire_bytes, &mut each);
            return;
        }
        if ahead > 0 {
            self.hold(sequence, payload, wire_bytes, &mut each);
            return;
        }
        let known = ahead.unsigned_abs() as usize;
        if known < wire_bytes {
            self.deliver(
                payload.get(known..).unwrap_or_default(),
                wire_bytes - known,
                &mut each,
            );
            self.drain(&mut each);
        }
    }

    /// Hands out what waits for bytes that never came.
    pub fn flush(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        while self.held.as_ref().is_some_and(|held| !held.is_empty()) {
            self.skip_gap(each);
        }
        self.held = None;
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| {
            held.iter().map(|held| held.bytes.len() + 64).sum()
        })
    }

    fn deliver(&mut self, payload: &[u8], wire_bytes: usize, each: &mut impl FnMut(Piece<'_>)) {
        if !payload.is_empty() {
            each(Piece::Bytes(payload));
        }
        if payload.len() < wire_bytes {
            each(Piece::Gap);
        }
        self.bytes += wire_bytes as u64;
        self.next = self.next.wrapping_add(wire_bytes as u32);
    }

    fn hold(
        &mut self,
        sequence: u32,
        payload: &[u8],
        wire_bytes: usize,
        each: &mut impl FnMut(Piece<'_>),
    ) {
        let held = self.held.get_or_insert_default();
        if held
            .iter()
            .any(|held| held.sequence == sequence && held.wire_bytes >= wire_bytes)
        {
            return;
        }
        held.push(Held {
            sequence,
            bytes: payload.into(),
            wire_bytes,
        });
        while self.held.as_ref().is_some_and(|held| {
            held.len() > HELD_MAX
                || held.iter().map(|held| held.bytes.len()).sum::<usize>() > HELD_MAX_BYTES
        }) {
            self.skip_gap(each);
        }
    }

    /// Hands out held segments that are in order now.
    fn drain(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        loop {
            let next = self.next;
            let Some(held) = self.held.as_mut() else {
                return;
            };
            let in_order = held
                .iter()
                .position(|held| held.sequence.wrapping_sub(next).cast_signed() <= 0);
            let Some(at) = in_order else {
                if held.is_empty() {
                    self.held = None;
                }
                return;
            };
            let segment = held.swap_remove(at);
            let known = next.wrapping_sub(segment.sequence) as usize;
            if known < segment.wire_bytes {
                self.deliver(
                    segment.bytes.get(known..).unwrap_or_default(),
                    segment.wire_bytes - known,
                    each,
                );
            }
        }
    }

    /// Gives up what is missing before the first held segment.
    fn skip_gap(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        let next = self.next;
        let first = self
            .held
            .iter()
            .flat_map(|held| held.iter())
            .map(|held| held.sequence.wrapping_sub(next))
            .min_by_key(|ahead| ahead.cast_signed());
        if let Some(ahead) = first {
            if ahead.cast_signed() > 0 {
                each(Piece::Gap);
                self.missing += u64::from(ahead);
                self.next = next.wrapping_add(ahead);
            }
            self.drain(each);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(segments: &[(u32, &[u8])]) -> (Vec<u8>, u32, u64) {
        let mut stream = Stream::default();
        stream.start(u32::MAX - 2);
        let (mut bytes, mut gaps) = (Vec::new(), 0);
        let mut each = |piece: Piece<'_>| match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Gap => gaps += 1,
        };
        for (at, payload) in segments {
            let sequence = (u32::MAX - 1).wrapping_add(*at);
            stream.segment(sequence, payload, payload.len(), &mut each);
        }
        stream.flush(&mut each);
        (bytes, gaps, stream.bytes)
    }

    #[test]
    fn repetition_and_order() {
        let segments: &[(u32, &[u8])] = &[
            (0, b"ab"),
            (4, b"ef"),
            (0, b"ab"),
            (6, b"gh"),
            (1, b"bcd"),
            (2, b"cdef"),
        ];
        assert_eq!(follow(segments), (b"abcdefgh".to_vec(), 0, 8));
    }

    #[test]
    fn a_gap_is_said() {
        assert_eq!(follow(&[(0, b"ab"), (4, b"ef")]), (b"abef".to_vec(), 1, 4));
    }

    #[test]
    fn counting_alone_comes_to_the_same() {
        let mut stream = Stream::default();
        stream.start(99);
        for (at, length) in [(100, 10), (120, 10), (110, 10), (110, 10), (125, 10)] {
            stream.count(at, length);
        }
        assert_eq!(stream.bytes, 35);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same(mut order in prop::collection::vec(0usize..20, 20..40)) {
            order.extend(0..20);
            let text: Vec<u8> = (0..100).collect();
            let segments: Vec<(u32, &[u8])> = order.iter()
                .map(|at| (*at as u32 * 5, &text[at * 5..at * 5 + 5])).collect();
            prop_assert_eq!(follow(&segments), (text.clone(), 0, 100));
        }

        #[test]
        fn never_panics_and_is_bounded(segments in prop::collection::vec((any::<u32>(), 0usize..2000, 0usize..2000), 0..60)) {
            let mut stream = Stream::default();
            let payload = [0; 2000];
            for (sequence, length, more) in segments {
                stream.segment(sequence % 100_000, &payload[..length], length + more, |_| {});
                stream.count(sequence, more);
                prop_assert!(stream.held_bytes() <= HELD_MAX_BYTES + 2 * 2064 + HELD_MAX * 64);
            }
        }
    }
}
