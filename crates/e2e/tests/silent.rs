//! Mail on ports that are no mail ports, said before the server has spoken. A mail server greets
//! soon, and what it is told before never leaves. Whoever talks to another server, which may say
//! nothing at all, has every byte arrive.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use e2e::{LIMIT, Options, PERSON, Scene, Theatre, evasions, word};
use serde_json::Value;
use stage::Start;

const OTHER: &str = "127.0.0.1:2525";
const MESSAGE: &str = "EHLO bot.example.org\r\nMAIL FROM:<bot@example.org>\r\nRCPT TO:<you@example.org>\r\n\
                       DATA\r\nSubject: hello\r\n\r\nbuy\r\n.\r\nQUIT\r\n";
/// What a client that talks about mail may carry.
const TRACE: &str = "220 mx.example.org ESMTP\r\nEHLO client.example.org\r\n250 mx.example.org\r\n\
                     MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n.\r\nQUIT\r\n";
/// A server that has been quiet for so long says no more, and nothing more reaches it.
const QUIET: Duration = Duration::from_secs(4);

/// How a server behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// When it says its first words, and which.
    first: Option<(u64, &'static str)>,
    /// It closes its side at once.
    ends: bool,
    /// It answers when it has read so much.
    answers_at: usize,
}

const SILENT: Manner = Manner {
    first: None,
    ends: false,
    answers_at: usize::MAX,
};

const fn greets_after(ms: u64) -> Manner {
    Manner {
        first: Some((ms, "220 mail\r\n")),
        ..SILENT
    }
}

/// A server for one connection: its address, and what it has read in the end.
fn serve(theatre: &Theatre, at: &str, manner: Manner) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let at = at.to_owned();
    let listen = || TcpListener::bind(&at);
    let listener = theatre.sandbox().run_inside(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        if let Some((ms, words)) = manner.first {
            sleep(Duration::from_millis(ms));
            let _ = stream.write_all(words.as_bytes());
        }
        if manner.ends {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        stream.set_read_timeout(Some(QUIET)).unwrap();
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(length) = stream.read(&mut piece)
            && length > 0
        {
            heard.extend_from_slice(&piece[..length]);
            if heard.len() >= manner.answers_at && !manner.ends {
                let _ = stream.write_all(b"ok\r\n");
            }
        }
        heard
    };
    (address, std::thread::spawn(serve))
}

fn say(scene: &Scene, server: SocketAddr, words: &[&str]) -> u32 {
    let server = server.to_string();
    let mut all = vec!["say", "--server", &server];
    all.extend(words);
    scene.desktop.launch(&scene.bot, all).unwrap()
}

fn refusal_after(scene: &Scene, before: u64) -> Value {
    scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "reason") == "mail-on-other-port"
    })
}

