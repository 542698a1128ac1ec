//! Ways to send mail past the gate that a bot among the user's own programs may try. In each row the
//! real thing is tried against the real kernel: not one payload byte may reach the mail
//! server, and the journal must name the culprit.
//!
//! Without a gate each of them gets through: see the tests of the crate `stage`.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::evasions::{self, DRIVING, IMPOSTORS, OWN_ENGINE, RAW};
use e2e::{LIMIT, Options, PERSON, SERVER, Theatre, Top, word};
use serde_json::Value;
use stage::{Desktop, SmtpServer, Start};

struct Scene {
    theatre: Theatre,
    server: SmtpServer,
    desktop: Desktop,
    bot: PathBuf,
    mailer: PathBuf,
}

impl Scene {
    /// A user with a desktop, a mailer that works, and a bot.
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
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
            bot,
            mailer,
        })
    }

    /// Tries a technique as a program that the user's desktop started, and returns the
    /// refusal.
    fn refusal_of(&self, name: &str) -> Value {
        let before = self.theatre.newest();
        let words = evasions::technique_words(name, SERVER, self.mailer.to_str().unwrap());
        self.desktop.run(&self.bot, words, LIMIT).unwrap();
        let refusal = self
            .theatre
            .wait_after(before, name, |entry| word(entry, "verdict") == "refuse");
        evasions::refused(name, self.server.payload_bytes(), &refusal, &self.bot);
        assert_eq!(refusal["origin"], "foreign", "{name}: {refusal}");
        assert_eq!(
            word(&refusal, "destination").rsplit(':').next(),
            Some("25"),
            "{name}: {refusal}"
        );
        refusal
    }

    /// The mailer still works when the user starts it.
    fn user_delivers(&self) {
        let before = self.server.messages().len();
        let exit = self
            .desktop
            .run(&self.mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap();
        assert!(exit.success(), "{}", self.desktop.stdout());
        assert_eq!(
            self.server
                .wait_for_messages(before + 1, LIMIT)
                .unwrap()
                .len(),
            before + 1
        );
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn no_engine_of_its_own_gets_through() {
    let Some(scene) = Scene::open() else { return };
    for name in OWN_ENGINE {
        let refusal = scene.refusal_of(name);
        assert_eq!(refusal["reason"], "not-a-mailer", "{name}: {refusal}");
        assert_eq!(
            refusal["program"],
            scene.bot.to_str().unwrap(),
            "{name}: {refusal}"
        );
    }
    assert_eq!(scene.server.connection_count(), 0);
    scene.user_delivers();
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn no_way_of_starting_the_mailer_gets_through() {
    let Some(scene) = Scene::open() else { return };
    for name in DRIVING {
        let refusal = scene.refusal_of(name);
        assert_eq!(refusal["reason"], "foreign-origin", "{name}: {refusal}");
        assert_eq!(
            refusal["program"],
            scene.mailer.to_str().unwrap(),
            "{name}: {refusal}"
        );
    }
    assert_eq!(scene.server.connection_count(), 0);
    scene.user_delivers();
}

/// The number of a mailer that has sent and ended. To get it at once takes a privilege, which
/// a program with patience can do without.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_number_of_a_mailer_proves_nothing() {
    let Some(scene) = Scene::open() else { return };
    let words = ["mailer", "--server", SERVER];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    assert!(scene.desktop.wait(mailer, LIMIT).unwrap().success());
    let (before, sent) = (scene.theatre.newest(), scene.server.payload_bytes());
    let number = mailer.to_string();
    let words = [
        "technique",
        "pid-reuse",
        "--pid",
        &number,
        "--server",
        SERVER,
    ];
    // To choose a number takes root, and what root starts is root's own while root alone can write it.
    chown(&scene.bot, Some(PERSON.0), Some(PERSON.1)).unwrap();
    let bot = Start::new(&scene.bot).args(words);
    let ran = scene.theatre.sandbox().start(&bot).unwrap();
    let ran = ran.output(LIMIT).unwrap();
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["pid"], mailer, "{refusal} {ran:?}");
    assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
    let bytes = scene.server.payload_bytes() - sent;
    evasions::refused("pid-reuse", bytes, &refusal, &scene.bot);
}

/// Not the mailer is reached into but what starts it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn whoever_starts_the_mailer_is_watched_too() {
    for technique in ["ptrace-attach", "vm-writev"] {
        let Some(scene) = Scene::open() else { return };
        let desktop = scene.desktop.process().pid().to_string();
        let words = ["technique", technique, "--pid", &desktop];
        let reached = scene.theatre.start(Start::new(&scene.bot).args(words));
        let reached = reached.output(LIMIT).unwrap();
        assert!(reached.exit.success(), "{reached:?}");
        let before = scene.theatre.newest();
        let words = ["mailer", "--server", SERVER];
        scene.desktop.run(&scene.mailer, words, LIMIT).unwrap();
        let refusal = scene.theatre.wait_after(before, technique, |entry| {
            word(entry, "verdict") == "refuse"
        });
        assert_eq!(refusal["reason"], "tampered", "{refusal}");
        let row = format!("{technique}-desktop");
        evasions::refused(&row, scene.server.payload_bytes(), &refusal, &scene.bot);
    }
}

