//! Without a gate every technique gets through. A test against the gate that finds no byte
//! at the server therefore says something about the gate.

mod common;

use std::time::Duration;

use common::{LIMIT, address, player, sandbox};
use stage::{Output, Sandbox, SmtpOptions, SmtpServer, Start, TECHNIQUES};

/// Each of these delivers a message, by itself or by the mailer that it starts.
const DELIVERING: &[&str] = &[
    "plain",
    "nonblocking",
    "ipv6",
    "mapped",
    "mptcp",
    "io-uring",
    "io-uring-worker",
    "io-uring-poller",
    "reconnect",
    "thread",
    "send-fd",
    "double-fork",
    "setsid",
    "reparented",
    "clone-parent",
    "new-user",
    "new-pid",
    "new-mount",
    "fork-exec",
    "double-fork-exec",
    "setsid-exec",
    "reparented-exec",
    "vfork-exec",
    "clone3-exec",
    "clone-parent-exec",
    "new-user-exec",
    "new-pid-exec",
    "new-mount-exec",
    "exec",
    "thread-exec",
    "seccomp-exec",
    "exec-descriptor",
    "exec-memfd",
    "exec-deleted",
    "exec-empty-path",
    "exec-spoofed",
    "exec-copy",
    "exec-link",
    "exec-symlink",
    "exec-loader",
    "inherit-exec",
    "exec-mounted-over",
    "exec-overlay",
    "env-exec",
    "ptrace-traceme",
];

/// These send bytes without a conversation.
const SENDING: &[&str] = &[
    "fastopen-sendto",
    "fastopen-connect",
    "mptcp-fastopen",
    "urgent",
    "ip-options",
    "sendfile",
    "full-socket",
    "changing-page",
    "packet",
    "raw",
    "raw-options",
    "raw-fragments",
    "raw-fragments-16",
    "raw-ipv6",
    "raw-ipv6-options",
    "raw-tcp",
    "raw-tcp-ipv6",
    "greeting-split",
    "greeting-lower",
    "greeting-blank",
    "greeting-spaces",
    "greeting-late",
    "greeting-none",
    "greeting-early",
    "greeting-noop",
    "greeting-long",
    "greeting-burst",
    "greeting-none-early",
    "greeting-packets",
    "greeting-starttls",
    "greeting-starttls-early",
];

/// A namespace without a network: nothing can arrive, with or without a gate.
const CUT_OFF: &[&str] = &["new-net", "new-net-exec"];

/// These have tests of their own below.
const REACHING: &[&str] = &[
    "ptrace-attach",
    "vm-writev",
    "proc-mem",
    "proc-mem-ring",
    "proc-mem-32-bit",
    "pidfd-getfd",
    // In the tests with a display: it takes a terminal that a program holds.
    "pidfd-terminal",
    "pid-reuse",
    "tiocsti",
    // No attempt at anything: honest mailers end like that.
    "farewell",
    "raw-answer",
    "storm",
    "visits",
    "connects",
    "spawns",
];

