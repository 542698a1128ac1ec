//! Presence: a shell starts no batch mailer before a person has pressed Enter in its terminal. When an
//! interactive mailer sends while nobody is there, the gate reports or refuses it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{
    LIMIT, PERSON, SERVER, Scene, Terminal, Theatre, evasions, is_missing, wait_until, word,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Pty, SmtpServer, Start};

const BASH: &str = "/bin/bash";
const MSMTP: &str = "/usr/bin/msmtp";

/// A person with a batch mailer, whose start-up files a bot has written.
struct Home {
    server: SmtpServer,
    /// The line that sends.
    send: String,
    bot: PathBuf,
    theatre: Theatre,
}

impl Home {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let server = theatre.smtp();
        for shell in [BASH, "/bin/dash"] {
            theatre.register_as(Path::new(shell), "shell", None);
        }
        let batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        if theatre.status()["presence"]["typing_is_seen"] != true {
            println!("skipped: this kernel does not tell what was typed");
            return None;
        }
        Some(Self {
            server,
            send: format!("{} mailer --server {SERVER}", batch.display()),
            bot,
            theatre,
        })
    }

    /// A start-up file of the person's.
    fn plant(&self, name: &str, lines: &str) {
        let text = format!("PS1='{}'\n{lines}\n", Terminal::PROMPT);
        let path = self.theatre.write(&format!("home/{name}"), &text);
        chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
    }

    /// Starts a shell on a new terminal, and does not wait for its prompt.
    fn shell(&self, words: &[&str]) -> Pty {
        let start = Start::new(BASH).args(words.iter().copied());
        let start = self.theatre.person(start).directory(self.theatre.home());
        self.theatre.sandbox().start_on_pty(&start).unwrap()
    }

    fn refusal_after(&self, before: u64, what: &str) -> Value {
        self.theatre
            .wait_after(before, what, |entry| word(entry, "verdict") == "refuse")
    }

    /// What was planted is refused before the prompt comes.
    fn is_stopped(&self, row: &str, before: u64) {
        let refusal = self.refusal_after(before, row);
        assert_eq!(refusal["reason"], "needs-typing", "{row}: {refusal}");
        evasions::stopped(row, self.server.payload_bytes(), "needs-typing");
    }

    /// The person's mail arrives.
    fn arrives(&self, what: &str, messages: usize, shown: impl Fn() -> String) {
        let there = || (self.server.messages().len() >= messages).then_some(());
        wait_until(LIMIT, there).unwrap_or_else(|| panic!("{what}: {}", shown()));
    }
}

/// Whatever a start-up file does at its prompt, before anybody has typed.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_start_up_file_starts_no_mailer() {
    let Some(home) = Home::open() else { return };
    let send = &home.send;
    for (row, file, words, lines) in [
        (
            "start-up-mailer-profile",
            ".bash_profile",
            &["-l"][..],
            send.clone(),
        ),
        (
            "start-up-background",
            ".bashrc",
            &[],
            format!("(sleep 4; {send}) &"),
        ),
        (
            "start-up-prompt",
            ".bashrc",
            &[],
            format!("PROMPT_COMMAND='{send}'"),
        ),
        ("start-up-exec", ".bashrc", &[], format!("exec {send}")),
        // A flush has the kernel count from zero again.
        (
            "start-up-flush",
            ".bashrc",
            &[],
            format!("python3 -c 'import termios; termios.tcflush(0, termios.TCIFLUSH)'; {send}"),
        ),
    ] {
        home.plant(file, &lines);
        let before = home.theatre.newest();
        let shell = home.shell(words);
        if row == "start-up-background" {
            // What was started before does not gain by what is typed later.
            shell.read_until(Terminal::PROMPT, LIMIT).unwrap();
            shell.type_line("true").unwrap();
        }
        home.is_stopped(row, before);
        drop(shell);
    }
}

/// The kernel cannot tell a command that the shell runs after each prompt from one that its user typed.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_a_start_up_file_does_later() {
    let Some(home) = Home::open() else { return };
    home.plant(
        ".bashrc",
        &format!("PROMPT_COMMAND='{} > /dev/null 2>&1'", home.send),
    );
    let terminal = home.theatre.terminal();
    terminal.run("true");
    home.arrives("typed", 1, || terminal.screen());
    let bytes = home.server.payload_bytes();
    evasions::got_through("start-up-after-typing", bytes, None, &home.bot);
}

