//! Real mail servers and their helpers on the stage, as Debian installs them: registered by `setup --yes`
//! alone, started as systemd starts their units, in a mount namespace of the unit's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use e2e::{LIMIT, Theatre, wait_until, word};
use rustix::mount::{MountFlags, mount, mount_bind};
use serde_json::Value;
use stage::{Process, SmtpServer, Start};

/// Where the world's mail server stands: the smarthost.
const WORLD: &str = "198.51.100.25:587";
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const UNSHARE: &str = "/usr/bin/unshare";
const SETPRIV: &str = "/usr/bin/setpriv";

/// A machine that starts a mail server at boot.
struct Machine {
    theatre: Theatre,
    accounts: Vec<u32>,
}

impl Machine {
    fn with(server: &str, unit: &str, accounts: &[&str]) -> Option<Self> {
        let theatre = Theatre::open()?;
        let accounts = theatre.unpack_server(server, accounts)?;
        let wants = "/etc/systemd/system/multi-user.target.wants";
        theatre.crew("mkdir", &["-p", wants]);
        let unit = format!("{unit}.service");
        let link = format!("{wants}/{unit}");
        theatre.crew(
            "ln",
            &["-sf", &format!("/lib/systemd/system/{unit}"), &link],
        );
        Some(Self { theatre, accounts })
    }

    fn own(&self, account: usize, folders: &[&str]) {
        let owner = format!("{0}:{0}", self.accounts[account]);
        for folder in folders {
            self.theatre.crew("mkdir", &["-p", folder]);
            self.theatre.crew("chown", &[&owner, folder]);
        }
    }

