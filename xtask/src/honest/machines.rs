//! The machines, as data says them, and their disks: one base for all, packages on top.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{guest, process};

const MACHINES: &str = include_str!("../../data/honest/machines.toml");
const IMAGE: &str = include_str!("../../data/honest/image.sh");
const COMMON: &str = include_str!("../../data/honest/common.sh");
const DESKTOP: &str = include_str!("../../data/honest/desktop.sh");

/// Debian's release that all machines run.
pub const RELEASE: &str = "bookworm";

/// What every machine has beside Debian's essential packages.
const BASE: &str = "systemd-sysv,dbus,udev,kmod,zstd,iproute2,initramfs-tools,linux-image-amd64,\
    ca-certificates,debconf-utils,apt-utils,cron,openssh-server,sudo,less,procps,passwd,login,\
    libpam-systemd,polkitd,pkexec,rsyslog,ifupdown";
/// What no row needs, and many of the bytes.
const LEFT_OUT: [&str; 7] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/lib/modules/*/kernel/sound/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
];

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What `--only` takes.
    pub name: String,
    /// Its heading in the page.
    pub title: String,
    /// A word that stands for each machine of the group.
    pub group: String,
    packages: Vec<String>,
    #[serde(default)]
    answers: String,
    #[serde(default)]
    prepare: String,
    /// Whether it has a graphical session.
    #[serde(default)]
    pub desktop: bool,
    #[serde(default)]
    session: String,
    #[serde(default = "small")]
    size: String,
}

fn small() -> String {
    "3G".to_owned()
}

#[derive(Deserialize)]
struct File {
    machine: Vec<Machine>,
}

/// All machines, in the order of the page.
///
/// # Errors
///
/// When the data cannot be read.
pub fn machines() -> Result<Vec<Machine>> {
    let file: File = toml::from_str(MACHINES).context("xtask/data/honest/machines.toml")?;
    Ok(file.machine)
}

/// A disk that no run changes, and what QEMU boots it with.
pub struct Disk {
    /// The disk, raw.
    pub disk: PathBuf,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
    key: PathBuf,
}

impl Disk {
    fn of(machine: &Machine, folder: &Path) -> Self {
        let file = |end: &str| folder.join(format!("{}.{end}", machine.name));
        Self {
            disk: file("ext4"),
            kernel: file("vmlinuz"),
            initrd: file("initrd"),
            key: file("key"),
        }
    }

    /// Frees its room.
    pub fn remove(&self) {
        for path in [&self.key, &self.disk, &self.kernel, &self.initrd] {
            let _ = fs::remove_file(path);
        }
    }
}

impl Machine {
    /// The script that root runs in its files.
    fn script(&self) -> String {
        let desktop = if self.desktop { DESKTOP } else { "" };
        let desktop = desktop.replace("@SESSION@", &self.session);
        format!("{COMMON}\n{desktop}\n{}", self.prepare)
    }

    /// What its disk depends on. Another text, another disk.
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for text in [BASE, IMAGE, &self.script(), &self.answers, &self.size] {
            hash.update(text);
            hash.update([0]);
        }
        hash.update(self.packages.join(" "));
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Its disk, made anew where the one in the folder is not what the data says.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn disk(&self, folder: &Path) -> Result<Disk> {
        let disk = Disk::of(self, folder);
        let key = self.key();
        if fs::read_to_string(&disk.key).is_ok_and(|known| known == key) {
            return Ok(disk);
        }
        disk.remove();
        let base = base(folder)?;
        super::say(&format!("{}: installing its packages", self.name));
        let root = folder.join("image-root");
        clear(&root)?;
        process::run(Command::new("cp").arg("--archive").arg(&base).arg(&root))?;
        let parts = folder.join("image-parts");
        fs::create_dir_all(&parts)?;
        let part = |name: &str, text: &str| -> Result<PathBuf> {
            let path = parts.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        let mut command = Command::new("nice");
        command
            .args(["unshare", "--mount", "--propagation", "private", "sh"])
            .arg(part("image.sh", IMAGE)?)
            .arg(&root)
            .arg(part("packages", &self.packages.join(" "))?)
            .arg(part("answers", &self.answers)?)
            .arg(part("script", &self.script())?);
        run_quietly(
            &mut command,
            &folder.join(format!("{}.image.log", self.name)),
        )?;
        guest::put(&guest::boot_file(&root, "vmlinuz-")?, &disk.kernel)?;
        guest::put(&guest::boot_file(&root, "initrd.img-")?, &disk.initrd)?;
        guest::disk(&root, &disk.disk, &self.size)?;
        clear(&root)?;
        fs::write(&disk.key, key)?;
        Ok(disk)
    }
}

/// The files that all machines share. Kept for the next one.
fn base(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("base-root");
    let whole = folder.join("base-root-is-whole");
    if fs::read_to_string(&whole).is_ok_and(|known| known == BASE) {
        return Ok(root);
    }
    super::say("making a Debian for the machines");
    clear(&root)?;
    let mirror = guest::mirror()?;
    let mirror = mirror.trim_end_matches('/');
    let mut command = Command::new("nice");
    command
        .args(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={BASE}"))
        .args(LEFT_OUT.map(|what| format!("--dpkgopt=path-exclude={what}")))
        .arg(RELEASE)
        .arg(&root)
        .arg(format!("deb {mirror} {RELEASE} main"))
        .arg(format!("deb {mirror}-security {RELEASE}-security main"));
    run_quietly(&mut command, &folder.join("base.log"))?;
    fs::write(&whole, BASE)?;
    Ok(root)
}

/// Removes a folder of the work folder that may not be there.
fn clear(root: &Path) -> Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| root.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Runs a program whose hundreds of lines matter only when it fails.
fn run_quietly(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log).with_context(|| log.display().to_string())?;
    command.stdout(file.try_clone()?).stderr(file);
    process::run(command).with_context(|| format!("see {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_can_be_read_and_names_are_unique() {
        let machines = machines().unwrap();
        let mut names: Vec<_> = machines.iter().map(|machine| &machine.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), machines.len());
        for machine in &machines {
            assert!(
                ["server", "desktop"].contains(&&*machine.group),
                "{}",
                machine.name
            );
            assert_eq!(
                machine.desktop,
                !machine.session.is_empty(),
                "{}",
                machine.name
            );
        }
    }

    #[test]
    fn another_configuration_is_another_disk() {
        let machine = machines().unwrap().remove(0);
        let mut changed = machine.clone();
        changed.prepare.push_str("true\n");
        assert_eq!(machine.key(), machine.clone().key());
        assert_ne!(machine.key(), changed.key());
    }
}