struct Scene {
    sandbox: Sandbox,
    server: SmtpServer,
    player: std::path::PathBuf,
    mailer: std::path::PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let sandbox = sandbox()?;
        let addresses = [address("127.0.0.1:25"), address("[::1]:25")];
        let server =
            SmtpServer::start(sandbox.listen(&addresses).unwrap(), SmtpOptions::default()).unwrap();
        let (player, mailer) = (player(&sandbox, "player"), player(&sandbox, "mailer"));
        Some(Self {
            sandbox,
            server,
            player,
            mailer,
        })
    }

    fn technique(&self, words: &str) -> Output {
        self.technique_as(words, None)
    }

    fn technique_as(&self, words: &str, user: Option<(u32, u32)>) -> Output {
        let mut start = Start::new(&self.player)
            .args(["technique"])
            .args(words.split(' '));
        if words.contains("exec") || words.contains("traceme") {
            start = start
                .arg("--")
                .arg(&self.mailer)
                .args(["mailer", "--server", "127.0.0.1:25"]);
        }
        if let Some((uid, gid)) = user {
            start = start.user(uid, gid);
        }
        self.sandbox
            .start(&start)
            .unwrap()
            .output(Duration::from_secs(30))
            .unwrap()
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_technique_delivers_without_a_gate() {
    let Some(scene) = Scene::new() else { return };
    for (count, name) in (1..).zip(DELIVERING) {
        let output = scene.technique(&format!(
            "{name} --server 127.0.0.1:25 --env LD_LIBRARY_PATH=/nonexistent"
        ));
        let messages = scene
            .server
            .wait_for_messages(count, Duration::from_secs(5));
        assert!(
            messages.is_ok_and(|messages| messages.len() == count),
            "{name}: {output:?}"
        );
        assert!(
            output.stdout.contains("\"outcome\":\"delivered\""),
            "{name}: {output:?}"
        );
        assert!(output.exit.success(), "{name}: {output:?}");
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_technique_delivers_without_privilege_too() {
    let Some(scene) = Scene::new() else { return };
    let mut delivered = 0;
    for name in DELIVERING {
        let words = format!("{name} --server 127.0.0.1:25 --env A=B");
        let output = scene.technique_as(&words, Some((65534, 65534)));
        // A hard link to another user's file is what fs.protected_hardlinks is against.
        if *name == "exec-link" && output.stdout.contains("EPERM") {
            continue;
        }
        delivered += 1;
        let messages = scene
            .server
            .wait_for_messages(delivered, Duration::from_secs(5));
        assert!(
            messages.is_ok_and(|messages| messages.len() == delivered),
            "{name}: {output:?}"
        );
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn bytes_arrive_without_a_conversation() {
    let Some(scene) = Scene::new() else { return };
    for name in SENDING {
        let before = scene.server.payload_bytes();
        let output = scene.technique(&format!("{name} --server 127.0.0.1:25 --timeout-ms 1000"));
        assert!(
            output.stdout.contains("\"outcome\":\"sent\""),
            "{name}: {output:?}"
        );
        let deadline = std::time::Instant::now() + LIMIT;
        while scene.server.payload_bytes() == before {
            assert!(
                std::time::Instant::now() < deadline,
                "{name}: nothing arrived: {output:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_network_of_its_own_leads_nowhere() {
    let Some(scene) = Scene::new() else { return };
    for name in CUT_OFF {
        let output = scene.technique(&format!("{name} --server 127.0.0.1:25"));
        assert!(output.stdout.contains("ENETUNREACH"), "{name}: {output:?}");
    }
    assert_eq!(scene.server.payload_bytes(), 0);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn other_processes_can_be_reached_into() {
    let Some(scene) = Scene::new() else { return };
    let mailer = Start::new(&scene.mailer).args([
        "mailer",
        "--server",
        "127.0.0.1:25",
        "--linger-ms",
        "3000",
    ]);
    let mailer = scene.sandbox.start(&mailer).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for name in [
        "ptrace-attach",
        "vm-writev",
        "proc-mem",
        "proc-mem-ring",
        "proc-mem-32-bit",
    ] {
        let output = scene.technique(&format!("{name} --pid {}", mailer.pid()));
        assert!(
            output.stdout.contains("\"outcome\":\"done\""),
            "{name}: {output:?}"
        );
    }
    let output = scene.technique(&format!("pidfd-getfd --pid {}", mailer.pid()));
    assert!(
        output.stdout.contains("\"outcome\":\"delivered\""),
        "{output:?}"
    );
    assert_eq!(scene.server.wait_for_messages(1, LIMIT).unwrap().len(), 1);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_id_can_be_used_again() {
    let Some(scene) = Scene::new() else { return };
    let gone = Start::new(&scene.player).arg("techniques");
    let gone = scene.sandbox.start(&gone).unwrap();
    gone.wait(LIMIT).unwrap();
    let output = scene.technique(&format!(
        "pid-reuse --pid {} --server 127.0.0.1:25",
        gone.pid()
    ));
    assert_eq!(scene.server.messages().len(), 1, "{output:?}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_can_give_its_socket_away() {
    let Some(scene) = Scene::new() else { return };
    let mailer = [
        scene.mailer.to_str().unwrap(),
        "mailer",
        "--server",
        "127.0.0.1:25",
    ];
    let start = Start::new(&scene.player)
        .args(["technique", "send-fd", "--"])
        .args(mailer);
    let output = scene.sandbox.start(&start).unwrap().output(LIMIT).unwrap();
    assert!(
        output
            .stdout
            .contains("\"technique\":\"send-fd\",\"outcome\":\"delivered\""),
        "{output:?}"
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn text_can_be_typed_into_a_terminal() {
    let Some(scene) = Scene::new() else { return };
    let pty = scene
        .sandbox
        .start_on_pty(&Start::new("/bin/sh").arg("-i").env("PS1", "ready> "))
        .unwrap();
    pty.read_until("ready> ", LIMIT).unwrap();
    pty.type_line(&format!(
        "{} technique tiocsti --text typed-text",
        scene.player.display()
    ))
    .unwrap();
    let report = pty.read_until("ready> ", LIMIT).unwrap();
    if report.contains("EIO") || report.contains("EPERM") {
        println!("skipped: this kernel does not allow TIOCSTI");
        return;
    }
    pty.read_until("typed-text: not found", LIMIT).unwrap();
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_storm_connects_as_often_as_told() {
    let Some(scene) = Scene::new() else { return };
    let output = scene.technique("storm --server 127.0.0.1:25 --count 500");
    assert!(output.stdout.contains("500 connected"), "{output:?}");
    let deadline = std::time::Instant::now() + LIMIT;
    while scene.server.connection_count() < 500 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} connections",
            scene.server.connection_count()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn connections_and_programs_come_in_numbers() {
    let Some(scene) = Scene::new() else { return };
    let tiny = scene.sandbox.folder().join("tiny.image");
    let Some(image) = stage::tiny_program() else {
        println!("skipped: no machine code for this processor");
        return;
    };
    std::fs::write(&tiny, image).unwrap();
    let tiny = scene.sandbox.program(&tiny, "tiny").unwrap();
    let run = |words: &str| {
        let words = words.split(' ').map(str::to_owned).chain([]);
        let start = Start::new(&scene.player).args(words);
        let output = scene.sandbox.start(&start).unwrap().output(LIMIT).unwrap();
        (output.exit.success(), output.stdout)
    };
    let (done, said) = run("technique connects --server 127.0.0.1:8081 --listen yes --count 1000");
    assert!(done && said.contains("1000 of 1000 connected"), "{said}");
    let (done, said) = run("technique connects --server 127.0.0.1:8081 --count 1000");
    assert!(!done && said.contains("0 of 1000 connected"), "{said}");
    let (done, said) = run(&format!(
        "technique spawns --for-ms 200 -- {}",
        tiny.display()
    ));
    assert!(done && said.contains(" programs"), "{said}");
}

#[test]
fn every_technique_is_tried() {
    let tried: Vec<&str> = [DELIVERING, SENDING, CUT_OFF, REACHING].concat();
    let missing: Vec<_> = TECHNIQUES
        .iter()
        .filter(|name| !tried.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(tried.len(), TECHNIQUES.len());
}
