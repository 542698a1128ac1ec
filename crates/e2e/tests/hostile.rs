//! Somebody has taken the watcher over: what it can reach and what it can ask of the keeper. In
//! each case mail ports stay closed for whom they are closed, and the user's own mail goes out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use e2e::evasions::beyond;
use e2e::{LIMIT, SERVER, Scene, Theatre, WEB, wait_until, watcher_account, word};
use rustix::process::Signal;
use stage::HttpServer;

/// Every file below a folder, with owner, mode, and what changes when it is written to. Sockets
/// and pins too; not what the watcher is there to write.
fn snapshot(folder: &Path, into: &mut BTreeMap<String, (u32, u32, u64, i64)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        if name.contains("/journal.db") || name.ends_with("/daemon.log") {
            continue;
        }
        let about = fs::symlink_metadata(&path).unwrap();
        let written = if about.is_dir() {
            0
        } else {
            about.mtime_nsec()
        };
        into.insert(name, (about.uid(), about.mode(), about.ino(), written));
        if about.is_dir() {
            snapshot(&path, into);
        }
    }
}

/// A gate with somebody inside the watcher.
struct Hostile {
    scene: Scene,
    web: HttpServer,
}

impl Hostile {
    fn open() -> Option<Self> {
        let scene = Scene::open("")?;
        let web = scene.theatre.web(WEB);
        Some(Self { scene, web })
    }

    /// Has the next watcher taken over by this scene, and waits for its end. Returns what it
    /// tried with what came of it; `None`, with the reason printed, with a release.
    fn play(&self, scene: &str) -> Option<Vec<(String, String)>> {
        let theatre = &self.scene.theatre;
        let said_before = theatre.daemon_words().len();
        let file = theatre.state().join("hostile");
        let (user, group) = watcher_account();
        let old = theatre.watcher();
        Theatre::signal_process(old, Signal::KILL);
        // Not before: this one may just be beginning, and would take it. The next one begins after
        // a pause.
        fs::write(&file, scene).unwrap();
        chown(&file, Some(user), Some(group)).unwrap();
        theatre.next_watcher(old);
        let taken = wait_until(LIMIT, || (!file.exists()).then_some(()));
        if taken.is_none() {
            println!("skipped: a release has no hostile watcher");
            let _ = fs::remove_file(&file);
            return None;
        }
        let lines = || -> Vec<(String, String)> {
            let words = theatre.daemon_words();
            let lines = words[said_before..].lines();
            lines
                .filter_map(|line| line.strip_prefix("hostile: ")?.split_once(": "))
                .map(|(name, result)| (name.to_owned(), result.to_owned()))
                .collect()
        };
        let over = ["ends", "cut off", "let go on"];
        wait_until(LIMIT, || {
            let ended = |(name, result): &(String, String)| {
                name == scene && over.contains(&result.as_str())
            };
            // The one that was killed here, and the one that was taken over.
            let words = &theatre.daemon_words()[said_before..];
            let gone = words.matches("the watcher ended").count() >= 2;
            (gone || lines().iter().any(ended)).then_some(())
        })
        .unwrap_or_else(|| panic!("{}", theatre.daemon_words()));
        Some(lines())
    }

