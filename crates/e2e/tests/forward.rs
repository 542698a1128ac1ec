//! Packets that come in by a TUN or TAP device belong to no process: what a user sends by one
//! does not reach a mail port, and what root's devices bring passes.

use e2e::{LIMIT, PERSON, Theatre, evasions, is_missing, wait_until, word};
use rustix::process::Signal;
use serde_json::Value;

const PLAYER: &str = include_str!("../data/forward.py");
const NFT: &str = "/usr/sbin/nft";

/// A stage with a guard and with devices that root made for itself and for the person.
fn open(config: &str) -> Option<Theatre> {
    if is_missing(&["/usr/bin/python3", NFT]) {
        return None;
    }
    let theatre = Theatre::open()?;
    if !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: this kernel has no TUN devices");
        return None;
    }
    theatre.write("forward.py", PLAYER);
    theatre.write("config.toml", &format!("notify = false\n{config}"));
    theatre.raise().then_some(theatre)
}

/// How many packets to or from the mail port came out.
fn play(theatre: &Theatre, what: &str) -> u64 {
    let folder = theatre.sandbox().folder().to_owned();
    let script = folder.join("forward.py");
    let person = PERSON.0.to_string();
    let words = [
        &script.to_string_lossy(),
        &folder.to_string_lossy(),
        person.as_str(),
        what,
    ];
    let words = words.map(ToString::to_string);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = theatre.crew("/usr/bin/python3", &words);
    let said: Value = serde_json::from_str(said.trim()).unwrap_or_default();
    said["left"].as_u64().unwrap_or(0)
}

/// Waits for this state of the guard.
fn wait_for_state(theatre: &Theatre, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = wait_until(LIMIT, || {
        Some(theatre.status()["forwarded"].clone()).filter(|found| wanted(found))
    });
    found.unwrap_or_else(|| panic!("{what}: {}", theatre.status()["forwarded"]))
}

fn lists(found: &Value, name: &str) -> bool {
    let users = found["users_interfaces"].as_array();
    users.is_some_and(|users| users.iter().any(|user| user["name"] == name))
}

fn reload(theatre: &Theatre, mode: &str) {
    let text = format!("notify = false\nguard_forwarded = \"{mode}\"\n");
    theatre.write("config.toml", &text);
    theatre.signal_daemon(Signal::HUP);
    wait_for_state(theatre, mode, |found| {
        let state = if mode == "off" { "off" } else { "guarded" };
        found["guard_forwarded"] == mode && found["state"] == state
    });
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_device_of_a_user_brings_no_mail_out() {
    let Some(theatre) = open("") else { return };
    wait_for_state(&theatre, "no device yet", |found| {
        found["state"] == "guarded"
    });
    play(&theatre, "make");
    let found = wait_for_state(&theatre, "the person's devices", |found| {
        let is_bridge = word(found, "reason").contains("bridges: br0");
        is_bridge && lists(found, "tun0") && lists(found, "tap0")
    });
    assert!(!lists(&found, "tun1") && !lists(&found, "tap1"), "{found}");
    let rows = [
        ("tun-ipv4", "ipv4"),
        ("tun-ipv6", "ipv6"),
        ("tun-local", "local"),
        ("tun-fresh", "fresh"),
        ("tap-bridged", "bridged"),
        ("veth-users", "cable"),
    ];
    for (row, what) in rows {
        evasions::stopped(row, play(&theatre, what), "guard_forwarded");
    }
    // Also when the keeper has had the time to find out whose the cable is.
    assert_eq!(play(&theatre, "cable-later"), 0);
    assert_eq!(play(&theatre, "roots-cable"), 7);
    // What is no mail passes, and so does what root's own device brings, once it is known.
    assert_eq!(play(&theatre, "web"), 7);
    assert!(wait_until(LIMIT, || (play(&theatre, "root") == 7).then_some(())).is_some());

    let report = theatre.wait_for("report", |entry| {
        word(entry, "text").contains("came in by tun0, a TUN or TAP device of user nobody")
    });
    assert!(word(&report, "text").contains("203.0.113.9"), "{report}");
    let found = wait_for_state(&theatre, "a count", |found| {
        found["packets_refused"].as_u64() > Some(0)
    });
    let shown = theatre.sekimori(&["status"]).stdout;
    assert!(
        shown.contains("Forwarded packets: guarded by nftables"),
        "{shown}"
    );
    assert!(
        shown.contains("tap0 (a TUN or TAP device of user nobody)"),
        "{shown} {found}"
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_key_is_taken_at_a_reload() {
    let Some(theatre) = open("guard_forwarded = \"off\"\n") else {
        return;
    };
    play(&theatre, "make");
    // So the test would see what it looks for.
    for what in ["ipv4", "ipv6", "bridged", "cable"] {
        assert_eq!(play(&theatre, what), 7, "{what}");
    }
    assert_eq!(play(&theatre, "local"), 1);
    reload(&theatre, "on");
    for what in ["ipv4", "bridged", "root", "local"] {
        assert_eq!(play(&theatre, what), 0, "{what}");
    }
    assert_eq!(play(&theatre, "web"), 7);
    reload(&theatre, "auto");
    assert_eq!(play(&theatre, "ipv4"), 0);
    assert!(wait_until(LIMIT, || (play(&theatre, "root") == 7).then_some(())).is_some());
    reload(&theatre, "off");
    assert!(!theatre.crew(NFT, &["list", "tables"]).contains("sekimori"));
    assert_eq!(play(&theatre, "ipv4"), 7);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_guard_outlives_the_daemon_and_a_restart_of_the_firewall() {
    let Some(theatre) = open("") else { return };
    play(&theatre, "make");
    wait_for_state(&theatre, "the person's device", |found| {
        lists(found, "tun0")
    });
    theatre.crew(NFT, &["flush", "ruleset"]);
    theatre.wait_for("report", |entry| {
        word(entry, "text").starts_with("Another program removed the firewall rules")
    });
    wait_for_state(&theatre, "set again", |found| found["state"] == "guarded");
    assert_eq!(play(&theatre, "ipv4"), 0);

    theatre.end_daemon(Signal::KILL);
    assert_eq!(play(&theatre, "ipv4"), 0);
    assert_eq!(play(&theatre, "fresh"), 0);
    let ran = theatre.sekimori(&["uninstall"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(!theatre.crew(NFT, &["list", "tables"]).contains("sekimori"));
    assert_eq!(play(&theatre, "ipv4"), 7);
}
