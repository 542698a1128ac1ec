//! Mail: SMTP and ESMTP (RFC 5321), LMTP (RFC 2033), `STARTTLS` (RFC 3207), `AUTH`
//! (RFC 4954), `BDAT` (RFC 3030).
//!
//! A greeting `220` alone is FTP's too: what decides is `EHLO`, `HELO` or `LHLO`, `MAIL FROM:`
//! and `RCPT TO:` on one side, and what only mail servers answer on the other.

use crate::lines::word;
use crate::text;

/// Longest address or name that is kept, in bytes (RFC 5321, 4.5.3.1: 256 for a path).
const NAME_MAX_BYTES: usize = 256;
/// Most recipients that are kept.
pub const RECIPIENTS_MAX: usize = 8;

/// What was learned of a mail connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmtpFacts {
    /// The name behind `EHLO`, `HELO` or `LHLO`.
    pub helo: Option<String>,
    /// It was `LHLO`: local delivery.
    pub lmtp: bool,
    /// The first sender, without `<>`; empty for a bounce.
    pub mail_from: Option<String>,
    /// The first recipients, at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<String>,
    /// The server's greeting.
    pub greeting: Option<String>,
    /// The client changed to TLS.
    pub starttls: bool,
    /// The client authenticated itself.
    pub auth: bool,
}

impl SmtpFacts {
    /// Takes a line of the client into account.
    pub fn client_line(&mut self, line: &[u8]) {
        match command(line) {
            Some(Command::Hello(name)) => {
                self.lmtp |= line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"LHLO");
                if self.helo.is_none() {
                    self.helo = Some(text(name, NAME_MAX_BYTES));
                }
            }
            Some(Command::Mail(path)) if self.mail_from.is_none() => {
                self.mail_from = Some(address(path));
            }
            Some(Command::Recipient(path)) if self.recipients.len() < RECIPIENTS_MAX => {
                self.recipients.push(address(path));
            }
            Some(Command::StartTls) => self.starttls = true,
            Some(Command::Auth) => self.auth = true,
            _ => {}
        }
    }

    /// Takes a line of the server into account.
    pub fn server_line(&mut self, line: &[u8]) {
        if self.greeting.is_none()
            && let Some(Reply {
                code: 220,
                text: greeting,
                ..
            }) = reply(line)
        {
            self.greeting = Some(text(greeting, NAME_MAX_BYTES));
        }
    }
}

/// A command that says something about the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command<'a> {
    Hello(&'a [u8]),
    Mail(&'a [u8]),
    Recipient(&'a [u8]),
    StartTls,
    Auth,
    Data,
    /// Others have it too.
    Common,
}

fn command(line: &[u8]) -> Option<Command<'_>> {
    let (verb, rest) = word(line);
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    let argument = rest.trim_ascii();
    if is(b"EHLO") || is(b"HELO") || is(b"LHLO") {
        // One word, as a rule; nothing at all comes from clients that know it no better.
        return (argument.len() <= 512).then_some(Command::Hello(argument));
    }
    if is(b"MAIL") {
        return path(argument, b"FROM:").map(Command::Mail);
    }
    if is(b"RCPT") {
        return path(argument, b"TO:").map(Command::Recipient);
    }
    if is(b"STARTTLS") && argument.is_empty() {
        return Some(Command::StartTls);
    }
    if is(b"AUTH") {
        return is_mechanism(word(argument).0).then_some(Command::Auth);
    }
    if is(b"DATA") && argument.is_empty()
        || is(b"BDAT") && argument.first().is_some_and(u8::is_ascii_digit)
    {
        return Some(Command::Data);
    }
    let common: [&[u8]; 8] = [
        b"RSET", b"NOOP", b"QUIT", b"VRFY", b"EXPN", b"HELP", b"ETRN", b"XCLIENT",
    ];
    common
        .iter()
        .any(|name| is(name))
        .then_some(Command::Common)
}

/// The name of a way to authenticate (RFC 4422).
fn is_mechanism(name: &[u8]) -> bool {
    const MECHANISMS: [&[u8]; 11] = [
        b"PLAIN",
        b"LOGIN",
        b"CRAM-MD5",
        b"DIGEST-MD5",
        b"NTLM",
        b"GSSAPI",
        b"XOAUTH2",
        b"OAUTHBEARER",
        b"EXTERNAL",
        b"SCRAM-SHA-1",
        b"SCRAM-SHA-256",
    ];
    MECHANISMS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// What follows `FROM:` or `TO:`.
fn path<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start
        .eq_ignore_ascii_case(keyword)
        .then_some(rest.trim_ascii())
}

fn address(path: &[u8]) -> String {
    let end = path.iter().position(|byte| *byte == b'>' || *byte == b' ');
    let path = &path[..end.unwrap_or(path.len())];
    text(path.strip_prefix(b"<").unwrap_or(path), NAME_MAX_BYTES)
}

/// A line of a reply (RFC 5321, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub code: u16,
    /// More lines follow.
    pub more: bool,
    pub text: &'a [u8],
}

