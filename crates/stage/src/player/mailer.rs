//! The mailer: delivers one message properly and says how that went.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Serialize;

use super::args::Args;
use super::{calls, errno_name, proxy, sockets};
use crate::smtp::client::{Mail, SmtpFailure, send_over};

/// What is printed at the end. Whoever reads it looks at `outcome` first.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was tried: `mailer`, `bot`, or the name of a technique.
    pub technique: String,
    /// `delivered`: the server took the message. `sent`: bytes left, and no answer is
    /// expected. `started`: another program was started and reports for itself.
    /// `done`: the technique's own call worked. `failed`: none of these.
    pub outcome: &'static str,
    /// Of the call that failed.
    pub errno: Option<i32>,
    /// Its usual name.
    pub errno_name: Option<&'static str>,
    /// Payload bytes that the kernel accepted.
    pub bytes_written: u64,
    /// What failed, or which process was started.
    pub detail: Option<String>,
}

impl Report {
    pub(super) fn new(technique: &str, outcome: &'static str, bytes_written: u64) -> Self {
        let technique = technique.to_owned();
        Self {
            technique,
            outcome,
            errno: None,
            errno_name: None,
            bytes_written,
            detail: None,
        }
    }

    pub(super) fn failed(technique: &str, failure: &SmtpFailure, bytes_written: u64) -> Self {
        let errno = failure.errno();
        let detail = Some(failure.to_string());
        Self {
            errno,
            errno_name: errno.map(errno_name),
            detail,
            ..Self::new(technique, "failed", bytes_written)
        }
    }

    pub(super) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// Prints it as one line, in one write.
    pub(super) fn print(&self) {
        let line = serde_json::to_string(self).unwrap_or_default();
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(format!("{line}\n").as_bytes());
        let _ = output.flush();
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.outcome == "failed"))
    }
}

/// The message that the arguments describe.
pub(super) fn mail(args: &Args) -> Mail {
    let mut mail = Mail::default();
    let set = |field: &mut String, name: &str| {
        if let Some(text) = args.text(name) {
            *field = text.to_owned();
        }
    };
    set(&mut mail.from, "--from");
    set(&mut mail.subject, "--subject");
    set(&mut mail.body, "--body");
    let to = args.texts("--to");
    if !to.is_empty() {
        mail.to = to;
    }
    mail
}

/// Until a file is there, or for two minutes.
fn wait_for(path: &Path) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !path.exists() && Instant::now() < limit {
        sleep(Duration::from_millis(20));
    }
}

/// The role. Exit status 0 when delivered.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    sleep(args.duration("--delay-ms", 0)?);
    if let Some(path) = args.text("--wait-for") {
        wait_for(Path::new(path));
    }
    let limit = args.duration("--timeout-ms", 10_000)?;
    let connected = match args.number("--fd")? {
        Some(number) => calls::inherited_socket(number as i32)
            .map_err(|e| SmtpFailure::System("use a descriptor", e)),
        None => sockets::connect_plainly(args.server()?, limit),
    };
    let report = match connected {
        Ok(stream) => {
            sleep(args.duration("--linger-ms", 0)?);
            if let Some(path) = args.text("--load") {
                calls::map_code(path).map_err(|e| format!("{path}: {e}"))?;
            }
            match args.text("--give-fd") {
                Some(path) => give_away(&stream, path),
                None => converse("mailer", &stream, &mail(args)),
            }
        }
        Err(failure) => Report::failed("mailer", &failure, 0),
    };
    report.print();
    Ok(report.exit_code())
}

/// The submitter: puts the message into a queue, as `postdrop` does, for a mail server to find.
/// `--spool` is the queue's one file.
pub(super) fn submit(args: &Args) -> Result<ExitCode, String> {
    let spool = args.text("--spool").ok_or("--spool PATH is missing")?;
    let Mail { from, to, body, .. } = mail(args);
    let text = format!("{from}\n{}\n\n{body}\n", to.join("\n"));
    let file = File::options().create(true).append(true).open(spool);
    let report = match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Report::new("submit", "delivered", text.len() as u64),
        Err(error) => Report::failed("submit", &SmtpFailure::System("write the queue", error), 0),
    };
    report.print();
    Ok(report.exit_code())
}

/// Delivers over a connection and reports.
pub(super) fn converse(technique: &str, stream: &TcpStream, mail: &Mail) -> Report {
    let mut writer = sockets::Counting {
        inner: stream,
        written: 0,
    };
    let result = send_over(stream, &mut writer, mail);
    match result {
        Ok(()) => Report::new(technique, "delivered", writer.written),
        Err(failure) => Report::failed(technique, &failure, writer.written),
    }
}

/// Connects and delivers, for the roles that go the usual way.
pub(super) fn connect_and_converse(
    technique: &str,
    server: SocketAddr,
    args: &Args,
) -> Result<Report, String> {
    let limit = args.duration("--timeout-ms", 10_000)?;
    Ok(match proxy::connect(server, args, limit)? {
        Ok(stream) => converse(technique, &stream, &mail(args)),
        Err(failure) => Report::failed(technique, &failure, 0),
    })
}

/// Hands the connected socket to whoever listens at a path.
fn give_away(stream: &TcpStream, path: &str) -> Report {
    let give = || -> std::io::Result<()> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        sockets::send_descriptor(&socket, stream)
    };
    match give() {
        Ok(()) => Report::new("mailer", "done", 0).with_detail("socket given away"),
        Err(error) => Report::failed(
            "mailer",
            &SmtpFailure::System("give the socket away", error),
            0,
        ),
    }
}
