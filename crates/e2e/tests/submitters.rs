//! Programs that take mail for others: whoever may not send may not start one either, and
//! it ends before its first instruction.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Theatre, evasions, is_missing, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Desktop, Start};

struct Scene {
    theatre: Theatre,
    desktop: Desktop,
    submitter: PathBuf,
    bot: PathBuf,
}

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
        let submitter = theatre.registered("sendmail", "submitter", None);
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        let desktop = theatre.desktop();
        Some(Self {
            theatre,
            desktop,
            submitter,
            bot,
        })
    }

    fn submission_after(&self, before: u64, what: &str) -> Value {
        self.theatre
            .wait_after(before, what, |entry| word(entry, "judged") == "submit")
    }

    /// Starts the submitter by `start`, and expects that it never ran.
    fn is_killed(&self, program: &Path, words: &[&str], reason: &str) -> Value {
        let before = self.theatre.newest();
        let printed = self.desktop.stdout().len();
        // The loader would write these lines before anything of the program itself runs.
        self.desktop.run(program, words, LIMIT).unwrap();
        let refusal = self.submission_after(before, reason);
        assert_eq!(refusal["verdict"], "refuse", "{refusal}");
        assert_eq!(refusal["reason"], reason, "{refusal}");
        assert_eq!(
            refusal["program"],
            self.submitter.to_str().unwrap(),
            "{refusal}"
        );
        assert_eq!(refusal["destination"], Value::Null, "{refusal}");
        let rest = self.desktop.stdout()[printed..].to_owned();
        assert!(!rest.contains("exec-memfd"), "it ran: {rest}");
        refusal
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_may_not_hand_mail_over() {
    let Some(scene) = Scene::open() else { return };
    let submitter = scene.submitter.to_str().unwrap();
    // What the mail server would take its mail from.
    let spool = scene.theatre.home().join("queue");
    let spool = spool.to_str().unwrap();
    for way in evasions::SUBMITTING {
        let words = [
            "technique",
            way,
            "--",
            submitter,
            "submit",
            "--spool",
            spool,
        ];
        let refusal = scene.is_killed(&scene.bot, &words, "foreign-origin");
        let queued = fs::metadata(spool).map_or(0, |file| file.len());
        evasions::refused(&format!("submit-{way}"), queued, &refusal, &scene.bot);
        assert_eq!(refusal["role"], "submitter", "{way}: {refusal}");
    }
    let refused = scene.theatre.counter("submitters_refused");
    assert_eq!(refused, evasions::SUBMITTING.len() as u64);
    // The person's own message is the first in the queue.
    let terminal = scene.theatre.terminal();
    assert_eq!(
        terminal.run(&format!("{submitter} submit --spool {spool}")),
        0
    );
    assert!(fs::metadata(spool).unwrap().len() > 0);
    let finding = scene
        .theatre
        .wait_for("finding", |entry| entry["type"] == "finding");
    assert_eq!(finding["finding"], "illegal-send", "{finding}");
}

/// The kernel gives the interpreter that a script names the rights of its file, and tells of the
/// script only as what it was called.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_submitter_runs_no_scripts() {
    let Some(scene) = Scene::open() else { return };
    let home = scene.theatre.home();
    let script = |name: &str, interpreter: &str| {
        let path = scene
            .theatre
            .write(&format!("home/{name}"), &format!("#!{interpreter}\n"));
        scene
            .theatre
            .crew("chmod", &["755", path.to_str().unwrap()]);
    };
    script("plain", &format!("{} submit", scene.submitter.display()));
    script("nested", "./plain");
    for (row, path) in [
        ("submit-interpreter", "./plain"),
        ("submit-interpreter-nested", "./nested"),
    ] {
        let before = scene.theatre.newest();
        let line = format!("cd {} && {path} --spool queue", home.display());
        let words = ["launcher", "/bin/sh", "-c", &line];
        scene.desktop.run(&scene.bot, words, LIMIT).unwrap();
        let queued = fs::metadata(home.join("queue")).map_or(0, |file| file.len());
        assert_eq!(queued, 0, "{row}");
        let refusal = scene.submission_after(before, row);
        assert_eq!(refusal["program"], path, "{refusal}");
        evasions::refused(row, queued, &refusal, &scene.bot);
    }
    // Typed by the person it is still what the script says.
    let before = scene.theatre.newest();
    let terminal = scene.theatre.terminal();
    assert_ne!(terminal.run("./plain --spool queue"), 0);
    let refusal = scene.submission_after(before, "typed");
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    assert_eq!(refusal["culprit"], "./plain", "{refusal}");
    assert!(!home.join("queue").exists());
}

