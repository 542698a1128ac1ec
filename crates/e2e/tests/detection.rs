//! Bots that take their orders over IRC, from a real ngircd on the usual port and on others:
//! IRC is known by what is said, not by the port.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Herd, LIMIT, SERVER, Scene, detail, details, wait_until, word};
use serde_json::Value;

/// What holds for every bot with a channel of its own.
fn is_a_bot(scene: &Scene, finding: &Value, port: u16) {
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    assert_eq!(
        finding["evidence"][0]["what"], "irc-same-lineage",
        "{finding}"
    );
    let said = details(finding);
    let irc = detail(finding, "irc-same-lineage").unwrap_or_default();
    assert!(irc.contains(&format!("127.0.0.1:{port}")), "{said}");
    let key = said
        .lines()
        .find(|line| line.contains(Herd::CHANNEL) && line.contains("key"));
    assert!(key.is_some(), "{said}");
    // What it is called, and what it was told.
    assert!(said.contains("machine-nick: "), "{said}");
    assert!(said.contains(Herd::ORDER), "{said}");
    // What opens the channel is nobody's business.
    assert!(!finding.to_string().contains(Herd::KEY), "{finding}");
    scene.blames_the_bot(finding);
}

fn own_engine_at(port: u16) {
    let Some((scene, herd)) = Herd::open("", &[port]) else {
        return;
    };
    let (refusal, finding) = herd.is_obeyed(
        &scene,
        &format!("127.0.0.1:{port}"),
        &format!("--smtp {SERVER}"),
    );
    assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
    assert_eq!(refusal["destination"], SERVER, "{refusal}");
    scene.blames_the_bot(&refusal);
    is_a_bot(&scene, &finding, port);
    // With its connection, the IRC of the machine is over.
    let over = || {
        scene.theatre.status()["irc"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    };
    wait_until(LIMIT, over).expect("no IRC any more");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_on_the_usual_port() {
    own_engine_at(6667);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_on_port_80() {
    own_engine_at(80);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_on_port_8080() {
    own_engine_at(8080);
}

/// One process listens to the master, its sibling sends: the lineage is one.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_in_two_processes() {
    let Some((scene, herd)) = Herd::open("", &[8080, 6667]) else {
        return;
    };
    for port in [8080, 6667] {
        let before = scene.theatre.newest();
        let bot = scene.start_bot(&Herd::bot(
            &format!("127.0.0.1:{port}"),
            &format!("--apart yes --smtp {SERVER}"),
        ));
        herd.wait_for_join(Herd::NICK);
        scene.wait_for_irc(&format!("127.0.0.1:{port}"));
        herd.order(Herd::ORDER);
        let refusal = scene.refusal_after(before);
        let status = scene.theatre.status();
        let irc = &status["irc"][0];
        assert_ne!(irc["pid"], refusal["pid"], "{irc} {refusal}");
        // The second one is the same finding again, and is held back.
        if port == 8080 {
            let finding = scene.finding_after(before);
            is_a_bot(&scene, &finding, port);
        }
        herd.order("!die");
        scene.fails(bot);
    }
}

/// The paper's figure 4 with a channel on a port that the paper does not know.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_that_drives_the_mailer() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let mailer = scene.mailer.to_str().unwrap();
    let then = format!("--start-mailer {mailer} mailer --server {SERVER}");
    let (refusal, finding) = herd.is_obeyed(&scene, "127.0.0.1:8080", &then);
    assert_eq!(refusal["reason"], "foreign-origin", "{refusal}");
    assert_eq!(refusal["program"], mailer, "{refusal}");
    is_a_bot(&scene, &finding, 8080);
    assert!(detail(&finding, "drives-mailer").is_some(), "{finding}");
}

/// A bot that obeys, as far as anybody can see, but tries to send no mail: what it is told in
/// its channel is enough.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_that_sends_nothing() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let server = "127.0.0.1:8080";
    let bot = scene.start_bot(&Herd::bot(server, "--rounds 3"));
    herd.wait_for_join(Herd::NICK);
    scene.wait_for_irc(server);
    for order in [Herd::ORDER, ".ddos.syn 192.0.2.7 80 60", Herd::ORDER] {
        herd.order(order);
    }
    let finding = scene.finding_that(0, "finding", |_| true);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    assert_eq!(finding["reason"], Value::Null, "{finding}");
    assert_eq!(finding["culprit"], scene.bot.to_str().unwrap(), "{finding}");
    assert_eq!(finding["evidence"][0]["what"], "bot-command", "{finding}");
    let said = details(&finding);
    assert!(said.contains(Herd::ORDER), "{said}");
    assert!(said.contains(server), "{said}");
    // Nobody tried to send.
    let log = scene.theatre.log();
    assert!(log.iter().all(|entry| entry["type"] != "verdict"));
    herd.order(".spam once more");
    herd.order("!die");
    scene.fails(bot);
}

/// The paper's rule looks at the machine: IRC of somebody else counts, and weighs less.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn irc_of_another_program_on_another_port() {
    let Some((scene, herd)) = Herd::open("", &[8080]) else {
        return;
    };
    let other = scene.theatre.player("other");
    scene.start(&other, &Herd::bot("127.0.0.1:8080", ""));
    herd.wait_for_join(Herd::NICK);
    scene.wait_for_irc("127.0.0.1:8080");
    scene.run_bot(&format!("bot --smtp {SERVER}"));
    let finding = scene.finding_after(0);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    assert!(detail(&finding, "irc-same-lineage").is_none(), "{finding}");
    let irc = detail(&finding, "irc-elsewhere").unwrap_or_default();
    assert!(irc.contains("127.0.0.1:8080"), "{finding}");
    scene.blames_the_bot(&finding);
}

