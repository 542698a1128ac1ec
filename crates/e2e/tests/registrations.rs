//! Registrations that somebody wants to spoil: of a file that users can write to, and too many.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::{LIMIT, PERSON, SERVER, Scene, Theatre, evasions, wait_until, word};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::process::Signal;
use serde_json::{Value, json};

const BASH: &str = "/usr/bin/bash";

/// A scene in which the person has a registered mailer of its own, in the folder of its own.
struct Own {
    scene: Scene,
    mailer: PathBuf,
    original: PathBuf,
    other: PathBuf,
}

impl Own {
    fn open() -> Option<Self> {
        let mut made = None;
        let scene = Scene::open_after("", |theatre| {
            let (original, other) = (theatre.player("original"), theatre.player("other"));
            let mut longer = File::options().append(true).open(&other).unwrap();
            longer.write_all(b"one more line").unwrap();
            let mailer = theatre.home().join("mailer");
            theatre.crew(
                "cp",
                &[original.to_str().unwrap(), mailer.to_str().unwrap()],
            );
            chown(&mailer, Some(PERSON.0), Some(PERSON.1)).unwrap();
            let words = [
                "register",
                mailer.to_str().unwrap(),
                "--as",
                "mailer",
                "--kind",
                "interactive",
            ];
            let ran = theatre.sekimori(&words);
            if ran.stderr.contains("not every change shows") {
                println!("skipped: {}", ran.stderr.trim_end());
                return;
            }
            assert_eq!(ran.status, 0, "{ran:?}");
            made = Some((mailer, original, other));
        })?;
        let (mailer, original, other) = made?;
        Some(Self {
            scene,
            mailer,
            original,
            other,
        })
    }

    /// The mailer is the one that was registered, and it sends.
    fn sends(&self) {
        let before = self.scene.mail.messages().len();
        let words = ["mailer", "--server", SERVER];
        let exit = self.scene.desktop.run(&self.mailer, words, LIMIT).unwrap();
        assert!(exit.success(), "{}", self.scene.theatre.daemon_words());
        assert_eq!(self.scene.mail.messages().len(), before + 1);
    }

    /// What lies there now is refused. Returns the refusal, and the bytes that left.
    fn is_refused(&self, program: &Path, words: &[&str]) -> (Value, u64) {
        let (bytes, before) = (self.scene.mail.payload_bytes(), self.scene.theatre.newest());
        let exit = self
            .scene
            .desktop
            .run(program, words.iter().copied(), LIMIT)
            .unwrap();
        assert!(!exit.success(), "{}", self.scene.theatre.daemon_words());
        let theatre = &self.scene.theatre;
        let refusal = theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        (refusal, self.scene.mail.payload_bytes() - bytes)
    }

    fn notice_after(&self, before: u64, text: &str) {
        let theatre = &self.scene.theatre;
        theatre.wait_after(before, text, |entry| word(entry, "text").contains(text));
    }

    /// The person puts the file back.
    fn put_back(&self) {
        let before = self.scene.theatre.newest();
        let _ = fs::remove_file(&self.mailer);
        let words = [
            self.original.to_str().unwrap(),
            self.mailer.to_str().unwrap(),
        ];
        self.scene.theatre.crew("cp", &words);
        chown(&self.mailer, Some(PERSON.0), Some(PERSON.1)).unwrap();
        self.notice_after(before, "accepted again: its contents are the same");
        self.sends();
    }
}

/// A link at the registered path leads to a program of root's: that is not what was registered.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_users_link_makes_no_mailer_of_another_program() {
    let Some(own) = Own::open() else { return };
    own.sends();
    let before = own.scene.theatre.newest();
    let link = own.mailer.with_extension("link");
    symlink(BASH, &link).unwrap();
    fs::rename(&link, &own.mailer).unwrap();
    own.notice_after(
        before,
        "is reached by a symbolic link that users can change",
    );
    let line = format!(
        "exec 3<>/dev/tcp/{} && echo EHLO bot >&3",
        SERVER.replace(':', "/")
    );
    let (refusal, bytes) = own.is_refused(Path::new(BASH), &["-c", &line]);
    evasions::refused("own-file-link", bytes, &refusal, BASH);
    own.put_back();
}

