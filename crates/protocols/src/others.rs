//! Protocols of lines that share words with IRC and SMTP: FTP, POP3, IMAP, NNTP, Redis
//! without arrays, memcached, NATS. Known, they are not mistaken for those.

use crate::app::App;
use crate::lines::word;
use crate::smtp::reply;

const KNOWN: usize = 7;
const APPS: [App; KNOWN] = [
    App::Ftp,
    App::Pop3,
    App::Imap,
    App::Nntp,
    App::Redis,
    App::Memcached,
    App::Nats,
];
const FTP: usize = 0;
const POP3: usize = 1;
const IMAP: usize = 2;
const NNTP: usize = 3;
const REDIS: usize = 4;
const MEMCACHED: usize = 5;
const NATS: usize = 6;

/// What one side's lines amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    client: [u8; KNOWN],
    server: [u8; KNOWN],
    lines: u8,
}

impl Score {
    /// Takes a line into account.
    pub fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let first = self.lines == 0;
        self.lines = self.lines.saturating_add(1);
        self.reply(line, first);
        self.command(line);
    }

    fn reply(&mut self, line: &[u8], first: bool) {
        let mut add = |which: usize, points: u8| {
            self.server[which] = self.server[which].saturating_add(points);
        };
        if let Some(reply) = reply(line) {
            match reply.code {
                220 if first => add(FTP, 1),
                125
                | 150
                | 202
                | 211..=215
                | 225..=227
                | 229..=232
                | 234
                | 257
                | 331
                | 332
                | 350
                | 425
                | 426
                | 450..=452
                | 530
                | 532 => add(FTP, 2),
                _ => {}
            }
            if first && matches!(reply.code, 200 | 201) {
                add(NNTP, 3);
            }
            if !first && matches!(reply.code, 211 | 222 | 223 | 224 | 281 | 381 | 480 | 340) {
                add(NNTP, 2);
            }
            return;
        }
        match line {
            [b'+', b'O', b'K'] | [b'+', b'O', b'K', b' ', ..] => {
                add(POP3, if first { 3 } else { 1 })
            }
            [b'-', b'E', b'R', b'R'] | [b'-', b'E', b'R', b'R', b' ', ..] => {
                add(POP3, 1);
                add(REDIS, 1);
            }
            [b'*', b' ', rest @ ..] => {
                let status = word(rest).0;
                if [&b"OK"[..], b"PREAUTH", b"BYE", b"CAPABILITY"].contains(&status) {
                    add(IMAP, 3);
                }
            }
            b"+PONG" | b"+QUEUED" | b"-NOAUTH Authentication required." => add(REDIS, 3),
            b"STORED" | b"NOT_FOUND" | b"NOT_STORED" | b"DELETED" => add(MEMCACHED, 3),
            _ if line.starts_with(b"STAT ") || line.starts_with(b"VALUE ") => add(MEMCACHED, 2),
            _ if line.starts_with(b"MSG ") || line.starts_with(b"INFO {") => add(NATS, 3),
            _ => {}
        }
    }

    fn command(&mut self, line: &[u8]) {
        let mut add = |which: usize, points: u8| {
            self.client[which] = self.client[which].saturating_add(points);
        };
        let (verb, rest) = word(line);
        let arguments = rest.trim_ascii();
        let is = |names: &[&[u8]]| names.iter().any(|name| verb.eq_ignore_ascii_case(name));
        let single = !arguments.is_empty() && !arguments.contains(&b' ');
        if is(&[b"USER", b"PASS"]) && !arguments.starts_with(b":") && (single || is(&[b"PASS"])) {
            add(FTP, 2);
            add(POP3, 2);
        }
        if is(&[
            b"PASV", b"EPSV", b"PORT", b"EPRT", b"RETR", b"STOR", b"CWD", b"CDUP", b"PWD", b"XPWD",
            b"SYST", b"FEAT", b"TYPE", b"SIZE", b"MDTM", b"MKD", b"RMD", b"DELE", b"REST", b"NLST",
            b"MLSD", b"PBSZ", b"PROT", b"OPTS",
        ]) {
            add(FTP, 2);
        }
        if is(&[b"AUTH"])
            && [&b"TLS"[..], b"SSL", b"GSSAPI"]
                .iter()
                .any(|name| arguments.eq_ignore_ascii_case(name))
        {
            add(FTP, 2);
        }
        if is(&[
            b"STAT", b"UIDL", b"CAPA", b"STLS", b"APOP", b"TOP", b"RETR", b"DELE",
        ]) {
            add(POP3, 2);
        }
        if is(&[
            b"GROUP",
            b"ARTICLE",
            b"HEAD",
            b"BODY",
            b"XOVER",
            b"LISTGROUP",
            b"NEWNEWS",
            b"AUTHINFO",
            b"XHDR",
            b"IHAVE",
            b"NEWGROUPS",
        ]) || (is(&[b"MODE"])
            && [&b"READER"[..], b"STREAM"]
                .iter()
                .any(|name| arguments.eq_ignore_ascii_case(name)))
        {
            add(NNTP, 3);
        }
        if is(&[b"SUB", b"PUB", b"UNSUB"]) && !arguments.is_empty()
            || line.starts_with(b"CONNECT {")
        {
            add(NATS, 2);
        }
        if matches!(
            verb,
            b"get"
                | b"gets"
                | b"set"
                | b"add"
                | b"delete"
                | b"stats"
                | b"incr"
                | b"cas"
                | b"flush_all"
        ) {
            add(MEMCACHED, 2);
        }
        let tagged = word(rest).0;
        let imap: [&[u8]; 11] = [
            b"LOGIN",
            b"CAPABILITY",
            b"SELECT",
            b"FETCH",
            b"AUTHENTICATE",
            b"LOGOUT",
            b"STARTTLS",
            b"NOOP",
            b"ID",
            b"EXAMINE",
            b"UID",
        ];
        let is_tag = (1..=12).contains(&verb.len())
            && verb.iter().all(u8::is_ascii_alphanumeric)
            && verb.iter().any(u8::is_ascii_digit);
        if is_tag && imap.iter().any(|name| tagged.eq_ignore_ascii_case(name)) {
            add(IMAP, 3);
        }
    }

    /// Lines so far.
    pub const fn lines(&self) -> u8 {
        self.lines
    }
}