    /// Registers what there is, and closes the gate.
    fn set_up(&self) -> bool {
        let ran = self.theatre.sekimori(&["setup", "--yes"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        // What stands in for the service manager: it makes the unit's mount namespace, and becomes its user.
        for program in [UNSHARE, SETPRIV] {
            self.theatre
                .register_as(Path::new(program), "system", Some("service"));
        }
        self.theatre.raise()
    }

    /// Starts a unit with `PrivateTmp=` and perhaps `User=`.
    fn start(&self, user: Option<u32>, words: &[&str]) -> Process {
        let user = user.map(|user| user.to_string());
        let mut line = vec!["--mount"];
        if let Some(user) = &user {
            line.extend([SETPRIV, "--reuid", user, "--regid", user, "--clear-groups"]);
        }
        line.extend(words);
        let start = Start::new(UNSHARE).args(line).env("PATH", PATH);
        self.theatre.sandbox().start(&start).unwrap()
    }

    /// Waits until somebody listens there.
    fn reach(&self, to: &str, server: &Process) -> TcpStream {
        let to: SocketAddr = to.parse().unwrap();
        let stream = wait_until(LIMIT, || self.theatre.connect(to).ok());
        let stream = stream.unwrap_or_else(|| {
            let words = self.theatre.daemon_words();
            panic!(
                "nobody listens at {to}: {} {}\n{words}",
                server.stdout(),
                server.stderr()
            )
        });
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Hands mail in from the network; `hello` is HELO, EHLO or LHLO.
    fn hand_in(&self, to: &str, server: &Process, hello: &str, recipient: &str, subject: &str) {
        let mut stream = self.reach(to, server);
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let recipient = format!("RCPT TO:<{recipient}>");
        let content = format!("From: <a@example.net>\r\nSubject: {subject}\r\n\r\nHello.\r\n.");
        let lines = [
            "",
            hello,
            "MAIL FROM:<a@example.net>",
            &recipient,
            "DATA",
            &content,
            "QUIT",
        ];
        for line in lines {
            if !line.is_empty() {
                stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            }
            let mut said = String::new();
            loop {
                said.clear();
                answers.read_line(&mut said).unwrap();
                if said.get(3..4) != Some("-") {
                    break;
                }
            }
            assert!(
                said.starts_with(['2', '3']),
                "{line}: {said} {} {}\n{}",
                server.stdout(),
                server.stderr(),
                self.theatre.daemon_words()
            );
        }
    }

    /// A person at a terminal hands a message to `sendmail`.
    fn a_person_sends(&self) {
        let terminal = self.theatre.terminal();
        let mail = self
            .theatre
            .write("mail", "To: bob@example.net\nSubject: By hand\n\nHello.\n");
        let line = format!(
            "/usr/sbin/sendmail -f alice@example.org -t < {}",
            mail.display()
        );
        assert_eq!(terminal.run(&line), 0, "{}", terminal.screen());
    }

    fn refusals(&self) -> Vec<Value> {
        let log = self.theatre.log().into_iter();
        log.filter(|entry| word(entry, "verdict") == "refuse")
            .collect()
    }

    /// Waits until a server has got a message, and returns it.
    fn arrived(&self, at: &SmtpServer, count: usize, server: &Process) -> String {
        let messages = at.wait_for_messages(count, LIMIT).unwrap_or_else(|error| {
            let words = self.theatre.daemon_words();
            panic!("{error}: {} {}\n{words}", server.stdout(), server.stderr())
        });
        String::from_utf8_lossy(&messages[count - 1].content).into_owned()
    }
}

/// A Perl script in a mount namespace of its unit's own, which speaks SMTP on ports of its own.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn amavis_gives_back_what_it_has_looked_at() {
    const SETTINGS: &str = "use strict;
$max_servers = 1; $daemon_user = 'amavis'; $daemon_group = 'amavis';
$MYHOME = '/var/lib/amavis'; $TEMPBASE = \"$MYHOME/tmp\"; $QUARANTINEDIR = undef; $db_home = \"$MYHOME/db\";
$pid_file = \"$MYHOME/amavisd.pid\"; $lock_file = \"$MYHOME/amavisd.lock\";
$myhostname = 'here.example.org'; $mydomain = 'example.org'; @local_domains_maps = (1);
@bypass_virus_checks_maps = (1); @bypass_spam_checks_maps = (1); $bypass_decode_parts = 1;
$enable_db = 0; $enable_zmq = 0; $inet_socket_port = 10024; $log_level = 1; $do_syslog = 0;
$forward_method = 'smtp:[127.0.0.1]:10025'; $notify_method = $forward_method;
1;
";
    let Some(machine) = Machine::with("amavis", "amavis", &["amavis"]) else {
        return;
    };
    machine.own(
        0,
        &[
            "/var/lib/amavis",
            "/var/lib/amavis/tmp",
            "/var/lib/amavis/db",
        ],
    );
    machine.theatre.put("/etc/amavis/amavisd.conf", SETTINGS);
    let next = machine.theatre.smtp_at(&["127.0.0.1:10025"]);
    if !machine.set_up() {
        return;
    }
    let words = [
        "/usr/sbin/amavisd",
        "-c",
        "/etc/amavis/amavisd.conf",
        "foreground",
    ];
    let amavis = machine.start(Some(machine.accounts[0]), &words);
    machine.hand_in(
        "127.0.0.1:10024",
        &amavis,
        "EHLO here.example.org",
        "bob@example.org",
        "Looked at",
    );
    assert!(machine.arrived(&next, 1, &amavis).contains("Looked at"));
    assert_eq!(machine.refusals(), [Value::Null; 0]);
}

/// Dovecot takes mail by LMTP, and a user's Sieve script forwards it: by sendmail, or by SMTP.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn dovecot_delivers_and_a_sieve_script_forwards() {
    const SETTINGS: &str = "\
protocols = lmtp
listen = 127.0.0.1
base_dir = /run/dovecot
log_path = /dev/stderr
ssl = no
mail_location = maildir:/var/mail/%n
postmaster_address = postmaster@example.org
hostname = here.example.org
default_login_user = dovenull
default_internal_user = dovecot
default_internal_group = dovecot
first_valid_uid = 1
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/mail/%n
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = 24
  }
}
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:/var/mail/forward.sieve
}
auth_username_format = %n
";
    if e2e::is_missing(&["/usr/sbin/postdrop"]) {
        return;
    }
    let accounts = ["dovecot", "dovenull", "vmail"];
    let Some(machine) = Machine::with("dovecot", "dovecot", &accounts) else {
        return;
    };
    let world = machine.theatre.smtp_at(&["127.0.0.1:25"]);
    machine.own(2, &["/var/mail", "/var/mail/alice"]);
    machine.theatre.put(
        "/var/mail/forward.sieve",
        "redirect \"bob@example.net\";\nkeep;\n",
    );
    machine.theatre.crew(
        "chown",
        &[&machine.accounts[2].to_string(), "/var/mail/forward.sieve"],
    );
    // Where Postfix's postdrop puts new mail.
    let spool = "/var/spool/postfix";
    machine.theatre.crew(
        "install",
        &[
            "-d",
            "-o",
            "root",
            "-m",
            "755",
            spool,
            "/var/spool/postfix/pid",
        ],
    );
    let maildrop = "/var/spool/postfix/maildrop";
    machine.theatre.crew(
        "install",
        &[
            "-d", "-o", "postfix", "-g", "postdrop", "-m", "1730", maildrop,
        ],
    );
    machine.theatre.crew(
        "install",
        &[
            "-d",
            "-o",
            "postfix",
            "-g",
            "postdrop",
            "-m",
            "710",
            "/var/spool/postfix/public",
        ],
    );
    machine.theatre.put(
        "/etc/postfix/main.cf",
        "compatibility_level = 3.6\nmyhostname = here.example.org\n",
    );
    machine.theatre.put("/etc/dovecot/dovecot.conf", SETTINGS);
    let by_smtp = format!("{SETTINGS}submission_host = 127.0.0.1:25\n");
    machine.theatre.put("/etc/dovecot/smtp.conf", &by_smtp);
    if !machine.set_up() {
        return;
    }
    let dovecot = machine.start(None, &["/usr/sbin/dovecot", "-F"]);
    machine.hand_in(
        "127.0.0.1:24",
        &dovecot,
        "LHLO here.example.org",
        "alice@example.org",
        "By sendmail",
    );
    let queued = || {
        let found = machine.theatre.crew(
            "grep",
            &[
                "-rls",
                "-e",
                "By sendmail",
                "/var/mail",
                "-e",
                "By sendmail",
            ],
        );
        let files = machine
            .theatre
            .crew("find", &[maildrop, "-type", "f", "-size", "+0"]);
        (found.contains("/var/mail/alice") && !files.is_empty()).then_some(())
    };
    wait_until(LIMIT, queued).unwrap_or_else(|| {
        panic!(
            "{} {}\n{}",
            dovecot.stdout(),
            dovecot.stderr(),
            machine.theatre.daemon_words()
        )
    });
    assert_eq!(machine.refusals(), [Value::Null; 0]);
    dovecot
        .signal(rustix::process::Signal::TERM.as_raw())
        .unwrap();
    dovecot.wait(LIMIT).unwrap();

    let dovecot = machine.start(
        None,
        &["/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/smtp.conf"],
    );
    machine.hand_in(
        "127.0.0.1:24",
        &dovecot,
        "LHLO here.example.org",
        "alice@example.org",
        "By SMTP",
    );
    assert!(machine.arrived(&world, 1, &dovecot).contains("By SMTP"));
    assert_eq!(machine.refusals(), [Value::Null; 0]);
}