/// A shell below a shell: what was typed before it began is no wish of the person's.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_nested_shell_waits_for_its_own_typing() {
    let Some(home) = Home::open() else { return };
    home.plant(".bashrc", "");
    let terminal = home.theatre.terminal();
    assert_eq!(terminal.run("true"), 0);
    home.plant(".bashrc", &home.send);
    let before = home.theatre.newest();
    terminal.pty().type_line(BASH).unwrap();
    terminal.pty().read_until("/bin/bash\r\n", LIMIT).unwrap();
    home.is_stopped("start-up-nested", before);
    terminal.pty().read_until(Terminal::PROMPT, LIMIT).unwrap();
    // Typed in the nested shell it is one.
    assert_eq!(terminal.run(&home.send), 0);
    home.arrives("nested", 1, || terminal.screen());
}

/// A terminal answers as if somebody typed, but it does not press Enter.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_terminals_answer_is_no_typing() {
    let Some(home) = Home::open() else { return };
    let asks = format!("printf '\\e[6n\\e[c'; read -rsd c -t 20 x; {}", home.send);
    home.plant(".bashrc", &asks);
    let before = home.theatre.newest();
    let shell = home.shell(&[]);
    shell.read_until("\x1b[c", LIMIT).unwrap();
    shell.type_keys(b"\x1b[1;1R\x1b[?64;1;2c").unwrap();
    home.is_stopped("start-up-query", before);
    shell.read_until(Terminal::PROMPT, LIMIT).unwrap();
}

/// A program that puts input into the terminal (TIOCSTI) does not count as a person who types, also when
/// the terminal has answered a query before.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_program_that_types_is_no_person() {
    let Some(home) = Home::open() else { return };
    let stuff = format!("{} technique tiocsti --text true", home.bot.display());
    let ask = "printf '\\e[6n'; read -rsd R -t 20 x";
    for (row, before, answer) in [
        ("start-up-tiocsti", "true", None),
        ("start-up-tiocsti-query", ask, Some(b"\x1b[24;80R")),
    ] {
        home.plant(
            ".bashrc",
            &format!("{before}; {stuff} && {} || echo for''bidden", home.send),
        );
        let newest = home.theatre.newest();
        let shell = home.shell(&[]);
        if let Some(answer) = answer {
            shell.read_until("\x1b[6n", LIMIT).unwrap();
            shell.type_keys(answer).unwrap();
        }
        let shown = shell.read_until(Terminal::PROMPT, LIMIT).unwrap();
        if shown.contains("forbidden") && !has_refusal(&home, newest) {
            println!("skipped: this kernel forbids it (dev.tty.legacy_tiocsti)");
            return;
        }
        home.is_stopped(row, newest);
        // Who types in that terminal may send.
        shell.type_line(&"x".repeat(20)).unwrap();
        shell.read_until(Terminal::PROMPT, LIMIT).unwrap();
    }
}

fn has_refusal(home: &Home, before: u64) -> bool {
    let newer = |entry: &Value| entry["id"].as_u64() > Some(before);
    let log = home.theatre.log();
    log.iter()
        .any(|entry| newer(entry) && word(entry, "verdict") == "refuse")
}

/// People who type get what they typed, whatever shell it is and however soon.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_types_may_send() {
    let Some(home) = Home::open() else { return };
    let send = &home.send;
    home.plant(".bashrc", "");
    // The first thing that is typed, and what comes behind it.
    let terminal = home.theatre.terminal();
    assert_eq!(terminal.run(send), 0, "{}", terminal.screen());
    assert_eq!(terminal.run(&format!("(sleep 1; {send})")), 0);
    assert_eq!(terminal.run(&format!("{send} & wait $!")), 0);
    // Another shell in the place of this one.
    terminal.pty().type_line("exec /bin/bash").unwrap();
    terminal.pty().read_until("/bin/bash\r\n", LIMIT).unwrap();
    terminal.pty().read_until(Terminal::PROMPT, LIMIT).unwrap();
    terminal.pty().type_line(&format!("exec {send}")).unwrap();
    home.arrives("exec", 4, || terminal.screen());
}

