//! The grant from birth to death, and the gate without its daemon: killed, stopped, started
//! again.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Theatre, evasions, is_missing, wait_until, word};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Desktop, SmtpServer, Start};

struct Scene {
    theatre: Theatre,
    server: SmtpServer,
    /// A server on a port that is not guarded.
    other: SmtpServer,
    desktop: Desktop,
    mailer: PathBuf,
    bot: PathBuf,
}

const OTHER: &str = "127.0.0.1:8080";
/// What each of the daemon's processes gives back at least, of what its start had resident.
const GIVEN_BACK_KIB: u64 = 2048;

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let (server, other) = (theatre.smtp(), theatre.smtp_at(&[OTHER]));
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        let desktop = theatre.desktop();
        Some(Self {
            theatre,
            server,
            other,
            desktop,
            mailer,
            bot,
        })
    }

    fn user_sends(&self) -> bool {
        self.desktop
            .run(&self.mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap()
            .success()
    }

    fn bot_sends(&self) -> bool {
        let words = ["bot", "--smtp", SERVER];
        self.desktop.run(&self.bot, words, LIMIT).unwrap().success()
    }

    fn bot_drives(&self) -> bool {
        let mailer = self.mailer.to_str().unwrap();
        let words = ["launcher", mailer, "mailer", "--server", SERVER];
        self.desktop.run(&self.bot, words, LIMIT).unwrap().success()
    }

    fn other_traffic_flows(&self) -> bool {
        let words = ["say", "--server", OTHER, "--await", "4"];
        let words = words.into_iter().chain(["--piece", "QUIT\r\n"]);
        let before = self.other.connection_count();
        self.desktop.run(&self.bot, words, LIMIT).unwrap().success()
            && self.other.connection_count() == before + 1
    }

    fn open_grants(&self) -> (u64, usize) {
        let status = self.theatre.status();
        (
            status["open_grants"].as_u64().unwrap(),
            status["grants"].as_array().map_or(0, Vec::len),
        )
    }

    fn grants_become(&self, count: u64) {
        let same = || (self.open_grants() == (count, count as usize)).then_some(());
        wait_until(LIMIT, same)
            .unwrap_or_else(|| panic!("{:?} instead of {count}", self.open_grants()));
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_grant_lives_from_connect_to_close() {
    let Some(scene) = Scene::open() else { return };
    assert_eq!(scene.open_grants(), (0, 0));
    let words = ["mailer", "--server", SERVER, "--linger-ms", "3000"];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    scene.grants_become(1);
    let grant = scene.theatre.status()["grants"][0].clone();
    assert_eq!(grant["program"], scene.mailer.to_str().unwrap());
    assert_eq!(grant["pid"], mailer);
    assert_eq!(grant["destination"], SERVER);
    // While it is open, the port is open for nobody else.
    assert!(!scene.bot_sends() && !scene.bot_drives());
    assert!(
        scene.desktop.wait(mailer, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    scene.grants_become(0);

    let sent = scene.server.connections()[0].payload_bytes;
    assert_eq!(scene.server.payload_bytes(), sent);
    let opened = scene
        .theatre
        .wait_for("grant opened", |entry| entry["event"] == "opened");
    let closed = scene
        .theatre
        .wait_for("grant closed", |entry| entry["event"] == "closed");
    assert_eq!(opened["cookie"], closed["cookie"]);
    assert_eq!(opened["pid"], mailer);
    // What the server acknowledged; the FIN counts as one byte of the sequence.
    let bytes = closed["bytes_sent"].as_u64().unwrap();
    assert!(
        (sent..=sent + 2).contains(&bytes),
        "{bytes} bytes, the server got {sent}"
    );
    assert!(closed["bytes_received"].as_u64().unwrap() > 50, "{closed}");
    assert_eq!(scene.theatre.counter("grants_opened"), 1);
    assert_eq!(scene.theatre.counter("grants_closed"), 1);
}

/// Every kind of socket that a mailer may use holds its grant too.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_may_use_any_kind_of_socket() {
    let Some(scene) = Scene::open() else { return };
    let ways = [
        "plain",
        "nonblocking",
        "ipv6",
        "mapped",
        "io-uring",
        "thread",
    ];
    for (count, way) in (1..).zip(ways) {
        let before = scene.theatre.newest();
        let exit = scene
            .desktop
            .run(&scene.mailer, ["technique", way, "--server", SERVER], LIMIT)
            .unwrap();
        assert!(exit.success(), "{way}: {}", scene.desktop.stdout());
        assert_eq!(
            scene.server.wait_for_messages(count, LIMIT).unwrap().len(),
            count,
            "{way}"
        );
        scene
            .theatre
            .wait_after(before, way, |entry| word(entry, "verdict") == "allow");
        scene
            .theatre
            .wait_after(before, way, |entry| entry["event"] == "closed");
    }
    for way in ["fastopen-sendto", "fastopen-connect"] {
        let (before, bytes) = (scene.theatre.newest(), scene.server.payload_bytes());
        scene
            .desktop
            .run(&scene.mailer, ["technique", way, "--server", SERVER], LIMIT)
            .unwrap();
        let arrived = wait_until(LIMIT, || {
            (scene.server.payload_bytes() > bytes).then_some(())
        });
        assert!(arrived.is_some(), "{way}: {}", scene.desktop.stdout());
        scene
            .theatre
            .wait_after(before, way, |entry| entry["event"] == "closed");
    }
    scene.grants_become(0);
}

/// Connections of processes that did not reach anybody leave nothing open.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_connection_that_fails_leaves_no_grant() {
    let Some(scene) = Scene::open() else { return };
    let nobody = "127.0.0.1:587";
    let exit = scene
        .desktop
        .run(&scene.mailer, ["mailer", "--server", nobody], LIMIT)
        .unwrap();
    assert!(!exit.success());
    let verdict = scene
        .theatre
        .wait_for("verdict", |entry| entry["destination"] == nobody);
    assert_eq!(verdict["verdict"], "allow");
    assert_eq!(scene.open_grants(), (0, 0));
    assert!(scene.user_sends());
    scene.grants_become(0);
}

/// A connection that is older than the gate has no grant: it is cut off.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_connection_older_than_the_gate_is_dropped() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let bot = theatre.player("bot");
    let start = Start::new(&bot).args(["mailer", "--server", SERVER, "--linger-ms", "6000"]);
    let old = theatre.start(start);
    wait_until(LIMIT, || (server.connection_count() == 1).then_some(())).expect("a connection");
    if !theatre.raise() {
        return;
    }
    let refusal = theatre.wait_for("refused packet", |entry| word(entry, "judged") == "packet");
    assert_eq!(refusal["reason"], "no-grant", "{refusal}");
    evasions::stopped("older-connection", server.payload_bytes(), "no-grant");
    assert!(old.exit().is_none(), "it was to try for longer");
    assert!(theatre.counter("packets_refused") >= 1);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_gate_outlives_its_daemon() {
    let Some(scene) = Scene::open() else { return };
    // A delivery that is going on while the daemon is killed.
    let words = ["mailer", "--server", SERVER, "--linger-ms", "2000"];
    let long = scene.desktop.launch(&scene.mailer, words).unwrap();
    scene.grants_become(1);
    scene.theatre.end_daemon(Signal::KILL);

    let status = scene.theatre.status();
    assert_eq!(status["gate"], "closed", "{status}");
    assert_eq!(status["daemon"]["running"], false, "{status}");
    let (refused, judged) = (
        scene.theatre.counter("connects_refused"),
        scene.theatre.counter("connects_judged"),
    );
    assert!(!scene.bot_sends() && !scene.bot_drives());
    assert!(scene.other_traffic_flows());
    assert!(
        scene.desktop.wait(long, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    // A process that starts now has its lineage all the same.
    assert!(scene.user_sends(), "{}", scene.desktop.stdout());
    assert_eq!(scene.server.messages().len(), 2);
    assert_eq!(scene.theatre.counter("connects_refused"), refused + 2);
    assert_eq!(scene.theatre.counter("connects_judged"), judged + 3);

    // The next daemon adopts the gate and tells what happened meanwhile.
    let before = scene.theatre.newest();
    assert!(scene.theatre.raise());
    assert_eq!(scene.theatre.status()["daemon"]["adopted"], true);
    scene.theatre.wait_after(before, "start", |entry| {
        word(entry, "text").contains("adopted the gate")
    });
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    let own = evasions::beyond(&scene.server, 2);
    evasions::refused("after-kill", own, &refusal, &scene.bot);
    assert!(scene.user_sends() && !scene.bot_sends() && !scene.bot_drives());
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_restart_keeps_lineages_and_grants() {
    let Some(scene) = Scene::open() else { return };
    let pins = scene.theatre.pins();
    // A bot that waits, a delivery that goes on, and a mailer that has not connected yet.
    let mailer = scene.mailer.to_str().unwrap();
    let words = [
        "launcher",
        mailer,
        "mailer",
        "--server",
        SERVER,
        "--delay-ms",
        "2500",
    ];
    let driven = scene.desktop.launch(&scene.bot, words).unwrap();
    let words = ["mailer", "--server", SERVER, "--linger-ms", "2500"];
    let long = scene.desktop.launch(&scene.mailer, words).unwrap();
    let words = ["mailer", "--server", SERVER, "--delay-ms", "2500"];
    let late = scene.desktop.launch(&scene.mailer, words).unwrap();
    scene.grants_become(1);
    let before = scene.theatre.newest();
    assert_eq!(
        scene.theatre.end_daemon(Signal::TERM),
        0,
        "{}",
        scene.theatre.daemon_words()
    );
    assert_eq!(
        scene.theatre.pins(),
        pins,
        "the gate stays when the daemon ends"
    );
    assert!(scene.theatre.raise());
    assert_eq!(scene.theatre.status()["daemon"]["adopted"], true);
    assert_eq!(scene.theatre.pins(), pins);
    for pid in [long, late] {
        assert!(
            scene.desktop.wait(pid, LIMIT).unwrap().success(),
            "{}",
            scene.desktop.stdout()
        );
    }
    assert!(!scene.desktop.wait(driven, LIMIT).unwrap().success());
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    let own = evasions::beyond(&scene.server, 2);
    evasions::refused("restart", own, &refusal, &scene.bot);
    assert_eq!(scene.server.messages().len(), 2);
    let closed = || (scene.open_grants().0 == 0).then_some(());
    wait_until(LIMIT, closed).expect("all grants are closed");
    assert_eq!(scene.open_grants(), (0, 0));
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_stopped_daemon_changes_nothing() {
    let Some(scene) = Scene::open() else { return };
    let before = scene.theatre.newest();
    scene.theatre.signal_daemon(Signal::STOP);
    for _ in 0..3 {
        assert!(!scene.bot_sends() && !scene.bot_drives());
        assert!(scene.user_sends(), "{}", scene.desktop.stdout());
        assert!(scene.other_traffic_flows());
    }
    assert_eq!(scene.server.messages().len(), 3);
    scene.theatre.signal_daemon(Signal::CONT);
    let told = || {
        let entries = scene.theatre.log();
        let new = entries
            .iter()
            .filter(|entry| entry["id"].as_u64() > Some(before));
        let verdicts: Vec<&Value> = new.filter(|entry| entry["type"] == "verdict").collect();
        (verdicts.len() == 9).then(|| {
            verdicts
                .iter()
                .filter(|entry| entry["verdict"] == "refuse")
                .count()
        })
    };
    assert_eq!(wait_until(LIMIT, told), Some(6));
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    let own = evasions::beyond(&scene.server, 3);
    evasions::refused("stopped", own, &refusal, &scene.bot);
    scene.grants_become(0);
}

/// What was running before the gate came counts by its parents, as /proc shows them.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn processes_older_than_the_gate_count_by_their_parents() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let session = theatre.registered("session", "session", None);
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    let (desktop, stranger) = (theatre.start_desktop(&session), theatre.start_desktop(&bot));
    // A mailer that runs already on either side, and the orphan of one that is gone.
    let words = ["mailer", "--server", SERVER, "--delay-ms", "8000"];
    let (good, bad) = (
        desktop.launch(&mailer, words).unwrap(),
        stranger.launch(&mailer, words).unwrap(),
    );
    if !theatre.raise() {
        return;
    }
    let words = ["mailer", "--server", SERVER];
    assert!(
        desktop.run(&mailer, words, LIMIT).unwrap().success(),
        "{}",
        desktop.stdout()
    );
    assert!(!stranger.run(&mailer, words, LIMIT).unwrap().success());
    let refusal = theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    let own = evasions::beyond(&server, 1);
    evasions::refused("older-process", own, &refusal, &bot);
    assert!(
        desktop.wait(good, LIMIT).unwrap().success(),
        "{}",
        desktop.stdout()
    );
    assert!(!stranger.wait(bad, LIMIT).unwrap().success());
    assert_eq!(server.messages().len(), 2);
    let status = theatre.status();
    assert!(status["daemon"]["seeded"].as_u64() > Some(3), "{status}");
}

/// What a process older than the gate says that it runs makes no mailer of it: here a program of
/// the bot's own, with a registered script's path as its first word.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_older_process_is_no_mailer_by_its_words() {
    const SWAKS: &str = "/usr/bin/swaks";
    if is_missing(&[SWAKS]) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    theatre.register_as(Path::new("/usr/bin/bash"), "shell", None);
    theatre.register_as(Path::new(SWAKS), "mailer", Some("batch"));
    let server = theatre.smtp();
    let bot = theatre.player("bot");
    let terminal = theatre.terminal();
    let words = format!(
        "{} {SWAKS} mailer --server {SERVER} --delay-ms 6000",
        bot.display()
    );
    assert_eq!(terminal.run(&format!("{words} > /dev/null & true")), 0);
    if !theatre.raise() {
        return;
    }
    let refusal = theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    evasions::refused("older-words", server.payload_bytes(), &refusal, &bot);
}

/// The journal's disk is full: the gate goes on, what is not kept is counted, and when there
/// is room again the journal goes on too.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_full_disk_does_not_open_the_gate() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let size = || {
        mount(
            "none",
            theatre.state(),
            "tmpfs",
            MountFlags::empty(),
            c"size=1m,mode=0755",
        )
    };
    theatre.sandbox().run_inside(size).unwrap().unwrap();
    let server = theatre.smtp();
    theatre.register_as(theatre.built_init(), "system", Some("interactive"));
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let filler = theatre.state().join("filler");
    let fill = || fs::write(&filler, vec![0; 2 << 20]).is_err();
    assert!(
        theatre.sandbox().run_inside(fill).unwrap(),
        "the disk is not full"
    );
    let storm = format!("technique storm --server {SERVER} --count 300 --spread yes");
    let words = storm.split_whitespace();
    desktop.run(&bot, words, LIMIT).unwrap();
    assert!(
        desktop
            .run(&mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap()
            .success()
    );
    assert_eq!((server.connection_count(), server.messages().len()), (1, 1));
    let bytes = evasions::beyond(&server, 1);
    let unwritten = || {
        theatre.status()["daemon"]["entries_not_written"]
            .as_u64()
            .filter(|count| *count > 0)
    };
    wait_until(LIMIT, unwritten)
        .unwrap_or_else(|| panic!("nothing is missing: {}", theatre.status()));

    theatre
        .sandbox()
        .run_inside(|| fs::remove_file(&filler))
        .unwrap()
        .unwrap();
    let before = theatre.newest();
    desktop.run(&bot, ["bot", "--smtp", SERVER], LIMIT).unwrap();
    let refusal = theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    evasions::refused("disk-full", bytes, &refusal, &bot);
}

/// It does not matter who tries.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn another_user_is_judged_alike() {
    let Some(scene) = Scene::open() else { return };
    // What root starts is root's own where root alone can write it.
    chown(&scene.bot, Some(PERSON.0), Some(PERSON.1)).unwrap();
    for user in [(0, 0), PERSON, (1234, 1234)] {
        let start = Start::new(&scene.bot)
            .args(["bot", "--smtp", SERVER])
            .user(user.0, user.1);
        let before = scene.theatre.newest();
        scene
            .theatre
            .sandbox()
            .start(&start)
            .unwrap()
            .output(LIMIT)
            .unwrap();
        let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        assert_eq!(refusal["uid"], user.0, "{refusal}");
    }
    assert_eq!(scene.server.payload_bytes(), 0);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_gate_of_another_make_takes_over_without_a_gap() {
    let Some(scene) = Scene::open() else { return };
    // A gate with other hooks is another gate, as one of another version would be.
    let makes = [
        "call_watch = \"off\"\n",
        "call_watch = \"on\"\n",
        "packet_watch = \"off\"\n",
        "",
    ];
    let words = ["technique", "storm", "--server", SERVER, "--count", "6000"];
    let storm = scene.desktop.launch(&scene.bot, words).unwrap();
    let mut pins = scene.theatre.pins();
    for make in makes {
        let config = format!("notify = false\n{make}");
        scene.theatre.write("config.toml", &config);
        assert_eq!(scene.theatre.end_daemon(Signal::TERM), 0);
        assert!(scene.theatre.raise());
        assert_eq!(scene.theatre.status()["daemon"]["adopted"], false, "{make}");
        let now = scene.theatre.pins();
        assert_ne!(now, pins, "{make}");
        let gates = now
            .iter()
            .filter(|pin| pin.starts_with("links-") && pin.ends_with("/connect4"));
        assert_eq!(gates.count(), 1, "{now:?}");
        // No system call of the machine is made slower, unless that was asked for.
        let has = |name: &str| now.iter().any(|pin| pin.ends_with(name));
        if has("/memory_write") {
            assert_eq!(has("/take_descriptor"), make.contains("\"on\""), "{make}");
        }
        pins = now;
        // Lineages are kept: the map of processes goes from one gate to the next.
        assert!(scene.user_sends(), "{}", scene.desktop.stdout());
        assert!(!scene.bot_drives());
    }
    scene.desktop.wait(storm, LIMIT).unwrap();
    assert!(
        scene.desktop.stdout().contains("\"6000 EPERM\""),
        "{}",
        scene.desktop.stdout()
    );
    let users = makes.len() as u64;
    assert_eq!(scene.server.connection_count(), users);
    let refusal = scene
        .theatre
        .wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    let own = evasions::beyond(&scene.server, users);
    evasions::refused("upgrade", own, &refusal, &scene.bot);
}

/// What the daemon's start has read of its own program does not stay resident.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_only_the_start_needed_is_given_back() {
    let Some(scene) = Scene::open() else { return };
    let kib = |pid: u32, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().trim_start_matches(':').trim_end_matches("kB");
        number.trim().parse::<u64>().unwrap()
    };
    let given_back = |pid: u32| {
        let (most, now) = (kib(pid, "VmHWM"), kib(pid, "VmRSS"));
        (most, now, now + GIVEN_BACK_KIB <= most)
    };
    for pid in scene.theatre.daemon_pids() {
        let found = wait_until(LIMIT, || given_back(pid).2.then_some(()));
        println!("resident KiB at most, now: {:?}", given_back(pid));
        assert!(found.is_some(), "{:?}", given_back(pid));
    }
    // Both work on with what they have.
    assert!(!scene.bot_sends() && scene.user_sends());
    assert_eq!(scene.theatre.status()["gate"], "closed");
}
