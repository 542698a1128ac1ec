//! Bots whose orders are no IRC: command and reaction, and what a mass mailer's own engine
//! gives away.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use e2e::{LIMIT, SERVER, Scene, detail, details, wait_until, word};
use serde_json::Value;
use stage::HttpServer;

/// The word of the evidence.
const COMMAND_REACTION: &str = "command-reaction";

/// For how long the master is silent before each order.
const QUIET: Duration = Duration::from_millis(5500);
const ROUNDS: usize = 3;

/// Findings that name this culprit.
fn findings_about(scene: &Scene, program: &std::path::Path) -> Vec<Value> {
    let mut findings = scene.findings();
    findings.retain(|finding| finding["culprit"] == program.to_string_lossy().as_ref());
    findings
}

/// Gives an order to each bot that polls, when all have been left alone for a while.
fn orders(servers: &[&HttpServer]) {
    for server in servers {
        server.wait_for_poll(LIMIT).unwrap();
    }
    sleep(QUIET);
    for server in servers {
        server.order("send");
    }
}

/// Bots that poll a web server for orders, one on each of two ports: quiet, an order, a refused
/// send, again and again. What is said is not known, and need not be.
fn obey_the_web(way: &str) {
    let Some(scene) = Scene::open("") else { return };
    let ports = [80, 8080];
    let servers = ports.map(|port| scene.theatre.web(&format!("127.0.0.1:{port}")));
    let servers = [&servers[0], &servers[1]];
    let bots = ports.map(|port| {
        let bot = scene.theatre.player(&format!("poller-{port}"));
        let words = format!(
            "bot --http 127.0.0.1:{port} --await send --rounds {ROUNDS} --smtp {SERVER} --count 2 {way}"
        );
        let pid = scene.start(&bot, &words);
        (bot, pid)
    });
    for _ in 0..ROUNDS {
        orders(&servers);
    }
    for ((bot, pid), port) in bots.iter().zip(ports) {
        scene.fails(*pid);
        let culprit = bot.to_string_lossy();
        // The first order could be chance: without IRC it is the paper's lighter finding.
        let first = scene.finding_that(0, "finding", |entry| word(entry, "culprit") == culprit);
        assert_eq!(first["finding"], "illegal-send", "{first}");
        let finding = scene.finding_that(0, "bot-suspected", |entry| {
            word(entry, "culprit") == culprit && word(entry, "finding") == "bot-suspected"
        });
        let sign = detail(&finding, COMMAND_REACTION).unwrap_or_default();
        assert!(sign.contains(&format!("127.0.0.1:{port}")), "{finding}");
        assert!(!details(&finding).contains("irc-"), "{finding}");
    }
}

/// A long poll: one connection, on which an answer is long in coming.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn orders_by_a_long_poll() {
    obey_the_web("");
}

/// The same, with a connection for each order.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn orders_by_a_connection_for_each() {
    obey_the_web("--anew yes");
}

/// The same, and the bot closes its own side of each behind the question: what comes in then passes
/// another way through the kernel.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn orders_by_half_closed_connections() {
    obey_the_web("--half-closed yes");
}

/// A bot that asks again and again, each time on a new connection, and is answered at once:
/// mostly that there is nothing to do.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn orders_by_polling() {
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.web("127.0.0.1:8080");
    let bot = scene.start_bot(&format!(
        "bot --http 127.0.0.1:8080 --await send --rounds 4 --smtp {SERVER} --poll-ms 5300"
    ));
    // With answers that come so often, two acts behind one may be chance, and what follows each is
    // a schedule.
    for polls in [2, 4, 6, 8] {
        wait_until(LIMIT, || (server.requests() >= polls).then_some(())).expect("a poll");
        server.order("send");
    }
    scene.fails(bot);
    let finding = scene.finding_that(0, "bot-suspected", |entry| {
        word(entry, "finding") == "bot-suspected"
    });
    let sign = detail(&finding, COMMAND_REACTION).unwrap_or_default();
    assert!(sign.contains("127.0.0.1:8080"), "{finding}");
    assert!(!details(&finding).contains("irc-"), "{finding}");
}

