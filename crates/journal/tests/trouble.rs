//! Damaged files, missing permissions, full disks: what the user is told, and what is kept.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use journal::{Error, Filter, Journal, NewEntry, Registered};
use tempfile::TempDir;

const ENTRY: NewEntry<'static> = NewEntry {
    time_ns: 1,
    kind: "notice",
    uid: None,
    body: r#"{"text":"x"}"#,
};

fn mutt() -> Registered {
    Registered {
        path: "/usr/bin/mutt".into(),
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

/// A closed journal with some entries and one program.
fn some() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).unwrap().journal;
    journal.register(&mutt()).unwrap();
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(900));
    journal
        .append(&vec![
            NewEntry {
                body: &body,
                ..ENTRY
            };
            300
        ])
        .unwrap();
    drop(journal);
    assert!(!beside(&path, "-wal").exists());
    (folder, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn one_line_naming(error: &Error, path: &Path) -> String {
    let text = error.to_string();
    assert!(
        text.contains(&path.display().to_string()) && !text.contains('\n'),
        "{text}"
    );
    text
}

/// Opening sets the file aside, keeps its bytes, and goes on.
fn is_set_aside(path: &Path) -> (Journal, u64) {
    let before = fs::read(path).unwrap();
    let reading = Journal::open_read_only(path);
    assert!(
        reading.is_err()
            || reading.is_ok_and(|journal| journal
                .query(&Filter::default(), |_| std::ops::ControlFlow::Continue(()))
                .is_err())
    );
    let opened = Journal::open(path).unwrap();
    let aside = opened.set_aside.expect("set aside");
    assert!(
        aside
            .to_str()
            .unwrap()
            .starts_with(&format!("{}.damaged-", path.display())),
        "{aside:?}"
    );
    assert_eq!(fs::read(&aside).unwrap(), before);
    let mut journal = opened.journal;
    assert_eq!(journal.append(&[ENTRY]).unwrap().len(), 1);
    (journal, opened.programs_saved)
}

#[test]
fn an_empty_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    fs::write(&path, "").unwrap();
    is_set_aside(&path);
}

#[test]
fn nonsense_is_set_aside_and_a_second_time_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    for _ in 0..3 {
        fs::write(
            &path,
            "this is not a database, and long enough to have been one".repeat(50),
        )
        .unwrap();
        is_set_aside(&path);
    }
    assert_eq!(
        fs::read_dir(folder.path())
            .unwrap()
            .filter(|file| file
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .contains("damaged"))
            .count(),
        3
    );
}

#[test]
fn a_file_cut_short_is_set_aside_wherever_it_is_cut() {
    let (_folder, path) = some();
    let whole = fs::read(&path).unwrap();
    for bytes in [
        1,
        50,
        100,
        4095,
        4096,
        8192,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        fs::write(&path, &whole[..bytes]).unwrap();
        is_set_aside(&path);
        for log in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(&path, log));
        }
    }
}

#[test]
fn the_registered_programs_are_carried_over_and_ids_go_on() {
    let (_folder, path) = some();
    // The last page belongs to the entries; the programs can still be read.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.write_all_at(&[0xff; 4096], bytes - 4096).unwrap();
    let (journal, saved) = is_set_aside(&path);
    assert_eq!(saved, 1);
    assert_eq!(journal.registrations().unwrap(), [mutt()]);
    assert_eq!(journal.last_id().unwrap(), 301);
}

#[test]
fn what_a_killed_process_left_in_the_log_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut journal = Journal::open(&path).unwrap().journal;
    journal.append(&[ENTRY; 5]).unwrap();
    let killed = folder.path().join("killed.db");
    for part in ["", "-wal"] {
        fs::copy(beside(&path, part), beside(&killed, part)).unwrap();
    }
    // A torn last write: half a frame at the end of the log.
    let log = fs::OpenOptions::new()
        .write(true)
        .open(beside(&killed, "-wal"))
        .unwrap();
    let bytes = log.metadata().unwrap().len();
    log.write_all_at(&[0x5a; 2000], bytes).unwrap();
    let opened = Journal::open(&killed).unwrap();
    assert_eq!(
        (opened.set_aside, opened.journal.last_id().unwrap()),
        (None, 5)
    );
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (_folder, path) = some();
    // SQLite keeps the user version at byte 60, big-endian (file format, section 1.3).
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&9u32.to_be_bytes(), 60)
        .unwrap();
    let before = fs::read(&path).unwrap();
    for error in [
        Journal::open(&path).unwrap_err(),
        Journal::open_read_only(&path).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                Error::Newer {
                    found: 9,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            one_line_naming(&error, &path)
                .contains("format 9, which is newer than this program's format 1")
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let (_folder, path) = some();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[1, 2, 3, 4], 68)
        .unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, Error::Stranger { .. }), "{error}");
    one_line_naming(&error, &path);
}

#[test]
fn a_missing_file_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let text = one_line_naming(&Journal::open_read_only(&path).unwrap_err(), &path);
    assert!(text.contains("No such file"), "{text}");
    assert!(!path.exists());
}

#[test]
fn a_folder_that_takes_no_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be.
    fs::write(folder.path().join("state"), "").unwrap();
    let path = folder.path().join("state/journal.db");
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
    one_line_naming(&error, &folder.path().join("state"));

    // Nobody, not even root, makes files in sysfs.
    let path = Path::new("/sys/kernel/journal.db");
    let error = Journal::open(path).unwrap_err();
    assert!(
        matches!(error, Error::Open { .. } | Error::ReadOnly { .. }),
        "{error}"
    );
    one_line_naming(&error, path);

    // A folder in place of the file.
    let path = folder.path().join("folder.db");
    fs::create_dir(&path).unwrap();
    one_line_naming(&Journal::open(&path).unwrap_err(), &path);
}

#[test]
fn a_read_only_folder_is_named() {
    let (folder, path) = some();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        eprintln!("skipped: permissions do not bind this user (root)");
        return;
    }
    let error = Journal::open(&path).unwrap_err();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    one_line_naming(&error, &path);
}

#[test]
fn folder_and_file_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/journal.db");
    let _journal = Journal::open(&path).unwrap().journal;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for part in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&path, part)), 0o600, "{part}");
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        eprintln!("skipped: mounting a small file system is not permitted here");
        return;
    }
    let path = folder.path().join("journal.db");
    let result = std::panic::catch_unwind(|| {
        let mut journal = Journal::open(&path).unwrap().journal;
        journal.append(&[ENTRY]).unwrap();
        let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(2000));
        let error = journal
            .append(&vec![
                NewEntry {
                    body: &body,
                    ..ENTRY
                };
                2000
            ])
            .unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("no space is left for the journal {}", path.display())
        );
        assert_eq!(journal.last_id().unwrap(), 1);
        // Room is made and it goes on.
        assert_eq!(journal.append(&[ENTRY]).unwrap(), [2]);
    });
    let _ = std::process::Command::new("umount")
        .arg(folder.path())
        .status();
    result.unwrap();
}

#[test]
fn two_writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let mut one = Journal::open(&path).unwrap().journal;
    let mut other = Journal::open(&path).unwrap().journal;
    let writer = std::thread::spawn(move || {
        for _ in 0..100 {
            one.append(&[ENTRY; 10]).unwrap();
        }
    });
    for _ in 0..100 {
        other.append(&[ENTRY; 10]).unwrap();
    }
    writer.join().unwrap();
    assert_eq!(other.last_id().unwrap(), 2000);
}
