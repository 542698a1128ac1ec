//! Bytes in pieces of any size in, whole lines out.

/// Longest part of a line that is kept, in bytes. IRC lines have 512 (RFC 2812, 2.3) beside
/// tags, SMTP commands 512 and replies 512 (RFC 5321, 4.5.3.1). What is beyond is left out.
pub const LINE_MAX_BYTES: usize = 1024;

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
    overlong: bool,
}

impl Lines {
    /// Hands each line that these bytes complete to `each`, without its CR and LF, and
    /// whether its end was left out. Nothing is copied when lines end with the bytes.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], bool)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, after) = (&bytes[..end], &bytes[end + 1..]);
            if self.rest.is_empty() && !self.overlong {
                let cut = line.len() > LINE_MAX_BYTES;
                each(trimmed(&line[..line.len().min(LINE_MAX_BYTES)]), cut);
            } else {
                self.keep(line);
                each(trimmed(&self.rest), self.overlong);
                self.rest.clear();
                self.overlong = false;
            }
            bytes = after;
        }
        self.keep(bytes);
    }

    /// The line that has not ended.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Forgets the line that has not ended.
    pub fn clear(&mut self) {
        self.rest = Vec::new();
        self.overlong = false;
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.rest.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_MAX_BYTES.saturating_sub(self.rest.len());
        self.overlong |= bytes.len() > room;
        self.rest.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Without the CRs at its end.
fn trimmed(mut line: &[u8]) -> &[u8] {
    while let Some((b'\r', before)) = line.split_last() {
        line = before;
    }
    line
}

/// The next word of a line, and what follows it. Words are separated by spaces.
pub fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let start = line
        .iter()
        .position(|byte| *byte != b' ')
        .unwrap_or(line.len());
    let line = &line[start..];
    let end = line
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(line.len());
    (&line[..end], &line[end..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, |line, _| found.push(line.to_vec()));
        }
        found
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_is_whole() {
        let long = [b'x'; 3000];
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in [&long[..], b"y\r\nPING :a\r", b"\n"] {
            lines.feed(piece, |line, cut| found.push((line.len(), cut)));
        }
        assert_eq!(found, [(LINE_MAX_BYTES, true), (7, false)]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\r\n]{0,60}", at in 0usize..60, also in 0usize..60) {
            let bytes = text.as_bytes();
            let (a, b) = (at.min(also).min(bytes.len()), at.max(also).min(bytes.len()));
            prop_assert_eq!(lines(&[bytes]), lines(&[&bytes[..a], &bytes[a..b], &bytes[b..]]));
        }
    }
}
