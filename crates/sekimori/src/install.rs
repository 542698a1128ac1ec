//! Puts the program into the system, and takes it out again.
//!
//! Everything happens below a root folder that tests choose, and the service manager is
//! behind a trait. Each step says in one line what it did, or what it did not do and why.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The installed program.
pub const BINARY: &str = "/usr/local/sbin/sekimori";
/// The systemd unit.
pub const UNIT: &str = "/etc/systemd/system/sekimori.service";
/// The manual page.
pub const MANPAGE: &str = "/usr/local/share/man/man1/sekimori.1";
/// Completions for bash.
pub const BASH_COMPLETION: &str = "/usr/local/share/bash-completion/completions/sekimori";
/// Completions for zsh.
pub const ZSH_COMPLETION: &str = "/usr/local/share/zsh/site-functions/_sekimori";
/// Completions for fish.
pub const FISH_COMPLETION: &str = "/usr/local/share/fish/vendor_completions.d/sekimori.fish";

/// Who is made an account of, by systemd-sysusers.
pub const ACCOUNT: &str = "/etc/sysusers.d/sekimori.conf";
/// Who may register programs by pkexec. Only where polkit is: it looks nowhere else.
pub const POLKIT_RULES: &str = "/usr/share/polkit-1/actions/org.sekimori.policy";

const ACCOUNT_TEXT: &str = include_str!("../data/sekimori.sysusers");
const POLKIT_TEXT: &str = include_str!("../data/org.sekimori.policy");
const UNIT_NAME: &str = "sekimori.service";
const UNIT_TEXT: &str = include_str!("../data/sekimori.service");
/// Where systemd notes that the unit is to be started.
const WANTED: &str = "/etc/systemd/system/sysinit.target.wants/sekimori.service";
const CONFIG: &str = "/etc/sekimori";
const STATE: &str = "/var/lib/sekimori";
const RUNTIME: &str = "/run/sekimori";

/// What is to be installed besides the unit.
#[derive(Debug)]
pub struct Pieces<'a> {
    /// The running executable.
    pub executable: &'a Path,
    /// Text files: where each goes (one of the constants here) and what is in it.
    pub texts: Vec<(&'static str, Vec<u8>)>,
}

/// Whoever starts services on this computer.
pub trait ServiceManager {
    /// Whether it runs, so that it can be told anything.
    fn runs(&self) -> bool;
    /// Tells it something.
    ///
    /// # Errors
    ///
    /// What it answered, in one line.
    fn tell(&mut self, words: &[&str]) -> Result<()>;
    /// Has the accounts made that this file asks for.
    ///
    /// # Errors
    ///
    /// Why not, in one line.
    fn make_account(&mut self, file: &str) -> Result<()>;
}

/// systemd, by systemctl.
#[derive(Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn runs(&self) -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    fn tell(&mut self, words: &[&str]) -> Result<()> {
        let always = ["--no-ask-password", "--quiet"];
        run("systemctl", &[&always, words].concat())
    }

    fn make_account(&mut self, file: &str) -> Result<()> {
        run("systemd-sysusers", &[file])
    }
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        bail!("{program} {} failed: {said}", words.join(" "));
    }
    Ok(())
}

/// Installs or upgrades: the program, its unit, manual page and completions; then has the
/// unit started now and at every boot.
///
/// # Errors
///
/// A file could not be written, or the service manager refused.
pub fn install(
    pieces: &Pieces<'_>,
    root: &Path,
    manager: &mut dyn ServiceManager,
    out: &mut dyn Write,
) -> Result<()> {
    // From here on the file is read through one descriptor: an upgrade may have removed it.
    let mut executable = File::open(pieces.executable)
        .with_context(|| format!("{}: cannot be read", pieces.executable.display()))?;
    let binary = below(root, BINARY);
    if same_file(&executable, &binary) {
        writeln!(out, "{BINARY} is this program already")?;
    } else {
        put(&binary, 0o755, &mut |file| {
            io::copy(&mut executable, file).map(|_| ())
        })?;
        writeln!(out, "installed {BINARY}")?;
    }
    let unit = (UNIT, UNIT_TEXT.as_bytes());
    let texts = pieces
        .texts
        .iter()
        .map(|(path, text)| (*path, text.as_slice()));
    let account = (ACCOUNT, ACCOUNT_TEXT.as_bytes());
    let polkit = (POLKIT_RULES, POLKIT_TEXT.as_bytes());
    let polkit_is_there = below(root, POLKIT_RULES).parent().is_some_and(Path::is_dir);
    for (path, text) in [unit, account]
        .into_iter()
        .chain(polkit_is_there.then_some(polkit))
        .chain(texts)
    {
        put(&below(root, path), 0o644, &mut |file| file.write_all(text))?;
        writeln!(out, "installed {path}")?;
    }
    folder(&below(root, CONFIG), 0o755)?;

    if !manager.runs() {
        writeln!(
            out,
            "systemd does not run here: {UNIT_NAME} was neither enabled nor started. \
             Have `{BINARY} run` started at boot, before the network"
        )?;
        return Ok(());
    }
    // Before the daemon starts. Without it the watcher takes a number that nobody has.
    if let Err(error) = manager.make_account(ACCOUNT) {
        writeln!(out, "no account of its own for the watcher: {error:#}")?;
    }
    manager.tell(&["daemon-reload"])?;
    manager.tell(&["enable", UNIT_NAME])?;
    // An older daemon may be running: the gate stays closed while it is replaced.
    manager.tell(&["restart", UNIT_NAME])?;
    writeln!(out, "enabled and started {UNIT_NAME}")?;
    Ok(())
}

