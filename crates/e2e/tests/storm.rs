//! Ten thousand short-lived processes, each of which connects once.

use std::collections::HashMap;
use std::time::Duration;

use e2e::{LIMIT, SERVER, Theatre, evasions, times, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;

const COUNT: usize = 10_000;

/// How many verdicts entries tell of.
fn told(entries: &[Value]) -> usize {
    entries.iter().map(|entry| times(entry) as usize).sum()
}

/// Two programs at once, so that mixing them up would show.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_verdict_of_a_storm_is_attributed() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bots = ["one", "two"].map(|name| theatre.player(name));
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let half = (COUNT / 2).to_string();
    let started: Vec<u32> = bots
        .iter()
        .map(|bot| {
            let words = ["technique", "storm", "--server", SERVER, "--count", &half];
            desktop.launch(bot, words).unwrap()
        })
        .collect();
    for pid in started {
        assert!(
            desktop
                .wait(pid, Duration::from_secs(120))
                .unwrap()
                .success(),
            "{}",
            desktop.stdout()
        );
    }
    assert!(
        desktop
            .stdout()
            .matches(&format!("\"{half} EPERM\""))
            .count()
            == 2,
        "{}",
        desktop.stdout()
    );
    assert_eq!(server.connection_count(), 0);
    assert_eq!(theatre.counter("connects_refused"), COUNT as u64);

    // Told, or counted and said.
    let lost = theatre.counter("events_lost") as usize;
    let mut refusals = Vec::new();
    wait_until(LIMIT, || {
        refusals = theatre.log();
        refusals.retain(|entry| entry["verdict"] == "refuse");
        (told(&refusals) + lost >= COUNT).then_some(())
    });
    assert_eq!((told(&refusals), lost), (COUNT, 0));
    // They are alike but for their process, so a few entries stand for all of them.
    println!("{} entries for {COUNT} verdicts", refusals.len());
    assert!(refusals.len() < COUNT / 4, "{} entries", refusals.len());

    let mut of_program: HashMap<&str, usize> = HashMap::new();
    let mut pids = std::collections::HashSet::new();
    for refusal in &refusals {
        assert_eq!(refusal["program"], refusal["culprit"], "{refusal}");
        assert_eq!(refusal["reason"], "not-a-mailer", "{refusal}");
        *of_program
            .entry(refusal["program"].as_str().unwrap_or_default())
            .or_default() += times(refusal) as usize;
        pids.insert(refusal["pid"].as_u64());
    }
    let (refusal, bytes) = (&refusals[0], server.payload_bytes());
    let culprit = refusal["program"].as_str().unwrap();
    evasions::refused("storm", bytes, refusal, culprit);
    for bot in &bots {
        let count = of_program.get(bot.to_str().unwrap()).copied().unwrap_or(0);
        assert_eq!(count, COUNT / 2, "{of_program:?}");
    }
    assert!(
        pids.len() > refusals.len() / 2,
        "{} different processes",
        pids.len()
    );
    // One finding for each program and minute, not ten thousand.
    let findings = theatre
        .log()
        .iter()
        .filter(|entry| entry["type"] == "finding")
        .count();
    assert!((2..=20).contains(&findings), "{findings} findings");
    // The table of processes is not left full of the dead.
    let known = theatre.status()["processes"]["known"].as_u64().unwrap();
    assert!(known < 5_000, "{known} processes are known");
    assert_eq!(theatre.counter("processes_lost"), 0);
    assert!(
        desktop
            .run(&mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap()
            .success()
    );
}

/// The registered mailer, started ten thousand times by a bot: exec and connect.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_driven_in_a_storm_is_attributed_to_its_driver() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let words = [
        "technique",
        "storm",
        "--count",
        "1000",
        "--",
        mailer.to_str().unwrap(),
        "mailer",
        "--server",
        SERVER,
    ];
    desktop.run(&bot, words, Duration::from_secs(120)).unwrap();
    let refusals = || -> Vec<Value> {
        theatre
            .log()
            .into_iter()
            .filter(|entry| entry["verdict"] == "refuse")
            .collect()
    };
    let all = wait_until(LIMIT, || Some(refusals()).filter(|all| told(all) == 1000))
        .expect("1000 verdicts");
    for refusal in &all {
        assert_eq!(refusal["culprit"], bot.to_str().unwrap(), "{refusal}");
        assert_eq!(refusal["program"], mailer.to_str().unwrap(), "{refusal}");
    }
    evasions::refused("storm-mailer", server.payload_bytes(), &all[0], &bot);
    assert_eq!(server.connection_count(), 0);
}

