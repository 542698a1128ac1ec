//! The stand-in programs of the demo: a desktop shell, a mailer and a bot.
//!
//! The demo copies this executable under their names, so that the gate sees three programs.
//! None of them takes an address: they talk to the demo's own two servers and to nothing
//! else, so the hidden command that starts them is no tool for anybody else.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Subcommand;
use stage::{IrcClient, Mail, deliver};

use super::live::{CHANNEL, IRC_SERVER, LIMIT, MAIL_SERVER, NICK, ORDER};

/// The command that ends the bot.
pub const END: &str = "!die";

/// How long the bot stays connected after its deed when no command ends it.
const STAY: Duration = Duration::from_secs(10);

/// No stand-in program lives longer, whatever happens to the demo.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// What a copy of this executable plays.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// The desktop shell: starts programs that it reads from standard input
    Desktop,
    /// The mailer: sends one message to the demo's mail server
    Mailer {
        /// The subject of the message
        subject: String,
    },
    /// The bot: sends by itself, or starts the mailer
    Bot {
        /// Wait for the order in the demo's IRC channel first
        #[arg(long)]
        irc: bool,
        /// Start this mailer instead of sending
        #[arg(long, num_args = 2, value_names = ["MAILER", "SUBJECT"])]
        start_mailer: Option<Vec<PathBuf>>,
    },
}

/// Plays a part. Exit status 0 when a message was delivered, or when the desktop ended.
pub fn play(part: Part) -> ExitCode {
    stage::end_after(LONGEST_LIFE);
    let done = match part {
        Part::Desktop => return stage::desktop_main(),
        Part::Mailer { subject } => send(subject),
        Part::Bot { irc, start_mailer } => serve(irc, start_mailer.as_deref()),
    };
    ExitCode::from(u8::from(!done))
}

fn send(subject: String) -> bool {
    let mail = Mail {
        subject,
        ..Mail::default()
    };
    deliver(MAIL_SERVER, &mail, LIMIT).is_ok()
}

fn serve(irc: bool, mailer: Option<&[PathBuf]>) -> bool {
    let mut master = irc.then(join).flatten();
    if irc && master.is_none() {
        return false;
    }
    if let Some(master) = &mut master {
        // The demo reports a missing verdict, whatever the reason.
        let _ = master.wait_for(ORDER, LIMIT);
    }
    let delivered = match mailer {
        Some([mailer, subject]) => Command::new(mailer)
            .args(["demo-part".as_ref(), "mailer".as_ref(), subject.as_os_str()])
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
        _ => send(Mail::default().subject),
    };
    if let Some(master) = &mut master {
        let _ = master.wait_for(END, STAY);
        master.quit();
    }
    delivered
}

fn join() -> Option<IrcClient> {
    let stream = TcpStream::connect_timeout(&IRC_SERVER, LIMIT).ok()?;
    let mut master = IrcClient::new(stream).register(NICK, LIMIT).ok()?;
    master.join(CHANNEL, None, LIMIT).ok()?;
    Some(master)
}
