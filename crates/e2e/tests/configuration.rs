//! A bot writes into the user's own files, and waits for the user to start a mailer. What the
//! mailer runs for it is foreign; what the mailer does itself is the mailer's.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Terminal, Theatre, evasions, is_missing, wait_until, word};
use rustix::mount::{MountFlags, mount};
use serde_json::Value;
use stage::SmtpServer;

/// A mail server on a port that is no mail port.
const OTHER: &str = "127.0.0.1:2525";
const MUTT: &str = "/usr/bin/mutt";
const MSMTP: &str = "/usr/bin/msmtp";
const GIT: &str = "/usr/bin/git";
const SEND_EMAIL: &str = "/usr/lib/git-core/git-send-email";
/// `git send-email` does not start without it.
const MAIL_ADDRESS: &str = "/usr/share/perl5/Mail/Address.pm";
const PYTHON: &str = "/usr/bin/python3";
const GCC: &str = "/usr/bin/gcc";

/// A person at a shell, with these batch mailers.
struct Scene {
    server: SmtpServer,
    terminal: Terminal,
    bot: PathBuf,
    theatre: Theatre,
}

impl Scene {
    fn open(mailers: &[&str], prepare: impl FnOnce(&Theatre)) -> Option<Self> {
        let theatre = Theatre::open()?;
        let server = theatre.smtp();
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
        for mailer in mailers {
            theatre.register_as(Path::new(mailer), "mailer", Some("batch"));
        }
        let bot = theatre.player("bot");
        prepare(&theatre);
        if !theatre.raise() {
            return None;
        }
        Some(Self {
            server,
            terminal: theatre.terminal(),
            bot,
            theatre,
        })
    }

    /// A file of the person's.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.theatre.write(&format!("home/{name}"), text);
        chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
        path
    }

    fn refusal_after(&self, before: u64, what: &str) -> Value {
        self.theatre
            .wait_after(before, what, |entry| word(entry, "verdict") == "refuse")
    }

    /// The person types this, and somebody else's program is refused.
    fn refused(&self, row: &str, line: &str, culprit: impl AsRef<Path>) {
        let before = self.theatre.newest();
        self.terminal.run(line);
        let refusal = self.refusal_after(before, row);
        let culprit = fs::canonicalize(culprit).unwrap();
        evasions::refused(row, self.server.payload_bytes(), &refusal, culprit);
    }

    /// The person types this, and the mailer does what the bot wrote.
    fn obeyed(&self, row: &str, line: &str) {
        self.terminal.run(line);
        let sent = || (self.server.payload_bytes() > 0).then_some(());
        wait_until(LIMIT, sent).unwrap_or_else(|| panic!("{}", self.terminal.screen()));
        evasions::got_through(row, self.server.payload_bytes(), None, &self.bot);
    }
}

/// Programs that a configuration names.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_a_mailer_runs_is_judged_by_itself() {
    if is_missing(&[MUTT, MSMTP, GIT, SEND_EMAIL, MAIL_ADDRESS]) {
        return;
    }
    let mailers = [MUTT, MSMTP, GIT, SEND_EMAIL];
    let Some(scene) = Scene::open(&mailers, |_| ()) else {
        return;
    };
    let bot = scene.bot.display();
    let sends = format!("{bot} bot --smtp {SERVER}");
    let mail = scene.file("mail", "Hello.\n");
    let mail = mail.display();

    let settings = format!("set sendmail=\"{sends} --\"\nset copy=no\nset from=a@example.org\n");
    let settings = scene.file("muttrc", &settings);
    let line = format!(
        "{MUTT} -n -F {} -s x bob@example.net < {mail}",
        settings.display()
    );
    scene.refused("configuration", &line, &scene.bot);

    let settings = format!(
        "account default\nhost 127.0.0.1\nport 26\nfrom a@example.org\ntls off\nauth plain\nuser a\npasswordeval {sends}\n"
    );
    let settings = scene.file("msmtprc", &settings);
    scene
        .theatre
        .crew("chmod", &["0600", settings.to_str().unwrap()]);
    // It fetches the password before it connects, here to a port where nobody listens.
    let line = format!("{MSMTP} -C {} bob@example.net < {mail}", settings.display());
    // By a shell, which is not to blame.
    scene.refused("configuration-password", &line, &scene.bot);

    let text = format!(
        "[user]\n\tname = Alice\n\temail = alice@example.org\n[sendemail]\n\tconfirm = never\n\tfrom = alice@example.org\n\
         \tsmtpServer = {bot}\n\tsmtpServerOption = bot\n\tsmtpServerOption = --smtp\n\tsmtpServerOption = {SERVER}\n\
         \tsmtpServerOption = --\n"
    );
    scene.file(".gitconfig", &text);
    let patch = scene.file(
        "0001-x.patch",
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Alice <alice@example.org>\n\
         Date: Mon, 5 Jan 2026 10:00:00 +0000\nSubject: [PATCH] By git\n\nText.\n---\n",
    );
    let line = format!(
        "{GIT} send-email --quiet --to=bob@example.net {}",
        patch.display()
    );
    scene.refused("configuration-git", &line, &scene.bot);
}

