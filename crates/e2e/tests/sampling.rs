//! What is sampled of other programs' traffic: told apart by protocol where the port says
//! something else, and harmless however much of it there is.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use e2e::{LIMIT, SERVER, Scene, detail, details, open_files, own_kib, wait_until};
use serde_json::Value;

/// A port where IRC servers listen.
const IRC: &str = "127.0.0.1:6667";

/// A server that says one line to everybody and keeps the connections.
fn greeter(listener: TcpListener, line: &'static str) {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // It ends with the test's process; a test has one of them.
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(line.as_bytes());
            kept.push(stream);
        }
    });
}

fn status_irc(scene: &Scene) -> Vec<Value> {
    let status = scene.theatre.status();
    status["irc"].as_array().cloned().unwrap_or_default()
}

/// On a port where IRC servers listen, something that is plainly another protocol.
fn other_protocol(scene: &Scene, words: &str, wait: impl FnOnce()) {
    scene.start_bot(&format!("bot {words} --hold-ms 30000"));
    wait();
    // Until both sides have said enough to be known, the port counts.
    wait_until(LIMIT, || status_irc(scene).is_empty().then_some(()))
        .unwrap_or_else(|| panic!("it counts as IRC: {:?}", status_irc(scene)));
    let other = scene.theatre.player("other");
    let sender = scene.start(&other, &format!("bot --smtp {SERVER}"));
    scene.fails(sender);
    let finding = scene.finding_after(0);
    assert_eq!(finding["finding"], "illegal-send", "{finding}");
    assert_eq!(detail(&finding, "irc-elsewhere"), None, "{finding}");
    assert!(!details(&finding).contains(IRC), "{finding}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn http_on_the_port_of_irc_is_no_irc() {
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.web(IRC);
    server.order("first");
    other_protocol(&scene, &format!("--http {IRC} --await second"), || {
        server.wait_for_poll(LIMIT).unwrap()
    });
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn ssh_on_the_port_of_irc_is_no_irc() {
    let Some(scene) = Scene::open("") else { return };
    let listeners = scene
        .theatre
        .sandbox()
        .listen(&[e2e::address(IRC)])
        .unwrap();
    for listener in listeners {
        greeter(listener, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n");
    }
    other_protocol(
        &scene,
        &format!("--other {IRC} --say SSH-2.0-OpenSSH_9.2"),
        || {
            wait_until(LIMIT, || {
                scene.desktop.stdout().contains("greeted").then_some(())
            })
            .expect("a greeting");
        },
    );
}

/// With only mail ports watched, the port is all that is known: the paper's rule.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_port_counts_when_nothing_is_sampled() {
    let Some(scene) = Scene::open("packet_watch = \"mail\"") else {
        return;
    };
    let server = scene.theatre.web(IRC);
    scene.start_bot(&format!("bot --http {IRC} --await send --smtp {SERVER}"));
    server.wait_for_poll(LIMIT).unwrap();
    scene.wait_for_irc(IRC);
    server.order("send");
    let finding = scene.finding_after(0);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    assert!(detail(&finding, "irc-same-lineage").is_some(), "{finding}");
}

const VISITS: u64 = 2000;
const ATTEMPTS: usize = 300;

/// What the daemon has open.
fn daemon_files(daemon: &[u32]) -> Vec<String> {
    let mut files = open_files(daemon);
    // SQLite keeps a descriptor that a reader has done with for the next one, because closing it
    // would end the locks of the writer (POSIX advisory locks belong to the process).
    files.dedup_by(|one, other| one == other && one.ends_with("journal.db"));
    files
}

/// Thousands of connections come and go: every verdict of the same time is told, what was
/// lost of the samples is counted, and the daemon is afterwards what it was before.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn many_connections_disturb_nothing() {
    let Some(scene) = Scene::open("") else { return };
    let _server = scene.theatre.web("127.0.0.1:8080");
    let visitor = scene.theatre.player("visitor");
    let words = format!("technique visits --server 127.0.0.1:8080 --count {VISITS}");
    let visit = || {
        let told = scene.desktop.stdout().len();
        let pid = scene.start(&visitor, &words);
        (pid, told)
    };
    let visited = |(pid, told): (u32, usize)| {
        let exit = scene.desktop.wait(pid, Duration::from_secs(60)).unwrap();
        let said = scene.desktop.stdout()[told..].to_owned();
        assert!(exit.success(), "{said}");
        assert!(said.contains(&format!("{VISITS} answered")), "{said}");
    };
    // What it needs once, it has after the first round.
    visited(visit());
    let daemon = scene.theatre.daemon_pids();
    let known = || {
        scene.theatre.status()["processes"]["known"]
            .as_u64()
            .unwrap()
    };
    let before = (own_kib(&daemon), daemon_files(&daemon), known());

    let second = visit();
    let storm = format!("technique storm --server {SERVER} --count {ATTEMPTS}");
    let storm = scene.start_bot(&storm);
    assert!(
        scene
            .desktop
            .wait(storm, Duration::from_secs(60))
            .unwrap()
            .success()
    );
    visited(second);
    visited(visit());

    let refused = || (scene.refusals().len() == ATTEMPTS).then_some(());
    wait_until(LIMIT, refused).expect("every verdict");
    for lost in ["events_lost", "flows_lost", "processes_lost"] {
        assert_eq!(scene.theatre.counter(lost), 0, "{lost}");
    }
    println!(
        "{} samples did not fit into the ring buffer",
        scene.theatre.counter("samples_lost")
    );
    // Whoever visits a web site often and sends nothing is no bot.
    for finding in scene.findings() {
        scene.blames_the_bot(&finding);
    }
    let after = (own_kib(&daemon), daemon_files(&daemon), known());
    println!("own KiB, open files, processes: {before:?} before, {after:?} after");
    assert!(after.0 <= before.0 + 2048, "{before:?} {after:?}");
    // What is open for a moment, such as a client's socket, is closed again.
    let closed = || (daemon_files(&daemon) == before.1).then_some(());
    wait_until(LIMIT, closed).unwrap_or_else(|| panic!("{before:?} {after:?}"));
    assert!(after.2 <= before.2 + 16, "{before:?} {after:?}");
}