/// A supervisor that connects in the mailer's stead is judged for what it is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_supervisor_does_not_connect_for_the_mailer() {
    let Some(scene) = Scene::open() else { return };
    let refusal = scene.refusal_of("seccomp-exec");
    assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
    assert_eq!(refusal["program"], scene.bot.to_str().unwrap(), "{refusal}");
    assert_eq!(scene.server.connection_count(), 0);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn no_impostor_gets_through() {
    let Some(scene) = Scene::open() else { return };
    for name in IMPOSTORS {
        let refusal = scene.refusal_of(name);
        assert_eq!(refusal["reason"], "not-a-mailer", "{name}: {refusal}");
    }
    assert_eq!(scene.server.connection_count(), 0);
    scene.user_delivers();
}

/// A packet that never came through connect(): the second gate drops it. It takes
/// CAP_NET_RAW, so the bot is root here.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_packet_made_by_hand_is_dropped() {
    let Some(scene) = Scene::open() else { return };
    for name in RAW {
        let (before, bytes) = (scene.theatre.newest(), scene.server.payload_bytes());
        let raw = Start::new(&scene.bot).args(["technique", name, "--server", SERVER]);
        let sent = scene.theatre.sandbox().start(&raw).unwrap();
        sent.output(LIMIT).unwrap();
        let refusal = scene
            .theatre
            .wait_after(before, name, |entry| word(entry, "judged") == "packet");
        assert_eq!(refusal["reason"], "no-grant", "{refusal}");
        assert!(word(&refusal, "destination").ends_with(":25"), "{refusal}");
        assert!(scene.theatre.counter("packets_refused") >= 1);
        let bytes = scene.server.payload_bytes() - bytes;
        evasions::stopped(name, bytes, "no-grant");
    }
}

/// Without CAP_NET_RAW nobody makes packets by hand, and the one that everybody can get in a
/// namespace of one's own is worth nothing outside of it. With it, a packet socket passes below
/// every hook that a cgroup has: see SECURITY.md.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn packets_by_hand_take_a_privilege() {
    let Some(scene) = Scene::open() else { return };
    let bot = scene.bot.to_str().unwrap();
    for technique in ["raw", "packet"] {
        let words = ["technique", technique, "--server", SERVER];
        let plain = Start::new(bot).args(words);
        let in_namespace = Start::new("/usr/bin/unshare")
            .args(["--user", "--map-root-user", bot])
            .args(words);
        for start in [plain, in_namespace] {
            let output = scene.theatre.start(start).output(LIMIT).unwrap();
            assert!(
                output.stdout.contains("\"errno_name\":\"EPERM\""),
                "{technique}: {output:?}"
            );
        }
        let row = format!("{technique}-unprivileged");
        evasions::stopped(&row, scene.server.payload_bytes(), "EPERM");
    }
}

/// The bot starts the mailer as a helper that is to connect and hand its socket over.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_helper_cannot_hand_a_socket_over() {
    let Some(scene) = Scene::open() else { return };
    let mailer = scene.mailer.to_str().unwrap();
    let words = [
        "technique",
        "send-fd",
        "--",
        mailer,
        "mailer",
        "--server",
        SERVER,
    ];
    // It waits for the socket in vain.
    scene.desktop.run(&scene.bot, words, 2 * LIMIT).unwrap();
    let refusal = scene
        .theatre
        .wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    let bytes = scene.server.payload_bytes();
    evasions::refused("send-fd-helper", bytes, &refusal, &scene.bot);
    assert_eq!(scene.server.connection_count(), 0);
}

