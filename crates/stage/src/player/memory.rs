//! Reaching into another process: its memory, its descriptors, its terminal.
//!
//! What is written into memory is what stood there before, so nothing breaks.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::args::Args;
use super::calls::{self, Forked};
use super::lineage::system_failure;
use super::mailer::{Report, converse, mail};

/// Bytes read and written back.
const LENGTH: usize = 8;

/// Tries a technique of this file by its name.
pub(super) fn attempt(name: &str, args: &Args) -> Result<Option<Report>, String> {
    let pid = args.number("--pid")?.unwrap_or(0) as i32;
    if pid <= 0 && !matches!(name, "tiocsti" | "ptrace-traceme") {
        return Err(format!("technique {name} wants --pid"));
    }
    let result = match name {
        "ptrace-attach" => attach_and_detach(pid),
        "ptrace-traceme" => return Ok(trace_child(name, args)),
        "vm-writev" => write_back(pid, |address, bytes| {
            calls::write_memory_of(pid, address, bytes).map(drop)
        }),
        "proc-mem" => write_back(pid, |address, bytes| {
            File::options()
                .write(true)
                .open(format!("/proc/{pid}/mem"))?
                .write_all_at(bytes, address)
        }),
        "proc-mem-ring" => write_back(pid, |address, bytes| {
            calls::write_by_ring(&memory_file(pid), bytes, address)
        }),
        "proc-mem-32-bit" => write_back(pid, |address, bytes| {
            File::from(calls::open_as_32_bit(&memory_file(pid))?).write_all_at(bytes, address)
        }),
        "pidfd-terminal" => type_as(pid, args.text("--text").unwrap_or_default()),
        "pidfd-getfd" => match take_socket(pid, args.number("--fd")?) {
            Ok(socket) => {
                return Ok(Some(converse(
                    name,
                    &std::net::TcpStream::from(socket),
                    &mail(args),
                )));
            }
            Err(error) => Err(error),
        },
        _ => type_text(
            args.text("--tty").unwrap_or("/dev/tty"),
            args.text("--text").unwrap_or_default(),
        ),
    };
    Ok(Some(match result {
        Ok(()) => Report::new(name, "done", 0),
        Err(error) => system_failure(name, "reach into the other side", error),
    }))
}

fn attach_and_detach(pid: i32) -> io::Result<()> {
    calls::trace(libc::PTRACE_ATTACH, pid)?;
    calls::wait_for(pid)?;
    calls::trace(libc::PTRACE_DETACH, pid)
}

/// Starts the program with its consent to be traced, and lets it go at its exec.
fn trace_child(name: &str, args: &Args) -> Option<Report> {
    let Some((program, arguments)) = args.program.split_first() else {
        return Some(Report::new(name, "failed", 0).with_detail("no program after --"));
    };
    let run = || -> io::Result<()> {
        match calls::fork()? {
            Forked::Child => {
                let error = match calls::trace(libc::PTRACE_TRACEME, 0) {
                    Ok(()) => Command::new(program).args(arguments).exec(),
                    Err(error) => error,
                };
                system_failure(name, "become the program", error).print();
                std::process::exit(1)
            }
            Forked::Parent(pid) => {
                let status = calls::wait_for(pid)?;
                if libc::WIFSTOPPED(status) {
                    calls::trace(libc::PTRACE_DETACH, pid)?;
                    calls::wait_for(pid)?;
                }
                Ok(())
            }
        }
    };
    run()
        .err()
        .map(|error| system_failure(name, "trace the program", error))
}

fn write_back(pid: i32, write: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let start = maps
        .lines()
        .find_map(writable_start)
        .ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = [0; LENGTH];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, start)?;
    write(start, &bytes)
}

fn memory_file(pid: i32) -> CString {
    CString::new(format!("/proc/{pid}/mem")).unwrap_or_default()
}

/// The first address of a writable private mapping.
fn writable_start(line: &str) -> Option<u64> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with("rw-p") {
        return None;
    }
    u64::from_str_radix(range.split_once('-')?.0, 16).ok()
}

/// Takes a socket out of the process: the one with this number, or the last one.
fn take_socket(pid: i32, number: Option<u64>) -> io::Result<OwnedFd> {
    let number = match number {
        Some(number) => number as i32,
        None => last_descriptor(pid, "socket:")?,
    };
    take(pid, number)
}

/// Writes to the terminal that the process holds, as if the process had.
fn type_as(pid: i32, text: &str) -> io::Result<()> {
    let mut terminal = File::from(take(pid, last_descriptor(pid, "/dev/ptmx")?)?);
    terminal.write_all(format!("{text}\n").as_bytes())
}

fn take(pid: i32, number: i32) -> io::Result<OwnedFd> {
    let process = pidfd_open(
        Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?,
        PidfdFlags::empty(),
    )?;
    Ok(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?)
}

/// The last descriptor of the process that is of this kind.
fn last_descriptor(pid: i32, kind: &str) -> io::Result<i32> {
    let is_meant = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with(kind))
    };
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?
        .flatten()
        .filter(is_meant);
    let numbers = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    numbers.max().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn type_text(path: &str, text: &str) -> io::Result<()> {
    let terminal = File::options().read(true).write(true).open(path)?;
    format!("{text}\n")
        .bytes()
        .try_for_each(|character| calls::type_into(&terminal, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_writable_memory() {
        assert_eq!(
            writable_start("7ffc1000-7ffc2000 rw-p 00000000 00:00 0 [stack]"),
            Some(0x7ffc_1000)
        );
        assert_eq!(
            writable_start("7ffc1000-7ffc2000 r-xp 00000000 00:00 0"),
            None
        );
    }
}
