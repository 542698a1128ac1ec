//! All tests, with one summary: unit tests, examples in documents, and the root tests.
//!
//! A root test is a test with `#[ignore = "…"]` of any crate of the workspace: it needs root,
//! and mostly real mail programs. Tests whose reason says that another test starts them are
//! not run by themselves. Root tests share the machine's one kernel, so they run one after
//! the other, each in a process of its own that is ended when it takes too long.
//!
//! A test that cannot run here prints a line `skipped: REASON` and succeeds.
//!
//! Root tests load the kernel object that is committed. CI runs `cargo xtask kernel --check`
//! first, which proves that this object is, byte for byte, what the sources give; a second
//! way to hand another object to the tests would only be a way to test something else.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::OLDER_HOOKS;

use crate::beside;
use crate::libtest::{self, Outcome};
use crate::packages::Packages;
use crate::programs::{self, TestProgram};
use crate::terminal::{Colour, paint};
use crate::workspace::Workspace;
use crate::{process, terminal};

/// Mail programs, servers and a desktop, as the root tests use them.
pub const PACKAGES: Packages = Packages {
    purpose: "for the root tests",
    names: &[
        "at",
        "bubblewrap",
        "claws-mail",
        "cron",
        "curl",
        "dbus",
        "dex",
        "flatpak",
        "gcc",
        "git",
        "git-email",
        "iproute2",
        "irssi",
        "libc6-dev",
        "libmailtools-perl",
        "memcached",
        "microsocks",
        "msmtp",
        "mutt",
        "netcat-openbsd",
        "nftables",
        "ngircd",
        "openbox",
        "opendoas",
        "openssh-client",
        "openssh-server",
        "openssl",
        "perl",
        "postfix",
        "python3",
        "redis-server",
        "rsync",
        "rsyslog",
        "screen",
        "socat",
        "squashfs-tools",
        "strace",
        "sudo",
        "swaks",
        "systemd",
        "tinyproxy",
        "tmux",
        "util-linux",
        "vim-tiny",
        "vsftpd",
        "x11-utils",
        "xdotool",
        "xterm",
        "xvfb",
    ],
    // Otherwise it configures itself for this machine's name and for all its interfaces.
    answers: "postfix postfix/main_mailer_type select No configuration\n",
    services: &[
        ("at", "atd"),
        ("cron", "cron"),
        ("memcached", "memcached"),
        ("ngircd", "ngircd"),
        ("openssh-server", "ssh"),
        ("postfix", "postfix"),
        ("redis-server", "redis-server"),
        ("rsync", "rsync"),
        ("rsyslog", "rsyslog"),
        ("tinyproxy", "tinyproxy"),
        ("vsftpd", "vsftpd"),
    ],
};

/// Part of the reason of an ignored test that is a part of another.
const NOT_BY_ITSELF: &str = "another test";

/// Generous: a machine may be slow, and property tests are many.
const PROGRAM_LIMIT: Duration = Duration::from_secs(900);
const ROOT_TEST_LIMIT: Duration = Duration::from_secs(300);

/// Programs whose root tests are run once more with the hooks of older kernels: what these see
/// reaches the gate by another hook there.
const WITH_OLDER_HOOKS: [&str; 4] = [
    "e2e::detection",
    "e2e::hiding",
    "e2e::ports",
    "e2e::sampling",
];

/// Which hooks the gate has in a root test.
#[derive(Clone, Copy)]
enum Hooks {
    /// The newest that the kernel has.
    Newest,
    /// Those that older kernels have too.
    Older,
}

/// What all tests came to.
#[derive(Default)]
struct Summary {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<(String, String)>,
}

/// Runs the tests whose name contains `filter`.
///
/// # Errors
///
/// When something cannot be built, or a test failed.
pub fn run(workspace: &Workspace, skip_packages: bool, filter: Option<&str>) -> Result<()> {
    if !skip_packages && let Err(error) = PACKAGES.ensure().and_then(|()| beside::unpack(workspace))
    {
        // The tests know best what they can do without.
        println!("{} {error:#}", paint(Colour::Yellow, "packages:"));
    }
    terminal::step("building the tests");
    let programs = programs::build(workspace)?;

    let mut summary = Summary::default();
    terminal::step("tests without root");
    let mut root_tests = Vec::new();
    for program in &programs {
        let ignored = run_program(workspace, program, filter, &mut summary)?;
        root_tests.extend(ignored.into_iter().map(|test| (program, test)));
    }
    run_documents(workspace, filter, &mut summary)?;

    terminal::step("tests with root");
    for (program, test) in &root_tests {
        run_root_test(workspace, program, test, Hooks::Newest, &mut summary)?;
    }
    terminal::step("tests with the hooks of older kernels");
    for (program, test) in &root_tests {
        if WITH_OLDER_HOOKS.contains(&program.name.as_str()) {
            run_root_test(workspace, program, test, Hooks::Older, &mut summary)?;
        }
    }
    summary.print();
    if !summary.failed.is_empty() {
        // The summary said it, and its last line is the last one.
        std::process::exit(1);
    }
    if filter.is_some() && summary.passed == 0 && summary.skipped.is_empty() {
        bail!("no test has {} in its name", filter.unwrap_or_default());
    }
    Ok(())
}

