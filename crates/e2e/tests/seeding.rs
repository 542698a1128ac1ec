//! Processes that are older than the gate: who was tampered with before, and who was not.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Theatre, evasions, wait_until, word};
use stage::{Desktop, SmtpServer};

/// A library that does nothing, or that removes itself from the environment that /proc shows.
const LIBRARY: &str = r#"
#include <string.h>
extern char **environ;
__attribute__((constructor)) static void begin(void) {
    if (!CLEANS)
        return;
    for (char **variable = environ; *variable; variable++)
        if (!strncmp(*variable, "LD_PRELOAD=", 11))
            memset(*variable, 'x', strlen(*variable));
}
"#;

/// A desktop that is older than the gate, which is not there yet.
struct Scene {
    server: SmtpServer,
    desktop: Desktop,
    mailer: PathBuf,
    panel: PathBuf,
    launched: Cell<u32>,
    theatre: Theatre,
}

/// A mailer that was started through the panel.
struct Launched {
    mailer: u32,
    /// The mailer sends when this file is there.
    signal: PathBuf,
}

impl Launched {
    fn send(&self) {
        fs::write(&self.signal, "").unwrap();
    }
}

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let server = theatre.smtp();
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let panel = theatre.registered("panel", "launcher", None);
        let desktop = theatre.desktop();
        Some(Self {
            server,
            desktop,
            mailer,
            panel,
            launched: Cell::new(0),
            theatre,
        })
    }

    /// A library of the person's own.
    fn library(&self, name: &str, cleans: bool) -> PathBuf {
        let source = self.theatre.write(&format!("{name}.c"), LIBRARY);
        let library = self.theatre.home().join(format!("{name}.so"));
        let (source, to) = (source.to_str().unwrap(), library.to_str().unwrap());
        let cleans = format!("-DCLEANS={}", u8::from(cleans));
        self.theatre
            .crew("cc", &["-shared", "-fPIC", &cleans, "-o", to, source]);
        chown(&library, Some(PERSON.0), Some(PERSON.1)).unwrap();
        library
    }

    /// The panel has the mailer started with a variable. The mailer sends when it is told to.
    fn launch(&self, variable: &str) -> Launched {
        let signal = self.theatre.home().join(format!(
            "send-{}",
            self.launched.replace(self.launched.get() + 1)
        ));
        let mailer = self.mailer.to_str().unwrap();
        let words = ["technique", "env-exec", "--env", variable, "--", mailer];
        let words = words.into_iter().chain(["mailer", "--server", SERVER]);
        let words = words.chain(["--wait-for", signal.to_str().unwrap()]);
        let started = self.desktop.launch(&self.panel, words).unwrap();
        let is_mailer = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program.file_name() == self.mailer.file_name()
        };
        let runs = || {
            let children = fs::read_to_string(format!("/proc/{started}/task/{started}/children"));
            let children = children.unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok());
            [started].into_iter().chain(children).find(is_mailer)
        };
        let mailer = wait_until(LIMIT, runs).expect("the mailer");
        Launched { mailer, signal }
    }

    /// The mailer with this library was there before the gate, and may not send.
    fn is_refused(&self, row: &str, launched: &Launched, why: &str) {
        let refusal = self.theatre.wait_for("refusal", |entry| {
            word(entry, "verdict") == "refuse" && entry["pid"] == launched.mailer
        });
        assert_eq!(refusal["origin"], "foreign", "{refusal}");
        assert!(
            refusal["tampered"].to_string().contains("loaded code"),
            "{refusal}"
        );
        let bytes = self.server.payload_bytes();
        evasions::refused(row, bytes, &refusal, &self.mailer);
        let about = format!("(process {})", launched.mailer);
        let notice = self.theatre.wait_for("notice", |entry| {
            word(entry, "type") == "notice" && word(entry, "text").contains(&about)
        });
        let text = word(&notice, "text");
        assert!(
            text.contains(why) && text.contains("start it again"),
            "{text}"
        );
        let id = refusal["id"].as_u64().unwrap().to_string();
        let explained = self.theatre.sekimori(&["explain", &id]).stdout;
        assert!(explained.contains("start it again"), "{explained}");
    }

    fn row(tree: &str, pid: u32) -> &str {
        let pid = format!("pid {pid} ");
        tree.lines()
            .find(|line| line.contains(&pid))
            .unwrap_or_default()
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_that_was_preloaded_before_the_gate_is_refused() {
    let Some(scene) = Scene::open() else { return };
    let shown = scene.library("shown", false);
    let hidden = scene.library("hidden", true);
    let preload = |library: &Path| format!("LD_PRELOAD={}", library.display());
    let (shown, hidden) = (
        scene.launch(&preload(&shown)),
        scene.launch(&preload(&hidden)),
    );
    // The same way without a library: an honest person who was there before the gate.
    let honest = scene.launch("LANG=C");
    let environment = fs::read(format!("/proc/{}/environ", hidden.mailer)).unwrap();
    let has_name = environment.windows(10).any(|name| name == b"LD_PRELOAD");
    assert!(!has_name, "the library does not hide");
    if !scene.theatre.raise() {
        return;
    }
    let tree = scene.theatre.sekimori(&["tree"]).stdout;
    for pid in [shown.mailer, hidden.mailer] {
        let row = Scene::row(&tree, pid);
        assert!(
            row.contains("foreign") && row.contains("signs of tampering"),
            "{tree}"
        );
    }
    assert!(
        !Scene::row(&tree, honest.mailer).contains("foreign"),
        "{tree}"
    );
    let status = scene.theatre.status();
    assert!(
        status["processes"]["foreign_until_started_anew"].as_u64() >= Some(2),
        "{status}"
    );
    shown.send();
    hidden.send();
    scene.is_refused("seeded-preload", &shown, "LD_PRELOAD is set");
    scene.is_refused("seeded-rewritten", &hidden, "hidden.so");
    honest.send();
    let sent = || (scene.server.messages().len() == 1).then_some(());
    wait_until(LIMIT, sent).expect("the honest mailer's message");
    let allowed = scene.theatre.wait_for("permitted connection", |entry| {
        word(entry, "verdict") == "allow"
    });
    assert_eq!(allowed["pid"], honest.mailer, "{allowed}");
    // Started again, without the library, it is the person's.
    let words = ["mailer", "--server", SERVER];
    assert!(
        scene
            .desktop
            .run(&scene.mailer, words, LIMIT)
            .unwrap()
            .success()
    );
}