/// A configuration that tells the mailer to send.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_that_obeys_its_configuration() {
    if is_missing(&[MUTT]) {
        return;
    }
    let Some(scene) = Scene::open(&[MUTT], |_| ()) else {
        return;
    };
    // Typed by nobody: mutt takes these keys from its configuration.
    let settings = scene.file(
        "muttrc",
        "set smtp_url=\"smtp://127.0.0.1/\"\nset ssl_starttls=no\nset ssl_force_tls=no\nset from=a@example.org\nset realname=a\nset hostname=example.org\nset use_domain=no\n\
         set copy=no\nset editor=/bin/true\nset fast_reply=yes\nset abort_unmodified=no\nset abort_nosubject=no\n\
         set quit=yes\nset record=\"\"\nset folder=~\nset postponed=~/postponed\n\
         push \"<mail>bob@example.net<enter>Spam<enter><send-message>\"\n",
    );
    let inbox = scene.file("inbox", "");
    let line = format!(
        "stty rows 24 cols 80; TERM=xterm {MUTT} -n -F {} -f {}",
        settings.display(),
        inbox.display()
    );
    scene.terminal.pty().type_line(&line).unwrap();
    let sent = || (!scene.server.messages().is_empty()).then_some(());
    wait_until(LIMIT, sent).unwrap_or_else(|| panic!("{}", scene.terminal.screen()));
    let bytes = scene.server.payload_bytes();
    evasions::got_through("configuration-obeyed", bytes, None, &scene.bot);
    scene.terminal.pty().type_line("q").unwrap();
}

/// Python runs a file of the user's before the script.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_interpreter_that_loads_the_users_files() {
    if is_missing(&[PYTHON]) {
        return;
    }
    let mailer = Path::new("/mnt/mailer");
    let Some(scene) = Scene::open(&[], |theatre| {
        // Of the sandbox's mount namespace only: a script is known by root's path.
        let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
        theatre.sandbox().run_inside(mounted).unwrap().unwrap();
        let script = theatre.write(
            "mailer.py",
            &format!("#!{PYTHON}\nprint('no mail today')\n"),
        );
        let script = script.to_str().unwrap();
        theatre.crew("install", &["-m", "0755", script, "/mnt/mailer"]);
        theatre.register_as(mailer, "mailer", Some("batch"));
    }) else {
        return;
    };
    let home = scene.theatre.home();
    let user_base = format!("PYTHONUSERBASE={}/.local", home.display());
    let ask = "import site; print(site.getusersitepackages())";
    let folder = scene.theatre.crew("env", &[&user_base, PYTHON, "-c", ask]);
    fs::create_dir_all(folder.trim()).unwrap();
    let code = "import socket\ns = socket.create_connection(('127.0.0.1', 25))\ns.sendall(b'EHLO bot.example.org\\r\\n')\ns.recv(100)\n";
    fs::write(Path::new(folder.trim()).join("usercustomize.py"), code).unwrap();
    scene.theatre.crew(
        "chown",
        &["-R", "65534:65534", home.join(".local").to_str().unwrap()],
    );
    scene.obeyed("python-user-site", "/mnt/mailer");
}