/// A bot that says this to a server gets no byte through, and the journal names it.
fn is_blocked(scene: &Scene, row: &str, manner: Manner, words: &[&str]) {
    let before = scene.theatre.newest();
    let (server, heard) = serve(&scene.theatre, OTHER, manner);
    let mut all = vec!["--timeout-ms", "2500"];
    all.extend(words);
    let pid = say(scene, server, &all);
    scene.desktop.wait(pid, LIMIT).unwrap();
    let refusal = refusal_after(scene, before);
    let bytes = heard.join().unwrap().len() as u64;
    evasions::refused(row, bytes, &refusal, &scene.bot);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_whole_message_before_the_greeting() {
    let Some(scene) = Scene::open("") else { return };
    let soon = greets_after(300);
    let message = ["--piece", MESSAGE];
    let post = format!("POST / HTTP/1.1\r\n{MESSAGE}");
    let binary = format!("*1\r\n{MESSAGE}");
    let with = |option| [["--option", option], message].concat();
    is_blocked(
        &scene,
        "port-early-half-closed",
        soon,
        &[&message[..], &["--end", "yes"]].concat(),
    );
    is_blocked(&scene, "port-early-deferred", soon, &with("defer"));
    is_blocked(
        &scene,
        "port-early-web",
        greets_after(0),
        &["--piece", &post],
    );
    is_blocked(
        &scene,
        "port-early-binary",
        greets_after(0),
        &["--piece", &binary],
    );
    // The bot has the kernel drop the greeting before any hook sees it.
    is_blocked(&scene, "port-early-min-ttl", soon, &with("min-ttl"));
    filtered(&scene, soon);
    // The server is known to be a mail server now.
    is_blocked(&scene, "port-early-known", greets_after(2500), &message);
}

/// A filter on the bot's own socket. The bot is root's, because some kernels let nobody else attach one.
fn filtered(scene: &Scene, manner: Manner) {
    // The filter takes root, and what root starts is root's own where root alone can write it.
    chown(&scene.bot, Some(PERSON.0), Some(PERSON.1)).unwrap();
    let before = scene.theatre.newest();
    let (_, heard) = serve(&scene.theatre, OTHER, manner);
    let words = ["say", "--server", OTHER, "--timeout-ms", "2500"];
    let more = ["--option", "filter", "--piece", MESSAGE];
    let start = words.iter().chain(&more);
    let start = start.fold(Start::new(&scene.bot), |start, word| start.arg(*word));
    let process = scene.theatre.sandbox().start(&start).unwrap();
    let refusal = refusal_after(scene, before);
    let bytes = heard.join().unwrap().len() as u64;
    evasions::refused("port-early-filter", bytes, &refusal, &scene.bot);
    drop(process);
}

/// Whoever spares servers that never speak cannot know of one that speaks late.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_server_that_greets_late_and_takes_what_was_said_before() {
    let Some(scene) = Scene::open("") else { return };
    let before = scene.theatre.newest();
    let (server, heard) = serve(&scene.theatre, "127.0.0.1:2526", greets_after(3000));
    let pid = say(&scene, server, &["--piece", MESSAGE]);
    let refusal = refusal_after(&scene, before);
    scene.blames_the_bot(&refusal);
    let finding = scene
        .theatre
        .wait_after(before, "finding", |entry| entry["type"] == "finding");
    scene.desktop.wait(pid, LIMIT).unwrap();
    let bytes = heard.join().unwrap().len() as u64;
    evasions::got_through("port-early-slow-server", bytes, Some(&finding), &scene.bot);
}

/// The hook that reads servers does not run, as when it is running already on that processor. What
/// the socket has received shows that there was a greeting.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_greeting_that_no_hook_has_seen() {
    let Some(theatre) = Theatre::open_with(&Options::default()) else {
        return;
    };
    let bot = theatre.player("bot");
    let without = ["--without-hook", "received", "--without-hook", "ingress"];
    if !theatre.raise_with(&without) {
        return;
    }
    let desktop = theatre.desktop();
    let (server, heard) = serve(&theatre, OTHER, greets_after(0));
    let server = server.to_string();
    let words = [
        "say",
        "--server",
        &server,
        "--await",
        "10",
        "--timeout-ms",
        "1500",
    ];
    let words = words
        .into_iter()
        .chain(["--piece", "NOOP\r\n", "--piece", "EHLO x\r\n"]);
    let pid = desktop.launch(&bot, words).unwrap();
    let refusal = theatre.wait_for("refusal", |entry| {
        word(entry, "reason") == "mail-on-other-port"
    });
    desktop.wait(pid, LIMIT).unwrap();
    let bytes = heard.join().unwrap().len() as u64;
    evasions::refused("port-greeting-missed", bytes, &refusal, &bot);
}

/// Packets that another processor takes in than the one that sent them.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn packets_that_are_steered_to_another_processor() {
    let Some(scene) = Scene::open("") else { return };
    let steer = "mount -t sysfs sysfs /sys && echo 2 > /sys/class/net/lo/queues/rx-0/rps_cpus";
    scene
        .theatre
        .crew("unshare", &["--mount", "sh", "-c", steer]);
    let before = scene.theatre.newest();
    for _ in 0..20 {
        let server = scene.theatre.smtp_at(&[OTHER]);
        let words = ["--await", "4", "--timeout-ms", "300", "--piece", "NOOP\r\n"];
        let words = [&words[..], &["--piece", "EHLO x\r\n"]].concat();
        let pid = say(&scene, OTHER.parse().unwrap(), &words);
        scene.desktop.wait(pid, LIMIT).unwrap();
        let refusal = refusal_after(&scene, before);
        evasions::refused(
            "port-greeting-steered",
            server.payload_bytes(),
            &refusal,
            &scene.bot,
        );
    }
    println!("missed: {}", scene.theatre.counter("recursion_misses"));
}