/// OpenSMTPD starts its parts from its own file, and `sendmail` leads to its control program.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn opensmtpd_relays() {
    let accounts = ["opensmtpd", "opensmtpq"];
    let Some(machine) = Machine::with("opensmtpd", "opensmtpd", &accounts) else {
        return;
    };
    // As the package's script sets it, once its group has a number.
    let control = e2e::unpacked("opensmtpd").unwrap().join("usr/sbin/smtpctl");
    std::os::unix::fs::chown(&control, None, Some(machine.accounts[1])).unwrap();
    std::fs::set_permissions(&control, std::fs::Permissions::from_mode(0o2755)).unwrap();
    machine.theatre.put(
        "/etc/smtpd.conf",
        "listen on 127.0.0.1\naction \"out\" relay host smtp://198.51.100.25:587\nmatch from any for any action \"out\"\n",
    );
    machine.theatre.put("/etc/mailname", "here.example.org\n");
    machine.theatre.crew(
        "mkdir",
        &["-p", "/var/lib/opensmtpd/empty", "/var/spool/smtpd"],
    );
    machine.theatre.crew("chmod", &["711", "/var/spool/smtpd"]);
    let world = machine.theatre.smtp_at(&[WORLD]);
    if !machine.set_up() {
        return;
    }
    let smtpd = machine.start(None, &["/usr/sbin/smtpd", "-d"]);
    machine.hand_in(
        "127.0.0.1:25",
        &smtpd,
        "EHLO here.example.org",
        "bob@example.net",
        "From outside",
    );
    assert!(machine.arrived(&world, 1, &smtpd).contains("From outside"));
    machine.a_person_sends();
    assert!(machine.arrived(&world, 2, &smtpd).contains("By hand"));
    assert_eq!(machine.refusals(), [Value::Null; 0]);
}

