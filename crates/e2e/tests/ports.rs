//! Mail on ports that are no mail ports: what may not send is stopped by what it says, and
//! nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use e2e::{LIMIT, Scene, Theatre, evasions, wait_until, word};
use serde_json::Value;
use stage::{SmtpOptions, SmtpServer};

const OTHER: &str = "127.0.0.1:2525";

/// The refusal of what the bot does now, and what the server got of it.
fn refusal(scene: &Scene, server: &SmtpServer, words: &str) -> (Value, u64) {
    let before = scene.theatre.newest();
    let pid = scene.start_bot(words);
    let refusal = scene.theatre.wait_after(before, words, |entry| {
        word(entry, "verdict") == "refuse" && word(entry, "reason") == "mail-on-other-port"
    });
    scene.desktop.wait(pid, LIMIT).unwrap();
    (refusal, server.payload_bytes())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn mail_on_another_port() {
    let Some(scene) = Scene::open("") else { return };
    for port in [26, 443, 2525, 8025] {
        let at = format!("127.0.0.1:{port}");
        let server = scene.theatre.smtp_at(&[&at]);
        let words = format!("bot --smtp {at} --timeout-ms 1000");
        let (refusal, bytes) = refusal(&scene, &server, &words);
        assert_eq!(refusal["destination"], at, "{refusal}");
        assert_eq!(refusal["judged"], "packet", "{refusal}");
        evasions::refused(&format!("port-{port}"), bytes, &refusal, &scene.bot);
    }
    let server = scene.theatre.smtp_at(&[OTHER]);
    for way in evasions::PORT_WAYS {
        let words = format!("technique {way} --server {OTHER} --timeout-ms 1000");
        let (refusal, bytes) = refusal(&scene, &server, &words);
        evasions::refused(&format!("port-{way}"), bytes, &refusal, &scene.bot);
    }
    let finding = scene
        .theatre
        .wait_for("finding", |entry| entry["type"] == "finding");
    scene.blames_the_bot(&finding);
    assert!(
        finding["evidence"]
            .to_string()
            .contains("mail-on-other-port"),
        "{finding}"
    );
}

/// What is said before its greeting waits for the server, which then reads it all.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_server_that_greets_late() {
    let Some(scene) = Scene::open("") else { return };
    let options = SmtpOptions {
        silence: Duration::from_secs(1),
        ..SmtpOptions::default()
    };
    let server = scene.theatre.smtp_with(&[OTHER], options);
    for (way, before) in evasions::BEFORE_A_GREETING {
        let others = server.payload_bytes();
        let words = format!("technique {way} --server {OTHER} --timeout-ms 2000");
        let (refusal, _) = refusal(&scene, &server, &words);
        // The server counts in its own time.
        let arrived = || server.payload_bytes().checked_sub(others + before);
        let mail = wait_until(LIMIT, arrived).expect("what comes before the mail arrives");
        evasions::refused(&format!("port-{way}"), mail, &refusal, &scene.bot);
    }
}

/// A whole line of something else comes first: the server gets that line, and no mail.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_greeting_behind_another_line_is_stopped() {
    const JUNK: &str = "XYZZY\r\n";
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.smtp_at(&[OTHER]);
    let words = [
        "say",
        "--server",
        OTHER,
        "--await",
        "4",
        "--timeout-ms",
        "1000",
    ];
    let words = words
        .into_iter()
        .chain(["--piece", JUNK, "--piece", "EHLO x\r\n"]);
    let pid = scene.desktop.launch(&scene.bot, words).unwrap();
    let refusal = scene.theatre.wait_for("refusal", |entry| {
        word(entry, "reason") == "mail-on-other-port"
    });
    scene.blames_the_bot(&refusal);
    scene.desktop.wait(pid, LIMIT).unwrap();
    assert_eq!(server.payload_bytes(), JUNK.len() as u64);
}