/// The first bytes of a protocol, and text about mail behind them.
fn first_words(name: &str) -> Vec<u8> {
    let text = TRACE.len();
    let head: Vec<u8> = match name {
        "http" => {
            format!("POST /wiki HTTP/1.1\r\nHost: x\r\nContent-Length: {text}\r\n\r\n").into()
        }
        "http-put" => format!("PUT /page HTTP/1.0\r\nContent-Length: {text}\r\n\r\n").into(),
        "syslog" => b"<34>1 2026-01-01T00:00:00Z host app - - - text\n".into(),
        "graphite" => b"servers.mail.sessions 3 1767225600\n".into(),
        "redis" => format!("*3\r\n$3\r\nSET\r\n$4\r\npage\r\n${text}\r\n").into(),
        "memcached" => format!("set page 0 0 {text}\r\n").into(),
        "nats" => format!("CONNECT {{}}\r\nPUB page {text}\r\n").into(),
        "mqtt" => b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc\x30\x7f\x00\x01t".into(),
        "ldap" => b"\x30\x82\x01\x0c\x02\x01\x01\x68\x82\x01\x05\x04\x04cn=x".into(),
        "smb" => b"\x00\x00\x00\xc8\xfeSMB\x40\x00\x00\x00".into(),
        "nfs" => b"\x80\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02".into(),
        "mysql" => b"\xf0\x00\x00\x00\x03INSERT INTO pages VALUES ('\n".into(),
        "postgresql" => b"\x00\x00\x00\x08\x04\xd2\x16\x2f".into(),
        "git" => b"0032git-receive-pack /project.git\0host=example.org\0".into(),
        "rsync" => b"@RSYNCD: 31.0 sha512\nmodule\n".into(),
        "ssh" => b"SSH-2.0-OpenSSH_9.2\r\n".into(),
        "irc" => b"NICK anna\r\nUSER anna 0 * :Anna\r\nPRIVMSG #mail :look\r\n".into(),
        "xmpp" => b"<?xml version='1.0'?><stream:stream to='x'><body>\n".into(),
        "usenet" => b"MODE READER\r\nPOST\r\nFrom: a@example.org\r\n\r\n".into(),
        "mailbox" => b"From a@example.org Thu Jan  1 00:00:00 2026\r\nReceived: x\r\n\r\n".into(),
        "ftp-client-trace" => b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n".into(),
        "ftp-recipients" => b"RCPT TO:<a@example.org>\r\n".into(),
        _ => Vec::new(),
    };
    [head, TRACE.into()].concat()
}

const PROTOCOLS: [&str; 23] = [
    "http",
    "http-put",
    "syslog",
    "graphite",
    "redis",
    "memcached",
    "nats",
    "mqtt",
    "ldap",
    "smb",
    "nfs",
    "mysql",
    "postgresql",
    "git",
    "rsync",
    "ssh",
    "irc",
    "xmpp",
    "usenet",
    "mailbox",
    "ftp-client-trace",
    "ftp-recipients",
    "ftp-trace",
];

/// Every byte arrives, nobody is accused, and the client has its answer, where there is one.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn text_about_mail_arrives_whole() {
    let Some(scene) = Scene::open("") else { return };
    let mut playing = Vec::new();
    for name in PROTOCOLS {
        let words = first_words(name);
        let path = scene.theatre.sandbox().folder().join(name);
        std::fs::write(&path, &words).unwrap();
        let whole = Manner {
            answers_at: words.len(),
            ..SILENT
        };
        for manner in [
            whole,
            Manner {
                ends: true,
                ..SILENT
            },
        ] {
            let (server, heard) = serve(&scene.theatre, "127.0.0.1:0", manner);
            let mut said = vec!["--file", path.to_str().unwrap()];
            if manner.ends {
                said.extend(["--end", "yes"]);
            }
            let pid = say(&scene, server, &said);
            playing.push((name, manner, words.clone(), pid, heard));
        }
    }
    for (name, manner, words, pid, heard) in playing {
        let exit = scene.desktop.wait(pid, LIMIT).unwrap();
        assert!(
            exit.success() || manner.ends,
            "{name}: {}",
            scene.desktop.stdout()
        );
        assert_eq!(heard.join().unwrap(), words, "{name}");
    }
    let accused = scene
        .theatre
        .log()
        .into_iter()
        .find(|entry| word(entry, "verdict") == "refuse" || entry["type"] == "finding");
    assert_eq!(accused, None);
}
