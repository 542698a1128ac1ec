//! Real programs that start others for whoever asks: sudo, cron, at, a session bus, autostart,
//! the user's own service manager. They are registered as the catalog has them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{CRON, LIMIT, PERSON, SERVER, Scene, evasions, is_missing, wait_until, word};
use rustix::mount::{MountFlags, mount};
use serde_json::Value;
use stage::{Process, Start};

const SUDO: &str = "/usr/bin/sudo";
const ATD: &str = "/usr/sbin/atd";
const AT: &str = "/usr/bin/at";
const BUS: &str = "/usr/bin/dbus-daemon";
const BUS_SEND: &str = "/usr/bin/dbus-send";
const DEX: &str = "/usr/bin/dex";
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";

/// A scene with a batch mailer, which sends whatever it is handed.
fn scene(programs: &[(&str, &str, Option<&str>)]) -> Option<(Scene, PathBuf)> {
    let mut batch = PathBuf::new();
    let scene = Scene::open_after("", |theatre| {
        for (program, role, kind) in programs {
            theatre.register_as(Path::new(program), role, *kind);
        }
        batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    })?;
    Some((scene, batch))
}

fn send(mailer: &Path) -> String {
    format!("{} mailer --server {SERVER}", mailer.display())
}

/// Gives a file to the person.
fn give(path: &Path) {
    chown(path, Some(PERSON.0), Some(PERSON.1)).unwrap();
}

/// The first refusal of this mailer after an entry.
fn refusal(scene: &Scene, before: u64, mailer: &Path) -> Value {
    scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse" && Some(word(entry, "program")) == mailer.to_str()
    })
}

/// The lineage has no culprit where only registered programs stand in it: the mailer is one
/// that a person has to start.
fn nobody_asked(scene: &Scene, row: &str, before: u64, mailer: &Path) {
    let refusal = refusal(scene, before, mailer);
    assert_eq!(refusal["reason"], "needs-terminal", "{refusal}");
    evasions::stopped(row, scene.mail.payload_bytes(), "needs-terminal");
}

fn blamed(scene: &Scene, row: &str, before: u64, mailer: &Path, culprit: &str) {
    let refusal = refusal(scene, before, mailer);
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    let culprit = fs::canonicalize(culprit).unwrap();
    evasions::refused(row, scene.mail.payload_bytes(), &refusal, culprit);
}

/// It passes the origin on and vouches for nothing.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn sudo_vouches_for_nobody() {
    if is_missing(&[SUDO]) {
        return;
    }
    let Some((scene, batch)) = scene(&[(SUDO, "launcher", None)]) else {
        return;
    };
    let rules = scene
        .theatre
        .write("sudoers", "nobody ALL=(ALL) NOPASSWD: ALL\n");
    scene
        .theatre
        .crew("chmod", &["0440", rules.to_str().unwrap()]);
    scene.theatre.lay_over(&rules, "/etc/sudoers");
    scene.theatre.own_run_folder();
    let line = format!("launcher {SUDO} -n -u daemon {}", send(&batch));
    let before = scene.theatre.newest();
    scene.run_bot(&line);
    blamed(&scene, "sudo", before, &batch, scene.bot.to_str().unwrap());
    // The desktop asked for it: nobody typed that.
    let before = scene.theatre.newest();
    let words = format!("-n -u daemon {}", send(&batch));
    let pid = scene.start(Path::new(SUDO), &words);
    scene.desktop.wait(pid, LIMIT).unwrap();
    nobody_asked(&scene, "sudo-desktop", before, &batch);
}

