//! A real Postfix on the stage: the machine's own service, which relays what people hand
//! over, by SMTP and by sendmail. Its files are a copy that only the sandbox sees.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{CRON, LIMIT, PERSON, SERVER, Terminal, Theatre, evasions, is_missing, wait_until, word};
use rustix::mount::{MountFlags, mount, mount_bind};
use serde_json::Value;
use stage::{SmtpServer, Start};

const POSTFIX: &str = "/usr/sbin/postfix";
const SENDMAIL: &str = "/usr/sbin/sendmail";
const SMTP: &str = "/usr/lib/postfix/sbin/smtp";
const SMTPD: &str = "/usr/lib/postfix/sbin/smtpd";
const LOCAL: &str = "/usr/lib/postfix/sbin/local";
const MASTER: &str = "/usr/lib/postfix/sbin/master";

/// Where the world's mail server stands.
const WORLD: &str = "198.51.100.25:25";

/// A machine of this name takes mail for its users, where it is told to.
const HERE: &str = "here.example.org";

const MAIN: &str = "\
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
queue_directory = /var/spool/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.org
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [198.51.100.25]:25
smtp_bind_address = 198.51.100.26
smtp_tls_security_level = none
smtp_host_lookup = native
smtpd_tls_security_level = none
smtpd_peername_lookup = no
maillog_file = /var/lib/postfix/maillog
";

const SERVICES: &str = "\
127.0.0.1:25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
local unix - n n - - local
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

struct Scene {
    theatre: Theatre,
    world: SmtpServer,
    bot: PathBuf,
}

impl Scene {
    /// A guarded stage on which the system has started Postfix.
    fn open() -> Option<Self> {
        Self::open_with(|_| String::new())
    }

    /// The same with more lines in its configuration.
    fn open_with(settings: impl FnOnce(&Theatre) -> String) -> Option<Self> {
        if is_missing(&[POSTFIX, SENDMAIL, SMTP, MASTER, "/usr/bin/msmtp"]) {
            return None;
        }
        let theatre = Theatre::open()?;
        let folder = theatre.sandbox().folder().join("postfix");
        for (name, place) in [
            ("etc", "/etc/postfix"),
            ("spool", "/var/spool/postfix"),
            ("lib", "/var/lib/postfix"),
        ] {
            let copy = folder.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            theatre.crew("cp", &["-a", place, copy.to_str().unwrap()]);
            theatre
                .sandbox()
                .run_inside(|| mount_bind(&copy, place))
                .unwrap()
                .unwrap();
        }
        theatre.write(
            "postfix/etc/main.cf",
            &format!("{MAIN}{}", settings(&theatre)),
        );
        theatre.write("postfix/etc/master.cf", SERVICES);
        // The roles of the catalog.
        for program in [
            POSTFIX,
            MASTER,
            "/usr/lib/postfix/sbin/postfix-script",
            "/etc/postfix/postfix-script",
        ] {
            if Path::new(program).exists() {
                theatre.register_as(Path::new(program), "system", Some("service"));
            }
        }
        for program in [SMTP, SMTPD] {
            theatre.register_as(Path::new(program), "mailer", Some("service"));
        }
        for program in [SENDMAIL, "/usr/sbin/postdrop"] {
            theatre.register_as(Path::new(program), "submitter", None);
        }
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
        theatre.register_as(Path::new("/usr/bin/msmtp"), "mailer", Some("batch"));
        let world = theatre.smtp_at(&[WORLD]);
        let bot = theatre.player("bot");
        if !theatre.raise() {
            return None;
        }
        let scene = Self {
            theatre,
            world,
            bot,
        };
        let started = scene
            .theatre
            .sandbox()
            .start(&Start::new(POSTFIX).arg("start"))
            .unwrap()
            .output(LIMIT)
            .unwrap();
        assert!(started.exit.success(), "{started:?} {}", scene.maillog());
        let pid = folder.join("spool/pid/master.pid");
        wait_until(LIMIT, || pid.exists().then_some(())).expect("a running Postfix");
        Some(scene)
    }

