//! The daemon's two processes: what the watcher may do, what somebody can do who has taken it
//! over, and what holds while it is gone. In each case mail ports stay closed for whom they are
//! closed, and the user's own mail goes out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::evasions::beyond;
use e2e::{LIMIT, PERSON, SERVER, Scene, Theatre, WEB, wait_until, watcher_account, word};
use journal::{Journal, NewEntry};
use rustix::process::Signal;
use serde_json::Value;
use stage::{HttpServer, Place};

/// One field of /proc/PID/status.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name}: {status}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The watcher that runs when this one is gone.
fn next_watcher(theatre: &Theatre, gone: u32) -> u32 {
    let next = || theatre.watcher_pid().filter(|pid| *pid != gone);
    wait_until(LIMIT, next).unwrap_or_else(|| panic!("{}", theatre.daemon_words()))
}

fn watcher(theatre: &Theatre) -> u32 {
    wait_until(LIMIT, || theatre.watcher_pid()).expect("a watcher")
}

/// What the kernel says of the watcher, and what `status` shows.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_watcher_has_no_privilege() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    let pid = watcher(&theatre);
    let (user, group) = watcher_account();
    for (name, expected) in [
        ("Uid", [user; 4].map(|id| id.to_string()).join(" ")),
        ("Gid", [group; 4].map(|id| id.to_string()).join(" ")),
        ("Groups", String::new()),
        ("CapInh", "0".repeat(16)),
        ("CapPrm", "0".repeat(16)),
        ("CapEff", "0".repeat(16)),
        ("CapAmb", "0".repeat(16)),
        ("NoNewPrivs", "1".to_owned()),
        ("Seccomp", "2".to_owned()),
    ] {
        assert_eq!(field(pid, name), expected, "{name}");
    }
    assert_ne!(user, 0);
    // Its whole world is the state folder.
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap();
    assert_eq!(root, fs::canonicalize(theatre.state()).unwrap());
    // What it holds open: no file but its own, and no map but the two that it reads.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let target = target.to_string_lossy();
        let own = target.contains("/journal.db")
            || target.contains("/daemon.log")
            || target == "/dev/null"
            || target.starts_with("socket:")
            || target == "anon_inode:bpf-map";
        assert!(own, "{target}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    assert!(core.unwrap().split_whitespace().any(|word| word == "0"));

    let status = theatre.status();
    assert_eq!(status["daemon"]["pid"], theatre.daemon_pid());
    assert_eq!(status["keeper"]["pid"], theatre.daemon_pid());
    assert_eq!(status["keeper"]["uid"], 0);
    assert_eq!(status["watcher"]["pid"], pid);
    assert_eq!(status["watcher"]["uid"], user);
    assert_eq!(status["watcher"]["capabilities"], "0".repeat(16));
    assert_eq!(status["watcher"]["no_new_privs"], true);
    assert_eq!(status["watcher"]["seccomp"], true);
    let landlock = word(&status["watcher"], "landlock");
    assert!(
        ["full", "partial", "missing"].contains(&landlock),
        "{status}"
    );
    println!("landlock: {landlock}");
}

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
        let old = watcher(theatre);
        Theatre::signal_process(old, Signal::KILL);
        // Not before: this one may just be beginning, and would take it. The next one begins after
        // a pause.
        fs::write(&file, scene).unwrap();
        chown(&file, Some(user), Some(group)).unwrap();
        next_watcher(theatre, old);
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
        let begun = Instant::now();
        theatre.register_as(Path::new("/bin/true"), "launcher", None);
        let ran = theatre.sekimori(&["unregister", "/bin/true"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
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
    watcher(theatre);
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

/// A watcher that breaks, however it does: the gate decides on, what happened meanwhile is told,
/// and that it ended is said once.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_watcher_that_breaks_is_started_again() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    for signal in [Signal::KILL, Signal::ILL, Signal::ABORT] {
        let before = scene.theatre.newest();
        let old = watcher(&scene.theatre);
        // Nothing is read from now on.
        Theatre::signal_process(old, Signal::STOP);
        let attempts = format!("technique storm --server {SERVER} --count 50");
        assert!(scene.bot_succeeds(&attempts));
        Theatre::signal_process(old, signal);
        if signal != Signal::KILL {
            Theatre::signal_process(old, Signal::CONT);
        }
        scene.enforces(&web);
        let new = next_watcher(&scene.theatre, old);
        assert_ne!(new, old);
        let told = || {
            let refusals = scene.refusals();
            let new = |entry: &Value| entry["id"].as_u64() > Some(before);
            (refusals.into_iter().filter(new).count() == 52).then_some(())
        };
        wait_until(LIMIT, told)
            .unwrap_or_else(|| panic!("{:?}: {}", signal, scene.theatre.daemon_words()));
        assert_eq!(
            scene.theatre.status()["keeper"]["pid"],
            scene.theatre.daemon_pid()
        );
    }
    assert_eq!(scene.theatre.counter("events_lost"), 0);
    let said = scene.notice_after(0, "the watcher ended");
    assert!(word(&said, "text").contains("the gate goes on"), "{said}");
    let entries = scene.theatre.log();
    let said = entries
        .iter()
        .filter(|entry| word(entry, "text").contains("the watcher ended"));
    assert_eq!(said.count(), 1);
    // And the daemon ends as it should.
    assert_eq!(scene.theatre.end_daemon(Signal::TERM), 0);
}

