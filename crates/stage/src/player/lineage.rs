//! Ways to come to be another process: forks, sessions, namespaces, and ways to exec.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;

use super::args::Args;
use super::calls::{self, Forked};
use super::mailer::Report;
use super::{disguise, sockets, storm, technique};
use crate::smtp::client::SmtpFailure;

/// How long the first process waits for those that it brought about.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Starts the program and waits for it; the exit status is the program's.
pub(super) fn launch(args: &Args) -> Result<ExitCode, String> {
    let (program, arguments) = args.words.split_first().ok_or("launcher wants a program")?;
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|e| format!("cannot start {program}: {e}"))?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// Becomes the program.
pub(super) fn become_program(args: &Args) -> Result<ExitCode, String> {
    let (program, arguments) = args.words.split_first().ok_or("exec wants a program")?;
    Err(format!(
        "cannot become {program}: {}",
        Command::new(program).args(arguments).exec()
    ))
}

/// A fork with the process id `--pid`, which another process had before, connects.
pub(super) fn reuse_id(name: &str, args: &Args) -> Result<Option<Report>, String> {
    let pid = args.number("--pid")?.ok_or("--pid is missing")? as i32;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match calls::fork_as(pid) {
            Ok(Forked::Child) => match technique::attempt("plain", args)? {
                Some(report) => leave(&report),
                None => std::process::exit(1),
            },
            Ok(Forked::Parent(pid)) => {
                let _ = calls::wait_for(pid);
                return Ok(None);
            }
            // Whoever had it may not be gone altogether.
            Err(error)
                if error.raw_os_error() == Some(libc::EEXIST) && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(5));
            }
            Err(error) => return Ok(Some(system_failure(name, "fork", error))),
        }
    }
}

/// Becomes the program from a thread that is not the first one.
pub(super) fn exec_in_thread(name: &str, args: &Args) -> Report {
    let Some((program, arguments)) = args.program.split_first() else {
        return Report::new(name, "failed", 0).with_detail("no program after --");
    };
    let exec = || Command::new(program).args(arguments).exec();
    let error = std::thread::scope(|scope| scope.spawn(exec).join());
    match error {
        Ok(error) => system_failure(name, "become the program", error),
        Err(_) => Report::new(name, "failed", 0),
    }
}

/// Tries a technique of this file by its name.
pub(super) fn attempt(name: &str, args: &Args) -> Result<Option<Report>, String> {
    match name {
        "storm" => return storm::run(args).map(Some),
        "spawns" => return storm::spawns(args).map(Some),
        "send-fd" => return send_descriptor(args).map(Some),
        _ => {}
    }
    let shape = name.strip_suffix("-exec").unwrap_or(name);
    let starts_program = name != shape || name == "exec" || name.starts_with("exec-");
    if starts_program && args.program.is_empty() && name != "exec-spoofed" {
        return Err(format!("technique {name} wants a program after --"));
    }
    let disguised = match disguise::prepare(name, args) {
        Ok(disguised) => disguised,
        Err(error) => return Ok(Some(system_failure(name, "prepare the program", error))),
    };
    if shape == "vfork" {
        return Ok(vfork(name, args));
    }
    let position = match take_shape(shape) {
        Ok(position) => position,
        Err(error) => {
            disguised.remove();
            return Ok(Some(system_failure(name, "fork", error)));
        }
    };
    match position {
        Position::First { end } => {
            wait_for_end(end);
            disguised.remove();
            Ok(None)
        }
        Position::Last {
            failure: Some(error),
            ..
        } => leave(&system_failure(name, "take the shape", error)),
        Position::Last { failure: None, end } => {
            let report = if starts_program {
                system_failure(name, "become the program", disguised.exec(args))
            } else {
                match technique::attempt("plain", args) {
                    Ok(Some(report)) => Report {
                        technique: name.to_owned(),
                        ..report
                    },
                    _ => Report::new(name, "failed", 0),
                }
            };
            drop(end);
            leave(&report)
        }
    }
}

pub(super) fn system_failure(name: &str, what: &'static str, error: io::Error) -> Report {
    Report::failed(name, &SmtpFailure::System(what, error), 0)
}

/// Ends a forked process, without what the first one would still do.
fn leave(report: &Report) -> ! {
    report.print();
    std::process::exit(i32::from(report.outcome == "failed"))
}

/// Where in the tree of processes the caller is after [`take_shape`].
enum Position {
    /// It is the process that began. The pipe ends when all the others have.
    First { end: OwnedFd },
    /// It is the process that is to act. `failure` says what about its shape went wrong.
    Last {
        failure: Option<io::Error>,
        end: OwnedFd,
    },
}

/// Forks, in one of several ways, into the process that began and the one that acts.
fn take_shape(shape: &str) -> io::Result<Position> {
    // Inherited by every process, programs too, so that its end is the end of them all.
    let (end, held) = rustix::pipe::pipe()?;
    let first = match shape {
        "clone-parent" => calls::fork_with(libc::CLONE_PARENT)?,
        "clone3" => calls::fork_by_clone3()?,
        _ => calls::fork()?,
    };
    if let Forked::Parent(_) = first {
        drop(held);
        return Ok(Position::First { end });
    }
    drop(end);
    let failure = shape_child(shape).err();
    Ok(Position::Last { failure, end: held })
}

