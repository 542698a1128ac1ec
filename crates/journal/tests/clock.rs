//! What is kept when the clock is wrong. Hours are calls of `prune`, as the daemon makes them.

use std::ops::ControlFlow;

use journal::{Filter, Journal, NewEntry};
use tempfile::TempDir;

const DAY: u64 = 86_400_000_000_000;
const YEAR: u64 = 365 * DAY;
const KEEP: u64 = 90 * DAY;
const ROWS: u64 = 100_000;
/// 2026-01-01 or so.
const NOW: u64 = 56 * YEAR;

fn at(journal: &mut Journal, time_ns: u64) -> u64 {
    let entry = NewEntry {
        time_ns,
        kind: "finding",
        uid: None,
        body: "{}",
    };
    journal.append(&[entry]).unwrap()[0]
}

fn ids(journal: &Journal) -> Vec<u64> {
    let mut ids = Vec::new();
    journal
        .query(&Filter::default(), |entry| {
            ids.push(entry.id);
            ControlFlow::Continue(())
        })
        .unwrap();
    ids
}

/// An entry a day, the last one at [`NOW`]: ids 1 to 61.
fn sixty_days() -> (TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&folder.path().join("journal.db"))
        .unwrap()
        .journal;
    for day in 0..=60 {
        at(&mut journal, NOW - (60 - day) * DAY);
    }
    (folder, journal)
}

#[test]
fn a_right_clock_keeps_what_is_young() {
    let (_folder, mut journal) = sixty_days();
    for hour in 0..1000 {
        journal.prune(NOW + hour * DAY / 24, KEEP, ROWS).unwrap();
    }
    // 41 days later, those from before the 90 days are gone, and no others.
    let since = NOW + 999 * DAY / 24 - KEEP;
    let kept = (0..=60)
        .filter(|day| NOW - (60 - day) * DAY >= since)
        .count();
    assert_eq!(ids(&journal).len(), kept);
    assert!(kept < 61);
}

#[test]
fn a_year_ahead_and_back_costs_a_day_for_each_hour() {
    let (_folder, mut journal) = sixty_days();
    let ahead = at(&mut journal, NOW + YEAR);
    for hour in 1..=3 {
        journal.prune(NOW + YEAR + hour, KEEP, ROWS).unwrap();
        assert_eq!(ids(&journal)[0], 1 + hour);
    }
    // Back again. What was dated wrongly does not count as young, and goes when it is old.
    let back = at(&mut journal, NOW + 1);
    for hour in 0..100 {
        journal.prune(NOW + hour, KEEP, ROWS).unwrap();
    }
    assert_eq!(ids(&journal), (4..=back).collect::<Vec<_>>());
    at(&mut journal, NOW + 2 * YEAR);
    for _ in 0..100 {
        journal.prune(NOW + 2 * YEAR, KEEP, ROWS).unwrap();
    }
    assert!(!ids(&journal).contains(&ahead));
    assert_eq!(ids(&journal).len(), 1);
}

#[test]
fn however_far_ahead_the_end_of_time_included() {
    for now in [NOW + 30 * YEAR, u64::MAX] {
        let (_folder, mut journal) = sixty_days();
        assert_eq!(journal.prune(now, KEEP, ROWS).unwrap(), 1);
        assert_eq!(ids(&journal).len(), 60);
    }
}

/// Without a battery, a machine begins in the past, and the clock is set right later.
#[test]
fn what_was_seen_before_the_clock_was_set_right_is_kept() {
    for begin in [0, 1, NOW - 5 * YEAR] {
        let (_folder, mut journal) = sixty_days();
        let early = [at(&mut journal, begin), at(&mut journal, begin + 1)];
        assert_eq!(journal.prune(begin + 2, KEEP, ROWS).unwrap(), 0);
        at(&mut journal, NOW + 1);
        for hour in 0..100 {
            journal.prune(NOW + hour, KEEP, ROWS).unwrap();
        }
        assert!(early.iter().all(|id| ids(&journal).contains(id)), "{begin}");
        // They go with their neighbours.
        for day in 0..200 {
            let now = at(&mut journal, NOW + day * DAY);
            for _ in 0..24 {
                journal.prune(NOW + day * DAY, KEEP, ROWS).unwrap();
            }
            assert!(ids(&journal).contains(&now));
        }
        assert_eq!(ids(&journal).len(), 91, "{begin}");
    }
}

#[test]
fn a_clock_set_back_deletes_nothing() {
    for now in [0, NOW - 30 * DAY, NOW - YEAR] {
        let (_folder, mut journal) = sixty_days();
        at(&mut journal, now);
        assert_eq!(journal.prune(now, KEEP, ROWS).unwrap(), 0, "{now}");
    }
}

/// The number of entries is bounded whatever the clock says.
#[test]
fn too_many_go_with_any_clock() {
    for now in [0, NOW, u64::MAX] {
        let (_folder, mut journal) = sixty_days();
        journal.prune(now, u64::MAX, 10).unwrap();
        assert_eq!(ids(&journal), (52..=61).collect::<Vec<_>>());
    }
}
