//! A desktop under Xvfb: a window manager, a graphical mailer, a terminal emulator, and
//! somebody who presses keys.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, Options, PERSON, SERVER, Theatre, evasions, is_missing, wait_until, word};
use serde_json::Value;
use stage::{Process, SmtpServer, Start};

/// By TCP, which only the sandbox's network has: sockets and lock files in /tmp would stay.
const DISPLAY: &str = "127.0.0.1:77";

const CLAWS: &str = "/usr/bin/claws-mail";
const OPENBOX: &str = "/usr/bin/openbox";
const XVFB: &str = "/usr/bin/Xvfb";
const XDOTOOL: &str = "/usr/bin/xdotool";
const XTERM: &str = "/usr/bin/xterm";

struct Screen {
    theatre: Theatre,
    server: SmtpServer,
    bot: PathBuf,
    _display: Process,
}

impl Screen {
    /// A display and registered programs, guarded.
    fn open() -> Option<Self> {
        Self::open_with(&Options::default())
    }

    fn open_with(options: &Options) -> Option<Self> {
        if is_missing(&[CLAWS, OPENBOX, XVFB, XDOTOOL]) {
            return None;
        }
        let theatre = Theatre::open_with(options)?;
        theatre.register_as(Path::new(OPENBOX), "session", None);
        theatre.register_as(Path::new(CLAWS), "mailer", Some("interactive"));
        let server = theatre.smtp();
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        // Only root may do without a lock file.
        let display = Start::new(XVFB)
            .args([":77", "-screen", "0", "1024x768x24", "-ac", "-nolock"])
            // Else it begins anew when its last client leaves, and throws out who comes just then.
            .arg("-noreset")
            .args(["-nolisten", "unix", "-nolisten", "local", "-listen", "tcp"]);
        let display = theatre.sandbox().start(&display).unwrap();
        let listens = || {
            let connect = || std::net::TcpStream::connect("127.0.0.1:6077").is_ok();
            theatre.sandbox().run_inside(connect).unwrap().then_some(())
        };
        wait_until(LIMIT, listens).unwrap_or_else(|| panic!("no display: {}", display.stderr()));
        Some(Self {
            theatre,
            server,
            bot,
            _display: display,
        })
    }

    fn on_display(&self, start: Start) -> Process {
        let start = start
            .env("DISPLAY", DISPLAY)
            .env("SHELL", "/bin/bash")
            .env("NO_AT_BRIDGE", "1")
            .env("GSETTINGS_BACKEND", "memory")
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        self.theatre.start(start.directory(self.theatre.home()))
    }

    /// Starts the window manager, which starts the program.
    fn session(&self, command: &str) -> Process {
        self.on_display(Start::new(OPENBOX).args(["--startup", command]))
    }

    /// What the person does. Waits until it is done.
    fn keys(&self, words: &[&str]) -> String {
        let done = self
            .on_display(Start::new(XDOTOOL).args(words))
            .output(LIMIT);
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"))
            .stdout
    }

    /// Waits for a window and gives it the keyboard.
    fn window(&self, name: &str) {
        let found = wait_until(LIMIT, || {
            let windows = self.keys(&["search", "--onlyvisible", "--name", name]);
            windows.lines().next().map(str::to_owned)
        });
        let window = found.unwrap_or_else(|| {
            let all = self.keys(&[
                "search",
                "--onlyvisible",
                "--name",
                "",
                "getwindowname",
                "%@",
            ]);
            panic!("no window {name} among {all:?}")
        });
        self.keys(&["windowactivate", "--sync", &window]);
    }