/// A hard link moves a file's change time, as an upgrade does. Until the daemon has looked at it, which
/// takes long when it is stopped, the submitter is a submitter.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_changed_submitter_takes_no_mail_from_a_bot() {
    let Some(scene) = Scene::open() else { return };
    let submitter = scene.submitter.to_str().unwrap();
    let (bots, own) = ("bots-queue", "own-queue");
    let [bots_queue, own_queue] = [bots, own].map(|name| scene.theatre.home().join(name));
    let terminal = scene.theatre.terminal();
    let before = scene.theatre.newest();
    scene.theatre.signal_daemon(Signal::STOP);
    fs::hard_link(&scene.submitter, scene.submitter.with_extension("link")).unwrap();
    let spool = bots_queue.to_str().unwrap();
    let words = ["technique", "exec", "--", submitter];
    let words = [&words[..], &["submit", "--spool", spool]].concat();
    scene.desktop.run(&scene.bot, &words, LIMIT).unwrap();
    let queued = fs::metadata(&bots_queue).map_or(0, |file| file.len());
    // What the person hands over goes its way meanwhile.
    let typed = format!("{submitter} submit --spool {own}");
    assert_eq!(terminal.run(&typed), 0, "{}", terminal.screen());
    scene.theatre.signal_daemon(Signal::CONT);
    assert_eq!(queued, 0);
    let refusal = scene.submission_after(before, "changed");
    assert_eq!(refusal["reason"], "file-changed", "{refusal}");
    evasions::refused("submit-changed", queued, &refusal, &scene.bot);
    assert!(fs::metadata(&own_queue).unwrap().len() > 0);
    // The keeper reads the file beside its other work, so the moment is not known.
    let before = scene.theatre.newest();
    let accepted = || {
        assert_eq!(terminal.run(&typed), 0, "{}", terminal.screen());
        let entries = scene.theatre.log();
        let new = |entry: &&Value| entry["id"].as_u64() > Some(before);
        entries
            .iter()
            .filter(new)
            .any(|entry| word(entry, "verdict") == "allow" && word(entry, "judged") == "submit")
            .then_some(())
    };
    wait_until(LIMIT, accepted).expect("the submitter is accepted again");
}

