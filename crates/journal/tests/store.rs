//! Appending, querying, retention, and the registered programs.

use std::ops::ControlFlow;
use std::path::PathBuf;

use journal::{Filter, Journal, NewEntry, Registered, StoredEntry};
use tempfile::TempDir;

const NONE: [u64; 0] = [];

fn open() -> (TempDir, PathBuf, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.db");
    let opened = Journal::open(&path).unwrap();
    assert_eq!(opened.set_aside, None);
    (folder, path, opened.journal)
}

fn entry(time_ns: u64, kind: &str) -> NewEntry<'_> {
    NewEntry {
        time_ns,
        kind,
        uid: Some(1000),
        body: r#"{"type":"notice","text":"x"}"#,
    }
}

fn all(journal: &Journal, filter: &Filter<'_>) -> Vec<StoredEntry> {
    let mut entries = Vec::new();
    journal
        .query(filter, |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    entries
}

fn ids(journal: &Journal, filter: Filter<'_>) -> Vec<u64> {
    all(journal, &filter).iter().map(|entry| entry.id).collect()
}

#[test]
fn what_is_appended_is_found() {
    let (_folder, path, mut journal) = open();
    assert_eq!(journal.last_id().unwrap(), 0);
    let new = NewEntry {
        time_ns: 1_000_000_000_123_456_789,
        kind: "verdict",
        uid: None,
        body: r#"{"type":"verdict","pid":1}"#,
    };
    assert_eq!(journal.append(&[new, entry(2, "notice")]).unwrap(), [1, 2]);
    assert_eq!(journal.append(&[]).unwrap(), NONE);
    let stored = journal.get(1).unwrap().unwrap();
    assert_eq!(
        (stored.time_ns, stored.kind.as_str(), stored.uid),
        (new.time_ns, "verdict", None)
    );
    assert_eq!(
        stored.to_json().to_string(),
        r#"{"id":1,"time":"2001-09-09T01:46:40.123456Z","type":"verdict","pid":1}"#
    );
    assert_eq!(journal.get(3).unwrap(), None);
    assert_eq!(journal.get(u64::MAX).unwrap(), None);
    assert_eq!(journal.last_id().unwrap(), 2);
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().journal.last_id().unwrap(), 2);
}

#[test]
fn a_body_cannot_change_number_or_time() {
    let stored = StoredEntry {
        id: 7,
        time_ns: 0,
        kind: "notice".into(),
        uid: None,
        body: r#"{"id":1,"time":"never","a":2}"#.into(),
    };
    assert_eq!(
        stored.to_json().to_string(),
        r#"{"id":7,"time":"1970-01-01T00:00:00.000000Z","a":2}"#
    );
    let broken = StoredEntry {
        body: "{".into(),
        ..stored
    };
    assert_eq!(
        broken.to_json().to_string(),
        r#"{"id":7,"time":"1970-01-01T00:00:00.000000Z","type":"notice","body":"{"}"#
    );
}

#[test]
fn a_batch_goes_in_whole_or_not_at_all() {
    let (_folder, path, mut journal) = open();
    let bad = NewEntry {
        body: "[]",
        ..entry(1, "notice")
    };
    let error = journal
        .append(&[entry(1, "notice"), bad])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "cannot append to the journal {}: entry 1 of the batch is no JSON object",
            path.display()
        )
    );
    assert_eq!(journal.last_id().unwrap(), 0);
}

#[test]
fn filters_pick_and_ids_ascend() {
    let (_folder, _, mut journal) = open();
    let other = NewEntry {
        uid: Some(0),
        ..entry(30, "finding")
    };
    let nobody = NewEntry {
        uid: None,
        ..entry(40, "notice")
    };
    journal
        .append(&[
            entry(10, "verdict"),
            entry(20, "finding"),
            other,
            nobody,
            entry(50, "verdict"),
        ])
        .unwrap();
    assert_eq!(ids(&journal, Filter::default()), [1, 2, 3, 4, 5]);
    assert_eq!(
        ids(
            &journal,
            Filter {
                since: Some(30),
                ..Filter::default()
            }
        ),
        [3, 4, 5]
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                since: Some(51),
                ..Filter::default()
            }
        ),
        NONE
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                since: Some(u64::MAX),
                ..Filter::default()
            }
        ),
        NONE
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                after_id: Some(3),
                ..Filter::default()
            }
        ),
        [4, 5]
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                after_id: Some(u64::MAX),
                ..Filter::default()
            }
        ),
        NONE
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                uid: Some(1000),
                ..Filter::default()
            }
        ),
        [1, 2, 5]
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                kind: Some("finding"),
                ..Filter::default()
            }
        ),
        [2, 3]
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                newest_limit: Some(2),
                ..Filter::default()
            }
        ),
        [4, 5]
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                newest_limit: Some(0),
                ..Filter::default()
            }
        ),
        NONE
    );
    assert_eq!(
        ids(
            &journal,
            Filter {
                newest_limit: Some(9),
                ..Filter::default()
            }
        ),
        [1, 2, 3, 4, 5]
    );
    let both = Filter {
        kind: Some("verdict"),
        uid: Some(1000),
        newest_limit: Some(1),
        since: Some(1),
        after_id: Some(0),
    };
    assert_eq!(ids(&journal, both), [5]);
}