/// Reads three digits and what follows them. FTP and NNTP write replies in this form too.
pub(crate) fn reply(line: &[u8]) -> Option<Reply<'_>> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !(b'1'..=b'5').contains(&code[0]) {
        return None;
    }
    let code = code
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Some(Reply {
            code,
            more: false,
            text: rest,
        }),
        [b' ', text @ ..] => Some(Reply {
            code,
            more: false,
            text,
        }),
        [b'-', text @ ..] => Some(Reply {
            code,
            more: true,
            text,
        }),
        _ => None,
    }
}

/// What one side's lines amount to, read as a client's and as a server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub client: u16,
    pub server: u16,
    /// `EHLO`, `HELO` or `LHLO` was said.
    pub hello: bool,
    /// A sender or a recipient was named.
    pub envelope: bool,
    /// The first reply was a greeting (220), or a refusal instead of one (421, 554).
    pub greeting: bool,
    /// The first reply refuses as mail servers do.
    pub refuses: bool,
    /// The server calls itself a mail server, or answers as only one does.
    pub surely_server: bool,
    /// It says that it is something else, FTP for one.
    pub other_server: bool,
    /// It answers as file servers do: asks for a password, opens a connection for data.
    pub transfers: bool,
    /// Requests that it granted (250, 354).
    pub granted: u16,
    /// Replies in the form of SMTP.
    pub replies: u16,
    /// Lines of a client that mail servers do not know.
    pub unknown: u16,
}

impl Score {
    /// Takes a line into account. Says whether it is one that the other side may confirm.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if line.is_empty() {
            return false;
        }
        if let Some(reply) = reply(line) {
            let before = self.server;
            self.reply(reply);
            return self.server > before;
        }
        let points = match command(line) {
            Some(Command::Hello(_)) => {
                self.hello = true;
                3
            }
            Some(Command::Mail(_) | Command::Recipient(_)) => {
                self.envelope = true;
                3
            }
            Some(Command::Auth | Command::Data) => 1,
            Some(Command::StartTls | Command::Common) => 0,
            None => {
                self.unknown = self.unknown.saturating_add(1);
                0
            }
        };
        self.client = self.client.saturating_add(points);
        points > 0
    }

    /// Is there anything that more lines may confirm?
    pub const fn is_evidence(&self) -> bool {
        self.hello || self.envelope || self.refuses || (self.surely_server && !self.transfers)
    }

    fn reply(&mut self, reply: Reply<'_>) {
        let first = self.replies == 0;
        self.replies = self.replies.saturating_add(1);
        if first && matches!(reply.code, 220 | 421 | 554) {
            self.greeting = true;
            let words = greeting_words(reply.text);
            self.other_server |= words == Greeting::Transfer;
            self.refuses = reply.code != 220
                && words != Greeting::Transfer
                && (reply.code == 554
                    || words == Greeting::Mail
                    || is_enhanced(reply)
                    || refuses_mail(reply.text));
            if words == Greeting::Mail || self.refuses {
                self.surely_server = true;
                self.server = self.server.saturating_add(3);
            } else {
                self.server = self.server.saturating_add(1);
            }
            return;
        }
        self.transfers |= matches!(
            reply.code,
            125 | 150 | 225..=227 | 229 | 230 | 257 | 331 | 332 | 350
        );
        let points = match reply.code {
            250 if is_extension(reply.text) => 3,
            // "250 2.1.0 Ok" (RFC 3463): the class of the code comes again.
            _ if is_enhanced(reply) => 3,
            354 => 2,
            // Base64 of "Username:" and "Password:".
            334 if reply.text.starts_with(b"VXNlcm5hbWU6")
                || reply.text.starts_with(b"UGFzc3dvcmQ6") =>
            {
                3
            }
            250 | 251 | 334 => 1,
            _ => 0,
        };
        self.granted = self
            .granted
            .saturating_add(u16::from(matches!(reply.code, 250 | 354)));
        self.surely_server |= points == 3;
        self.server = self.server.saturating_add(points);
    }
}

