//! Reaching into a mailer that the user started properly: its environment, its memory, its
//! descriptors, its file.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, Options, PERSON, SERVER, Theatre, evasions, wait_until, word};
use rustix::mount::{MountFlags, mount};
use serde_json::Value;
use stage::{Desktop, Process, SmtpServer, Start};

struct Scene {
    theatre: Theatre,
    server: SmtpServer,
    desktop: Desktop,
    mailer: PathBuf,
    bot: PathBuf,
}

impl Scene {
    fn open() -> Option<Self> {
        Self::open_with(&Options::default())
    }

    fn open_with(options: &Options) -> Option<Self> {
        let theatre = Theatre::open_with(options)?;
        let server = theatre.smtp();
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        let desktop = theatre.desktop();
        Some(Self {
            theatre,
            server,
            desktop,
            mailer,
            bot,
        })
    }

    fn refusal_after(&self, before: u64, what: &str) -> Value {
        self.theatre
            .wait_after(before, what, |entry| word(entry, "verdict") == "refuse")
    }

    /// The bot, as the user, reaches into the process.
    fn reach(&self, technique: &str, pid: u32) -> Process {
        let words = ["technique", technique, "--pid", &pid.to_string()];
        self.theatre.start(Start::new(&self.bot).args(words))
    }

    /// The bot reaches into a mailer that is going to connect, and what comes of it.
    fn is_reached_before_the_send(&self, technique: &str, sign: &str) {
        let before = self.theatre.newest();
        let words = ["mailer", "--server", SERVER, "--delay-ms", "1500"];
        let mailer = self.desktop.launch(&self.mailer, words).unwrap();
        let report = self.reach(technique, mailer).output(LIMIT).unwrap();
        assert!(report.stdout.contains("\"outcome\":\"done\""), "{report:?}");
        let notice = self
            .theatre
            .wait_after(before, "notice of tampering", |entry| {
                entry["type"] == "notice" && entry["program"] == self.bot.to_str().unwrap()
            });
        assert!(
            word(&notice, "text").contains(&format!("(pid {mailer})")),
            "{notice}"
        );
        let refusal = self.refusal_after(before, technique);
        assert_eq!(refusal["reason"], "tampered", "{refusal}");
        assert!(refusal["tampered"].to_string().contains(sign), "{refusal}");
        assert!(!self.desktop.wait(mailer, LIMIT).unwrap().success());
        let bytes = self.server.payload_bytes();
        evasions::refused(technique, bytes, &refusal, &self.bot);
    }
}

/// The mailer has been started by the user's desktop and will connect in a moment; the bot
/// is there before.
fn reached_before_the_send(technique: &str, sign: &str) {
    let Some(scene) = Scene::open() else { return };
    scene.is_reached_before_the_send(technique, sign);
}