/// A line in a table of jobs, and a job that is put off until now.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_job_is_nobodys_wish() {
    if is_missing(&[CRON, ATD, AT]) {
        return;
    }
    let roles = [(CRON, "launcher", None), (ATD, "launcher", None)];
    let Some((scene, batch)) = scene(&roles) else {
        return;
    };
    let theatre = &scene.theatre;
    theatre.own_job_folders();
    let quietly = format!("{} > /dev/null 2>&1", send(&batch));

    let table = format!(
        "MAILTO=\"\"\nHOME={}\n@reboot {quietly}\n",
        theatre.home().display()
    );
    let before = theatre.newest();
    let cron = theatre.cron(&table);
    blamed(&scene, "cron", before, &batch, CRON);
    end(&cron);

    let atd = theatre.sandbox().start(&Start::new(ATD).arg("-f")).unwrap();
    wait_until(LIMIT, || {
        let there = || Path::new("/run/atd.pid").exists();
        theatre.sandbox().run_inside(there).unwrap().then_some(())
    })
    .expect("a running atd");
    let job = format!("{quietly}\n");
    let job = theatre.write("job", &job);
    let before = theatre.newest();
    scene.start_bot(&format!("launcher {AT} -f {} now", job.display()));
    blamed(&scene, "at", before, &batch, ATD);
    end(&atd);
}

/// A table names the program that runs its lines, and its environment: any program may be called as
/// a shell is, those that the machine itself sends with among them.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_table_of_jobs_names_no_part_of_the_machine() {
    if is_missing(&[CRON]) {
        return;
    }
    let (mut relay, mut session, mut part) = (PathBuf::new(), PathBuf::new(), PathBuf::new());
    let Some(scene) = Scene::open_after("", |theatre| {
        theatre.register_as(Path::new(CRON), "launcher", None);
        relay = theatre.registered("relay", "mailer", Some("service"));
        session = theatre.registered("other-desktop", "session", None);
        part = theatre.registered("part", "system", Some("service"));
    }) else {
        return;
    };
    let theatre = &scene.theatre;
    theatre.own_job_folders();
    let mailer = scene.mailer.display();
    for (row, shell, job, refused) in [
        ("cron-shell", &relay, String::new(), &relay),
        (
            "cron-part",
            &part,
            format!("launcher {} ", relay.display()),
            &relay,
        ),
        (
            "cron-session",
            &session,
            format!("launcher {mailer} "),
            &scene.mailer,
        ),
    ] {
        let table = format!(
            "MAILTO=\"\"\nSHELL={}\nHOME={}\n@reboot {job}mailer --server {SERVER}\n",
            shell.display(),
            theatre.home().display()
        );
        let before = theatre.newest();
        let cron = theatre.cron(&table);
        blamed(&scene, row, before, refused, CRON);
        end(&cron);
    }
}

/// What a part of the machine starts has the environment that it is given, which may be what a user's
/// file says. The machine's own mailer is spoiled by it as the user's is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn variables_spoil_the_machines_mailer() {
    let Some((scene, _)) = scene(&[]) else { return };
    let service = scene
        .theatre
        .registered("service", "mailer", Some("service"));
    let start = || Start::new(&service).args(["mailer", "--server", SERVER]);
    let before = scene.theatre.newest();
    let spoiled = start().env("LD_LIBRARY_PATH", "/nonexistent");
    let ran = scene.theatre.start(spoiled).output(LIMIT).unwrap();
    assert!(!ran.exit.success(), "{ran:?}");
    let refusal = refusal(&scene, before, &service);
    assert_eq!(refusal["reason"], "tampered", "{refusal}");
    assert_eq!(refusal["origin"], "system", "{refusal}");
    let bytes = scene.mail.payload_bytes();
    evasions::refused(
        "service-preload",
        bytes,
        &refusal,
        scene.theatre.built_init(),
    );
    let ran = scene.theatre.start(start()).output(LIMIT).unwrap();
    assert!(ran.exit.success(), "{ran:?}");
}

fn end(process: &Process) {
    let _ = process.signal(rustix::process::Signal::TERM.as_raw());
    process.wait(LIMIT).unwrap();
}

