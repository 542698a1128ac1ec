//! Connections that come from a mail port: anybody elsewhere may make them, and what a server of
//! this machine answers is a packet to a mail port. It is dropped like any other, and nobody is
//! suspected for it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use e2e::{LIMIT, Scene, wait_until, word};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;

/// Greets whoever connects, and goes on listening.
const SERVER: &str = "import socket
listener = socket.create_server(('127.0.0.1', 7777))
held = []
while True:
    held.append(listener.accept()[0])
    held[-1].sendall(b'welcome')
";
const PYTHON: &str = "/usr/bin/python3";

/// Connects from a port to the server. Whether the greeting came.
fn is_greeted(scene: &Scene, from: &str) -> bool {
    let greeted = || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &from.parse::<SocketAddr>().unwrap()).unwrap();
        if connect(&socket, &"127.0.0.1:7777".parse::<SocketAddr>().unwrap()).is_err() {
            return false;
        }
        let mut stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        matches!(stream.read(&mut [0; 7]), Ok(count) if count > 0)
    };
    scene.theatre.sandbox().run_inside(greeted).unwrap()
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_server_is_not_suspected_by_who_connects_from_a_mail_port() {
    if e2e::is_missing(&[PYTHON]) {
        return;
    }
    let Some(scene) = Scene::open("") else { return };
    let script = scene.theatre.write("server.py", SERVER);
    let server = scene
        .desktop
        .launch(PYTHON.as_ref(), [script.to_str().unwrap()])
        .unwrap();
    let greeted = || is_greeted(&scene, "127.0.0.9:40025").then_some(());
    wait_until(LIMIT, greeted).expect("a server that greets");
    let before = scene.theatre.newest();
    for host in 1..=3 {
        for port in [25, 465, 587] {
            assert!(!is_greeted(&scene, &format!("127.0.1.{host}:{port}")));
        }
    }
    let said = |entry: &Value| {
        entry["text"]
            .as_str()
            .is_some_and(|text| text.contains("server on port 7777 to 127.0.1.1:25 was dropped"))
    };
    scene.theatre.wait_after(before, "an entry", said);
    // What a bot does afterwards is told after all that there was to tell.
    scene.run_bot(&format!("bot --smtp {}", e2e::SERVER));
    let finding = scene
        .theatre
        .wait_after(before, "finding", |entry| entry["type"] == "finding");
    scene.blames_the_bot(&finding);
    let log = scene.theatre.log();
    let about_python = |entry: &&Value| word(entry, "program").contains("python");
    assert_eq!(log.iter().find(about_python), None);
    let entries = log.iter().filter(|entry| {
        entry["text"]
            .as_str()
            .is_some_and(|text| text.contains("port 7777"))
    });
    assert_eq!(entries.count(), 1);
    let pid = rustix::process::Pid::from_raw(server.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
