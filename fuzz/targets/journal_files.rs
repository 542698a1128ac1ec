//! A file of anybody's in the journal's place, with a log beside it: it is read, refused or set
//! aside, and what is opened works.
#![no_main]

use std::fs;
use std::ops::ControlFlow;

use journal::{Error, Filter, Journal, NewEntry};
use libfuzzer_sys::fuzz_target;
use sekimori_fuzz::steps;
use tempfile::TempDir;

const ENTRY: NewEntry<'static> = NewEntry {
    time_ns: 1,
    kind: "notice",
    uid: None,
    body: "{}",
};

fuzz_target!(|input: &[u8]| {
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    let folder = folder.expect("a folder");
    let path = folder.path().join("journal.db");
    // The file, then its log.
    for (step, name) in steps(input).zip(["journal.db", "journal.db-wal"]) {
        let mut bytes = step.bytes.to_vec();
        // For a shorter one it waits whether somebody is about to make the tables.
        bytes.resize(bytes.len().max(512), 0);
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    if let Ok(reading) = Journal::open_read_only(&path) {
        let _ = reading.query(&Filter::default(), |_| ControlFlow::Continue(()));
        let _ = (reading.registrations(), reading.last_id(), reading.get(1));
    }
    let mut journal = match Journal::open(&path) {
        Ok(opened) => opened.journal,
        // Left as it is.
        Err(Error::Newer { .. } | Error::Stranger { .. } | Error::Sqlite { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let mut written = journal.append(&[ENTRY]);
    if let Err(error) = &written
        && error.is_damage()
    {
        journal.renew(error).expect("another journal");
        written = journal.append(&[ENTRY]);
    }
    if let Ok(ids) = written {
        let last = journal.last_id();
        assert!(last.is_err() || last.is_ok_and(|last| last >= ids[0]));
    }
    let _ = journal.prune(u64::MAX, 1, 10);
});
