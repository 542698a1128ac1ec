//! What the mail server answers to each line. No I/O.

use super::SmtpOptions;

/// Recipients of one message.
const MOST_RECIPIENTS: usize = 100;

/// What follows from a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Reply(String),
    /// Within a message there is no answer.
    Silent,
    Delivered {
        from: String,
        to: Vec<String>,
        content: Vec<u8>,
    },
    /// The last answer.
    Close(String),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Commands,
    /// The user's name, then the password, is still to come.
    Login {
        lines_left: u8,
    },
    Plain,
    Data {
        content: Vec<u8>,
        too_large: bool,
        after_crlf: bool,
    },
}

/// One client's conversation.
#[derive(Debug)]
pub(super) struct Session<'a> {
    options: &'a SmtpOptions,
    state: State,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(options: &'a SmtpOptions) -> Self {
        Self {
            options,
            state: State::Commands,
            greeted: false,
            from: None,
            to: Vec::new(),
        }
    }

    pub(super) fn greeting(&self) -> String {
        format!("220 {} ESMTP\r\n", self.options.name)
    }

    /// The line as a record may keep it, when it is a command.
    pub(super) fn command_to_note(&self, line: &[u8]) -> Option<String> {
        if self.state != State::Commands {
            return None;
        }
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let secret = text
            .get(..5)
            .is_some_and(|word| word.eq_ignore_ascii_case("AUTH "));
        Some(if secret {
            text.split(' ').take(2).collect::<Vec<_>>().join(" ")
        } else {
            text
        })
    }

    /// Takes one line with its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Step {
        match &mut self.state {
            State::Data { .. } => self.data(line),
            State::Login { lines_left: 2 } => {
                self.state = State::Login { lines_left: 1 };
                reply("334 UGFzc3dvcmQ6")
            }
            State::Login { .. } | State::Plain => {
                self.state = State::Commands;
                reply("235 2.7.0 Accepted")
            }
            State::Commands => self.command(line),
        }
    }

    fn command(&mut self, line: &[u8]) -> Step {
        let Ok(text) = std::str::from_utf8(line) else {
            return reply("500 5.5.2 Not text");
        };
        let text = text.trim_end();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.greet();
                let mut lines = vec![self.options.name.clone(), "8BITMIME".to_owned()];
                lines.push(format!("SIZE {}", self.options.largest_bytes));
                if self.options.authentication {
                    lines.push("AUTH PLAIN LOGIN".to_owned());
                }
                lines.push("PIPELINING".to_owned());
                let last = lines.len() - 1;
                let line = |(index, line)| {
                    format!("250{}{line}\r\n", if index == last { ' ' } else { '-' })
                };
                Step::Reply(lines.into_iter().enumerate().map(line).collect())
            }
            "HELO" => {
                self.greet();
                Step::Reply(format!("250 {}\r\n", self.options.name))
            }
            "NOOP" => reply("250 2.0.0 OK"),
            "RSET" => {
                self.forget_message();
                reply("250 2.0.0 OK")
            }
            "VRFY" => reply("252 2.5.0 Cannot verify"),
            "QUIT" => Step::Close("221 2.0.0 Bye\r\n".to_owned()),
            "AUTH" if self.options.authentication => self.authenticate(rest),
            "MAIL" | "RCPT" | "DATA" if !self.greeted => reply("503 5.5.1 Say EHLO first"),
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" if self.to.is_empty() => reply("503 5.5.1 No recipients"),
            "DATA" => {
                self.state = State::Data {
                    content: Vec::new(),
                    too_large: false,
                    after_crlf: true,
                };
                reply("354 Go ahead")
            }
            _ => reply("500 5.5.1 Unknown command"),
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.forget_message();
    }

    fn forget_message(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn authenticate(&mut self, rest: &str) -> Step {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        match (mechanism.to_ascii_uppercase().as_str(), initial.is_empty()) {
            ("PLAIN", false) => reply("235 2.7.0 Accepted"),
            ("PLAIN", true) => {
                self.state = State::Plain;
                reply("334 ")
            }
            ("LOGIN", false) => {
                self.state = State::Login { lines_left: 1 };
                reply("334 UGFzc3dvcmQ6")
            }
            ("LOGIN", true) => {
                self.state = State::Login { lines_left: 2 };
                reply("334 VXNlcm5hbWU6")
            }
            _ => reply("504 5.5.4 Unknown mechanism"),
        }
    }

    fn mail(&mut self, rest: &str) -> Step {
        if self.from.is_some() {
            return reply("503 5.5.1 Sender is given already");
        }
        let Some((from, parameters)) = path(rest, "FROM:") else {
            return reply("501 5.5.4 Want FROM:<address>");
        };
        for parameter in parameters.split_ascii_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<usize>() {
                    Ok(size) if size <= self.options.largest_bytes => {}
                    Ok(_) => return reply("552 5.3.4 Message too large"),
                    Err(_) => return reply("501 5.5.4 Bad SIZE"),
                },
                "BODY" | "AUTH" => {}
                _ => return reply("555 5.5.4 Unknown parameter"),
            }
        }
        self.from = Some(from);
        reply("250 2.1.0 OK")
    }

    fn recipient(&mut self, rest: &str) -> Step {
        if self.from.is_none() {
            return reply("503 5.5.1 No sender");
        }
        if self.to.len() >= MOST_RECIPIENTS {
            return reply("452 4.5.3 Too many recipients");
        }
        match path(rest, "TO:") {
            Some((to, _)) if !to.is_empty() => {
                self.to.push(to);
                reply("250 2.1.5 OK")
            }
            _ => reply("501 5.5.4 Want TO:<address>"),
        }
    }

    fn data(&mut self, line: &[u8]) -> Step {
        let State::Data {
            content,
            too_large,
            after_crlf,
        } = &mut self.state
        else {
            return Step::Silent;
        };
        // Only CRLF.CRLF ends a message; a bare LF would let one message hide another.
        if *after_crlf && line == b".\r\n" {
            let (content, too_large) = (std::mem::take(content), *too_large);
            self.state = State::Commands;
            let (from, to) = (
                self.from.take().unwrap_or_default(),
                std::mem::take(&mut self.to),
            );
            return if too_large {
                reply("552 5.3.4 Message too large")
            } else {
                Step::Delivered { from, to, content }
            };
        }
        let unstuffed = if *after_crlf {
            line.strip_prefix(b".").unwrap_or(line)
        } else {
            line
        };
        *after_crlf = line.ends_with(b"\r\n");
        if content.len() + unstuffed.len() > self.options.largest_bytes {
            *too_large = true;
        }
        if !*too_large {
            content.extend(unstuffed);
        }
        Step::Silent
    }
}

