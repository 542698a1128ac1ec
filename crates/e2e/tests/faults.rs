//! What breaks while the gate stands: the pins, the control socket, and more work than there is time for. In each case mail ports stay closed, the user's own mail
//! goes out, and what was lost is said. (A daemon that is killed, stopped or replaced:
//! `lifecycle.rs`; disks and the journal: `journal.rs`; a storm of verdicts: `storm.rs`; SECURITY.md lists all.)

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use abi::ProcessRecord;
use e2e::{
    LIMIT, LONG, PERSON, SERVER, Scene, WEB, evasions, open_files, own_kib, wait_until, word,
};
use linux::gate::Gate;
use linux::pins::Pins;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use serde_json::Value;
use stage::Place;

/// Samples that nobody reads are counted and said; every verdict is told all the same.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn samples_that_do_not_fit_are_counted_and_cost_no_verdict() {
    /// Of one process, no more connections than these are looked at closely.
    const VISITS: u64 = 60;
    const VISITORS: usize = 30;
    const ATTEMPTS: usize = 300;
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    scene.theatre.signal_daemon(Signal::STOP);
    let visits = format!("technique visits --server {WEB} --count {VISITS}");
    for _ in 0..VISITORS {
        assert!(scene.bot_succeeds(&visits));
    }
    let storm = format!("technique storm --server {SERVER} --count {ATTEMPTS}");
    assert!(scene.bot_succeeds(&storm));
    scene.enforces(&web);
    scene.theatre.signal_daemon(Signal::CONT);

    let said = scene.notice_after(0, "samples of connections");
    assert_eq!(
        said["count"].as_u64(),
        Some(scene.theatre.counter("samples_lost")),
        "{said}"
    );
    // Two more by `enforces`.
    wait_until(LIMIT, || {
        (scene.refusals().len() == ATTEMPTS + 2).then_some(())
    })
    .unwrap_or_else(|| panic!("{} refusals", scene.refusals().len()));
    assert_eq!(scene.theatre.counter("events_lost"), 0);
}

/// Somebody unmounts the bpffs: what holds the gate is gone but for the daemon.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_unmounted_bpffs_opens_nothing_while_the_daemon_runs() {
    without_pins(|pins| unmount(pins, UnmountFlags::DETACH).unwrap());
}

/// Or removes the pins.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn removed_pins_open_nothing_while_the_daemon_runs() {
    without_pins(|pins| {
        for folder in fs::read_dir(pins).unwrap().flatten() {
            // The kernel keeps files of its own beside ours.
            if folder.file_type().unwrap().is_dir() {
                fs::remove_dir_all(folder.path()).unwrap();
            }
        }
    });
}

fn without_pins(remove: impl FnOnce(&Path) + Send) {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    let pins = scene.theatre.state().join("bpf");
    scene
        .theatre
        .sandbox()
        .run_inside(|| remove(&pins))
        .unwrap();
    let said = scene.notice_after(0, "pins of the gate");
    assert!(
        word(&said, "text").contains(&*pins.to_string_lossy()),
        "{said}"
    );
    let left = scene.theatre.pins();
    assert!(!left.iter().any(|pin| pin.contains('-')), "{left:?}");
    scene.enforces(&web);
    wait_until(LIMIT, || (scene.refusals().len() == 2).then_some(())).expect("both refusals");
    assert_eq!(scene.times_said("pins of the gate"), 1);

    // The next daemon sets the gate up anew, with pins.
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.theatre.raise());
    assert_eq!(scene.theatre.status()["daemon"]["adopted"], false);
    assert!(!scene.theatre.pins().is_empty());
    scene.enforces(&web);
}

