//! Ways that no other file plays: those that are known to get past the gate, and what lies
//! next to them. Should one of them be closed, its row in the list of evasions says so and
//! the test fails until the list is told.

use std::path::Path;
use std::time::Duration;

use e2e::evasions;
use e2e::{LIMIT, SERVER, Scene, Theatre, is_missing, wait_until, word};
use serde_json::Value;
use stage::{SmtpServer, Start};

/// Whatever was written is there by then.
const MOMENT: Duration = Duration::from_secs(2);

/// What a server has got after a while: some, or still nothing.
fn bytes(server: &SmtpServer) -> u64 {
    wait_until(MOMENT, || (!server.messages().is_empty()).then_some(()));
    server.payload_bytes()
}

/// What was noticed of the bot after an entry of the journal.
fn finding(scene: &Scene, after: u64) -> Option<Value> {
    let mut findings = scene.findings().into_iter();
    findings.find(|found| {
        found["id"].as_u64() > Some(after) && Some(word(found, "culprit")) == scene.bot.to_str()
    })
}

/// The connection was granted to a mailer, and an unregistered program wrote into it: not a
/// byte of it reached the server, and the grant is gone.
fn after_the_grant(scene: &Scene, row: &str) {
    let refusal = scene
        .theatre
        .wait_for("refused packet", |entry| word(entry, "verdict") == "refuse");
    assert_eq!(refusal["reason"], "grant-of-another", "{refusal}");
    let got = bytes(&scene.mail);
    evasions::refused(row, got, &refusal, &scene.bot);
    assert_eq!(scene.theatre.status()["grants"], serde_json::json!([]));
}

/// A connected socket that the user's mailer hands to another program, or leaves open when
/// it becomes one.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_socket_that_a_mailer_gives_away() {
    for (row, more) in [("given-fd", ""), ("given-fd-corked", "--cork yes")] {
        let Some(scene) = Scene::open("") else { return };
        let socket = scene.theatre.home().join("socket");
        let socket = socket.to_str().unwrap();
        let taker = scene.start_bot(&format!("technique send-fd --socket {socket} {more}"));
        wait_until(LIMIT, || Path::new(socket).exists().then_some(())).expect("a bot that waits");
        scene.start(
            &scene.mailer,
            &format!("mailer --server {SERVER} --give-fd {socket}"),
        );
        scene.desktop.wait(taker, LIMIT).unwrap();
        after_the_grant(&scene, row);
    }
    let Some(scene) = Scene::open("") else { return };
    let bot = scene.bot.display();
    let words = format!("technique inherit-exec --server {SERVER} -- {bot} mailer");
    let pid = scene.start(&scene.mailer, &words);
    scene.desktop.wait(pid, LIMIT).unwrap();
    after_the_grant(&scene, "given-exec");
}

/// Who writes into a connection of Multipath TCP cannot be seen, so that no mailer gets one: who
/// took the socket could write into it for as long as it is open.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_that_asks_for_multipath_tcp() {
    let Some(scene) = Scene::open("") else { return };
    scene.start(&scene.mailer, &format!("technique mptcp --server {SERVER}"));
    let refusal = scene.theatre.wait_for("refused connect", |entry| {
        word(entry, "verdict") == "refuse"
    });
    assert_eq!(refusal["judged"], "connect", "{refusal}");
    assert_eq!(refusal["reason"], "multipath", "{refusal}");
    evasions::stopped("given-multipath", bytes(&scene.mail), "multipath");
}

/// It sends past the IP layer, where no cgroup looks.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_packet_socket_of_root() {
    let Some(scene) = Scene::open("") else { return };
    let start = Start::new(&scene.bot).args(["technique", "packet", "--server", SERVER]);
    let sent = scene.theatre.sandbox().start(&start).unwrap();
    let sent = sent.output(LIMIT).unwrap();
    assert!(sent.stdout.contains("\"sent\""), "{sent:?}");
    let got = bytes(&scene.mail);
    evasions::got_through("packet", got, finding(&scene, 0).as_ref(), &scene.bot);
}

/// A program that passes on what it is given is judged like any other, by what it is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_local_relay_is_judged_at_its_own_hop() {
    const NEAR: &str = "127.0.0.1:1025";
    let Some(scene) = Scene::open("") else { return };
    let relay = scene.theatre.player("relay");
    let passes_on = format!("relay --listen {NEAR} --server {SERVER}");
    let through = |program: &Path, row: &str, reason: &str, culprit: &Path| {
        let before = scene.theatre.newest();
        let relay = scene.start(program, &passes_on);
        // A port that the kernel knows of; connecting to it would use the relay up.
        let listens = || {
            let sockets = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let sockets = scene.theatre.sandbox().run_inside(sockets).unwrap();
            sockets
                .contains("0100007F:0401 00000000:0000 0A")
                .then_some(())
        };
        wait_until(LIMIT, listens).expect("a relay that listens");
        let pid = scene.start_bot(&format!("bot --smtp {NEAR}"));
        scene.desktop.wait(pid, LIMIT).unwrap();
        scene.desktop.wait(relay, LIMIT).unwrap();
        let refusal = scene
            .theatre
            .wait_after(before, row, |entry| word(entry, "reason") == reason);
        evasions::refused(row, scene.mail.payload_bytes(), &refusal, culprit);
    };
    // Unregistered relays may not connect to the server; the user's may, and the bot may not
    // ask it to.
    through(&scene.bot, "relay-own", "not-a-mailer", &scene.bot);
    through(&relay, "relay-users", "not-a-mailer", &relay);
    through(
        &scene.mailer,
        "relay-mailer",
        "mail-on-other-port",
        &scene.bot,
    );
}

/// Another user, by the program that changes users: what it starts is not typed by anybody.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn su_does_not_speak_for_the_user() {
    const SU: &str = "/usr/bin/su";
    if is_missing(&[SU]) {
        return;
    }
    let Some(scene) = Scene::open("") else { return };
    let send = format!("{} mailer --server {SERVER}", scene.mailer.display());
    let words = ["-s", "/bin/sh", "nobody", "-c", &send];
    let before = scene.theatre.newest();
    let start = Start::new(SU).args(words).env("PATH", "/usr/bin:/bin");
    let ran = scene.theatre.sandbox().start(&start).unwrap();
    ran.output(LIMIT).unwrap();
    let refusal = scene.refusal_after(before);
    assert_eq!(
        refusal["program"],
        scene.mailer.to_str().unwrap(),
        "{refusal}"
    );
    // Su only starts what it is given.
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    evasions::refused("su", scene.mail.payload_bytes(), &refusal, shell);
}

/// What a program types into the user's terminal looks like what the user types.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn typing_into_the_users_terminal() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    let batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let terminal = theatre.terminal();
    let send = format!("{} mailer --server {SERVER}", batch.display());
    let typed = terminal.run(&format!(
        "{} technique tiocsti --text '{send}'",
        bot.display()
    ));
    if typed != 0 {
        println!("skipped: this kernel forbids it (dev.tty.legacy_tiocsti)");
        return;
    }
    evasions::got_through("tiocsti", bytes(&server), None, &bot);
}
