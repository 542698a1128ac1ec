//! A journal that breaks while it is open.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use journal::{Error, Filter, Journal, NewEntry, Registered, Renewed};
use tempfile::TempDir;

const ENTRY: NewEntry<'static> = NewEntry {
    time_ns: 1,
    kind: "notice",
    uid: None,
    body: r#"{"text":"x"}"#,
};

fn program(path: &str) -> Registered {
    Registered {
        path: path.into(),
        role: "mailer".into(),
        kind: "batch".into(),
        script: false,
        device: 1,
        inode: 2,
        changed_ns: 3,
        sha256: "00".into(),
        root_owned: true,
        registered_ns: 4,
    }
}

/// Open, with two programs and 600 entries: more than stay in memory.
fn open() -> (TempDir, PathBuf, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.db");
    let mut journal = Journal::open(&path).unwrap().journal;
    for path in ["/usr/bin/mutt", "/usr/bin/msmtp", "/usr/bin/swaks"] {
        journal.register(&program(path)).unwrap();
    }
    journal.unregister("/usr/bin/swaks").unwrap();
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(3000));
    let entries = [NewEntry {
        body: &body,
        ..ENTRY
    }; 300];
    for _ in 0..2 {
        journal.append(&entries).unwrap();
    }
    (folder, path, journal)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// The next entry is refused, one call later it goes on: with the same programs, where the
/// ids were. Returns the error and what was done.
fn goes_on(path: &Path, journal: &mut Journal) -> (Error, Renewed) {
    let error = journal.append(&[ENTRY]).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(!text.contains('\n'), "{text}");
    let renewed = journal.renew(&error).unwrap();
    assert_eq!(renewed.programs, 2);
    assert_eq!(journal.append(&[ENTRY]).unwrap(), [601]);
    journal.check().unwrap();
    for reader in [
        Journal::open_read_only(path).unwrap(),
        Journal::open(path).unwrap().journal,
    ] {
        let paths: Vec<String> = reader
            .registrations()
            .unwrap()
            .into_iter()
            .map(|program| program.path)
            .collect();
        assert_eq!(paths, ["/usr/bin/msmtp", "/usr/bin/mutt"]);
        assert_eq!(reader.last_id().unwrap(), 601);
    }
    (error, renewed)
}

fn count(journal: &Journal) -> usize {
    let mut count = 0;
    journal
        .query(&Filter::default(), |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    count
}

fn was_set_aside(path: &Path, renewed: &Renewed) {
    let aside = renewed.set_aside.as_deref().expect("set aside");
    assert!(renewed.begun && aside.exists());
    let begin = format!("{}.damaged-", path.display());
    assert!(aside.to_str().unwrap().starts_with(&begin), "{aside:?}");
}

#[test]
fn an_overwritten_file_is_noticed_at_the_next_entry() {
    for (begin, bytes) in [(0, 100), (0, 8192), (4096, 4096), (40_000, 200_000)] {
        let (_folder, path, mut journal) = open();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0x5a; bytes], begin).unwrap();
        let (error, renewed) = goes_on(&path, &mut journal);
        assert!(matches!(error, Error::Damaged { .. }), "{begin}: {error}");
        was_set_aside(&path, &renewed);
        assert_eq!(count(&journal), 1);
    }
}

#[test]
fn a_file_cut_short_is_noticed_at_the_next_entry() {
    for left in [0, 100, 4096, 300_000] {
        let (_folder, path, mut journal) = open();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(left)
            .unwrap();
        let (error, renewed) = goes_on(&path, &mut journal);
        assert!(error.to_string().contains("cut short"), "{error}");
        was_set_aside(&path, &renewed);
    }
}

#[test]
fn a_removed_file_is_noticed_and_begun_anew() {
    for parts in [&[""][..], &["", "-wal", "-shm"], &["-shm", ""]] {
        let (_folder, path, mut journal) = open();
        for part in parts {
            fs::remove_file(beside(&path, part)).unwrap();
        }
        let (error, renewed) = goes_on(&path, &mut journal);
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        assert_eq!((renewed.begun, renewed.set_aside), (true, None));
        assert_eq!(count(&journal), 1);
    }
}

#[test]
fn a_removed_folder_is_made_anew() {
    let (folder, path, mut journal) = open();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let (error, renewed) = goes_on(&path, &mut journal);
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(renewed.begun);
}

#[test]
fn a_log_that_is_removed_costs_no_entry() {
    let (_folder, path, mut journal) = open();
    fs::remove_file(beside(&path, "-wal")).unwrap();
    let (error, renewed) = goes_on(&path, &mut journal);
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert_eq!((renewed.begun, renewed.set_aside), (false, None));
    assert_eq!(count(&journal), 601);
}

