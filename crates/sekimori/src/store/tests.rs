use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

fn stored(path: &str) -> Stored {
    Stored {
        path: path.to_owned(),
        role: "mailer".to_owned(),
        kind: "batch".to_owned(),
        script: false,
        device: 1,
        inode: u64::MAX,
        changed_ns: 3,
        sha256: "00".to_owned(),
        root_owned: true,
        registered_ns: 4,
        forced: false,
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn place() -> (tempfile::TempDir, Paths) {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::new(Some(&folder.path().join("state")));
    (folder, paths)
}

#[test]
fn what_is_saved_is_found() {
    if !is_root() {
        return;
    }
    let (_folder, paths) = place();
    assert_eq!(peek(&paths).unwrap(), []);
    assert!(!paths.state.exists());
    let (mut store, found) = Store::open(&paths).unwrap();
    assert!(found.programs.is_empty() && found.said.is_empty());
    let all = [stored("/usr/bin/mutt"), stored("/usr/bin/関")];
    store.save(&all[..1]).unwrap();
    store.save(&all).unwrap();
    assert!(!store.is_unsaved());
    drop(store);
    let (_store, found) = Store::open(&paths).unwrap();
    assert_eq!(found.programs, all);
    assert_eq!(peek(&paths).unwrap(), all);
    let about = fs::metadata(paths.state.join(FILE)).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o7777), (0, 0o600));
    assert_eq!(fs::read_dir(&paths.state).unwrap().count(), 1);
}

/// A file that somebody else could have made counts as none, and is not written over.
#[test]
fn what_is_not_roots_is_refused() {
    if !is_root() {
        return;
    }
    let (folder, paths) = place();
    let (mut store, _) = Store::open(&paths).unwrap();
    store.save(&[stored("/usr/bin/mutt")]).unwrap();
    drop(store);
    let file = paths.state.join(FILE);
    let good = fs::read(&file).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let spoils: [(&str, Spoil<'_>); 7] = [
        (
            "another user's",
            Box::new(|| chown(&file, Some(65525), None).unwrap()),
        ),
        (
            "writable",
            Box::new(|| {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
            }),
        ),
        (
            "a link",
            Box::new(|| {
                fs::rename(&file, &elsewhere).unwrap();
                symlink(&elsewhere, &file).unwrap();
            }),
        ),
        (
            "a second name",
            Box::new(|| fs::hard_link(&file, &elsewhere).unwrap()),
        ),
        (
            "a folder",
            Box::new(|| {
                fs::remove_file(&file).unwrap();
                fs::create_dir(&file).unwrap();
            }),
        ),
        (
            "damaged",
            Box::new(|| fs::write(&file, &good[..good.len() - 1]).unwrap()),
        ),
        (
            "newer",
            Box::new(|| {
                let text = String::from_utf8(good.clone()).unwrap();
                fs::write(&file, text.replace("\"format\":1", "\"format\":2")).unwrap();
            }),
        ),
    ];
    for (what, spoil) in spoils {
        spoil();
        let (mut store, found) = Store::open(&paths).unwrap();
        assert!(found.programs.is_empty(), "{what}");
        assert!(found.said[0].contains("programs.json"), "{what}");
        assert!(store.save(&[stored("/bin/bot")]).is_err(), "{what}");
        assert!(peek(&paths).is_err(), "{what}");
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(&file);
        let _ = fs::remove_file(&elsewhere);
        fs::write(&file, &good).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A trap in place of the unfinished file is removed, not written through.
#[test]
fn nothing_is_written_through_a_link() {
    if !is_root() {
        return;
    }
    let (folder, paths) = place();
    let (mut store, _) = Store::open(&paths).unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, paths.state.join(UNFINISHED)).unwrap();
    store.save(&[stored("/usr/bin/mutt")]).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    assert_eq!(peek(&paths).unwrap().len(), 1);
}

#[test]
fn a_folder_of_somebody_elses_is_refused() {
    if !is_root() {
        return;
    }
    let (_folder, paths) = place();
    fs::create_dir(&paths.state).unwrap();
    fs::set_permissions(&paths.state, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(Store::open(&paths).is_err());
    fs::set_permissions(&paths.state, fs::Permissions::from_mode(0o1770)).unwrap();
    assert!(Store::open(&paths).is_ok());
    chown(&paths.state, Some(65525), None).unwrap();
    assert!(Store::open(&paths).is_err());
}