/// A name proves nothing: neither the desktop's nor the mailer's.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn names_prove_nothing() {
    let Some(scene) = Scene::open() else { return };
    let folder = scene.theatre.home().join("bin");
    std::fs::create_dir(&folder).unwrap();
    for name in ["mailer", "desktop", "gnome-shell", "thunderbird"] {
        let namesake = folder.join(name);
        let player = scene.theatre.built_player().to_str().unwrap();
        scene
            .theatre
            .crew("cp", &[player, namesake.to_str().unwrap()]);
        let mailer = scene.mailer.to_str().unwrap();
        let deeds: [&[&str]; 2] = [
            &["technique", "plain", "--comm", name, "--server", SERVER],
            &["launcher", mailer, "mailer", "--server", SERVER],
        ];
        for (deed, row) in deeds.into_iter().zip(["names-own", "names-launcher"]) {
            let before = scene.theatre.newest();
            // As started from the desktop, and with the name in argv[0] as by a forger.
            scene.desktop.run(&namesake, deed, LIMIT).unwrap();
            let refusal = scene
                .theatre
                .wait_after(before, name, |entry| word(entry, "verdict") == "refuse");
            evasions::refused(row, scene.server.payload_bytes(), &refusal, &namesake);
        }
    }
    assert_eq!(scene.server.payload_bytes(), 0);
    scene.user_delivers();
}

/// In a mount namespace of its own a bot can call its file whatever it likes. That is said as what it
/// is, and not of the file when it runs outside.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_name_of_another_namespace_does_not_last() {
    const OTHER: &str = "/usr/bin/ssh";
    if e2e::is_missing(&[OTHER, "/usr/bin/unshare"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let engine = scene.theatre.player("engine");
    let own = engine.to_str().unwrap();
    let refusal = |program: &Path, words: &[&str]| {
        let before = scene.theatre.newest();
        scene.desktop.run(program, words, LIMIT).unwrap();
        scene
            .theatre
            .wait_after(before, own, |entry| word(entry, "verdict") == "refuse")
    };
    let send = ["technique", "plain", "--server", SERVER];
    let line = format!(
        "mount --bind {own} {OTHER} && exec {OTHER} {}",
        send.join(" ")
    );
    let first = refusal(Path::new("/usr/bin/unshare"), &["-Urm", "sh", "-c", &line]);
    assert_eq!(
        word(&first, "program"),
        format!("{OTHER} (as another mount namespace calls it)"),
        "{first}"
    );
    let outside = refusal(&engine, &send);
    assert_eq!(word(&outside, "program"), own, "{outside}");
    let bytes = scene.server.payload_bytes();
    evasions::refused("name-mounted", bytes, &outside, &engine);
    // What root has put at that path outside is called so inside too.
    const MACHINES: &str = "/usr/bin/openssl";
    if !e2e::is_missing(&[MACHINES]) {
        let before = scene.theatre.newest();
        let words = ["-Urm", MACHINES, "s_client", "-connect", SERVER];
        scene
            .desktop
            .run(Path::new("/usr/bin/unshare"), words, LIMIT)
            .unwrap();
        scene.theatre.wait_after(before, MACHINES, |entry| {
            word(entry, "verdict") == "refuse" && word(entry, "program") == MACHINES
        });
    }
    // The namespace has no say any more.
    let again = refusal(Path::new("/usr/bin/unshare"), &["-Urm", "sh", "-c", &line]);
    assert_eq!(word(&again, "program"), own, "{again}");
}

/// A hard link changes the file's change time. Here the link is the bot's attempt at
/// another name; the daemon finds the same contents and accepts the mailer again.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_hard_link_spoils_nothing_for_long() {
    let Some(scene) = Scene::open() else { return };
    let link = scene.theatre.sandbox().folder().join("bin/other-name");
    std::fs::hard_link(&scene.mailer, &link).unwrap();
    let before = scene.theatre.newest();
    let words = [
        "technique",
        "exec",
        "--",
        link.to_str().unwrap(),
        "mailer",
        "--server",
        SERVER,
    ];
    scene.desktop.run(&scene.bot, words, LIMIT).unwrap();
    let refusal = scene
        .theatre
        .wait_after(before, "link", |entry| word(entry, "verdict") == "refuse");
    let bytes = scene.server.payload_bytes();
    evasions::refused("exec-link", bytes, &refusal, &scene.bot);
    // The keeper reads the file beside its other work, so the moment is not known.
    let delivers = || {
        let words = ["mailer", "--server", SERVER];
        let exit = scene.desktop.run(&scene.mailer, words, LIMIT).unwrap();
        exit.success().then_some(())
    };
    e2e::wait_until(LIMIT, delivers).expect("the mailer is accepted again");
    scene.user_delivers();
}