    /// Files of an account in Claws Mail, and a message that is to be sent.
    fn claws_command(&self) -> String {
        let home = self.theatre.home();
        let (settings, mail) = (home.join("claws"), home.join("Mail"));
        let account = "[Account: 1]\naccount_name=alice\nis_default=1\nname=Alice\naddress=alice@example.org\n\
                       protocol=0\nsmtp_server=127.0.0.1\nuse_smtp_auth=0\nssl_smtp=0\n";
        let boxes = [
            ("inbox", "inbox"),
            ("outbox", "sent"),
            ("draft", "draft"),
            ("queue", "queue"),
            ("trash", "trash"),
        ];
        let items: String = boxes
            .iter()
            .map(|(kind, name)| {
                format!("<folderitem type=\"{kind}\" name=\"{name}\" path=\"{name}\" />\n")
            })
            .collect();
        let folders = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<folderlist>\n\
             <folder type=\"mh\" name=\"Mail\" path=\"{}\" collapsed=\"0\" sort=\"0\">\n{items}</folder>\n</folderlist>\n",
            mail.display()
        );
        let message = "From: alice@example.org\nTo: bob@example.net\nSubject: By claws\n\nHello.\n";
        let folder_names = boxes.iter().map(|(_, name)| mail.join(name));
        for folder in [settings.clone(), mail.clone()]
            .into_iter()
            .chain(folder_names)
        {
            fs::create_dir(&folder).unwrap();
            chown(&folder, Some(PERSON.0), Some(PERSON.1)).unwrap();
        }
        let files = [
            ("claws/accountrc", account),
            (
                "claws/clawsrc",
                "[Common]\nconfig_version=4\nenable_aspell=0\n",
            ),
            ("claws/folderlist.xml", &folders),
            ("message", message),
        ];
        for (name, text) in files {
            let path = self.theatre.write(&format!("home/{name}"), text);
            chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
        }
        format!(
            "{CLAWS} --alternate-config-dir {} --compose-from-file {}",
            settings.display(),
            home.join("message").display()
        )
    }

    fn refusal(&self) -> Value {
        self.theatre
            .wait_for("refusal", |entry| word(entry, "verdict") == "refuse")
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_graphical_mailer_of_the_desktop_delivers() {
    let Some(screen) = Screen::open() else { return };
    let command = screen.claws_command();
    let _session = screen.session(&command);
    screen.window("By claws");
    screen.keys(&["key", "ctrl+Return"]);
    let messages = screen.server.wait_for_messages(1, LIMIT).unwrap();
    assert_eq!(messages[0].to, ["bob@example.net"]);
    assert!(String::from_utf8_lossy(&messages[0].content).contains("Subject: By claws"));
    let verdict = screen
        .theatre
        .wait_for("verdict", |entry| word(entry, "verdict") == "allow");
    assert_eq!(
        (word(&verdict, "program"), word(&verdict, "origin")),
        (CLAWS, "user"),
        "{verdict}"
    );
    screen
        .theatre
        .wait_for("grant closed", |entry| entry["event"] == "closed");
    assert!(
        screen
            .theatre
            .log()
            .iter()
            .all(|entry| entry["type"] != "finding")
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_graphical_mailer_that_a_bot_starts_does_not() {
    let Some(screen) = Screen::open() else { return };
    let command = format!(
        "{} launcher {}",
        screen.bot.display(),
        screen.claws_command()
    );
    let _session = screen.session(&command);
    screen.window("By claws");
    screen.keys(&["key", "ctrl+Return"]);
    let refusal = screen.refusal();
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    assert_eq!(refusal["program"], CLAWS, "{refusal}");
    let bytes = screen.server.payload_bytes();
    evasions::refused("graphical", bytes, &refusal, &screen.bot);
    assert_eq!(screen.server.connection_count(), 0);
}

/// A terminal emulator on the desktop, a shell in its window, and the person types.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_is_typed_into_a_window_is_the_users() {
    if is_missing(&[XTERM]) {
        return;
    }
    let Some(screen) = Screen::open() else { return };
    screen
        .theatre
        .register_as(Path::new(XTERM), "launcher", None);
    screen
        .theatre
        .register_as(Path::new("/bin/bash"), "shell", None);
    let batch = screen.theatre.registered("batch", "mailer", Some("batch"));
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let _session = screen.session(&format!("{XTERM} -T typed-here"));
    screen.window("typed-here");
    // The shell may not read yet; the terminal keeps what is typed.
    screen.keys(&["type", "--delay", "2", &format!("{send}\n")]);
    assert_eq!(
        screen.server.wait_for_messages(1, LIMIT).unwrap().len(),
        1,
        "{}",
        screen.theatre.daemon_words()
    );
    let verdict = screen
        .theatre
        .wait_for("verdict", |entry| word(entry, "verdict") == "allow");
    assert_eq!(verdict["program"], batch.to_str().unwrap(), "{verdict}");

    // The same terminal told what to run: nobody typed that.
    let before = screen.theatre.newest();
    screen.keys(&["type", "--delay", "2", &format!("{XTERM} -e {send}\n")]);
    let refusal = screen.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["reason"], "indirect-start", "{refusal}");
    let more = evasions::beyond(&screen.server, 1);
    // The terminal stands between, and the person typed its name.
    evasions::stopped("terminal-e", more, word(&refusal, "reason"));
    let before = screen.theatre.newest();
    screen.keys(&[
        "type",
        "--delay",
        "2",
        &format!("{XTERM} -e /bin/bash -c '{send}'\n"),
    ]);
    let refusal = screen.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    let shell = fs::canonicalize("/bin/bash").unwrap();
    let more = evasions::beyond(&screen.server, 1);
    evasions::refused("terminal-e-shell", more, &refusal, shell);
    assert_eq!(screen.server.connection_count(), 1);
}

/// A program that types into the user's terminal: by the display, and by the very descriptor
/// that the terminal emulator holds.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn typing_into_the_users_window() {
    if is_missing(&[XTERM]) {
        return;
    }
    let options = Options {
        config: "call_watch = \"on\"".to_owned(),
        ..Options::default()
    };
    let Some(screen) = Screen::open_with(&options) else {
        return;
    };
    let theatre = &screen.theatre;
    theatre.register_as(Path::new(XTERM), "launcher", None);
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    let batch = theatre.registered("batch", "mailer", Some("batch"));
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let _session = screen.session(&format!("{XTERM} -T typed-here"));
    screen.window("typed-here");
    let bot = screen.bot.to_str().unwrap();
    let by_display = [
        "launcher",
        XDOTOOL,
        "type",
        "--delay",
        "2",
        &format!("{send}\n"),
    ];
    let pid = screen.keys(&["search", "--name", "typed-here", "getwindowpid"]);
    let by_descriptor = [
        "technique",
        "pidfd-terminal",
        "--pid",
        pid.trim(),
        "--text",
        &send,
    ];
    for (row, words) in [("xdotool", by_display), ("pidfd-terminal", by_descriptor)] {
        let before = screen.server.messages().len();
        let bytes = screen.server.payload_bytes();
        let ran = screen.on_display(Start::new(bot).args(words));
        let ran = ran.output(LIMIT).unwrap();
        let sent = screen.server.wait_for_messages(before + 1, LIMIT);
        sent.unwrap_or_else(|error| panic!("{row}: {error}: {ran:?}"));
        let bytes = screen.server.payload_bytes() - bytes;
        evasions::got_through(row, bytes, None, bot);
    }
    // Who took the descriptor is told of.
    screen.theatre.wait_for("notice", |entry| {
        entry["type"] == "notice" && entry["program"] == bot
    });
}
