//! Processes that are older than the gate, judged again when what started them is registered.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use e2e::{LIMIT, PERSON, SERVER, Theatre, is_missing, wait_until, word};
use stage::{Desktop, Start};

/// Longer than the gate takes to load and a program to be registered.
const LATER_MS: &str = "30000";
const STRACE: &str = "/usr/bin/strace";

struct Scene {
    desktop: Desktop,
    mailer: PathBuf,
    panel: PathBuf,
    theatre: Theatre,
}

impl Scene {
    /// A desktop without a gate, on which nobody has registered the panel.
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let panel = theatre.player("panel");
        let desktop = theatre.desktop();
        Some(Self {
            desktop,
            mailer,
            panel,
            theatre,
        })
    }

    /// A program has the panel start the mailer, which sends after a while. Returns the mailer.
    fn launch(&self, through: &[&str], subject: &str) -> u32 {
        let panel = self.panel.to_str().unwrap().to_owned();
        let mailer = self.mailer.to_str().unwrap().to_owned();
        let mut words: Vec<String> = through.iter().map(|word| (*word).to_owned()).collect();
        words.extend([panel, "launcher".to_owned(), mailer]);
        let more = [
            "mailer",
            "--server",
            SERVER,
            "--delay-ms",
            LATER_MS,
            "--subject",
            subject,
        ];
        words.extend(more.map(str::to_owned));
        let program = PathBuf::from(words.remove(0));
        self.desktop.launch(&program, &words).unwrap();
        let is_it = |pid: &u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let subject = subject.as_bytes();
            program.file_name() == self.mailer.file_name()
                && arguments.windows(subject.len()).any(|part| part == subject)
        };
        let all = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.find(is_it)
        };
        wait_until(LIMIT, all).expect("the mailer")
    }

    fn is_foreign(&self, pid: u32) -> bool {
        let ran = self.theatre.sekimori(&["tree", &pid.to_string(), "--json"]);
        let lines = ran.stdout.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"))
        });
        let own = lines.into_iter().find(|process| process["pid"] == pid);
        let own = own.unwrap_or_else(|| panic!("no process {pid}: {ran:?}"));
        word(&own, "origin") == "foreign"
    }

    fn register_panel(&self) -> String {
        let panel = self.panel.to_str().unwrap();
        let ran = self
            .theatre
            .sekimori(&["register", panel, "--as", "launcher"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.stdout
    }
}

/// A process that is older than the gate becomes the person's. One that the gate saw start does not.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_registered_panel_gives_back_what_it_had_started_before_the_gate() {
    let Some(scene) = Scene::open() else { return };
    let server = scene.theatre.smtp();
    let older = scene.launch(&[], "older");
    if !scene.theatre.raise() {
        return;
    }
    let newer = scene.launch(&[], "newer");
    assert!(scene.is_foreign(older) && scene.is_foreign(newer));
    let said = scene.register_panel();
    assert!(!scene.is_foreign(older), "{said}");
    assert!(scene.is_foreign(newer), "the gate saw it start: {said}");
    assert!(said.contains("running before"), "{said}");
    assert!(
        said.contains(&format!("(process {newer})")) && said.contains("start them again"),
        "{said}"
    );
    scene.theatre.wait_for("notice", |entry| {
        word(entry, "text").contains(&format!("(process {older})"))
    });
    let messages = server.wait_for_messages(1, LIMIT).unwrap();
    let text = String::from_utf8_lossy(&messages[0].content).into_owned();
    assert!(text.contains("Subject: older"), "{text}");
    scene.theatre.wait_for("refusal", |entry| {
        word(entry, "verdict") == "refuse" && entry["pid"] == newer
    });
    assert_eq!(server.messages().len(), 1);
}

/// Neither a bot further up nor a library of a user's nor a tracer is forgiven.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn nothing_is_forgiven_but_a_missing_registration() {
    if is_missing(&[STRACE, "/usr/bin/cc"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let server = scene.theatre.smtp();
    let bot = scene.theatre.player("bot");
    let bot = bot.to_str().unwrap();
    let by_bot = scene.launch(&[bot, "launcher"], "by-bot");
    let source = scene.theatre.write("spy.c", "int spy;\n");
    let library = scene.theatre.home().join("spy.so");
    let words = [
        "-shared",
        "-fPIC",
        "-o",
        library.to_str().unwrap(),
        source.to_str().unwrap(),
    ];
    scene.theatre.crew("cc", &words);
    chown(&library, Some(PERSON.0), Some(PERSON.1)).unwrap();
    let preload = format!("LD_PRELOAD={}", library.display());
    let panel = scene.panel.to_str().unwrap();
    let preloaded = scene.launch(
        &[panel, "technique", "env-exec", "--env", &preload, "--"],
        "preloaded",
    );
    let traced = scene.launch(&[], "traced");
    let clean = scene.launch(&[], "clean");
    if !scene.theatre.raise() {
        return;
    }
    let pid = traced.to_string();
    let tracer = Start::new(STRACE).args(["-p", &pid, "-o", "/dev/null"]);
    let tracer = scene.theatre.start(tracer);
    let is_traced = || {
        let status = fs::read_to_string(format!("/proc/{traced}/status")).ok()?;
        (!status.contains("TracerPid:\t0")).then_some(())
    };
    let seen = wait_until(LIMIT, is_traced);
    tracer.signal(9).unwrap();
    tracer.wait(LIMIT).unwrap();
    if seen.is_none() {
        println!("skipped: this machine lets nobody trace");
        return;
    }
    let said = scene.register_panel();
    assert!(!scene.is_foreign(clean), "{said}");
    for (what, pid) in [("bot", by_bot), ("library", preloaded), ("tracer", traced)] {
        assert!(scene.is_foreign(pid), "{what}: {said}");
    }
    server.wait_for_messages(1, LIMIT).unwrap();
    for pid in [by_bot, preloaded, traced] {
        scene.theatre.wait_for("refusal", |entry| {
            word(entry, "verdict") == "refuse" && entry["pid"] == pid
        });
    }
    assert_eq!(server.messages().len(), 1);
}
