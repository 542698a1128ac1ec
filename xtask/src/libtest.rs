//! Reads what a Rust test program prints.

/// What a test said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end.
    Passed,
    /// It could not run here, or not all of it, and says why.
    Skipped(String),
    /// It failed, or did not end.
    Failed,
    /// It is to run only when asked for, with the reason.
    Ignored(String),
}

/// What a test prints before the reason when something keeps it from running.
const SKIPPED: &str = "skipped: ";

/// The outcome of each test in the output of a program that ran with `--show-output`, which
/// prints what a test said in a part of its own.
pub fn outcomes(output: &str) -> Vec<(String, Outcome)> {
    let mut outcomes: Vec<(String, Outcome)> = Vec::new();
    let mut speaking: Option<String> = None;
    for line in output.lines() {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            speaking = Some(name.to_owned());
        } else if let Some(name) = &speaking {
            if let Some(reason) = line.strip_prefix(SKIPPED)
                && let Some((_, outcome)) = outcomes.iter_mut().find(|(known, _)| known == name)
            {
                skip(outcome, reason);
            }
        } else if let Some(result) = result(line) {
            outcomes.push(result);
        }
    }
    outcomes
}

/// The outcome of the one test that ran with `--nocapture`: its own words stand between the
/// program's, the first of them on the line that names the test. `success` is the program's
/// exit status.
pub fn outcome_of_one(output: &str, success: bool) -> Outcome {
    // A name that is not found is no success.
    if !success || !output.lines().any(|line| line == "running 1 test") {
        return Outcome::Failed;
    }
    let mut outcome = Outcome::Passed;
    for line in output.lines() {
        let said = match line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            Some((_, said)) => said,
            None => line,
        };
        if let Some(reason) = said.strip_prefix(SKIPPED) {
            skip(&mut outcome, reason);
        }
    }
    outcome
}

fn skip(outcome: &mut Outcome, reason: &str) {
    match outcome {
        Outcome::Passed => *outcome = Outcome::Skipped(reason.to_owned()),
        Outcome::Skipped(reasons) => {
            reasons.push_str("; ");
            reasons.push_str(reason);
        }
        Outcome::Failed | Outcome::Ignored(_) => {}
    }
}

/// A line such as "test name ... ok".
fn result(line: &str) -> Option<(String, Outcome)> {
    let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match word {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored(String::new()),
        _ => Outcome::Ignored(word.strip_prefix("ignored, ")?.to_owned()),
    };
    // "name - should panic"
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name.to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_shown_output() {
        let output = "\
running 5 tests
test ports::many ... ok
test root ... ignored, needs root: run by cargo xtask test
test bare ... ignored
test panics - should panic ... ok
test types ... ok
test wrong ... FAILED

successes:

---- types stdout ----
skipped: /sys/kernel/btf/vmlinux is not there
skipped: nor another
test a line of its own ... ok


successes:
    types

failures:

---- wrong stdout ----
skipped: a part
assertion failed
";
        let expected = [
            ("ports::many", Outcome::Passed),
            (
                "root",
                Outcome::Ignored("needs root: run by cargo xtask test".to_owned()),
            ),
            ("bare", Outcome::Ignored(String::new())),
            ("panics", Outcome::Passed),
            (
                "types",
                Outcome::Skipped("/sys/kernel/btf/vmlinux is not there; nor another".to_owned()),
            ),
            ("wrong", Outcome::Failed),
        ]
        .map(|(name, outcome)| (name.to_owned(), outcome));
        assert_eq!(outcomes(output), expected);
    }

    #[test]
    fn a_single_test_and_its_words() {
        let run =
            |middle: &str| format!("\nrunning 1 test\n{middle}\n\ntest result: ok. 1 passed\n");
        assert_eq!(
            outcome_of_one(&run("test gate ... ok"), true),
            Outcome::Passed
        );
        assert_eq!(
            outcome_of_one(&run("test gate ... ok"), false),
            Outcome::Failed
        );
        assert_eq!(
            outcome_of_one(&run("test gate ... skipped: no Xvfb\nok"), true),
            Outcome::Skipped("no Xvfb".to_owned())
        );
        assert_eq!(
            outcome_of_one(&run("test gate ... hello\nskipped: no mutt\nok"), true),
            Outcome::Skipped("no mutt".to_owned())
        );
    }

    #[test]
    fn a_name_that_no_test_has() {
        assert_eq!(
            outcome_of_one("running 0 tests\n\ntest result: ok.", true),
            Outcome::Failed
        );
    }
}
