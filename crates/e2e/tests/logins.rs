//! Logging in over the network, with the real SSH server and a key that works. A person elsewhere
//! who does so sits at an interactive shell; a program on this machine that does so, does not.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use e2e::ssh::{SSH, SSH_KEYGEN, SSHD, Ssh};
use e2e::{LIMIT, Options, SERVER, Theatre, Top, evasions, is_missing, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;
use stage::{Place, Process, SmtpServer, Start};

const BASH: &str = "/usr/bin/bash";
const AGETTY: &str = "/usr/sbin/agetty";
const IP: &str = "/usr/sbin/ip";
const SOCAT: &str = "/usr/bin/socat";
const PORT: u16 = 2222;
/// Two addresses of this machine, neither of which begins with 127.
const OWN: [&str; 2] = ["198.51.100.25", "198.51.100.26"];
/// The two ends of the wire to another machine.
const WIRE: [&str; 2] = ["203.0.113.1", "203.0.113.2"];

struct Scene {
    mail: SmtpServer,
    ssh: Ssh,
    batch: PathBuf,
    bot: PathBuf,
    theatre: Theatre,
}

impl Scene {
    /// As a login program of sorts, which `register` would not take it for.
    fn register_socat(&self, kind: &str) {
        let words = [
            "register", SOCAT, "--as", "system", "--kind", kind, "--force",
        ];
        let ran = self.theatre.sekimori(&words);
        assert_eq!(ran.status, 0, "{ran:?}");
    }

    /// All that is there before the gate is up.
    fn open() -> Option<Self> {
        if is_missing(&[SSH, SSHD, SSH_KEYGEN, IP]) {
            return None;
        }
        let theatre = Theatre::open()?;
        theatre.register_as(Path::new(SSHD), "system", Some("interactive"));
        theatre.register_as(Path::new(BASH), "shell", None);
        Some(Self {
            mail: theatre.smtp(),
            ssh: Ssh::prepare(&theatre),
            batch: theatre.registered("batch", "mailer", Some("batch")),
            bot: theatre.player("bot"),
            theatre,
        })
    }

    /// A script that logs in to `host` and, once there is a file `go`, types what sends a mail.
    fn script(&self, name: &str, host: &str) -> PathBuf {
        let go = self.theatre.sandbox().folder().join("go");
        let text = format!(
            "(while [ ! -e {} ]; do sleep 0.05; done; \
             echo '{} mailer --server {SERVER} --timeout-ms 2000'; sleep 0.3; echo exit) \
             | {} -tt {host}\n",
            go.display(),
            self.batch.display(),
            self.ssh.words(PORT),
        );
        self.theatre.write(name, &text)
    }

    /// The bot runs it.
    fn bot_logs_in(&self, host: &str) -> Process {
        let script = self.script("bot-script", host);
        let words = ["launcher", "/bin/sh", script.to_str().unwrap()];
        self.theatre.start(Start::new(&self.bot).args(words))
    }

    fn go(&self) {
        self.theatre.write("go", "");
    }

    /// The mailer in the shell at the other end is refused, and no byte has left.
    fn refused(&self, row: &str, login: Process) {
        let before = self.theatre.newest();
        self.go();
        let refusal = self.refusal_after(before, row);
        let report = login.output(LIMIT).unwrap();
        assert!(report.stdout.contains("mailer"), "{row}: {report:?}");
        let bytes = self.mail.payload_bytes();
        // The login is the system's; the shell is the first that carries somebody else's will.
        evasions::refused(row, bytes, &refusal, BASH);
    }

    fn refusal_after(&self, before: u64, what: &str) -> Value {
        let refusal = self
            .theatre
            .wait_after(before, what, |entry| word(entry, "verdict") == "refuse");
        assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
        refusal
    }
}

fn everywhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], PORT))
}

/// By the loopback address, and by addresses that the machine has in its networks.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_program_that_logs_in_to_its_own_machine_is_nobody() {
    let Some(scene) = Scene::open() else { return };
    if !scene.theatre.raise() {
        return;
    }
    let server = scene.ssh.serve(&scene.theatre, everywhere());
    for (row, host) in [
        ("ssh-login", "127.0.0.1".to_owned()),
        ("ssh-login-address", format!("-b {} {}", OWN[1], OWN[0])),
    ] {
        scene.refused(row, scene.bot_logs_in(&host));
        std::fs::remove_file(scene.theatre.sandbox().folder().join("go")).unwrap();
    }
    let _ = server.signal(Signal::TERM.as_raw());
}

