//! People chat: a real IRC client on a terminal, on a real ngircd.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use e2e::{Herd, LIMIT, SERVER, Scene, Terminal, detail, is_missing, wait_until, word};
use stage::IrcClient;

const IRSSI: &str = "/usr/bin/irssi";
const TEA: &str = "#tea";

/// It waits two seconds between lines otherwise, so as not to flood a server.
const SETTINGS: &str = "settings = { \"irc/core\" = { cmd_queue_speed = \"1msec\"; }; };\n";

/// A scene with ngircd, and a shell of the person's on a terminal.
struct Chat {
    terminal: Terminal,
    friend: IrcClient,
    _herd: Herd,
    scene: Scene,
}

impl Chat {
    fn open(irssi_is_registered: bool, ports: &[u16]) -> Option<Self> {
        if is_missing(&[Herd::NGIRCD, IRSSI]) {
            return None;
        }
        let scene = Scene::open_after("", |theatre| {
            theatre.register_as(Path::new("/bin/bash"), "shell", None);
            if irssi_is_registered {
                theatre.register_as(Path::new(IRSSI), "chat", None);
            }
        })?;
        let herd = Herd::start(&scene.theatre, ports);
        let stream = scene
            .theatre
            .connect(([127, 0, 0, 1], ports[0]).into())
            .unwrap();
        let mut friend = IrcClient::new(stream).register("bob", LIMIT).unwrap();
        friend.join(TEA, None, LIMIT).unwrap();
        let settings = scene.theatre.write("irssi.conf", SETTINGS);
        let terminal = scene.theatre.terminal();
        let copy = format!("mkdir irssi && cp {} irssi/config", settings.display());
        assert_eq!(terminal.run(&copy), 0, "{}", terminal.screen());
        Some(Self {
            terminal,
            friend,
            _herd: herd,
            scene,
        })
    }

    fn types(&self, line: &str) {
        self.terminal.pty().type_line(line).unwrap();
    }

    /// Alice starts irssi and chats with Bob; irssi stays open.
    fn chats_at(&mut self, port: u16) {
        self.types(&format!(
            "TERM=xterm {IRSSI} --home=irssi --connect=127.0.0.1 --port={port} --nick=alice"
        ));
        self.terminal
            .pty()
            .read_until("End of MOTD", LIMIT)
            .unwrap();
        self.types(&format!("/join {TEA}"));
        self.friend.wait_for_member(TEA, "alice", LIMIT).unwrap();
        self.types("hello bob, tea at five?");
        self.friend.wait_for("tea at five?", LIMIT).unwrap();
        self.friend.tell(TEA, "scones too, alice").unwrap();
        self.terminal.pty().read_until("scones too", LIMIT).unwrap();
    }

    /// And leaves.
    fn leaves(&self) {
        self.types("/quit");
        self.terminal
            .pty()
            .read_until(Terminal::PROMPT, LIMIT)
            .unwrap();
        let none = || {
            let status = self.scene.theatre.status();
            let irc = status["irc"].as_array()?;
            irc.is_empty().then_some(())
        };
        wait_until(LIMIT, none).expect("the IRC connection is over");
    }
}

/// What a person says to friends is no evidence, on whatever port; not even while a bot is
/// at work elsewhere.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_persons_chat_is_no_evidence_on_any_port() {
    let Some(mut chat) = Chat::open(true, &[6667, 8080]) else {
        return;
    };
    for (count, port) in (1..).zip([6667, 8080]) {
        chat.chats_at(port);
        // Time enough to mistake it, if anything would.
        sleep(Duration::from_millis(500));
        // A finding for each culprit and minute: another program each time.
        let bot = chat.scene.theatre.player(&format!("bot-{count}"));
        let pid = chat.scene.start(&bot, &format!("bot --smtp {SERVER}"));
        chat.scene.fails(pid);
        let finding = chat.scene.finding_that(0, "finding", |entry| {
            word(entry, "culprit") == bot.to_str().unwrap()
        });
        assert_eq!(finding["finding"], "illegal-send", "{finding}");
        for sign in ["irc-same-lineage", "irc-elsewhere", "irc-just-ended"] {
            assert_eq!(detail(&finding, sign), None, "{finding}");
        }
        chat.leaves();
    }
    let findings = chat.scene.findings();
    assert_eq!(findings.len(), 2, "{findings:?}");
}

/// The same program, the same person, but nobody registered it: it counts as any other.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_unregistered_chat_program_counts_on_any_port() {
    let Some(mut chat) = Chat::open(false, &[6667, 8080]) else {
        return;
    };
    for (count, port) in (1..).zip([6667, 8080]) {
        chat.chats_at(port);
        chat.scene.wait_for_irc(&format!("127.0.0.1:{port}"));
        let bot = chat.scene.theatre.player(&format!("bot-{count}"));
        let pid = chat.scene.start(&bot, &format!("bot --smtp {SERVER}"));
        chat.scene.fails(pid);
        let finding = chat.scene.finding_that(0, "finding", |entry| {
            word(entry, "culprit") == bot.to_str().unwrap()
        });
        assert_eq!(finding["finding"], "bot-suspected", "{finding}");
        let irc = detail(&finding, "irc-elsewhere").unwrap_or_default();
        assert!(
            irc.contains(&format!("127.0.0.1:{port}")) && irc.contains("irssi"),
            "{finding}"
        );
        chat.leaves();
    }
}
