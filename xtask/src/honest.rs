//! `honest`: boots desktops and mail servers, installs the program as README.md says, does what
//! people and machines do, and writes docs/honest.md.
//!
//! The machines are Debian under QEMU with an emulated processor, one at a time. It takes hours,
//! because nothing is assumed about this machine's processor, so CI does not run it. What the rows
//! are and what they need is data: xtask/data/honest.

mod base64;
mod guest;
mod journal;
mod machines;
mod page;
mod part;
mod play;
mod results;
mod rows;
mod screen;
mod terminal;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::packages::Packages;
use crate::process;
use crate::workspace::Workspace;

use guest::{Boot, Guest};
use machines::{Machine, machines};
use play::Player;
use results::Results;
use rows::{Expect, Row, rows};

const PAGE: &str = "docs/honest.md";

const PACKAGES: Packages = Packages {
    purpose: "for the machines",
    names: &[
        "binutils",
        "e2fsprogs",
        "mmdebstrap",
        "openssh-client",
        "qemu-system-x86",
        "qemu-utils",
    ],
    answers: "",
    services: &[],
};

/// Scripts that the machines find in /opt/honest.
const TOOLS: [(&str, &str); 3] = [
    ("agent.sh", include_str!("../data/honest/agent.sh")),
    ("sink.sh", include_str!("../data/honest/sink.sh")),
    ("look.sh", include_str!("../data/honest/look.sh")),
];

/// What root does before the program is installed.
const FIRST: &str = "
install -m 755 /opt/honest/xtask /usr/bin/probemail
for home in /root /home/taro; do
    mkdir -p $home/.ssh
    cp /opt/honest/key.pub $home/.ssh/authorized_keys
    chmod 700 $home/.ssh
done
chown -R taro: /home/taro/.ssh
";

/// Until one command of the installation has ended.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// What to play.
#[derive(Args)]
pub struct Options {
    /// Play these machines only: names, with commas between them
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Play these rows only: names, with commas between them
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Folder for images and results, some gigabytes [default: honest, beside the checkout]
    #[arg(long)]
    work: Option<PathBuf>,
    /// Try this program instead of the one that is built now
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Multiply all limits and pauses: for a machine on which much else runs
    #[arg(long, default_value_t = 1)]
    patience: u32,
    /// Keep the images for the next run
    #[arg(long)]
    keep: bool,
    /// Play nothing: write the page from the results that there are
    #[arg(long)]
    page_only: bool,
}

/// What `--patience` says. It is set once, before the first machine.
static PATIENCE: OnceLock<u32> = OnceLock::new();

/// A limit or pause, so much longer as `--patience` says.
fn patient(duration: Duration) -> Duration {
    duration * *PATIENCE.get_or_init(|| 1)
}

/// Says on standard error what begins now.
fn say(text: &str) {
    eprintln!("── {text}");
}

/// Plays the rows, and writes the page.
///
/// # Errors
///
/// When rows cannot be played, or came to something else than expected.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let all = machines()?;
    let rows = rows()?;
    PATIENCE.get_or_init(|| options.patience.max(1));
    for name in &options.only {
        ensure!(
            all.iter().any(|machine| machine.name == *name),
            "no machine is named {name}"
        );
    }
    for name in &options.rows {
        ensure!(
            rows.iter().any(|row| row.id == *name),
            "no row is named {name}"
        );
    }
    let folder = match &options.work {
        Some(folder) => folder.clone(),
        None => workspace.path("../honest"),
    };
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let folder = fs::canonicalize(&folder)?;
    let mut results = Results::read(&folder.join("results.jsonl"))?;
    let chosen: Vec<&Machine> = all
        .iter()
        .filter(|machine| options.only.is_empty() || options.only.contains(&machine.name))
        .collect();
    if !options.page_only {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: making the machines' disks needs root");
            return Ok(());
        }
        PACKAGES.ensure()?;
        let (tools, build) = tools(workspace, &folder, options)?;
        for machine in &chosen {
            let run = Run {
                machine,
                tools: &tools,
                build: &build,
                folder: &folder,
                options,
            };
            if let Err(error) = run.play(&rows, &mut results) {
                say(&format!("{}: {error:#}", machine.name));
                results.leave_out(&machine.name, format!("{error:#}"))?;
            }
            write(workspace, &all, &rows, &results)?;
        }
    }
    write(workspace, &all, &rows, &results)?;
    println!("written: {PAGE}");
    let wrong: Vec<_> = chosen
        .iter()
        .flat_map(|machine| rows.iter().map(move |row| (machine, row)))
        .filter_map(|(machine, row)| results.get(&machine.name, &row.id))
        .filter(|played| !played.good)
        .map(|played| format!("{}/{}", played.machine, played.row))
        .collect();
    if !wrong.is_empty() {
        bail!("not as expected: {}", wrong.join(", "));
    }
    Ok(())
}

