//! docs/honest.md, made of the rows and of what came of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::machines::Machine;
use super::results::{Played, Results};
use super::rows::{Expect, Row};

const HEAD: &str = include_str!("../../data/honest/page.md.in");

/// The page.
pub fn page(machines: &[Machine], rows: &[Row], results: &Results) -> String {
    let mut text = HEAD.to_owned();
    summary(&mut text, machines, rows, results);
    for machine in machines {
        section(&mut text, machine, rows, results);
    }
    text
}

/// Rows that belong to a machine, with what came of them.
fn of<'a>(
    machine: &'a Machine,
    rows: &'a [Row],
    results: &'a Results,
) -> impl Iterator<Item = (&'a Row, Option<&'a Played>)> {
    rows.iter()
        .filter(|row| row.is_on(machine))
        .map(|row| (row, results.get(&machine.name, &row.id)))
}

fn summary(text: &mut String, machines: &[Machine], rows: &[Row], results: &Results) {
    text.push_str("\n| machine | rows | as expected | otherwise | not played | steps that worked | builds |\n|---|---|---|---|---|---|---|\n");
    for machine in machines {
        let all: Vec<_> = of(machine, rows, results).collect();
        let count = |wanted: Option<bool>| {
            all.iter()
                .filter(|(_, played)| played.map(|played| played.good) == wanted)
                .count()
        };
        let builds: BTreeSet<_> = all
            .iter()
            .filter_map(|(_, played)| Some(&*(*played)?.build))
            .collect();
        let builds: Vec<_> = builds.into_iter().collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            cell(&machine.title),
            all.len(),
            count(Some(true)),
            count(Some(false)),
            count(None),
            steps(&all),
            builds.join(", ")
        );
    }
}

/// How many of the steps that were followed made their row work.
fn steps(all: &[(&Row, Option<&Played>)]) -> String {
    let followed: Vec<_> = all
        .iter()
        .filter_map(|(_, played)| played.as_ref()?.followed.as_ref())
        .collect();
    let worked = followed.iter().filter(|followed| followed.worked).count();
    format!("{worked} of {}", followed.len())
}

fn section(text: &mut String, machine: &Machine, rows: &[Row], results: &Results) {
    let _ = writeln!(text, "\n## {}\n", machine.title);
    if let Some(why) = results.why_not(&machine.name) {
        let _ = writeln!(
            text,
            "The last run did not play this machine's rows: {}.\n",
            cell(why)
        );
    }
    text.push_str("| what a person or the machine does | expected | got | why not, and the step |\n|---|---|---|---|\n");
    for (row, played) in of(machine, rows, results) {
        let got = played.map_or("not played".to_owned(), |played| {
            format!(
                "{}{}",
                if played.good { "" } else { "**otherwise:** " },
                cell(&played.got)
            )
        });
        let _ = writeln!(
            text,
            "| {} | {} | {got} | {} |",
            cell(&row.way),
            row.expect.word(),
            cell(&remark(row, played))
        );
    }
}

/// Why a row does not work, and the step that makes it work.
fn remark(row: &Row, played: Option<&Played>) -> String {
    let mut parts = Vec::new();
    if !row.why.is_empty() {
        parts.push(row.why.clone());
    }
    let Some(played) = played else {
        return parts.join(" ");
    };
    if !played.good || row.expect == Expect::Refused {
        if let Some(refusal) = &played.refusal {
            match refusal.advice.is_empty() {
                true => parts.push(format!("`explain {}` gives no step.", refusal.id)),
                false => parts.push(format!("`explain`: {}", refusal.advice.join(" "))),
            }
        }
        if let Some(followed) = &played.followed {
            let word = if followed.worked {
                "Followed, and it worked"
            } else {
                "Followed, and it did not work"
            };
            parts.push(format!("{word}: {} ({}).", followed.step, followed.got));
        }
    }
    parts.join(" ")
}

/// A text that may stand in a cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::machines::machines;
    use super::super::results::{Followed, Refusal};
    use super::*;

    fn row(expect: Expect) -> Row {
        Row {
            id: "pipe".to_owned(),
            on: vec!["exim".to_owned()],
            not_on: Vec::new(),
            way: "echo x | mail".to_owned(),
            expect,
            why: String::new(),
            steps: Vec::new(),
            instead: Vec::new(),
            sign: String::new(),
            limit: 60,
        }
    }

    fn played(good: bool) -> Played {
        Played {
            machine: "exim".to_owned(),
            row: "pipe".to_owned(),
            good,
            got: "refused: needs-terminal".to_owned(),
            refusal: Some(Refusal {
                id: 7,
                reason: "needs-terminal".to_owned(),
                program: "/usr/sbin/exim4".to_owned(),
                culprit: None,
                lineage: Vec::new(),
                advice: vec!["Start it at a terminal.".to_owned()],
            }),
            followed: Some(Followed {
                step: "sudo sekimori register /x".to_owned(),
                worked: false,
                got: "refused".to_owned(),
            }),
            build: "abc".to_owned(),
        }
    }

    #[test]
    fn a_row_that_was_not_played_says_so() {
        let page = page(
            &machines().unwrap(),
            &[row(Expect::Sent)],
            &Results::default(),
        );
        assert!(
            page.contains("| echo x \\| mail | sent | not played |  |"),
            "{page}"
        );
    }

    #[test]
    fn what_went_otherwise_carries_advice_and_what_came_of_it() {
        let said = remark(&row(Expect::Sent), Some(&played(false)));
        assert_eq!(
            said,
            "`explain`: Start it at a terminal. Followed, and it did not work: sudo sekimori register /x (refused)."
        );
    }

    #[test]
    fn what_went_well_needs_no_advice() {
        assert_eq!(remark(&row(Expect::Sent), Some(&played(true))), "");
    }
}