/// Shells that a bot starts, and scripts: whoever wrote the script is not at the keyboard.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn scripts_do_not_speak_for_the_user() {
    let Some(scene) = Scene::open() else { return };
    let theatre = &scene.theatre;
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    theatre.register_as(Path::new("/bin/sh"), "shell", None);
    let batch = theatre.registered("sendmail-like", "mailer", Some("batch"));
    let line = |mailer: &Path| format!("{} mailer --server {SERVER}\n", mailer.display());
    for mailer in [&scene.mailer, &batch] {
        let text = line(mailer);
        let script = theatre.write("script.sh", &text);
        let script = script.to_str().unwrap();
        let command = text.trim_end();
        // From the desktop, which is the user's, through a registered shell. The culprit is
        // whoever said what to do: the script, where there is one.
        let ways: [(&str, &str, Vec<&str>, &str); 5] = [
            ("sh-c", "/bin/sh", vec!["-c", command], "/bin/sh"),
            ("bash-c", "/bin/bash", vec!["-c", command], "/bin/bash"),
            ("bash-script", "/bin/bash", vec![script], script),
            (
                "bash-i-c",
                "/bin/bash",
                vec!["-i", "-c", command],
                "/bin/bash",
            ),
            (
                "bash-rcfile",
                "/bin/bash",
                vec!["--rcfile", script, "-i"],
                "/bin/bash",
            ),
        ];
        for (row, shell, words, culprit) in ways {
            let before = theatre.newest();
            scene.desktop.run(Path::new(shell), &words, LIMIT).unwrap();
            let refusal =
                theatre.wait_after(before, shell, |entry| word(entry, "verdict") == "refuse");
            assert_eq!(refusal["reason"], "foreign-origin", "{words:?}: {refusal}");
            let culprit = std::fs::canonicalize(culprit).unwrap();
            evasions::refused(row, scene.server.payload_bytes(), &refusal, culprit);
        }
    }
    assert_eq!(scene.server.payload_bytes(), 0);
}

/// What a shell is called is up to whoever starts it. A name so long that it is read in pieces does not
/// end in the script that the shell would be.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_long_name_ends_in_no_script() {
    const SCRIPT: &str = "/usr/bin/swaks";
    const PIECE: usize = 255;
    if e2e::is_missing(&[SCRIPT]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let theatre = &scene.theatre;
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    theatre.register_as(Path::new(SCRIPT), "mailer", Some("interactive"));
    let code = "exec 3<>/dev/tcp/127.0.0.1/25; read -u 3; echo EHLO x >&3";
    let culprit = std::fs::canonicalize("/bin/bash").unwrap();
    let home = theatre.home().to_str().unwrap().to_owned();
    let link = PathBuf::from(format!(
        "{home}/{:x<1$}{SCRIPT}",
        "",
        PIECE - home.len() - 1
    ));
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/bin/bash", &link).unwrap();
    let asked = || {
        scene.desktop.run(&link, ["-c", code], LIMIT).unwrap();
    };
    let typed = || {
        let line = format!("(exec -a {:x<PIECE$}{SCRIPT} bash -c '{code}')", "");
        theatre.terminal().run(&line);
    };
    let ways: [(&str, &dyn Fn()); 2] = [("long-name", &asked), ("long-name-typed", &typed)];
    for (row, try_it) in ways {
        let before = theatre.newest();
        try_it();
        let bytes = scene.server.payload_bytes();
        assert_eq!(bytes, 0, "{row}");
        let refusal = theatre.wait_after(before, row, |entry| word(entry, "verdict") == "refuse");
        assert_eq!(refusal["program"], culprit.to_str().unwrap(), "{refusal}");
        evasions::refused(row, bytes, &refusal, &culprit);
    }
}

