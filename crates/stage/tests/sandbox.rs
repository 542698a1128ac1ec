//! A sandbox is made, is separate, and is gone afterwards, whatever happens to its owner.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{LIMIT, address, player, sandbox};
use stage::{Desktop, DnsServer, HttpServer, IrcServer, Place, SmtpOptions, SmtpServer, Start};

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn everything_is_gone_after_drop() {
    let Some(sandbox) = sandbox() else { return };
    let (group, folder) = (sandbox.cgroup(), sandbox.folder().to_owned());
    let sleeper = sandbox
        .start(&Start::new("sleep").arg("1000").cgroup("user/app"))
        .unwrap();
    let crew = sandbox
        .command("sleep", Place::Crew, None)
        .unwrap()
        .arg("1000")
        .spawn()
        .unwrap();
    assert!(group.join("user/app").is_dir());
    let membership = std::fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid())).unwrap();
    assert!(membership.contains("/actors/user/app"), "{membership}");
    assert_eq!(sandbox.process_count(), 3);
    let pids = [sleeper.pid(), crew.id(), sandbox.init_pid()];
    assert!(pids.iter().all(|pid| is_running(*pid)));

    drop(sandbox);
    assert!(!group.parent().unwrap().exists());
    assert!(!folder.exists());
    assert!(!pids.iter().any(|pid| is_running(*pid)));
    let mut crew = crew;
    crew.wait().unwrap();
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn everything_is_gone_after_the_owner_is_killed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // The owner is this very test program, asked to run the next test alone.
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_that_waits", "--ignored", "--nocapture"])
        .env("STAGE_TEST_OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut value = |name: &str| {
        lines.find_map(|line| line.split_once(name).map(|(_, value)| value.to_owned()))
    };
    let group = PathBuf::from(value("GROUP=").unwrap());
    let folder = PathBuf::from(value("FOLDER=").unwrap());
    let pid: u32 = value("PID=").unwrap().parse().unwrap();
    assert!(group.is_dir() && folder.is_dir() && is_running(pid));

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the process ends", || !is_running(pid));
    eventually("the folder goes", || !folder.exists());
    eventually("the cgroup goes", || !group.parent().unwrap().exists());
}

#[test]
#[ignore = "needs root: part of another test"]
fn owner_that_waits() {
    if std::env::var_os("STAGE_TEST_OWNER").is_none() {
        return;
    }
    let Some(sandbox) = sandbox() else { return };
    let sleeper = sandbox
        .start(&Start::new("sleep").arg("1000").session())
        .unwrap();
    println!("\nGROUP={}", sandbox.cgroup().display());
    println!("FOLDER={}", sandbox.folder().display());
    println!("PID={}", sleeper.pid());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_owner_stays_outside_and_helpers_get_in() {
    let Some(sandbox) = sandbox() else { return };
    let here = |name: &str| std::fs::read_link(format!("/proc/thread-self/ns/{name}")).unwrap();
    let before = (here("mnt"), here("net"));
    let folder = sandbox.folder().to_owned();
    let inside = sandbox
        .run_inside(|| (here("mnt"), here("net"), mounted(&folder.join("bpf"))))
        .unwrap();
    assert_ne!(inside.0, before.0);
    assert_ne!(inside.1, before.1);
    assert!(inside.2, "bpffs is mounted inside");
    assert!(!mounted(&folder.join("bpf")), "and not outside");
    assert_eq!((here("mnt"), here("net")), before);

    let command = sandbox.command("cat", Place::Actors, Some((65534, 65534)));
    let output = command
        .unwrap()
        .args([
            "/proc/net/if_inet6",
            "/proc/self/status",
            "/proc/self/cgroup",
        ])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.contains("20010db8000000000000000000000025"),
        "{output}"
    );
    assert!(
        output.contains("Uid:\t65534\t65534\t65534\t65534"),
        "{output}"
    );
    assert!(output.contains("/actors"), "{output}");
}