/// nullmailer's queue is its own user's, and a program for each protocol sends.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn nullmailer_relays() {
    let Some(machine) = Machine::with("nullmailer", "nullmailer", &[]) else {
        return;
    };
    let spool = "/var/spool/nullmailer";
    for folder in ["queue", "tmp", "failed"] {
        let folder = format!("{spool}/{folder}");
        machine.theatre.crew(
            "install",
            &["-d", "-o", "mail", "-g", "root", "-m", "700", &folder],
        );
    }
    machine.theatre.crew("chown", &["mail", spool]);
    let trigger = format!("{spool}/trigger");
    machine.theatre.crew("mkfifo", &["-m", "600", &trigger]);
    machine.theatre.crew("chown", &["mail", &trigger]);
    machine
        .theatre
        .put("/etc/nullmailer/remotes", "198.51.100.25 smtp --port=587\n");
    machine.theatre.put("/etc/mailname", "here.example.org\n");
    let world = machine.theatre.smtp_at(&[WORLD]);
    if !machine.set_up() {
        return;
    }
    let sender = machine.start(Some(8), &["/usr/sbin/nullmailer-send"]);
    machine.a_person_sends();
    assert!(machine.arrived(&world, 1, &sender).contains("By hand"));
    assert_eq!(machine.refusals(), [Value::Null; 0]);
}

/// A unit's own mount namespace is made by root, so a script in it counts. A container has another root
/// folder, and a program without privilege needs a user namespace first: no script counts there.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_script_counts_where_the_machines_root_folder_is() {
    const SCRIPT: &str = "#!/usr/bin/perl
use IO::Socket::INET;
IO::Socket::INET->new(PeerAddr => '127.0.0.1:25') or exit 9;
";
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
    theatre.sandbox().run_inside(mounted).unwrap().unwrap();
    let container = "/mnt/container";
    for place in ["/mnt/unit-mailer", "/mnt/container/mnt/unit-mailer"] {
        theatre.put(place, SCRIPT);
        theatre.crew("chmod", &["755", place]);
    }
    for folder in ["/usr", "/bin", "/lib", "/lib64"] {
        let place = format!("{container}{folder}");
        theatre.crew("mkdir", &["-p", &place]);
        let bound = || mount_bind(folder, &place);
        theatre.sandbox().run_inside(bound).unwrap().unwrap();
    }
    theatre.register_as(Path::new("/mnt/unit-mailer"), "mailer", Some("service"));
    theatre.register_as(Path::new(UNSHARE), "system", Some("service"));
    if !theatre.raise() {
        return;
    }
    let root = format!("--root={container}");
    let run = |options: &[&str]| {
        let start = Start::new(UNSHARE).args(options).arg("/mnt/unit-mailer");
        let ran = theatre.sandbox().start(&start).unwrap();
        ran.wait(LIMIT).unwrap().code
    };
    assert_eq!(run(&["--mount"]), Some(0), "{}", theatre.daemon_words());
    for options in [
        &["--mount", &root][..],
        &["--user", "--map-root-user", "--mount"],
    ] {
        let before = theatre.newest();
        assert_eq!(run(options), Some(9), "{options:?}");
        let refusal = theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        });
        assert_eq!(refusal["reason"], "not-a-mailer", "{options:?}: {refusal}");
    }
    assert_eq!(server.connection_count(), 1);
}
