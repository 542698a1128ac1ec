//! The command line against a running gate: what it shows, what it refuses, how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use e2e::{LIMIT, Options, PERSON, SERVER, Theatre, Top, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;
use stage::Start;

fn one_line(text: &str) -> bool {
    text.trim_end().lines().count() == 1
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn observing_permits_and_records() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let (mailer, bot) = (
        theatre.registered("mailer", "mailer", Some("interactive")),
        theatre.player("bot"),
    );
    let submitter = theatre.registered("sendmail", "submitter", None);
    if !theatre.raise_with(&["--observe"]) {
        return;
    }
    assert_eq!(theatre.status()["gate"], "observing");
    let desktop = theatre.desktop();
    let ways: [Vec<&str>; 2] = [
        vec!["bot", "--smtp", SERVER],
        vec![
            "launcher",
            mailer.to_str().unwrap(),
            "mailer",
            "--server",
            SERVER,
        ],
    ];
    for (count, words) in (1..).zip(ways) {
        let before = theatre.newest();
        assert!(
            desktop.run(&bot, &words, LIMIT).unwrap().success(),
            "{}",
            desktop.stdout()
        );
        assert_eq!(server.wait_for_messages(count, LIMIT).unwrap().len(), count);
        for kind in ["verdict", "finding"] {
            let entry = theatre.wait_after(before, kind, |entry| entry["type"] == kind);
            assert_eq!(entry["observed"], true, "{entry}");
            assert_eq!(entry["culprit"], bot.to_str().unwrap(), "{entry}");
        }
    }
    // A submitter lives, and is noted.
    let words = ["launcher", submitter.to_str().unwrap(), "techniques"];
    assert!(desktop.run(&bot, words, LIMIT).unwrap().success());
    assert!(desktop.stdout().contains("exec-memfd"), "it ran");
    let noted = theatre.wait_for("submission", |entry| word(entry, "judged") == "submit");
    assert_eq!(
        (word(&noted, "verdict"), &noted["observed"]),
        ("refuse", &Value::Bool(true)),
        "{noted}"
    );
    // The next daemon closes it again.
    theatre.end_daemon(Signal::TERM);
    assert!(theatre.raise());
    assert_eq!(theatre.status()["gate"], "closed");
    assert!(
        !desktop
            .run(&bot, ["bot", "--smtp", SERVER], LIMIT)
            .unwrap()
            .success()
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_is_shown_of_a_refusal() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let _server = theatre.smtp();
    let (mailer, bot) = (
        theatre.registered("mailer", "mailer", Some("interactive")),
        theatre.player("bot"),
    );
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let words = ["bot", "--smtp", SERVER, "--hold-ms", "60000"];
    let pid = desktop.launch(&bot, words).unwrap();
    let refusal = theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    let finding = theatre.wait_for("finding", |entry| entry["type"] == "finding");
    let bot = bot.to_str().unwrap();

    let explain = |entry: &Value| {
        let ran = theatre.sekimori(&["explain", &entry["id"].to_string()]);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout
    };
    for text in [explain(&refusal), explain(&finding)] {
        assert!(
            text.contains(bot) && text.contains("127.0.0.1:25"),
            "{text}"
        );
        // The stage lies in a folder for temporary files, from which nothing is proposed.
        assert!(
            text.contains("such as /usr/local/bin") && !text.contains("register /"),
            "{text}"
        );
        assert!(
            text.contains("desktop") && text.contains("stage-init"),
            "the lineage: {text}"
        );
    }
    let ran = theatre.sekimori(&["explain", "999999"]);
    assert!(
        ran.status == 1 && one_line(&ran.stderr) && ran.stderr.contains("999999"),
        "{ran:?}"
    );

    // The live tree.
    let ran = theatre.sekimori(&["tree", &pid.to_string(), "--json"]);
    let tree: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |wanted: u32| {
        tree.iter()
            .find(|process| process["pid"] == wanted)
            .unwrap()
    };
    assert_eq!(find(pid)["origin"], "foreign", "{ran:?}");
    assert_eq!(find(pid)["is_culprit"], true, "{ran:?}");
    assert_eq!(find(desktop.process().pid())["origin"], "user", "{ran:?}");
    assert_eq!(find(desktop.process().pid())["role"], "session", "{ran:?}");
    assert_eq!(
        find(theatre.sandbox().init_pid())["origin"],
        "system",
        "{ran:?}"
    );
    let ran = theatre.sekimori(&["tree", &pid.to_string()]);
    assert!(
        ran.status == 0 && ran.stdout.contains("foreign") && ran.stdout.contains(bot),
        "{ran:?}"
    );

    // Users see what is about themselves.
    let copy = theatre
        .sandbox()
        .program(theatre.binary(), "sekimori")
        .unwrap();
    let as_user = |user: u32, words: &[&str]| {
        let mut command = theatre
            .sandbox()
            .command(&copy, stage::Place::Crew, Some((user, user)))
            .unwrap();
        command
            .env_clear()
            .arg("--state-dir")
            .arg(theatre.state())
            .args(words)
            .output()
            .unwrap()
    };
    fs::set_permissions(
        theatre.state(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let own = as_user(PERSON.0, &["log", "--json"]);
    assert!(
        String::from_utf8_lossy(&own.stdout).contains("\"refuse\""),
        "{own:?}"
    );
    let others = as_user(4321, &["log", "--json"]);
    assert!(
        others.status.success() && others.stdout.is_empty(),
        "{others:?}"
    );
    let id = refusal["id"].to_string();
    assert_eq!(as_user(PERSON.0, &["explain", &id]).status.code(), Some(0));
    assert_eq!(as_user(4321, &["explain", &id]).status.code(), Some(1));
    assert_eq!(as_user(4321, &["status"]).status.code(), Some(0));
    for words in [
        &["tree"][..],
        &["register", "/bin/ls"],
        &["unregister", "/bin/ls"],
        &["setup", "--yes"],
        &["run"],
    ] {
        let refused = as_user(PERSON.0, words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{words:?}: {refused:?}");
        assert!(
            one_line(&said) && said.contains("root"),
            "{words:?}: {said}"
        );
    }

    // A user may become a mailer's owner: what explain said works.
    theatre.register_as(Path::new(bot), "mailer", Some("interactive"));
    let words = ["mailer", "--server", SERVER];
    assert!(desktop.run(Path::new(bot), words, LIMIT).unwrap().success());
    let ran = theatre.sekimori(&["unregister", mailer.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(!desktop.run(&mailer, words, LIMIT).unwrap().success());
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_log_is_followed() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let _server = theatre.smtp();
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let mut follower = theatre
        .command(&["log", "--json", "--follow"], None)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["type"], "notice");
    theatre
        .start(Start::new(&bot).args(["bot", "--smtp", SERVER]))
        .output(LIMIT)
        .unwrap();
    let mut last = 0;
    loop {
        let entry = next();
        let id = entry["id"].as_u64().unwrap();
        assert!(id > last, "{entry}");
        last = id;
        if entry["type"] == "finding" {
            break;
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    let recent = theatre.sekimori(&["log", "--json", "--since", "1h"]);
    assert_eq!(recent.stdout.lines().count(), theatre.log().len());
    let future = theatre.sekimori(&["log", "--json", "--since", "2200-01-01T00:00:00Z"]);
    assert!(future.status == 0 && future.stdout.is_empty(), "{future:?}");
    assert_eq!(theatre.sekimori(&["log", "--since", "yesterday"]).status, 2);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn setup_registers_what_is_installed() {
    let options = Options {
        top: Top::Services,
        ..Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    let ran = theatre.sekimori(&["setup", "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let programs = theatre.sekimori(&["programs", "--json"]);
    let programs: Vec<Value> = programs
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let bash = fs::canonicalize("/bin/bash").unwrap();
    let shell = programs
        .iter()
        .find(|program| program["path"] == bash.to_str().unwrap());
    assert_eq!(
        shell.map(|shell| word(shell, "role")),
        Some("shell"),
        "{ran:?}"
    );
    for program in &programs {
        assert!(Path::new(word(program, "path")).exists(), "{program}");
        assert_eq!(program["state"], "good", "{program}");
    }
    let mailers = programs
        .iter()
        .filter(|program| program["role"] == "mailer")
        .count();
    let known = [
        "/usr/bin/msmtp",
        "/usr/bin/mutt",
        "/usr/bin/claws-mail",
        "/usr/bin/thunderbird",
    ];
    assert!(
        mailers > 0 || known.iter().all(|path| !Path::new(path).exists()),
        "{}",
        ran.stdout
    );
    // Without a terminal it cannot ask.
    assert_eq!(theatre.sekimori(&["setup"]).status, 2);
    // Twice is as good as once.
    assert_eq!(theatre.sekimori(&["setup", "--yes"]).status, 0);
    assert_eq!(
        theatre
            .sekimori(&["programs", "--json"])
            .stdout
            .lines()
            .count(),
        programs.len()
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_cannot_be_registered_is_said_in_one_line() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let text = theatre.write("text", "no program");
    let script = theatre.write("script", "#!/bin/sh\ntrue\n");
    for path in [&text, &script] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let plain = theatre.write("plain", "#!/bin/sh\n");
    let wrong = |raised: &str| {
        for (path, expected) in [
            ("/nonexistent/mailer", "no such file"),
            ("/tmp", "folder"),
            ("/dev/null", "regular file"),
            (plain.to_str().unwrap(), "not executable"),
            (text.to_str().unwrap(), "neither"),
            (script.to_str().unwrap(), "script"),
        ] {
            let ran = theatre.sekimori(&["register", path]);
            assert_eq!(ran.status, 1, "{raised}: {path}: {ran:?}");
            assert!(one_line(&ran.stderr), "{raised}: {ran:?}");
            assert!(
                ran.stderr.contains(path) && ran.stderr.contains(expected),
                "{raised}: {ran:?}"
            );
        }
        let ran = theatre.sekimori(&["unregister", "/bin/ls"]);
        assert!(
            ran.status == 1 && one_line(&ran.stderr) && ran.stderr.contains("/bin/ls"),
            "{ran:?}"
        );
        for words in [
            &["register", "/bin/ls", "--as", "friend"][..],
            &["register"],
            &["frobnicate"],
            &[],
        ] {
            assert_eq!(theatre.sekimori(words).status, 2, "{words:?}");
        }
    };
    wrong("without a daemon");
    let ran = theatre.sekimori(&["status"]);
    assert!(
        ran.status == 1 && one_line(&ran.stderr) && ran.stderr.contains("no gate"),
        "{ran:?}"
    );
    if theatre.raise() {
        wrong("with a daemon");
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_start_that_fails_leaves_nothing() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let group = theatre.sandbox().cgroup();
    let group = group.to_str().unwrap();
    let bad = theatre.write("bad.toml", "# a comment\nmail_prots = [25]\n");
    let worse = theatre.write("worse.toml", "mail_ports = [25, \"smtp\"]\n");
    let broken = theatre.write("broken.toml", "mail_ports = [25\n");
    let good = theatre.write("good.toml", "notify = false\n");
    let (bad, worse, broken, good) = (
        bad.to_str().unwrap(),
        worse.to_str().unwrap(),
        broken.to_str().unwrap(),
        good.to_str().unwrap(),
    );
    let cases: [(&[&str], &[&str]); 8] = [
        (
            &["--config", bad, "--cgroup", group],
            &[bad, "mail_prots", "mail_ports", "2"],
        ),
        (
            &["--config", worse, "--cgroup", group],
            &[worse, "mail_ports"],
        ),
        (&["--config", broken, "--cgroup", group], &[broken]),
        (
            &["--config", "/nonexistent.toml", "--cgroup", group],
            &["/nonexistent.toml", "no such file"],
        ),
        (&["--config", good, "--cgroup", "/tmp"], &["/tmp", "cgroup"]),
        (
            &["--config", good, "--cgroup", "/nonexistent"],
            &["/nonexistent"],
        ),
        (&["--config", good, "--cgroup", good], &[good, "cgroup"]),
        (&["--config", "/tmp", "--cgroup", group], &["/tmp"]),
    ];
    for (words, expected) in cases {
        let ran = theatre.sekimori(&[&["run"], words].concat());
        assert_eq!(ran.status, 1, "{words:?}: {ran:?}");
        assert!(one_line(&ran.stderr), "{words:?}: {ran:?}");
        assert!(
            expected.iter().all(|part| ran.stderr.contains(part)),
            "{words:?}: {ran:?}"
        );
        assert!(theatre.pins().is_empty(), "{words:?}: {:?}", theatre.pins());
        assert!(!theatre.state().join("control.sock").exists(), "{words:?}");
    }
    // The pins cannot be made where a file lies.
    let pins = theatre.state().join("bpf");
    fs::write(&pins, "in the way").unwrap();
    let ran = theatre.sekimori(&["run", "--config", good, "--cgroup", group]);
    assert!(ran.status == 1 && one_line(&ran.stderr), "{ran:?}");
    assert!(!theatre.state().join("control.sock").exists());
    fs::remove_file(&pins).unwrap();
    // And then it works.
    if theatre.raise() {
        assert!(!theatre.pins().is_empty());
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_second_daemon_is_turned_away() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    if !theatre.raise() {
        return;
    }
    let group = theatre.sandbox().cgroup();
    let pid = theatre.daemon_pid();
    let ran = theatre.sekimori(&["run", "--cgroup", group.to_str().unwrap()]);
    assert!(
        ran.status == 1 && one_line(&ran.stderr) && ran.stderr.contains("another daemon"),
        "{ran:?}"
    );
    assert_eq!(theatre.status()["daemon"]["pid"], pid);
    let desktop = theatre.desktop();
    assert!(
        desktop
            .run(&mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap()
            .success()
    );
    assert_eq!(server.messages().len(), 1);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_damaged_journal_is_set_aside() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    fs::write(theatre.state().join("journal.db"), vec![0x5a; 8192]).unwrap();
    for log in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(theatre.state().join(log));
    }
    if !theatre.raise() {
        return;
    }
    let notice = theatre.wait_for("notice", |entry| word(entry, "text").contains("damaged"));
    let aside = fs::read_dir(theatre.state())
        .unwrap()
        .flatten()
        .map(|file| file.path());
    let aside: Vec<_> = aside
        .filter(|path| path.to_string_lossy().contains("journal.db.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(
        word(&notice, "text").contains(aside[0].to_str().unwrap()),
        "{notice}"
    );
    assert_eq!(fs::read(&aside[0]).unwrap(), vec![0x5a; 8192]);
    // It guards, and what is registered anew counts.
    let bot = theatre.player("bot");
    theatre
        .start(Start::new(&bot).args(["bot", "--smtp", SERVER]))
        .output(LIMIT)
        .unwrap();
    theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    assert_eq!(server.payload_bytes(), 0);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_configuration_is_read_again() {
    let options = Options {
        // What is said on other ports is not looked at.
        config: "packet_watch = \"mail\"\nmail_ports = [25, 2525]".to_owned(),
        ..Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    let server = theatre.smtp_at(&[SERVER, "127.0.0.1:2525", "127.0.0.1:26"]);
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let sends = |to: &str| {
        let start = Start::new(&bot).args(["bot", "--smtp", to]);
        theatre.start(start).output(LIMIT).unwrap().exit.success()
    };
    assert!(!sends(SERVER) && !sends("127.0.0.1:2525") && sends("127.0.0.1:26"));
    let before = theatre.newest();
    let changed = "notify = false\npacket_watch = \"mail\"\nmail_ports = [25, 26]\n";
    theatre.write("config.toml", changed);
    theatre.signal_daemon(Signal::HUP);
    theatre.wait_after(before, "reload", |entry| {
        word(entry, "text") == "configuration read again"
    });
    assert!(!sends(SERVER) && sends("127.0.0.1:2525") && !sends("127.0.0.1:26"));
    let before = theatre.newest();
    theatre.write("config.toml", "mail_ports = []\n");
    theatre.signal_daemon(Signal::HUP);
    let notice = theatre.wait_after(before, "reload", |entry| {
        word(entry, "text").contains("not read again")
    });
    assert!(word(&notice, "text").contains("config.toml"), "{notice}");
    assert!(!sends(SERVER) && sends("127.0.0.1:2525") && !sends("127.0.0.1:26"));
    assert_eq!(server.messages().len(), 3);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn documents_are_printed_without_a_gate() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    for words in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["manpage"],
        &["--help"],
        &["--version"],
    ] {
        let ran = theatre.sekimori(words);
        assert!(
            ran.status == 0 && !ran.stdout.is_empty(),
            "{words:?}: {ran:?}"
        );
    }
    let ran = theatre.sekimori(&["log"]);
    assert!(matches!(ran.status, 0 | 1), "{ran:?}");
    let gone = wait_until(LIMIT, || theatre.pins().is_empty().then_some(()));
    assert!(gone.is_some());
}
