//! The techniques by name.

use std::io;
use std::process::ExitCode;

use rustix::net::ipproto;

use super::args::Args;
use super::calls::{self, RingHands};
use super::mailer::{Report, converse, mail};
use super::{farewell, lineage, memory, packets, sockets, storm, supervise, wrapped};
use crate::smtp::client::SmtpFailure;

/// Every technique that `technique NAME` knows.
pub const TECHNIQUES: &[&str] = &[
    // Sockets of its own.
    "plain",
    "nonblocking",
    "ipv6",
    "mapped",
    "fastopen-sendto",
    "fastopen-connect",
    "mptcp",
    "io-uring",
    "io-uring-worker",
    "io-uring-poller",
    "reconnect",
    "mptcp-fastopen",
    "raw",
    "raw-options",
    "raw-fragments",
    "raw-fragments-16",
    "raw-answer",
    "raw-ipv6",
    "raw-ipv6-options",
    "raw-tcp",
    "raw-tcp-ipv6",
    "packet",
    "thread",
    "send-fd",
    "storm",
    "visits",
    "connects",
    "spawns",
    // The first line in odd forms, for any port.
    "greeting-split",
    "greeting-lower",
    "greeting-blank",
    "greeting-spaces",
    "greeting-late",
    "greeting-none",
    "greeting-early",
    "greeting-noop",
    "greeting-long",
    "greeting-burst",
    "greeting-none-early",
    "greeting-packets",
    "greeting-starttls",
    "greeting-starttls-early",
    "urgent",
    "ip-options",
    "sendfile",
    "full-socket",
    "changing-page",
    // Forks of itself that connect.
    "double-fork",
    "setsid",
    "reparented",
    "clone-parent",
    "new-user",
    "new-net",
    "farewell",
    "new-pid",
    "new-mount",
    // Starting the program after `--`.
    "fork-exec",
    "double-fork-exec",
    "setsid-exec",
    "reparented-exec",
    "vfork-exec",
    "clone-parent-exec",
    "clone3-exec",
    "new-user-exec",
    "new-net-exec",
    "new-pid-exec",
    "new-mount-exec",
    "exec",
    "thread-exec",
    "seccomp-exec",
    "exec-descriptor",
    "exec-memfd",
    "exec-deleted",
    "exec-empty-path",
    "exec-spoofed",
    "exec-copy",
    "exec-link",
    "exec-symlink",
    "exec-loader",
    "inherit-exec",
    "exec-mounted-over",
    "exec-overlay",
    "env-exec",
    // Other processes, by `--pid`.
    "ptrace-attach",
    "ptrace-traceme",
    "vm-writev",
    "proc-mem",
    "proc-mem-ring",
    "proc-mem-32-bit",
    "pidfd-getfd",
    "pidfd-terminal",
    "pid-reuse",
    "tiocsti",
];

/// Runs one technique and prints its report. Exit status 0 unless it failed.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let name = args.words.first().map(String::as_str).unwrap_or_default();
    if !TECHNIQUES.contains(&name) {
        return Err(format!("no technique {name}; `techniques` lists them"));
    }
    if let Some(comm) = args.text("--comm") {
        // A failure would show in the report of nobody; the name itself is what is tested.
        let _ = std::ffi::CString::new(comm).map(|comm| calls::rename_process(&comm));
    }
    if let Some(report) = attempt(name, args)? {
        report.print();
        return Ok(report.exit_code());
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries it. No report where another process prints one.
pub(super) fn attempt(name: &str, args: &Args) -> Result<Option<Report>, String> {
    let limit = args.duration("--timeout-ms", 5_000)?;
    let talk = |stream: io::Result<std::net::TcpStream>| match stream {
        Ok(stream) => converse(name, &stream, &mail(args)),
        Err(error) => Report::failed(name, &SmtpFailure::System("connect", error), 0),
    };
    let plainly = |server| match sockets::connect_plainly(server, limit) {
        Ok(stream) => converse(name, &stream, &mail(args)),
        Err(failure) => Report::failed(name, &failure, 0),
    };
    let ring =
        |hands| -> Result<_, String> { Ok(sockets::connect_by_ring(args.server()?, limit, hands)) };
    Ok(Some(match name {
        "plain" => plainly(args.server()?),
        "ipv6" => plainly(sockets::over_ipv6(args.server()?)),
        "mapped" => plainly(sockets::mapped(args.server()?)),
        "nonblocking" => talk(sockets::connect_nonblocking(args.server()?, limit)),
        "mptcp" => talk(sockets::connect_multipath(args.server()?, limit)),
        "io-uring" => talk(ring(RingHands::Caller)?),
        "io-uring-worker" => talk(ring(RingHands::Worker)?),
        "io-uring-poller" => talk(ring(RingHands::Poller)?),
        "reconnect" => talk(sockets::reconnect(args.server()?, limit)),
        "fastopen-sendto" | "mptcp-fastopen" => {
            let multipath = (name != "fastopen-sendto").then_some(ipproto::MPTCP);
            fast_open(
                name,
                sockets::fast_open_by_sendto(args.server()?, limit, multipath),
            )
        }
        "fastopen-connect" => fast_open(name, sockets::fast_open_by_connect(args.server()?, limit)),
        "urgent" | "ip-options" | "sendfile" | "full-socket" | "changing-page" => {
            wrapped::attempt(name, args.server()?, limit)
        }
        _ if name.starts_with("greeting-") => odd_greeting(name, args, limit)?,
        _ if name.starts_with("raw") => packets::raw(name, args.server()?),
        "packet" => packets::link_layer(args.server()?),
        "visits" => storm::visits(args)?,
        "connects" => storm::connects(args)?,
        "thread" => {
            let server = args.server()?;
            std::thread::scope(|scope| scope.spawn(|| plainly(server)).join())
                .unwrap_or_else(|_| Report::new(name, "failed", 0))
        }
        "ptrace-attach" | "vm-writev" | "pidfd-getfd" | "pidfd-terminal" | "tiocsti"
        | "ptrace-traceme" => return memory::attempt(name, args),
        _ if name.starts_with("proc-mem") => return memory::attempt(name, args),
        "pid-reuse" => return lineage::reuse_id(name, args),
        "thread-exec" => lineage::exec_in_thread(name, args),
        "farewell" => farewell::say_farewell(name),
        "seccomp-exec" => return Ok(supervise::run(name, args)),
        _ => return lineage::attempt(name, args),
    }))
}

/// The first line is on its way; whether it arrives is for the server to say. Waits a
/// moment, so that closing the socket does not take it back.
fn fast_open(name: &str, result: io::Result<(std::net::TcpStream, usize)>) -> Report {
    match result {
        Ok((stream, sent)) => {
            let mut answer = [0; 64];
            let _ = io::Read::read(&mut &stream, &mut answer);
            Report::new(name, "sent", sent as u64)
        }
        Err(error) => Report::failed(name, &SmtpFailure::System("send with the SYN", error), 0),
    }
}

/// `sent` when the server answered, whatever it answered.
fn odd_greeting(name: &str, args: &Args, limit: std::time::Duration) -> Result<Report, String> {
    let (pieces, silence) = sockets::odd_greeting(name).ok_or("no such greeting")?;
    Ok(
        match sockets::say_oddly(
            args.server()?,
            &pieces,
            silence,
            sockets::BEFORE_THE_SERVER.contains(&name),
            limit,
        ) {
            Ok((written, answer)) => Report::new(name, "sent", written).with_detail(answer),
            Err((failure, written)) => Report::failed(name, &failure, written),
        },
    )
}