/// Whoever knows of the connection can send packets in its server's name, in another protocol. They have
/// wrong numbers, TCP takes none of them, and the client is read on.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_forged_answer_hides_no_mail() {
    let Some(scene) = Scene::open("") else { return };
    let sandbox = scene.theatre.sandbox();
    let listen = || TcpListener::bind(OTHER);
    let listener = sandbox.run_inside(listen).unwrap().unwrap();
    let words = ["say", "--server", OTHER, "--await", "4", "--timeout-ms"];
    let words = words.into_iter().chain(["3000", "--piece", "EHLO x\r\n"]);
    let pid = scene.desktop.launch(&scene.bot, words).unwrap();
    let (mut stream, SocketAddr::V4(client)) = listener.accept().unwrap() else {
        panic!("not by IPv4")
    };
    let server = OTHER.parse().unwrap();
    let forge = || stage::forge(server, client, b"HTTP/1.1 200 OK\r\n");
    sandbox.run_inside(forge).unwrap().unwrap();
    sleep(Duration::from_millis(300));
    stream.write_all(b"220 mail\r\n").unwrap();
    let refusal = scene.theatre.wait_for("refusal", |entry| {
        word(entry, "reason") == "mail-on-other-port"
    });
    scene.desktop.wait(pid, LIMIT).unwrap();
    stream.set_nonblocking(true).unwrap();
    let bytes = stream.read(&mut [0; 64]).unwrap_or(0);
    evasions::refused("port-greeting-forged", bytes as u64, &refusal, &scene.bot);
}

/// A mailer may send on every port that its user sets it up for.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_may_use_another_port() {
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.smtp_at(&[OTHER]);
    let pid = scene.start(&scene.mailer, &format!("mailer --server {OTHER}"));
    let exit = scene.desktop.wait(pid, LIMIT).unwrap();
    assert!(exit.success(), "{}", scene.desktop.stdout());
    assert_eq!(server.messages().len(), 1);
}

/// Refuses nothing, and says what it would have.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn observing_lets_it_through_and_says_so() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let bot = theatre.player("bot");
    if !theatre.raise_with(&["--observe"]) {
        return;
    }
    let server = theatre.smtp_at(&[OTHER]);
    let desktop = theatre.desktop();
    let exit = desktop.run(&bot, ["bot", "--smtp", OTHER], LIMIT).unwrap();
    assert!(exit.success(), "{}", desktop.stdout());
    assert_eq!(server.messages().len(), 1);
    let refusal = theatre.wait_for("verdict", |entry| {
        word(entry, "reason") == "mail-on-other-port"
    });
    assert_eq!(refusal["observed"], true, "{refusal}");
}

/// What an honest client of another protocol says comes through as it was said, however it
/// was cut, and is answered.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn other_protocols_go_on() {
    let Some(scene) = Scene::open("") else { return };
    // Whether the server speaks first, what it says, and what the client says piece by piece.
    let conversations: [(&str, &[&str]); 6] = [
        ("", &["H", "E", "AD / HTTP/1.0\r\n\r\n"]),
        ("", &["\r\n"]),
        ("", &["HELLO 3\r\n", "LHLOX\r\n"]),
        ("220 ftp ready\r\n", &["USER x\r\n", "NOOP\r\n", "RSET\r\n"]),
        ("SSH-2.0-x\r\n", &["EHLO in the middle\r\n"]),
        ("> ", &["l", "s\n"]),
    ];
    for (greeting, pieces) in conversations {
        let heard = talk(&scene, greeting, pieces);
        assert_eq!(heard, pieces.concat().as_bytes(), "{greeting:?}");
    }
    let refused = scene
        .theatre
        .log()
        .into_iter()
        .find(|entry| word(entry, "verdict") == "refuse");
    assert_eq!(refused, None);
}

/// What a server hears of a program that says these pieces.
fn talk(scene: &Scene, greeting: &str, pieces: &[&str]) -> Vec<u8> {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let listener = scene.theatre.sandbox().run_inside(listen).unwrap().unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
    let (greeting, greeting_bytes) = (greeting.to_owned(), greeting.len());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(greeting.as_bytes()).unwrap();
        let mut heard = vec![0; whole];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(b"bye\r\n").unwrap();
        heard
    });
    let (at, await_bytes) = (at.to_string(), greeting_bytes.to_string());
    let mut words = vec!["say", "--server", &at, "--await", &await_bytes];
    for piece in pieces {
        words.extend(["--piece", piece]);
    }
    let pid = scene.desktop.launch(&scene.bot, words).unwrap();
    let exit = scene.desktop.wait(pid, LIMIT).unwrap();
    assert!(exit.success(), "{}", scene.desktop.stdout());
    server.join().unwrap()
}
