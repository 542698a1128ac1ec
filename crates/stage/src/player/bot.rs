//! The bot: takes orders over IRC or HTTP and sends with its own engine, or drives a mailer.

use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use super::args::Args;
use super::calls::{self, Forked};
use super::mailer::{Report, connect_and_converse};
use super::orders::{Master, PATIENCE};
use super::{resolver, storm};
use crate::smtp::client::SmtpFailure;

/// Times that it waits for an order, and attempts at each server for each order.
const MOST_ROUNDS: u64 = 100;
const MOST_ATTEMPTS: u64 = 1000;
/// Connections of no meaning.
const DECOYS: u64 = 100;

/// Opens connections of no meaning to `--decoys` first. Finds its master when told to. Then, `--rounds` times: waits for an order when told to,
/// looks names up, and tries to send `--count` times to each server and by the mailer. Stays for `--hold-ms`
/// or until `!die` is the order, and ends. With `--apart` two processes share the work: one
/// keeps the connection to the master, its sibling sends.
/// Exit status 0 when something was delivered.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    if args.text("--apart").is_none() {
        return serve(args, || act(args));
    }
    let failed = |error: io::Error| format!("cannot work apart: {error}");
    let (mut orders, mut give) = io::pipe().map_err(failed)?;
    if let Forked::Child = calls::fork().map_err(failed)? {
        drop(give);
        calls::end_after(super::LONGEST_LIFE);
        let mut delivered = false;
        while let Ok(1..) = orders.read(&mut [0]) {
            delivered |= act(args)?;
        }
        std::process::exit(i32::from(!delivered));
    }
    drop(orders);
    if let Forked::Child = calls::fork().map_err(failed)? {
        calls::end_after(super::LONGEST_LIFE);
        let result = serve(args, || {
            give.write_all(b"o").map(|()| false).map_err(failed)
        });
        std::process::exit(i32::from(result.is_err()));
    }
    drop(give);
    while calls::wait_for(-1).is_ok() {}
    Ok(ExitCode::FAILURE)
}

/// Does what the master says. Whether something was delivered is for `act` to say.
fn serve(args: &Args, mut act: impl FnMut() -> Result<bool, String>) -> Result<ExitCode, String> {
    if let Some(server) = args.address("--decoys")? {
        storm::visit(server, DECOYS, PATIENCE);
    }
    let mut master = match Master::find(args)? {
        Some(Ok(master)) => Some(master),
        Some(Err(error)) => {
            Report::failed(
                "bot-orders",
                &SmtpFailure::System("find its master", error),
                0,
            )
            .print();
            return Ok(ExitCode::FAILURE);
        }
        None => None,
    };
    let mut delivered = false;
    for _ in 0..args.number("--rounds")?.unwrap_or(1).min(MOST_ROUNDS) {
        if let (Some(master), Some(order)) = (&mut master, args.text("--await")) {
            master.wait_for(order, PATIENCE);
        }
        delivered |= act()?;
    }
    let hold = args.duration("--hold-ms", 0)?.min(PATIENCE);
    match &mut master {
        Some(master) => {
            master.wait_for("!die", hold);
            master.leave();
        }
        None => std::thread::sleep(hold),
    }
    Ok(ExitCode::from(u8::from(!delivered)))
}

/// What an order leads to. Returns whether something was delivered.
fn act(args: &Args) -> Result<bool, String> {
    resolver::look_up(args)?;
    let mut delivered = false;
    for _ in 0..args.number("--count")?.unwrap_or(1).min(MOST_ATTEMPTS) {
        let servers = args.addresses("--smtp")?.into_iter();
        let mut reports = servers
            .map(|server| connect_and_converse("bot", server, args))
            .collect::<Result<Vec<_>, _>>()?;
        if !args.program.is_empty() {
            reports.push(drive_mailer(&args.program));
        }
        for report in &reports {
            delivered |= report.outcome == "delivered";
            report.print();
        }
    }
    Ok(delivered)
}

/// Starts the mailer as a child; what it prints is passed on before the report.
fn drive_mailer(program: &[String]) -> Report {
    let run = Command::new(&program[0])
        .args(&program[1..])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    match run {
        Ok(output) => {
            let _ = io::stdout().write_all(&output.stdout);
            let outcome = if output.status.success() {
                "delivered"
            } else {
                "failed"
            };
            Report::new("bot-mailer", outcome, 0).with_detail(format!("mailer: {}", output.status))
        }
        Err(error) => Report::failed(
            "bot-mailer",
            &SmtpFailure::System("start the mailer", error),
            0,
        ),
    }
}