/// Somebody who is not root, at the control socket.
fn flood(scene: &Scene, count: u64, hold_ms: u64) -> Child {
    let socket = scene.theatre.state().join("control.sock");
    let mut command = scene
        .theatre
        .sandbox()
        .command(scene.theatre.built_player(), Place::Crew, Some(PERSON))
        .unwrap();
    command
        .args(["flood", "--line", r#"{"request":"status"}"#, "--socket"])
        .arg(socket)
        .args(["--count", &count.to_string()])
        .args(["--hold-ms", &hold_ms.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Others are answered while the flood goes on, however many connections one user opens, and
/// whatever is written to them.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flooded_control_socket_answers_others() {
    /// More, and longer, than all else in this test takes: both floods are ended by the test.
    const HASTY: u64 = 100_000;
    const HELD_MS: u64 = 3_600_000;
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    let daemon = scene.theatre.daemon_pids();
    // On a busy machine an answer may take longer than the command waits; it must come.
    let ask = |user: Option<(u32, u32)>| {
        let asked = || scene.theatre.sekimori_as(&["status", "--json"], user);
        let answered = || (asked().status == 0).then_some(());
        wait_until(LONG, answered).unwrap_or_else(|| panic!("{user:?}: {:?}", asked()));
    };
    ask(None);
    let before = (own_kib(&daemon), open_files(&daemon).len());

    let mut most_kib = 0;
    // Many in haste, and some that are kept: both at once.
    let mut floods = [flood(&scene, 600, HELD_MS), flood(&scene, HASTY, HELD_MS)];
    for user in [None, Some((1234, 1234))].into_iter().cycle().take(10) {
        ask(user);
        most_kib = most_kib.max(own_kib(&daemon));
    }
    scene.enforces(&web);
    for flood in &mut floods {
        let ended = flood.try_wait().unwrap();
        assert_eq!(ended, None, "the flood ended before the answers");
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
    // Whoever flooded is answered again, too.
    ask(Some(PERSON));
    wait_until(LIMIT, || {
        (open_files(&daemon).len() <= before.1).then_some(())
    })
    .unwrap_or_else(|| panic!("{} files, {} before", open_files(&daemon).len(), before.1));
    println!("{} KiB before, at most {most_kib} KiB", before.0);
    assert!(most_kib < before.0 + 8192, "{} {most_kib}", before.0);
    wait_until(LIMIT, || (scene.refusals().len() == 2).then_some(())).expect("both refusals");
}

/// As many programs as the machine can start, and in the midst of them some that want to
/// send: each is known for what it is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_storm_of_programs_loses_no_lineage() {
    /// Two processors are busy with this many.
    const SPAWNERS: usize = 4;
    let Some(scene) = Scene::open("") else { return };
    let Some(image) = stage::tiny_program() else {
        println!("skipped: no machine code for this processor");
        return;
    };
    let image_file = scene.theatre.state().join("tiny");
    fs::write(&image_file, image).unwrap();
    let sandbox = scene.theatre.sandbox();
    let tiny = sandbox.program(&image_file, "tiny").unwrap();
    let lasting = if e2e::at_length() {
        Duration::from_secs(60)
    } else {
        Duration::from_secs(8)
    };
    let known = || {
        let status = scene.theatre.status();
        status["processes"]["known"].as_u64().unwrap()
    };
    let before = known();
    let storm = scene.theatre.player("storm");
    let words = format!(
        "technique spawns --for-ms {} -- {}",
        lasting.as_millis(),
        tiny.display()
    );
    let begun = Instant::now();
    let storms: Vec<u32> = (0..SPAWNERS).map(|_| scene.start(&storm, &words)).collect();
    let mailer = scene.mailer.display();
    let mut senders = 0;
    while begun.elapsed() < lasting {
        assert!(scene.user_sends(), "{}", scene.desktop.stdout());
        let driven = format!("launcher {mailer} mailer --server {SERVER}");
        assert!(!scene.bot_succeeds(&driven));
        senders += 1;
        // The user's mailer has a rate, too.
        thread::sleep(Duration::from_millis(800));
    }
    for pid in storms {
        let exit = scene.desktop.wait(pid, lasting + LONG).unwrap();
        assert!(exit.success());
    }
    let seconds = begun.elapsed().as_secs_f64();
    // Each of them says how many it started.
    let programs: u64 = scene
        .desktop
        .stdout()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|report| {
            word(&report, "detail")
                .strip_suffix(" programs")?
                .parse::<u64>()
                .ok()
        })
        .sum();
    println!(
        "{programs} programs in {seconds:.1} s: {:.0} a second; {senders} senders among them",
        programs as f64 / seconds
    );
    assert!(programs > 1000, "{}", scene.desktop.stdout());
    // Right afterwards.
    assert!(scene.user_sends());
    let all = wait_until(LIMIT, || {
        Some(scene.refusals()).filter(|all| all.len() == senders)
    })
    .expect("every refusal");
    for refusal in &all {
        assert_eq!(
            word(refusal, "culprit"),
            scene.bot.to_str().unwrap(),
            "{refusal}"
        );
        assert_eq!(
            word(refusal, "program"),
            scene.mailer.to_str().unwrap(),
            "{refusal}"
        );
    }
    assert_eq!(scene.mail.messages().len(), senders + 1);
    for lost in ["processes_lost", "events_lost", "programs_lost"] {
        assert_eq!(scene.theatre.counter(lost), 0, "{lost}");
    }
    wait_until(LIMIT, || (known() <= before + 16).then_some(()))
        .unwrap_or_else(|| panic!("{} processes, {before} before", known()));
}

/// No room for one more process in the gate's table: whoever starts then is a stranger, and
/// that is counted and said. The table is filled with processes that cannot be, because 32,768
/// that are would be more than a machine that does other work can take.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_full_process_table_lets_nobody_send_and_everything_else_flow() {
    /// Linux gives no process a number above 2^22 (`PID_MAX_LIMIT`).
    const NOBODY: u32 = 1 << 23;
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    let pins = Pins::new(scene.theatre.state().join("bpf"), linux::load::OBJECT);
    let with_gate = |work: &(dyn Fn(&mut Gate) + Sync)| {
        let open = || work(&mut Gate::open(&pins).unwrap());
        scene.theatre.sandbox().run_inside(open).unwrap();
    };
    let fill = || {
        with_gate(&|gate| {
            let record = ProcessRecord::default();
            let full =
                (NOBODY..NOBODY + 100_000).find_map(|pid| gate.record_process(pid, &record).err());
            assert!(matches!(full, Some(linux::Error::Full(_))), "{full:?}");
        });
    };
    fill();
    let words = format!("bot --smtp {SERVER}");
    assert!(!scene.bot_succeeds(&words));
    assert_eq!(scene.mail.messages().len(), 0);
    let refusal = scene
        .theatre
        .wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    // A process without a record has no lineage, and so no culprit.
    let bytes = scene.mail.payload_bytes();
    evasions::stopped("table-full", bytes, word(&refusal, "reason"));
    // The table is the machine's: wherever a process ends, there is room for another.
    let refused = (0..20).any(|_| {
        fill();
        let sent = scene.mail.messages().len();
        !scene.user_sends() && scene.mail.messages().len() == sent
    });
    assert!(refused, "processes without a record may send");
    let visits = format!("technique visits --server {WEB} --count 3");
    assert!(scene.bot_succeeds(&visits));
    assert_eq!(web.requests(), 3);
    assert!(scene.theatre.counter("processes_lost") > 0);
    scene.notice_after(0, "processes");
    let stranger = |refusal: &Value| {
        word(refusal, "comm") == "mailer" && word(refusal, "reason") == "unknown-process"
    };
    wait_until(LIMIT, || {
        scene.refusals().iter().any(stranger).then_some(())
    })
    .unwrap_or_else(|| panic!("{:?}", scene.refusals()));

    with_gate(&|gate| {
        let made_up: Vec<u32> = gate.processes().map(|(pid, _)| pid).collect();
        for pid in made_up.into_iter().filter(|pid| *pid >= NOBODY) {
            gate.forget_process(pid);
        }
    });
    scene.enforces(&web);
}

/// A registered file of 250 MiB that its user changes is read beside the keeper's loop: root's own command is
/// answered before that is done.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_keeper_answers_while_a_long_file_is_read() {
    let Some(scene) = Scene::open("") else { return };
    let long = scene.theatre.home().join("long-mailer");
    let (from, to) = (scene.bot.to_str().unwrap(), long.to_str().unwrap());
    scene.theatre.crew("cp", &[from, to]);
    scene.theatre.crew("truncate", &["-s", "250M", to]);
    std::os::unix::fs::chown(&long, Some(PERSON.0), Some(PERSON.1)).unwrap();
    let register = |path: &str| {
        scene
            .theatre
            .sekimori(&["register", path, "--as", "mailer"])
    };
    let ran = register(to);
    if ran.stderr.contains("not every change shows") {
        println!("skipped: {}", ran.stderr.trim_end());
        return;
    }
    assert_eq!(ran.status, 0, "{ran:?}");
    let other = scene.theatre.player("other");
    let before = scene.theatre.newest();
    scene.theatre.crew("truncate", &["-s", "251M", to]);
    let ran = register(other.to_str().unwrap());
    assert_eq!(ran.status, 0, "{ran:?}");
    let registered = scene.notice_after(before, "bin/other as mailer");
    let changed = scene.notice_after(before, "changed and waits for you");
    assert!(
        registered["id"].as_u64() < changed["id"].as_u64(),
        "{registered} {changed}"
    );
}

/// A daemon that finds no room for the processes that are there loads the gate all the same, and says
/// how many have no record.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_process_table_that_is_full_at_the_start_keeps_no_gate_from_loading() {
    /// Linux gives no process a number above 2^22 (`PID_MAX_LIMIT`).
    const NOBODY: u32 = 1 << 23;
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    let pins = Pins::new(scene.theatre.state().join("bpf"), linux::load::OBJECT);
    let with_gate = |work: &(dyn Fn(&mut Gate) + Sync)| {
        let open = || work(&mut Gate::open(&pins).unwrap());
        scene.theatre.sandbox().run_inside(open).unwrap();
    };
    let fill = || {
        with_gate(&|gate| {
            let record = ProcessRecord::default();
            (NOBODY..NOBODY + 100_000).find_map(|pid| gate.record_process(pid, &record).err());
        });
    };
    let words = format!("mailer --server {SERVER} --delay-ms 12000");
    let mailers: Vec<u32> = (0..5)
        .map(|_| {
            fill();
            scene.start(&scene.mailer, &words)
        })
        .collect();
    let before = scene.theatre.newest();
    scene.theatre.end_daemon(Signal::KILL);
    // A gate without its links is loaded anew, on the maps that are there.
    let folder = scene.theatre.state().join("bpf");
    let script = format!("rm -r {}/links-*", folder.display());
    scene.theatre.crew("sh", &["-c", &script]);
    fill();
    assert!(scene.theatre.raise());
    scene.notice_after(before, "have no record");
    let sent = |pid: &u32| scene.desktop.wait(*pid, LIMIT).unwrap().success();
    let sent = mailers.iter().filter(|pid| sent(pid)).count();
    // Some process of the machine may have ended just then and left a mailer its room.
    assert!(sent < mailers.len(), "processes without a record may send");
    with_gate(&|gate| {
        let made_up: Vec<u32> = gate.processes().map(|(pid, _)| pid).collect();
        for pid in made_up.into_iter().filter(|pid| *pid >= NOBODY) {
            gate.forget_process(pid);
        }
    });
    scene.enforces(&web);
}