fn reply(line: &str) -> Step {
    Step::Reply(format!("{line}\r\n"))
}

/// The address in `FROM:<address> parameters`, and the parameters.
fn path<'t>(text: &'t str, keyword: &str) -> Option<(String, &'t str)> {
    if !text.get(..keyword.len())?.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = text[keyword.len()..]
        .trim_start()
        .strip_prefix('<')?
        .split_once('>')?;
    (address.len() <= 320).then(|| (address.to_owned(), parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(session: &mut Session<'_>, line: &str) -> String {
        match session.line(format!("{line}\r\n").as_bytes()) {
            Step::Reply(reply) | Step::Close(reply) => reply,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn commands_come_in_order() {
        let options = SmtpOptions::default();
        let mut session = Session::new(&options);
        assert!(say(&mut session, "MAIL FROM:<a@b>").starts_with("503"));
        assert!(say(&mut session, "ehlo me").starts_with("250-"));
        assert!(say(&mut session, "RCPT TO:<c@d>").starts_with("503"));
        assert!(say(&mut session, "MAIL FROM:<> SIZE=10 BODY=8BITMIME").starts_with("250"));
        assert!(say(&mut session, "DATA").starts_with("503"));
        assert!(say(&mut session, "rcpt to: <c@d>").starts_with("250"));
        assert!(say(&mut session, "RSET").starts_with("250"));
        assert!(say(&mut session, "DATA").starts_with("503"));
        assert!(say(&mut session, "QUIT").starts_with("221"));
    }

    #[test]
    fn dots_are_unstuffed_and_only_crlf_ends_a_message() {
        let options = SmtpOptions::default();
        let mut session = Session::new(&options);
        for line in ["HELO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"] {
            say(&mut session, line);
        }
        for line in [&b"..dot\r\n"[..], b"x\n", b".\r\n", b"\r\n"] {
            assert_eq!(session.line(line), Step::Silent, "{line:?}");
        }
        let content = b".dot\r\nx\n.\r\n\r\n".to_vec();
        let delivered = Step::Delivered {
            from: "a@b".into(),
            to: vec!["c@d".into()],
            content,
        };
        assert_eq!(session.line(b".\r\n"), delivered);
        assert!(say(&mut session, "NOOP").starts_with("250"));
    }

    #[test]
    fn too_large_messages_are_refused() {
        let options = SmtpOptions {
            largest_bytes: 10,
            ..SmtpOptions::default()
        };
        let mut session = Session::new(&options);
        say(&mut session, "HELO me");
        assert!(say(&mut session, "MAIL FROM:<a@b> SIZE=11").starts_with("552"));
        for line in ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "12345678901"] {
            say(&mut session, line);
        }
        assert!(say(&mut session, ".").starts_with("552"));
    }

    #[test]
    fn authentication_is_accepted_when_offered() {
        let options = SmtpOptions {
            authentication: true,
            ..SmtpOptions::default()
        };
        let mut session = Session::new(&options);
        assert!(say(&mut session, "AUTH PLAIN AGEAYg==").starts_with("235"));
        for (line, code) in [
            ("AUTH LOGIN", "334"),
            ("YQ==", "334"),
            ("Yg==", "235"),
            ("AUTH X", "504"),
        ] {
            assert!(say(&mut session, line).starts_with(code), "{line}");
        }
        assert_eq!(
            session.command_to_note(b"AUTH PLAIN secret\r\n").unwrap(),
            "AUTH PLAIN"
        );
        let silent = SmtpOptions::default();
        assert!(say(&mut Session::new(&silent), "AUTH PLAIN x").starts_with("500"));
    }
}
