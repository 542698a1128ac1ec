//! The machine may mail its administrator: what root's own files do in an unbroken chain hands mail to this
//! machine's mail server, and to nobody else. What others can write, or do, ends the chain.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use e2e::{LIMIT, Options, PERSON, Theatre, Top, evasions, is_missing, word};
use serde_json::Value;
use stage::{SmtpServer, Start};

const PERL: &str = "/usr/bin/perl";
/// A line of Perl that connects to a mail server and says what it is told to.
const ENGINE: &str = "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => shift, Timeout => 5) or exit 1; \
     print $s qq(EHLO a\\r\\n); exit 0";

struct Scene {
    mail: SmtpServer,
    submitter: PathBuf,
    theatre: Theatre,
}

/// A machine whose service manager starts things, with a submitter.
fn scene() -> Option<Scene> {
    let options = Options {
        top: Top::Services,
        ..Options::default()
    };
    let theatre = Theatre::open_with(&options)?;
    let mail = theatre.smtp_at(&["127.0.0.1:25", "198.51.100.25:25"]);
    let submitter = theatre.registered("sendmail", "submitter", None);
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    theatre.raise().then_some(Scene {
        mail,
        submitter,
        theatre,
    })
}

impl Scene {
    /// Runs something as root, as a unit of the machine's does.
    fn unit(&self, start: &Start) -> bool {
        let started = self.theatre.sandbox().start(start).unwrap();
        started.output(LIMIT).unwrap().exit.success()
    }

    fn submits(&self) -> String {
        let queue = self.theatre.sandbox().folder().join("queue");
        format!(
            "{} submit --spool {}",
            self.submitter.display(),
            queue.display()
        )
    }

    /// A script with this mode and owner, in a folder of root's.
    fn script(&self, name: &str, mode: u32, owner: u32) -> PathBuf {
        let folder = self.theatre.sandbox().folder().join("scripts");
        if !folder.exists() {
            fs::create_dir(&folder).unwrap();
            // What is called /opt inside is this sandbox's own.
            self.theatre.lay_over(&folder, "/opt");
        }
        let text = format!("#!/bin/bash\n{}\n", self.submits());
        let path = self.theatre.write(&format!("scripts/{name}"), &text);
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Path::new("/opt").join(name)
    }

    fn refusal(&self, before: u64) -> Value {
        self.theatre.wait_after(before, "refusal", |entry| {
            word(entry, "verdict") == "refuse"
        })
    }
}

/// Code of a unit, a script that only root can write, and root's own Perl hand mail to the machine's server.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_root_alone_can_write_hands_mail_to_the_machines_server() {
    let Some(scene) = scene() else { return };
    let submits = scene.submits();
    assert!(scene.unit(&Start::new("/bin/bash").args(["-c", &submits])));
    let script = scene.script("job", 0o755, 0);
    assert!(scene.unit(&Start::new(&script)));
    let script = script.to_str().unwrap();
    assert!(scene.unit(&Start::new("/bin/bash").args(["-e", script])));
    let entry = scene.theatre.wait_for("submission", |entry| {
        word(entry, "verdict") == "allow" && word(entry, "origin") == "service"
    });
    assert_eq!(word(&entry, "program"), scene.submitter.to_str().unwrap());
    if !is_missing(&[PERL]) {
        let engine = ["-e", ENGINE, "127.0.0.1:25"];
        assert!(scene.unit(&Start::new(PERL).args(engine)));
    }
}

/// The same chain reaches no server elsewhere.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_root_alone_can_write_sends_nothing_elsewhere() {
    if is_missing(&[PERL]) {
        return;
    }
    let Some(scene) = scene() else { return };
    let before = scene.theatre.newest();
    let engine = ["-e", ENGINE, "198.51.100.25:25"];
    assert!(!scene.unit(&Start::new(PERL).args(engine)));
    let refusal = scene.refusal(before);
    assert_eq!(refusal["reason"], "needs-rule", "{refusal}");
    assert_eq!(refusal["origin"], "service", "{refusal}");
    evasions::stopped("service-outside", scene.mail.payload_bytes(), "needs-rule");
}

/// A script that others can write, and root's Perl in the hands of another user.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_others_can_write_or_start_is_nobodys() {
    let Some(scene) = scene() else { return };
    for (row, mode, owner) in [
        ("service-script-mode", 0o777, 0),
        ("service-script-owner", 0o755, PERSON.0),
    ] {
        let script = scene.script(row, mode, owner);
        // The keeper looks at the script when it is first seen; what runs it again is foreign at once.
        let _ = scene.unit(&Start::new(&script));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let before = scene.theatre.newest();
        assert!(!scene.unit(&Start::new(&script)), "{row}");
        let refusal = scene.refusal(before);
        assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
        evasions::stopped(row, scene.mail.payload_bytes(), "foreign-origin");
    }
    if is_missing(&[PERL]) {
        return;
    }
    let before = scene.theatre.newest();
    let words = ["-e", ENGINE, "127.0.0.1:25"];
    let ran = scene.theatre.start(Start::new(PERL).args(words));
    assert!(!ran.output(LIMIT).unwrap().exit.success());
    let refusal = scene.refusal(before);
    assert_eq!(refusal["origin"], "foreign", "{refusal}");
    evasions::stopped("service-user", scene.mail.payload_bytes(), "not-a-mailer");
}
