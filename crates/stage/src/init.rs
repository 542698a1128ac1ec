//! The init of a sandbox: the topmost process in its namespaces and its cgroup.
//!
//! It starts programs as its own children when the owner asks, reports how they end, and
//! takes in orphans. It has one thread and does nothing else, so that a lineage that begins
//! at it is plain to see.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, pidfd_open,
    wait,
};
use rustix::pty::{OpenptFlags, openpt};

use crate::wire::{Exit, Order, Reply, Request, SetUp, receive, send};
use crate::{guard, network, sys};

/// Orphans have no descriptor to wait on; they are taken in at least this often.
const REAP_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Settings of the network namespace, below `/proc/sys/net/ipv4`. They take away what would
/// stop some attempts here for reasons that don't hold on a real network.
const KERNEL_SETTINGS: [(&str, &str); 5] = [
    // For clients and servers, without cookies and without a socket option.
    ("tcp_fastopen", "1543"),
    // Packets made by hand come from the loopback interface with its own addresses.
    ("conf/all/accept_local", "1"),
    ("conf/lo/accept_local", "1"),
    ("conf/all/route_localnet", "1"),
    ("conf/lo/route_localnet", "1"),
];

/// The entry point of the sandbox's own processes. `args` (without the program's name) is
/// `init`, or `guard CGROUP FOLDER`. A program that serves it as a subcommand passes on
/// what follows the subcommand; see [`crate::Sandbox::new`].
pub fn init_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    match args.next().as_deref().and_then(|word| word.to_str()) {
        Some("init") => Init::run(),
        Some("guard") => guard::main(args),
        _ => {
            eprintln!("stage-init is started by a sandbox, not by hand");
            ExitCode::from(2)
        }
    }
}

struct Child {
    ticket: u64,
    pid: Pid,
    /// Readable when the process has ended.
    pidfd: OwnedFd,
}

struct Init {
    socket: OwnedFd,
    children: Vec<Child>,
    /// The other end of a terminal, held as by a console or a server of logins that shows one to a person. The
    /// gate asks for it where somebody logs in by one.
    _console: Option<OwnedFd>,
}

impl Init {
    fn run() -> ExitCode {
        let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3) else {
            return ExitCode::FAILURE;
        };
        let mut init = Self {
            socket,
            children: Vec::new(),
            _console: openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok(),
        };
        match receive::<Request>(&init.socket) {
            Ok(Some((Request::SetUp(wishes), _))) => match set_up(&wishes) {
                Ok(()) => init.reply(&Reply::Ready),
                Err((what, error)) => {
                    init.reply(&failed(0, what, &error));
                    return ExitCode::FAILURE;
                }
            },
            _ => return ExitCode::FAILURE,
        }
        init.serve()
    }

    fn serve(&mut self) -> ExitCode {
        loop {
            let asked = {
                let mut polled: Vec<PollFd<'_>> = vec![PollFd::new(&self.socket, PollFlags::IN)];
                polled.extend(
                    self.children
                        .iter()
                        .map(|child| PollFd::new(&child.pidfd, PollFlags::IN)),
                );
                match poll(&mut polled, Some(&REAP_EVERY)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return ExitCode::FAILURE,
                }
                !polled[0].revents().is_empty()
            };
            self.reap();
            if asked {
                match receive::<Request>(&self.socket) {
                    Ok(Some((request, descriptors))) => self.answer(request, descriptors),
                    // The owner is gone; the guard ends whatever still runs.
                    _ => return ExitCode::SUCCESS,
                }
            }
        }
    }

    fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        let reply = match request {
            Request::SetUp(_) => return,
            Request::Start { ticket, order } => match start(&order, descriptors) {
                Ok((pid, pidfd)) => {
                    self.children.push(Child { ticket, pid, pidfd });
                    Reply::Started {
                        ticket,
                        pid: pid.as_raw_nonzero().get() as u32,
                    }
                }
                Err(error) => failed(ticket, format!("start {:?}", order.argv.first()), &error),
            },
            Request::Signal {
                ticket,
                target,
                signal,
                group,
            } => match self.signal(target, signal, group) {
                Ok(()) => Reply::Done { ticket },
                Err(error) => failed(ticket, format!("send signal {signal}"), &error),
            },
            Request::Copy { ticket, from, to } => match copy(&from, &to) {
                Ok(()) => Reply::Done { ticket },
                Err(error) => failed(
                    ticket,
                    format!("copy {} to {}", from.display(), to.display()),
                    &error,
                ),
            },
        };
        self.reply(&reply);
    }

    fn signal(&self, target: u64, signal: i32, group: bool) -> io::Result<()> {
        let child = self.children.iter().find(|child| child.ticket == target);
        let pid = child.ok_or(rustix::io::Errno::SRCH)?.pid;
        let signal = Signal::from_named_raw(signal).ok_or(rustix::io::Errno::INVAL)?;
        Ok(if group {
            kill_process_group(pid, signal)
        } else {
            kill_process(pid, signal)
        }?)
    }

    /// Takes in every process that has ended, orphans included.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(exit) = exit_of(status) else {
                continue;
            };
            if let Some(index) = self.children.iter().position(|child| child.pid == pid) {
                let ticket = self.children.swap_remove(index).ticket;
                self.reply(&Reply::Exited { ticket, exit });
            }
        }
    }

    fn reply(&self, reply: &Reply) {
        // An owner that does not listen any more is noticed by the next receive.
        let _ = send(self.socket.as_fd(), reply, &[]);
    }
}

fn failed(ticket: u64, what: impl Into<String>, error: &io::Error) -> Reply {
    Reply::Failed {
        ticket,
        what: what.into(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (None, None) => None,
        (code, signal) => Some(Exit { code, signal }),
    }
}

/// Makes the namespaces and what is mounted in them. On failure says at which step.
fn set_up(wishes: &SetUp) -> Result<(), (String, io::Error)> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (what, error)
    };
    // What the owner's shell made it ignore must not be passed on to every program.
    sys::restore_signals();
    let _ = rustix::thread::set_name(c"stage-init");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(io::Error::from)
        .map_err(step("become the reaper of orphans"))?;
    fs::write(&wishes.cgroup_procs, "0").map_err(step("join the cgroup"))?;
    sys::unshare_mount_and_network().map_err(step("make mount and network namespaces"))?;
    // Without this, mounts made here would appear in the machine's own namespace.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(io::Error::from)
    .map_err(step("make mounts private"))?;
    mount_at("bpf", &wishes.bpffs, c"mode=0700").map_err(step("mount bpffs"))?;
    if let Some(tracefs) = &wishes.tracefs {
        mount_at("tracefs", tracefs, c"").map_err(step("mount tracefs"))?;
    }
    network::set_up_loopback(&wishes.addresses).map_err(step("set up the loopback interface"))?;
    for (file, value) in KERNEL_SETTINGS {
        // Which of them a kernel has is up to its configuration.
        let _ = fs::write(Path::new("/proc/sys/net/ipv4").join(file), value);
    }
    Ok(())
}

fn mount_at(kind: &str, target: &Path, options: &std::ffi::CStr) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount(kind, target, kind, flags, options)?)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

/// Starts one process. A file that somebody still holds open for writing is tried again for
/// a second: with many processes starting at once that resolves by itself.
fn start(order: &Order, descriptors: Vec<OwnedFd>) -> io::Result<(Pid, OwnedFd)> {
    for _ in 0..50 {
        match sys::spawn(order, &descriptors) {
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => {
                let pid = other?;
                return Ok((pid, pidfd_open(pid, PidfdFlags::empty())?));
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ETXTBSY))
}
