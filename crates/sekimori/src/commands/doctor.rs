//! `doctor`: what keeps honest programs from sending, and the registrations that settle it.

use std::io::{self, BufRead, IsTerminal as _};
use std::process::ExitCode;

use engine::printable;
use serde_json::{Value, json};

use super::programs::{judge_again, register_one};
use crate::cli::DoctorArgs;
use crate::doctor::{Finding, Level, examine, is_settled};
use crate::failure::{Failure, need_root};
use crate::output::{say, tell};
use crate::paths::Paths;
use crate::proposal::{Offer, ask_yes};

/// How offers are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A person answers each.
    Asked,
    /// All that is safe is registered.
    Yes,
    /// Nothing is registered.
    Never,
}

impl Answers {
    /// What the flags mean where nobody may be there to answer.
    pub fn of(yes: bool, json: bool) -> Self {
        if yes {
            Self::Yes
        } else if json || !io::stdin().is_terminal() {
            Self::Never
        } else {
            Self::Asked
        }
    }
}

/// `doctor`. Exit status 1 when something was found and is not settled.
pub fn run(options: &DoctorArgs, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("doctor")?;
    let findings = examine(paths)?;
    let answers = Answers::of(options.yes, options.json);
    let tally = treat(&findings, answers, options.json, paths);
    if options.json {
        say(&tally.json().to_string());
    } else if tally.problems == 0 {
        say("Nothing stands in the way of honest mail.");
    } else {
        say(&format!(
            "Problems: {}, settled: {}.",
            tally.problems, tally.settled
        ));
    }
    Ok(tally.status())
}

/// At the end of `setup`: shows what else there is, and says nothing when there is nothing.
pub fn after_setup(yes: bool, paths: &Paths) -> Result<(), Failure> {
    let findings = examine(paths)?;
    if findings.is_empty() {
        return Ok(());
    }
    say("Looking for what else keeps honest programs from sending (sekimori doctor):");
    treat(&findings, Answers::of(yes, false), false, paths);
    Ok(())
}

/// What became of the findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    problems: usize,
    settled: usize,
    limits: usize,
}

impl Tally {
    fn json(self) -> Value {
        json!({
            "type": "summary", "problems": self.problems, "settled": self.settled, "limits": self.limits,
        })
    }

    fn status(self) -> ExitCode {
        ExitCode::from(u8::from(self.settled < self.problems))
    }
}

/// Shows each finding and has its offers answered. Each registration takes effect at once, so whoever
/// stops here keeps what was answered.
fn treat(findings: &[Finding], answers: Answers, json: bool, paths: &Paths) -> Tally {
    let mut tally = Tally::default();
    let mut done: Vec<Offer> = Vec::new();
    for finding in findings {
        if !json {
            show(finding);
        }
        let registered: Vec<bool> = finding
            .offers
            .iter()
            .map(|offer| {
                // One program may be in more than one finding's way.
                let was_done = done.iter().any(|it| it.path == offer.path);
                let now = was_done || answer(offer, answers, json, paths);
                if now && !was_done {
                    done.push(offer.clone());
                }
                now
            })
            .collect();
        if json {
            say(&finding.json(&registered).to_string());
        }
        match finding.level {
            Level::Problem => {
                tally.problems += 1;
                tally.settled += usize::from(is_settled(&registered));
            }
            Level::Limit => tally.limits += 1,
        }
    }
    if !done.is_empty() {
        judge_again(!json, paths);
    }
    tally
}

fn show(finding: &Finding) {
    let mark = match finding.level {
        Level::Problem => "!",
        Level::Limit => "-",
    };
    say(&format!("{mark} {}", printable(&finding.text)));
    if let Some(next) = &finding.next {
        say(&format!("    {}", printable(next)));
    }
}

/// Whether the offer was taken and the program is registered now.
pub fn answer(offer: &Offer, answers: Answers, quiet: bool, paths: &Paths) -> bool {
    let path = offer.path.display().to_string();
    let path = printable(&path);
    if !quiet {
        say(&format!("    {}", printable(&offer.why)));
    }
    let taken = match answers {
        Answers::Yes => offer.safe,
        Answers::Never => false,
        Answers::Asked => {
            let question = format!("    Register {path} as {}?", offer.role.word());
            let (mut input, mut output) = (io::stdin().lock(), io::stdout());
            ask_yes(&question, &mut input as &mut dyn BufRead, &mut output).unwrap_or(false)
        }
    };
    if !taken {
        if !quiet && answers != Answers::Asked {
            let lead = if answers == Answers::Yes {
                "Not taken by --yes; if you are sure:"
            } else {
                "To register it:"
            };
            say(&format!("    {lead} {}", printable(&offer.command())));
        }
        return false;
    }
    match register_one(&offer.path, (offer.role, offer.kind), false, paths) {
        Ok(_) => {
            if !quiet {
                say(&format!(
                    "    registered {path} as {} ({})",
                    offer.role.word(),
                    offer.kind.word()
                ));
            }
            true
        }
        Err(failure) => {
            tell(&format!("sekimori: {}", printable(&failure.message)));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_in_the_exit_status() {
        let tally = |problems, settled| Tally {
            problems,
            settled,
            limits: 3,
        };
        let shown = |tally: Tally| format!("{:?}", tally.status());
        assert_eq!(shown(tally(0, 0)), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(shown(tally(2, 2)), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(shown(tally(2, 1)), format!("{:?}", ExitCode::FAILURE));
    }

    #[test]
    fn machines_are_never_asked() {
        assert_eq!(Answers::of(false, true), Answers::Never);
        assert_eq!(Answers::of(true, true), Answers::Yes);
    }
}
