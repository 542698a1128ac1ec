//! Real mailers at the user's terminal: registered they deliver, and the same programs do
//! not when nobody registered them, or when a program that nobody registered starts them.

use std::path::{Path, PathBuf};

use e2e::{
    LIMIT, Options, PERSON, SERVER, Terminal, Theatre, evasions, is_missing, wait_until, word,
};
use serde_json::Value;
use stage::{SmtpServer, Start};

struct Scene {
    theatre: Theatre,
    server: SmtpServer,
    terminal: Terminal,
    bot: PathBuf,
}

/// A mailer and how it is used.
struct Mailer {
    /// What has to be registered, in the order of the lineage.
    programs: &'static [&'static str],
    /// The command line.
    line: String,
    /// What stands in the message.
    subject: &'static str,
}

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let server = theatre.smtp();
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
        let bot = theatre.player("updater");
        if !theatre.raise() {
            return None;
        }
        let terminal = theatre.terminal();
        Some(Self {
            theatre,
            server,
            terminal,
            bot,
        })
    }

    /// A file in the person's home.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.theatre.write(&format!("home/{name}"), text);
        std::os::unix::fs::chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn refusal_after(&self, before: u64, line: &str) -> Value {
        self.theatre
            .wait_after(before, line, |entry| word(entry, "verdict") == "refuse")
    }

    /// The whole story of one mailer.
    fn play(&self, mailer: &Mailer) {
        let Mailer {
            programs,
            line,
            subject,
        } = mailer;
        // Nobody registered it.
        let before = self.theatre.newest();
        assert_ne!(
            self.terminal.run(line),
            0,
            "{line}: {}",
            self.terminal.screen()
        );
        let refusal = self.refusal_after(before, line);
        assert_eq!(refusal["reason"], "not-a-mailer", "{line}: {refusal}");
        assert_eq!(refusal["culprit"], programs[0], "{line}: {refusal}");
        assert_eq!(self.server.payload_bytes(), 0, "{line}");

        for program in *programs {
            self.theatre
                .register_as(Path::new(program), "mailer", Some("batch"));
        }
        // A program that nobody registered starts it, on the same terminal.
        let bot = self.bot.display();
        let before = self.theatre.newest();
        assert_ne!(
            self.terminal.run(&format!("{bot} launcher {line}")),
            0,
            "{}",
            self.terminal.screen()
        );
        let refusal = self.refusal_after(before, line);
        assert_eq!(refusal["reason"], "foreign-origin", "{line}: {refusal}");
        assert_eq!(
            refusal["culprit"],
            self.bot.to_str().unwrap(),
            "{line}: {refusal}"
        );
        assert_eq!(self.server.payload_bytes(), 0, "{line}");

        // The user starts it.
        let before = self.theatre.newest();
        assert_eq!(self.terminal.run(line), 0, "{}", self.terminal.screen());
        let messages = self.server.wait_for_messages(1, LIMIT).unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].to, ["bob@example.net"]);
        let content = String::from_utf8_lossy(&messages[0].content).into_owned();
        assert!(
            content.contains(&format!("Subject: {subject}")),
            "{content}"
        );
        let verdict = self
            .theatre
            .wait_after(before, line, |entry| word(entry, "verdict") == "allow");
        assert_eq!(
            verdict["program"],
            *programs.last().unwrap(),
            "{line}: {verdict}"
        );
        // Some ask the server what it can do first, over a connection of its own.
        self.theatre.wait_after(before, line, |entry| {
            entry["event"] == "closed" && entry["bytes_sent"].as_u64() > Some(100)
        });
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_of_the_desktop_delivers() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let interactive = theatre.registered("interactive", "mailer", Some("interactive"));
    let batch = theatre.registered("batch", "mailer", Some("batch"));
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let send = ["mailer", "--server", SERVER];
    assert!(
        desktop.run(&interactive, send, LIMIT).unwrap().success(),
        "{}",
        desktop.stdout()
    );
    assert_eq!(server.wait_for_messages(1, LIMIT).unwrap().len(), 1);
    // The desktop starts programs for anybody who asks, so it does not vouch for this one.
    assert!(!desktop.run(&batch, send, LIMIT).unwrap().success());
    let refusal = theatre.wait_for("refusal", |entry| word(entry, "verdict") == "refuse");
    assert_eq!(refusal["reason"], "needs-terminal", "{refusal}");
    assert_eq!(server.connection_count(), 1);
    // A launcher in between, such as a panel, changes nothing.
    let panel = theatre.registered("panel", "launcher", None);
    let by_panel = |mailer: &Path| {
        let words = [&["launcher", mailer.to_str().unwrap()], &send[..]].concat();
        desktop.run(&panel, words, LIMIT).unwrap().success()
    };
    assert!(by_panel(&interactive) && !by_panel(&batch));
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn msmtp() {
    if is_missing(&["/usr/bin/msmtp"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let mail = scene.file(
        "mail",
        "From: alice@example.org\nTo: bob@example.net\nSubject: By msmtp\n\nHello.\n",
    );
    let line = format!(
        "/usr/bin/msmtp --file=/dev/null --host=127.0.0.1 --port=25 --tls=off --auth=off \
         --from=alice@example.org bob@example.net < {mail}"
    );
    scene.play(&Mailer {
        programs: &["/usr/bin/msmtp"],
        line,
        subject: "By msmtp",
    });
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn mutt() {
    if is_missing(&["/usr/bin/mutt"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let settings = scene.file(
        "muttrc",
        "set smtp_url=smtp://127.0.0.1:25/\nset ssl_starttls=no\nset ssl_force_tls=no\nset copy=no\n\
         set from=alice@example.org\nset use_domain=no\nset hostname=example.org\n",
    );
    let body = scene.file("body", "Hello.\n");
    let line = format!("/usr/bin/mutt -n -F {settings} -s 'By mutt' bob@example.net < {body}");
    scene.play(&Mailer {
        programs: &["/usr/bin/mutt"],
        line,
        subject: "By mutt",
    });
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn swaks() {
    if is_missing(&["/usr/bin/swaks"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    let line =
        "/usr/bin/swaks --server 127.0.0.1 --port 25 --helo example.org --from alice@example.org \
                --to bob@example.net --header 'Subject: By swaks' --body Hello > /dev/null"
            .to_owned();
    scene.play(&Mailer {
        programs: &["/usr/bin/swaks"],
        line,
        subject: "By swaks",
    });
    // A registered script's path proves nothing where another program reads it.
    let before = scene.theatre.newest();
    let line =
        "/usr/bin/perl /usr/bin/swaks --server 127.0.0.1 --from a@example.org --to b@example.net";
    assert_ne!(scene.terminal.run(&format!("{line} > /dev/null")), 0);
    let refusal = scene.refusal_after(before, line);
    assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
    let perl = std::fs::canonicalize("/usr/bin/perl").unwrap();
    let own = evasions::beyond(&scene.server, 1);
    evasions::refused("script-argument", own, &refusal, perl);
    // Nor where the interpreter was told to run something else before.
    let before = scene.theatre.newest();
    let line = "PERL5OPT=-Mstrict /usr/bin/swaks --server 127.0.0.1 --from a@example.org --to b@example.net";
    assert_ne!(scene.terminal.run(&format!("{line} > /dev/null")), 0);
    let refusal = scene.refusal_after(before, line);
    assert_eq!(refusal["reason"], "tampered", "{refusal}");
    let own = evasions::beyond(&scene.server, 1);
    // The shell set it.
    let shell = std::fs::canonicalize("/bin/bash").unwrap();
    evasions::refused("script-perl5opt", own, &refusal, shell);
    // Nor where something else lies at the path, in a mount namespace of one's own.
    let before = scene.theatre.newest();
    let line = format!(
        "unshare -r -m sh -c 'mount --bind {} /usr/bin/swaks && exec /usr/bin/swaks technique plain --server {SERVER}'",
        scene.bot.display()
    );
    assert_ne!(scene.terminal.run(&line), 0);
    let refusal = scene.refusal_after(before, &line);
    let own = evasions::beyond(&scene.server, 1);
    // The first in the lineage that nobody registered.
    evasions::refused("script-mounted-over", own, &refusal, "/usr/bin/unshare");
    assert_eq!(scene.server.messages().len(), 1);
    assert_eq!(scene.server.connection_count(), 1);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn git_send_email() {
    let programs = &["/usr/bin/git", "/usr/lib/git-core/git-send-email"];
    if is_missing(programs) || is_missing(&["/usr/share/perl5/Mail/Address.pm"]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    scene.file(
        ".gitconfig",
        "[user]\n\tname = Alice\n\temail = alice@example.org\n[sendemail]\n\tsmtpServer = 127.0.0.1\n\
         \tsmtpServerPort = 25\n\tconfirm = never\n\tsuppresscc = all\n\tfrom = alice@example.org\n",
    );
    let patch = scene.file(
        "0001-x.patch",
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n\
         From: Alice <alice@example.org>\nDate: Mon, 5 Jan 2026 10:00:00 +0000\nSubject: [PATCH] By git\n\n\
         Text.\n---\n a | 1 +\n 1 file changed, 1 insertion(+)\n\ndiff --git a/a b/a\nnew file mode 100644\n\
         --- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+a\n--\n2.39\n",
    );
    let line = format!("/usr/bin/git send-email --quiet --to=bob@example.net {patch}");
    scene.play(&Mailer {
        programs,
        line,
        subject: "[PATCH] By git",
    });
    // What git runs for others stays foreign, though git may send.
    let before = scene.theatre.newest();
    let bot = scene.bot.display();
    let line = format!(
        "/usr/bin/git -c alias.x='!{bot} launcher /usr/bin/git send-email' x --to=b@example.net {patch}"
    );
    assert_ne!(scene.terminal.run(&line), 0);
    let refusal = scene.refusal_after(before, &line);
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    assert_eq!(scene.server.messages().len(), 1);
}

/// What the user typed in one window does not vouch for the next process.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_shell_on_a_terminal_of_the_desktop_is_the_users() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    let batch = theatre.registered("batch", "mailer", Some("batch"));
    // A terminal emulator: `script` holds a pseudo-terminal and starts the user's shell.
    if is_missing(&["/usr/bin/script"]) || !theatre.raise() {
        return;
    }
    let emulator = theatre.home().join("emulator");
    theatre.crew("cp", &["/usr/bin/script", emulator.to_str().unwrap()]);
    theatre.register_as(&emulator, "launcher", None);
    let desktop = theatre.registered("desktop", "session", None);
    // The desktop is the player's `exec`: it becomes the emulator, which the user types into.
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let type_into = |words: &[&str]| {
        let start = stage::Start::new(&desktop)
            .args(["launcher"])
            .args(words)
            .env("SHELL", "/bin/bash");
        let start = theatre.person(start).directory(theatre.home());
        let pty = theatre.sandbox().start_on_pty(&start).unwrap();
        pty.read_until(Terminal::PROMPT, LIMIT).unwrap();
        pty.type_line(&format!("{send}; exit")).unwrap();
        pty.wait(LIMIT)
            .unwrap_or_else(|error| panic!("{error}: {}", pty.screen()));
    };
    type_into(&[emulator.to_str().unwrap(), "-q", "/dev/null"]);
    assert_eq!(server.wait_for_messages(1, LIMIT).unwrap().len(), 1);
    // The same terminal held by a program that nobody registered.
    let before = theatre.newest();
    type_into(&["/usr/bin/script", "-q", "/dev/null"]);
    let refusal = theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(
        refusal["culprit"],
        std::fs::canonicalize("/usr/bin/script")
            .unwrap()
            .to_str()
            .unwrap()
    );
    assert!(wait_until(LIMIT, || (server.connection_count() == 1).then_some(())).is_some());
    assert_eq!(server.messages().len(), 1);
}

/// The bot may start the user's mailer as often as it likes: that does not use up what the
/// user may send.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn refused_connections_do_not_use_up_the_rate() {
    let options = Options {
        config: "rate_per_minute = 3".to_owned(),
        ..Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let send = ["mailer", "--server", SERVER];
    for _ in 0..5 {
        let words = [&["launcher", mailer.to_str().unwrap()], &send[..]].concat();
        assert!(
            !theatre
                .start(Start::new(&bot).args(words))
                .output(LIMIT)
                .unwrap()
                .exit
                .success()
        );
    }
    for count in 1..=3 {
        assert!(
            desktop.run(&mailer, send, LIMIT).unwrap().success(),
            "{count}: {}",
            desktop.stdout()
        );
    }
    assert_eq!(server.wait_for_messages(3, LIMIT).unwrap().len(), 3);
    // The fourth is too much.
    assert!(!desktop.run(&mailer, send, LIMIT).unwrap().success());
    theatre.wait_for("rate", |entry| word(entry, "reason") == "rate-exceeded");
    assert_eq!(server.messages().len(), 3);
}
