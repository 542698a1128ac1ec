//! Debian packages: which are missing, and installing them without letting a service start.

use std::fs;
use std::io::{IsTerminal, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{process, terminal};

/// What asks Debian's maintainer scripts whether they may start a service.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Starts nothing. Recognised again after an installation that was cut off.
const NO_SERVICES: &str = "#!/bin/sh\n# Left by `cargo xtask`, which removes it: no service is to start while it installs.\nexit 101\n";

/// Packages that one job needs, with the answers to the questions that they ask.
pub struct Packages {
    /// What they are for, as a message says it.
    pub purpose: &'static str,
    /// Their names.
    pub names: &'static [&'static str],
    /// Lines for debconf-set-selections.
    pub answers: &'static str,
    /// Packages that bring a service, and the service, which is not to start with the machine
    /// either.
    pub services: &'static [(&'static str, &'static str)],
}

impl Packages {
    /// Installs what is missing.
    ///
    /// # Errors
    ///
    /// When it takes root, when apt-get is not here, or when it fails. The message holds
    /// the command that is to be run.
    pub fn ensure(&self) -> Result<()> {
        let missing = self.missing()?;
        if missing.is_empty() {
            return Ok(());
        }
        let list = missing.join(" ");
        let command = format!("apt-get install --no-install-recommends {list}");
        if !rustix::process::geteuid().is_root() {
            bail!(
                "packages are missing {}; run as root: {command}",
                self.purpose
            );
        }
        terminal::step(&format!("installing {}: {list}", self.purpose));
        if !self.answers.is_empty() {
            answer(self.answers)?;
        }
        let _guard = NoServices::hold()?;
        process::run(apt_get().arg("update"))?;
        process::run(
            apt_get()
                .args(["install", "--yes", "--no-install-recommends"])
                .args(&missing),
        )
        .with_context(|| format!("packages are missing {}: {command}", self.purpose))?;
        for (package, service) in self.services {
            if missing.contains(package) {
                process::run(Command::new("update-rc.d").args([service, "disable"]))?;
            }
        }
        Ok(())
    }

    fn missing(&self) -> Result<Vec<&'static str>> {
        let mut query = Command::new("dpkg-query");
        query
            .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
            .args(self.names);
        // It fails when one package is not known, and lists the others all the same.
        let output = query.stdin(Stdio::null()).output().with_context(|| {
            format!(
                "dpkg-query cannot be started; packages {} are those of Debian 12",
                self.purpose
            )
        })?;
        let known = String::from_utf8_lossy(&output.stdout);
        let installed: Vec<&str> = known
            .lines()
            .filter_map(|line| line.strip_suffix(" installed"))
            .collect();
        Ok(self
            .names
            .iter()
            .copied()
            .filter(|name| !installed.contains(name))
            .collect())
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    if !stdout().is_terminal() {
        // Hundreds of lines for a log that is read only when something fails.
        command.args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
    }
    command
}

fn answer(answers: &str) -> Result<()> {
    const NAME: &str = "debconf-set-selections";
    let mut child = Command::new(NAME)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("{NAME} cannot be started"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(answers.as_bytes()).context(NAME)?;
    }
    let status = child.wait().context(NAME)?;
    if !status.success() {
        bail!("{NAME} failed: {status}");
    }
    Ok(())
}

/// As long as it lives, installing a package starts no service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn hold() -> Result<Self> {
        match fs::read_to_string(SERVICE_POLICY) {
            Ok(text) if text == NO_SERVICES => return Ok(Self { ours: true }),
            // The machine has a policy of its own, as containers do; it is not ours to change.
            Ok(_) => return Ok(Self { ours: false }),
            Err(_) => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(SERVICE_POLICY)
            .context(SERVICE_POLICY)?;
        file.write_all(NO_SERVICES.as_bytes())
            .context(SERVICE_POLICY)?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Path::new(SERVICE_POLICY))
        {
            eprintln!("warning: {SERVICE_POLICY} cannot be removed: {error}");
        }
    }
}