/// Connections in numbers, to a port that somebody listens at, to one where nobody does, and
/// refused ones to a mail port: nothing of them remains.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_million_connections_leave_nothing() {
    let Some(scene) = Scene::open("") else { return };
    let count: u64 = if e2e::at_length() { 1_000_000 } else { 60_000 };
    let limit = Duration::from_secs(count / 2000 + 60);
    let web = scene.theatre.web(WEB);
    let daemon = scene.theatre.daemon_pids();
    let attempt = |to: &str, count: u64, success: bool| {
        let words = format!("technique connects --server {to} --count {count}");
        let words = words.split_whitespace();
        let exit = scene.desktop.run(&scene.bot, words, limit).unwrap();
        assert_eq!(exit.success(), success, "{}", scene.desktop.stdout());
    };
    let all = |count: u64| {
        let begun = Instant::now();
        attempt("127.0.0.1:8081 --listen yes", count, true);
        let open = begun.elapsed();
        attempt("127.0.0.1:8081", count, false);
        let closed = begun.elapsed() - open;
        attempt(SERVER, count, false);
        (open, closed, begun.elapsed() - open - closed)
    };
    let pins = Pins::new(scene.theatre.state().join("bpf"), linux::load::OBJECT);
    let flows = || Gate::open(&pins).unwrap().interests().count();
    let settled = || {
        // With all that there is to tell, it may be a while before it answers.
        let answer = || {
            let status = scene.theatre.status();
            Some((
                status["processes"]["known"].as_u64()?,
                status["open_grants"].as_u64()?,
            ))
        };
        let (processes, grants) = wait_until(LONG, answer).expect("a status");
        (
            own_kib(&daemon),
            open_files(&daemon).len(),
            processes,
            grants,
            scene.theatre.sandbox().run_inside(flows).unwrap(),
        )
    };
    // What it needs once, it has after the first round.
    all(10_000);
    let before = settled();

    let refusals = || {
        let count = || scene.theatre.status()["counters"]["connects_refused"].as_u64();
        wait_until(LONG, count).expect("a status")
    };
    let judged = refusals();
    let (open, closed, refused) = all(count);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{count} each: {:.1} µs a connection, {:.1} µs to a port where nobody listens, {:.1} µs refused",
        each(open),
        each(closed),
        each(refused)
    );
    assert_eq!(refusals(), judged + count);
    scene.enforces(&web);
    // The last answer's connection may still be closing, others on this machine work too, and a
    // wish for more samples may come after a flow's end: of 4096 the oldest leave first.
    let as_before = || {
        let after = settled();
        let same = after.0 <= before.0 + 4096
            && after.1 <= before.1
            && after.2 <= before.2 + 8
            && after.3 == 0
            && after.4 <= before.4 + 3;
        same.then_some(after)
    };
    let after = wait_until(LONG, as_before);
    println!(
        "own KiB, open files, processes, grants, flows followed: {before:?} before, {after:?} after"
    );
    assert!(after.is_some(), "{before:?} {:?}", settled());
    assert_eq!(scene.mail.connection_count(), 1);
}