/// What a server calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    Mail,
    Transfer,
    Unknown,
}

/// Looks for the name of a protocol among the words of a greeting. A host may be called after
/// one: neither the first word nor a name with a dot or a hyphen counts.
fn greeting_words(greeting: &[u8]) -> Greeting {
    let mut found = Greeting::Unknown;
    for (at, word) in greeting.split(|byte| *byte == b' ').enumerate().take(40) {
        let word = word.trim_ascii();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric();
        let (Some(start), Some(end)) = (word.iter().position(inner), word.iter().rposition(inner))
        else {
            continue;
        };
        let word = &word[start..=end];
        let is = |names: &[&[u8]]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        // A host may be called `ftp`, and serve mail.
        let mail = is(&[b"ESMTP"]) || at > 0 && is(&[b"SMTP", b"LMTP"]);
        if mail && (found != Greeting::Transfer || at == 1) {
            found = Greeting::Mail;
        }
        // FTP, FTPD, vsFTPd, ProFTPD, Pure-FTPd.
        let stem = word
            .strip_suffix(b"d")
            .or(word.strip_suffix(b"D"))
            .unwrap_or(word);
        let ends = stem.len() >= 3 && stem[stem.len() - 3..].eq_ignore_ascii_case(b"FTP");
        if ends && !word.contains(&b'.') && found != Greeting::Mail {
            found = Greeting::Transfer;
        }
    }
    found
}

/// Does a refusal speak of mail, or begin with the server's name as mail servers do?
fn refuses_mail(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 16] = [
        b"smtp",
        b"mail",
        b"transmission channel",
        b"spam",
        b"rbl",
        b"blacklist",
        b"blocklist",
        b"block list",
        b"greylist",
        b"reputation",
        b"sender",
        b"recipient",
        b"message",
        b"postfix",
        b"exim",
        b"reverse dns",
    ];
    let lower = text[..text.len().min(256)].to_ascii_lowercase();
    let has = |part: &[u8]| lower.windows(part.len()).any(|text| text == part);
    if has(b"ftp") || has(b"control connection") {
        return false;
    }
    let name = word(&lower).0;
    let is_host = name.contains(&b'.')
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().any(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(byte))
        && !name.ends_with(b".");
    is_host || name == b"mx" || WORDS.iter().any(|part| has(part))
}

/// A line of the answer to `EHLO` (the registry of SMTP service extensions).
fn is_extension(text: &[u8]) -> bool {
    const EXTENSIONS: [&[u8]; 14] = [
        b"8BITMIME",
        b"PIPELINING",
        b"SIZE",
        b"STARTTLS",
        b"AUTH",
        b"ENHANCEDSTATUSCODES",
        b"DSN",
        b"CHUNKING",
        b"SMTPUTF8",
        b"BINARYMIME",
        b"ETRN",
        b"VRFY",
        b"EXPN",
        b"DELIVERBY",
    ];
    let mut parts = text.splitn(2, |byte| matches!(byte, b' ' | b'='));
    let keyword = parts.next().unwrap_or_default();
    // Tor's control port has `250-AUTH METHODS=…`.
    if keyword.eq_ignore_ascii_case(b"AUTH") {
        return parts.next().is_some_and(|rest| is_mechanism(word(rest).0));
    }
    EXTENSIONS
        .iter()
        .any(|name| keyword.eq_ignore_ascii_case(name))
}