/// A name on the session bus whose owner is started when somebody speaks to it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_session_bus_starts_programs_for_anybody() {
    if is_missing(&[BUS, BUS_SEND]) {
        return;
    }
    let Some((scene, batch)) = scene(&[(BUS, "system", None)]) else {
        return;
    };
    let theatre = &scene.theatre;
    let services = theatre.sandbox().folder().join("services");
    fs::create_dir(&services).unwrap();
    let submitter = theatre.registered("sendmail", "submitter", None);
    let queue = theatre.home().join("queue");
    let submit = format!("{} submit --spool {}", submitter.display(), queue.display());
    for (name, command) in [("Mailer", &send(&batch)), ("Submitter", &submit)] {
        let text = format!("[D-BUS Service]\nName=org.example.{name}\nExec={command}\n");
        theatre.write(&format!("services/{name}.service"), &text);
    }
    let socket = theatre.home().join("bus");
    let config = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>session</type>\
         <listen>unix:path={}</listen><auth>EXTERNAL</auth><servicedir>{}</servicedir>\
         <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>\n",
        socket.display(),
        services.display()
    );
    let config = theatre.write("bus.conf", &config);
    let bus = scene.start(
        Path::new(BUS),
        &format!("--nofork --config-file={}", config.display()),
    );
    wait_until(LIMIT, || socket.exists().then_some(())).expect("a session bus");
    let ask = |name: &str| {
        let address = format!("--bus=unix:path={}", socket.display());
        let words = format!(
            "launcher {BUS_SEND} {address} --dest=org.example.{name} --type=method_call / org.example.Send"
        );
        let pid = scene.start_bot(&words);
        scene.desktop.wait(pid, LIMIT).unwrap();
    };
    let before = theatre.newest();
    ask("Mailer");
    nobody_asked(&scene, "bus", before, &batch);
    let before = theatre.newest();
    ask("Submitter");
    let refusal = refusal(&scene, before, &submitter);
    assert_eq!(refusal["reason"], "needs-terminal", "{refusal}");
    let queued = fs::metadata(&queue).map_or(0, |file| file.len());
    evasions::stopped("bus-submitter", queued, "needs-terminal");
    let pid = rustix::process::Pid::from_raw(bus.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    scene.desktop.wait(bus, LIMIT).unwrap();
}

/// What the session starts by itself: the bot's own engine, and a mailer.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn autostart_is_nobodys_wish() {
    if is_missing(&[DEX]) {
        return;
    }
    let Some((scene, batch)) = scene(&[(DEX, "launcher", None)]) else {
        return;
    };
    let home = scene.theatre.home();
    let folder = home.join(".config/autostart");
    fs::create_dir_all(&folder).unwrap();
    let engine = format!("{} bot --smtp {SERVER}", scene.bot.display());
    for (name, command) in [("engine", &engine), ("mailer", &send(&batch))] {
        let text = format!("[Desktop Entry]\nType=Application\nName={name}\nExec={command}\n");
        scene
            .theatre
            .write(&format!("home/.config/autostart/{name}.desktop"), &text);
    }
    let before = scene.theatre.newest();
    let words = format!(
        "--autostart --environment STAGE --search-paths {}",
        folder.display()
    );
    let pid = scene.start(Path::new(DEX), &words);
    scene.desktop.wait(pid, LIMIT).unwrap();
    let refused = refusal(&scene, before, &scene.bot);
    assert_eq!(refused["reason"], "not-a-mailer", "{refused}");
    evasions::refused(
        "autostart",
        scene.mail.payload_bytes(),
        &refused,
        &scene.bot,
    );
    nobody_asked(&scene, "autostart-mailer", before, &batch);
}

