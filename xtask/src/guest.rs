//! Virtual machines: a folder with a Debian becomes a disk, and QEMU boots it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Where this machine takes its own packages from.
///
/// # Errors
///
/// When no mirror of Debian is among this machine's sources of packages.
pub fn mirror() -> Result<String> {
    let mut command = Command::new("apt-get");
    let command = command.args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]);
    let all = process::output(command)?;
    all.lines()
        .find(|line| line.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
        .context("no mirror of Debian is among this machine's sources of packages")
}

/// A disk with the files of a folder. It is sparse: what is free in it takes no room.
///
/// # Errors
///
/// When mke2fs cannot make it.
pub fn disk(root: &Path, disk: &Path, size: &str) -> Result<()> {
    let _ = fs::remove_file(disk);
    process::run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(root)
            .arg(disk)
            .arg(size),
    )
}

/// The kernel or the initrd of a Debian in a folder.
///
/// # Errors
///
/// When no file in its /boot begins so.
pub fn boot_file(root: &Path, begin: &str) -> Result<PathBuf> {
    let files = fs::read_dir(root.join("boot"))?.flatten();
    files
        .map(|file| file.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(begin))
        })
        .with_context(|| format!("no {begin}… in the guest's /boot"))
}

/// QEMU with an emulated processor: nothing is assumed about this machine's.
pub fn qemu(processor: &str, megabytes: u32) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "pc", "-accel", "tcg,thread=multi"])
        .args(["-cpu", processor, "-smp", "2", "-m", &megabytes.to_string()])
        .args(["-display", "none", "-monitor", "none", "-nodefaults"]);
    qemu
}

/// A path within an argument.
pub fn joined(before: &str, path: &Path, after: &str) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text.push(after);
    text
}

/// Copies one file.
///
/// # Errors
///
/// When it cannot be copied. The message names it.
pub fn put(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}
