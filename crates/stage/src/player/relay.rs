//! A relay: passes on what comes in on one port to another server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use super::args::Args;
use super::mailer::Report;
use super::sockets;
use crate::smtp::client::SmtpFailure;

/// Passes on one connection to `--listen` to `--server`, both ways, and ends with it. The
/// report says whether the server was reached.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let (listen, server) = (args.address("--listen")?, args.server()?);
    let listen = listen.ok_or("--listen ADDRESS:PORT is missing")?;
    let limit = args.duration("--timeout-ms", 10_000)?;
    let report = match accept(listen) {
        Err(error) => Report::failed("relay", &SmtpFailure::System("accept", error), 0),
        Ok(near) => match sockets::connect_plainly(server, limit) {
            Err(failure) => Report::failed("relay", &failure, 0),
            Ok(far) => Report::new("relay", "done", pass_on(&near, &far)),
        },
    };
    report.print();
    Ok(report.exit_code())
}

fn accept(listen: SocketAddr) -> io::Result<TcpStream> {
    let listener = TcpListener::bind(listen)?;
    Ok(listener.accept()?.0)
}

/// Returns the bytes that went to the far end.
fn pass_on(near: &TcpStream, far: &TcpStream) -> u64 {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let copied = io::copy(&mut from, &mut to).unwrap_or(0);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
        copied
    };
    thread::scope(|scope| {
        scope.spawn(move || copy(far, near));
        copy(near, far)
    })
}
