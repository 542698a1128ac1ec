//! The daemon's two processes: what the watcher may do, and what holds while it is gone. In each
//! case mail ports stay closed for whom they are closed, and the user's own mail goes out.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use e2e::{LIMIT, PERSON, SERVER, Scene, Theatre, WEB, wait_until, watcher_account, word};
use journal::{Journal, NewEntry};
use rustix::process::Signal;
use serde_json::Value;
use stage::Place;

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
    let pid = theatre.watcher();
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

/// A watcher that breaks, however it does: the gate decides on, what happened meanwhile is told,
/// and that it ended is said once.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_watcher_that_breaks_is_started_again() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    for signal in [Signal::KILL, Signal::ILL, Signal::ABORT] {
        let before = scene.theatre.newest();
        let old = scene.theatre.watcher();
        // Nothing is read from now on.
        Theatre::signal_process(old, Signal::STOP);
        let attempts = format!("technique storm --server {SERVER} --count 50");
        assert!(scene.bot_succeeds(&attempts));
        Theatre::signal_process(old, signal);
        if signal != Signal::KILL {
            Theatre::signal_process(old, Signal::CONT);
        }
        scene.enforces(&web);
        let new = scene.theatre.next_watcher(old);
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

/// A watcher that hangs does not end, and nobody would hear of what is refused: it is ended when it
/// has not answered for a minute, and the next one tells.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_watcher_that_hangs_is_started_again() {
    let Some(scene) = Scene::open("") else { return };
    let theatre = &scene.theatre;
    let web = theatre.web(WEB);
    let old = theatre.watcher();
    Theatre::signal_process(old, Signal::STOP);
    scene.enforces(&web);
    assert!(scene.refusals().is_empty());
    // Half a minute until it is asked, and a minute for the answer.
    let gone = || (!Path::new(&format!("/proc/{old}")).exists()).then_some(());
    wait_until(Duration::from_secs(90) + LIMIT, gone)
        .unwrap_or_else(|| panic!("{}", theatre.daemon_words()));
    assert_ne!(theatre.next_watcher(old), old);
    let told = || (scene.refusals().len() == 2).then_some(());
    wait_until(LIMIT, told).unwrap_or_else(|| panic!("{}", theatre.daemon_words()));
    scene.notice_after(0, "the watcher ended (no answer for a minute");
    scene.enforces(&web);
    assert_eq!(theatre.end_daemon(Signal::TERM), 0);
}

/// The keeper is killed: the watcher goes with it, and the next daemon starts at once.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_watcher_ends_with_its_keeper() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    for _ in 0..3 {
        let watcher = scene.theatre.watcher();
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
    Theatre::signal_process(scene.theatre.watcher(), Signal::STOP);
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
    if Path::new("/usr/sbin/nft").exists() {
        assert_eq!(theatre.status()["forwarded"]["state"], "guarded");
    }
    let (user, _) = watcher_account();
    for adopted in [false, true] {
        assert_eq!(theatre.status()["daemon"]["adopted"], adopted);
        let old = theatre.watcher();
        assert!(field(old, "Uid").starts_with(&user.to_string()));
        Theatre::signal_process(old, Signal::KILL);
        let new = theatre.next_watcher(old);
        // Stopped, it can only be ended by force.
        Theatre::signal_process(new, Signal::STOP);
        assert_eq!(theatre.end_daemon(Signal::TERM), 0);
        assert!(!Path::new(&format!("/proc/{new}")).exists());
        assert!(theatre.raise_by(&by, &[]));
    }
    let watcher = theatre.watcher();
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