    fn maillog(&self) -> String {
        let path = self.theatre.sandbox().folder().join("postfix/lib/maillog");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Waits until the world has got so many messages; returns the newest.
    fn relayed(&self, count: usize) -> String {
        let messages = self
            .world
            .wait_for_messages(count, LIMIT)
            .unwrap_or_else(|error| {
                panic!(
                    "{error}: {}\n{}",
                    self.maillog(),
                    self.theatre.daemon_words()
                )
            });
        assert_eq!(messages.len(), count);
        assert!(
            messages[count - 1]
                .peer
                .to_string()
                .starts_with("198.51.100.26:"),
            "{:?}",
            messages[count - 1].peer
        );
        String::from_utf8_lossy(&messages[count - 1].content).into_owned()
    }

    fn refusal_after(&self, before: u64, what: &str) -> Value {
        self.theatre
            .wait_after(before, what, |entry| word(entry, "verdict") == "refuse")
    }

    /// Sizes of the messages in Postfix's queues, wherever they stand.
    fn queue(&self) -> Vec<u64> {
        let spool = self.theatre.sandbox().folder().join("postfix/spool");
        let sizes = |queue: &str| -> Vec<u64> {
            let queue = spool.join(queue);
            let words = [queue.to_str().unwrap(), "-type", "f", "-printf", "%s\\n"];
            let listed = self.theatre.crew("find", &words);
            listed
                .lines()
                .filter_map(|size| size.parse().ok())
                .collect()
        };
        ["maildrop", "incoming", "active", "deferred"]
            .into_iter()
            .flat_map(sizes)
            .collect()
    }

    fn queued_bytes(&self) -> u64 {
        self.queue().iter().sum()
    }

    /// Lets somebody on the network, who is no part of the guarded machine, send mail. Returns
    /// what the server says to the message.
    fn mail_is_handed_in(&self, to: &str) -> String {
        let mut stream = self.theatre.connect(SERVER.parse().unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let to = format!("RCPT TO:<{to}>");
        let mut said = String::new();
        for line in [
            "",
            "HELO example.net",
            "MAIL FROM:<>",
            &to,
            "DATA",
            "Hello.\r\n.",
        ] {
            if !line.is_empty() {
                stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            }
            said.clear();
            answers.read_line(&mut said).unwrap();
            if !said.starts_with(['2', '3']) {
                break;
            }
        }
        said
    }

    /// The same to a user of the machine, and it is taken.
    fn mail_arrives_for(&self, user: &str) {
        let answer = self.mail_is_handed_in(&format!("{user}@{HERE}"));
        assert!(answer.starts_with('2'), "{answer}{}", self.maillog());
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn postfix_relays_what_the_user_hands_over() {
    let Some(scene) = Scene::open() else { return };
    let terminal: Terminal = scene.theatre.terminal();
    let mail = scene.theatre.write(
        "mail",
        "From: alice@example.org\nTo: bob@example.net\nSubject: Relayed\n\nHello.\n",
    );
    let mail = mail.display();

    // By SMTP, from a registered mailer.
    let msmtp = format!(
        "/usr/bin/msmtp --file=/dev/null --host=127.0.0.1 --port=25 --tls=off --auth=off \
         --from=alice@example.org bob@example.net < {mail}"
    );
    assert_eq!(
        terminal.run(&msmtp),
        0,
        "{} {}",
        terminal.screen(),
        scene.maillog()
    );
    let content = scene.relayed(1);
    assert!(
        content.contains("Subject: Relayed") && content.contains("relay.example.org"),
        "{content}"
    );
    // The user's connection and the service's are judged, each for itself.
    for (program, origin, to) in [("/usr/bin/msmtp", "user", SERVER), (SMTP, "system", WORLD)] {
        let program = std::fs::canonicalize(program).unwrap();
        let verdict = scene.theatre.wait_for(to, |entry| {
            word(entry, "verdict") == "allow"
                && word(entry, "judged") == "connect"
                && entry["program"] == program.to_str().unwrap()
        });
        assert_eq!(
            (word(&verdict, "origin"), word(&verdict, "destination")),
            (origin, to),
            "{verdict}"
        );
    }

    // By sendmail, from the shell and from a registered mailer.
    let sendmail = format!("{SENDMAIL} -f alice@example.org bob@example.net");
    assert_eq!(
        terminal.run(&format!("{sendmail} < {mail}")),
        0,
        "{}",
        terminal.screen()
    );
    assert!(scene.relayed(2).contains("Subject: Relayed"));
    let chain = scene.theatre.wait_for("postdrop", |entry| {
        word(entry, "program").ends_with("/postdrop")
    });
    assert_eq!(word(&chain, "verdict"), "allow", "{chain}");
    if Path::new("/usr/bin/mutt").exists() {
        scene
            .theatre
            .register_as(Path::new("/usr/bin/mutt"), "mailer", Some("batch"));
        let settings =
            format!("set sendmail=\"{SENDMAIL} -oi\"\nset copy=no\nset from=alice@example.org\n");
        let settings = scene.theatre.write("muttrc", &settings);
        let line = format!(
            "/usr/bin/mutt -n -F {} -s 'By mutt' bob@example.net < {mail}",
            settings.display()
        );
        assert_eq!(terminal.run(&line), 0, "{}", terminal.screen());
        assert!(scene.relayed(3).contains("By mutt"));
    }
    assert!(
        scene
            .theatre
            .log()
            .iter()
            .all(|entry| entry["type"] != "finding"),
        "{}",
        scene.theatre.daemon_words()
    );
    let stop = Start::new(POSTFIX).arg("stop");
    scene
        .theatre
        .sandbox()
        .start(&stop)
        .unwrap()
        .output(LIMIT)
        .unwrap();
}

/// As a unit with PrivateTmp= or PrivateDevices= has it: the scripts that start Postfix run in a mount
/// namespace of their own.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn postfix_starts_in_a_mount_namespace_of_its_unit() {
    const UNSHARE: &str = "/usr/bin/unshare";
    let Some(scene) = Scene::open() else { return };
    scene
        .theatre
        .register_as(Path::new(UNSHARE), "system", Some("service"));
    for start in [
        Start::new(POSTFIX).arg("stop"),
        Start::new(UNSHARE).args(["--mount", POSTFIX, "start"]),
    ] {
        let ran = scene.theatre.sandbox().start(&start).unwrap();
        let ran = ran.output(LIMIT).unwrap();
        assert!(ran.exit.success(), "{ran:?} {}", scene.maillog());
    }
    let answer = scene.mail_is_handed_in("bob@example.net");
    assert!(answer.starts_with("250"), "{answer}{}", scene.maillog());
    assert!(scene.relayed(1).contains("Hello."));
    let stop = Start::new(POSTFIX).arg("stop");
    let stopped = scene.theatre.sandbox().start(&stop).unwrap();
    stopped.wait(LIMIT).unwrap();
}

/// Where a content filter takes mail from the mail server before that has accepted it.
const FILTER: &str = "127.0.0.1:10025";

/// The server itself speaks to such a filter while a client waits.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_filter_before_the_queue_gets_its_mail() {
    let Some(scene) = Scene::open_with(|_| format!("smtpd_proxy_filter = {FILTER}\n")) else {
        return;
    };
    let filter = scene.theatre.smtp_at(&[FILTER]);
    let answer = scene.mail_is_handed_in("bob@example.net");
    assert!(
        answer.starts_with("250"),
        "{answer}{}\n{}",
        scene.maillog(),
        scene.theatre.daemon_words()
    );
    let messages = filter.wait_for_messages(1, LIMIT).unwrap();
    let content = String::from_utf8_lossy(&messages[0].content).into_owned();
    assert!(content.contains("Hello."), "{content}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn postfix_gets_nothing_from_a_bot() {
    let Some(scene) = Scene::open() else { return };
    let desktop = scene.theatre.desktop();
    let bot = scene.bot.to_str().unwrap();

    // By SMTP, to the local server and past it.
    for to in [SERVER, WORLD] {
        let before = scene.theatre.newest();
        desktop
            .run(&scene.bot, ["bot", "--smtp", to], LIMIT)
            .unwrap();
        let refusal = scene.refusal_after(before, to);
        assert_eq!(
            (word(&refusal, "destination"), word(&refusal, "culprit")),
            (to, bot),
            "{refusal}"
        );
    }
    // By the submitters, and by the program that speaks SMTP for the service.
    let script = scene
        .theatre
        .write("home/script", "#!/usr/sbin/postdrop -r\n");
    let script = script.to_str().unwrap();
    scene.theatre.crew("chmod", &["755", script]);
    let submitters: [(&str, &str, &[&str]); 5] = [
        (
            "postfix-sendmail",
            SENDMAIL,
            &["-f", "a@example.org", "bob@example.net"],
        ),
        ("postfix-postdrop", "/usr/sbin/postdrop", &["-r"]),
        ("postfix-interpreter", script, &[]),
        ("postfix-sendmail-t", SENDMAIL, &["-t"]),
        ("postfix-smtp", SMTP, &["-n", "smtp"]),
    ];
    for (row, program, words) in submitters {
        let before = scene.theatre.newest();
        let words = [&["launcher", program], words].concat();
        assert!(!desktop.run(&scene.bot, words, LIMIT).unwrap().success());
        let refusal = scene.refusal_after(before, program);
        assert_eq!(
            (word(&refusal, "judged"), word(&refusal, "culprit")),
            ("submit", bot),
            "{refusal}"
        );
        assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
        // What waits in a queue has got through as well.
        let bytes = scene.world.payload_bytes() + scene.queued_bytes();
        evasions::refused(row, bytes, &refusal, bot);
    }
    // By the desktop, which starts what anybody asks for.
    let before = scene.theatre.newest();
    let exit = desktop
        .run(
            Path::new(SENDMAIL),
            ["-f", "a@example.org", "bob@example.net"],
            LIMIT,
        )
        .unwrap();
    assert_eq!(exit.signal, Some(9));
    assert_eq!(
        scene.refusal_after(before, "desktop")["reason"],
        "needs-terminal"
    );

    assert_eq!(scene.queue(), [0; 0], "{}", scene.maillog());
    assert_eq!(scene.world.payload_bytes(), 0);
}

/// What only Postfix's own programs may write to: its sockets, and the folder of new mail.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn postfix_listens_to_nobody_else() {
    let Some(scene) = Scene::open() else { return };
    let spool = scene.theatre.sandbox().folder().join("postfix/spool");
    let spool = spool.display();
    for (row, line) in [
        (
            "postfix-socket",
            format!(
                "use IO::Socket::UNIX; for (<{spool}/public/*>, \"{spool}/public/cleanup\", \"{spool}/public/pickup\") \
                 {{ my $s = IO::Socket::UNIX->new(Peer => $_) or next; print $s \"mail\"; exit 1 }} print $!+0"
            ),
        ),
        (
            "postfix-maildrop",
            format!(
                "open(my $f, '>', \"{spool}/maildrop/0123456789\") and (print $f \"mail\"), exit 1; print $!+0"
            ),
        ),
    ] {
        let start = Start::new(&scene.bot).args(["launcher", "/usr/bin/perl", "-e", &line]);
        let ran = scene.theatre.start(start).output(LIMIT).unwrap();
        assert!(ran.exit.success(), "{ran:?}");
        // EACCES
        assert_eq!(ran.stdout, "13", "{ran:?}");
        let bytes = scene.world.payload_bytes() + scene.queued_bytes();
        evasions::stopped(row, bytes, "EACCES");
    }
}

/// The user's file that says where mail for the user goes on: to a program, or to another
/// address.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_forward_file_is_the_mail_servers_own_matter() {
    let forward = |scene: &Scene, text: &str| {
        let file = scene.theatre.home().join(".forward");
        std::fs::write(&file, text).unwrap();
        chown(&file, Some(PERSON.0), Some(PERSON.1)).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        scene.mail_arrives_for("nobody");
    };
    let settings = |theatre: &Theatre| {
        let home = theatre.home();
        format!(
            "mydestination = {HERE}\nforward_path = {}/.forward\n",
            home.display()
        )
    };
    let Some(scene) = Scene::open_with(settings) else {
        return;
    };
    let before = scene.theatre.newest();
    let bot = scene.bot.display();
    forward(&scene, &format!("\"|{bot} bot --smtp {WORLD}\"\n"));
    let refusal = scene.refusal_after(before, "forward");
    assert_eq!(
        refusal["reason"],
        "not-a-mailer",
        "{refusal} {}",
        scene.maillog()
    );
    // What delivers is root's own; the bot that it starts for the user is not.
    assert_eq!(
        word(&refusal, "culprit"),
        scene.bot.to_str().unwrap(),
        "{refusal}"
    );
    assert_eq!(word(&refusal, "program"), scene.bot.to_str().unwrap());
    evasions::refused("forward", scene.world.payload_bytes(), &refusal, &scene.bot);

    forward(&scene, "bob@example.net\n");
    scene.relayed(1);
    evasions::got_through(
        "forward-address",
        scene.world.payload_bytes(),
        None,
        &scene.bot,
    );
}

/// An alias may pipe into a program of root's that answers. Nobody but the administrator says so: the
/// program that delivers locally, and what it starts, are registered by hand.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_alias_pipes_into_a_registered_script() {
    let settings = |theatre: &Theatre| {
        let aliases = theatre.write("aliases", "prog \"|/mnt/answer\"\n");
        let aliases = aliases.display();
        format!("mydestination = {HERE}\nalias_maps = texthash:{aliases}\n")
    };
    let Some(scene) = Scene::open_with(settings) else {
        return;
    };
    let theatre = &scene.theatre;
    let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
    theatre.sandbox().run_inside(mounted).unwrap().unwrap();
    theatre.put(
        "/mnt/answer",
        "#!/bin/sh\n(echo To: bob@example.net; echo Subject: Answer; echo; echo x) | /usr/sbin/sendmail -t\n",
    );
    theatre.crew("chmod", &["755", "/mnt/answer"]);
    let before = theatre.newest();
    scene.mail_arrives_for("prog");
    scene.refusal_after(before, "answer");
    assert_eq!(scene.world.payload_bytes(), 0);