/// The same at a terminal: what is typed there counts, what is fed there does not.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn at_a_terminal_only_what_is_typed_counts() {
    let Some(scene) = Scene::open() else { return };
    let theatre = &scene.theatre;
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    let batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let script_path = theatre.write("script.sh", &format!("{send}\n"));
    let terminal = theatre.terminal();
    for (row, line, culprit) in evasions::typed_lines(&send, &script_path, &scene.bot) {
        let before = theatre.newest();
        terminal.run(&line);
        let refusal = theatre.wait_after(before, &line, |entry| word(entry, "verdict") == "refuse");
        assert_eq!(refusal["reason"], "foreign-origin", "{line}: {refusal}");
        assert_eq!(
            refusal["program"],
            batch.to_str().unwrap(),
            "{line}: {refusal}"
        );
        let culprit = std::fs::canonicalize(culprit).unwrap();
        evasions::refused(row, scene.server.payload_bytes(), &refusal, culprit);
    }
    assert_eq!(terminal.run(&send), 0, "{}", terminal.screen());
    // A subshell and a shell typed into are the user's still.
    assert_eq!(
        terminal.run(&format!("( {send} )")),
        0,
        "{}",
        terminal.screen()
    );
    assert_eq!(scene.server.wait_for_messages(2, LIMIT).unwrap().len(), 2);
}

/// A unit or a cron job: the machine starts the mailer, but no person asked.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_service_manager_does_not_speak_for_the_user() {
    let options = Options {
        top: Top::Services,
        ..Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    let server = theatre.smtp();
    let mailers =
        ["interactive", "batch"].map(|kind| theatre.registered(kind, "mailer", Some(kind)));
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    if !theatre.raise() {
        return;
    }
    for mailer in &mailers {
        let before = theatre.newest();
        let words = ["mailer", "--server", SERVER];
        theatre
            .start(Start::new(mailer).args(words))
            .output(LIMIT)
            .unwrap();
        let refusal =
            theatre.wait_after(before, "unit", |entry| word(entry, "verdict") == "refuse");
        assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
        evasions::refused("unit", server.payload_bytes(), &refusal, mailer);

        let before = theatre.newest();
        let line = format!("{} mailer --server {SERVER}", mailer.display());
        theatre
            .start(Start::new("/bin/bash").args(["-c", &line]))
            .output(LIMIT)
            .unwrap();
        let refusal = theatre.wait_after(before, "job", |entry| word(entry, "verdict") == "refuse");
        let shell = std::fs::canonicalize("/bin/bash").unwrap();
        evasions::refused("job", server.payload_bytes(), &refusal, &shell);

        // A terminal that a service manager gives to a shell is no person's either.
        let before = theatre.newest();
        let terminal = theatre.terminal();
        assert_ne!(terminal.run(&line), 0);
        let refusal = theatre.wait_after(before, "terminal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
        evasions::refused("service-terminal", server.payload_bytes(), &refusal, &shell);
    }
}

/// A bot in a group below the guarded one is guarded as well.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_group_of_its_own_is_guarded_too() {
    let Some(scene) = Scene::open() else { return };
    for (group, deed) in [("app", "plain"), ("user/app/deep", "fork-exec")] {
        let before = scene.theatre.newest();
        let mailer = scene.mailer.to_str().unwrap();
        let start =
            Start::new(&scene.bot)
                .cgroup(group)
                .args(["technique", deed, "--server", SERVER]);
        let start = start.args(["--", mailer, "mailer", "--server", SERVER]);
        scene.theatre.start(start).output(LIMIT).unwrap();
        let refusal = scene
            .theatre
            .wait_after(before, group, |entry| word(entry, "verdict") == "refuse");
        let bytes = scene.server.payload_bytes();
        evasions::refused("other-cgroup", bytes, &refusal, &scene.bot);
    }
}
