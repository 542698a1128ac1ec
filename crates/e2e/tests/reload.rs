//! The configuration is read again: while a mailer sends, and each key from each value to each
//! other.

use abi::Settings;
use e2e::{LIMIT, SERVER, Scene, Theatre, evasions, wait_until, word};
use guard::config::{KEYS, Key, Takes};
use linux::gate::Gate;
use linux::pins::Pins;
use rustix::process::Signal;
use serde_json::Value;

/// Again and again, with other ports each time: the port that is guarded before and after is
/// closed in between, and a grant lives on.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_reload_in_the_middle_of_a_send_opens_nothing() {
    const RELOADS: usize = 4;
    let Some(scene) = Scene::open("") else { return };
    let words = format!("mailer --server {SERVER} --linger-ms 8000 --timeout-ms 20000");
    let mailer = scene.start(&scene.mailer, &words);
    let connected = || (scene.mail.connection_count() == 1).then_some(());
    wait_until(LIMIT, connected).expect("a connected mailer");
    let before = scene.theatre.newest();
    for round in 0..RELOADS {
        let ports = if round % 2 == 0 {
            "25, 26"
        } else {
            "25, 465, 587"
        };
        let text = format!("notify = false\nmail_ports = [{ports}]\n");
        scene.theatre.write("config.toml", &text);
        let newest = scene.theatre.newest();
        let bot = scene.start_bot(&format!(
            "bot --smtp {SERVER} --count 1000 --timeout-ms 1000"
        ));
        scene.theatre.signal_daemon(Signal::HUP);
        scene.theatre.wait_after(newest, "reload", |entry| {
            word(entry, "text") == "configuration read again"
        });
        scene.fails(bot);
        if round == 0 {
            assert_eq!(scene.mail.payload_bytes(), 0, "the mailer waits still");
        }
    }
    assert!(scene.desktop.wait(mailer, LIMIT).unwrap().success());
    assert_eq!(scene.mail.wait_for_messages(1, LIMIT).unwrap().len(), 1);
    assert_eq!(scene.mail.connection_count(), 1);
    let refusal = scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    });
    let bytes = evasions::beyond(&scene.mail, 1);
    evasions::refused("reload", bytes, &refusal, &scene.bot);
}

/// What a value of a key means to the kernel and the daemon.
#[derive(Clone, Debug, PartialEq)]
struct Effect {
    settings: Settings,
    /// Maps, and the links of the attached programs.
    pins: Vec<String>,
    shown: Value,
}

fn effect(theatre: &Theatre, key: &Key) -> Effect {
    let open = || Gate::open(&Pins::new(theatre.state().join("bpf"), linux::load::OBJECT));
    let settings = || open().unwrap().settings().unwrap();
    let mut pins = theatre.pins();
    pins.sort();
    Effect {
        settings: theatre.sandbox().run_inside(settings).unwrap(),
        pins,
        shown: theatre.status()["configuration"][key.name].clone(),
    }
}

fn write(theatre: &Theatre, key: &Key, value: &str) {
    let quiet = if key.name == "notify" {
        ""
    } else {
        "notify = false\n"
    };
    theatre.write("config.toml", &format!("{quiet}{} = {value}\n", key.name));
}

/// The daemon reads the file again. Returns what it says before that.
fn reload(theatre: &Theatre, key: &Key, value: &str) -> Vec<String> {
    let before = theatre.newest();
    write(theatre, key, value);
    theatre.signal_daemon(Signal::HUP);
    theatre.wait_after(before, "reload", |entry| {
        word(entry, "text") == "configuration read again"
    });
    let newer = |entry: &Value| entry["id"].as_u64() > Some(before);
    let log = theatre.log().into_iter().filter(newer);
    log.map(|entry| word(&entry, "text").to_owned()).collect()
}

/// Each key from each value to each other: after the reload the kernel has the settings of the
/// new value, as a fresh start would have, or nothing at all has changed and the notice names
/// the key.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn each_key_takes_effect_as_a_whole_or_not_at_all() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    if !theatre.raise() {
        return;
    }
    let all = theatre.status()["configuration"].as_object().unwrap().len();
    assert_eq!(all, KEYS.len(), "a key that this test does not know");
    for key in KEYS {
        let mut fresh = Vec::new();
        for from in key.examples {
            write(&theatre, key, from);
            theatre.end_daemon(Signal::TERM);
            assert!(theatre.raise());
            let before = effect(&theatre, key);
            fresh.push(before.clone());
            if key.takes == Takes::Reload {
                continue;
            }
            for to in key.examples.iter().filter(|to| *to != from) {
                let said = reload(&theatre, key, to);
                let named = said
                    .iter()
                    .any(|text| text.starts_with(key.name) && text.contains("restart"));
                assert!(named, "{} {from} to {to}: {said:?}", key.name);
                assert_eq!(effect(&theatre, key), before, "{} {from} to {to}", key.name);
                assert_eq!(
                    theatre.status()["restart_needed"],
                    serde_json::json!([key.name])
                );
            }
            let said = reload(&theatre, key, from);
            assert!(
                !said.iter().any(|text| text.contains("restart")),
                "{said:?}"
            );
            assert_eq!(theatre.status()["restart_needed"], serde_json::json!([]));
        }
        for (index, one) in fresh.iter().enumerate() {
            assert!(
                !fresh[..index].iter().any(|other| other.shown == one.shown),
                "{}",
                key.name
            );
        }
        if key.takes == Takes::Restart {
            continue;
        }
        let count = key.examples.len();
        for (from, to) in (0..count * count).map(|at| (at / count, at % count)) {
            for at in [from, to] {
                let said = reload(&theatre, key, key.examples[at]);
                assert_eq!(said, ["configuration read again"]);
                assert_eq!(
                    effect(&theatre, key),
                    fresh[at],
                    "{} {}",
                    key.name,
                    key.examples[at]
                );
            }
        }
    }
}