/// The keeper is killed: the watcher goes with it, and the next daemon starts at once.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_watcher_ends_with_its_keeper() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    for _ in 0..3 {
        let watcher = watcher(&scene.theatre);
        scene.theatre.end_daemon(Signal::KILL);
        let gone = || (!Path::new(&format!("/proc/{watcher}")).exists()).then_some(());
        wait_until(Duration::from_secs(2), gone).expect("the watcher ends");
        assert!(scene.theatre.raise());
        assert_eq!(scene.theatre.status()["daemon"]["adopted"], true);
    }
    scene.enforces(&web);
}

/// One of the two is stopped: the gate decides on, and all is told when it goes on.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn either_process_may_be_stopped() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    for pid in scene.theatre.daemon_pids() {
        let before = scene.refusals().len();
        Theatre::signal_process(pid, Signal::STOP);
        scene.enforces(&web);
        Theatre::signal_process(pid, Signal::CONT);
        let told = || (scene.refusals().len() == before + 2).then_some(());
        wait_until(LIMIT, told).unwrap_or_else(|| panic!("{}", scene.theatre.daemon_words()));
    }
    // A watcher that is stopped does not hold up the daemon's end for long.
    Theatre::signal_process(watcher(&scene.theatre), Signal::STOP);
    assert_eq!(scene.theatre.end_daemon(Signal::TERM), 0);
}

/// People see what is about themselves, and change nothing; root's socket is root's.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn only_root_registers() {
    let Some(scene) = Scene::open("") else { return };
    let theatre = &scene.theatre;
    scene.run_bot(&format!("bot --smtp {SERVER}"));
    theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    let copy = theatre
        .sandbox()
        .program(theatre.binary(), "sekimori")
        .unwrap();
    let as_person = |words: &[&str]| {
        let mut command = theatre
            .sandbox()
            .command(&copy, Place::Crew, Some(PERSON))
            .unwrap();
        command.env_clear().arg("--state-dir").arg(theatre.state());
        command.args(words).output().unwrap()
    };
    let log = as_person(&["log", "--json"]);
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.contains("\"refuse\""), "{log}");
    let bot = scene.bot.to_str().unwrap();
    for words in [&["register", bot][..], &["unregister", bot]] {
        let refused = as_person(words);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    }
    let keeper = theatre.state().join("keeper.sock");
    let about = fs::metadata(&keeper).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o777), (0, 0o600));
    // Whoever asks the socket for everybody for it is not understood, root or not.
    let request =
        format!(r#"{{"request":"register","path":"{bot}","role":"mailer","kind":"batch"}}"#);
    let answer = ask(&theatre.state().join("control.sock"), &request);
    assert!(answer.contains("not understood"), "{answer}");
    // And root's own is closed to others even when its mode is not.
    fs::set_permissions(&keeper, fs::Permissions::from_mode(0o666)).unwrap();
    let mut flood = theatre
        .sandbox()
        .command(theatre.built_player(), Place::Crew, Some(PERSON))
        .unwrap();
    let flood = flood
        .args([
            "flood",
            "--line",
            &request,
            "--count",
            "200",
            "--hold-ms",
            "0",
        ])
        .arg("--socket")
        .arg(&keeper)
        .output()
        .unwrap();
    assert!(flood.status.success(), "{flood:?}");
    let programs = theatre.sekimori(&["programs", "--json"]);
    assert!(!programs.stdout.contains(bot), "{programs:?}");
    assert!(!scene.bot_succeeds(&format!("bot --smtp {SERVER}")));
    // Root is still heard there.
    theatre.register_as(Path::new("/bin/true"), "launcher", None);
}

