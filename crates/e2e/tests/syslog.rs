//! Refused mail in the system log: a real refusal becomes one line at a real socket, with user, unit,
//! script, reason and the number of the journal's entry. And what the caller of a stopped submitter is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{LIMIT, Theatre, evasions, is_missing, wait_until, word};
use stage::Start;

const PYTHON: &str = "/usr/bin/python3";

struct Scene {
    theatre: Theatre,
    submitter: PathBuf,
    log: UnixDatagram,
}

impl Scene {
    /// A stage whose daemon reports to a log of the test's own.
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let path = theatre.sandbox().folder().join("log");
        theatre.write(
            "config.toml",
            &format!("notify = false\nsyslog = \"{}\"\n", path.display()),
        );
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
        let submitter = theatre.registered("sendmail", "submitter", None);
        let log = UnixDatagram::bind(path).unwrap();
        log.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        theatre.raise().then_some(Self {
            theatre,
            submitter,
            log,
        })
    }

    /// The next line.
    fn line(&self) -> String {
        let mut bytes = [0; 4096];
        let line = wait_until(LIMIT, || {
            let length = self.log.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        });
        line.expect("a line in the system log")
    }

    fn job(&self, name: &str, text: &str) -> PathBuf {
        self.theatre.write(&format!("home/{name}"), text)
    }
}

/// A job in a unit hands mail over by a script that an interpreter runs.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_stopped_submission_is_reported_with_unit_script_and_entry() {
    if is_missing(&[PYTHON]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let submitter = scene.submitter.display();
    let script = scene.job(
        "report.py",
        &format!("import subprocess\nprint(subprocess.call(['{submitter}', 'submit', '--spool', 'queue']))\n"),
    );
    let start = Start::new(PYTHON)
        .arg(&script)
        .directory(scene.theatre.home())
        .cgroup("backup.service");
    let job = scene.theatre.start(start);
    let output = job.output(LIMIT).expect("the end of the job");
    // The caller sees that its mail was not taken: the submitter ended by a signal.
    assert!(job.stdout().contains("-9"), "{output:?}");
    let line = scene.line();
    let entry = scene
        .theatre
        .wait_for("refusal", |entry| word(entry, "judged") == "submit");
    assert_eq!(entry["unit"], "backup.service", "{entry}");
    assert_eq!(entry["script"], script.to_str().unwrap(), "{entry}");
    assert!(line.starts_with("<20>sekimori["), "{line}");
    let id = entry["id"].as_u64().unwrap();
    let (python, script) = (word(&entry, "culprit"), script.display());
    let rest = format!(
        "uid=65534 reason=foreign-origin unit=backup.service program={submitter} script={script} culprit={python} \
         recipient=unknown pid={} entry={id}",
        entry["pid"]
    );
    assert!(line.contains("]: refused submission: "), "{line}");
    assert!(line.ends_with(&rest), "{line}\n{rest}");
    // Explain names both, and the finding has the number that its warning gives.
    let shown = scene.theatre.sekimori(&["explain", &id.to_string()]);
    assert!(
        shown.stdout.contains("The process ran in backup.service.")
            && shown.stdout.contains(&format!("ran the script {script}.")),
        "{shown:?}"
    );
    let finding = scene
        .theatre
        .wait_for("finding", |entry| entry["type"] == "finding");
    let named = format!("sekimori explain {}", finding["id"]);
    wait_until(LIMIT, || {
        scene.theatre.daemon_words().contains(&named).then_some(())
    })
    .unwrap_or_else(|| panic!("{named}: {}", scene.theatre.daemon_words()));
}

/// A name cannot add a line or a field, and a flood by one user leaves a trace of its size.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flood_with_hostile_names_is_cut_short_and_counted() {
    let Some(scene) = Scene::open() else { return };
    let bot = scene.theatre.player("bot\n<20>root: entry=1 \u{1b}[2J");
    let desktop = scene.theatre.desktop();
    let submitter = scene.submitter.to_str().unwrap().to_owned();
    let words = [
        "technique",
        evasions::SUBMITTING[0],
        "--",
        &submitter,
        "submit",
        "--spool",
        "queue",
    ];
    for _ in 0..60 {
        desktop.run(&bot, words, LIMIT).unwrap();
    }
    // The socket holds few lines, and nothing waits for it. Lines are permitted again after a while, and
    // the next one says how many are missing.
    std::thread::sleep(Duration::from_secs(4));
    let mut bytes = [0; 4096];
    let mut waiting = Vec::new();
    while let Ok(length) = scene.log.recv(&mut bytes) {
        waiting.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    desktop.run(&bot, words, LIMIT).unwrap();
    let mut waiting = waiting.into_iter();
    let after = |line: &str, mark: &str| -> u32 {
        let digits = line.split(mark).nth(1).unwrap_or_default();
        let end = digits.find(|letter: char| !letter.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0)
    };
    let (mut lines, mut told) = (0, 0);
    while told < 61 {
        let line = waiting.next().unwrap_or_else(|| scene.line());
        assert!(
            line.starts_with("<20>sekimori[") && !line.contains(char::is_control),
            "{line}"
        );
        assert!(line.contains("\\x0a<20>root: entry=1 "), "{line}");
        // Refusals that are alike may share a line.
        told += after(&line, " times=").max(1) + after(&line, " (");
        lines += 1;
    }
    assert_eq!(told, 61, "{lines} lines");
    assert!(lines < 61, "no line was left out");
    assert!(!fs::exists(scene.theatre.home().join("queue")).unwrap());
}

/// A mailer that was started at a terminal, but behind another program, is told just that.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn at_a_terminal_nobody_is_told_that_a_terminal_is_missing() {
    let Some(scene) = Scene::open() else { return };
    let launcher = scene.theatre.registered("panel", "launcher", None);
    let (submitter, launcher) = (scene.submitter.display(), launcher.display());
    let terminal = scene.theatre.terminal();
    let script = scene.job(
        "report.sh",
        &format!("{submitter} submit --spool queue\nexit $?\n"),
    );
    let ways = [
        format!("{launcher} launcher {submitter} submit --spool queue"),
        format!("LD_PRELOAD=/tmp/x.so {submitter} submit --spool queue"),
        format!("echo '{submitter} submit --spool queue; true' | sh"),
        format!("/bin/sh {}", script.display()),
        format!("/bin/bash -c '{submitter} submit --spool queue; true'"),
    ];
    for way in &ways {
        let before = scene.theatre.newest();
        terminal.run(way);
        let refusal = scene
            .theatre
            .wait_after(before, way, |entry| word(entry, "judged") == "submit");
        assert_eq!(refusal["verdict"], "refuse", "{way}: {refusal}");
        assert_ne!(refusal["reason"], "needs-terminal", "{way}: {refusal}");
        let id = refusal["id"].to_string();
        let shown = scene.theatre.sekimori(&["explain", &id]).stdout;
        assert!(shown.contains("If this was you:"), "{way}: {shown}");
        assert!(!shown.contains("needs a terminal"), "{way}: {shown}");
        println!("{way}\n{shown}");
    }
    assert!(!fs::exists(scene.theatre.home().join("queue")).unwrap());
}
