//! The journal of a machine, as far as rows need it, and what `explain` says to do.

use serde::Deserialize;

use super::results::Refusal;

/// An entry of `sekimori log --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: u64,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    program: String,
    #[serde(default)]
    culprit: Option<String>,
    #[serde(default)]
    lineage: Vec<Link>,
}

#[derive(Clone, Debug, Deserialize)]
struct Link {
    #[serde(default)]
    program: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    origin: String,
}

/// The entries among the lines of a text.
pub fn entries(text: &str) -> Vec<Entry> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The first refusal after an entry. One of a mailer or submitter comes before others: its
/// callers fail because of it.
pub fn refusal(entries: &[Entry], after: u64) -> Option<Refusal> {
    let mut refused = entries
        .iter()
        .filter(|entry| entry.id > after && entry.verdict == "refuse");
    let entry = refused.next()?;
    Some(Refusal {
        id: entry.id,
        reason: entry.reason.clone().unwrap_or_default(),
        program: entry.program.clone(),
        culprit: entry.culprit.clone(),
        lineage: entry
            .lineage
            .iter()
            .map(|link| format!("{} {} {}", link.program, link.role, link.origin))
            .collect(),
        advice: Vec::new(),
    })
}

/// What to do, out of the text of `explain`: the lines of its last paragraph, below its title.
pub fn advice(explained: &str) -> Vec<String> {
    let lines: Vec<&str> = explained.trim_end().lines().collect();
    let from = lines
        .iter()
        .rposition(|line| line.trim().is_empty())
        .map_or(0, |at| at + 1);
    match lines.get(from..) {
        Some([title, rest @ ..]) if title.trim_end().ends_with(':') => {
            rest.iter().map(|line| line.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// The commands among the lines of an advice, as root gives them.
pub fn commands(advice: &[String]) -> Vec<&str> {
    let commands = advice
        .iter()
        .filter_map(|line| line.trim().strip_prefix("sudo "));
    // A word in capitals stands for what only a person knows.
    commands
        .filter(|command| command.starts_with("sekimori ") && !command.contains("-OF-YOUR-"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_after_the_row_began() {
        let text = r#"at outside
{"id":4,"type":"verdict","verdict":"refuse","reason":"tampered","program":"/old"}
{"id":5,"type":"verdict","verdict":"allow","reason":"permitted","program":"/m"}
{"id":6,"type":"verdict","verdict":"refuse","reason":"foreign-origin","program":"/m","culprit":"/bot","lineage":[{"program":"/bot","role":"unknown","origin":"foreign"}]}
{"id":7,"type":"notice","text":"x"}"#;
        let entries = entries(text);
        assert_eq!(entries.len(), 4);
        let refusal = refusal(&entries, 4).unwrap();
        assert_eq!((refusal.id, &*refusal.reason), (6, "foreign-origin"));
        assert_eq!(refusal.lineage, ["/bot unknown foreign"]);
        assert!(super::refusal(&entries, 6).is_none());
    }

    #[test]
    fn the_advice_is_the_last_paragraph() {
        let text = "verdict: refuse\n\nIt was refused.\n\nIf this was you:\n  Start it, and:\n    sudo sekimori register /x --as mailer\n";
        let lines = advice(text);
        assert_eq!(
            lines,
            ["Start it, and:", "sudo sekimori register /x --as mailer"]
        );
        assert_eq!(commands(&lines), ["sekimori register /x --as mailer"]);
        assert!(advice("verdict: allow\n\nIt was permitted.\n").is_empty());
    }

    #[test]
    fn a_command_with_a_gap_cannot_be_followed() {
        let line = "sudo sekimori register PATH-OF-YOUR-SCRIPT --as mailer".to_owned();
        assert!(commands(&[line]).is_empty());
    }
}