fn ask(socket: &Path, line: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The unit's short list of capabilities is enough for all of it: closing, adopting, starting the
/// watcher again, and ending it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_units_capabilities_are_enough() {
    const SETPRIV: &str = "/usr/bin/setpriv";
    if e2e::is_missing(&[SETPRIV]) {
        return;
    }
    let unit = include_str!("../../sekimori/data/sekimori.service");
    let list = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .unwrap();
    let capabilities: String = list
        .split_whitespace()
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let bounding = format!("--bounding-set=-all{capabilities}");
    let by = [
        SETPRIV,
        &bounding,
        "--inh-caps=-all",
        "--no-new-privs",
        "--",
    ];
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let mail = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    if !theatre.raise_by(&by, &[]) {
        return;
    }
    let scene = Scene {
        mail,
        desktop: theatre.desktop(),
        mailer,
        bot,
        theatre,
    };
    let theatre = &scene.theatre;
    let web = theatre.web(WEB);
    assert_eq!(field(theatre.daemon_pid(), "NoNewPrivs"), "1");
    assert_ne!(field(theatre.daemon_pid(), "CapEff"), "000001ffffffffff");
    scene.enforces(&web);
    let (user, _) = watcher_account();
    for adopted in [false, true] {
        assert_eq!(theatre.status()["daemon"]["adopted"], adopted);
        let old = watcher(theatre);
        assert!(field(old, "Uid").starts_with(&user.to_string()));
        Theatre::signal_process(old, Signal::KILL);
        let new = next_watcher(theatre, old);
        // Stopped, it can only be ended by force.
        Theatre::signal_process(new, Signal::STOP);
        assert_eq!(theatre.end_daemon(Signal::TERM), 0);
        assert!(!Path::new(&format!("/proc/{new}")).exists());
        assert!(theatre.raise_by(&by, &[]));
    }
    let watcher = watcher(theatre);
    theatre.end_daemon(Signal::KILL);
    let gone = || (!Path::new(&format!("/proc/{watcher}")).exists()).then_some(());
    wait_until(Duration::from_secs(2), gone).expect("the watcher ends with its keeper");
    assert!(theatre.raise_by(&by, &[]));
    scene.enforces(&web);
}

/// What an older version kept in the journal is carried over, once. Later, the same file is the
/// watcher's, and not believed.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_older_journals_registrations_are_carried_over_once() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let mail = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let session = theatre.registered("session", "session", None);
    let bot = theatre.player("bot");
    let (programs, path) = (
        theatre.state().join("programs.json"),
        theatre.state().join("journal.db"),
    );
    // As the older version left it: everything in the journal, and root's.
    let text = fs::read(&programs).unwrap();
    let content: Value = serde_json::from_slice(&text).unwrap();
    let stored: Vec<journal::Registered> = content["programs"]
        .as_array()
        .unwrap()
        .iter()
        .map(registered)
        .collect();
    let mut older = Journal::open(&path).unwrap().journal;
    stored.iter().for_each(|one| older.register(one).unwrap());
    let entry = NewEntry {
        time_ns: 1,
        kind: "notice",
        uid: None,
        body: r#"{"type":"notice","text":"from before"}"#,
    };
    older.append(&[entry]).unwrap();
    drop(older);
    fs::remove_file(&programs).unwrap();

    if !theatre.raise() {
        return;
    }
    let scene = Scene {
        mail,
        desktop: theatre.start_desktop(&session),
        mailer,
        bot,
        theatre,
    };
    let web = scene.theatre.web(WEB);
    let said = scene.notice_after(0, "carried over");
    let text = word(&said, "text");
    assert!(text.starts_with("3 registered programs"), "{said}");
    scene.enforces(&web);
    scene.notice_after(0, "from before");
    let (user, _) = watcher_account();
    assert_eq!(fs::metadata(&path).unwrap().uid(), user);
    assert_eq!(fs::metadata(&programs).unwrap().uid(), 0);

    // From now on somebody else may have written to it.
    scene.theatre.end_daemon(Signal::TERM);
    let mut hostile = Journal::open(&path).unwrap().journal;
    let mut mailer = stored[0].clone();
    mailer.path = scene.bot.to_string_lossy().into_owned();
    mailer.role = "mailer".to_owned();
    hostile.register(&mailer).unwrap();
    drop(hostile);
    assert!(scene.theatre.raise());
    let listed = || {
        let ran = scene.theatre.sekimori(&["programs", "--json"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout.lines().count()
    };
    assert_eq!(listed(), 3);
    scene.enforces(&web);
    // Not even when root's file is gone.
    scene.theatre.end_daemon(Signal::TERM);
    fs::remove_file(&programs).unwrap();
    assert!(scene.theatre.raise());
    assert_eq!(listed(), 0);
    let sent = scene.mail.messages().len();
    assert!(!scene.user_sends() && !scene.bot_succeeds(&format!("bot --smtp {SERVER}")));
    assert_eq!(scene.mail.messages().len(), sent);
}

fn registered(stored: &Value) -> journal::Registered {
    let number = |key: &str| stored[key].as_u64().unwrap();
    let text = |key: &str| word(stored, key).to_owned();
    journal::Registered {
        path: text("path"),
        role: text("role"),
        kind: text("kind"),
        script: stored["script"] == true,
        device: number("device").try_into().unwrap(),
        inode: number("inode"),
        changed_ns: number("changed_ns"),
        sha256: text("sha256"),
        root_owned: stored["root_owned"] == true,
        registered_ns: number("registered_ns"),
    }
}
