//! A supervisor that answers the connect() of the program that it starts: seccomp hands it the
//! call, it connects the program's socket itself, and the program goes on as if it had.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::args::Args;
use super::calls::{self, Forked, Notified};
use super::lineage::system_failure;
use super::mailer::Report;
use super::sockets;

/// How long the program may do other things than connect.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// Starts the program after `--` under supervision. It reports for itself.
pub(super) fn run(name: &str, args: &Args) -> Option<Report> {
    let Some((program, arguments)) = args.program.split_first() else {
        return Some(Report::new(name, "failed", 0).with_detail("no program after --"));
    };
    let supervised = || -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        match calls::fork()? {
            Forked::Child => {
                drop(ours);
                let listener = calls::hand_over_connects();
                let error = match listener.and_then(|fd| sockets::send_descriptor(&theirs, fd)) {
                    Ok(()) => Command::new(program).args(arguments).exec(),
                    Err(error) => error,
                };
                system_failure(name, "become the program", error).print();
                std::process::exit(1)
            }
            Forked::Parent(pid) => {
                drop(theirs);
                let served = sockets::receive_descriptor(&ours).and_then(|fd| serve(&fd));
                let _ = calls::wait_for(pid);
                served
            }
        }
    };
    supervised()
        .err()
        .map(|error| system_failure(name, "supervise the program", error))
}

/// Answers calls until the program has ended.
fn serve(listener: &OwnedFd) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(listener, PollFlags::IN)];
        poll(&mut polled, Some(&PATIENCE))?;
        if !polled[0].revents().contains(PollFlags::IN) {
            return Ok(());
        }
        let call = calls::next_connect(listener)?;
        let answer = connect_for(&call);
        calls::answer_connect(listener, &call, answer)?;
    }
}

/// The very call, made by this process with the program's socket.
fn connect_for(call: &Notified) -> io::Result<()> {
    let mut address = [0; 128];
    let length = (call.length as usize).min(address.len());
    File::open(format!("/proc/{}/mem", call.pid))?
        .read_exact_at(&mut address[..length], call.address)?;
    let pid = Pid::from_raw(call.pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let socket = pidfd_getfd(&process, call.socket, PidfdGetfdFlags::empty())?;
    calls::connect_to_bytes(&socket, &address[..length])
}
