//! Bots whose orders are no IRC: command and reaction, and what a mass mailer's own engine
//! gives away.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use e2e::{LIMIT, SERVER, Scene, detail, details, word};
use serde_json::Value;
use stage::HttpServer;

/// Words of the evidence.
const COMMAND_AND_REACTION: &str = "command-and-reaction";
const MX_LOOKUPS: &str = "mx-lookups";
const MAIL_HOST_LOOKUPS: &str = "mail-host-lookups";
const FAN_OUT: &str = "fan-out";

/// For how long the master is silent before each order.
const QUIET: Duration = Duration::from_secs(4);
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

/// Two bots, each with a long poll at a web server: quiet, an order, a refused send, again
/// and again. What is said is not known, and need not be.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn orders_by_http_and_what_follows() {
    let Some(scene) = Scene::open("") else { return };
    let ports = [80, 8080];
    let servers = ports.map(|port| scene.theatre.web(&format!("127.0.0.1:{port}")));
    let servers = [&servers[0], &servers[1]];
    let bots = ports.map(|port| {
        let bot = scene.theatre.player(&format!("poller-{port}"));
        let words = format!(
            "bot --http 127.0.0.1:{port} --await send --rounds {ROUNDS} --smtp {SERVER} --count 2"
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
        let sign = detail(&finding, COMMAND_AND_REACTION).unwrap_or_default();
        assert!(sign.contains(&format!("127.0.0.1:{port}")), "{finding}");
        assert!(!details(&finding).contains("irc-"), "{finding}");
    }
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

/// What all findings about the bot say together.
fn evidence_of(scene: &Scene, before: u64) -> String {
    // Each attempt is journaled; findings of one kind are held back after the first.
    for host in 1..=8 {
        let server = format!("192.0.2.{host}:25");
        scene.theatre.wait_after(before, &server, |entry| {
            word(entry, "verdict") == "refuse" && word(entry, "destination") == server
        });
    }
    scene.finding_of(before, "bot-suspected");
    findings_about(scene, &scene.bot)
        .iter()
        .map(details)
        .collect()
}

/// Paper, introduction: the second generation asks for mail exchangers.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mass_mailer_that_looks_up_mail_exchangers() {
    let Some(scene) = Scene::open("") else { return };
    let names = scene
        .theatre
        .names("127.0.0.1:53", Ipv4Addr::new(192, 0, 2, 1));
    let lookups: String = (1..=8)
        .map(|host| format!(" --mx example-{host}.test"))
        .collect();
    scene.run_bot(&format!(
        "bot --resolver 127.0.0.1:53{lookups}{}",
        servers()
    ));
    assert_eq!(names.questions().len(), 8);
    let said = evidence_of(&scene, 0);
    assert!(said.contains(&format!("{MX_LOOKUPS}: ")), "{said}");
    assert!(said.contains(&format!("{FAN_OUT}: ")), "{said}");
    assert!(said.contains("example-"), "{said}");
}

/// And the third asks for the addresses of hosts that are called like mail servers.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mass_mailer_that_guesses_mail_servers() {
    let Some(scene) = Scene::open("") else { return };
    let names = scene.theatre.names("[::1]:53", Ipv4Addr::new(192, 0, 2, 1));
    let lookups: String = (1..=8)
        .map(|host| format!(" --host mx1.example-{host}.test"))
        .collect();
    scene.run_bot(&format!("bot --resolver [::1]:53{lookups}{}", servers()));
    assert_eq!(names.questions().len(), 8);
    let said = evidence_of(&scene, 0);
    assert!(said.contains(&format!("{MAIL_HOST_LOOKUPS}: ")), "{said}");
    assert!(said.contains(&format!("{FAN_OUT}: ")), "{said}");
    assert!(!said.contains(&format!("{MX_LOOKUPS}: ")), "{said}");
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