/// How it ends, seen from outside: not one system call, not one line of the loader.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_refused_submitter_never_runs() {
    let Some(scene) = Scene::open() else { return };
    let submitter = scene.submitter.to_str().unwrap();
    // The loader speaks before any constructor when LD_DEBUG is set.
    let run = |program: &Path, words: &[&str]| {
        let start = Start::new(program).args(words).env("LD_DEBUG", "libs");
        scene.theatre.start(start).output(LIMIT).unwrap()
    };
    let control = run(
        &scene.bot,
        &[
            "technique",
            "exec",
            "--",
            scene.bot.to_str().unwrap(),
            "techniques",
        ],
    );
    let speeches = |text: &str| text.matches("calling init").count();
    let alone = speeches(&run(&scene.bot, &["techniques"]).stderr);
    assert!(
        alone > 0 && speeches(&control.stderr) == 2 * alone,
        "{}",
        control.stderr
    );

    let ended = run(
        &scene.bot,
        &["technique", "exec", "--", submitter, "techniques"],
    );
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(
        speeches(&ended.stderr),
        alone,
        "the submitter's loader ran: {}",
        ended.stderr
    );

    // Started by the init itself, its end is plain to see.
    let killed = scene
        .theatre
        .sandbox()
        .start(
            &Start::new(submitter)
                .arg("techniques")
                .user(PERSON.0, PERSON.1),
        )
        .unwrap();
    let killed = killed.output(LIMIT).unwrap();
    assert_eq!(killed.exit.signal, Some(9), "{killed:?}");
    assert_eq!(killed.stdout, "");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_refused_submitter_makes_no_system_call() {
    if is_missing(&["/usr/bin/strace"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let trace = scene.theatre.home().join("trace");
    let submitter = scene.submitter.to_str().unwrap();
    let words = [
        "-f",
        "-qq",
        "-o",
        trace.to_str().unwrap(),
        scene.bot.to_str().unwrap(),
    ];
    let words = [
        &words[..],
        &["technique", "exec", "--", submitter, "techniques"],
    ]
    .concat();
    scene
        .desktop
        .run(Path::new("/usr/bin/strace"), words, LIMIT)
        .unwrap();
    let refusal = scene.submission_after(0, "strace");
    assert_eq!(refusal["verdict"], "refuse", "{refusal}");
    let text = fs::read_to_string(&trace).unwrap();
    let (_, after) = text
        .split_once(&format!("execve(\"{submitter}\""))
        .expect("the exec in the trace");
    let own = after
        .lines()
        .skip(1)
        .filter(|line| line.contains('('))
        .filter(|line| !line.contains("+++"));
    // The one that forked it goes on; its pid stands in front of its lines.
    let pid = text
        .lines()
        .find(|line| line.contains(&format!("execve(\"{submitter}\"")))
        .unwrap();
    let pid = pid.split(' ').next().unwrap();
    let calls: Vec<&str> = own.filter(|line| line.starts_with(pid)).collect();
    assert!(calls.is_empty(), "{calls:?}");
    assert!(after.contains("+++ killed by SIGKILL +++"), "{after}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_user_may_hand_mail_over() {
    let Some(scene) = Scene::open() else { return };
    let submitter = scene.submitter.to_str().unwrap();
    let terminal = scene.theatre.terminal();
    // From the shell, with mail from a pipe, and from a subshell.
    for line in [
        format!("{submitter} techniques"),
        format!("echo | {submitter} techniques"),
        format!("( {submitter} techniques )"),
    ] {
        let before = scene.theatre.newest();
        assert_eq!(
            terminal.run(&format!("{line} > {}/out", scene.theatre.home().display())),
            0,
            "{line}"
        );
        let verdict = scene.submission_after(before, &line);
        assert_eq!(verdict["verdict"], "allow", "{line}: {verdict}");
        assert!(
            fs::read_to_string(scene.theatre.home().join("out"))
                .unwrap()
                .contains("exec-memfd")
        );
    }
    // A mailer that may send, of either kind; a submitter passes on what it was given.
    let batch = scene.theatre.registered("mutt", "mailer", Some("batch"));
    let interactive = scene
        .theatre
        .registered("thunderbird", "mailer", Some("interactive"));
    let second = scene.theatre.registered("postdrop", "submitter", None);
    let before = scene.theatre.newest();
    let chain = format!(
        "{} launcher {submitter} launcher {} techniques > /dev/null",
        batch.display(),
        second.display()
    );
    assert_eq!(terminal.run(&chain), 0, "{}", terminal.screen());
    scene.theatre.wait_after(before, "postdrop", |entry| {
        entry["program"] == second.to_str().unwrap() && word(entry, "verdict") == "allow"
    });
    let words = ["launcher", submitter, "techniques"];
    assert!(
        scene
            .desktop
            .run(&interactive, words, LIMIT)
            .unwrap()
            .success()
    );
    // The desktop itself does not vouch, nor for a batch mailer.
    scene.is_killed(&scene.submitter, &["techniques"], "needs-terminal");
    scene.is_killed(&batch, &words, "needs-terminal");
    // Nor does a shell that a script feeds.
    let script = format!("{submitter} techniques");
    let refusal = scene.is_killed(Path::new("/bin/bash"), &["-c", &script], "foreign-origin");
    assert_eq!(
        refusal["culprit"],
        fs::canonicalize("/bin/bash").unwrap().to_str().unwrap()
    );
}

/// The mail server of the machine is a mail server like any other.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_local_mail_server_is_judged_alike() {
    let Some(scene) = Scene::open() else { return };
    let server = scene.theatre.smtp_at(&[
        "127.0.0.1:25",
        "[::1]:25",
        "127.0.0.1:587",
        "127.0.0.1:465",
        "[::1]:587",
    ]);
    for (row, address) in [
        ("local-25", SERVER),
        ("local-25-ipv6", "[::1]:25"),
        ("local-587", "127.0.0.1:587"),
        ("local-465", "127.0.0.1:465"),
        ("local-587-ipv6", "[::1]:587"),
        ("local-any", "0.0.0.0:25"),
        ("local-any-ipv6", "[::]:25"),
    ] {
        let before = scene.theatre.newest();
        scene
            .desktop
            .run(&scene.bot, ["bot", "--smtp", address], LIMIT)
            .unwrap();
        let refusal = scene
            .theatre
            .wait_after(before, address, |entry| word(entry, "verdict") == "refuse");
        evasions::refused(row, server.payload_bytes(), &refusal, &scene.bot);
    }
    // A submitter is no mailer: what it does on the network is judged too.
    let before = scene.theatre.newest();
    let terminal = scene.theatre.terminal();
    assert_ne!(
        terminal.run(&format!(
            "{} mailer --server {SERVER}",
            scene.submitter.display()
        )),
        0
    );
    let refusal = scene.theatre.wait_after(before, "submitter", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
    assert_eq!(server.payload_bytes(), 0);
}

/// Whoever switches it off gets what was asked for.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn submitters_are_left_alone_when_configured_so() {
    let options = e2e::Options {
        config: "guard_submitters = false".to_owned(),
        ..e2e::Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    let (submitter, bot) = (
        theatre.registered("sendmail", "submitter", None),
        theatre.player("bot"),
    );
    if !theatre.raise() {
        return;
    }
    let words = [
        "technique",
        "exec",
        "--",
        submitter.to_str().unwrap(),
        "techniques",
    ];
    let output = theatre
        .start(Start::new(&bot).args(words))
        .output(LIMIT)
        .unwrap();
    assert!(
        output.exit.success() && output.stdout.contains("exec-memfd"),
        "{output:?}"
    );
}
