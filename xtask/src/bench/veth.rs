//! A veth pair between the sandbox's network namespace and another one, which exists as long
//! as the worker that made it. What listens there counts as another machine: it is in no
//! guarded cgroup.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{process, thread};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::os::fd::{AsFd, AsRawFd};

use super::work;

// Addresses for documentation (RFC 5737).
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const FAR_INTERFACE: &str = "bench-far";

/// The pair.
pub struct Veth {
    /// Keeps the far namespace.
    far: File,
    guarded: PathBuf,
    unguarded: PathBuf,
}

impl Veth {
    /// Its end in the sandbox.
    pub const INTERFACE: &str = "bench-near";

    /// Makes the pair. The process is in the cgroup `guarded`.
    pub fn make(guarded: PathBuf, unguarded: PathBuf) -> Result<Self> {
        let far = thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<File> {
                // SAFETY: a new network namespace for this thread only, which ends at once.
                unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a network namespace")?;
                File::open("/proc/thread-self/ns/net").context("its file")
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let namespace = format!("/proc/{}/fd/{}", process::id(), far.as_raw_fd());
        ip(&format!(
            "link add {} type veth peer name {FAR_INTERFACE} netns {namespace}",
            Self::INTERFACE
        ))?;
        ip(&format!("address add {NEAR}/24 dev {}", Self::INTERFACE))?;
        ip(&format!("link set {} up", Self::INTERFACE))?;
        let veth = Self {
            far,
            guarded,
            unguarded,
        };
        veth.at_far_end(|| {
            ip(&format!("address add {FAR}/24 dev {FAR_INTERFACE}"))?;
            ip(&format!("link set {FAR_INTERFACE} up"))
        })?;
        Ok(veth)
    }

    /// Two connected sockets, one in each namespace.
    pub fn connected_pair(&self) -> Result<[TcpStream; 2]> {
        // A socket belongs to the cgroup in which it was made, and what it accepts too.
        join(&self.unguarded)?;
        let listener =
            self.at_far_end(|| TcpListener::bind((FAR, 0)).context("listen at the far end"));
        join(&self.guarded)?;
        let listener = listener?;
        work::connected(&listener)
    }

    fn at_far_end<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.far.as_fd(), Some(LinkNameSpaceType::Network))
                    .context("enter the far namespace")?;
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn join(cgroup: &Path) -> Result<()> {
    let file = cgroup.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| file.display().to_string())
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .context("ip (Debian package iproute2)")?;
    if !output.status.success() {
        bail!(
            "ip {words}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
