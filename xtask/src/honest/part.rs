//! What this program is inside of a machine: the mail server outside, and the probe.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stage::{Mail, SmtpOptions, SmtpServer, deliver};

/// Where the probe sends.
const OUTSIDE: &str = "10.9.9.25:25";
/// The probe stays for a moment, as a mailer would with its window.
const STAY: Duration = Duration::from_secs(3);

/// A process in the machine.
///
/// # Errors
///
/// When it is told something unknown, or has to end.
pub fn run(arguments: &[OsString]) -> Result<()> {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        ["sink", folder, ref addresses @ ..] => sink(Path::new(folder), addresses),
        ["probe", ref words @ ..] => probe(words),
        _ => bail!("a part of the honest rows: {words:?}"),
    }
}

/// Takes every message, and keeps each as a file.
fn sink(folder: &Path, addresses: &[&str]) -> Result<()> {
    let mut listeners = Vec::new();
    for address in addresses {
        let address: SocketAddr = address.parse().with_context(|| (*address).to_owned())?;
        listeners.push(std::net::TcpListener::bind(address).with_context(|| address.to_string())?);
    }
    let options = SmtpOptions {
        authentication: true,
        ..SmtpOptions::default()
    };
    let server = SmtpServer::start(listeners, options)?;
    let mut known = 0;
    loop {
        // It ends with the machine; in between, a limit is no error.
        let messages = server
            .wait_for_messages(known + 1, Duration::from_secs(3600))
            .unwrap_or_else(|_| server.messages());
        for message in messages.iter().skip(known) {
            let mut text =
                format!("from {} to {}\n", message.from, message.to.join(" ")).into_bytes();
            text.extend_from_slice(&message.content);
            // A search must not find half a message.
            let temporary = folder.join(".incoming");
            fs::write(&temporary, text)?;
            fs::rename(&temporary, folder.join(format!("{known:05}.eml")))?;
            known += 1;
        }
    }
}

/// Sends one message, whose subject says how it was started.
fn probe(words: &[&str]) -> Result<()> {
    let mail = Mail {
        subject: format!("probe {}", words.join(" ")),
        ..Mail::default()
    };
    let sent = deliver(OUTSIDE.parse()?, &mail, Duration::from_secs(30));
    thread::sleep(STAY);
    sent.context("the probe")
}
