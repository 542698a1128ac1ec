//! The bot: takes orders over IRC and sends with its own engine, or drives a mailer.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::args::Args;
use super::mailer::{Report, connect_and_converse};
use crate::smtp::client::SmtpFailure;

/// Longest time that it waits for anything on IRC.
const PATIENCE: Duration = Duration::from_secs(60);

/// Joins IRC when told to, waits for an order when told to, tries to send `--count` times,
/// stays for `--hold-ms` or until `!die` is said in its channel, and ends.
/// Exit status 0 when something was delivered.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let mut irc = match args.address("--irc")? {
        Some(server) => match Irc::join(server, args) {
            Ok(irc) => Some(irc),
            Err(error) => {
                Report::failed("bot-irc", &SmtpFailure::System("join IRC", error), 0).print();
                return Ok(ExitCode::FAILURE);
            }
        },
        None => None,
    };
    if let (Some(irc), Some(order)) = (&mut irc, args.text("--await")) {
        irc.wait_for(order, PATIENCE);
    }
    let mut delivered = false;
    for _ in 0..args.number("--count")?.unwrap_or(1).min(1000) {
        let report = match args.program.is_empty() {
            false => drive_mailer(&args.program),
            true => match args.address("--smtp")? {
                Some(server) => connect_and_converse("bot", server, args)?,
                None => break,
            },
        };
        delivered |= report.outcome == "delivered";
        report.print();
    }
    let hold = args.duration("--hold-ms", 0)?.min(PATIENCE);
    match &mut irc {
        Some(irc) => {
            irc.wait_for("!die", hold);
            irc.quit();
        }
        None => std::thread::sleep(hold),
    }
    Ok(ExitCode::from(u8::from(!delivered)))
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

struct Irc {
    reader: BufReader<TcpStream>,
    channel: String,
}

impl Irc {
    /// Connects, registers and joins the channel.
    fn join(server: SocketAddr, args: &Args) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        let nick = args.text("--nick").unwrap_or("bot-8472").to_owned();
        let channel = args.text("--channel").unwrap_or("#orders").to_owned();
        let mut irc = Self {
            reader: BufReader::new(stream),
            channel,
        };
        irc.say(&format!("NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n"))?;
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        irc.read_until(Instant::now() + PATIENCE, |line| {
            line.contains(" 376 ") || line.contains(" 422 ")
        })
        .ok_or_else(timed_out)?;
        irc.say(&format!("JOIN {}\r\n", irc.channel))?;
        irc.read_until(Instant::now() + PATIENCE, |line| line.contains(" 366 "))
            .ok_or_else(timed_out)?;
        let mut output = io::stdout().lock();
        output.write_all(b"{\"event\":\"joined\"}\n")?;
        output.flush()?;
        Ok(irc)
    }

    /// Waits until somebody says `text`; answers PING meanwhile.
    fn wait_for(&mut self, text: &str, limit: Duration) {
        self.read_until(Instant::now() + limit, |line| {
            line.contains(" PRIVMSG ") && line.contains(text)
        });
    }

    fn read_until(&mut self, deadline: Instant, wanted: impl Fn(&str) -> bool) -> Option<()> {
        let mut line = String::new();
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            self.reader.get_ref().set_read_timeout(Some(left)).ok()?;
            match io::Read::take(&mut self.reader, 4096).read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                // An unfinished line stays and is read on.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(_) => return None,
            }
            if let Some(token) = line.strip_prefix("PING ") {
                let answer = format!("PONG {token}");
                self.say(&answer).ok()?;
            }
            if wanted(&line) {
                return Some(());
            }
            line.clear();
        }
    }

    fn quit(&mut self) {
        let _ = self.say("QUIT :done\r\n");
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }
}
