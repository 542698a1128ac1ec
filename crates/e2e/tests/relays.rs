//! Real programs that pass on what they are given: SSH forwarding, SOCKS and HTTP proxies, TLS.
//! Each is judged at the hop where it connects.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use e2e::evasions::{self, Expected};
use e2e::ssh::{SSH, SSH_KEYGEN, SSHD, Ssh, listens};
use e2e::{LIMIT, SERVER, Scene, address, is_missing, wait_until, word};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::{Place, SmtpServer};

const MICROSOCKS: &str = "/usr/bin/microsocks";
const TINYPROXY: &str = "/usr/bin/tinyproxy";
const SOCAT: &str = "/usr/bin/socat";
const OPENSSL: &str = "/usr/bin/openssl";

const TERM: i32 = Signal::TERM.as_raw();

/// A mail server on a port that is no mail port.
const OTHER: &str = "127.0.0.1:2525";
/// Where the bot finds the near end of a relay.
const NEAR: &str = "127.0.0.1:1025";
/// An SSH server on this machine, and one that stands for another machine: it runs outside of
/// the guarded group.
const SSH_HERE: u16 = 2222;
const SSH_ELSEWHERE: u16 = 2223;

/// What came of a row: the first refusal after an entry, which names this program, or else
/// bytes where the list says that nothing stops them.
fn outcome(scene: &Scene, row: &str, before: u64, relay: &str) {
    let expected = evasions::rows().find(|known| known.id == row).unwrap();
    if expected.expected != Expected::Blocked {
        let found = finding(scene, before);
        let bytes = scene.mail.payload_bytes();
        return evasions::got_through(row, bytes, found.as_ref(), &scene.bot);
    }
    let refusal = scene
        .theatre
        .wait_after(before, row, |entry| word(entry, "verdict") == "refuse");
    let bytes = scene.mail.payload_bytes();
    if refusal["culprit"].is_null() {
        // The system's own program stands at that hop, and nobody below it is to blame.
        assert_eq!(word(&refusal, "program"), relay, "{refusal}");
        return evasions::stopped(row, bytes, word(&refusal, "reason"));
    }
    evasions::refused(row, bytes, &refusal, relay);
}

