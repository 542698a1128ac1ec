//! Whom a refusal names: not the tool that only started the program, not the shell that is older than
//! the gate, and a program in many folders by the beginning of its path too.

use std::fs;
use std::path::Path;

use e2e::{LIMIT, SERVER, Theatre, word};
use serde_json::Value;
use stage::Desktop;

/// The refusal of a bot, however it was started.
fn refusal(theatre: &Theatre, desktop: &Desktop, program: &Path, words: &[&str]) -> Value {
    let before = theatre.newest();
    let ran = desktop.run(program, words, LIMIT).unwrap();
    assert!(!ran.success(), "{}", desktop.stdout());
    theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_starter_is_not_the_culprit() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let _server = theatre.smtp();
    let bot = theatre.player("bot");
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let bot = bot.to_str().unwrap();
    let ways: [(&str, &[&str]); 4] = [
        ("/usr/bin/env", &["env", "A=b"]),
        ("/usr/bin/nohup", &["nohup"]),
        ("/usr/bin/timeout", &["timeout", "20"]),
        ("/usr/bin/setsid", &["setsid", "--wait", "/usr/bin/nice"]),
    ];
    for (starter, words) in ways {
        let words = [&words[1..], &[bot, "bot", "--smtp", SERVER]].concat();
        let refusal = refusal(&theatre, &desktop, Path::new(starter), &words);
        assert_eq!(refusal["culprit"], bot, "{starter}: {refusal}");
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_shell_that_is_older_than_the_gate_is_not_the_culprit() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let _server = theatre.smtp();
    let (old, bot) = (theatre.player("old-shell"), theatre.player("bot"));
    let desktop = theatre.start_desktop(&old);
    if !theatre.raise() {
        return;
    }
    let refusal = refusal(&theatre, &desktop, &bot, &["bot", "--smtp", SERVER]);
    assert_eq!(refusal["culprit"], bot.to_str().unwrap(), "{refusal}");
    assert_eq!(refusal["culprit_pid"], refusal["pid"], "{refusal}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_deep_path_keeps_its_beginning() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let _server = theatre.smtp();
    let bot = theatre.player("bot");
    let base = bot.parent().unwrap();
    let deep = base.join("d/".repeat(40)).join("deep-bot");
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    fs::copy(&bot, &deep).unwrap();
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let refusal = refusal(&theatre, &desktop, &deep, &["bot", "--smtp", SERVER]);
    let program = word(&refusal, "program");
    let beginning: String = base.to_str().unwrap().chars().take(12).collect();
    assert!(program.starts_with(&beginning), "{program}");
    assert!(program.ends_with("/…/d/d/d/deep-bot"), "{program}");
}
