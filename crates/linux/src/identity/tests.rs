//! Tests of the identity of programs.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn file(folder: &Path, name: &str, contents: &[u8], mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn why(path: &Path) -> String {
    let text = identify(path).unwrap_err().to_string();
    assert!(
        !text.contains('\n') && text.starts_with(&shown(path)),
        "{text}"
    );
    text
}

/// A folder of root's, when the tests run as root; else says so.
fn roots_folder() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in("/var/lib")
        .ok()
        .filter(|_| rustix::process::getuid().is_root());
    if folder.is_none() {
        eprintln!("skipped: needs root for a folder that belongs to root");
    }
    folder
}

#[test]
fn a_binary_is_known_by_the_file_behind_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/bin/sh", &link).unwrap();
    let program = identify(&link).unwrap();
    assert_eq!(program.path, fs::canonicalize("/bin/sh").unwrap());
    assert_eq!(program, identify(Path::new("/bin/sh")).unwrap());
    assert_eq!(program.stamp(), stamp(&link).unwrap());
    assert_eq!(program.sha256.len(), 64);
    assert!(program.script.is_none() && program.aliases.is_empty());
}

#[test]
fn the_hash_is_sha256_and_every_write_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "x", b"\x7fELF", 0o755);
    let first = identify(&path).unwrap();
    assert_eq!(
        first.sha256,
        "3bdbb4fe8397cd2b842430b39ccff01a8663c751945ef5e9a09e267fb8b1d359"
    );
    assert!(!first.root_owned, "the temporary folder is everybody's");
    std::thread::sleep(std::time::Duration::from_millis(20));
    file(folder.path(), "x", b"\x7fELF2", 0o755);
    let second = identify(&path).unwrap();
    assert_eq!(first.inode, second.inode);
    assert_ne!(first.changed_ns, second.changed_ns);
    assert_ne!(first.sha256, second.sha256);
}

#[test]
fn what_is_no_program_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(why(&at.join("nothing")).ends_with("no such file"));
    assert!(why(&at.join("new\nline")).ends_with("no such file"));
    assert!(why(at).contains("is a folder"));
    assert!(why(Path::new("/dev/null")).contains("not a regular file"));
    assert!(why(&file(at, "plain", b"\x7fELF", 0o644)).ends_with("is not executable"));
    assert!(why(&file(at, "empty", b"", 0o755)).contains("is empty"));
    assert!(why(&file(at, "text", b"echo hello\n", 0o755)).contains("neither a binary"));
    assert!(why(&file(at, "bare", b"#! \n", 0o755)).contains("neither a binary"));
    let name = OsString::from_vec(b"\xff".to_vec());
    fs::copy("/bin/sh", at.join(&name)).unwrap();
    assert!(
        identify(&at.join(&name))
            .unwrap_err()
            .to_string()
            .ends_with("not valid UTF-8")
    );
}

#[test]
fn a_pipe_does_not_hold_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        0o755.into(),
        0,
    )
    .unwrap();
    assert!(why(&path).contains("not a regular file"));
}

#[test]
fn a_script_must_be_roots() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(why(&file(at, "env", b"#! /usr/bin/env python3\n", 0o755)).contains("PATH"));
    assert!(why(&file(at, "sh", b"#!/bin/sh\n", 0o755)).contains("belong to root"));
    let long = at.join("a".repeat(120));
    fs::create_dir(&long).unwrap();
    assert!(why(&file(&long, "sh", b"#!/bin/sh\n", 0o755)).contains("at most 127"));
}

#[test]
fn a_script_of_roots_is_registered_under_each_spelling() {
    let Some(folder) = roots_folder() else { return };
    let at = fs::canonicalize(folder.path()).unwrap();
    let script = file(&at, "script", b"#!\t/bin/sh -e\n", 0o755);
    symlink("script", at.join("link")).unwrap();
    let program = identify(&at.join("link")).unwrap();
    assert_eq!((&program.path, program.root_owned), (&script, true));
    assert_eq!(program.script.as_deref(), Some(Path::new("/bin/sh")));
    assert_eq!(program.aliases, [at.join("link")]);

    assert!(why(&file(&at, "lost", b"#!/no/such/sh\n", 0o755)).contains("/no/such/sh is missing"));
    let nested = format!("#!{}\n", script.display());
    assert!(why(&file(&at, "nested", nested.as_bytes(), 0o755)).contains("no binary program"));
    assert!(why(&file(&at, "loose", b"#!/bin/sh\n", 0o775)).contains("belong to root"));
    fs::set_permissions(&at, fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(
        why(&script).contains("belong to root"),
        "a sticky folder is everybody's"
    );
}

#[test]
fn merged_folders_give_aliases() {
    let script = ["ldd", "zgrep", "which.debianutils"].map(|name| Path::new("/usr/bin").join(name));
    let merged = fs::canonicalize("/bin").is_ok_and(|bin| bin == Path::new("/usr/bin"));
    let found = script
        .iter()
        .find_map(|path| identify(path).ok().filter(|found| found.script.is_some()));
    let (true, Some(program)) = (merged, found) else {
        eprintln!("skipped: /bin is no link to /usr/bin, or no script is there");
        return;
    };
    let name = program.path.file_name().unwrap();
    assert!(
        program.aliases.contains(&Path::new("/bin").join(name)),
        "{:?}",
        program.aliases
    );
    assert_eq!(program.spellings().next(), Some(program.path.as_path()));
}

#[test]
fn a_link_in_somebodys_folder_is_not_roots() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("sh");
    symlink("/bin/sh", &link).unwrap();
    assert!(!roots_all_the_way(&link));
    assert!(!roots_all_the_way(Path::new("bin/sh")));
    assert!(!roots_all_the_way(Path::new("/no/such/file")));
}

