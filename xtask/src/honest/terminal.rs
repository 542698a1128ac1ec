//! A person at a terminal: a login on a serial line, into which lines are typed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::patient;

/// Until a login, or the prompt after it, appears.
const LOGIN_LIMIT: Duration = Duration::from_secs(180);

/// A terminal, and what it has shown.
pub struct Terminal {
    writer: Box<dyn Write + Send>,
    shown: Arc<Mutex<String>>,
    /// What was shown before is no matter.
    read: usize,
    count: u32,
    user: Option<String>,
}

impl Terminal {
    /// The terminal at the other end of this socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used twice.
    pub fn new(stream: UnixStream) -> Result<Self> {
        let reader = stream.try_clone()?;
        Ok(Self::of(reader, stream))
    }

    /// A terminal that is read and written apart.
    pub fn of(mut reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        let shown = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&shown);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if let Ok(mut text) = copy.lock() {
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            }
        });
        Self {
            writer: Box::new(writer),
            shown,
            read: 0,
            count: 0,
            user: None,
        }
    }

    /// What it has shown since the last look, without control sequences.
    fn fresh(&self) -> String {
        let text = self
            .shown
            .lock()
            .map(|text| text.get(self.read..).unwrap_or_default().to_owned());
        plain(&text.unwrap_or_default())
    }

    fn look_away(&mut self) {
        self.read = self.shown.lock().map_or(0, |text| text.len());
    }

    /// Waits until it has shown a text.
    fn wait(&self, text: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while !self.fresh().contains(text) {
            if began.elapsed() > patient(limit) {
                bail!(
                    "the terminal does not show {text:?}; it shows {:?}",
                    tail(&self.fresh(), 300)
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Types, as quickly as a person who is in a hurry.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for byte in text.as_bytes() {
            self.writer.write_all(&[*byte]).context("the terminal")?;
            self.writer.flush().context("the terminal")?;
            thread::sleep(Duration::from_millis(8));
        }
        Ok(())
    }

    /// Logs a user in, unless he is already.
    ///
    /// # Errors
    ///
    /// When no prompt appears.
    pub fn log_in(&mut self, user: &str) -> Result<()> {
        if self.user.as_deref() == Some(user) {
            return Ok(());
        }
        if self.user.take().is_some() {
            self.type_text("exit\n")?;
        }
        self.look_away();
        let began = Instant::now();
        loop {
            self.type_text("\n")?;
            if self.wait("login:", Duration::from_secs(10)).is_ok() {
                break;
            }
            if began.elapsed() > patient(LOGIN_LIMIT) {
                bail!(
                    "the terminal shows no login: {:?}",
                    tail(&self.fresh(), 300)
                );
            }
        }
        thread::sleep(Duration::from_secs(1));
        self.look_away();
        self.type_text(&format!("{user}\n"))?;
        self.wait("assword:", LOGIN_LIMIT)?;
        thread::sleep(Duration::from_secs(1));
        self.type_text(&format!("{user}\n"))?;
        self.be_ready()?;
        self.user = Some(user.to_owned());
        Ok(())
    }

    /// Waits until a shell answers, and makes its lines long enough.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub fn be_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < patient(LOGIN_LIMIT) {
            thread::sleep(Duration::from_secs(2));
            if self
                .command(
                    "stty cols 400 2>/dev/null; export TERM=dumb",
                    Duration::from_secs(30),
                )
                .is_ok()
            {
                return Ok(());
            }
        }
        bail!(
            "no shell answers at the terminal: {:?}",
            tail(&self.fresh(), 300)
        )
    }

    /// Types a command, and waits for its end: its status and what was shown.
    ///
    /// # Errors
    ///
    /// When it does not end within the limit.
    pub fn command(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        self.count += 1;
        let number = self.count;
        self.look_away();
        // The text that ends it must not appear as it is typed.
        self.type_text(&format!("{command}; echo en\"\"ded-{number}-$?.\n"))?;
        let sign = format!("ended-{number}-");
        if let Err(error) = self.wait(&sign, limit) {
            self.type_text("\u{3}")?;
            thread::sleep(Duration::from_secs(1));
            return Err(error);
        }
        let began = Instant::now();
        loop {
            let text = self.fresh();
            let rest = text.split(&sign).nth(1).unwrap_or_default();
            if let Some((status, _)) = rest.split_once('.') {
                let shown = text.split(&sign).next().unwrap_or_default();
                let shown = shown.split_once('\n').map_or("", |(_, rest)| rest);
                return Ok((status.parse().unwrap_or(-1), shown.trim().to_owned()));
            }
            if began.elapsed() > limit {
                bail!("the terminal shows no status");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a text is shown, from here on.
    ///
    /// # Errors
    ///
    /// When it is not shown within the limit.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait(text, limit)
    }

    /// The shell is not the one of a login any more: the next row logs in anew.
    pub fn forget(&mut self) {
        self.user = None;
    }
}

/// The end of a text.
fn tail(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Without the sequences that move a cursor and change colours.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                while letters
                    .next_if(|next| !('@'..='~').contains(next))
                    .is_some()
                {}
                letters.next();
            }
            '\r' | '\u{7}' => {}
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_passed_over() {
        assert_eq!(
            plain("\u{1b}[?2004h$ \u{1b}[1;32mok\u{1b}[0m\r\n"),
            "$ ok\n"
        );
    }

    #[test]
    fn a_command_ends_with_its_status() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut shell = theirs.try_clone().unwrap();
        thread::spawn(move || {
            let mut typed = String::new();
            let mut byte = [0];
            while !typed.ends_with('\n') && shell.read(&mut byte).is_ok() {
                typed.push(char::from(byte[0]));
            }
            let _ = write!(shell, "$ {typed}");
            let _ = shell.write_all(b"not found\r\nended-1-127.\r\n$ ");
        });
        let mut terminal = Terminal::new(ours).unwrap();
        let (status, shown) = terminal
            .command("nothing", Duration::from_secs(60))
            .unwrap();
        assert_eq!((status, &*shown), (127, "not found"));
    }
}
