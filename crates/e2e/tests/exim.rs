//! A real Exim on the stage, as Debian installs it: started by its init script, registered by `setup --yes`
//! alone. It is daemon, submitter and delivery in one file, and starts itself anew for each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use e2e::{LIMIT, SERVER, Theatre, evasions, wait_until, word};
use stage::{SmtpServer, Start};

const EXIM: &str = "/usr/sbin/exim4";
const INIT: &str = "/etc/init.d/exim4";

/// Where the world's mail server stands: the smarthost.
const WORLD: &str = "198.51.100.25:587";

/// What the package's questions are answered with.
const ANSWERS: &str = "\
dc_eximconfig_configtype='smarthost'
dc_other_hostnames='here.example.org'
dc_local_interfaces='127.0.0.1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='true'
dc_relay_nets='127.0.0.1'
dc_smarthost='198.51.100.25::587'
CFILEMODE='644'
dc_use_split_config='false'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
";

struct Scene {
    theatre: Theatre,
    world: SmtpServer,
    bot: PathBuf,
}

impl Scene {
    /// A machine that starts Exim at boot, on which nothing was done but `setup --yes`.
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let accounts = theatre.unpack_server("exim", &["Debian-exim"])?;
        let own = format!("{0}:{0}", accounts[0]);
        theatre.put("/etc/exim4/update-exim4.conf.conf", ANSWERS);
        theatre.put("/etc/mailname", "here.example.org\n");
        theatre.put("/etc/aliases", "root: :blackhole:\n");
        for (folder, owner) in [
            ("/var/spool/exim4", own.as_str()),
            ("/var/log/exim4", own.as_str()),
            ("/var/lib/exim4", "root:root"),
        ] {
            theatre.crew("mkdir", &["-p", folder]);
            theatre.crew("chown", &[owner, folder]);
        }
        theatre.crew("mkdir", &["-p", "/etc/rc2.d"]);
        theatre.crew("ln", &["-s", "../init.d/exim4", "/etc/rc2.d/S01exim4"]);
        let ran = theatre.sekimori(&["setup", "--yes"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains(EXIM), "{ran:?}");
        let world = theatre.smtp_at(&[WORLD]);
        let bot = theatre.player("bot");
        theatre.raise().then_some(Self {
            theatre,
            world,
            bot,
        })
    }

    /// What the service manager starts at boot.
    fn boot(&self) {
        let start = Start::new(INIT)
            .arg("start")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let started = self.theatre.sandbox().start(&start).unwrap();
        let exit = started.wait(LIMIT).unwrap();
        assert!(
            exit.success(),
            "{exit:?} {} {} {}",
            started.stdout(),
            started.stderr(),
            self.theatre.daemon_words()
        );
    }

    fn mainlog(&self) -> String {
        let read = || std::fs::read_to_string("/var/log/exim4/mainlog").unwrap_or_default();
        self.theatre.sandbox().run_inside(read).unwrap()
    }

    /// Waits until the world has got so many messages; returns the newest.
    fn relayed(&self, count: usize) -> String {
        let messages = self.world.wait_for_messages(count, LIMIT);
        let messages = messages.unwrap_or_else(|error| {
            panic!(
                "{error}: {}\n{}",
                self.mainlog(),
                self.theatre.daemon_words()
            )
        });
        String::from_utf8_lossy(&messages[count - 1].content).into_owned()
    }

    /// Somebody on the network, who is no part of the guarded machine, sends mail.
    fn mail_arrives(&self, subject: &str) {
        let connect = || self.theatre.connect(SERVER.parse().unwrap()).ok();
        let mut stream = wait_until(LIMIT, connect).expect("a server that listens");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let content = format!("Subject: {subject}\r\n\r\nHello.\r\n.");
        for line in [
            "",
            "HELO example.net",
            "MAIL FROM:<alice@example.net>",
            "RCPT TO:<bob@example.net>",
            "DATA",
            &content,
            "QUIT",
        ] {
            if !line.is_empty() {
                stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            }
            let mut said = String::new();
            answers.read_line(&mut said).unwrap();
            assert!(
                said.starts_with(['2', '3']),
                "{line}: {said}{}",
                self.mainlog()
            );
        }
    }