    /// Everything is as it was: the keeper answers, and root can register.
    fn is_guarded(&self) {
        let theatre = &self.scene.theatre;
        self.scene.enforces(&self.web);
        let (mail, sent) = (&self.scene.mail, self.scene.mail.messages().len() as u64);
        assert_eq!((mail.connection_count(), beyond(mail, sent)), (sent, 0));
        // A command that is not answered in ten seconds fails.
        theatre.register_as(Path::new("/bin/true"), "launcher", None);
        let ran = theatre.sekimori(&["unregister", "/bin/true"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let registered = theatre.sekimori(&["programs", "--json"]);
        assert_eq!(registered.stdout.lines().count(), 3, "{registered:?}");
    }
}

/// Deeds that are permitted: files of its own, in its own folder.
const PERMITTED: [&str; 6] = [
    "open-own-file",
    "rename-own-file",
    "unlink-own-file",
    // Above its root there is nothing but its root.
    "open-root",
    "open-escape",
    "unlink-escape",
];

/// System calls, one after the other: none reaches anything outside.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn somebody_inside_reaches_nothing() {
    let Some(hostile) = Hostile::open() else {
        return;
    };
    let theatre = &hostile.scene.theatre;
    let folder = theatre.sandbox().folder().to_owned();
    let look = || {
        let mut seen = BTreeMap::new();
        snapshot(&folder, &mut seen);
        seen
    };
    let before = look();
    let Some(deeds) = hostile.play("deeds") else {
        return;
    };
    assert!(deeds.len() > 200, "{deeds:#?}");
    for (name, result) in &deeds[1..deeds.len() - 1] {
        assert_eq!(
            result == "done",
            PERMITTED.contains(&name.as_str()),
            "{name}: {result}"
        );
    }
    let result = |name: &str| {
        let found = deeds.iter().find(|(deed, _)| deed == name);
        found.map_or("not tried", |(_, result)| result.as_str())
    };
    for forbidden in [
        "socket-tcp",
        "socket-raw",
        "socket-unix",
        "connect-3",
        "sendto-3",
        "sendmsg-3",
        "exec",
        "fork",
        "ptrace-attach",
        "vm-write",
        "kill",
        "tgkill",
        "take-descriptor-3",
        "bpf-update",
        "bpf-detach",
        "setuid",
        "unshare-user",
        "io-uring",
        "map-executable",
        "ioctl-2",
    ] {
        assert_eq!(result(forbidden), "EPERM", "{forbidden}");
    }
    for (gone, expected) in [
        ("clone3", "ENOSYS"),
        ("open-passwd", "ENOENT"),
        ("open-above", "ENOENT"),
        ("open-programs-read", "EACCES"),
        ("open-programs-write", "EACCES"),
    ] {
        assert_eq!(result(gone), expected, "{gone}");
    }
    assert_eq!(look(), before);
    assert!(!folder.join("escaped").exists());
    hostile.is_guarded();
}

/// Each request, as bad as it can be, and many of them: the keeper answers and goes on.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn no_request_opens_anything() {
    let Some(hostile) = Hostile::open() else {
        return;
    };
    let theatre = &hostile.scene.theatre;
    let programs = fs::read(theatre.state().join("programs.json")).unwrap();
    for scene in ["requests", "flood", "deaf"] {
        let Some(said) = hostile.play(scene) else {
            return;
        };
        println!("{scene}: {said:?}");
        hostile.is_guarded();
    }
    // What was registered is what it was, but for the program that `is_guarded` brings and takes.
    assert_eq!(
        fs::read(theatre.state().join("programs.json")).unwrap(),
        programs
    );
    let settings = theatre.status();
    assert_eq!(settings["gate"], "closed", "{settings}");
    assert_eq!(
        settings["mail_ports"],
        serde_json::json!([25, 465, 587]),
        "{settings}"
    );
}

/// What is no request ends the watcher that says it. The next one is as good as new, and the
/// pauses before it grow: hence not all in one theatre.
fn whoever_says_so_is_ended(scenes: [&str; 3], complaint: &str) {
    let Some(hostile) = Hostile::open() else {
        return;
    };
    let theatre = &hostile.scene.theatre;
    for scene in scenes {
        let Some(said) = hostile.play(scene) else {
            return;
        };
        // It has no time to say more when it is ended at once.
        assert!(
            said.iter().all(|(_, result)| result != "let go on"),
            "{said:?}"
        );
    }
    let words = theatre.daemon_words();
    assert!(words.contains(complaint), "{words}");
    theatre.watcher();
    hostile.is_guarded();
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn whoever_sends_too_little_is_ended() {
    whoever_says_so_is_ended(["empty", "cut", "crash"], "no request: it is too short");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn whoever_sends_too_much_is_ended() {
    whoever_says_so_is_ended(["long", "huge", "unknown"], "no request: it is too long");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn whoever_asks_for_what_is_roots_is_ended() {
    let complaint = "no request: it has an unknown number";
    whoever_says_so_is_ended(["register", "settings", "grant"], complaint);
}

/// Where a ring buffer is read on is written by its reader. One that leaves nonsense there is
/// not the last to read it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn spoiled_ring_buffers_are_read_again() {
    let Some(hostile) = Hostile::open() else {
        return;
    };
    let scene = &hostile.scene;
    let Some(said) = hostile.play("ring") else {
        return;
    };
    let spoiled = said.iter().find(|(name, _)| name == "ring buffers");
    let spoiled = spoiled.map(|(_, result)| result.as_str());
    // At least both; the journal's own shared memory may be one of the others.
    assert!(
        !["0 spoiled", "1 spoiled"].contains(&spoiled.unwrap()),
        "{said:?}"
    );
    scene.enforces(&hostile.web);
    scene.notice_after(0, "passed over");
    hostile.is_guarded();
    let before = scene.theatre.newest();
    scene.run_bot(&format!("bot --smtp {SERVER}"));
    scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
}