#[test]
fn a_clock_set_back_hides_nothing_from_since() {
    let (_folder, _, mut journal) = open();
    journal
        .append(&[
            entry(100, "notice"),
            entry(50, "notice"),
            entry(100, "notice"),
        ])
        .unwrap();
    assert_eq!(
        ids(
            &journal,
            Filter {
                since: Some(60),
                ..Filter::default()
            }
        ),
        [1, 3]
    );
}

#[test]
fn a_query_stops_when_told_and_sees_what_comes_meanwhile() {
    let (_folder, path, mut journal) = open();
    journal.append(&vec![entry(1, "notice"); 200]).unwrap();
    let mut seen = 0;
    journal
        .query(&Filter::default(), |_| {
            seen += 1;
            if seen == 70 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(seen, 70);

    // A slow reader holds nobody up: in the middle of a query another connection writes
    // and cuts the log.
    let reader = Journal::open_read_only(&path).unwrap();
    let mut last = 0;
    reader
        .query(&Filter::default(), |entry| {
            if entry.id == 10 {
                journal.append(&[super_entry()]).unwrap();
            }
            last = entry.id;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(last, 201);
}

fn super_entry() -> NewEntry<'static> {
    entry(2, "notice")
}

#[test]
fn ten_thousand_entries_go_in_at_once() {
    let (_folder, _, mut journal) = open();
    let body = format!(r#"{{"type":"verdict","program":"{}"}}"#, "x".repeat(1500));
    let batch = vec![
        NewEntry {
            time_ns: 1,
            kind: "verdict",
            uid: Some(1),
            body: &body
        };
        10_000
    ];
    let ids = journal.append(&batch).unwrap();
    assert_eq!((ids[0], ids[9999]), (1, 10_000));
    assert!(ids.is_sorted());
    assert_eq!(all(&journal, &Filter::default()).len(), 10_000);
}

#[test]
fn ids_are_never_used_again() {
    let (_folder, path, mut journal) = open();
    journal
        .append(&[entry(1, "notice"), entry(2, "notice")])
        .unwrap();
    assert_eq!(journal.prune(u64::MAX, 0, 0).unwrap(), 2);
    assert_eq!(journal.last_id().unwrap(), 0);
    drop(journal);
    let mut journal = Journal::open(&path).unwrap().journal;
    assert_eq!(journal.append(&[entry(3, "notice")]).unwrap(), [3]);
}

#[test]
fn retention_takes_the_old_first_and_findings_last() {
    let (_folder, _, mut journal) = open();
    journal
        .append(&[
            entry(1, "finding"),
            entry(10, "finding"),
            entry(11, "notice"),
        ])
        .unwrap();
    for time in 20..30 {
        journal.append(&[entry(time, "verdict")]).unwrap();
    }
    assert_eq!(journal.prune(30, 25, 100).unwrap(), 1);
    assert_eq!(ids(&journal, Filter::default())[0], 2);
    assert_eq!(journal.prune(30, 25, 4).unwrap(), 8);
    assert_eq!(ids(&journal, Filter::default()), [2, 3, 12, 13]);
    assert_eq!(journal.prune(30, 25, 1).unwrap(), 3);
    assert_eq!(ids(&journal, Filter::default()), [3]);
    assert_eq!(journal.prune(30, 30, 1).unwrap(), 0);
}

#[test]
fn registrations_are_kept_bit_by_bit() {
    let (_folder, path, mut journal) = open();
    let mutt = Registered {
        path: "/usr/bin/mutt".into(),
        role: "mailer".into(),
        kind: "batch".into(),
        script: false,
        device: 8 << 20 | 1,
        inode: u64::MAX - 1,
        changed_ns: 1_767_225_600_000_000_001,
        sha256: "ab".repeat(32),
        root_owned: true,
        registered_ns: 5,
    };
    let script = Registered {
        path: "/opt/bericht 報告.sh".into(),
        script: true,
        root_owned: false,
        ..mutt.clone()
    };
    journal.register(&mutt).unwrap();
    journal.register(&script).unwrap();
    let changed = Registered {
        role: "chat".into(),
        ..mutt
    };
    journal.register(&changed).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path).unwrap().journal;
    assert_eq!(journal.registrations().unwrap(), [script.clone(), changed]);
    assert!(journal.unregister("/usr/bin/mutt").unwrap());
    assert!(!journal.unregister("/usr/bin/mutt").unwrap());
    assert_eq!(journal.registrations().unwrap(), [script]);
}

#[test]
fn memory_stays_small_however_many_entries_are_read() {
    let (_folder, _, mut journal) = open();
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(2000));
    let batch = vec![
        NewEntry {
            time_ns: 1,
            kind: "verdict",
            uid: None,
            body: &body
        };
        5000
    ];
    for _ in 0..6 {
        journal.append(&batch).unwrap();
    }
    let before = resident_kib();
    let mut count = 0;
    journal
        .query(&Filter::default(), |_| {
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(count, 30_000);
    // 60 MB went by; other tests of this process run beside it, so the bound is wide.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 30_000, "{grown} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
