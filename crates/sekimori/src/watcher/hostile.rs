//! Only in builds for tests: somebody has taken the watcher over. Everything is as it always is
//! (the same keeper, the same walls), and then a stranger's code runs inside. Which, a file in
//! the state folder says that a test puts there; a release has none of this.

use std::net::{Ipv4Addr, SocketAddrV4};

use abi::{Interest, ProgramKey};

use crate::channel::link::Link;
use crate::channel::request::{OPEN_MAX, REQUEST_BYTES_MAX, Request};
use crate::output;

/// Names the scene. It is removed before it is played.
const FILE: &str = "/hostile";
/// Where the mail server listens on the stage.
const MAIL_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 25);
/// Requests in a flood.
const FLOOD: u32 = 20_000;

/// Plays the scene that is asked for, and goes on as if nothing had been.
pub fn play(link: &mut Link) {
    let Ok(scene) = std::fs::read_to_string(FILE) else {
        return;
    };
    let _ = std::fs::remove_file(FILE);
    let tell = |name: &str, result: &str| output::tell(&format!("hostile: {name}: {result}"));
    tell(&scene, "begins");
    match scene.as_str() {
        "deeds" => {
            let keeper = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            stage::deeds::try_all(keeper.cast_unsigned(), MAIL_SERVER, tell);
        }
        "requests" => {
            for (name, request) in requests() {
                match link.ask(&request) {
                    Ok(answer) => {
                        let bytes = answer.map_or(0, |answer| answer.len());
                        tell(name, &format!("answered with {bytes} bytes"));
                    }
                    Err(error) => tell(name, &error),
                }
            }
        }
        "flood" => {
            for number in 0..FLOOD {
                let interest = Interest {
                    wish: 1 + number % 2,
                    pid: number,
                    family: 4,
                    ..Interest::default()
                };
                let cookie = u64::from(number);
                let _ = link.ask(&Request::SetInterest { cookie, interest });
            }
        }
        // Asks and asks, and never reads an answer.
        "deaf" => {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_secs(2));
                tell("deaf", "ends");
                std::process::exit(1);
            });
            for _ in 0..FLOOD {
                if link.send_raw(&Request::Gate.encode()).is_err() {
                    break;
                }
            }
        }
        "ring" => {
            let spoiled = stage::deeds::spoil_ring_buffers();
            tell("ring buffers", &format!("{spoiled} spoiled"));
            std::process::abort();
        }
        "crash" => std::process::abort(),
        other => {
            let packet = garbage(other);
            let _ = link.send_raw(&packet);
            // The keeper ends whoever says such things.
            let ended = (0..1000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                link.news().is_err()
            });
            tell(other, if ended { "cut off" } else { "let go on" });
            std::process::exit(1);
        }
    }
    tell(&scene, "ends");
}

/// Every request, with the worst that can be put into it.
fn requests() -> Vec<(&'static str, Request)> {
    let interest = Interest {
        wish: 2,
        pid: 1,
        uid: 0,
        program: 1,
        culprit: u32::MAX,
        family: 6,
        role: u8::MAX,
        origin: u8::MAX,
        ..Interest::default()
    };
    let remote = MAIL_SERVER.into();
    let key = ProgramKey {
        inode: u64::MAX,
        ..ProgramKey::default()
    };
    let markup = "<a href=\"http://198.51.100.1/\">\u{1b}]0;x\u{7}\0关".repeat(10);
    vec![
        ("process", Request::Process { pid: 1 }),
        ("process-0", Request::Process { pid: 0 }),
        ("program", Request::Program { key }),
        ("programs", Request::Programs { skip: 0 }),
        ("programs-max", Request::Programs { skip: u32::MAX }),
        (
            "owner",
            Request::Owner {
                own_port: 25,
                remote,
            },
        ),
        ("path", Request::Path { pid: 1 }),
        ("path-max", Request::Path { pid: u32::MAX }),
        ("counters", Request::Counters),
        ("gate", Request::Gate),
        ("registered", Request::Registered { skip: u32::MAX }),
        ("followed", Request::Followed { skip: u32::MAX }),
        (
            "interest",
            Request::SetInterest {
                cookie: u64::MAX,
                interest,
            },
        ),
        ("older-irc", Request::OlderIrc),
        ("pong", Request::Pong),
        ("folded", Request::Folded),
        (
            "open",
            Request::Open {
                inodes: (0..OPEN_MAX as u64).collect(),
            },
        ),
        (
            "warn",
            Request::Warn {
                uid: u32::MAX,
                urgent: true,
                title: markup.clone(),
                body: markup,
            },
        ),
    ]
}

/// What is no request.
fn garbage(scene: &str) -> Vec<u8> {
    match scene {
        "empty" => Vec::new(),
        "unknown" => vec![200; 8],
        "cut" => vec![1, 0],
        "long" => vec![12; REQUEST_BYTES_MAX + 1],
        "huge" => vec![13; 150_000],
        "register" => {
            br#"{"request":"register","path":"/own","role":"mailer","kind":"batch"}"#.to_vec()
        }
        // Another number than any of the table, with what root would send.
        other => [&[99], other.as_bytes()].concat(),
    }
}