fn write(workspace: &Workspace, all: &[Machine], rows: &[Row], results: &Results) -> Result<()> {
    let path = workspace.path(PAGE);
    fs::write(&path, page::page(all, rows, results)).with_context(|| path.display().to_string())
}

/// A process in a machine.
///
/// # Errors
///
/// When it is told something unknown, or has to end.
pub fn part(arguments: &[OsString]) -> Result<()> {
    part::run(arguments)
}

/// A small disk with what is tried, and the name of the build. The machines' own disks do not
/// depend on it.
fn tools(workspace: &Workspace, folder: &Path, options: &Options) -> Result<(PathBuf, String)> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            say("building the program");
            let mut build = workspace.cargo();
            process::run(build.args(["build", "--quiet", "--release", "--package", "sekimori"]))?;
            workspace.target("release/sekimori")
        }
    };
    let root = folder.join("tools");
    fs::create_dir_all(&root)?;
    for (from, name) in [
        (binary.as_path(), "sekimori"),
        (&std::env::current_exe()?, "xtask"),
    ] {
        let mut strip = Command::new("strip");
        process::run(strip.arg("-o").arg(root.join(name)).arg(from))?;
    }
    for (name, text) in TOOLS {
        fs::write(root.join(name), text).with_context(|| name.to_owned())?;
    }
    let key = folder.join("key");
    if !key.exists() {
        let mut keygen = Command::new("ssh-keygen");
        process::run(
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key),
        )?;
    }
    fs::copy(folder.join("key.pub"), root.join("key.pub"))?;
    let disk = folder.join("tools.ext4");
    let _ = fs::remove_file(&disk);
    let mut make = Command::new("mke2fs");
    process::run(
        make.args(["-q", "-t", "ext4", "-L", "honest", "-d"])
            .arg(&root)
            .arg(&disk)
            .arg("300M"),
    )?;
    let mut describe = Command::new("git");
    describe
        .current_dir(workspace.path(""))
        .args(["describe", "--always", "--dirty"]);
    let build = process::output(&mut describe)
        .unwrap_or_default()
        .trim()
        .to_owned();
    Ok((disk, build))
}

/// One machine's turn.
struct Run<'a> {
    machine: &'a Machine,
    tools: &'a Path,
    build: &'a str,
    folder: &'a Path,
    options: &'a Options,
}

