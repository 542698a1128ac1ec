//! The test programs of the workspace: found by building them, never listed by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;
use crate::workspace::{Workspace, forget_own_package};

/// A compiled test program.
pub struct TestProgram {
    /// Its package and target, as in "journal::store".
    pub name: String,
    package: String,
    folder: PathBuf,
    executable: PathBuf,
}

/// One line of cargo's report, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the workspace with its tests.
pub fn build(workspace: &Workspace) -> Result<Vec<TestProgram>> {
    build_these(workspace, &["--workspace"], &["--workspace"])
}

/// Builds the tests that play on the stage, and what they start.
pub fn build_end_to_end(workspace: &Workspace) -> Result<Vec<TestProgram>> {
    let started = ["--package", "sekimori", "--package", "sekimori-stage"];
    build_these(workspace, &started, &["--package", "sekimori-e2e"])
}

fn build_these(
    workspace: &Workspace,
    programs: &[&str],
    tests: &[&str],
) -> Result<Vec<TestProgram>> {
    // Tests start these too, and cargo builds a program for the tests of its own package only.
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--quiet", "--bins"]).args(programs))?;
    let report = process::output(
        workspace
            .cargo()
            .args(["test", "--quiet", "--no-run"])
            .args(tests)
            .arg("--message-format=json-render-diagnostics"),
    )?;
    let mut programs = Vec::new();
    for line in report.lines() {
        let message: Message =
            serde_json::from_str(line).context("cargo's report of what it built")?;
        programs.extend(message.into_program());
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

impl Message {
    fn into_program(self) -> Option<TestProgram> {
        if self.reason != "compiler-artifact" || !self.profile?.test {
            return None;
        }
        let folder = self.manifest_path?.parent()?.to_owned();
        let package = folder.file_name()?.to_string_lossy().into_owned();
        let target = self.target?;
        let name = match target.kind.first().map(String::as_str) {
            Some("lib") => package.clone(),
            _ if target.name == package => package.clone(),
            _ => format!("{package}::{}", target.name),
        };
        Some(TestProgram {
            name,
            package,
            folder,
            executable: self.executable?,
        })
    }
}

impl TestProgram {
    /// The program, to be run as cargo would run it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        forget_own_package(&mut command);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("CARGO_PKG_NAME", &self.package);
        command
    }

    /// The name of a file for the output of `test`.
    pub fn log_name(&self, test: &str) -> PathBuf {
        let folder = self.name.replace("::", "-");
        Path::new(&folder).join(format!("{}.log", test.replace("::", "-")))
    }
}