/// What the forked process does to become what the shape says.
fn shape_child(shape: &str) -> io::Result<()> {
    match shape {
        "double-fork" => orphan(),
        "setsid" => rustix::process::setsid().map(drop).map_err(io::Error::from),
        "reparented" => {
            // A process of one's own takes in orphans, and so becomes the parent of one that
            // it did not fork.
            let own = rustix::process::getpid();
            rustix::process::set_child_subreaper(Some(own))?;
            match calls::fork()? {
                Forked::Child => orphan(),
                Forked::Parent(_) => {
                    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
                    std::process::exit(0)
                }
            }
        }
        "new-user" => calls::unshare(UnshareFlags::NEWUSER),
        "new-net" => calls::unshare(UnshareFlags::NEWNET | unless_root()),
        "new-mount" => calls::unshare(UnshareFlags::NEWNS | unless_root()),
        "new-pid" => {
            calls::unshare(UnshareFlags::NEWPID | unless_root())?;
            match calls::fork()? {
                Forked::Child => Ok(()),
                Forked::Parent(pid) => {
                    let _ = calls::wait_for(pid);
                    std::process::exit(0)
                }
            }
        }
        _ => Ok(()),
    }
}

/// Without privilege, other namespaces come with a user namespace only.
pub(super) fn unless_root() -> UnshareFlags {
    if rustix::process::geteuid().is_root() {
        UnshareFlags::empty()
    } else {
        UnshareFlags::NEWUSER
    }
}

/// Forks and lets the parent end; returns in the child once it has been adopted.
fn orphan() -> io::Result<()> {
    let parent = rustix::process::getpid();
    match calls::fork()? {
        Forked::Parent(_) => std::process::exit(0),
        Forked::Child => {
            let deadline = Instant::now() + Duration::from_secs(5);
            while rustix::process::getppid() == Some(parent) {
                if Instant::now() > deadline {
                    return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
                }
                sleep(Duration::from_millis(1));
            }
            Ok(())
        }
    }
}

fn wait_for_end(end: OwnedFd) {
    let _ = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&PATIENCE));
    // Own children, where there are any, must not stay behind as zombies.
    while matches!(
        rustix::process::wait(rustix::process::WaitOptions::NOHANG),
        Ok(Some(_))
    ) {}
}

fn vfork(name: &str, args: &Args) -> Option<Report> {
    match calls::spawn_like_vfork(&args.program) {
        Ok(pid) => {
            let _ = calls::wait_for(pid);
            None
        }
        Err(error) => Some(system_failure(name, "start the program", error)),
    }
}

/// Speaks over a socket that another process connected: the program after `--`, which gets
/// `--give-fd PATH` added; whoever connects to `--socket PATH`; or else a fork of itself.
fn send_descriptor(args: &Args) -> Result<Report, String> {
    let name = "send-fd";
    let received = match (args.text("--socket"), args.program.is_empty()) {
        (None, true) => receive_from_fork(args),
        (path, _) => receive_at(path, args),
    };
    // What is written then leaves later, on a timer of the kernel.
    let received = received.and_then(|socket| match args.text("--cork") {
        Some(_) => Ok(rustix::net::sockopt::set_tcp_cork(&socket, true).map(|()| socket)?),
        None => Ok(socket),
    });
    Ok(match received {
        Ok(socket) => super::mailer::converse(
            name,
            &std::net::TcpStream::from(socket),
            &super::mailer::mail(args),
        ),
        Err(error) => system_failure(name, "receive a connected socket", error),
    })
}

fn receive_from_fork(args: &Args) -> io::Result<OwnedFd> {
    let server = args.server().map_err(io::Error::other)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    match calls::fork()? {
        Forked::Child => {
            drop(ours);
            match sockets::connect_plainly(server, Duration::from_secs(5)) {
                Ok(stream) => drop(sockets::send_descriptor(&theirs, &stream)),
                // The errno goes over the socket instead of the descriptor.
                Err(failure) => {
                    let errno = failure.errno().unwrap_or(libc::EIO) as u8;
                    let _ = rustix::io::write(&theirs, &[errno]);
                }
            }
            std::process::exit(0)
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let received = sockets::receive_descriptor(&ours);
            let _ = calls::wait_for(pid);
            received
        }
    }
}

fn receive_at(path: Option<&str>, args: &Args) -> io::Result<OwnedFd> {
    let path = path.map_or_else(|| disguise::scratch_path("socket"), |path| Ok(path.into()))?;
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let child = match args.program.split_first() {
        Some((program, arguments)) => Some(
            Command::new(program)
                .args(arguments)
                .arg("--give-fd")
                .arg(&path)
                .spawn()?,
        ),
        None => None,
    };
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let ready = poll(
        &mut [PollFd::new(&listener.as_fd(), PollFlags::IN)],
        Some(&limit),
    );
    let accepted = match ready {
        Ok(1..) => listener
            .accept()
            .and_then(|(stream, _)| sockets::receive_descriptor(&stream)),
        _ => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
    };
    let _ = std::fs::remove_file(&path);
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
    accepted
}

/// Copies a program's bytes.
pub(super) fn read_program(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(256 << 20)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