/// The protocol that two sides speak, and how sure that is.
pub fn best(client: &Score, server: &Score) -> Option<(App, f32)> {
    let points = |which: usize| (client.client[which], server.server[which]);
    let best = (0..KNOWN).max_by_key(|which| {
        let (client, server) = points(*which);
        // With the same words on one side, the other side decides.
        (
            u16::from(client.min(8)) + u16::from(server.min(8)),
            KNOWN - which,
        )
    })?;
    let confidence = match points(best) {
        (2.., 2..) => 0.95,
        (2.., 1) | (1, 2..) => 0.9,
        (0, 3..) | (4.., 0) => 0.8,
        _ => return None,
    };
    Some((APPS[best], confidence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(lines: &[&str]) -> Score {
        let mut score = Score::default();
        for line in lines {
            score.line(line.as_bytes());
        }
        score
    }

    fn app(client: &[&str], server: &[&str]) -> App {
        best(&score(client), &score(server)).map_or(App::Unknown, |(app, _)| app)
    }

    #[test]
    fn each_is_known() {
        assert_eq!(
            app(
                &["USER a", "PASS b", "PASV"],
                &["220 ready", "331 password", "230 in"]
            ),
            App::Ftp
        );
        assert_eq!(
            app(&["USER a", "PASS b", "STAT"], &["+OK ready", "+OK", "+OK"]),
            App::Pop3
        );
        assert_eq!(app(&["a1 LOGIN a b"], &["* OK ready"]), App::Imap);
        assert_eq!(
            app(&["MODE READER", "GROUP a.b"], &["200 news ready", "200 hi"]),
            App::Nntp
        );
        assert_eq!(app(&["set a 0 0 1"], &["STORED"]), App::Memcached);
        assert_eq!(
            app(&["NICK a", "USER a 0 * :a"], &[":s 001 a :hi"]),
            App::Unknown
        );
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut score = Score::default();
            score.line(&line);
        }
    }
}
