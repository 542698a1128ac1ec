//! First steps on a machine: observe, learn, close; and what the doctor finds in a session of real programs.

use std::path::{Path, PathBuf};

use e2e::{LIMIT, SERVER, Theatre, is_missing, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Process, SmtpServer, Start};

/// By TCP, which only the sandbox's network has.
const DISPLAY: &str = "127.0.0.1:78";
const XVFB: &str = "/usr/bin/Xvfb";
const OPENBOX: &str = "/usr/bin/openbox";
const PYTHON: &str = "/usr/bin/python3";
/// Longer than the gate takes to load and the doctor to look around.
const LATER_MS: &str = "45000";

struct Screen {
    theatre: Theatre,
    server: SmtpServer,
    mailer: PathBuf,
    _display: Process,
}

impl Screen {
    /// A display without a gate. The mailer is registered, and the window manager is not.
    fn open() -> Option<Self> {
        if is_missing(&[XVFB, OPENBOX, PYTHON]) {
            return None;
        }
        let theatre = Theatre::open()?;
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let server = theatre.smtp();
        let display = Start::new(XVFB)
            .args([
                ":78",
                "-screen",
                "0",
                "640x480x24",
                "-ac",
                "-nolock",
                "-noreset",
            ])
            .args(["-nolisten", "unix", "-nolisten", "local", "-listen", "tcp"]);
        let display = theatre.sandbox().start(&display).unwrap();
        let listens = || {
            let connect = || std::net::TcpStream::connect("127.0.0.1:6078").is_ok();
            theatre.sandbox().run_inside(connect).unwrap().then_some(())
        };
        wait_until(LIMIT, listens).unwrap_or_else(|| panic!("no display: {}", display.stderr()));
        Some(Self {
            theatre,
            server,
            mailer,
            _display: display,
        })
    }

    /// A window manager that starts the mailer, which sends after a while.
    fn session(&self, delay_ms: &str) -> Process {
        let command = format!(
            "{} mailer --server {SERVER} --delay-ms {delay_ms}",
            self.mailer.display()
        );
        let start = Start::new(OPENBOX)
            .args(["--replace", "--startup", &command])
            .env("DISPLAY", DISPLAY)
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        self.theatre.start(start.directory(self.theatre.home()))
    }

    fn json(&self, words: &[&str]) -> (i32, Vec<Value>) {
        let ran = self.theatre.sekimori(words);
        let lines = ran.stdout.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}: {}", ran.stderr))
        });
        (ran.status, lines.collect())
    }

    fn is_registered(&self, path: &str) -> bool {
        let (_, programs) = self.json(&["programs", "--json"]);
        programs.iter().any(|program| program["path"] == path)
    }
}

fn offer_of<'a>(lines: &'a [Value], path: &str) -> Option<(&'a Value, &'a Value)> {
    lines.iter().find_map(|finding| {
        let offers = finding["offers"].as_array()?;
        let offer = offers.iter().find(|offer| offer["path"] == path)?;
        Some((finding, offer))
    })
}