#[test]
fn the_interpreter_is_cut_out_as_the_kernel_does() {
    assert_eq!(script::interpreter(b"#!/bin/sh"), Some(&b"/bin/sh"[..]));
    assert_eq!(
        script::interpreter(b"#!  /bin/sh\t-e\nexit"),
        Some(&b"/bin/sh"[..])
    );
    assert_eq!(script::interpreter(b"#!\n/bin/sh"), None);
    assert_eq!(script::interpreter(b"#!"), None);
    assert_eq!(script::interpreter(b"/bin/sh"), None);
}

#[test]
fn the_device_is_the_mounts() {
    let mountinfo = "28 1 0:25 /@ / rw shared:1 - btrfs /dev/sda2 rw\n281 28 8:17 / /mnt rw - ext4 /dev/sdb1 rw\n";
    assert_eq!(device_of_mount(mountinfo, 28), Some(25));
    assert_eq!(device_of_mount(mountinfo, 281), Some(8 << 20 | 17));
    assert_eq!(device_of_mount(mountinfo, 2), None);
    assert_eq!(device_of_mount("28 garbage", 28), None);
}

/// A program that everybody can write to, where that can be trusted at all.
fn everybodys(folder: &Path) -> Option<PathBuf> {
    let path = file(folder, "own", b"\x7fELF", 0o777);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    match identify_still(&path) {
        Err(
            error @ Error::Unfit {
                why: Unfit::Unseen(_),
                ..
            },
        ) => {
            eprintln!("skipped: {error}");
            None
        }
        other => {
            other.unwrap();
            Some(path)
        }
    }
}

#[test]
fn what_is_open_for_writing_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = everybodys(folder.path()) else {
        return;
    };
    let said = |path: &Path| identify_still(path).unwrap_err().to_string();
    let writer = File::options().append(true).open(&path).unwrap();
    assert!(said(&path).ends_with("in some process; try again when that is done"));
    drop(writer);
    let first = identify_still(&path).unwrap();

    // A mapping outlives its descriptor, and what goes through it need not show.
    let writer = File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: a new mapping of four bytes of a file of this test's own.
    let mapped = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::SHARED,
            &writer,
            0,
        )
    }
    .unwrap();
    drop(writer);
    assert!(said(&path).ends_with("in some process; try again when that is done"));
    // SAFETY: the mapping is this test's own and as long as was asked for.
    unsafe { mapped.cast::<u8>().write_volatile(0x7f) };
    // SAFETY: as above, and nothing points into it any more.
    unsafe { rustix::mm::munmap(mapped, 4) }.unwrap();
    let second = identify_still(&path).unwrap();
    assert_ne!(first.changed_ns, second.changed_ns);
}

#[test]
fn a_write_right_after_shows() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = everybodys(folder.path()) else {
        return;
    };
    for _ in 0..20 {
        fs::write(&path, b"\x7fELF").unwrap();
        let before = identify_still(&path).unwrap().stamp();
        fs::write(&path, b"\x7fELF").unwrap();
        assert_ne!(before, stamp(&path).unwrap());
    }
}

#[test]
fn whoever_wants_to_write_waits_and_nobody_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = everybodys(folder.path()) else {
        return;
    };
    let (file, _) = open(&path).unwrap();
    let held = still::Held::hold(&file).unwrap();
    let writer = std::thread::spawn(move || fs::write(&path, b"later"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!writer.is_finished());
    drop(held);
    writer.join().unwrap().unwrap();
}

#[test]
fn what_users_can_write_to_is_read_up_to_a_length() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = everybodys(folder.path()) else {
        return;
    };
    let writer = File::options().append(true).open(&path).unwrap();
    writer.set_len(1 << 40).unwrap();
    drop(writer);
    let said = identify_still(&path).unwrap_err().to_string();
    assert!(said.ends_with("is longer than 256 MiB"), "{said}");
}

#[test]
fn a_registered_path_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/bin/sh", &link).unwrap();
    let below = folder.path().join("bin");
    symlink("/bin", &below).unwrap();
    for path in [link, below.join("sh")] {
        let said = identify_again(&path).unwrap_err().to_string();
        assert!(
            said.ends_with("by a symbolic link that users can change"),
            "{said}"
        );
        assert!(stamp_again(&path).is_err());
    }
    // What root has put there is root's business.
    let merged = Path::new("/bin/sh");
    assert_eq!(identify_again(merged).unwrap(), identify(merged).unwrap());
}

#[test]
fn a_script_names_who_may_run_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = file(folder.path(), "x", b"#!/bin/sh -e\ntrue\n", 0o755);
    let of = |path: &str| stamp(Path::new(path)).unwrap();
    assert!(is_interpreter(&of("/bin/sh"), &script));
    assert!(!is_interpreter(&of("/usr/bin/env"), &script));
    for other in [
        file(folder.path(), "empty", b"#!\n", 0o755),
        file(folder.path(), "gone", b"#!/nowhere/sh\n", 0o755),
        file(folder.path(), "binary", b"\x7fELF", 0o755),
        folder.path().to_owned(),
    ] {
        assert!(!is_interpreter(&of("/bin/sh"), &other));
    }
}