/// Over IPv6, where headers are longer.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_bot_over_ipv6() {
    const AT: &str = "[::1]:8080";
    let Some(scene) = Scene::open("") else { return };
    let server = scene.theatre.irc(AT);
    let words = Herd::bot(AT, &format!("--smtp {SERVER}"));
    let bot = scene.start_bot(&words);
    server
        .wait_for_join(Herd::CHANNEL, Herd::NICK, LIMIT)
        .unwrap();
    scene.wait_for_irc(AT);
    server.say(Herd::CHANNEL, "master", Herd::ORDER);
    let finding = scene.finding_after(0);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    let irc = detail(&finding, "irc-same-lineage").unwrap_or_default();
    assert!(irc.contains(AT), "{finding}");
    server.say(Herd::CHANNEL, "master", "!die");
    scene.fails(bot);
}

/// Without a look at payload, the port is all that there is.
fn the_port_alone_with(packet_watch: &str) {
    let config = format!("packet_watch = \"{packet_watch}\"");
    let Some((scene, herd)) = Herd::open(&config, &[8080, 6667]) else {
        return;
    };
    let bot = scene.start_bot(&Herd::bot("127.0.0.1:8080", &format!("--smtp {SERVER}")));
    herd.wait_for_join(Herd::NICK);
    // Time enough for samples to arrive, if there were any.
    sleep(Duration::from_millis(500));
    herd.order(Herd::ORDER);
    let finding = scene.finding_after(0);
    assert_eq!(finding["finding"], "illegal-send", "{finding}");
    assert!(!details(&finding).contains("8080"), "{finding}");
    assert_eq!(scene.theatre.status()["irc"], serde_json::json!([]));
    herd.order("!die");
    scene.fails(bot);

    let before = scene.theatre.newest();
    let bot = scene.start_bot(&Herd::bot("127.0.0.1:6667", &format!("--smtp {SERVER}")));
    herd.wait_for_join(Herd::NICK);
    scene.wait_for_irc("127.0.0.1:6667");
    herd.order(Herd::ORDER);
    let finding = scene.finding_after(before);
    assert_eq!(finding["finding"], "bot-suspected", "{finding}");
    let irc = detail(&finding, "irc-same-lineage").unwrap_or_default();
    assert!(irc.contains("127.0.0.1:6667"), "{finding}");
    herd.order("!die");
    scene.fails(bot);
    let suspected = scene
        .findings()
        .iter()
        .filter(|finding| word(finding, "finding") == "bot-suspected")
        .count();
    assert_eq!(suspected, 1);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn only_the_port_counts_when_mail_is_watched() {
    the_port_alone_with("mail");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn only_the_port_counts_when_no_packet_is_watched() {
    the_port_alone_with("off");
}
