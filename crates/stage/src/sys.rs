//! The unsafe calls of the sandbox's own side, each behind a safe function.
//!
//! What the stand-in programs do to the system is in [`crate::player`], not here.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::Gid;
use rustix::process::{Pid, Uid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::wire::Order;

/// Gives the calling process mount and network namespaces of its own.
pub(crate) fn unshare_mount_and_network() -> io::Result<()> {
    // SAFETY: neither flag separates descriptor tables, which is what makes unshare unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Makes `command` lead a session of its own from before its exec on, out of the reach of
/// Ctrl-C and of a closing terminal.
pub(crate) fn session_before_exec(command: &mut Command) {
    // SAFETY: the closure makes one system call and touches no memory.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from)) };
}

/// Gives the signals of a terminal their usual effect, which is inherited by programs.
pub(crate) fn restore_signals() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ] {
        // SAFETY: the default disposition runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// The namespaces of a sandbox, held open.
#[derive(Debug)]
pub(crate) struct Namespaces {
    mount: OwnedFd,
    network: OwnedFd,
}

impl Namespaces {
    /// Opens the namespaces of a process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let open =
            |name: &str| std::fs::File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from);
        Ok(Self {
            mount: open("mnt")?,
            network: open("net")?,
        })
    }

    /// Moves the calling thread, and only it, into the namespaces. The thread must be one
    /// that ends soon: it does not come back, and its working directory becomes `/`.
    pub(crate) fn enter_with_thread(&self) -> io::Result<()> {
        // A thread that shares its working directory with others may not change its mounts.
        // SAFETY: FS does not separate descriptor tables.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        self.enter()
    }

    fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?;
        move_into_link_name_space(self.mount.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(())
    }
}

/// Makes `command` enter the namespaces and a cgroup before its exec, and take on a user
/// afterwards. Keeps the working directory by name.
pub(crate) fn enter_before_exec(
    command: &mut Command,
    namespaces: Arc<Namespaces>,
    cgroup_procs: &Path,
    user: Option<(u32, u32)>,
) -> io::Result<()> {
    let procs = OpenOptions::new().write(true).open(cgroup_procs)?;
    let mut directory = Vec::with_capacity(libc::PATH_MAX as usize);
    let enter = move || {
        rustix::io::write(&procs, b"0")?;
        let here = rustix::process::getcwd(std::mem::take(&mut directory))?;
        namespaces.enter()?;
        rustix::process::chdir(here)?;
        take_on(user)
    };
    // SAFETY: between fork and exec the closure makes system calls on what it owns. It
    // takes no lock, and its one buffer was allocated before.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

/// Forks and execs what `order` says, with the three descriptors as standard ones.
/// The caller waits for the process itself.
pub(crate) fn spawn(order: &Order, descriptors: &[OwnedFd]) -> io::Result<Pid> {
    let [program, arguments @ ..] = order.argv.as_slice() else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let [input, output, errors] = descriptors else {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    };
    let procs = match &order.cgroup_procs {
        Some(path) => Some(OpenOptions::new().write(true).open(path)?),
        None => None,
    };
    let mut command = Command::new(PathBuf::from(program));
    command
        .arg0(order.arg0.as_ref().unwrap_or(program))
        .args(arguments)
        .env_clear()
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.directory)
        .stdin(Stdio::from(input.try_clone()?))
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(errors.try_clone()?));
    let (session, terminal, user) = (order.session, order.terminal, order.user);
    let prepare = move || {
        if let Some(procs) = &procs {
            rustix::io::write(procs, b"0")?;
        }
        if session {
            rustix::process::setsid()?;
        }
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        take_on(user)
    };
    // SAFETY: the process has one thread and the closure only makes system calls.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id() as i32).expect("a child has a pid"))
}

/// Takes on a user and group for good, and no other groups. Only between fork and exec,
/// where there is a single thread.
fn take_on(user: Option<(u32, u32)>) -> io::Result<()> {
    let Some((uid, gid)) = user else {
        return Ok(());
    };
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_gid(Gid::from_raw(gid))?;
    rustix::thread::set_thread_uid(Uid::from_raw(uid))?;
    Ok(())
}

/// A name for threads of this process, cut to what the kernel keeps.
pub(crate) fn name_thread(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}