/// The same by a call that only the lock of another's memory shows.
fn reached_at_the_lock(technique: &str) {
    let Some(scene) = Scene::open() else { return };
    let pins = scene.theatre.pins();
    if !pins.iter().any(|pin| pin.ends_with("/memory_write")) {
        println!("skipped: before Linux 6.14 only the machine's own calls are seen");
        return;
    }
    scene.is_reached_before_the_send(technique, "memory");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_tracer_that_has_gone_again_spoils_the_mailer() {
    reached_before_the_send("ptrace-attach", "traced");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn written_memory_spoils_the_mailer() {
    reached_before_the_send("vm-writev", "memory");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn memory_written_through_proc_spoils_the_mailer() {
    reached_before_the_send("proc-mem", "memory");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn memory_written_by_io_uring_spoils_the_mailer() {
    reached_at_the_lock("proc-mem-ring");
}

/// The kernel does not show tracepoints of system calls those that a 32-bit program makes.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn memory_written_by_calls_of_32_bit_programs_spoils_the_mailer() {
    reached_at_the_lock("proc-mem-32-bit");
}

/// A mailer that has connected and waits, and what the bot says of reaching into it.
fn reached_while_connected(scene: &Scene, technique: &str) -> u32 {
    let before = scene.theatre.newest();
    let words = [
        "mailer",
        "--server",
        SERVER,
        "--linger-ms",
        "2000",
        "--timeout-ms",
        "2000",
    ];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    scene
        .theatre
        .wait_after(before, "grant", |entry| entry["event"] == "opened");
    let report = scene.reach(technique, mailer).output(LIMIT).unwrap();
    assert!(
        !report.stdout.contains("\"outcome\":\"delivered\""),
        "{report:?}"
    );
    mailer
}

/// The mailer has connected and waits; the bot reaches in, and from then on the grant is
/// worth nothing, for the mailer and for whoever took its socket.
fn reached_after_the_connect(scene: &Scene, technique: &str) -> Value {
    let before = scene.theatre.newest();
    let mailer = reached_while_connected(scene, technique);
    let notice = scene
        .theatre
        .wait_after(before, "notice of tampering", |entry| {
            entry["type"] == "notice" && entry["program"] == scene.bot.to_str().unwrap()
        });
    assert!(
        !scene.desktop.wait(mailer, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    let refusal = scene
        .theatre
        .wait_after(before, technique, |entry| word(entry, "judged") == "packet");
    assert_eq!(refusal["verdict"], "refuse", "{refusal}");
    assert_eq!(refusal["destination"], SERVER, "{refusal}");
    assert_eq!(scene.server.payload_bytes(), 0, "{refusal}");
    // A packet has no culprit; the notice names who reached in.
    serde_json::json!({ "reason": refusal["reason"], "culprit": notice["program"] })
}

/// Who took it is not seen, but who writes is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_socket_taken_from_the_mailer_is_worth_nothing() {
    let Some(scene) = Scene::open() else { return };
    let before = scene.theatre.newest();
    let mailer = reached_while_connected(&scene, "pidfd-getfd");
    let refusal = scene.refusal_after(before, "grant of another");
    assert_eq!(refusal["reason"], "grant-of-another", "{refusal}");
    assert!(!scene.desktop.wait(mailer, LIMIT).unwrap().success());
    let bytes = scene.server.payload_bytes();
    evasions::refused("pidfd-getfd", bytes, &refusal, &scene.bot);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_takes_a_descriptor_is_told_of_where_that_is_watched() {
    let options = Options {
        config: "call_watch = \"on\"".to_owned(),
        ..Options::default()
    };
    let Some(scene) = Scene::open_with(&options) else {
        return;
    };
    let named = reached_after_the_connect(&scene, "pidfd-getfd");
    assert_eq!(named["culprit"], scene.bot.to_str().unwrap(), "{named}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_tracer_of_a_connected_mailer_spoils_its_grant() {
    let Some(scene) = Scene::open() else { return };
    let named = reached_after_the_connect(&scene, "ptrace-attach");
    evasions::refused("ptrace-connected", 0, &named, &scene.bot);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn memory_written_into_a_connected_mailer_spoils_its_grant() {
    let Some(scene) = Scene::open() else { return };
    let named = reached_after_the_connect(&scene, "vm-writev");
    evasions::refused("vm-connected", 0, &named, &scene.bot);
}

/// A mailer that was traced from before its first instruction, by a program that the user
/// may start.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_started_under_a_tracer_is_refused() {
    let Some(scene) = Scene::open() else { return };
    let launcher = scene.theatre.registered("panel", "launcher", None);
    let before = scene.theatre.newest();
    let mailer = scene.mailer.to_str().unwrap();
    let words = [
        "technique",
        "ptrace-traceme",
        "--",
        mailer,
        "mailer",
        "--server",
        SERVER,
    ];
    scene.desktop.run(&launcher, words, LIMIT).unwrap();
    let refusal = scene.refusal_after(before, "ptrace-traceme");
    assert_eq!(refusal["reason"], "tampered", "{refusal}");
    let bytes = scene.server.payload_bytes();
    evasions::refused("traceme-launcher", bytes, &refusal, &launcher);
    // Without the tracer the very same way is the user's.
    let words = ["launcher", mailer, "mailer", "--server", SERVER];
    assert!(
        scene
            .desktop
            .run(&launcher, words, LIMIT)
            .unwrap()
            .success(),
        "{}",
        scene.desktop.stdout()
    );
}

/// Variables that make a loader or an interpreter run other code, in a lineage that is
/// otherwise the user's.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn loader_variables_spoil_the_mailer() {
    let Some(scene) = Scene::open() else { return };
    let launcher = scene.theatre.registered("panel", "launcher", None);
    let mailer = scene.mailer.to_str().unwrap();
    for (row, variable) in evasions::variable_rows() {
        let before = scene.theatre.newest();
        let words = [
            "technique",
            "env-exec",
            "--env",
            variable,
            "--",
            mailer,
            "mailer",
            "--server",
            SERVER,
        ];
        scene.desktop.run(&launcher, words, LIMIT).unwrap();
        let refusal = scene.refusal_after(before, variable);
        assert_eq!(refusal["reason"], "tampered", "{variable}: {refusal}");
        assert!(
            refusal["tampered"].to_string().contains("variable"),
            "{variable}: {refusal}"
        );
        let name = variable.split('=').next().unwrap();
        assert_eq!(refusal["tampered_by"], name, "{refusal}");
        evasions::refused(&row, scene.server.payload_bytes(), &refusal, &launcher);
    }
}

/// What distributions and desktops set, each in the same lineage.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn variables_that_distributions_set_spoil_nothing() {
    let Some(scene) = Scene::open() else { return };
    let launcher = scene.theatre.registered("panel", "launcher", None);
    let mailer = scene.mailer.to_str().unwrap();
    let long = format!("LS_COLORS={}", "*.LD_PRELOAD=01;31:".repeat(100));
    for (index, variable) in [
        "GTK_MODULES=gail:atk-bridge",
        "GTK3_MODULES=xapp-gtk3-module",
        "QTWEBENGINE_DICTIONARIES_PATH=/home/anna/dictionaries",
        "QTWEBENGINE_CHROMIUM_FLAGS=--disable-features=TFLiteLanguageDetectionEnabled",
        "LD_PRELOAD=libm.so.6",
        "LD_LIBRARY_PATH=/usr/lib:/etc/alternatives",
        "PYTHONPATH=/usr/lib/libreoffice/program",
        "LIBVA_DRIVER_NAME=iHD",
        "OPENSSL_CONF=/etc/ssl/openssl.cnf",
        "BASH_ENV=/usr/share/lmod/lmod/init/bash",
        "JAVA_TOOL_OPTIONS=-javaagent:/usr/share/java/jayatanaag.jar",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let words = [
            "technique",
            "env-exec",
            "--env",
            variable,
            "--",
            mailer,
            "mailer",
            "--server",
            SERVER,
        ];
        let exit = scene.desktop.run(&launcher, words, LIMIT).unwrap();
        assert!(exit.success(), "{variable}: {}", scene.desktop.stdout());
        scene.server.wait_for_messages(index + 1, LIMIT).unwrap();
    }
}

/// Remote control: the mailer obeys whoever connects to it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_under_remote_control_is_refused() {
    let Some(scene) = Scene::open() else { return };
    for (row, flag) in [
        ("marionette", "--marionette"),
        ("remote-debugging", "--remote-debugging-port"),
        ("marionette-capitals", "--Marionette"),
        ("remote-debugging-capitals", "--REMOTE-debugging-port"),
    ] {
        let before = scene.theatre.newest();
        let words = ["mailer", "--server", SERVER, flag, "2828"];
        scene.desktop.run(&scene.mailer, words, LIMIT).unwrap();
        let refusal = scene.refusal_after(before, flag);
        assert_eq!(refusal["reason"], "tampered", "{flag}: {refusal}");
        assert_eq!(refusal["tampered_flaw"], "argument", "{flag}: {refusal}");
        let by = word(&refusal, "tampered_by");
        assert!(flag.to_lowercase().starts_with(by), "{flag}: {refusal}");
        // Who started it so has to answer.
        let desktop = scene.mailer.with_file_name("desktop");
        evasions::refused(row, scene.server.payload_bytes(), &refusal, desktop);
    }
}

/// Somebody sends a hundred patches at once, from a shell with hundreds of variables. Nothing hides
/// behind them all the same.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn many_arguments_and_variables_are_read_to_the_end() {
    let Some(scene) = Scene::open() else { return };
    let launcher = scene.theatre.registered("panel", "launcher", None);
    let mailer = scene.mailer.to_str().unwrap();
    // They come in the order of their names.
    let usual: Vec<_> = (0..1000).map(|number| format!("A{number}=value")).collect();
    let start = |variable: &str, argument: &str| {
        let mut words = vec!["technique", "env-exec"];
        words.extend(usual.iter().flat_map(|usual| ["--env", usual]));
        words.extend([
            "--env", variable, "--", mailer, "mailer", "--server", SERVER,
        ]);
        words.extend(["--attach", "0001-a.patch"].repeat(1000));
        words.extend([argument, "1"]);
        scene.desktop.run(&launcher, words, LIMIT).unwrap()
    };
    start("LANG=C", "--attach");
    let delivered = scene.server.payload_bytes();
    assert!(delivered > 0, "{}", scene.desktop.stdout());
    for (variable, argument, sign) in [
        ("LD_AUDIT=/tmp/x.so", "--attach", "interpreter variable"),
        ("LANG=C", "--marionette", "remote control"),
    ] {
        let before = scene.theatre.newest();
        start(variable, argument);
        let refusal = scene.refusal_after(before, variable);
        assert!(refusal["tampered"].to_string().contains(sign), "{refusal}");
    }
    assert_eq!(scene.server.payload_bytes(), delivered);
}

/// The registered file is overwritten in place, or another is put in its place. Users may
/// write to it, so it waits for the user; what was there before is known again.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_changed_file_of_a_user_waits() {
    let Some(scene) = Scene::open() else { return };
    let send = ["mailer", "--server", SERVER];
    let mailer = scene.mailer.to_str().unwrap();
    let (original, other) = (
        scene.theatre.player("original"),
        scene.theatre.player("other"),
    );
    fs::File::options()
        .append(true)
        .open(&other)
        .unwrap()
        .write_all(b"one more line")
        .unwrap();
    let overwrite = |file: &Path| scene.theatre.crew("cp", &[file.to_str().unwrap(), mailer]);
    let replace = |file: &Path| {
        let fresh = format!("{mailer}.new");
        scene.theatre.crew("cp", &[file.to_str().unwrap(), &fresh]);
        scene.theatre.crew("mv", &[&fresh, mailer])
    };
    let changes: [&dyn Fn(&Path) -> String; 2] = [&overwrite, &replace];
    for (row, change) in ["file-overwritten", "file-replaced"]
        .into_iter()
        .zip(changes)
    {
        assert!(
            scene
                .desktop
                .run(&scene.mailer, send, LIMIT)
                .unwrap()
                .success()
        );
        let (bytes, before) = (scene.server.payload_bytes(), scene.theatre.newest());
        change(&other);
        let exit = scene.desktop.run(&scene.mailer, send, LIMIT).unwrap();
        assert!(!exit.success(), "{}", scene.desktop.stdout());
        let refusal = scene.refusal_after(before, "changed file");
        let reason = word(&refusal, "reason");
        assert!(
            matches!(reason, "file-changed" | "not-a-mailer"),
            "{refusal}"
        );
        let more = scene.server.payload_bytes() - bytes;
        evasions::refused(row, more, &refusal, &scene.mailer);
        let notice = scene
            .theatre
            .wait_after(before, "notice of the change", |entry| {
                word(entry, "text").contains("changed and waits for you")
            });
        assert!(word(&notice, "text").contains("register"), "{notice}");
        // The daemon has looked; from now on the reason is plain.
        let before = scene.theatre.newest();
        scene.desktop.run(&scene.mailer, send, LIMIT).unwrap();
        let refusal = scene.refusal_after(before, "changed file");
        assert_eq!(refusal["reason"], "file-changed", "{refusal}");
        assert_eq!(scene.server.payload_bytes(), bytes);

        change(&original);
        scene.theatre.wait_after(before, "acceptance", |entry| {
            word(entry, "text").contains("accepted again")
        });
        assert!(
            scene
                .desktop
                .run(&scene.mailer, send, LIMIT)
                .unwrap()
                .success()
        );
    }
    // The user registers the new version.
    overwrite(&other);
    scene
        .theatre
        .register_as(&scene.mailer, "mailer", Some("interactive"));
    assert!(
        scene
            .desktop
            .run(&scene.mailer, send, LIMIT)
            .unwrap()
            .success()
    );
}

/// An upgrade by the machine: root's file in root's folders is accepted again by itself.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_changed_file_of_root_is_accepted_by_itself() {
    let Some(scene) = Scene::open() else { return };
    // Of the sandbox's mount namespace only.
    let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
    scene
        .theatre
        .sandbox()
        .run_inside(mounted)
        .unwrap()
        .unwrap();
    let mailer = Path::new("/mnt/mailer");
    let (original, upgraded) = (
        scene.theatre.player("original"),
        scene.theatre.player("upgraded"),
    );
    fs::File::options()
        .append(true)
        .open(&upgraded)
        .unwrap()
        .write_all(b"version 2")
        .unwrap();
    let overwrite = |file: &Path| {
        scene
            .theatre
            .crew("cp", &[file.to_str().unwrap(), "/mnt/mailer"])
    };
    let install = |file: &Path| {
        scene
            .theatre
            .crew("cp", &[file.to_str().unwrap(), "/mnt/mailer.new"]);
        scene
            .theatre
            .crew("mv", &["/mnt/mailer.new", "/mnt/mailer"])
    };
    install(&original);
    scene
        .theatre
        .register_as(mailer, "mailer", Some("interactive"));
    let send = ["mailer", "--server", SERVER];
    assert!(
        scene.desktop.run(mailer, send, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    let changes: [&dyn Fn(&Path) -> String; 2] = [&install, &overwrite];
    for (version, change) in [&upgraded, &original].into_iter().zip(changes) {
        let before = scene.theatre.newest();
        change(version);
        let notice = scene.theatre.wait_after(before, "acceptance", |entry| {
            word(entry, "text").contains("accepted again")
        });
        assert!(word(&notice, "text").contains("root owns it"), "{notice}");
        let sent = scene.server.messages().len();
        assert!(
            scene.desktop.run(mailer, send, LIMIT).unwrap().success(),
            "{}",
            scene.desktop.stdout()
        );
        scene.server.wait_for_messages(sent + 1, LIMIT).unwrap();
    }
}

/// Another user's process is out of reach: a call that the kernel refuses spoils nothing.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_refused_reach_spoils_nothing() {
    let Some(scene) = Scene::open() else { return };
    let words = ["mailer", "--server", SERVER, "--delay-ms", "1500"];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    for technique in ["ptrace-attach", "vm-writev"] {
        let words = ["technique", technique, "--pid", &mailer.to_string()];
        let start = Start::new(&scene.bot)
            .args(words)
            .user(PERSON.0 - 1, PERSON.1);
        let report = scene
            .theatre
            .sandbox()
            .start(&start)
            .unwrap()
            .output(LIMIT)
            .unwrap();
        assert!(
            report.stdout.contains("\"outcome\":\"failed\""),
            "{report:?}"
        );
    }
    assert!(
        scene.desktop.wait(mailer, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    let reached = wait_until(LIMIT, || (scene.server.messages().len() == 1).then_some(()));
    assert!(reached.is_some());
}

/// `ps`, `top` and debuggers that only look take the same lock as who writes.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_only_looks_spoils_nothing() {
    let Some(scene) = Scene::open() else { return };
    let words = ["mailer", "--server", SERVER, "--delay-ms", "1500"];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    let files = ["cmdline", "environ", "maps", "smaps", "auxv"];
    let files = files.map(|name| format!("/proc/{mailer}/{name}"));
    let start = Start::new("/bin/cat").args(&files);
    let shown = scene.theatre.start(start).output(LIMIT).unwrap();
    assert!(shown.exit.success(), "{shown:?}");
    assert!(shown.stdout.contains("--delay-ms"), "{shown:?}");
    assert!(
        scene.desktop.wait(mailer, LIMIT).unwrap().success(),
        "{}",
        scene.desktop.stdout()
    );
    let reached = wait_until(LIMIT, || (scene.server.messages().len() == 1).then_some(()));
    assert!(reached.is_some());
}
