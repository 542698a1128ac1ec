//! Whatever is asked of the journal, the answer is what a list gives, and the oldest go first.
#![no_main]

use std::cell::RefCell;
use std::ops::ControlFlow;

use journal::{Filter, Journal, NewEntry, StoredEntry};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const KINDS: [&str; 4] = ["verdict", "grant", "finding", "notice"];
const MOST: usize = 200;

thread_local! {
    static OPEN: RefCell<(TempDir, Journal)> = RefCell::new(open());
}

fn open() -> (TempDir, Journal) {
    // In memory where that can be had.
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    let folder = folder.expect("a folder");
    let journal = Journal::open(&folder.path().join("journal.db"));
    (folder, journal.expect("a journal").journal)
}

fn answer(journal: &Journal, filter: &Filter<'_>) -> Vec<StoredEntry> {
    let mut entries = Vec::new();
    let read = journal.query(filter, |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    });
    read.expect("an answer");
    entries
}

/// Numbers from the input, until it is used up.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Small ones, all of them, or eight bytes.
    fn number(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            254 => u64::MAX,
            255 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                u64::from_le_bytes(*bytes)
            }
            small => small.into(),
        })
    }

    fn perhaps<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? % 2 {
            0 => Some(None),
            _ => read(self).map(Some),
        }
    }
}

fn play(journal: &mut Journal, input: &[u8]) -> Option<()> {
    let mut numbers = Numbers(input);
    loop {
        match numbers.byte()? % 4 {
            0 | 1 => {
                if answer(journal, &Filter::default()).len() >= MOST {
                    return None;
                }
                let new = NewEntry {
                    time_ns: numbers.number()?,
                    kind: KINDS[usize::from(numbers.byte()?) % KINDS.len()],
                    uid: numbers.perhaps(|some| some.byte().map(u32::from))?,
                    body: "{}",
                };
                journal.append(&[new]).expect("an entry");
            }
            2 => {
                let filter = Filter {
                    since: numbers.perhaps(Numbers::number)?,
                    after_id: numbers.perhaps(Numbers::number)?,
                    uid: numbers.perhaps(|some| some.byte().map(u32::from))?,
                    kind: numbers
                        .perhaps(Numbers::byte)?
                        .map(|kind| KINDS[usize::from(kind) % KINDS.len()]),
                    newest_limit: numbers.perhaps(|some| some.byte().map(u32::from))?,
                };
                let mut expected = answer(journal, &Filter::default());
                // After 2262, all times are one.
                let time = |time: u64| time.min(i64::MAX as u64);
                expected.retain(|entry| {
                    filter
                        .since
                        .is_none_or(|since| entry.time_ns >= time(since))
                        && filter.after_id.is_none_or(|after| entry.id > after)
                        && filter.uid.is_none_or(|uid| entry.uid == Some(uid))
                        && filter.kind.is_none_or(|kind| entry.kind == kind)
                });
                if let Some(limit) = filter.newest_limit {
                    expected.drain(..expected.len().saturating_sub(limit as usize));
                }
                assert_eq!(answer(journal, &filter), expected, "{filter:?}");
                if let Some(first) = expected.first() {
                    assert_eq!(
                        journal.get(first.id).expect("an answer").as_ref(),
                        Some(first)
                    );
                }
            }
            _ => {
                let (now, keep) = (numbers.number()?, numbers.number()?);
                let most = u64::from(numbers.byte()?);
                let before = answer(journal, &Filter::default());
                let deleted = journal.prune(now, keep, most).expect("fewer entries");
                let after = answer(journal, &Filter::default());
                assert_eq!(before.len() as u64, after.len() as u64 + deleted);
                assert!(after.len() as u64 <= most, "{most}");
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    OPEN.with_borrow_mut(|(_, journal)| {
        play(journal, input);
        journal.prune(0, u64::MAX, 0).expect("an empty journal");
    });
});
