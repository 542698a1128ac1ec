//! `evasions`: plays every row of the list of evasions, and says what came of each.
//!
//! The list is in crates/e2e/data. The rows are played by the root tests that it names, which
//! add a line for each row to a file; the table is made of these lines and of nothing else.

mod table;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use e2e::evasions::{VARIABLE, rows};

use crate::libtest::Outcome;
use crate::packages::Packages;
use crate::programs::{self, TestProgram};
use crate::terminal::{self, Colour, paint};
use crate::tests;
use crate::workspace::Workspace;

use table::Table;

const REPORT: &str = "EVASIONS.md";

/// The other guards that rows are played against, for comparison.
const PEERS: Packages = Packages {
    purpose: "to play the evasions against other guards",
    // OpenSnitch asks for iptables when it runs, not when it is installed.
    names: &["iptables", "nftables", "opensnitch"],
    answers: "",
    services: &[("opensnitch", "opensnitch")],
};

/// A guard, and the test that plays rows against it.
const PEER_TESTS: [(&str, &str); 2] = [
    ("nftables", "peers::nftables_by_user"),
    ("OpenSnitch", "peers::opensnitch_by_path"),
];

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
    for packages in [&tests::PACKAGES, &PEERS] {
        // The tests know best what they can do without, and the table says so.
        if let Err(error) = packages.ensure() {
            println!("{} {error:#}", paint(Colour::Yellow, "packages:"));
        }
    }
    terminal::step("building the tests");
    let programs = programs::build_end_to_end(workspace)?;
    terminal::step("playing the evasions");
    let lines = tempfile::NamedTempFile::new().context("a file for what tests say")?;
    let mut reasons: HashMap<&str, String> = HashMap::new();
    let of_rows = rows().map(|row| row.test).filter(|test| *test != "-");
    for test in of_rows.chain(PEER_TESTS.map(|(_, test)| test)) {
        if !reasons.contains_key(test) {
            reasons.insert(test, play(workspace, &programs, test, lines.path())?);
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
    let run = tests::run_alone(
        workspace,
        program,
        test,
        Some((VARIABLE, lines.as_os_str())),
    )?;
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