/// What is written through a mapping need not move the change time. As long as there is one, the
/// file is not accepted.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_file_that_is_mapped_for_writing_is_not_accepted() {
    let Some(own) = Own::open() else { return };
    own.sends();
    let before = own.scene.theatre.newest();
    let contents = fs::read(&own.other).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(&own.mailer)
        .unwrap();
    let length = file.metadata().unwrap().len() as usize;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let nowhere = std::ptr::null_mut();
    // SAFETY: a new mapping of a file of this test's own, as long as the file.
    let mapped = unsafe { mmap(nowhere, length, access, MapFlags::SHARED, &file, 0) }.unwrap();
    drop(file);
    // SAFETY: the mapping is that long, and this test's alone.
    let bytes = unsafe { std::slice::from_raw_parts_mut(mapped.cast::<u8>(), length) };
    // The same bytes as before: all that can be seen is that it was changed.
    for at in (0..length).step_by(4096) {
        let byte = bytes[at];
        // SAFETY: a byte of the mapping.
        unsafe { (&raw mut bytes[at]).write_volatile(byte) };
    }
    fs::set_permissions(&own.mailer, Permissions::from_mode(0o755)).unwrap();
    own.notice_after(before, "is open for writing in some process");
    bytes.copy_from_slice(&contents[..length]);
    bytes[length - 1] ^= 1;
    // SAFETY: nothing points into it any more.
    unsafe { munmap(mapped, length) }.unwrap();
    let (refusal, bytes) = own.is_refused(&own.mailer, &["mailer", "--server", SERVER]);
    assert_eq!(refusal["reason"], "file-changed", "{refusal}");
    evasions::refused("own-file-mapped", bytes, &refusal, &own.mailer);
    own.put_back();
}

/// A file without end keeps nobody from work: neither the keeper nor who asks it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_huge_file_holds_nobody_up() {
    let Some(own) = Own::open() else { return };
    let before = own.scene.theatre.newest();
    let file = File::options().write(true).open(&own.mailer).unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    own.notice_after(before, "is longer than 256 MiB");
    // A command that is not answered in ten seconds fails.
    let theatre = &own.scene.theatre;
    theatre.register_as(Path::new("/usr/bin/true"), "launcher", None);
    assert_eq!(theatre.status()["gate"], "closed");
    let (refusal, _) = own.is_refused(&own.scene.bot, &["bot", "--smtp", SERVER]);
    own.scene.blames_the_bot(&refusal);
    own.put_back();
}

/// Whoever changes his file again and again gets it looked at less and less often; the last change
/// counts.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_file_that_never_rests_fills_no_journal() {
    let Some(own) = Own::open() else { return };
    let before = own.scene.theatre.newest();
    let end = Instant::now() + Duration::from_secs(3);
    let mut changes = 0;
    while Instant::now() < end {
        for mode in [0o644, 0o755] {
            fs::set_permissions(&own.mailer, Permissions::from_mode(mode)).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        changes += 1;
    }
    let entries = own.scene.theatre.newest() - before;
    assert!(changes > 20 && entries < 8, "{entries} of {changes}");
    // In the end it is what was registered.
    let words = ["mailer", "--server", SERVER];
    let desktop = &own.scene.desktop;
    let sent = || {
        let exit = desktop.run(&own.mailer, words, LIMIT).unwrap();
        exit.success().then_some(())
    };
    wait_until(LIMIT, sent).unwrap_or_else(|| panic!("{}", own.scene.theatre.daemon_words()));
}

/// As many scripts as the gate has room for, and one more: it is not registered. With more than that
/// on the disk, the gate closes with those that it has room for, and says which it has not.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_registration_too_many_opens_nothing() {
    const ROOM: usize = 1024;
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let stored = theatre.state().join("programs.json");
    let original = fs::read_to_string(&stored).unwrap();
    let with_scripts = |paths: &mut dyn Iterator<Item = String>| {
        let mut all: Value = serde_json::from_str(&original).unwrap();
        let programs = all["programs"].as_array_mut().unwrap();
        programs.extend(paths.map(|path| {
            json!({
                "path": path, "role": "mailer", "kind": "batch", "script": true, "device": 1,
                "inode": 1, "changed_ns": 1, "sha256": "00", "root_owned": true, "registered_ns": 1,
            })
        }));
        fs::write(&stored, all.to_string()).unwrap();
    };
    let numbered = |number: usize| format!("/nowhere/{number:05}");
    with_scripts(&mut (0..ROOM).map(numbered));
    if !theatre.raise() {
        return;
    }
    let before = fs::read(&stored).unwrap();
    let is_script = |path: &PathBuf| {
        fs::read(path).is_ok_and(|text| text.starts_with(b"#!/bin/sh\n") && !path.is_symlink())
    };
    let script = fs::read_dir("/usr/bin").unwrap().flatten();
    let script = script.map(|entry| entry.path()).find(is_script);
    let script = script.expect("a script").to_string_lossy().into_owned();
    let ran = theatre.sekimori(&["register", &script, "--kind", "batch"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("table of registered scripts is full"),
        "{ran:?}"
    );
    assert_eq!(fs::read(&stored).unwrap(), before);
    assert!(!theatre.sekimori(&["programs"]).stdout.contains(&script));

    theatre.end_daemon(Signal::TERM);
    let long = format!("/{}", "x".repeat(3000));
    with_scripts(&mut (0..ROOM + 1).map(numbered).chain([long.clone()]));
    assert!(theatre.raise());
    for path in [numbered(ROOM), long] {
        let text = format!("the gate has no room for {path}");
        theatre.wait_for(&text, |entry| word(entry, "text").contains(&text));
    }
    theatre.end_daemon(Signal::TERM);
    fs::write(&stored, original).unwrap();
    assert!(theatre.raise());
}
