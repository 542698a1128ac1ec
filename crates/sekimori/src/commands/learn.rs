//! `learn`: what to register, from what the journal saw.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use engine::printable;
use serde_json::{Value, json};

use super::doctor::{Answers, answer};
use super::programs::judge_again;
use crate::catalog::{Catalog, EXTRA_FOLDER};
use crate::cli::LearnArgs;
use crate::failure::{Failure, need_root};
use crate::learn::{Learned, Refusal, Seen, learn};
use crate::output::say;
use crate::paths::Paths;
use crate::proposal::Proposer;
use crate::registry;

/// `learn`.
pub fn run(options: &LearnArgs, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("learn")?;
    let catalog = Catalog::load(Some(Path::new(EXTRA_FOLDER)))?;
    let registered = registry::peek(paths)?
        .into_iter()
        .filter(|entry| !entry.suspended)
        .map(|entry| entry.stored.path)
        .collect();
    let refusals = refusals(options.since.as_deref(), paths)?;
    let learned = learn(refusals.into_iter(), &Proposer::new(catalog), &registered);
    let answers = Answers::of(options.yes, options.json);
    if !options.json {
        introduce(&learned);
    }
    let mut done = 0;
    for lesson in &learned.lessons {
        if !options.json {
            say(&format!(
                "{} {}",
                printable(&lesson.offer.path.display().to_string()),
                seen(&lesson.seen)
            ));
        }
        let taken = answer(&lesson.offer, answers, options.json, paths);
        done += usize::from(taken);
        if options.json {
            let mut line = lesson.offer.json(taken);
            add(&mut line, "proposal", &lesson.seen);
            say(&line.to_string());
        }
    }
    show_left(&learned, options.json);
    if done > 0 {
        judge_again(!options.json, paths);
    }
    if options.json {
        let summary = json!({
            "type": "summary", "refusals": learned.refusals, "settled": learned.settled,
            "proposals": learned.lessons.len(), "registered": done,
        });
        say(&summary.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn introduce(learned: &Learned) {
    if learned.refusals == 0 {
        say("The journal has no refusals from that time, so there is nothing to learn.");
        return;
    }
    say(&format!(
        "Refusals: {}. Programs of {} of them are registered meanwhile. Proposals: {}.",
        learned.refusals,
        learned.settled,
        learned.lessons.len()
    ));
}

fn show_left(learned: &Learned, json: bool) {
    if !json && !learned.left.is_empty() {
        say("Not proposed:");
    }
    for left in &learned.left {
        if json {
            let mut line = json!({ "program": left.program, "why": left.why });
            add(&mut line, "not-proposed", &left.seen);
            say(&line.to_string());
        } else {
            say(&format!(
                "{} {}",
                printable(&left.program),
                seen(&left.seen)
            ));
            say(&format!("    {}", printable(&left.why)));
        }
    }
}

/// How often, when last, and how it was started.
fn seen(seen: &Seen) -> String {
    let times = match seen.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let chains: Vec<_> = seen.chains.iter().map(|chain| printable(chain)).collect();
    format!(
        "(seen {times}, last {}, entry {}): {}",
        printable(&seen.last),
        seen.entry,
        chains.join("; ")
    )
}

fn add(line: &mut Value, kind: &str, seen: &Seen) {
    line["type"] = kind.into();
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), seen.json()) {
        line.extend(more);
    }
}

/// The journal's refusals. `log` reads them, in a process of its own: it gives up root for that, and this
/// command has to register afterwards.
fn refusals(since: Option<&str>, paths: &Paths) -> Result<Vec<Refusal>, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("the journal: {error}"));
    let mut command = Command::new("/proc/self/exe");
    if !paths.installed {
        command.arg("--state-dir").arg(&paths.state);
    }
    command.args(["log", "--json"]);
    if let Some(since) = since {
        command.args(["--since", since]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut refusals = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let entry = serde_json::from_str::<Value>(&line.map_err(failed)?);
            refusals.extend(entry.ok().and_then(|entry| Refusal::read(&entry)));
        }
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        // It has said why.
        return Err(Failure::failed("the journal could not be read"));
    }
    Ok(refusals)
}
