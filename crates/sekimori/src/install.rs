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
}

/// systemd, by systemctl.
#[derive(Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn runs(&self) -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    fn tell(&mut self, words: &[&str]) -> Result<()> {
        let output = Command::new("systemctl")
            .args(["--no-ask-password", "--quiet"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("systemctl cannot be started")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', "; ");
            bail!("systemctl {} failed: {said}", words.join(" "));
        }
        Ok(())
    }
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
    for (path, text) in std::iter::once(unit).chain(texts) {
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
/// Something could not be removed. Everything else has been tried all the same.
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
    tally.note(
        open_gate(),
        "opened the gate: mail ports are no longer guarded",
    )?;
    for path in [
        WANTED,
        UNIT,
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
                writeln!(self.out, "failed: {error:#}")
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
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder {
        runs: bool,
        refuses: bool,
        told: Vec<String>,
    }

    impl ServiceManager for Recorder {
        fn runs(&self) -> bool {
            self.runs
        }

        fn tell(&mut self, words: &[&str]) -> Result<()> {
            self.told.push(words.join(" "));
            if self.refuses {
                bail!("systemctl {} failed: no", words.join(" "))
            } else {
                Ok(())
            }
        }
    }

    fn installed(root: &Path, manager: &mut Recorder) -> (Result<()>, String) {
        let executable = root.join("built");
        fs::write(&executable, b"program").unwrap();
        let pieces = Pieces {
            executable: &executable,
            texts: vec![(MANPAGE, b"manual".to_vec())],
        };
        let mut out = Vec::new();
        let result = install(&pieces, root, manager, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    fn uninstalled(
        root: &Path,
        purge: bool,
        manager: &mut Recorder,
        pins: bool,
    ) -> (Result<()>, String) {
        let mut out = Vec::new();
        let result = uninstall(root, purge, manager, &mut || Ok(pins), &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn without_systemd_it_says_what_it_did_not_do() {
        let folder = tempfile::tempdir().unwrap();
        let (result, said) = installed(folder.path(), &mut Recorder::default());
        result.unwrap();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "installed /usr/local/sbin/sekimori",
                "installed /etc/systemd/system/sekimori.service",
                "installed /usr/local/share/man/man1/sekimori.1",
                "systemd does not run here: sekimori.service was neither enabled nor started. \
                 Have `/usr/local/sbin/sekimori run` started at boot, before the network",
            ]
        );
        let binary = below(folder.path(), BINARY);
        assert_eq!(fs::read(&binary).unwrap(), b"program");
        assert_eq!(fs::metadata(&binary).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(
            fs::metadata(below(folder.path(), UNIT)).unwrap().mode() & 0o7777,
            0o644
        );
        assert_eq!(
            fs::read_dir(binary.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn with_systemd_the_unit_is_enabled_and_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let mut manager = Recorder {
            runs: true,
            ..Recorder::default()
        };
        installed(folder.path(), &mut manager).0.unwrap();
        let expected = [
            "daemon-reload",
            "enable sekimori.service",
            "restart sekimori.service",
        ];
        assert_eq!(manager.told, expected);
        installed(folder.path(), &mut manager).0.unwrap();
        let pieces = Pieces {
            executable: &below(folder.path(), BINARY),
            texts: Vec::new(),
        };
        let mut out = Vec::new();
        install(&pieces, folder.path(), &mut manager, &mut out).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .starts_with("/usr/local/sbin/sekimori is this program already\n")
        );
        assert_eq!(fs::read(below(folder.path(), BINARY)).unwrap(), b"program");
    }

    #[test]
    fn uninstalling_undoes_it_and_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut manager = Recorder {
            runs: true,
            ..Recorder::default()
        };
        installed(root, &mut manager).0.unwrap();
        fs::create_dir_all(below(root, STATE)).unwrap();
        fs::write(below(root, STATE).join("journal.db"), "x").unwrap();
        manager.told.clear();

        let (result, said) = uninstalled(root, false, &mut manager, true);
        result.unwrap();
        assert_eq!(
            manager.told,
            ["disable --now sekimori.service", "daemon-reload"]
        );
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "stopped and disabled sekimori.service",
                "opened the gate: mail ports are no longer guarded",
                "removed /etc/systemd/system/sekimori.service",
                "removed /usr/local/share/man/man1/sekimori.1",
                "removed /usr/local/sbin/sekimori",
                "removed /etc/sekimori, which was empty",
                "kept /var/lib/sekimori (remove it with: sekimori uninstall --purge)",
            ]
        );

        manager.told.clear();
        let (result, said) = uninstalled(root, true, &mut manager, false);
        result.unwrap();
        assert_eq!(said, "removed /var/lib/sekimori\n");
        let (result, said) = uninstalled(root, true, &mut manager, false);
        result.unwrap();
        assert_eq!(
            (said.as_str(), manager.told.len()),
            ("nothing was installed\n", 0)
        );
    }

    #[test]
    fn one_failure_does_not_stop_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let mut manager = Recorder::default();
        installed(folder.path(), &mut manager).0.unwrap();
        manager.runs = true;
        manager.refuses = true;
        let (result, said) = uninstalled(folder.path(), false, &mut manager, true);
        assert_eq!(
            result.unwrap_err().to_string(),
            "2 of the steps above failed"
        );
        assert!(said.starts_with("failed: systemctl disable --now sekimori.service failed: no\n"));
        assert!(!below(folder.path(), BINARY).exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(below(folder.path(), BINARY)).unwrap();
        let (result, _) = installed(folder.path(), &mut Recorder::default());
        assert!(
            format!("{:#}", result.unwrap_err())
                .contains("/usr/local/sbin/sekimori: cannot be written")
        );
    }

    #[test]
    fn the_starter_is_told_under_both_kinds_of_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send_state(path.as_os_str().as_bytes(), "READY=1").unwrap();
        let name = format!("sekimori-test-{}", std::process::id());
        let hidden =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send_state(format!("@{name}").as_bytes(), "READY=1").unwrap();
        for socket in [socket, hidden] {
            let mut bytes = [0; 16];
            assert_eq!(socket.recv(&mut bytes).unwrap(), 7);
            assert_eq!(&bytes[..7], b"READY=1");
        }
        assert!(send_state(b"/no/such/socket", "READY=1").is_err());
    }

    /// All values of a key in the unit, in its section.
    fn values<'a>(section: &str, key: &str) -> Vec<&'a str> {
        let mut here = "";
        let mut values = Vec::new();
        for line in UNIT_TEXT.lines() {
            if line.starts_with('[') {
                here = line.trim_matches(['[', ']']);
            } else if let Some((name, value)) = line.split_once('=')
                && (here, name) == (section, key)
            {
                values.extend(value.split_whitespace());
            }
        }
        values
    }

    /// Network managers wait for `network-pre.target`, everything else for `sysinit.target`
    /// (bootup(7), systemd.special(7)), and both wait until the gate is closed.
    #[test]
    fn the_unit_comes_before_the_network_and_before_every_login() {
        let before = values("Unit", "Before");
        for target in ["sysinit.target", "network-pre.target", "shutdown.target"] {
            assert!(before.contains(&target), "{before:?}");
        }
        // Nobody starts this target but who wants it.
        assert!(values("Unit", "Wants").contains(&"network-pre.target"));
        assert_eq!(values("Install", "WantedBy"), ["sysinit.target"]);
        // It waits for the word of the daemon, not for its start.
        assert_eq!(values("Service", "Type"), ["notify"]);
        assert_eq!(values("Service", "Restart"), ["always"]);
        assert_eq!(values("Unit", "StartLimitIntervalSec"), ["0"]);
    }

    /// What it waits for itself comes first of all: anything later would be a cycle, which
    /// systemd breaks by leaving a unit out.
    #[test]
    fn the_unit_waits_for_nothing_that_waits_for_it() {
        assert_eq!(values("Unit", "DefaultDependencies"), ["no"]);
        let early = ["local-fs.target", "sys-kernel-tracing.mount"];
        for key in ["After", "Requires", "BindsTo", "Requisite"] {
            let late: Vec<_> = values("Unit", key)
                .into_iter()
                .filter(|unit| !early.contains(unit))
                .collect();
            assert!(late.is_empty(), "{key}: {late:?}");
        }
        // Mounts of these are part of local-fs.target, or of the root.
        for path in values("Unit", "RequiresMountsFor") {
            let near = ["/usr", "/var", "/etc"];
            assert!(near.iter().any(|top| path.starts_with(top)), "{path}");
        }
    }

    #[test]
    fn systemd_reads_the_unit_as_it_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join(UNIT_NAME);
        // Where the program is not installed, that would be its complaint.
        let text = UNIT_TEXT.replace(BINARY, "/bin/true");
        fs::write(&unit, text).unwrap();
        let ran = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&unit)
            .stdin(Stdio::null())
            .output();
        let Ok(output) = ran else {
            println!("skipped: systemd-analyze is not here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let about_it: Vec<_> = said
            .lines()
            .filter(|line| line.contains("sekimori"))
            .collect();
        assert!(
            output.status.success() && about_it.is_empty(),
            "{about_it:?}"
        );
    }

    #[test]
    fn the_unit_starts_the_installed_program() {
        assert!(UNIT_TEXT.contains(&format!("ExecStart={BINARY} run\n")));
        assert!(
            UNIT_TEXT
                .lines()
                .all(|line| !line.starts_with("ProtectKernelTunables"))
        );
    }
}