/// Removes all that [`install`] made, and the gate. Configuration and journal stay unless
/// `purge`. What is not there is passed over, so it can be run again.
///
/// `open_gate` removes the pins, and says whether there were any. It comes after the daemon
/// has been stopped, which would otherwise close the gate again.
///
/// # Errors
///
/// Something could not be removed. Everything else has been tried all the same, but where the
/// gate cannot be opened: then the program stays, because nothing else opens it.
pub fn uninstall(
    root: &Path,
    purge: bool,
    manager: &mut dyn ServiceManager,
    open_gate: &mut dyn FnMut() -> Result<bool>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut tally = Tally {
        out,
        done: 0,
        failed: 0,
    };
    let unit_there = below(root, UNIT).symlink_metadata().is_ok();
    if unit_there && manager.runs() {
        let stopped = manager.tell(&["disable", "--now", UNIT_NAME]);
        tally.note(
            stopped.map(|()| true),
            &format!("stopped and disabled {UNIT_NAME}"),
        )?;
    }
    let was_closed = open_gate().context("nothing was removed")?;
    tally.note(
        Ok(was_closed),
        "opened the gate: mail ports are no longer guarded",
    )?;
    for path in [
        WANTED,
        UNIT,
        ACCOUNT,
        POLKIT_RULES,
        MANPAGE,
        BASH_COMPLETION,
        ZSH_COMPLETION,
        FISH_COMPLETION,
        BINARY,
    ] {
        tally.note(remove_file(&below(root, path)), &format!("removed {path}"))?;
    }
    if unit_there && manager.runs() {
        let reloaded = manager.tell(&["daemon-reload"]);
        tally.note(reloaded.map(|()| false), "")?;
    }
    tally.note(
        remove_folder(&below(root, RUNTIME)),
        &format!("removed {RUNTIME}"),
    )?;
    for path in [CONFIG, STATE] {
        let there = below(root, path);
        if purge {
            tally.note(remove_folder(&there), &format!("removed {path}"))?;
        } else if fs::read_dir(&there).is_ok_and(|mut entries| entries.next().is_some()) {
            writeln!(
                tally.out,
                "kept {path} (remove it with: sekimori uninstall --purge)"
            )?;
        } else {
            tally.note(
                remove_folder(&there),
                &format!("removed {path}, which was empty"),
            )?;
        }
    }
    match (tally.done, tally.failed) {
        (_, 1..) => bail!("{} of the steps above failed", tally.failed),
        (0, _) => writeln!(tally.out, "nothing was installed").map_err(Into::into),
        _ => Ok(()),
    }
}

/// The files that a daemon made in a state folder: journal, registered programs, sockets.
pub fn files_in(state: &Path) -> Vec<PathBuf> {
    const OWN: [&str; 5] = [
        "programs.json",
        "mode",
        "journal.db",
        "control.sock",
        "keeper.sock",
    ];
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // SQLite's own files, what was set aside, and what was not finished.
            OWN.iter().any(|own| {
                name.strip_prefix(own)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
            })
        })
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Tells the service manager that started this process how it stands, such as `READY=1` once
/// the gate is closed. Nothing happens where no service manager asked to be told.
///
/// # Errors
///
/// It asked, but does not listen.
pub fn tell_starter(state: &str) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => send_state(socket.as_bytes(), state),
        None => Ok(()),
    }
}

fn send_state(socket: &[u8], state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(socket)))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(|_| ())
}

/// Counts what an uninstallation did, and says each thing.
struct Tally<'a> {
    out: &'a mut dyn Write,
    done: u32,
    failed: u32,
}

impl Tally<'_> {
    fn note(&mut self, result: Result<bool>, words: &str) -> io::Result<()> {
        match result {
            Ok(true) => {
                self.done += 1;
                writeln!(self.out, "{words}")
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.failed += 1;
                writeln!(
                    self.out,
                    "failed: {}",
                    engine::printable(&format!("{error:#}"))
                )
            }
        }
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => one.ino() == other.ino() && one.dev() == other.dev(),
        _ => false,
    }
}

/// Writes a file so that under its name there is always a whole one, the old or the new.
fn put(path: &Path, mode: u32, fill: &mut dyn FnMut(&mut File) -> io::Result<()>) -> Result<()> {
    let shown = path.display();
    let parent = path
        .parent()
        .with_context(|| format!("{shown}: has no folder"))?;
    folder(parent, 0o755)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        fill(&mut file)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("{shown}: cannot be written"))
}

/// Makes a folder and those above it where they are missing. Those that are there stay as
/// they are.
fn folder(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        folder(parent, 0o755)?;
    }
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("{}: cannot be made", path.display()))
}

fn remove_file(path: &Path) -> Result<bool> {
    removed(fs::remove_file(path), path)
}

fn remove_folder(path: &Path) -> Result<bool> {
    removed(fs::remove_dir_all(path), path)
}

fn removed(result: io::Result<()>, path: &Path) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be removed", path.display())),
    }
}

#[cfg(test)]
mod tests;