    for program in [LOCAL, "/mnt/answer"] {
        theatre.register_as(Path::new(program), "mailer", Some("service"));
    }
    // The program that delivered before has not ended yet.
    let reload = Start::new(POSTFIX).arg("reload");
    let reloaded = theatre.sandbox().start(&reload).unwrap();
    assert!(reloaded.wait(LIMIT).unwrap().success());
    scene.mail_arrives_for("prog");
    assert!(scene.relayed(1).contains("Subject: Answer"));
}

/// What a job writes is sent by cron, to whatever address the user's table names.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn cron_sends_no_mail_for_a_job() {
    if is_missing(&[CRON]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    scene.theatre.register_as(Path::new(CRON), "launcher", None);
    scene.theatre.own_job_folders();
    let before = scene.theatre.newest();
    let home = scene.theatre.home();
    let table = format!(
        "MAILTO=bob@example.net\nHOME={}\n@reboot echo Spam\n",
        home.display()
    );
    let cron = scene.theatre.cron(&table);
    let refusal = scene
        .theatre
        .wait_after(before, "refusal", |entry| word(entry, "judged") == "submit");
    assert_eq!(refusal["verdict"], "refuse", "{refusal}");
    cron.signal(rustix::process::Signal::TERM.as_raw()).unwrap();
    cron.wait(LIMIT).unwrap();
    let bytes = scene.world.payload_bytes() + scene.queued_bytes();
    evasions::refused("cron-mail", bytes, &refusal, CRON);
}