/// A mailer in a folder that its user may write: only the program itself is known.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_library_beside_the_mailer() {
    if is_missing(&[GCC]) {
        return;
    }
    let mut folder = PathBuf::new();
    let compile = |theatre: &Theatre, folder: &Path, body: &str| {
        let source = theatre.write(
            "library.c",
            &format!("#include <unistd.h>\n#include <sys/socket.h>\n#include <netinet/in.h>\nvoid deliver(void) {{\n{body}\n}}\n"),
        );
        let library = folder.join("libmail.so");
        let words = [
            "-shared",
            "-fPIC",
            "-o",
            library.to_str().unwrap(),
            source.to_str().unwrap(),
        ];
        theatre.crew(GCC, &words);
    };
    let Some(scene) = Scene::open(&[], |theatre| {
        folder = theatre.home().join("mailer");
        fs::create_dir(&folder).unwrap();
        compile(theatre, &folder, "");
        let main = theatre.write(
            "main.c",
            "void deliver(void);\nint main(void) { deliver(); return 0; }\n",
        );
        let program = folder.join("mailer");
        let search = format!("-L{}", folder.display());
        let words = [
            "-o",
            program.to_str().unwrap(),
            main.to_str().unwrap(),
            &search,
            "-lmail",
            "-Wl,-rpath,$ORIGIN",
        ];
        theatre.crew(GCC, &words);
        theatre.register_as(&program, "mailer", Some("batch"));
    }) else {
        return;
    };
    compile(
        &scene.theatre,
        &folder,
        "struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(25), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };\n\
         char line[] = \"EHLO bot.example.org\\r\\n\", answer[100];\n\
         int s = socket(AF_INET, SOCK_STREAM, 0);\n\
         if (connect(s, (struct sockaddr *)&to, sizeof to) == 0) { (void)!write(s, line, sizeof line - 1); (void)!read(s, answer, 100); }",
    );
    scene.obeyed("library-beside", folder.join("mailer").to_str().unwrap());
}

/// A line that the user's shell reads when it starts.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_line_in_a_start_up_file() {
    let mut batch = PathBuf::new();
    let Some(scene) = Scene::open(&[], |theatre| {
        batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    }) else {
        return;
    };
    // The bot itself first: what the shell starts for it is nobody's wish.
    let engine = format!("{} bot --smtp {SERVER}", scene.bot.display());
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let prompt = format!("PS1='{}'\n", Terminal::PROMPT);
    let plant = |line: &str| scene.file(".bashrc", &format!("{line} > /dev/null\n{prompt}"));
    plant(&engine);
    let before = scene.theatre.newest();
    drop(scene.theatre.terminal());
    let refusal = scene.refusal_after(before, "start-up-engine");
    let bytes = scene.server.payload_bytes();
    evasions::refused("start-up-engine", bytes, &refusal, &scene.bot);
    // The shell itself speaks, on a port that is no mail port.
    let other = scene.theatre.smtp_at(&[OTHER]);
    let path = OTHER.replace(':', "/");
    plant(&format!(
        "exec 5<>/dev/tcp/{path}; read -r x <&5; printf 'EHLO x\\r\\n' >&5; read -t 1 -r x <&5; true"
    ));
    let before = scene.theatre.newest();
    drop(scene.theatre.terminal());
    let refusal = scene.refusal_after(before, "start-up-port");
    assert_eq!(refusal["program"], "/usr/bin/bash", "{refusal}");
    evasions::stopped(
        "start-up-port",
        other.payload_bytes(),
        word(&refusal, "reason"),
    );
    plant(&send);
    let before = scene.theatre.newest();
    drop(scene.theatre.terminal());
    // Nobody has pressed Enter there.
    let refusal = scene.refusal_after(before, "start-up-mailer");
    assert_eq!(refusal["reason"], "needs-typing", "{refusal}");
    evasions::stopped(
        "start-up-mailer",
        scene.server.payload_bytes(),
        "needs-typing",
    );
}