/// The user's own service manager, asked by the bot: at once, and by a timer.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_users_service_manager_speaks_for_nobody() {
    if is_missing(&[SYSTEMD, SYSTEMD_RUN]) {
        return;
    }
    let Some((scene, batch)) = scene(&[(SYSTEMD, "system", None)]) else {
        return;
    };
    let theatre = &scene.theatre;
    theatre.own_run_folder();
    let runtime = format!("/run/user/{}", PERSON.0);
    let ready = || {
        // Whether the machine was booted with systemd: it looks for this folder.
        fs::create_dir_all("/run/systemd/system").unwrap();
        fs::create_dir_all(&runtime).unwrap();
        give(Path::new(&runtime));
        // The one hierarchy, where a machine of today has it.
        mount(
            "none",
            "/sys/fs/cgroup",
            "cgroup2",
            MountFlags::empty(),
            c"",
        )
        .unwrap();
    };
    theatre.sandbox().run_inside(ready).unwrap();
    // A group of its own, as a login gives it.
    let group = theatre.sandbox().cgroup().join("user");
    fs::create_dir(&group).unwrap();
    give(&group);
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        give(&group.join(file));
    }
    let environment = |start: Start| start.env("XDG_RUNTIME_DIR", &runtime);
    let procs = group.join("cgroup.procs");
    let manager = environment(Start::new(SYSTEMD).arg("--user"));
    let manager = theatre.start(manager);
    fs::write(&procs, manager.pid().to_string()).unwrap();
    let bot = scene.bot.to_str().unwrap();
    let ask_for = |words: &str, mailer: &Path| {
        let line = format!("launcher {SYSTEMD_RUN} --user {words} {}", send(mailer));
        let start = Start::new(bot).args(line.split_whitespace());
        theatre.start(environment(start)).output(LIMIT).unwrap()
    };
    let ask = |words: &str| ask_for(words, &batch);
    let answered = wait_until(LIMIT, || {
        let ran = ask("--collect --quiet /bin/true");
        ran.exit.success().then_some(())
    });
    answered.unwrap_or_else(|| panic!("no service manager: {}", manager.stderr()));
    for (row, words) in [
        ("user-unit", "--collect --quiet"),
        (
            "user-timer",
            "--collect --quiet --on-active=100ms --timer-property=AccuracySec=10ms",
        ),
    ] {
        let before = theatre.newest();
        ask(words);
        blamed(&scene, row, before, &batch, batch.to_str().unwrap());
    }
    // A launcher passes on that nobody vouches.
    let panel = theatre.registered("panel", "launcher", None);
    let before = theatre.newest();
    ask(&format!("--collect --quiet {} launcher", panel.display()));
    let culprit = batch.to_str().unwrap();
    blamed(&scene, "user-unit-launcher", before, &batch, culprit);
    // What the machine's manager may start, the user's own may not.
    let service = theatre.registered("service", "mailer", Some("service"));
    let before = theatre.newest();
    ask_for("--collect --quiet", &service);
    let culprit = service.to_str().unwrap();
    blamed(&scene, "user-unit-service", before, &service, culprit);
    // What nobody registered stays unknown.
    let before = theatre.newest();
    let line = format!("launcher {SYSTEMD_RUN} --user --collect --quiet {bot} bot --smtp {SERVER}");
    let start = Start::new(bot).args(line.split_whitespace());
    theatre.start(environment(start)).output(LIMIT).unwrap();
    let refused = refusal(&scene, before, &scene.bot);
    assert_eq!(refused["reason"], "not-a-mailer", "{refused}");
    let bytes = scene.mail.payload_bytes();
    evasions::refused("user-unit-engine", bytes, &refused, &scene.bot);
    // A mailer that waits for the person is the user's: GNOME and Plasma start programs so.
    let before = theatre.newest();
    ask_for("--collect --quiet", &scene.mailer);
    let allowed = theatre.wait_after(before, "permission", |entry| {
        word(entry, "verdict") == "allow" && Some(word(entry, "program")) == scene.mailer.to_str()
    });
    assert_eq!(allowed["origin"], "user", "{allowed}");
    let sent = || Some(scene.mail.payload_bytes()).filter(|bytes| *bytes > 0);
    let bytes = wait_until(LIMIT, sent).expect("mail");
    evasions::got_through("user-unit-interactive", bytes, None, &scene.bot);
    end(&manager);
}
