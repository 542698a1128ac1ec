//! What a process has written so far, collected by a thread, to be searched and waited on.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, sys};

/// More than this of one stream is read and thrown away.
const LONGEST_BYTES: usize = 4 << 20;

/// A growing text. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
}

impl Transcript {
    /// Collects all that comes from `source`, in a thread that ends with it.
    pub(crate) fn of(mut source: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let writer = transcript.clone();
        thread::spawn(move || {
            sys::name_thread(c"stage-output");
            let mut buffer = [0; 8192];
            loop {
                match source.read(&mut buffer) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    // A pseudo-terminal answers EIO when its last user has closed it.
                    Ok(0) | Err(_) => break,
                    Ok(length) => writer.append(&buffer[..length]),
                }
            }
            writer.lock().closed = true;
            writer.0.changed.notify_all();
        });
        transcript
    }

    /// All text so far; damaged UTF-8 is replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `pattern` stands at or after `from`; returns where it ends.
    pub(crate) fn wait_for(
        &self,
        pattern: &str,
        from: usize,
        limit: Duration,
    ) -> Result<usize, Error> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(at) = find(
                state.bytes.get(from..).unwrap_or_default(),
                pattern.as_bytes(),
            ) {
                return Ok(from + at + pattern.len());
            }
            let left = deadline.checked_duration_since(Instant::now());
            let Some(left) = left.filter(|_| !state.closed) else {
                let tail = String::from_utf8_lossy(state.bytes.get(from..).unwrap_or_default())
                    .into_owned();
                return Err(Error::Timeout {
                    what: format!("{pattern:?} did not appear in {tail:?}"),
                    limit,
                });
            };
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the source has ended.
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !state.closed {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The text between two places.
    pub(crate) fn between(&self, from: usize, to: usize) -> String {
        String::from_utf8_lossy(self.lock().bytes.get(from..to).unwrap_or_default()).into_owned()
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let room = LONGEST_BYTES - state.bytes.len();
        state.bytes.extend(&bytes[..bytes.len().min(room)]);
        drop(state);
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_comes_and_says_what_came_instead() {
        let transcript = Transcript::of(&b"one two three"[..]);
        let end = transcript
            .wait_for("two", 0, Duration::from_secs(5))
            .unwrap();
        assert_eq!(transcript.between(0, end), "one two");
        let error = transcript
            .wait_for("two", end, Duration::from_secs(5))
            .unwrap_err();
        assert!(error.to_string().contains("three"), "{error}");
    }
}