fn mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table
        .lines()
        .any(|line| line.contains(path.to_str().unwrap()) && line.contains(" - bpf "))
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_desktop_starts_a_mailer_that_delivers() {
    let Some(sandbox) = sandbox() else { return };
    let addresses = [
        address("127.0.0.1:25"),
        address("198.51.100.25:587"),
        address("[2001:db8::25]:25"),
    ];
    let server =
        SmtpServer::start(sandbox.listen(&addresses).unwrap(), SmtpOptions::default()).unwrap();
    let desktop = player(&sandbox, "desktop-shell");
    let mailer = player(&sandbox, "mailer");
    let desktop = Desktop::start(
        &sandbox,
        Start::new(desktop).arg("desktop").user(65534, 65534),
    )
    .unwrap();
    for (count, address) in (1..).zip(addresses) {
        let arguments = [
            "mailer",
            "--server",
            &address.to_string(),
            "--subject",
            "Hi",
        ];
        let exit = desktop.run(&mailer, arguments, LIMIT).unwrap();
        assert!(exit.success(), "{}", desktop.stdout());
        assert_eq!(server.wait_for_messages(count, LIMIT).unwrap().len(), count);
    }
    let parent = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(parent(desktop.process().pid()).contains(&format!(" S {} ", sandbox.init_pid())));
    assert!(
        desktop
            .launch(Path::new("/nonexistent"), ["x"])
            .unwrap_err()
            .errno()
            == Some(libc::ENOENT)
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_takes_orders_over_irc_and_sends() {
    let Some(sandbox) = sandbox() else { return };
    let (mail, chat) = (address("127.0.0.1:25"), address("127.0.0.1:6667"));
    let server =
        SmtpServer::start(sandbox.listen(&[mail]).unwrap(), SmtpOptions::default()).unwrap();
    let irc = IrcServer::start(sandbox.listen(&[chat]).unwrap()).unwrap();
    let bot = player(&sandbox, "bot");
    let arguments = "bot --smtp 127.0.0.1:25 --irc 127.0.0.1:6667 --nick b-1 --channel #x --await !spam --hold-ms 20000";
    let bot = sandbox
        .start(&Start::new(&bot).args(arguments.split(' ')))
        .unwrap();
    irc.wait_for_join("#x", "b-1", LIMIT).unwrap();
    bot.wait_for_output("joined", LIMIT).unwrap();
    assert_eq!(server.payload_bytes(), 0);
    irc.say("#x", "botmaster", "!spam 1");
    server.wait_for_messages(1, LIMIT).unwrap();
    assert_eq!(irc.members("#x"), ["b-1"]);
    irc.say("#x", "botmaster", "!die");
    let output = bot.output(LIMIT).unwrap();
    assert!(output.exit.success(), "{output:?}");
}

/// Without a gate, a bot of each kind does what it is told, as often as it is told.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_takes_orders_from_a_web_server_looks_names_up_and_sends() {
    let Some(sandbox) = sandbox() else { return };
    let (mail, web, names) = (
        address("127.0.0.1:25"),
        address("127.0.0.1:80"),
        address("127.0.0.1:53"),
    );
    let server =
        SmtpServer::start(sandbox.listen(&[mail]).unwrap(), SmtpOptions::default()).unwrap();
    let master = HttpServer::start(sandbox.listen(&[web]).unwrap()).unwrap();
    let socket = sandbox
        .run_inside(|| std::net::UdpSocket::bind(names).unwrap())
        .unwrap();
    let names = DnsServer::start(socket, [127, 0, 0, 1].into()).unwrap();
    let bot = player(&sandbox, "bot");
    for (way, sent_before) in [("", 0), (" --apart yes", 2), (" --poll-ms 50", 4)] {
        let line = format!(
            "bot --http 127.0.0.1:80 --await send --rounds 2 --smtp 127.0.0.1:25 \
             --resolver 127.0.0.1:53 --mx example.test --host mx1.example.test{way}"
        );
        let bot = sandbox
            .start(&Start::new(&bot).args(line.split(' ')))
            .unwrap();
        for sent in [sent_before + 1, sent_before + 2] {
            master.order("send");
            server.wait_for_messages(sent, LIMIT).unwrap();
        }
        bot.wait(LIMIT).unwrap();
    }
    let asked = names.questions();
    assert_eq!(asked.len(), 12, "{asked:?}");
    assert_eq!(asked[0], ("example.test".to_owned(), stage::MX));
    assert_eq!(asked[11], ("mx1.example.test".to_owned(), stage::A));

    let line = "technique visits --server 127.0.0.1:80 --count 300";
    let visitor = Start::new(player(&sandbox, "visitor")).args(line.split(' '));
    let output = sandbox.start(&visitor).unwrap().output(LIMIT).unwrap();
    assert!(output.stdout.contains("300 answered"), "{output:?}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_shell_on_a_terminal_takes_what_is_typed() {
    let Some(sandbox) = sandbox() else { return };
    let pty = sandbox
        .start_on_pty(
            &Start::new("/bin/sh")
                .arg("-i")
                .env("PS1", "ready> ")
                .user(65534, 65534),
        )
        .unwrap();
    pty.read_until("ready> ", LIMIT).unwrap();
    pty.type_line("echo $((6*7)); tty < /dev/tty > /dev/null && echo has-terminal")
        .unwrap();
    pty.read_until("42", LIMIT).unwrap();
    pty.read_until("has-terminal", LIMIT).unwrap();
    pty.read_until("ready> ", LIMIT).unwrap();
    pty.type_line("exit 3").unwrap();
    let exit = pty
        .wait(LIMIT)
        .unwrap_or_else(|error| panic!("{error}: {}", pty.screen()));
    assert_eq!(exit.code, Some(3));
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_cannot_be_started_is_named() {
    let Some(sandbox) = sandbox() else { return };
    let error = sandbox
        .start(&Start::new("/nonexistent/program"))
        .unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/program"),
        "{error}"
    );
    let killed = sandbox.start(&Start::new("sleep").arg("1000")).unwrap();
    killed.signal(libc::SIGTERM).unwrap();
    assert_eq!(killed.wait(LIMIT).unwrap().signal, Some(libc::SIGTERM));
    assert!(killed.signal(libc::SIGTERM).is_err());
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tracefs_is_mounted_when_asked_for() {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    if !rustix::process::geteuid().is_root() || !known.contains("\ttracefs\n") {
        println!("skipped: needs root and tracefs");
        return;
    }
    let sandbox =
        stage::Sandbox::new(&stage::SandboxOptions::new([common::INIT]).tracefs()).unwrap();
    let tracefs = sandbox.tracefs().unwrap();
    assert!(!tracefs.join("events").exists());
    assert!(
        sandbox
            .run_inside(|| tracefs.join("events/sched").is_dir())
            .unwrap()
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_init_that_is_none_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // The last one becomes a good guard and a bad init.
    let guard_only = r#"[ "$1" = guard ] && exec "$0" "$@""#;
    for wrong in [
        vec!["/nonexistent"],
        vec!["/bin/true"],
        vec!["/bin/sh", "-c", guard_only, common::INIT],
    ] {
        let error = stage::Sandbox::new(&stage::SandboxOptions::new(&wrong)).unwrap_err();
        assert!(!error.to_string().is_empty(), "{wrong:?}");
        println!("{error}");
    }
}
