//! `accuracy`: replays captures whose truth is known, and says how much of it was seen.
//!
//! A flow is right when it is told as what it is. Misses and false alarms are named one by
//! one; those of doubtful classes are named too, and counted neither way.

mod findings;
mod labels;
mod peers;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use protocols::App;
use replay::{FlowRecord, Hosts, Input, Settings, Transport};

use crate::terminal::{self, Colour, paint};
use crate::workspace::Workspace;
use labels::{Connection, Ends, Label};

/// Where the captures are said to be.
const VARIABLE: &str = "SEKIMORI_CAPTURES";
const REPORT: &str = "ACCURACY.md";

/// Runs the whole set.
///
/// # Errors
///
/// When the labels cannot be read, or a session of which both sides were captured was
/// missed, or anything else was taken for IRC or mail.
pub fn run(workspace: &Workspace) -> Result<()> {
    let folder = std::env::var_os(VARIABLE)
        .map_or_else(|| workspace.path("../shared/captures"), PathBuf::from);
    if !folder.join("MANIFEST.tsv").is_file() {
        let word = paint(Colour::Yellow, "skipped");
        println!(
            "{word} accuracy: no labelled captures in {} ({VARIABLE})",
            folder.display()
        );
        return Ok(());
    }
    terminal::step("accuracy of protocol recognition");
    let files = labels::files(&folder)?;
    let connections = labels::connections(&folder)?;
    let mut tally = Tally::default();
    for file in &files {
        let flows = flows(&folder.join(file), file, &mut tally)?;
        let truth = connections
            .get(file.as_str())
            .map_or(&[][..], Vec::as_slice);
        tally.file(file, truth, &flows);
    }
    let peers = peers::compare(workspace, &folder, &files, &connections);
    let report = tally.report(files.len(), &peers) + &tally.findings.report();
    print!("{report}");
    let path = workspace.path(REPORT);
    fs::write(&path, report).with_context(|| path.display().to_string())?;
    println!("written: {}", workspace.shown(&path));
    if tally.failures > 0 {
        bail!("{} flows were judged wrongly", tally.failures);
    }
    if tally.findings.failures() > 0 {
        bail!("{} hosts were judged wrongly", tally.findings.failures());
    }
    Ok(())
}

fn flows(path: &Path, file: &str, tally: &mut Tally) -> Result<Vec<FlowRecord>> {
    let mut flows = Vec::new();
    let mut weigher = findings::Weigher {
        each: |flow: FlowRecord| {
            if flow.transport == Transport::Tcp {
                flows.push(flow);
            }
        },
        hosts: Hosts::default(),
    };
    let read = Input::open(path)
        .and_then(|input| replay::replay_into(input, &Settings::default(), &mut weigher));
    tally.findings.file(file, &weigher.hosts);
    match read {
        Ok(summary) => {
            tally.damaged += usize::from(summary.damage.is_some());
        }
        Err(error) => bail!("{} {error}", path.display()),
    }
    Ok(flows)
}

/// Right and wrong, for one protocol.
#[derive(Clone, Copy, Default)]
struct Score {
    right: usize,
    missed: usize,
    false_alarms: usize,
    /// Sessions of which a part was captured, and how many of them were recognised.
    partial: usize,
    partial_of: usize,
}

/// What was claimed of the flows between two ends. Only IRC and mail are of interest.
type Claims = HashMap<Ends, Vec<App>>;

#[derive(Default)]
struct Tally {
    irc: Score,
    smtp: Score,
    flows: usize,
    damaged: usize,
    failures: usize,
    named: Vec<String>,
    findings: findings::Findings,
}

impl Tally {
    fn file(&mut self, file: &str, truth: &[Connection], flows: &[FlowRecord]) {
        self.flows += flows.len();
        let mut claims = Claims::new();
        for flow in flows {
            if matches!(flow.outcome.app, App::Irc | App::Smtp) {
                let ends = labels::ends(flow.client, flow.server);
                claims.entry(ends).or_default().push(flow.outcome.app);
            }
        }
        self.judge(file, truth, &claims);
    }

