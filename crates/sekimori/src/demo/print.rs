//! How the demo tells its scenes on a terminal.

use engine::LineageLink;
use present::Style;
use serde_json::Value;

use super::{Outcome, SCENES, Scene};
use crate::output;

/// Prints each line of `text`, with the word "simulated" before it when it is that.
fn say(text: &str, simulated: bool) {
    for line in text.lines() {
        output::say(&format!(
            "{}{line}",
            if simulated { "simulated: " } else { "" }
        ));
    }
}

/// Tells one scene.
pub fn scene(scene: &Scene, outcome: &Outcome, simulated: bool, style: Style) {
    let mut text = format!("── {} ──\n{}\n", scene.name, scene.story);
    if let Some(verdict) = &outcome.verdict {
        let links: Vec<LineageLink> =
            serde_json::from_value(verdict["lineage"].clone()).unwrap_or_default();
        let pid = verdict["culprit_pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        let culprit = verdict["culprit"].as_str().map(|path| (path, pid));
        text += &present::lineage(&links, 0, culprit, style);
        let word = |key: &str| verdict[key].as_str().unwrap_or("?").to_owned();
        text += &format!(
            "Verdict: {} ({}) for process {} to {}\n",
            word("verdict"),
            word("reason"),
            verdict["pid"],
            word("destination")
        );
    } else {
        text += "Verdict: none was given\n";
    }
    match &outcome.finding {
        Some(finding) => {
            text += &format!("Finding: {}\n", finding["finding"].as_str().unwrap_or("?"));
            for evidence in finding["evidence"].as_array().into_iter().flatten() {
                let detail = evidence["detail"].as_str().unwrap_or("?");
                text += &format!("  {:>4}  {detail}\n", evidence["weight"]);
            }
        }
        None => text += "Finding: none\n",
    }
    text += &format!("Mail server: received {}\n", received(outcome, simulated));
    text += if outcome.is_as_expected(scene) {
        "As it must be.\n"
    } else {
        "NOT as it must be.\n"
    };
    say(&text, simulated);
    output::say("");
}

fn received(outcome: &Outcome, simulated: bool) -> String {
    let messages = match outcome.messages_delivered {
        0 => "no message".to_owned(),
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    };
    if simulated {
        messages
    } else {
        format!("{messages}, {} payload bytes", outcome.payload_bytes)
    }
}

/// The table at the end.
pub fn summary(outcomes: &[Outcome], simulated: bool, style: Style) {
    let text = |entry: &Option<Value>, key: &str| {
        entry
            .as_ref()
            .and_then(|entry| entry[key].as_str())
            .unwrap_or("-")
            .to_owned()
    };
    let rows: Vec<Vec<String>> = SCENES
        .iter()
        .zip(outcomes)
        .map(|(scene, outcome)| {
            let culprit = text(&outcome.verdict, "culprit");
            vec![
                scene.name.to_owned(),
                text(&outcome.verdict, "verdict"),
                text(&outcome.verdict, "reason"),
                text(&outcome.finding, "finding"),
                culprit.rsplit('/').next().unwrap_or("-").to_owned(),
                outcome.messages_delivered.to_string(),
                if simulated {
                    "-".to_owned()
                } else {
                    outcome.payload_bytes.to_string()
                },
                if outcome.is_as_expected(scene) {
                    "yes"
                } else {
                    "NO"
                }
                .to_owned(),
            ]
        })
        .collect();
    let headings = [
        "SCENE",
        "VERDICT",
        "REASON",
        "FINDING",
        "CULPRIT",
        "MESSAGES",
        "BYTES",
        "AS EXPECTED",
    ];
    say(&present::table(&headings, &rows, style), simulated);
}