/// More than the ring buffer takes while nobody reads it: what does not fit is counted, and
/// said as soon as somebody reads again.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_a_full_ring_buffer_does_not_take_is_counted_and_said() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    theatre.signal_daemon(Signal::STOP);
    let count = COUNT.to_string();
    // Each process has a destination of its own, so that no refusal is like another. Some fit into the
    // ring buffer, more are counted, and the rest have no room.
    for server in ["127.0.0.1:25", "127.1.0.1:25"] {
        let words = format!("technique storm --server {server} --count {count} --spread yes");
        let words: Vec<&str> = words.split_whitespace().collect();
        desktop.run(&bot, &words, Duration::from_secs(120)).unwrap();
    }
    let refused = desktop
        .stdout()
        .matches(&format!("\"{count} EPERM\""))
        .count();
    assert_eq!(refused, 2, "{}", desktop.stdout());
    // With nobody to hear of it, the user's mail goes out all the same.
    assert!(
        desktop
            .run(&mailer, ["mailer", "--server", SERVER], LIMIT)
            .unwrap()
            .success()
    );
    assert_eq!(server.connection_count(), 1);
    let bytes = evasions::beyond(&server, 1);

    theatre.signal_daemon(Signal::CONT);
    let lost = wait_until(LIMIT, || {
        // While it catches up, the daemon may take its time to answer.
        let lost = theatre.status()["counters"]["events_lost"].as_u64();
        lost.filter(|lost| *lost > 0)
    })
    .expect("losses");
    let said = wait_until(LIMIT, || {
        let counts = theatre
            .log()
            .into_iter()
            // Whatever else the machine starts for the first time meanwhile is lost as well.
            .filter(|entry| word(entry, "text").contains("verdicts"));
        let said: u64 = counts.filter_map(|entry| entry["count"].as_u64()).sum();
        (said == lost).then_some(())
    });
    assert!(
        said.is_some(),
        "{lost} were lost: {}",
        theatre.daemon_words()
    );
    // What was counted is taken out little by little.
    let refusals = wait_until(LIMIT, || {
        let mut refusals = theatre.log();
        refusals.retain(|entry| entry["verdict"] == "refuse");
        (told(&refusals) as u64 + lost >= 2 * COUNT as u64).then_some(refusals)
    })
    .expect("every refusal, told or lost");
    evasions::refused("ring-full", bytes, &refusals[0], &bot);
    let told = told(&refusals);
    // Of the user's own connection, verdict, birth and death of the grant may be among them.
    let missing = 2 * COUNT as u64 - told as u64;
    assert!(
        (missing..=missing + 3).contains(&lost),
        "{lost} lost, {missing} missing"
    );
}

/// Ten thousand refusals that differ in their destination: each of them has its entry.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn refusals_that_differ_are_told_one_by_one() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let words = format!("technique storm --server {SERVER} --count {COUNT} --spread yes");
    let words = words.split_whitespace();
    desktop.run(&bot, words, Duration::from_secs(120)).unwrap();
    let destinations = || {
        let mut all = std::collections::HashMap::new();
        for entry in theatre.log() {
            if word(&entry, "verdict") == "refuse" {
                assert_eq!(word(&entry, "culprit"), bot.to_string_lossy(), "{entry}");
                let place = word(&entry, "destination").to_owned();
                *all.entry(place).or_insert(0) += times(&entry);
            }
        }
        (all.len() == COUNT).then_some(all)
    };
    let all = wait_until(LIMIT, destinations)
        .unwrap_or_else(|| panic!("{} were lost", theatre.counter("events_lost")));
    assert!(all.values().all(|count| *count == 1), "{all:?}");
    assert_eq!(theatre.counter("events_lost"), 0);
    assert_eq!(theatre.counter("connects_refused"), COUNT as u64);
}
