//! The list of evasions against other guards: what would have reached the server. No daemon
//! runs here. What is played is what the other files play, without what they expect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::evasions::{self, DRIVING, IMPOSTORS, OWN_ENGINE, RAW};
use e2e::peers::{OpenSnitch, raise_nftables};
use e2e::{LIMIT, SERVER, Terminal, Theatre, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use stage::{Desktop, SmtpServer, Start};

/// For what is still on its way when a program has ended.
const SETTLED: Duration = Duration::from_millis(30);

/// A person, a mailer that may send, and a bot under the same account.
struct Ground {
    peer: &'static str,
    server: SmtpServer,
    desktop: Desktop,
    mailer: PathBuf,
    bot: PathBuf,
    theatre: Theatre,
}

impl Ground {
    fn open(peer: &'static str) -> Option<Self> {
        let theatre = Theatre::open()?;
        Some(Self {
            peer,
            server: theatre.smtp(),
            desktop: theatre.desktop(),
            mailer: theatre.player("mailer"),
            bot: theatre.player("bot"),
            theatre,
        })
    }

    /// Notes what reached the server while something is done.
    fn play(&self, row: &str, deed: impl FnOnce()) {
        self.play_at(&self.server, row, deed);
    }

    fn play_at(&self, server: &SmtpServer, row: &str, deed: impl FnOnce()) {
        let before = server.payload_bytes();
        deed();
        std::thread::sleep(SETTLED);
        evasions::against(self.peer, row, server.payload_bytes() - before);
    }

    /// Runs a program as one that the desktop started. How it ends does not matter.
    fn run(&self, program: &Path, words: &str) {
        let words = words.split_whitespace();
        self.desktop.run(program, words, 2 * LIMIT).unwrap();
    }

    fn start(&self, program: &Path, words: &str) -> u32 {
        let words = words.split_whitespace();
        self.desktop.launch(program, words).unwrap()
    }

    fn send(&self) -> String {
        let mailer = self.mailer.display();
        format!("{mailer} mailer --server {SERVER} --timeout-ms 1000")
    }

    /// The person's own mail gets through, or the guard is set up wrongly and says nothing.
    fn the_person_may_send(&self) {
        self.run(&self.mailer, &format!("mailer --server {SERVER}"));
        let sent = self.server.wait_for_messages(1, LIMIT);
        sent.unwrap_or_else(|error| panic!("{error}: {}", self.desktop.stdout()));
    }

    fn everything(&self) {
        self.the_person_may_send();
        self.techniques();
        self.packets();
        self.ports_and_relays();
        self.sockets_given_away();
        self.shells();
        self.starters();
        self.reaching_in();
        self.environments();
        self.submitters();
        self.files();
    }

    /// No connection is made: the mail server on this machine is handed its mail in a file.
    fn submitters(&self) {
        let spool = self.theatre.home().join("queue");
        let queued = || std::fs::metadata(&spool).map_or(0, |file| file.len());
        let submitter = self.theatre.player("sendmail");
        for way in evasions::SUBMITTING {
            let before = queued();
            let (submitter, spool) = (submitter.display(), spool.display());
            let words = format!("technique {way} -- {submitter} submit --spool {spool}");
            self.run(&self.bot, &words);
            evasions::against(self.peer, &format!("submit-{way}"), queued() - before);
        }
    }

    fn techniques(&self) {
        let mailer = self.mailer.to_str().unwrap();
        let lists = [OWN_ENGINE, DRIVING, IMPOSTORS, &["seccomp-exec"]];
        for name in lists.into_iter().flatten() {
            let words = evasions::technique_words(name, SERVER, mailer);
            self.play(name, || {
                self.desktop.run(&self.bot, &words, 2 * LIMIT).unwrap();
            });
        }
        self.play("send-fd-helper", || {
            let words = format!("technique send-fd -- {}", self.send());
            self.run(&self.bot, &words);
        });
    }

    fn packets(&self) {
        for name in RAW.iter().chain(&["packet"]) {
            let words = ["technique", name, "--server", SERVER];
            let start = Start::new(&self.bot).args(words);
            self.play(name, || {
                let sent = self.theatre.sandbox().start(&start).unwrap();
                sent.output(LIMIT).unwrap();
            });
            if !matches!(*name, "raw" | "packet") {
                continue;
            }
            let row = format!("{name}-unprivileged");
            self.play(&row, || {
                self.theatre.start(start.clone()).output(LIMIT).unwrap();
            });
        }
    }

    fn ports_and_relays(&self) {
        for port in [26, 443, 2525, 8025] {
            let at = format!("127.0.0.1:{port}");
            let server = self.theatre.smtp_at(&[&at]);
            self.play_at(&server, &format!("port-{port}"), || {
                self.run(&self.bot, &format!("bot --smtp {at} --timeout-ms 1000"));
            });
        }
        let other = "127.0.0.1:2526";
        let server = self.theatre.smtp_at(&[other]);
        for way in evasions::PORT_WAYS.iter().chain(evasions::WRAPPED) {
            self.play_at(&server, &format!("port-{way}"), || {
                let words = format!("technique {way} --server {other} --timeout-ms 1000");
                self.run(&self.bot, &words);
            });
        }
        let local = [
            ("local-587", "127.0.0.1:587"),
            ("local-465", "127.0.0.1:465"),
            ("local-587-ipv6", "[::1]:587"),
        ];
        for (row, at) in local {
            let server = self.theatre.smtp_at(&[at]);
            self.play_at(&server, row, || {
                self.run(&self.bot, &format!("bot --smtp {at} --timeout-ms 1000"));
            });
        }
        for (row, at) in [
            ("local-25", SERVER),
            ("local-25-ipv6", "[::1]:25"),
            ("local-any", "0.0.0.0:25"),
            ("local-any-ipv6", "[::]:25"),
        ] {
            self.play(row, || {
                self.run(&self.bot, &format!("bot --smtp {at} --timeout-ms 1000"));
            });
        }
        let users = self.theatre.player("relay");
        let relays = [
            ("relay-own", &self.bot, 1025),
            ("relay-users", &users, 1026),
            ("relay-mailer", &self.mailer, 1027),
        ];
        for (row, relay, port) in relays {
            let near = format!("127.0.0.1:{port}");
            self.play(row, || {
                let words = format!("relay --listen {near} --server {SERVER} --timeout-ms 1000");
                let relay = self.start(relay, &words);
                wait_until(LIMIT, || self.listens(port).then_some(())).expect("a relay");
                self.run(&self.bot, &format!("bot --smtp {near} --timeout-ms 1000"));
                // Where the bot may not even reach the relay, it waits in vain.
                let pid = Pid::from_raw(relay.cast_signed()).unwrap();
                let _ = kill_process(pid, Signal::TERM);
                self.desktop.wait(relay, LIMIT).unwrap();
            });
        }
    }

    fn listens(&self, port: u16) -> bool {
        let sockets = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let sockets = self.theatre.sandbox().run_inside(sockets).unwrap();
        sockets.contains(&format!("0100007F:{port:04X} 00000000:0000 0A"))
    }

    fn sockets_given_away(&self) {
        let socket = self.theatre.home().join("socket");
        self.play("given-fd", || {
            let at = socket.display();
            let taker = self.start(&self.bot, &format!("technique send-fd --socket {at}"));
            wait_until(LIMIT, || socket.exists().then_some(())).expect("a bot that waits");
            let words = format!("mailer --server {SERVER} --give-fd {at}");
            self.run(&self.mailer, &words);
            self.desktop.wait(taker, LIMIT).unwrap();
        });
        self.play("given-exec", || {
            let bot = self.bot.display();
            let words = format!("technique inherit-exec --server {SERVER} -- {bot} mailer");
            self.run(&self.mailer, &words);
        });
    }

    fn shells(&self) {
        let send = self.send();
        let script = self.theatre.write("script.sh", &format!("{send}\n"));
        let path = script.to_str().unwrap();
        let ways: [(&str, &str, &[&str]); 5] = [
            ("sh-c", "/bin/sh", &["-c", &send]),
            ("bash-c", "/bin/bash", &["-c", &send]),
            ("bash-script", "/bin/bash", &[path]),
            ("bash-i-c", "/bin/bash", &["-i", "-c", &send]),
            ("bash-rcfile", "/bin/bash", &["--rcfile", path, "-i"]),
        ];
        for (row, shell, words) in ways {
            self.play(row, || {
                self.desktop.run(Path::new(shell), words, LIMIT).unwrap();
            });
        }
        let terminal = self.theatre.terminal();
        for (row, line, _) in evasions::typed_lines(&send, &script, &self.bot) {
            self.play(row, || {
                terminal.run(&line);
            });
        }
        let bot = self.bot.display();
        let prompt = format!("PS1='{}'\n", Terminal::PROMPT);
        for (row, line) in [
            (
                "start-up-engine",
                format!("{bot} bot --smtp {SERVER} --timeout-ms 1000"),
            ),
            ("start-up-mailer", send.clone()),
        ] {
            self.theatre
                .write("home/.bashrc", &format!("{line} > /dev/null\n{prompt}"));
            self.play(row, || drop(self.theatre.terminal()));
        }
        self.theatre.write("home/.bashrc", &prompt);
        self.play("tiocsti", || {
            terminal.run(&format!("{bot} technique tiocsti --text '{send}'"));
            terminal.run("true");
        });
    }

    fn starters(&self) {
        let send = self.send();
        let words: Vec<&str> = send.split(' ').collect();
        self.play("unit", || {
            let start = Start::new(words[0]).args(&words[1..]);
            self.theatre.start(start).output(LIMIT).unwrap();
        });
        self.play("job", || {
            let start = Start::new("/bin/bash").args(["-c", &send]);
            self.theatre.start(start).output(LIMIT).unwrap();
        });
        self.play("other-cgroup", || {
            let deed = [
                "technique",
                "plain",
                "--timeout-ms",
                "1000",
                "--server",
                SERVER,
            ];
            let start = Start::new(&self.bot).cgroup("app").args(deed);
            self.theatre.start(start).output(LIMIT).unwrap();
        });
        self.play("su", || {
            let start = Start::new("/usr/bin/su").args(["-s", "/bin/sh", "nobody", "-c", &send]);
            let start = start.env("PATH", "/usr/bin:/bin");
            let ran = self.theatre.sandbox().start(&start).unwrap();
            ran.output(LIMIT).unwrap();
        });
        let folder = self.theatre.home().join("bin");
        std::fs::create_dir(&folder).unwrap();
        let namesake = folder.join("mailer");
        let copy = [self.bot.to_str().unwrap(), namesake.to_str().unwrap()];
        self.theatre.crew("cp", &copy);
        self.play("names-own", || {
            let words =
                format!("technique plain --comm mailer --timeout-ms 1000 --server {SERVER}");
            self.run(&namesake, &words);
        });
        self.play("names-launcher", || {
            self.run(&namesake, &format!("launcher {send}"))
        });
    }

    /// Into a mailer that waits before it connects, and into one that has.
    fn reaching_in(&self) {
        let reach = |technique: &str, pid: u32| {
            let words = ["technique", technique, "--pid", &pid.to_string()];
            let start = Start::new(&self.bot).args(words);
            self.theatre.start(start).output(LIMIT).unwrap()
        };
        for technique in [
            "ptrace-attach",
            "vm-writev",
            "proc-mem",
            "proc-mem-ring",
            "proc-mem-32-bit",
        ] {
            self.play(technique, || {
                let words = format!("mailer --server {SERVER} --delay-ms 500");
                let mailer = self.start(&self.mailer, &words);
                reach(technique, mailer);
                self.desktop.wait(mailer, LIMIT).unwrap();
            });
        }
        for (row, technique) in [
            ("pidfd-getfd", "pidfd-getfd"),
            ("ptrace-connected", "ptrace-attach"),
            ("vm-connected", "vm-writev"),
        ] {
            self.play(row, || {
                let connections = self.server.connection_count();
                let words = format!("mailer --server {SERVER} --linger-ms 500");
                let mailer = self.start(&self.mailer, &words);
                let connected = || (self.server.connection_count() > connections).then_some(());
                wait_until(LIMIT, connected).expect("a connected mailer");
                reach(technique, mailer);
                self.desktop.wait(mailer, LIMIT).unwrap();
            });
        }
        let desktop = self.desktop.process().pid();
        for technique in ["ptrace-attach", "vm-writev"] {
            self.play(&format!("{technique}-desktop"), || {
                reach(technique, desktop);
                self.run(&self.mailer, &format!("mailer --server {SERVER}"));
            });
        }
        let send = self.send();
        let panel = self.theatre.player("panel");
        self.play("traceme-launcher", || {
            self.run(&panel, &format!("technique ptrace-traceme -- {send}"));
        });
        for (row, flag) in [
            ("marionette", "--marionette"),
            ("remote-debugging", "--remote-debugging-port"),
        ] {
            self.play(row, || {
                self.run(
                    &self.mailer,
                    &format!("mailer --server {SERVER} {flag} 2828"),
                );
            });
        }
    }

    fn environments(&self) {
        let panel = self.theatre.player("panel");
        // The line is cut at its blanks.
        let rows = evasions::variable_rows().filter(|(_, variable)| !variable.contains(' '));
        for (row, variable) in rows {
            let words = format!("technique env-exec --env {variable} -- {}", self.send());
            self.play(&row, || self.run(&panel, &words));
        }
    }

    /// Last of all: the mailer's file is another one afterwards.
    fn files(&self) {
        let mailer = self.mailer.to_str().unwrap();
        let other = self.theatre.player("other");
        let other = other.to_str().unwrap();
        let words = format!("mailer --server {SERVER} --timeout-ms 1000");
        self.play("exec-link", || {
            let link = self.mailer.with_file_name("other-name");
            std::fs::hard_link(&self.mailer, &link).unwrap();
            let words = format!("technique exec -- {} {words}", link.display());
            self.run(&self.bot, &words);
        });
        self.play("file-overwritten", || {
            self.theatre.crew("cp", &[other, mailer]);
            self.run(&self.mailer, &words);
        });
        self.play("file-replaced", || {
            let fresh = format!("{mailer}.new");
            self.theatre.crew("cp", &[other, &fresh]);
            self.theatre.crew("mv", &[&fresh, mailer]);
            self.run(&self.mailer, &words);
        });
        self.play("storm", || {
            self.run(
                &self.bot,
                &format!("technique storm --count 100 --timeout-ms 500 --server {SERVER}"),
            );
        });
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn nftables_by_user() {
    let Some(ground) = Ground::open("nftables") else {
        return;
    };
    if raise_nftables(&ground.theatre) {
        ground.everything();
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn opensnitch_by_path() {
    let Some(ground) = Ground::open("OpenSnitch") else {
        return;
    };
    let peer = OpenSnitch::raise(&ground.theatre, &[&ground.mailer]);
    if peer.is_some() {
        ground.everything();
    }
}
