//! The table: what came of every row, against the gate and against other guards.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use e2e::evasions::{Expected, Row, rows};
use serde::Deserialize;

use super::PEER_TESTS;

/// A line that a test wrote.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Peer(Against),
    Gate(Played),
}

/// What a test said of a row.
#[derive(Deserialize)]
struct Played {
    id: String,
    /// Payload bytes that reached the server.
    bytes: u64,
    /// The reason of a refusal, or the finding.
    by: String,
    /// Whether the culprit is the right one; none where there is no entry with a culprit.
    culprit_named: Option<bool>,
}

/// What a test said of a row that was played against another guard.
#[derive(Deserialize)]
struct Against {
    id: String,
    peer: String,
    bytes: u64,
}

/// What came of every row.
pub struct Table {
    rows: Vec<(Row, Option<Played>)>,
    /// Bytes by guard and row.
    peers: HashMap<(String, String), u64>,
    reasons: HashMap<&'static str, String>,
    /// Rows that came out otherwise than expected.
    pub wrong: Vec<&'static str>,
}

impl Table {
    /// Made of the lines that tests wrote, and of why a test wrote none.
    ///
    /// # Errors
    ///
    /// When a line cannot be read.
    pub fn new(lines: &str, reasons: HashMap<&'static str, String>) -> Result<Self> {
        let mut played: HashMap<String, Played> = HashMap::new();
        let mut peers: HashMap<(String, String), u64> = HashMap::new();
        for line in lines.lines() {
            let said = match serde_json::from_str(line).with_context(|| line.to_owned())? {
                Line::Gate(said) => said,
                Line::Peer(said) => {
                    *peers.entry((said.peer, said.id)).or_default() += said.bytes;
                    continue;
                }
            };
            // A row that is played more than once is as bad as its worst.
            match played.get(&said.id) {
                Some(before) if !is_worse(&said, before) => {}
                _ => drop(played.insert(said.id.clone(), said)),
            }
        }
        let rows: Vec<_> = rows().map(|row| (row, played.remove(row.id))).collect();
        let as_expected = |row: &Row, said: &Option<Played>| match (row.expected, said) {
            (Expected::Blocked, Some(said)) => {
                said.bytes == 0 && (said.culprit_named != Some(false) || !row.remark.is_empty())
            }
            (Expected::Open | Expected::Outside, Some(said)) => said.bytes > 0,
            (Expected::Elsewhere, said) => said.is_none(),
            (Expected::Outside, None) if row.test == "-" => true,
            // A program that is missing here is no failure; the table says so.
            (_, None) => reasons
                .get(row.test)
                .is_some_and(|why| !why.ends_with(" failed")),
        };
        let wrong = rows
            .iter()
            .filter(|(row, said)| !as_expected(row, said))
            .map(|(row, _)| row.id)
            .collect();
        Ok(Self {
            rows,
            peers,
            reasons,
            wrong,
        })
    }

    /// The page.
    pub fn report(&self) -> String {
        let mut text = String::from(HEAD);
        for (peer, test) in PEER_TESTS {
            if !self.peers.keys().any(|(known, _)| known == peer) {
                let why = self.reasons.get(test).map_or("", String::as_str);
                let _ = writeln!(text, "\n{peer} could not be run: {why}.");
            }
        }
        text.push('\n');
        let count = |word| self.rows.iter().filter(|row| outcome(row) == word).count();
        for word in [BLOCKED, DETECTED, OUTSIDE, OPEN, ELSEWHERE, UNPLAYED] {
            let _ = writeln!(text, "- {word}: {}", count(word));
        }
        for (peer, _) in PEER_TESTS {
            let of_peer = self.peers.iter().filter(|((known, _), _)| known == peer);
            let (all, through) = of_peer.fold((0, 0), |(all, through), (_, bytes)| {
                (all + 1, through + usize::from(*bytes > 0))
            });
            if all > 0 {
                let _ = writeln!(
                    text,
                    "- through {peer}: {through} of {all} that were played"
                );
            }
        }
        let mut group = "";
        for entry in &self.rows {
            let row = entry.0;
            if row.group != group {
                group = row.group;
                let _ = write!(
                    text,
                    "\n## {group}\n\n| technique | what it tried | outcome | by | bytes | culprit right |"
                );
                for (peer, _) in PEER_TESTS {
                    let _ = write!(text, " {peer} |");
                }
                let columns = 6 + PEER_TESTS.len();
                let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
            }
            let _ = write!(
                text,
                "| {} | {} | {} | {} |",
                row.id,
                row.words,
                outcome(entry),
                self.cells(entry)
            );
            for (peer, _) in PEER_TESTS {
                let bytes = self.peers.get(&(peer.to_owned(), row.id.to_owned()));
                let _ = write!(
                    text,
                    " {} |",
                    bytes.map_or_else(|| "–".to_owned(), u64::to_string)
                );
            }
            text.push('\n');
        }
        text
    }