/// Somebody who does not wait for the prompt, and a shell without line editing.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_types_ahead_may_send() {
    let Some(home) = Home::open() else { return };
    home.plant(".bashrc", "echo be''gun; sleep 2");
    let shell = home.shell(&[]);
    shell.read_until("begun", LIMIT).unwrap();
    shell.type_line(&home.send).unwrap();
    home.arrives("typed ahead", 1, || shell.screen());
    let start = home
        .theatre
        .person(Start::new("/bin/dash"))
        .env("PS1", "dash> ");
    let shell = home.theatre.sandbox().start_on_pty(&start).unwrap();
    shell.read_until("dash> ", LIMIT).unwrap();
    shell.type_line(&home.send).unwrap();
    home.arrives("dash", 2, || shell.screen());
}

/// The same with a real mailer, directly and as sendmail.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn msmtp_in_a_start_up_file() {
    if is_missing(&[MSMTP]) {
        return;
    }
    let Some(home) = Home::open() else { return };
    home.theatre
        .register_as(Path::new(MSMTP), "mailer", Some("batch"));
    let line = format!(
        "printf 'Subject: x\\n\\nx\\n' | {MSMTP} --file=/dev/null --host=127.0.0.1 --port=25 --tls=off --auth=off \
         --from=a@example.org b@example.net"
    );
    home.plant(".bashrc", &line);
    let before = home.theatre.newest();
    let terminal = home.theatre.terminal();
    home.is_stopped("start-up-msmtp", before);
    assert_eq!(terminal.run(&line), 0, "{}", terminal.screen());
    home.arrives("msmtp", 1, || terminal.screen());
    drop(terminal);

    // What takes mail is ended before its first instruction.
    let submitter = home.theatre.registered("sendmail", "submitter", None);
    let queue = home.theatre.home().join("queue");
    let line = format!("{} submit --spool {}", submitter.display(), queue.display());
    home.plant(".bashrc", &line);
    let before = home.theatre.newest();
    let terminal = home.theatre.terminal();
    let refusal = home.refusal_after(before, "sendmail");
    assert_eq!(refusal["judged"], "submit", "{refusal}");
    assert_eq!(refusal["reason"], "needs-typing", "{refusal}");
    let queued = fs::metadata(&queue).map_or(0, |file| file.len());
    evasions::stopped("start-up-sendmail", queued, "needs-typing");
    assert_eq!(terminal.run(&line), 0, "{}", terminal.screen());
    assert!(fs::metadata(&queue).unwrap().len() > 0);
}

/// A session of logind's, in the sandbox's own `/run`.
fn session(theatre: &Theatre, lines: &str) {
    let text = format!(
        "# This is private data.\nUID={}\nCLASS=user\n{lines}",
        PERSON.0
    );
    let file = theatre.write("session", &text);
    theatre.crew("mkdir", &["-p", "/run/systemd/sessions"]);
    let file = file.to_str().unwrap();
    theatre.crew(
        "install",
        &["-m", "0644", file, "/run/systemd/sessions/.new"],
    );
    theatre.crew(
        "mv",
        &["/run/systemd/sessions/.new", "/run/systemd/sessions/1"],
    );
}

const AT_THE_SEAT: &str = "SEAT=seat0\nTYPE=wayland\nACTIVE=1\n";
/// Longer than `presence_seconds` in these tests.
const AWAY: Duration = Duration::from_secs(7);

/// A keyboard that a test plays.
struct Keyboard(File);

impl Keyboard {
    const NAME: &str = "event0";

    fn plugged_into(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(Self::NAME);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let file = File::options().read(true).write(true).open(path);
        Self(file.unwrap())
    }

    /// Somebody presses a key, and the daemon sees it.
    fn press(&mut self, scene: &Scene) {
        let seen = || {
            let ago = scene.theatre.status()["presence"]["input_seconds_ago"].as_u64();
            (ago < Some(2)).then_some(())
        };
        self.0.write_all(b"k").unwrap();
        wait_until(LIMIT, seen).expect("a key that is seen");
        self.0.read_exact(&mut [0]).unwrap();
    }
}

/// A person at the seat, who goes away.
fn seat(rule: &str, kind: &str) -> Option<(Scene, PathBuf, Keyboard)> {
    let mut mailer = PathBuf::new();
    let mut keyboard = None;
    let config = format!("presence = \"{rule}\"\npresence_seconds = 5");
    let scene = Scene::open_with(&config, |theatre| {
        theatre.own_run_folder();
        session(theatre, AT_THE_SEAT);
        mailer = theatre.registered("at-desk", "mailer", Some(kind));
        let devices = theatre.sandbox().folder().join("devices");
        keyboard = Some(Keyboard::plugged_into(&devices));
        ["--played-devices".into(), devices.display().to_string()].into()
    })?;
    let presence = scene.theatre.status()["presence"].clone();
    assert_eq!(presence["input_is_seen"], true, "{presence}");
    assert_eq!(presence["seats_are_known"], true, "{presence}");
    assert_eq!(presence["rule"], rule, "{presence}");
    std::thread::sleep(AWAY);
    Some((scene, mailer, keyboard?))
}

