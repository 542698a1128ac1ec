//! Commands that are about this machine or about one folder, and programs that are no mailers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::{LIMIT, PERSON, SERVER, Theatre, is_missing, word};
use rustix::process::Signal;
use stage::{Place, Start};

/// What the machine itself may have of an installation.
const INSTALLED: [&str; 2] = [
    "/usr/local/sbin/sekimori",
    "/etc/systemd/system/sekimori.service",
];

fn is_installed() -> Vec<bool> {
    INSTALLED
        .iter()
        .map(|path| Path::new(path).exists())
        .collect()
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_state_folder_is_no_machine() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let machine = is_installed();
    let server = theatre.smtp();
    let bot = theatre.player("bot");
    let ran = theatre.sekimori(&["install"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("nothing was installed"), "{ran:?}");
    // The folder has a file of registrations, but no gate.
    let ran = theatre.sekimori(&["uninstall"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("nothing was removed"), "{ran:?}");
    if !theatre.raise() {
        return;
    }
    let ran = theatre.sekimori(&["uninstall"]);
    assert_eq!(ran.status, 1, "beside a daemon: {ran:?}");
    theatre.end_daemon(Signal::TERM);
    let mounted = || {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let pins = theatre.state().join("bpf");
        mounts
            .lines()
            .any(|line| line.contains(pins.to_str().unwrap()))
    };
    let is_mounted = || theatre.sandbox().run_inside(mounted).unwrap();
    assert!(is_mounted());
    let ran = theatre.sekimori(&["uninstall"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout.contains(theatre.state().to_str().unwrap()),
        "{ran:?}"
    );
    for other in ["/var/lib/sekimori", "/etc", "/usr"] {
        assert!(!ran.stdout.contains(other), "{ran:?}");
    }
    assert!(!is_mounted() && theatre.pins().is_empty());
    assert!(theatre.state().join("programs.json").exists());
    let words = ["bot", "--smtp", SERVER];
    let sent = theatre.start(Start::new(&bot).args(words)).output(LIMIT);
    assert!(sent.unwrap().exit.success());
    assert_eq!(server.messages().len(), 1);
    assert_eq!(theatre.sekimori(&["uninstall"]).status, 2);
    let ran = theatre.sekimori(&["uninstall", "--purge"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(!theatre.state().join("programs.json").exists());
    assert_eq!(is_installed(), machine);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_does_whatever_it_is_told_is_no_mailer() {
    const TOOLS: [&str; 5] = [
        "/usr/bin/perl",
        "/usr/bin/env",
        "/bin/sh",
        "/bin/bash",
        "/usr/bin/setsid",
    ];
    if is_missing(&TOOLS) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    // By a link and by a copy, too.
    let link = theatre.home().join("mailer");
    symlink("/usr/bin/perl", &link).unwrap();
    let copy = theatre.home().join("copy");
    theatre.crew("cp", &["/bin/bash", copy.to_str().unwrap()]);
    let ways = [link.to_str().unwrap(), copy.to_str().unwrap()];
    let refused = |raised: &str| {
        for path in TOOLS.into_iter().chain(ways) {
            let ran = theatre.sekimori(&["register", path, "--kind", "batch"]);
            assert_eq!(ran.status, 1, "{raised}: {path}: {ran:?}");
            assert_eq!(ran.stderr.trim_end().lines().count(), 1, "{ran:?}");
            assert!(
                ran.stderr.contains("--force") && ran.stderr.contains(path),
                "{ran:?}"
            );
        }
        assert!(!theatre.sekimori(&["programs"]).stdout.contains("perl"));
    };
    refused("without a daemon");
    if !theatre.raise() {
        return;
    }
    refused("with a daemon");
    let before = theatre.newest();
    let ran = theatre.sekimori(&["register", "/usr/bin/setsid", "--kind", "batch", "--force"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    theatre.wait_after(before, "--force", |entry| {
        let text = word(entry, "text");
        text.contains("setsid") && text.contains("--force")
    });
    let listed = theatre.sekimori(&["programs", "--json"]).stdout;
    assert!(listed.contains("\"forced\":true"), "{listed}");
    // The next daemon still says so.
    theatre.end_daemon(Signal::TERM);
    let before = theatre.newest();
    assert!(theatre.raise());
    theatre.wait_after(before, "start", |entry| {
        word(entry, "text").contains("registered by --force: /usr/bin/setsid")
    });
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_command_says_that_it_becomes_root_and_which_number_it_wants() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let copy = theatre
        .sandbox()
        .program(theatre.binary(), "sekimori")
        .unwrap();
    let mut demo = theatre
        .sandbox()
        .command(&copy, Place::Crew, Some(PERSON))
        .unwrap();
    // No sudo is there: what is said comes first.
    let output = demo
        .env_clear()
        .env("PATH", "/nonexistent")
        .arg("demo")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let first = said.lines().next().unwrap();
    assert!(
        first.contains("needs root") && first.contains("sudo"),
        "{said}"
    );
    for (words, expected) in [
        (["explain", "abc"], "number of an entry"),
        (["tree", "abc"], "number of a process"),
    ] {
        let ran = theatre.sekimori(&words);
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(
            ran.stderr.contains(expected) && !ran.stderr.contains("digit"),
            "{ran:?}"
        );
    }
}
