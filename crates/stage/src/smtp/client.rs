//! A small mail client: one message over one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::accept::{Line, Lines};

/// Longest line of an answer in bytes.
const LONGEST_LINE_BYTES: usize = 4096;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Mail {
    /// What the client calls itself.
    pub helo: String,
    /// Sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Subject line.
    pub subject: String,
    /// Text; any line ends.
    pub body: String,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            helo: "localhost".to_owned(),
            from: "alice@example.org".to_owned(),
            to: vec!["bob@example.net".to_owned()],
            subject: "Hello".to_owned(),
            body: "Hello, Bob.\n".to_owned(),
        }
    }
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SmtpFailure {
    /// The system refused or the connection broke.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The server did not agree.
    #[error("server answered {0:?}")]
    Answer(String),
}

impl SmtpFailure {
    /// The errno behind it, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System(_, error) => error.raw_os_error(),
            Self::Answer(_) => None,
        }
    }
}

/// Connects and delivers.
///
/// # Errors
/// When the connection is refused, breaks, or is silent for longer than `limit`, or the
/// server does not take the message.
pub fn deliver(server: SocketAddr, mail: &Mail, limit: Duration) -> Result<(), SmtpFailure> {
    let stream = TcpStream::connect_timeout(&server, limit)
        .map_err(|e| SmtpFailure::System("connect", e))?;
    let set = |r: io::Result<()>| r.map_err(|e| SmtpFailure::System("set a time limit", e));
    set(stream.set_read_timeout(Some(limit)))?;
    set(stream.set_write_timeout(Some(limit)))?;
    send_over(&stream, &stream, mail)
}

/// Delivers over a connection that exists.
///
/// # Errors
/// When it breaks or the server does not take the message.
pub fn send_over(
    reader: impl Read,
    mut writer: impl Write,
    mail: &Mail,
) -> Result<(), SmtpFailure> {
    let mut lines = Lines::new(reader, LONGEST_LINE_BYTES);
    expect(&mut lines, b'2')?;
    let mut ask = |line: &str, wanted: u8| {
        // One write for a line, so that a count of bytes written is a count of whole lines.
        writer
            .write_all(format!("{line}\r\n").as_bytes())
            .map_err(|e| SmtpFailure::System("write", e))?;
        expect(&mut lines, wanted)
    };
    ask(&format!("EHLO {}", mail.helo), b'2')?;
    ask(&format!("MAIL FROM:<{}>", mail.from), b'2')?;
    for to in &mail.to {
        ask(&format!("RCPT TO:<{to}>"), b'2')?;
    }
    ask("DATA", b'3')?;
    ask(&content(mail), b'2')?;
    // The message is delivered; a server that does not say goodbye does not change that.
    let _ = ask("QUIT", b'2');
    Ok(())
}

/// Header and body, dots stuffed, with the end mark but not its CRLF.
fn content(mail: &Mail) -> String {
    let mut text = format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {}\r\n\r\n",
        mail.from,
        mail.to.join(">, <"),
        mail.subject
    );
    for line in mail.body.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push('.');
    text
}

fn expect(lines: &mut Lines<impl Read>, wanted: u8) -> Result<(), SmtpFailure> {
    loop {
        let Line::Whole(line) = lines.next(|_| ()) else {
            let failure = lines
                .take_failure()
                .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Err(SmtpFailure::System("read an answer", failure));
        };
        if line.get(3) == Some(&b'-') {
            continue;
        }
        return match line.first() == Some(&wanted) {
            true => Ok(()),
            false => Err(SmtpFailure::Answer(
                String::from_utf8_lossy(&line).trim_end().to_owned(),
            )),
        };
    }
}