    /// By what, how many bytes, and whether the culprit is right.
    fn cells(&self, (row, said): &(Row, Option<Played>)) -> String {
        let remark = match row.expected {
            Expected::Outside => format!("SECURITY.md, “{}”", row.remark),
            _ => row.remark.to_owned(),
        };
        let Some(said) = said else {
            let reason = self.reasons.get(row.test);
            return format!("{} | – | –", reason.unwrap_or(&remark));
        };
        let culprit = match said.culprit_named {
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        };
        let by: Vec<&str> = [said.by.as_str(), &remark]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        format!("{} | {} | {culprit}", by.join(": "), said.bytes)
    }
}

const HEAD: &str = "\
# Evasions

Ways in which a program without the right to send mail tries to send it, each played against the real kernel. \
Made by `cargo xtask evasions`; the list is `crates/e2e/data/evasions.tsv`, and it names the test that plays a row.

Bytes are payload that reached the mail server, counted there. The culprit is right when the journal names the program \
that did it; a dash where there is no entry with a culprit. What is out of scope is so for the reason that stands in \
[SECURITY.md](SECURITY.md), “Known to remain”, under the heading named here; a finding before it says that the user is told.

The last columns are bytes that reached the server when the same thing was tried against other guards in the same run, without Sekimori; \
a dash where it was not. Each is set up as well as it can be for a person who sends mail from an account of their own, which is the account \
that the bot runs under:

- nftables: mail ports are open for that user and for nobody else (`tcp dport { 25, 465, 587 } meta skuid != 65534 reject`, IPv4 and IPv6).
- OpenSnitch (Debian's): one rule that allows the mailer's path, all else denied, connections of unknown processes too. It finds processes by \
/proc, because the machine's kernel need not have kprobes.
";

const BLOCKED: &str = "blocked";
const DETECTED: &str = "**detected**, not blocked";
const OUTSIDE: &str = "out of scope";
const OPEN: &str = "**open**";
const ELSEWHERE: &str = "played elsewhere";
const UNPLAYED: &str = "not played";

fn outcome((row, said): &(Row, Option<Played>)) -> &'static str {
    match said {
        None if row.test == "-" && row.expected == Expected::Outside => OUTSIDE,
        None if row.expected == Expected::Elsewhere => ELSEWHERE,
        None => UNPLAYED,
        Some(said) if said.bytes == 0 => BLOCKED,
        Some(said) if said.culprit_named.is_some() => DETECTED,
        Some(_) if row.expected == Expected::Outside => OUTSIDE,
        Some(_) => OPEN,
    }
}

fn is_worse(one: &Played, other: &Played) -> bool {
    let badness = |said: &Played| (said.bytes, said.culprit_named == Some(false));
    badness(one) > badness(other)
}

#[cfg(test)]
mod tests_of_the_table {
    use super::*;

    fn table(lines: &str) -> Table {
        let why = rows().map(|row| (row.test, "gone failed".to_owned()));
        Table::new(lines, why.collect()).unwrap()
    }

    #[test]
    fn a_byte_or_a_wrong_culprit_is_wrong() {
        let line = |bytes: u64, named: &str| {
            format!("{{\"id\":\"plain\",\"bytes\":{bytes},\"by\":\"x\",\"culprit_named\":{named}}}")
        };
        let is_wrong = |lines: &str| table(lines).wrong.contains(&"plain");
        assert!(!is_wrong(&line(0, "true")));
        assert!(is_wrong(&line(1, "true")));
        assert!(is_wrong(&line(0, "false")));
        // The worst of several counts, in whatever order; so does none at all.
        assert!(is_wrong(&format!(
            "{}\n{}",
            line(1, "true"),
            line(0, "true")
        )));
        assert!(is_wrong(&format!(
            "{}\n{}",
            line(0, "true"),
            line(0, "false")
        )));
        assert!(is_wrong(""));
    }

    #[test]
    fn other_guards_have_columns_of_their_own() {
        let line = |peer: &str, bytes: u64| {
            format!("{{\"id\":\"plain\",\"peer\":\"{peer}\",\"bytes\":{bytes}}}")
        };
        let lines = format!("{}\n{}", line("nftables", 170), line("OpenSnitch", 0));
        let report = table(&lines).report();
        let row = report.lines().find(|line| line.starts_with("| plain |"));
        assert!(row.is_some_and(|row| row.ends_with("| – | – | 170 | 0 |")));
        assert!(report.contains("through nftables: 1 of 1"));
        assert!(table("").report().contains("OpenSnitch could not be run: "));
    }

    #[test]
    fn every_row_is_shown() {
        let report = table("").report();
        for row in rows() {
            assert!(report.contains(&format!("| {} | {} |", row.id, row.words)));
        }
    }
}