/// Runs a program's tests, and gives those that it leaves to root.
fn run_program(
    workspace: &Workspace,
    program: &TestProgram,
    filter: Option<&str>,
    summary: &mut Summary,
) -> Result<Vec<String>> {
    let mut command = program.command();
    command.arg("--show-output").args(filter);
    let started = Instant::now();
    let log = Log::create(workspace, program, "all")?;
    let status = process::run_into(&mut command, &log.file, PROGRAM_LIMIT)?;
    let output = log.read()?;

    let outcomes = libtest::outcomes(&output);
    let mut root_tests = Vec::new();
    let mut ran = 0;
    let failed_before = summary.failed.len();
    for (test, outcome) in outcomes {
        if let Outcome::Ignored(reason) = outcome {
            if !reason.contains(NOT_BY_ITSELF) {
                root_tests.push(test);
            }
            continue;
        }
        ran += 1;
        summary.add(format!("{} {test}", program.name), outcome);
    }
    let died = !status.is_some_and(|status| status.success());
    if died && summary.failed.len() == failed_before {
        // It died without naming a test.
        summary.failed.push(match status {
            Some(status) => format!("{} ({status})", program.name),
            None => format!(
                "{} (no end after {} s)",
                program.name,
                PROGRAM_LIMIT.as_secs()
            ),
        });
    }
    if died {
        println!("{output}");
    }
    if ran > 0 || died {
        let word = if died {
            paint(Colour::Red, "FAILED")
        } else {
            paint(Colour::Green, "ok")
        };
        println!(
            "{:<32} {ran:>4} {word} {:.1} s",
            program.name,
            started.elapsed().as_secs_f32()
        );
    }
    Ok(root_tests)
}

/// Runs the examples in the documentation.
fn run_documents(workspace: &Workspace, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut command = workspace.cargo();
    command
        .args(["test", "--workspace", "--doc", "--"])
        .args(filter);
    let path = workspace.target("xtask-tests/examples.log");
    let log = Log::create_at(path)?;
    let status = process::run_into(&mut command, &log.file, PROGRAM_LIMIT)?;
    let output = log.read()?;
    let mut named = false;
    let mut ran = 0;
    for (test, outcome) in libtest::outcomes(&output) {
        if !matches!(outcome, Outcome::Ignored(_)) {
            named |= outcome == Outcome::Failed;
            ran += 1;
            summary.add(format!("example {test}"), outcome);
        }
    }
    if !status.is_some_and(|status| status.success()) {
        println!("{output}");
        if !named {
            summary
                .failed
                .push("examples in the documentation".to_owned());
        }
    } else if ran > 0 {
        println!("{:<32} {ran:>4} {}", "examples", paint(Colour::Green, "ok"));
    }
    Ok(())
}

/// What came of a root test.
pub struct RootTest {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f32,
    /// All that it printed.
    pub output: String,
    /// Whether it ended by itself.
    pub ended: bool,
}

/// Runs one root test in a process of its own, with this variable in its environment.
///
/// # Errors
///
/// When it cannot be started, or its output cannot be kept.
pub fn run_alone(
    workspace: &Workspace,
    program: &TestProgram,
    test: &str,
    variable: Option<(&str, &OsStr)>,
) -> Result<RootTest> {
    let mut command = program.command();
    command.args([
        "--ignored",
        "--exact",
        test,
        "--nocapture",
        "--test-threads=1",
    ]);
    command.envs(variable);
    let started = Instant::now();
    let log = Log::create(workspace, program, test)?;
    let status = process::run_into(&mut command, &log.file, ROOT_TEST_LIMIT)?;
    let output = log.read()?;
    let success = status.is_some_and(|status| status.success());
    Ok(RootTest {
        outcome: libtest::outcome_of_one(&output, success),
        seconds: started.elapsed().as_secs_f32(),
        output,
        ended: status.is_some(),
    })
}

fn run_root_test(
    workspace: &Workspace,
    program: &TestProgram,
    test: &str,
    hooks: Hooks,
    summary: &mut Summary,
) -> Result<()> {
    let (how, variable) = match hooks {
        Hooks::Newest => ("", None),
        Hooks::Older => (" (older hooks)", Some((OLDER_HOOKS, OsStr::new("1")))),
    };
    let name = format!("{} {test}{how}", program.name);
    if !rustix::process::geteuid().is_root() {
        summary.add(name, Outcome::Skipped("needs root".to_owned()));
        return Ok(());
    }
    let run = run_alone(workspace, program, test, variable)?;
    let (outcome, seconds) = (run.outcome, run.seconds);
    match &outcome {
        Outcome::Passed => println!("{name} {} {seconds:.1} s", paint(Colour::Green, "ok")),
        Outcome::Skipped(reason) => {
            println!("{name} {}: {reason}", paint(Colour::Yellow, "skipped"))
        }
        Outcome::Failed | Outcome::Ignored(_) => {
            println!(
                "{name} {} {seconds:.1} s\n{}",
                paint(Colour::Red, "FAILED"),
                run.output
            );
            if !run.ended {
                println!("{name} did not end within {} s", ROOT_TEST_LIMIT.as_secs());
            }
        }
    }
    summary.add(name, outcome);
    Ok(())
}

impl Summary {
    fn add(&mut self, name: String, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed.push(name),
            Outcome::Skipped(reason) => self.skipped.push((name, reason)),
            Outcome::Ignored(_) => {}
        }
    }

    fn print(&self) {
        println!();
        for (name, reason) in &self.skipped {
            println!("{} {name}: {reason}", paint(Colour::Yellow, "skipped"));
        }
        for name in &self.failed {
            println!("{} {name}", paint(Colour::Red, "failed"));
        }
        // CI reads this line: no colour, nothing else on it.
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
    }
}

/// The output of one run, kept under the target folder.
struct Log {
    path: std::path::PathBuf,
    file: File,
}

impl Log {
    fn create(workspace: &Workspace, program: &TestProgram, test: &str) -> Result<Self> {
        Self::create_at(workspace.target("xtask-tests").join(program.log_name(test)))
    }

    fn create_at(path: std::path::PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, file })
    }

    fn read(&self) -> Result<String> {
        let bytes = fs::read(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