fn is_enhanced(reply: Reply<'_>) -> bool {
    let class = (reply.code / 100) as u8 + b'0';
    matches!(reply.text, [a, b'.', b @ b'0'..=b'7', b'.', c, ..] if *a == class && b.is_ascii_digit() && c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(lines: &str) -> Score {
        let mut score = Score::default();
        for line in lines.lines() {
            score.line(line.as_bytes());
        }
        score
    }

    #[test]
    fn a_session() {
        let client =
            score("EHLO a.example\nMAIL FROM:<a@a.example> SIZE=10\nRCPT TO: <b@b.example>\nDATA");
        assert!(client.hello && client.envelope && client.client >= 10 && client.server == 0);
        let server =
            score("220 mx.b.example ESMTP\n250-mx.b.example\n250-PIPELINING\n250 2.1.0 Ok");
        assert!(server.greeting && server.surely_server && server.client == 0);
        let mut facts = SmtpFacts::default();
        for line in [
            &b"lhlo a.example"[..],
            b"MAIL FROM:<a@a.example> SIZE=10",
            b"RCPT TO: <b@b.example>",
        ] {
            facts.client_line(line);
        }
        assert!(facts.lmtp);
        assert_eq!(facts.mail_from.as_deref(), Some("a@a.example"));
        assert_eq!(facts.recipients, ["b@b.example"]);
    }

    #[test]
    fn file_transfer_is_no_mail() {
        let server =
            score("220 (vsFTPd 3.0.3)\n331 Please specify the password.\n230 Login successful.");
        assert!(server.other_server && !server.surely_server);
        assert_eq!(score("USER a\nPASS b\nMAIL\nQUIT").client, 0);
    }

    #[test]
    fn hosts_named_after_a_protocol_tell_nothing() {
        for (greeting, is) in [
            ("mx.example ESMTP Postfix", Greeting::Mail),
            ("ESMTP", Greeting::Mail),
            ("ftp.example.com ESMTP", Greeting::Mail),
            ("ftp ESMTP Sendmail", Greeting::Mail),
            ("mail.example Microsoft ESMTP MAIL Service", Greeting::Mail),
            ("host LMTP ready", Greeting::Mail),
            ("ftp.example.com ready", Greeting::Unknown),
            ("smtp ready", Greeting::Unknown),
            ("smtp.example.com ready", Greeting::Unknown),
            ("postfix ready", Greeting::Unknown),
            ("FTP server mail-smtp01 ready", Greeting::Transfer),
            ("postfix FTP server ready", Greeting::Transfer),
            ("smtp FTP server (Version 6.4) ready.", Greeting::Transfer),
            (
                "ProFTPD Server (smtp-relay) [192.0.2.1]",
                Greeting::Transfer,
            ),
            ("(vsFTPd 3.0.3)", Greeting::Transfer),
            ("Welcome to Pure-FTPd [TLS]", Greeting::Transfer),
        ] {
            assert_eq!(greeting_words(greeting.as_bytes()), is, "{greeting}");
        }
    }

    #[test]
    fn refusals_of_mail_servers() {
        for (line, is) in [
            ("421 4.7.1 : (DYN:T1) try later", true),
            ("421 mx.example Service not available", true),
            (
                "421 Service not available, closing transmission channel",
                true,
            ),
            ("421 Too many concurrent SMTP connections", true),
            ("554 No service here", true),
            ("554-mx.example", true),
            (
                "421 Too many users logged in, closing control connection",
                false,
            ),
            (
                "421 There are too many connected users, please try later.",
                false,
            ),
            ("421 ftp.example.org FTP server busy", false),
            ("502 no", false),
        ] {
            assert_eq!(score(line).refuses, is, "{line}");
        }
    }

    #[test]
    fn the_control_port_of_tor_is_no_mail() {
        let server = score("250-PROTOCOLINFO 1\n250-AUTH METHODS=COOKIE\n250 OK");
        assert!(!server.surely_server);
        assert!(score("250-AUTH PLAIN LOGIN").surely_server);
        assert!(score("250-AUTH=LOGIN").surely_server);
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut score = Score::default();
            score.line(&line);
            let mut facts = SmtpFacts::default();
            facts.client_line(&line);
            facts.server_line(&line);
        }

        #[test]
        fn never_panics_on_text(line in "(EHLO|MAIL|RCPT|AUTH|BDAT|[0-9]{3})[ -]?[a-zA-Z0-9:<>@. ]{0,30}") {
            let mut score = Score::default();
            score.line(line.as_bytes());
            let mut facts = SmtpFacts::default();
            facts.client_line(line.as_bytes());
        }
    }
}