/// The same traffic once in a while, and mail that goes its own way in between: an order has
/// to be followed by something, more than once.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn one_answer_and_one_refusal_are_no_bot() {
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.web("127.0.0.1:8080");
    let bot = scene.start_bot(&format!(
        "bot --http 127.0.0.1:8080 --await send --rounds 1 --smtp {SERVER} --hold-ms 1000"
    ));
    orders(&[&server]);
    server.order("!die");
    scene.fails(bot);
    let findings = findings_about(&scene, &scene.bot);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["finding"], "illegal-send", "{findings:?}");
}

/// Mail servers of the world, as a mass mailer finds them.
fn servers() -> String {
    (1..=8)
        .map(|host| format!(" --smtp 192.0.2.{host}:25"))
        .collect()
}

/// A mass mailer that looks names up at a resolver, tries the world's mail servers, and then
/// the mailer of its host. Returns its second finding, which comes after all of that.
fn mass_mail(scene: &Scene, resolver: &str, lookups: &str) -> Value {
    let names = scene.theatre.names(resolver, Ipv4Addr::new(192, 0, 2, 1));
    let mailer = scene.mailer.display();
    scene.run_bot(&format!(
        "bot --resolver {resolver}{lookups}{} --start-mailer {mailer} mailer --server 192.0.2.1:25",
        servers()
    ));
    assert_eq!(names.questions().len(), 8, "{:?}", names.questions());
    let finding = scene.finding_that(0, "foreign-origin", |entry| {
        word(entry, "reason") == "foreign-origin"
    });
    let refused = scene
        .theatre
        .log()
        .iter()
        .filter(|entry| word(entry, "verdict") == "refuse")
        .count();
    assert_eq!(refused, 9);
    scene.blames_the_bot(&finding);
    // Nobody was seen to give it orders.
    assert_eq!(finding["finding"], "illegal-send", "{finding}");
    let fan_out = detail(&finding, "fan-out").unwrap_or_default();
    assert!(fan_out.contains('8'), "{finding}");
    finding
}

/// Paper, introduction: the second generation asks for mail exchangers.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mass_mailer_that_looks_up_mail_exchangers() {
    let Some(scene) = Scene::open("") else { return };
    let lookups: String = (1..=8)
        .map(|host| format!(" --mx example-{host}.test"))
        .collect();
    let finding = mass_mail(&scene, "127.0.0.1:53", &lookups);
    let said = detail(&finding, "mx-lookups").unwrap_or_default();
    assert!(said.contains("8 domains"), "{finding}");
    assert!(said.contains("example-1.test"), "{finding}");
    assert_eq!(detail(&finding, "mail-host-lookups"), None, "{finding}");
}

/// And the third asks for the addresses of hosts that are called like mail servers. Over IPv6.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mass_mailer_that_guesses_mail_servers() {
    let Some(scene) = Scene::open("") else { return };
    let lookups: String = (1..=8)
        .map(|host| format!(" --host mx1.example-{host}.test"))
        .collect();
    let finding = mass_mail(&scene, "[::1]:53", &lookups);
    let said = detail(&finding, "mail-host-lookups").unwrap_or_default();
    assert!(said.contains("8 mail hosts"), "{finding}");
    assert_eq!(detail(&finding, "mx-lookups"), None, "{finding}");
}

/// A registered mailer looks names up too, for its user: no evidence, no finding.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn lookups_of_a_mailer_are_no_evidence() {
    let Some(scene) = Scene::open("") else { return };
    let names = scene.theatre.names("127.0.0.1:53", Ipv4Addr::LOCALHOST);
    let lookups: String = (1..=8)
        .map(|host| format!(" --mx example-{host}.test --host mx1.example-{host}.test"))
        .collect();
    let pid = scene.start(
        &scene.mailer,
        &format!("bot --resolver 127.0.0.1:53{lookups} --smtp {SERVER}"),
    );
    assert!(scene.desktop.wait(pid, LIMIT).unwrap().success());
    assert_eq!(names.questions().len(), 16);
    sleep(Duration::from_millis(500));
    assert_eq!(scene.findings(), [] as [Value; 0]);
}