/// A session that is older than the gate, whose window manager nobody has registered.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_doctor_finds_what_a_session_lacks_and_settles_it() {
    let Some(screen) = Screen::open() else { return };
    let _session = screen.session(LATER_MS);
    // An interpreter starts a mailer too.
    let call = format!(
        "import subprocess; subprocess.run([{:?}, 'mailer', '--server', {SERVER:?}, '--delay-ms', '90000'])",
        screen.mailer.to_str().unwrap()
    );
    let desktop = screen.theatre.desktop();
    desktop.launch(Path::new(PYTHON), ["-c", &call]).unwrap();
    if !screen.theatre.raise() {
        return;
    }
    let (status, lines) = screen.json(&["doctor", "--json"]);
    assert_eq!(status, 1, "{lines:?}");
    let (finding, offer) = offer_of(&lines, OPENBOX).unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(
        (word(finding, "check"), word(offer, "role")),
        ("starter", "session")
    );
    assert!(word(finding, "text").contains("mailer"), "{finding}");
    assert_eq!(offer["registered"], false);
    let explained = |text: &str| {
        lines.iter().any(|finding| {
            word(finding, "text").contains(text)
                && finding["offers"].as_array().is_some_and(Vec::is_empty)
                && word(finding, "next").contains("Not offered: ")
        })
    };
    assert!(explained("python3"), "{lines:#?}");
    assert!(!screen.is_registered(OPENBOX), "nobody said yes");
    // Without a terminal nobody can be asked.
    let ran = screen.theatre.sekimori(&["doctor"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stdout
            .contains("sudo sekimori register /usr/bin/openbox --as session"),
        "{ran:?}"
    );

    let ran = screen.theatre.sekimori(&["doctor", "--yes"]);
    assert!(
        ran.stdout
            .contains("registered /usr/bin/openbox as session"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("running before"), "{ran:?}");
    let (_, programs) = screen.json(&["programs", "--json"]);
    assert!(
        !programs
            .iter()
            .any(|program| word(program, "path").contains("python")),
        "{programs:?}"
    );
    let (_, lines) = screen.json(&["doctor", "--json"]);
    assert!(offer_of(&lines, OPENBOX).is_none(), "{lines:#?}");
    // The mailer was running all the time.
    screen.server.wait_for_messages(1, LIMIT).unwrap();
}

/// Setup on a desktop that runs already: nobody has to log in again.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn setup_alone_gives_a_running_session_its_mailers() {
    let Some(screen) = Screen::open() else { return };
    let _session = screen.session(LATER_MS);
    if !screen.theatre.raise() {
        return;
    }
    let ran = screen.theatre.sekimori(&["setup", "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("running before"), "{ran:?}");
    let mailers = [
        "/usr/bin/claws-mail",
        "/usr/bin/sylpheed",
        "/usr/bin/mutt",
        "/usr/bin/msmtp",
    ];
    let there = mailers.into_iter().filter(|path| Path::new(path).exists());
    for path in there.chain([OPENBOX]) {
        assert!(screen.is_registered(path), "{path}: {ran:?}");
    }
    assert!(!screen.is_registered(PYTHON));
    screen.server.wait_for_messages(1, LIMIT).unwrap();
    let allowed = screen
        .theatre
        .wait_for("verdict", |entry| word(entry, "verdict") == "allow");
    assert_eq!(
        allowed["program"],
        screen.mailer.to_str().unwrap(),
        "{allowed}"
    );
    // Once more, it finds nothing that it could register itself.
    let ran = screen.theatre.sekimori(&["setup", "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// The person's own variables in a session's shell.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_doctor_names_the_variable_that_spoils_a_session() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let library = theatre.home().join("spy.so");
    let session = theatre.registered("desktop", "session", None);
    if !theatre.raise() {
        return;
    }
    let start = Start::new(&session)
        .arg("desktop")
        .env("LD_PRELOAD", &library);
    let _session = theatre.start(start.input_pipe());
    // The loader complains of the library, and goes on without it.
    let ran = theatre.sekimori(&["doctor", "--json"]);
    let found = ran.stdout.lines().any(|line| {
        line.contains("\"check\":\"variable\"") && line.contains(&*library.to_string_lossy())
    });
    assert!(found, "{ran:?}");
}

/// `observe` first, then what was seen, then closed: and so it stays.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn observing_teaches_what_to_register_and_enforce_closes() {
    let Some(screen) = Screen::open() else { return };
    let theatre = &screen.theatre;
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let ran = theatre.sekimori(&["observe"]);
    assert_eq!((ran.status, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    assert_eq!(theatre.status()["gate"], "observing");
    let _first = screen.session("0");
    screen.server.wait_for_messages(1, LIMIT).unwrap();
    let desktop = theatre.desktop();
    let mailer = screen.mailer.to_str().unwrap();
    let by_bot = ["launcher", mailer, "mailer", "--server", SERVER];
    assert!(desktop.run(&bot, by_bot, LIMIT).unwrap().success());
    theatre.wait_for("the bot's refusal", |entry| {
        word(entry, "verdict") == "refuse" && entry["culprit"] == bot.to_str().unwrap()
    });

    // The mode is kept.
    theatre.end_daemon(Signal::TERM);
    assert!(theatre.raise());
    assert_eq!(theatre.status()["gate"], "observing");

    let (status, lines) = screen.json(&["learn", "--json"]);
    assert_eq!(status, 0);
    let proposal = lines.iter().find(|line| line["path"] == OPENBOX);
    let proposal = proposal.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(
        (
            word(proposal, "type"),
            word(proposal, "role"),
            proposal["count"].as_u64()
        ),
        ("proposal", "session", Some(1)),
        "{proposal}"
    );
    assert!(
        proposal["chains"][0]
            .as_str()
            .is_some_and(|chain| chain.contains("openbox → mailer"))
    );
    let left = lines
        .iter()
        .find(|line| line["program"] == bot.to_str().unwrap());
    let left = left.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(word(left, "type"), "not-proposed");
    assert!(word(left, "why").contains("temporary"), "{left}");
    let (_, nothing) = screen.json(&["learn", "--json", "--since", "2099-01-01T00:00:00Z"]);
    assert_eq!(nothing.len(), 1, "{nothing:?}");
    assert!(!screen.is_registered(OPENBOX));

    let ran = theatre.sekimori(&["learn", "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(screen.is_registered(OPENBOX), "{ran:?}");
    assert!(!screen.is_registered(bot.to_str().unwrap()));
    let ran = theatre.sekimori(&["enforce"]);
    assert_eq!((ran.status, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    assert_eq!(theatre.status()["gate"], "closed");

    let _session = screen.session("0");
    screen.server.wait_for_messages(3, LIMIT).unwrap();
    assert!(!desktop.run(&bot, by_bot, LIMIT).unwrap().success());
    theatre.end_daemon(Signal::TERM);
    assert!(theatre.raise());
    assert_eq!(theatre.status()["gate"], "closed");
    assert!(!desktop.run(&bot, by_bot, LIMIT).unwrap().success());
    assert_eq!(screen.server.messages().len(), 3);
    let (_, lines) = screen.json(&["learn", "--json"]);
    assert!(
        !lines.iter().any(|line| line["path"] == OPENBOX),
        "settled: {lines:#?}"
    );
}

/// Only root changes the mode; and nothing is made where no gate is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn only_root_opens_the_gate() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    for words in [["observe"], ["enforce"], ["doctor"], ["learn"]] {
        let ran = theatre.sekimori_as(&words, Some(e2e::PERSON));
        assert_eq!(ran.status, 3, "{words:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    assert_eq!(theatre.status()["gate"], "closed");
}