fn finding(scene: &Scene, after: u64) -> Option<Value> {
    let mut findings = scene.findings().into_iter();
    findings.find(|found| {
        found["id"].as_u64() > Some(after) && Some(word(found, "culprit")) == scene.bot.to_str()
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The near end of a tunnel is a program of the bot's or the user's; the far end connects. On
/// this machine that is the SSH server, which is no mailer.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_tunnel_that_ends_on_this_machine() {
    if is_missing(&[SSH, SSHD, SSH_KEYGEN]) {
        return;
    }
    let Some(scene) = Scene::open_after("", |theatre| {
        theatre.register_as(Path::new(SSHD), "system", Some("interactive"));
        theatre.register_as(Path::new("/bin/bash"), "shell", None);
    }) else {
        return;
    };
    let ssh = Ssh::prepare(&scene.theatre);
    let server = ssh.serve(&scene.theatre, loopback(SSH_HERE));
    let ssh = ssh.words(SSH_HERE);
    let forward = format!("{ssh} -N -L {NEAR}:{SERVER} 127.0.0.1");
    let socks = format!("{ssh} -N -D {NEAR} 127.0.0.1");
    let near = address(NEAR);
    let through = |row: &str, words: &str| {
        listens(&scene.theatre, near);
        let before = scene.theatre.newest();
        scene.run_bot(words);
        outcome(&scene, row, before, SSHD);
    };
    let plain = format!("bot --smtp {NEAR}");
    let by_socks = format!("bot --smtp {SERVER} --socks {NEAR}");
    for (row, tunnel, words) in [
        ("ssh-forward", &forward, &plain),
        ("ssh-socks", &socks, &by_socks),
    ] {
        let client = scene.start_bot(&format!("launcher {tunnel}"));
        through(row, words);
        end(&scene, client);
    }
    // To a port that is no mail port, where it is what is said that counts.
    let other = scene.theatre.smtp_at(&[OTHER]);
    let before = scene.theatre.newest();
    let bot = scene.start_bot(&format!("piped {ssh} -W {OTHER} 127.0.0.1"));
    outcome(&scene, "ssh-forward-port", before, SSHD);
    end(&scene, bot);
    assert_eq!(other.payload_bytes(), 0);
    // The same tunnel, dug by the user.
    let terminal = scene.theatre.terminal();
    terminal.run(&format!("{forward} & sleep 0.1"));
    through("ssh-forward-users", &plain);
    terminal.run("kill %1; wait");
    drop(terminal);
    assert_eq!(scene.mail.payload_bytes(), 0, "{}", server.stderr());
    let _ = server.signal(TERM);
}

/// Ends a program that the desktop started, and what it started.
fn end(scene: &Scene, pid: u32) {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children: Vec<u32> = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    for &pid in children.iter().chain([&pid]) {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
    }
    scene.desktop.wait(pid, LIMIT).unwrap();
    // A tunnel that still ends would take what is meant for the next one at the same port.
    for pid in children {
        let gone = || (!runs(pid)).then_some(());
        wait_until(LIMIT, gone).unwrap_or_else(|| panic!("pid {pid} does not end"));
    }
}

/// Whether a process still holds what it has open.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// A machine elsewhere connects for the bot: no gate on this machine sees that.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_tunnel_to_another_machine() {
    if is_missing(&[SSH, SSHD, SSH_KEYGEN]) {
        return;
    }
    let Some(scene) = Scene::open("") else { return };
    let ssh = Ssh::prepare(&scene.theatre);
    let config = ssh.config(loopback(SSH_ELSEWHERE));
    let mut elsewhere = scene
        .theatre
        .sandbox()
        .command(SSHD, Place::Crew, None)
        .unwrap()
        .args(["-D", "-e", "-f"])
        .arg(config)
        .spawn()
        .unwrap();
    listens(&scene.theatre, loopback(SSH_ELSEWHERE));
    let ssh = ssh.words(SSH_ELSEWHERE);
    let before = scene.theatre.newest();
    let bot = scene.start_bot(&format!("piped {ssh} -W {SERVER} 127.0.0.1"));
    scene.desktop.wait(bot, LIMIT).unwrap();
    let _ = elsewhere.kill();
    let _ = elsewhere.wait();
    outcome(&scene, "ssh-elsewhere", before, SSHD);
}

/// Proxies that a program started, and that the desktop did.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_proxy_is_judged_at_its_own_hop() {
    if is_missing(&[MICROSOCKS, TINYPROXY]) {
        return;
    }
    let Some(scene) = Scene::open("") else { return };
    // A port for each: one that was in use a moment ago may not be free again.
    for (row, port, program, words) in [
        ("socks", 1025, MICROSOCKS, "--socks"),
        ("http-connect", 1035, TINYPROXY, "--proxy"),
    ] {
        for (row, port, of_bot) in [
            (row.to_owned(), port, true),
            (format!("{row}-users"), port + 1, false),
        ] {
            let config = format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 4\nAllow 127.0.0.1\nConnectPort 25\n"
            );
            let config = scene.theatre.write(&format!("{row}.conf"), &config);
            let arguments = match program {
                MICROSOCKS => format!("-i 127.0.0.1 -p {port}"),
                _ => format!("-d -c {}", config.display()),
            };
            let (pid, culprit) = if of_bot {
                let pid = scene.start_bot(&format!("launcher {program} {arguments}"));
                (pid, scene.bot.to_str().unwrap())
            } else {
                (scene.start(Path::new(program), &arguments), program)
            };
            listens(&scene.theatre, SocketAddr::from(([127, 0, 0, 1], port)));
            let before = scene.theatre.newest();
            scene.run_bot(&format!("bot --smtp {SERVER} {words} 127.0.0.1:{port}"));
            outcome(&scene, &row, before, culprit);
            end(&scene, pid);
        }
    }
}

/// Nobody can read what TLS carries. A port that is known for it is guarded; another is not.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tls_on_another_port() {
    const TLS: &str = "127.0.0.1:8465";
    const BEHIND: &str = "127.0.0.1:2526";
    if is_missing(&[SOCAT, OPENSSL]) {
        return;
    }
    let Some(scene) = Scene::open("") else { return };
    let server: SmtpServer = scene.theatre.smtp_at(&[BEHIND]);
    let folder = scene.theatre.sandbox().folder();
    let (key, certificate) = (folder.join("tls.key"), folder.join("tls.crt"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let words = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mail", "-days", "1",
    ];
    let words = [&words[..], &["-keyout", key, "-out", certificate]].concat();
    scene.theatre.crew(OPENSSL, &words);
    let _ = std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600));
    // The TLS end of the mail server, which is no part of the guarded machine.
    let mut tls = scene
        .theatre
        .sandbox()
        .command(SOCAT, Place::Crew, None)
        .unwrap()
        .arg(format!(
            "OPENSSL-LISTEN:8465,bind=127.0.0.1,fork,reuseaddr,verify=0,cert={certificate},key={key}"
        ))
        .arg(format!("TCP:{BEHIND}"))
        .spawn()
        .unwrap();
    listens(&scene.theatre, address(TLS));
    let connected = server.payload_bytes();
    let before = scene.theatre.newest();
    let words = format!("piped {OPENSSL} s_client -quiet -verify_quiet -connect {TLS}");
    let bot = scene.start_bot(&words);
    scene.desktop.wait(bot, LIMIT).unwrap();
    let _ = tls.kill();
    let _ = tls.wait();
    let found = finding(&scene, before);
    let bytes = server.payload_bytes() - connected;
    evasions::got_through("tls-other-port", bytes, found.as_ref(), &scene.bot);
}