fn sends(scene: &Scene, mailer: &Path) -> bool {
    let pid = scene.start(mailer, &format!("mailer --server {SERVER}"));
    scene.desktop.wait(pid, LIMIT).unwrap().success()
}

fn is_about_absence(entry: &Value) -> bool {
    let evidence = entry["evidence"].as_array();
    evidence.is_some_and(|all| all.iter().any(|one| one["what"] == "nobody-there"))
}

/// It is told, with the time, and arrives.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn mail_that_nobody_sent_is_told() {
    let Some((scene, mailer, _keyboard)) = seat("report", "interactive") else {
        return;
    };
    assert!(sends(&scene, &mailer));
    let notice = scene.theatre.wait_for("notice", |entry| {
        word(entry, "text").contains("nobody had used this computer for")
    });
    assert_eq!(notice["program"].as_str(), mailer.to_str(), "{notice}");
    let finding = scene.theatre.wait_for("finding", is_about_absence);
    assert_eq!(finding["finding"], "illegal-send", "{finding}");
    assert_eq!(finding["reason"], Value::Null, "{finding}");
    let explained = scene
        .theatre
        .sekimori(&["explain", &finding["id"].to_string()]);
    assert!(
        explained.stdout.contains("--kind scheduled"),
        "{explained:?}"
    );
}

/// Of a mailer that sends at set times, nothing is told, nor of somebody who is logged in from elsewhere.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_sends_at_set_times_is_left_alone() {
    let Some((scene, mailer, _keyboard)) = seat("require", "scheduled") else {
        return;
    };
    assert!(sends(&scene, &mailer));
    session(
        &scene.theatre,
        "REMOTE=1\nREMOTE_HOST=192.0.2.7\nTYPE=tty\nACTIVE=1\n",
    );
    let sent = || sends(&scene, &scene.mailer).then_some(());
    wait_until(LIMIT, sent).expect("mail from elsewhere");
    let last = scene.theatre.newest();
    assert!(sends(&scene, &scene.mailer));
    let told = scene
        .theatre
        .log()
        .into_iter()
        .filter(|entry| entry["id"].as_u64() > Some(last));
    let told: Vec<Value> = told
        .filter(|entry| is_about_absence(entry) || word(entry, "text").contains("nobody had used"))
        .collect();
    assert!(told.is_empty(), "{told:?}");
    let listed = scene.theatre.sekimori(&["programs", "--json"]).stdout;
    assert!(listed.contains("\"scheduled\""), "{listed}");
}

/// Where presence is required it is refused, until somebody is there again. The gate decides that
/// without the daemon too.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn mail_that_nobody_sent_is_refused_where_presence_is_required() {
    let Some((scene, mailer, mut keyboard)) = seat("require", "interactive") else {
        return;
    };
    let before = scene.theatre.newest();
    assert!(!sends(&scene, &mailer));
    let refusal = scene.refusal_after(before);
    assert_eq!(refusal["reason"], "needs-presence", "{refusal}");
    evasions::stopped("nobody-there", scene.mail.payload_bytes(), "needs-presence");
    // Somebody else is shown, and the person comes back.
    let back = || {
        session(&scene.theatre, "SEAT=seat0\nTYPE=wayland\nACTIVE=0\n");
        std::thread::sleep(Duration::from_millis(300));
        session(&scene.theatre, AT_THE_SEAT);
        std::thread::sleep(Duration::from_millis(300));
        sends(&scene, &mailer).then_some(())
    };
    wait_until(LIMIT, back).expect("mail of somebody who is back");
    // A key is enough.
    std::thread::sleep(AWAY);
    assert!(!sends(&scene, &mailer));
    keyboard.press(&scene);
    assert!(sends(&scene, &mailer));
    scene.theatre.end_daemon(Signal::TERM);
    std::thread::sleep(AWAY);
    let sent = scene.mail.messages().len();
    assert!(!sends(&scene, &mailer));
    assert_eq!(scene.mail.messages().len(), sent);
}