    fn judge(&mut self, file: &str, truth: &[Connection], claims: &Claims) {
        let mut explained = HashSet::new();
        for connection in truth {
            let claim = claims.get(&connection.ends).map_or(&[][..], Vec::as_slice);
            explained.insert(connection.ends);
            self.connection(file, connection, claim);
        }
        for (ends, apps) in claims {
            if explained.contains(ends) {
                continue;
            }
            for app in apps {
                self.score(*app).false_alarms += 1;
                self.failures += 1;
                let (a, b) = ends;
                self.named
                    .push(format!("false alarm: {} {a} {b} in {file}", app.word()));
            }
        }
    }

    fn connection(&mut self, file: &str, connection: &Connection, claim: &[App]) {
        let app = connection.app;
        let seen = claim.contains(&app);
        let (a, b) = connection.ends;
        let what = format!("{} {a} {b} in {file}", connection.class);
        match connection.label {
            Label::Doubtful => {
                let word = if seen { "seen" } else { "not seen" };
                self.named
                    .push(format!("doubtful, counted neither way: {what}: {word}"));
            }
            Label::Partial => {
                // A miss is no failure: one side, the middle, a single packet.
                let score = self.score(app);
                score.partial_of += 1;
                score.partial += usize::from(seen);
                if !seen {
                    self.named
                        .push(format!("missed, only a part was captured: {what}"));
                }
            }
            Label::Whole if seen => self.score(app).right += 1,
            Label::Whole => {
                self.score(app).missed += 1;
                self.failures += 1;
                self.named.push(format!("missed: {what}"));
            }
        }
    }

    fn score(&mut self, app: App) -> &mut Score {
        if app == App::Irc {
            &mut self.irc
        } else {
            &mut self.smtp
        }
    }

    fn report(&mut self, files: usize, peers: &[peers::Peer]) -> String {
        self.named.sort();
        let mut text = String::from(
            "# Accuracy\n\nHow well protocols are recognised, by flow, on labelled real captures. ",
        );
        text += "Made by `cargo xtask accuracy`; the captures are not part of this repository.\n\n";
        let _ = writeln!(
            text,
            "{files} captures, {} TCP flows, {} captures damaged.\n",
            self.flows, self.damaged
        );
        text += "| protocol | right | missed | false alarms | precision | recall |\n|---|---|---|---|---|---|\n";
        for (name, score) in [("IRC", self.irc), ("SMTP", self.smtp)] {
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} |",
                score.right,
                score.missed,
                score.false_alarms,
                percent(score.right, score.right + score.false_alarms),
                percent(score.right, score.right + score.missed),
            );
        }
        let _ = writeln!(
            text,
            "\nThe table counts sessions of which both sides were captured. Of {} that were captured in part \
             (one side, from the middle, a single packet), {} were recognised.\n",
            self.irc.partial_of + self.smtp.partial_of,
            self.irc.partial + self.smtp.partial
        );
        text += &peers::section(self, peers);
        text += "\n";
        text += "## By name\n\n";
        for line in &self.named {
            let _ = writeln!(text, "- {line}");
        }
        if self.named.is_empty() {
            text += "Nothing missed, no false alarm.\n";
        }
        text
    }
}

fn percent(part: usize, whole: usize) -> String {
    match whole {
        0 => "—".to_owned(),
        whole => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_label_counts_as_it_should() {
        let mut tally = Tally::default();
        let truth = labels::parse(
            "path\tclass\tclient\tserver\n\
             a\tirc\t10.0.0.1:1\t10.0.0.2:6667\n\
             a\tsmtp-oneside\t10.0.0.1:2\t10.0.0.2:25\n\
             a\tirc?\t10.0.0.1:3\t10.0.0.2:6667\n",
        )
        .unwrap();
        tally.file("a", &truth["a"], &[]);
        assert_eq!(
            (tally.irc.missed, tally.smtp.partial_of, tally.failures),
            (1, 1, 1)
        );
        assert_eq!(tally.named.len(), 3);
    }
}