/// It was logged in already when the gate came.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_login_from_before_the_gate_is_nobody_too() {
    let Some(scene) = Scene::open() else { return };
    let server = scene.ssh.serve(&scene.theatre, everywhere());
    let login = scene.bot_logs_in("127.0.0.1");
    let home = scene.theatre.home();
    let is_there = || {
        let at_home = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == home)
                && std::fs::read_link(format!("/proc/{pid}/fd/0"))
                    .is_ok_and(|terminal| terminal.starts_with("/dev/pts"))
        };
        processes().iter().any(at_home).then_some(())
    };
    wait_until(LIMIT, is_there).expect("a shell at the other end");
    if !scene.theatre.raise() {
        return;
    }
    scene.refused("ssh-login-older", login);
    let _ = server.signal(Signal::TERM.as_raw());
}

/// A person elsewhere logs in and sends; at a server that the person's own account runs, with keys
/// that any of its programs may have written, nobody is logged in.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn who_logs_in_from_elsewhere_is_the_user() {
    let Some(scene) = Scene::open() else { return };
    if !scene.theatre.raise() {
        return;
    }
    let elsewhere = Elsewhere::wired(&scene.theatre);
    scene.go();
    let server = scene.ssh.serve(&scene.theatre, everywhere());
    let before = scene.mail.messages().len();
    let said = elsewhere.run(&scene.theatre, &scene.script("person", WIRE[0]));
    assert_eq!(scene.mail.messages().len(), before + 1, "{said}");
    let _ = server.signal(Signal::TERM.as_raw());
    let closed = || scene.theatre.connect(([127, 0, 0, 1], PORT).into()).err();
    wait_until(LIMIT, closed).expect("a server that ends");

    let bytes = scene.mail.payload_bytes();
    let server = scene.ssh.serve_as_person(&scene.theatre, everywhere());
    let newest = scene.theatre.newest();
    let said = elsewhere.run(&scene.theatre, &scene.script("stranger", WIRE[0]));
    let said = format!("{said}\n{}", server.stderr());
    let refusal = scene.refusal_after(newest, &said);
    let more = scene.mail.payload_bytes() - bytes;
    evasions::refused("ssh-login-own-server", more, &refusal, BASH);
    let _ = server.signal(Signal::TERM.as_raw());
}

/// Through a socket of the machine's own, as systemd sets one up for `ssh .host`: there is no network in
/// between that could tell where somebody is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_login_by_a_named_socket_is_nobody() {
    if is_missing(&[SOCAT]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    scene.register_socat("batch");
    if !scene.theatre.raise() {
        return;
    }
    let socket = scene.theatre.sandbox().folder().join("ssh.socket");
    let listen = format!("UNIX-LISTEN:{},fork,mode=666", socket.display());
    let serve = scene.ssh.config(everywhere());
    let serve = format!("EXEC:{SSHD} -i -f {},nofork", serve.display());
    let server = scene.theatre.sandbox();
    let server = server
        .start(&Start::new(SOCAT).args([listen, serve]))
        .unwrap();
    wait_until(LIMIT, || socket.exists().then_some(())).expect("a socket");
    let proxy = format!("{SOCAT} - UNIX-CONNECT:{}", socket.display());
    let login = scene.bot_logs_in(&format!("-o ProxyCommand='{proxy}' .host"));
    scene.refused("ssh-login-socket", login);
    let _ = server.signal(Signal::TERM.as_raw());
}