impl Run<'_> {
    fn play(&self, rows: &[Row], results: &mut Results) -> Result<()> {
        let mine: Vec<&Row> = rows
            .iter()
            .filter(|row| row.is_on(self.machine))
            .filter(|row| self.options.rows.is_empty() || self.options.rows.contains(&row.id))
            .collect();
        let name = &self.machine.name;
        if mine.is_empty() {
            return Ok(());
        }
        let disk = self.machine.disk(self.folder)?;
        let overlay = self.folder.join("run.qcow2");
        guest::overlay(&disk, &overlay)?;
        let boot = |boot| Guest::boot(self.machine, &disk, &overlay, self.tools, boot, self.folder);
        let began = Instant::now();
        say(&format!("{name}: booting, to install"));
        self.install(boot(Boot::Install)?)?;
        say(&format!("{name}: booting, to play {} rows", mine.len()));
        let done = boot(Boot::Play).and_then(|mut guest| {
            self.settle(&mut guest)?;
            let done = self.play_rows(&mut guest, &mine, results);
            let log = self.folder.join(format!("{name}.log.jsonl"));
            if let Ok((_, text)) = guest.root("sekimori log --json", INSTALL_LIMIT) {
                fs::write(log, text)?;
            }
            done
        });
        let _ = fs::remove_file(&overlay);
        if !self.options.keep {
            disk.remove();
        }
        say(&format!(
            "{name}: {} minutes",
            began.elapsed().as_secs() / 60
        ));
        done
    }

    /// As README.md says.
    fn install(&self, mut guest: Guest) -> Result<()> {
        for (what, script) in [
            ("prepare", FIRST),
            ("install", "/opt/honest/sekimori install"),
            (
                "started",
                "for i in $(seq 120); do systemctl is-active --quiet sekimori && exit 0; sleep 1; done; exit 1",
            ),
            // An emulated machine may take longer to read a large program than a client waits.
            (
                "setup",
                "sekimori setup --yes || sekimori setup --yes || sekimori setup --yes",
            ),
            ("programs", "sekimori programs"),
        ] {
            let (status, said) = guest.root(script, INSTALL_LIMIT)?;
            let log = self
                .folder
                .join(format!("{}.{what}.log", self.machine.name));
            fs::write(&log, &said).with_context(|| log.display().to_string())?;
            if status != 0 {
                let (_, unit) = guest.root(
                    "journalctl --boot --unit sekimori --no-pager | tail -n 100",
                    INSTALL_LIMIT,
                )?;
                fs::write(&log, format!("{said}\n{unit}"))?;
                bail!("{what} ended with status {status}; see {}", log.display());
            }
        }
        guest.down()
    }

    /// Until the machine has done what it does at its start.
    fn settle(&self, guest: &mut Guest) -> Result<()> {
        let script =
            "case $(systemctl is-system-running) in running | degraded) ;; *) exit 1 ;; esac";
        if let Err(error) = guest.until(script, guest::BOOT_LIMIT) {
            say(&format!("{}: still starting: {error:#}", self.machine.name));
        }
        let (_, failed) = guest.root(
            "systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend",
            INSTALL_LIMIT,
        )?;
        if !failed.trim().is_empty() {
            say(&format!(
                "{}: units that failed or wait:\n{}",
                self.machine.name,
                failed.trim_end()
            ));
        }
        if self.machine.desktop {
            let shown = guest.until(
                "pgrep -u taro -f 'session|panel|shell' >/dev/null",
                guest::BOOT_LIMIT,
            );
            shown.context("no desktop came up")?;
            std::thread::sleep(patient(Duration::from_secs(60)));
            guest
                .screen
                .picture(&self.folder.join(format!("{}.png", self.machine.name)))?;
        }
        Ok(())
    }

    fn play_rows(&self, guest: &mut Guest, rows: &[&Row], results: &mut Results) -> Result<()> {
        let mut player = Player {
            guest,
            machine: &self.machine.name,
            build: self.build,
            folder: self.folder,
            count: 0,
        };
        let mut again = Vec::new();
        for row in rows {
            let began = Instant::now();
            let played = player.play(row)?;
            let word = if played.good {
                "as expected"
            } else {
                "OTHERWISE"
            };
            let seconds = began.elapsed().as_secs();
            say(&format!(
                "{}/{}: {word} after {seconds} s: {}",
                played.machine, row.id, played.got
            ));
            if !played.good || row.expect == Expect::Refused {
                again.push((*row, played.clone()));
            }
            results.add(played)?;
        }
        for (row, mut played) in again {
            player.follow(row, &mut played)?;
            if let Some(followed) = &played.followed {
                let word = if followed.worked {
                    "worked"
                } else {
                    "DID NOT WORK"
                };
                say(&format!(
                    "{}/{}: {}: {word}: {}",
                    played.machine, row.id, followed.step, followed.got
                ));
                results.add(played)?;
            }
        }
        Ok(())
    }
}
