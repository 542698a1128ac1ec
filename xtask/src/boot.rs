//! `boot`: Debian under QEMU, with the unit that `sekimori install` writes and a real systemd.
//! No packet to a mail port leaves the machine before the gate is closed, nor later; and what
//! no other machine lets a test do to it is done there: its clock, its state folder, its pins.
//!
//! It takes some minutes, because nothing is assumed about the processor, so CI does not run
//! it. It runs a kernel of Debian's, not this machine's.

mod judge;
mod packets;
mod rogue;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::guest::{self, joined, mirror, put};
use crate::packages::Packages;
use crate::workspace::Workspace;
use crate::{process, terminal};

const PACKAGES: Packages = Packages {
    purpose: "for the boot",
    names: &["e2fsprogs", "mmdebstrap", "qemu-system-x86"],
    answers: "",
    services: &[],
};

/// What is in the guest beside Debian's essential packages.
const INSTALLED: &str =
    "systemd-sysv,dbus,polkitd,pkexec,iproute2,nftables,initramfs-tools,udev,kmod,zstd";
/// What no boot needs, and most of the bytes.
const LEFT_OUT: [&str; 5] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/*",
    "/usr/lib/modules/*/kernel/sound/*",
];

/// Three boots.
const LIMIT: Duration = Duration::from_secs(1500);

/// How to boot.
#[derive(Args)]
pub struct Options {
    /// Debian's release, whose kernel is booted
    #[arg(long, default_value = "trixie")]
    release: String,
    /// Take the kernel from the release's backports
    #[arg(long)]
    backports: bool,
    /// Take the kernel from another release, an older one such as bullseye
    #[arg(long, value_name = "RELEASE", conflicts_with = "backports")]
    kernel_of: Option<String>,
    /// Make the guest's Debian anew
    #[arg(long)]
    fresh: bool,
    /// Judge what the last run left, and run nothing
    #[arg(long)]
    judge_only: bool,
}

impl Options {
    /// The suite that the kernel comes from.
    fn suite(&self) -> String {
        match &self.kernel_of {
            Some(release) => release.clone(),
            None if self.backports => format!("{}-backports", self.release),
            None => self.release.clone(),
        }
    }

    /// Where the guest and what is known of it are kept.
    fn folder(&self) -> String {
        match &self.kernel_of {
            Some(kernel) => format!("{}-with-{kernel}", self.release),
            None => self.suite(),
        }
    }
}

/// Files in the guest.
const FILES: [(&str, &str); 6] = [
    // An emulated processor takes ten times as long.
    (
        "etc/systemd/system/sekimori.service.d/slow.conf",
        "[Service]\nTimeoutStartSec=300\n",
    ),
    (
        "etc/systemd/system/conduct.service",
        "[Unit]\nDescription=What the test does\n[Service]\nType=exec\nExecStart=/root/conduct.sh\n[Install]\nWantedBy=multi-user.target\n",
    ),
    // The earliest that a service can be: it waits for nothing. Only root can plant it.
    (
        "etc/systemd/system/rogue-early.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/local/bin/xtask boot-part rogue /run/rogue-early\n[Install]\nWantedBy=sysinit.target\n",
    ),
    // What is started by cron, by a login, by any service that is not part of the start itself.
    (
        "etc/systemd/system/rogue-service.service",
        "[Service]\nExecStart=/usr/local/bin/xtask boot-part rogue /run/rogue-service\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "etc/systemd/network/80-dhcp.network",
        "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n",
    ),
    ("root/conduct.sh", include_str!("boot/conduct.sh")),
];

/// The job.
///
/// # Errors
///
/// When it cannot be run, or something left that must not, or anything else went wrong.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target("boot").join(options.folder());
    let recorded = Recorded {
        report: folder.join("report.txt"),
        console: folder.join("console.txt"),
        packets: folder.join("packets.pcap"),
    };
    if !options.judge_only {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: making the guest's disk needs root");
            return Ok(());
        }
        PACKAGES.ensure()?;
        fs::create_dir_all(&folder)?;
        let root = debian(&folder, options)?;
        let disk = disk(workspace, &folder, &root)?;
        boot(&root, &disk, &recorded)?;
    }
    let report = fs::read(&recorded.report).context("the report")?;
    let pcap = fs::read(&recorded.packets).context("the recording")?;
    let seen = packets::count(&pcap)?;
    let judged = judge::judge(&String::from_utf8_lossy(&report), &seen);
    println!("{}", judged.text);
    if judged.failed > 0 {
        bail!(
            "{} of these did not hold; see {} and {}",
            judged.failed,
            workspace.shown(&recorded.report),
            workspace.shown(&recorded.console)
        );
    }
    Ok(())
}

/// What a run leaves behind.
struct Recorded {
    report: PathBuf,
    console: PathBuf,
    packets: PathBuf,
}

/// The guest's files, as Debian makes them. Kept for the next run.
fn debian(folder: &Path, options: &Options) -> Result<PathBuf> {
    let root = folder.join("root");
    let whole = folder.join("root-is-whole");
    if options.fresh || !whole.exists() {
        terminal::step("making a Debian for the guest");
        for old in [&root, &whole] {
            let _ = fs::remove_dir_all(old);
            let _ = fs::remove_file(old);
        }
        let mirror = mirror()?;
        let mut command = Command::new("mmdebstrap");
        command
            .args(["--quiet", "--mode=root", "--variant=minbase"])
            .arg(format!(
                "--include={INSTALLED},linux-image-amd64/{}",
                options.suite()
            ))
            .args(LEFT_OUT.map(|what| format!("--dpkgopt=path-exclude={what}")))
            .arg(&options.release)
            .arg(&root)
            .arg(&mirror);
        if options.suite() != options.release {
            command.arg(format!("deb {mirror} {} main", options.suite()));
        }
        process::run(&mut command)?;
        fs::write(&whole, "")?;
    }
    Ok(root)
}

/// A disk with the guest's files and what is built here.
fn disk(workspace: &Workspace, folder: &Path, root: &Path) -> Result<PathBuf> {
    terminal::step("making the guest's disk");
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--quiet", "--release", "--package", "sekimori"]))?;
    put(
        &workspace.target("release/sekimori"),
        &root.join("root/sekimori"),
    )?;
    put(&std::env::current_exe()?, &root.join("usr/local/bin/xtask"))?;
    for (name, text) in FILES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, text).with_context(|| name.to_owned())?;
    }
    let script = root.join("root/conduct.sh");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    let wanted = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    for unit in [
        "/etc/systemd/system/conduct.service",
        "/lib/systemd/system/systemd-networkd.service",
    ] {
        let name = Path::new(unit).file_name().unwrap_or_default();
        let _ = fs::remove_file(wanted.join(name));
        symlink(unit, wanted.join(name))?;
    }
    fs::write(root.join("etc/hostname"), "guest\n")?;
    fs::write(
        root.join("etc/machine-id"),
        "11111111111111111111111111111111\n",
    )?;
    let disk = folder.join("disk.ext4");
    guest::disk(root, &disk, "1500M")?;
    Ok(disk)
}

/// Lets the guest run until it turns itself off.
fn boot(root: &Path, disk: &Path, recorded: &Recorded) -> Result<()> {
    terminal::step("booting three times");
    let began = Instant::now();
    let mut qemu = guest::qemu("max", 1024);
    qemu.arg("-kernel")
        .arg(guest::boot_file(root, "vmlinuz-")?)
        .arg("-initrd")
        .arg(guest::boot_file(root, "initrd.img-")?)
        .args([
            "-append",
            "root=/dev/vda rw console=ttyS0 panic=-1 systemd.getty_auto=0 systemd.show_status=1",
        ])
        .arg("-drive")
        .arg(joined("file=", disk, ",format=raw,if=virtio,cache=unsafe"))
        // Whatever the guest sends stays in QEMU.
        .args([
            "-netdev",
            "user,id=net,restrict=on",
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
        ])
        .arg("-object")
        .arg(joined(
            "filter-dump,id=dump,netdev=net,file=",
            &recorded.packets,
            "",
        ))
        .arg("-serial")
        .arg(joined("file:", &recorded.console, ""))
        .arg("-serial")
        .arg(joined("file:", &recorded.report, ""));
    let Some(status) = process::run_within(&mut qemu, LIMIT)? else {
        bail!("the guest did not turn itself off within {LIMIT:?}");
    };
    println!(
        "the guest ended after {} s: {status}",
        began.elapsed().as_secs()
    );
    Ok(())
}

/// A process in the guest.
///
/// # Errors
///
/// When it is told something unknown, or has to end.
pub fn part(arguments: &[OsString]) -> Result<()> {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        ["rogue", notes] => rogue::run(Path::new(notes)),
        ["once"] => {
            println!("once: {}", rogue::once());
            Ok(())
        }
        ["mark", "open"] => rogue::mark(rogue::MARK_OPEN),
        ["mark", "closed"] => rogue::mark(rogue::MARK_CLOSED),
        _ => bail!("a part of the boot: {words:?}"),
    }
}