/// The shell begins when the other side has said all that it wants to: the connection is half closed.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_login_that_is_half_closed_comes_from_here_all_the_same() {
    if is_missing(&[SOCAT]) {
        return;
    }
    let Some(scene) = Scene::open() else { return };
    scene.register_socat("interactive");
    if !scene.theatre.raise() {
        return;
    }
    let listen = format!("TCP-LISTEN:{PORT},reuseaddr,fork");
    let shell = format!("EXEC:{BASH},pty,setsid,ctty,stderr");
    let words = ["-t5".to_owned(), listen, shell];
    let server = scene
        .theatre
        .sandbox()
        .start(&Start::new(SOCAT).args(words))
        .unwrap();
    let line = format!("{} mailer --server {SERVER}\nexit\n", scene.batch.display());
    let elsewhere = Elsewhere::wired(&scene.theatre);
    let client = format!("printf '{line}' | {SOCAT} -t5 - TCP:{}:{PORT}\n", WIRE[0]);
    let said = elsewhere.run(&scene.theatre, &scene.theatre.write("client", &client));
    assert_eq!(scene.mail.messages().len(), 1, "{said}");

    let before = scene.theatre.newest();
    let mut login = scene
        .theatre
        .connect(([127, 0, 0, 1], PORT).into())
        .unwrap();
    login.write_all(line.as_bytes()).unwrap();
    login.shutdown(Shutdown::Write).unwrap();
    let refusal = scene.refusal_after(before, "a refusal");
    let bytes = evasions::beyond(&scene.mail, 1);
    evasions::refused("login-half-closed", bytes, &refusal, BASH);
    let _ = server.signal(Signal::TERM.as_raw());
}

/// Root's getty on a terminal whose other end a program holds, as `machinectl login .host` has the service
/// manager start one for any user who asks.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_getty_on_a_terminal_of_a_program_is_nobody() {
    if is_missing(&[AGETTY]) {
        return;
    }
    let options = Options {
        top: Top::Services,
        ..Options::default()
    };
    let Some(theatre) = Theatre::open_with(&options) else {
        return;
    };
    let mail = theatre.smtp();
    let batch = theatre.registered("batch", "mailer", Some("batch"));
    theatre.register_as(Path::new(AGETTY), "system", Some("interactive"));
    theatre.register_as(Path::new(BASH), "shell", None);
    if !theatre.raise() {
        return;
    }
    let words = ["--skip-login", "--login-program", BASH, "-", "dumb"];
    let login = theatre
        .sandbox()
        .start_on_pty(&Start::new(AGETTY).args(words))
        .unwrap();
    let before = theatre.newest();
    let send = format!(
        "{} mailer --server {SERVER} --timeout-ms 2000",
        batch.display()
    );
    login.type_line(&send).unwrap();
    let refusal = theatre.wait_after(before, "a refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    evasions::refused("login-pty", mail.payload_bytes(), &refusal, BASH);
    login.type_line("exit").unwrap();
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// A network of its own at the other end of a wire: another machine.
struct Elsewhere {
    keeper: Child,
}

impl Elsewhere {
    fn wired(theatre: &Theatre) -> Self {
        let keeper = theatre
            .sandbox()
            .command("/usr/bin/unshare", Place::Crew, None)
            .unwrap()
            .args(["-n", "/bin/sleep", "120"])
            .spawn()
            .unwrap();
        let elsewhere = Self { keeper };
        let pid = elsewhere.keeper.id().to_string();
        let network =
            |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        let crew = theatre.crew("/usr/bin/readlink", &["/proc/self/ns/net"]);
        let is_apart = || (network(&pid) != Path::new(crew.trim())).then_some(());
        wait_until(LIMIT, is_apart).expect("a network of its own");
        let words = "link add wire0 type veth peer name wire1 netns";
        let words: Vec<&str> = words.split(' ').chain([pid.as_str()]).collect();
        theatre.crew(IP, &words);
        for (ip, name, there) in [(WIRE[0], "wire0", false), (WIRE[1], "wire1", true)] {
            let address = format!("{ip}/24");
            for words in [
                vec!["address", "add", &address, "dev", name],
                vec!["link", "set", name, "up"],
            ] {
                if there {
                    let mut all = vec!["-t", &pid, "-n", IP];
                    all.extend(words);
                    theatre.crew("/usr/bin/nsenter", &all);
                } else {
                    theatre.crew(IP, &words);
                }
            }
        }
        elsewhere
    }

    /// Runs a script there to its end, and returns what it printed.
    fn run(&self, theatre: &Theatre, script: &Path) -> String {
        let output = theatre
            .sandbox()
            .command("/usr/bin/nsenter", Place::Crew, None)
            .unwrap()
            .args(["-t", &self.keeper.id().to_string(), "-n", "/bin/sh"])
            .arg(script)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        format!("{output:?}")
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