/// What is in the log counts for more than what is in the file, and SQLite looks at its sums
/// at the start only.
#[test]
fn garbage_in_the_log_is_noticed_or_harmless() {
    let (_folder, path, mut journal) = open();
    let log = File::options()
        .write(true)
        .open(beside(&path, "-wal"))
        .unwrap();
    let bytes = log.metadata().unwrap().len();
    log.write_all_at(&vec![0x5a; bytes as usize], 0).unwrap();
    match journal.append(&[ENTRY]) {
        Ok(ids) => assert_eq!(ids, [601]),
        Err(error) => {
            assert!(error.is_damage(), "{error}");
            let renewed = journal.renew(&error).unwrap();
            assert_eq!(renewed.programs, 2);
            assert_eq!(journal.append(&[ENTRY]).unwrap(), [601]);
        }
    }
    drop(journal);
    let opened = Journal::open(&path).unwrap();
    assert_eq!(opened.journal.last_id().unwrap(), 601);
    assert_eq!(opened.journal.registrations().unwrap().len(), 2);
}

/// Somebody puts a backup in the place: it is a sound journal, and is gone on with. What is
/// registered is what this process knows, not what was registered then.
#[test]
fn a_journal_put_in_its_place_is_taken() {
    let (folder, path, mut journal) = open();
    let backup = folder.path().join("backup.db");
    let mut old = Journal::open(&backup).unwrap().journal;
    old.register(&program("/usr/bin/long-gone")).unwrap();
    old.append(&[ENTRY; 7]).unwrap();
    drop(old);
    fs::rename(&backup, &path).unwrap();
    let (error, renewed) = goes_on(&path, &mut journal);
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert_eq!((renewed.begun, renewed.set_aside), (false, None));
    assert_eq!(count(&journal), 8);
}

#[test]
fn nonsense_put_in_its_place_is_set_aside() {
    let (folder, path, mut journal) = open();
    let nonsense = folder.path().join("nonsense");
    fs::write(&nonsense, vec![0x5a; 10_000]).unwrap();
    fs::rename(&nonsense, &path).unwrap();
    let (_, renewed) = goes_on(&path, &mut journal);
    was_set_aside(&path, &renewed);
}

#[test]
fn reading_notices_what_was_overwritten_too() {
    let (_folder, path, mut journal) = open();
    let bytes = fs::metadata(&path).unwrap().len();
    // As a disk does it: nothing that could be seen from outside.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0x5a; bytes as usize - 8192], 8192)
        .unwrap();
    let read = journal.query(&Filter::default(), |_| std::ops::ControlFlow::Continue(()));
    assert!(read.unwrap_err().is_damage());
    was_set_aside(&path, &goes_on(&path, &mut journal).1);
}

/// As long as no journal can be had, each call says so, and nothing is lost of what is known.
#[test]
fn where_none_can_be_had_it_is_tried_again() {
    let (folder, path, mut journal) = open();
    let state = folder.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "a file where the folder was").unwrap();
    for _ in 0..3 {
        let error = journal.append(&[ENTRY]).unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        let error = journal.renew(&error).unwrap_err();
        assert!(matches!(error, Error::Folder { .. }), "{error}");
        assert!(journal.register(&program("/usr/bin/swaks")).is_err());
        assert!(journal.check().is_err());
    }
    fs::remove_file(&state).unwrap();
    goes_on(&path, &mut journal);
}

#[test]
fn a_newer_journal_in_its_place_is_left_alone() {
    let (folder, path, mut journal) = open();
    let newer = folder.path().join("newer.db");
    drop(Journal::open(&newer).unwrap());
    // SQLite keeps the user version at byte 60, big-endian (file format, section 1.3).
    let file = File::options().write(true).open(&newer).unwrap();
    file.write_all_at(&9u32.to_be_bytes(), 60).unwrap();
    let before = fs::read(&newer).unwrap();
    fs::rename(&newer, &path).unwrap();
    let error = journal.append(&[ENTRY]).unwrap_err();
    let error = journal.renew(&error).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn one_that_could_not_be_written_is_renewed_with_all_that_is_in_it() {
    let (_folder, path, journal) = open();
    drop(journal);
    let mut reading = Journal::open_read_only(&path).unwrap();
    let error = reading.append(&[ENTRY]).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    let renewed = reading.renew(&error).unwrap();
    assert_eq!((renewed.begun, renewed.programs), (false, 2));
    assert_eq!(reading.append(&[ENTRY]).unwrap(), [601]);
    assert!(!reading.is_read_only());
}

#[test]
fn a_folder_does_not_fill_up_with_damaged_files() {
    let (folder, path, mut journal) = open();
    for _ in 0..10 {
        drop(journal);
        fs::write(&path, vec![0x5a; 9000]).unwrap();
        journal = Journal::open(&path).unwrap().journal;
    }
    let aside = fs::read_dir(folder.path().join("state"))
        .unwrap()
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().contains("damaged"));
    let mut names: Vec<_> = aside.map(|file| file.file_name()).collect();
    names.retain(|name| !name.to_string_lossy().ends_with("-shm"));
    names.retain(|name| !name.to_string_lossy().ends_with("-wal"));
    assert_eq!(names.len(), 4, "{names:?}");
}
