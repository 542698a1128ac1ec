//! Many readers beside a writer, and the index by user.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use journal::{Filter, Journal, NewEntry};
use rusqlite::{Connection, OpenFlags};

const BODY: &str = r#"{"type":"verdict","verdict":"refuse","text":"................................................................................................................................................................................................................................................................"}"#;

/// A log of 4 MiB is cut, a batch is far below 1 MiB.
const LOG_BYTES_MAX: u64 = 5 * 1024 * 1024;

fn entry(uid: u32) -> NewEntry<'static> {
    NewEntry {
        time_ns: 1,
        kind: "verdict",
        uid: Some(uid),
        body: BODY,
    }
}

fn log_bytes(path: &Path) -> u64 {
    let log = path.with_file_name("journal.db-wal");
    std::fs::metadata(log).map_or(0, |about| about.len())
}

fn of_user(journal: &Journal, uid: u32) -> Vec<u64> {
    let filter = Filter {
        uid: Some(uid),
        ..Filter::default()
    };
    let mut ids = Vec::new();
    let collect = |entry: journal::StoredEntry| {
        assert_eq!(entry.uid, Some(uid));
        ids.push(entry.id);
        ControlFlow::Continue(())
    };
    journal.query(&filter, collect).unwrap();
    ids
}

/// Sixteen clients of one user read all the time, each of them from the beginning again when it is
/// through, and in the midst of an entry when the writer wants to begin its log anew.
#[test]
fn sixteen_readers_do_not_keep_the_log_from_being_cut() {
    const WRITTEN: u64 = 30_000;
    const BATCH: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).unwrap().journal;
    let ending = AtomicBool::new(false);
    let read = AtomicU64::new(0);
    let longest = thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    let reader = Journal::open_read_only(&path).unwrap();
                    let filter = Filter {
                        uid: Some(1000),
                        ..Filter::default()
                    };
                    let count = |_| {
                        read.fetch_add(1, Ordering::Relaxed);
                        if ending.load(Ordering::Relaxed) {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    };
                    reader.query(&filter, count).unwrap();
                }
            });
        }
        let mut longest = 0;
        for _ in 0..WRITTEN / BATCH as u64 {
            let ids = journal.append(&[entry(1000); BATCH]).unwrap();
            assert_eq!(ids.len(), BATCH);
            longest = longest.max(log_bytes(&path));
        }
        ending.store(true, Ordering::Relaxed);
        longest
    });
    println!(
        "{} entries read, the log was {longest} bytes long",
        read.load(Ordering::Relaxed)
    );
    assert!(longest <= LOG_BYTES_MAX, "{longest} bytes");
    assert_eq!(journal.last_id().unwrap(), WRITTEN);
}

/// A reader that is inside a statement, of another process: entries are taken all the same, and as
/// soon as it is through the log is cut.
#[test]
fn a_reader_in_a_statement_delays_the_cut_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).unwrap().journal;
    journal.append(&[entry(1000)]).unwrap();
    let other = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    other.execute_batch("BEGIN").unwrap();
    let count = || -> i64 {
        other
            .query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(), 1);
    while log_bytes(&path) <= LOG_BYTES_MAX {
        journal.append(&[entry(1000); 500]).unwrap();
    }
    assert_eq!(count(), 1);
    other.execute_batch("COMMIT").unwrap();
    let long = log_bytes(&path);
    while log_bytes(&path) >= long {
        journal.append(&[entry(1000); 500]).unwrap();
        assert!(log_bytes(&path) < 2 * LOG_BYTES_MAX);
    }
    assert_eq!(count() as u64, journal.last_id().unwrap());
}

/// A journal as this program made it before there was an index by user.
fn of_the_older_version(path: &Path, entries: u64) {
    let mut journal = Journal::open(path).unwrap().journal;
    let all: Vec<_> = (0..entries)
        .map(|at| entry(1000 + (at % 3) as u32))
        .collect();
    journal.append(&all).unwrap();
    drop(journal);
    let older = Connection::open(path).unwrap();
    older
        .execute_batch(
            "DROP TRIGGER entries_of_user_added; DROP TRIGGER entries_of_user_removed;
             DROP TABLE entries_of_user;
             DELETE FROM entries WHERE id BETWEEN 2500 AND 7500;",
        )
        .unwrap();
}

/// The index is made a little at a time; until it is complete every entry is found as well.
#[test]
fn an_older_journal_gets_its_index_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    of_the_older_version(&path, 10_000);
    let expected: Vec<u64> = (1..=10_000)
        .filter(|id| (id - 1) % 3 == 1 && !(2500..=7500).contains(id))
        .collect();
    // Read by this version before a writer of this version has opened it.
    let early = Journal::open_read_only(&path).unwrap();
    assert_eq!(of_user(&early, 1001), expected);

    let mut journal = Journal::open(&path).unwrap().journal;
    let mut expected = expected;
    let mut steps = 0;
    while journal.index_some().unwrap() {
        // Entries that come meanwhile are indexed at once.
        let new = journal.append(&[entry(1001), entry(7)]).unwrap();
        expected.push(new[0]);
        let reader = Journal::open_read_only(&path).unwrap();
        assert_eq!(of_user(&reader, 1001), expected);
        assert_eq!(of_user(&early, 1001), expected);
        steps += 1;
    }
    assert!(steps >= 2, "{steps} steps");
    assert!(!journal.index_some().unwrap());
    let indexed: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM entries_of_user", [], |row| row.get(0))
        .unwrap();
    assert_eq!(indexed as usize, 10_000 - 5001 + 2 * steps);
    drop(journal);

    // Another start has nothing to do, and what is pruned leaves the index.
    let mut journal = Journal::open(&path).unwrap().journal;
    assert!(!journal.index_some().unwrap());
    journal.prune(1, u64::MAX, 10).unwrap();
    let left = of_user(&Journal::open_read_only(&path).unwrap(), 1001);
    assert!(!left.is_empty() && left.len() <= 10, "{left:?}");
    assert!(expected.ends_with(&left));
}