    /// The files of messages that wait.
    fn queue(&self) -> String {
        self.theatre.crew(
            "find",
            &["/var/spool/exim4", "-path", "*/input/*", "-type", "f"],
        )
    }
}

/// The init script tests the configuration with Exim itself, and starts it by start-stop-daemon.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn exim_starts_at_boot_and_relays() {
    let Some(scene) = Scene::open() else { return };
    scene.boot();
    scene.mail_arrives("From outside");
    assert!(scene.relayed(1).contains("From outside"));
    let verdict = scene.theatre.wait_for(WORLD, |entry| {
        word(entry, "judged") == "connect" && word(entry, "program") == EXIM
    });
    assert_eq!(
        (word(&verdict, "verdict"), word(&verdict, "origin")),
        ("allow", "system"),
        "{verdict}"
    );

    // A person at a prompt: Exim takes the mail, and starts itself anew to send it at once.
    let terminal = scene.theatre.terminal();
    let mail = scene
        .theatre
        .write("mail", "To: bob@example.net\nSubject: By hand\n\nHello.\n");
    let line = format!("/usr/sbin/sendmail -t < {}", mail.display());
    assert_eq!(
        terminal.run(&line),
        0,
        "{} {}",
        terminal.screen(),
        scene.mainlog()
    );
    assert!(scene.relayed(2).contains("By hand"));
    let refused = scene.theatre.log();
    let refused = refused
        .iter()
        .find(|entry| word(entry, "verdict") == "refuse");
    assert_eq!(refused, None);
}

/// Whoever may hand nothing over may ask, and a later option makes no submission of a question.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn exim_answers_questions_of_anybody() {
    let Some(scene) = Scene::open() else { return };
    scene.boot();
    let desktop = scene.theatre.desktop();
    let bot = scene.bot.to_str().unwrap();
    let run = |words: &[&str]| {
        let words = [&["launcher"], words].concat();
        let start = Start::new(bot).args(words);
        scene.theatre.start(start).output(LIMIT).unwrap()
    };
    for (words, answer) in [
        (&[EXIM, "-bV"][..], "Exim version"),
        (
            &[EXIM, "-C", "/var/lib/exim4/config.autogenerated", "-bV"],
            "Exim version",
        ),
        (&[EXIM, "-bP", "primary_hostname"], "primary_hostname"),
        (&[EXIM, "-bt", "bob@example.net"], "smarthost"),
    ] {
        let ran = run(words);
        assert!(ran.exit.signal.is_none(), "{words:?}: {ran:?}");
        assert!(ran.stdout.contains(answer), "{words:?}: {ran:?}");
    }
    let before = scene.theatre.newest();
    let submissions: [(&str, &[&str]); 7] = [
        (
            "exim-question-then-mail",
            &["-bV", "-bm", "bob@example.net"],
        ),
        ("exim-options-then-mail", &["-bP", "-bm", "bob@example.net"]),
        ("exim-words-then-mail", &["-bP", "all", "-t"]),
        (
            "exim-address-test-then-mail",
            &["-bt", "bob@example.net", "-t"],
        ),
        (
            "exim-configuration",
            &["-C", "-bV", "-bm", "bob@example.net"],
        ),
        ("exim-smtp", &["-bs"]),
        ("exim-t", &["-t"]),
    ];
    for (row, words) in submissions {
        let before = scene.theatre.newest();
        let words = [&["launcher", EXIM], words].concat();
        assert!(!desktop.run(&scene.bot, &words, LIMIT).unwrap().success());
        let refusal = scene
            .theatre
            .wait_after(before, row, |entry| word(entry, "verdict") == "refuse");
        assert_eq!(
            (word(&refusal, "judged"), word(&refusal, "culprit")),
            ("submit", bot),
            "{refusal}"
        );
        evasions::refused(row, scene.world.payload_bytes(), &refusal, bot);
    }
    assert_eq!(scene.queue(), "", "{}", scene.mainlog());
    let refused = scene.theatre.log();
    let refused = refused
        .iter()
        .filter(|entry| entry["id"].as_u64() > Some(before) && word(entry, "verdict") == "refuse");
    assert_eq!(refused.count(), submissions.len());
    assert!(Path::new(bot).exists());
}
