//! `demo` as README's first page has it: on a real gate of its own.

use std::process::Command;

use e2e::{Theatre, word};
use serde_json::Value;

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_scene_ends_as_the_paper_has_it() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let output = Command::new(theatre.binary())
        .args(["demo", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        println!("skipped: {}", errors.trim_end());
        return;
    }
    assert!(output.status.success(), "{}: {errors}", output.status);
    let scenes: Vec<Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .filter(|line| word(line, "type") == "scene")
        .collect();
    let told: Vec<_> = scenes
        .iter()
        .map(|scene| {
            let delivered = scene["messages_delivered"].as_u64().unwrap();
            (word(scene, "scene"), word(scene, "finding"), delivered)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("figure-2", "", 1),
            ("figure-3", "illegal-send", 0),
            ("figure-4", "illegal-send", 0),
            ("figure-3-irc", "bot-suspected", 0),
            ("figure-4-irc", "bot-suspected", 0),
        ]
    );
    assert!(scenes.iter().all(|scene| scene["as_expected"] == true));
}
