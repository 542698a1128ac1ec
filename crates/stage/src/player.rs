//! Stand-in programs: a desktop shell, a mailer, a bot, and one for each way of trying to
//! send mail all the same. Harmless, and bounded in time.
//!
//! One executable plays every role; a copy of it under another name is another program to
//! the gate. What it prints on standard output is one JSON object a line.

mod args;
mod bot;
mod calls;
mod desktop;
mod disguise;
mod farewell;
mod flood;
mod lineage;
mod mailer;
mod memory;
mod orders;
mod packets;
mod proxy;
mod relay;
mod resolver;
mod say;
mod sockets;
mod storm;
mod supervise;
mod technique;
mod wrapped;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use args::Args;

pub use calls::end_after;
pub use desktop::desktop_main;
pub use packets::forge;
pub use technique::TECHNIQUES;

/// No role lives longer than this, whatever happens to it.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

const USAGE: &str = "\
usage: ROLE ...
  desktop [--seconds N] [-- PROGRAM ARGS...]     start programs: JSON arrays on standard input, one a line
  launcher PROGRAM ARGS...                       start a program and wait for it
  exec PROGRAM ARGS...                           become a program
  mailer --server A:P [--from A] [--to A]... [--subject S] [--body S] [--delay-ms N] [--wait-for FILE]
         [--linger-ms N] [--timeout-ms N] [--fd N] [--give-fd PATH]
  submit --spool PATH [--from A] [--to A]... [--body S]      put a message into a queue
  piped PROGRAM ARGS...                          deliver by a program's standard streams
  bot [--smtp A:P]... [--socks A:P | --proxy A:P] [--irc A:P --nick N --channel C [--key K] [--in-pieces yes] | --http A:P [--anew yes | --half-closed yes | --poll-ms N] | --other A:P --say TEXT]
      [--decoys A:P] [--await TEXT] [--rounds N] [--resolver A:P [--mx NAME]... [--host NAME]...] [--count N] [--hold-ms N]
      [--apart yes] [--start-mailer PROGRAM ARGS...]
  relay --listen A:P --server A:P                pass one connection on
  flood --socket PATH [--line TEXT] [--count N] [--hold-ms N]
  say --server A:P [--await N] [--piece TEXT]... [--timeout-ms N]
  technique NAME --server A:P [--pid N] [--count N] [...] [-- PROGRAM ARGS...]
  techniques                                     list the names";

/// The entry point of the stand-in programs. `args` (without the program's name) is a role
/// and its arguments.
pub fn player_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    calls::end_after(LONGEST_LIFE);
    let words: Vec<String> = args
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut words = words.into_iter();
    let mut role = words.next().unwrap_or_default();
    // As an interpreter is called with its script.
    if role.starts_with('/') {
        role = words.next().unwrap_or_default();
    }
    // As a shell is called: cron takes any program for one.
    if role == "-c" {
        let line = words.next().unwrap_or_default();
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words = line.into_iter();
        role = words.next().unwrap_or_default();
    }
    let result = Args::parse(words.collect()).and_then(|args| match role.as_str() {
        "desktop" => desktop::run(&args),
        "launcher" => lineage::launch(&args),
        "exec" => lineage::become_program(&args),
        "mailer" => mailer::run(&args),
        "submit" => mailer::submit(&args),
        "bot" => bot::run(&args),
        "relay" => relay::run(&args),
        "piped" => proxy::piped(&args),
        "flood" => flood::run(&args),
        "say" => say::run(&args),
        "technique" => technique::run(&args),
        "techniques" => {
            TECHNIQUES.iter().for_each(|name| println!("{name}"));
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.to_owned()),
    });
    result.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::from(2)
    })
}

/// The usual short name of an errno, for the reader of a report.
pub(crate) fn errno_name(errno: i32) -> &'static str {
    match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::EACCES => "EACCES",
        libc::EINVAL => "EINVAL",
        libc::EPIPE => "EPIPE",
        libc::ENOSYS => "ENOSYS",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::ENOTCONN => "ENOTCONN",
        _ => "other",
    }
}
