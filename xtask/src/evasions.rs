//! `evasions`: plays every row of the list of evasions, and says what came of each.
//!
//! The list is in crates/e2e/data. The rows are played by the root tests that it names, which
//! add a line for each row to a file; the table is made of these lines and of nothing else.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use e2e::evasions::{Expected, Row, VARIABLE, rows};
use serde::Deserialize;

use crate::libtest::Outcome;
use crate::programs::{self, TestProgram};
use crate::terminal::{self, Colour, paint};
use crate::tests;
use crate::workspace::Workspace;

const REPORT: &str = "EVASIONS.md";

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

/// Plays all rows.
///
/// # Errors
///
/// When the tests cannot be built or run, or a row that is to be blocked was not, or was not
/// played.
pub fn run(workspace: &Workspace) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("{} evasions: needs root", paint(Colour::Yellow, "skipped"));
        return Ok(());
    }
    terminal::step("building the tests");
    let programs = programs::build_end_to_end(workspace)?;
    terminal::step("playing the evasions");
    let lines = tempfile::NamedTempFile::new().context("a file for what tests say")?;
    let mut reasons: HashMap<&str, String> = HashMap::new();
    for row in rows().filter(|row| row.expected != Expected::Unplayed) {
        if !reasons.contains_key(row.test) {
            reasons.insert(
                row.test,
                play(workspace, &programs, row.test, lines.path())?,
            );
        }
    }
    let table = Table::new(&fs::read_to_string(lines.path())?, reasons)?;
    let report = table.report();
    print!("{report}");
    let path = workspace.path(REPORT);
    fs::write(&path, report).with_context(|| path.display().to_string())?;
    println!("written: {}", workspace.shown(&path));
    if !table.wrong.is_empty() {
        bail!("not as expected: {}", table.wrong.join(", "));
    }
    Ok(())
}

/// Runs one test. Returns why it said nothing, should it have said nothing.
fn play(
    workspace: &Workspace,
    programs: &[TestProgram],
    name: &str,
    lines: &Path,
) -> Result<String> {
    let (file, test) = name.split_once("::").context("a test is FILE::NAME")?;
    let wanted = format!("e2e::{file}");
    let program = programs.iter().find(|program| program.name == wanted);
    let program = program.with_context(|| format!("no test program {wanted}"))?;
    let run = tests::run_alone(workspace, program, test, Some((VARIABLE, lines)))?;
    let seconds = run.seconds;
    Ok(match run.outcome {
        Outcome::Passed => {
            println!("{name} {} {seconds:.1} s", paint(Colour::Green, "ok"));
            "its test says nothing of it".to_owned()
        }
        Outcome::Skipped(reason) => {
            println!("{name} {}: {reason}", paint(Colour::Yellow, "skipped"));
            reason
        }
        Outcome::Failed | Outcome::Ignored(_) => {
            let word = paint(Colour::Red, "FAILED");
            println!("{name} {word} {seconds:.1} s\n{}", run.output);
            format!("{name} failed")
        }
    })
}

/// What came of every row.
struct Table {
    rows: Vec<(Row, Option<Played>)>,
    reasons: HashMap<&'static str, String>,
    /// Rows that came out otherwise than expected.
    wrong: Vec<&'static str>,
}

impl Table {
    fn new(lines: &str, reasons: HashMap<&'static str, String>) -> Result<Self> {
        let mut played: HashMap<String, Played> = HashMap::new();
        for line in lines.lines() {
            let said: Played = serde_json::from_str(line).with_context(|| line.to_owned())?;
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
            (Expected::Open, Some(said)) => said.bytes > 0,
            (Expected::Unplayed, said) => said.is_none(),
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
            reasons,
            wrong,
        })
    }

    fn report(&self) -> String {
        let mut text = String::from(
            "# Evasions\n\nWays in which a program without the right to send mail tries to send \
             it, each played against the real kernel. Made by `cargo xtask evasions`; the list is \
             `crates/e2e/data/evasions.tsv`, and it names the test that plays a row.\n\n\
             Bytes are payload that reached the mail server. The culprit is right when the journal \
             names the program that did it; a dash where there is no entry with a culprit.\n\n",
        );
        let count = |word| self.rows.iter().filter(|row| outcome(row) == word).count();
        for word in [BLOCKED, DETECTED, OPEN, UNPLAYED] {
            let _ = writeln!(text, "- {word}: {}", count(word));
        }
        let mut group = "";
        for entry in &self.rows {
            let (row, said) = entry;
            if row.group != group {
                group = row.group;
                let _ = writeln!(
                    text,
                    "\n## {group}\n\n| technique | what it tried | outcome | by | bytes | culprit right |\n|---|---|---|---|---|---|"
                );
            }
            let outcome = outcome(entry);
            let _ = match said {
                Some(said) => {
                    let culprit = match said.culprit_named {
                        Some(true) => "yes",
                        Some(false) => "no",
                        None => "–",
                    };
                    let by = if row.remark.is_empty() {
                        said.by.clone()
                    } else {
                        let both = [said.by.as_str(), row.remark];
                        both.into_iter()
                            .filter(|text| !text.is_empty())
                            .collect::<Vec<_>>()
                            .join(": ")
                    };
                    let bytes = said.bytes;
                    writeln!(
                        text,
                        "| {} | {} | {outcome} | {by} | {bytes} | {culprit} |",
                        row.id, row.words
                    )
                }
                None => {
                    let reason = self
                        .reasons
                        .get(row.test)
                        .map_or(row.remark, String::as_str);
                    writeln!(
                        text,
                        "| {} | {} | {outcome} | {reason} | – | – |",
                        row.id, row.words
                    )
                }
            };
        }
        text
    }
}

const BLOCKED: &str = "blocked";
const DETECTED: &str = "**detected**, not blocked";
const OPEN: &str = "**open**";
const UNPLAYED: &str = "not played";

fn outcome((_, said): &(Row, Option<Played>)) -> &'static str {
    match said {
        None => UNPLAYED,
        Some(said) if said.bytes == 0 => BLOCKED,
        Some(said) if said.culprit_named.is_some() => DETECTED,
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
    fn every_row_is_shown() {
        let report = table("").report();
        for row in rows() {
            assert!(report.contains(&format!("| {} | {} |", row.id, row.words)));
        }
    }
}
