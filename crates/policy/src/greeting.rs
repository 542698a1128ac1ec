//! Does a client begin to speak SMTP or LMTP here? Mail ports are guarded by number; on any
//! other port it is the first words of a client that tell (RFC 5321 section 4.1.4, RFC 2033).
//!
//! Fed byte by byte, so that it makes no difference how the bytes were cut into packets.

/// Words with which only a client of SMTP or LMTP begins a line, whoever speaks first. Many
/// servers take mail without a greeting, but none without RCPT.
const GREETINGS: [u32; 4] = [
    word(*b"EHLO"),
    word(*b"HELO"),
    word(*b"LHLO"),
    word(*b"RCPT"),
];
/// A word that means mail where the server has said 220, as servers of SMTP, LMTP and FTP do, and
/// in a client's first line. Later, before a server has spoken, it may be a word of a text.
const MAIL: u32 = word(*b"MAIL");
/// Words with which no client of FTP begins, though it knows one or the other.
const FIRST_COMMANDS: [u32; 4] = [
    word(*b"NOOP"),
    word(*b"RSET"),
    word(*b"VRFY"),
    word(*b"EXPN"),
];

/// The beginning of STARTTLS, behind which nothing can be read. No command of FTP begins so.
const STARTTLS: u32 = word(*b"STAR");

/// Words of HTTP in a first line for which mail servers end the session.
const GET: u32 = word([0, b'G', b'E', b'T']);
const POST: u32 = word(*b"POST");

const LETTERS: u8 = 4;
/// Value of [`ClientLine::letters`] in the rest of a line whose first word is another one.
const REST: u8 = 5;
/// Everything but the case of an ASCII letter.
const UPPER: u8 = 0xdf;

const fn word(letters: [u8; 4]) -> u32 {
    u32::from_be_bytes(letters)
}

/// Where a client's stream stands: the beginning of the line that has been read so far.
/// Blank lines and leading blanks are passed over, as servers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLine {
    /// The first letters of the line, in upper case, the last one in the lowest byte.
    pub word: u32,
    /// How many letters `word` has; 5 when the line is not of interest any more.
    pub letters: u8,
    /// 1 when a line with another beginning came before.
    pub others: u8,
    /// 1 when the client hides what it says: it began a line with STARTTLS, or whoever reads
    /// along saw another way. Mail only where the server says 220, be it later: clients of IRC
    /// know STARTTLS too.
    pub hides: u8,
    /// 1 when the first line is one for which a mail server ends the session. Postfix does so for
    /// GET, POST and for whatever begins with no letter (`smtpd_forbidden_commands`), Sendmail for
    /// GET and POST, and Exim for each client that speaks before the greeting.
    pub refused: u8,
}

impl ClientLine {
    /// Reads one more byte and says whether the client now has said a word of mail, the blank
    /// or the line's end behind it included. `mail_server` when the server has said 220.
    #[inline(always)]
    pub fn read(&mut self, byte: u8, mail_server: bool) -> bool {
        // Those of isspace(), which servers pass over.
        let blank = byte == b' ' || byte == b'\t' || byte == 0x0b || byte == 0x0c;
        let ends = byte == b'\r' || byte == b'\n';
        if blank || ends {
            // What a client of finger or WHOIS asks for may be a word alone.
            let is_query = ends && !mail_server && self.word == MAIL;
            let is_mail =
                self.letters == LETTERS && !is_query && self.begins_word_of_mail(mail_server);
            if self.others == 0 && !ends {
                self.refused |= u8::from(self.is_web_request());
            }
            if self.letters != 0 {
                if ends {
                    self.others = 1;
                    self.letters = 0;
                    self.word = 0;
                } else {
                    self.letters = REST;
                }
            }
            return is_mail;
        }
        if self.letters == 0 && self.others == 0 && !byte.is_ascii_alphabetic() {
            self.refused = 1;
        }
        if self.letters < LETTERS {
            let letter = if byte.is_ascii_lowercase() {
                byte & UPPER
            } else {
                byte
            };
            self.word = self.word << 8 | letter as u32;
            self.letters += 1;
        } else {
            let hides = self.letters == LETTERS && self.word == STARTTLS;
            self.hides |= u8::from(hides);
            self.letters = REST;
            return mail_server && hides;
        }
        false
    }

    /// Whether nothing but a line's end makes a difference to what was read.
    #[inline(always)]
    pub const fn waits_for_line_end(&self) -> bool {
        self.letters == REST
    }

    /// Whether what was read may still become a word of mail, and waits: letters with which one
    /// begins, or nothing but blanks so far. While nobody knows of a mail server, the first line
    /// only: in much text, some packet ends within such a word. Half a word is no mail.
    #[inline(always)]
    pub fn may_become_mail(&self, mail_server: bool) -> bool {
        match self.letters {
            0 => self.others == 0,
            1..=LETTERS => {
                (mail_server || self.others == 0) && self.begins_word_of_mail(mail_server)
            }
            _ => false,
        }
    }

    /// Whether the first word is one with which a request of HTTP begins.
    #[inline(always)]
    fn is_web_request(&self) -> bool {
        (self.letters == 3 && self.word == GET) || (self.letters == LETTERS && self.word == POST)
    }

    /// Whether the letters so far, four at most, are those with which a word of mail begins.
    #[inline(always)]
    fn begins_word_of_mail(&self, mail_server: bool) -> bool {
        let missing = 8 * (LETTERS - self.letters) as u32;
        begins(&GREETINGS, self.word, missing)
            || ((mail_server || self.others == 0) && self.word == MAIL >> missing)
            || (mail_server && self.word == STARTTLS >> missing)
            || (mail_server && self.others == 0 && begins(&FIRST_COMMANDS, self.word, missing))
    }
}

#[inline(always)]
fn begins(words: &[u32], beginning: u32, missing_bits: u32) -> bool {
    let mut index = 0;
    let mut found = false;
    while index < words.len() {
        found |= words[index] >> missing_bits == beginning;
        index += 1;
    }
    found
}

/// Whether eight bytes have a line's end among them. The usual trick with words: a byte is zero
/// when taking one from it borrows.
#[inline(always)]
pub const fn has_line_end(eight: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (feeds, returns) = (eight ^ (ONES * b'\n' as u64), eight ^ (ONES * b'\r' as u64));
    let zero_bytes = (feeds.wrapping_sub(ONES) & !feeds) | (returns.wrapping_sub(ONES) & !returns);
    zero_bytes & (ONES << 7) != 0
}

/// Whether the first payload bytes of a server are those of one that may take mail: its
/// first reply is 220 (RFC 5321 section 4.2). `length` bytes are known, three at most are
/// looked at.
#[inline(always)]
pub fn is_mail_server(first: [u8; 3], length: u32) -> bool {
    length > 0
        && first[0] == b'2'
        && (length < 2 || first[1] == b'2')
        && (length < 3 || first[2] == b'0')
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn said(text: &[u8], mail_server: bool) -> bool {
        let mut line = ClientLine::default();
        text.iter().any(|byte| line.read(*byte, mail_server))
    }

    #[test]
    fn greetings_are_known_however_they_are_written() {
        for text in [
            "EHLO host\r\n",
            "ehlo host\r\n",
            "HeLo\r\n",
            "LHLO x\n",
            "EHLO\r",
            " \t EHLO x",
            "\u{b}EHLO\u{c}x",
            "\r\n\r\n \nehlo\tx",
            "NOOP\r\nEHLO x\r\n",
            "GET / HTTP/1.1\r\nHELO x\r\n",
            "\r\nMail From:<a@b>\r\n",
            "XYZZY\r\nMAIL <a@b>\r\nRCPT <c@d>\r\n",
        ] {
            assert!(said(text.as_bytes(), false), "{text:?}");
        }
    }

    #[test]
    fn other_words_are_not_mail() {
        for text in [
            "HELLO 3\r\n",
            "EHLOX y\r\n",
            "EHL O x\r\n",
            "HEAD / HTTP/1.1\r\n",
            "X EHLO y\r\n",
            "EHLO",
            "MAILS of the day\r\n",
            "mail\r\n",
            "Dear all,\r\nmail me: <a@b>\r\n",
            "USER x\r\nMAIL x\r\n",
            "ehl\r\no\r\n",
            "\u{1b}EHLO x\r\n",
        ] {
            assert!(!said(text.as_bytes(), false), "{text:?}");
        }
        assert!(said(b"XYZZY\r\nMAIL FROM:<a@b>\r\n", true));
        assert!(said(b"XYZZY\r\nrcpt to:<a@b>\r\n", true));
        assert!(said(b"\r\nnoop\r\n", true));
        assert!(!said(b"USER x\r\nPASS y\r\nNOOP\r\nRSET\r\n", true));
        assert!(!said(b"USER x\r\nPASS y\r\nFEAT\r\n", true));
    }

    #[test]
    fn behind_starttls_nothing_can_be_read() {
        assert!(said(b"STARTTLS\r\n", true));
        assert!(said(b"XYZZY\r\n starttls\r\n", true));
        for ftp in ["STAT", "STOR x", "STOU", "STRU F", "SYST", "SITE x", "SMNT"] {
            assert!(!said(std::format!("{ftp}\r\n").as_bytes(), true), "{ftp}");
        }
        let mut line = ClientLine::default();
        assert!(
            !b"CAP LS\r\nSTARTTLS\r\n"
                .iter()
                .any(|byte| line.read(*byte, false))
        );
        assert_eq!(line.hides, 1);
    }

    #[test]
    fn mail_servers_refuse_some_first_lines() {
        let refused = |text: &[u8]| {
            let mut line = ClientLine::default();
            for byte in text {
                line.read(*byte, false);
            }
            line.refused == 1
        };
        for text in [
            "GET / HTTP/1.1\r\n",
            "POST /wiki HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n",
            "\r\n*3\r\n$3\r\nSET\r\n",
            "<34>1 2026 host\n",
            "{\"message\"",
            "\0\0\0\x08",
            "@RSYNCD: 31.0\n",
        ] {
            assert!(refused(text.as_bytes()), "{text:?}");
        }
        for text in [
            "EHLO x\r\n*\r\n",
            "XYZZY\r\nPOST / HTTP/1.1\r\n",
            "POSTS x\r\n",
            "GETS x\r\n",
            "GET\r\n",
            "set key 0 0 5\r\n",
            "\r\n  EHLO x\r\n",
        ] {
            assert!(!refused(text.as_bytes()), "{text:?}");
        }
    }

    /// Every way through the four letters: what may become mail may, and nothing else.
    #[test]
    fn what_may_become_mail_is_exactly_what_begins_a_word_of_mail() {
        let words = [
            "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "STAR", "NOOP", "RSET", "VRFY", "EXPN",
        ];
        let letters = b"EHLOMAIRCPTNSVFYX ";
        let mut texts = std::vec![Vec::new()];
        for _ in 0..4 {
            let longer: Vec<Vec<u8>> = texts
                .iter()
                .flat_map(|text| {
                    letters.iter().map(move |letter| {
                        let mut text = text.clone();
                        text.push(*letter);
                        text
                    })
                })
                .collect();
            texts.extend(longer);
        }
        for text in texts {
            let mut line = ClientLine::default();
            let hit = text.iter().any(|byte| line.read(*byte, true));
            let trimmed = String::from_utf8_lossy(&text)
                .trim_start()
                .to_ascii_uppercase();
            let expected = words.iter().any(|word| word.starts_with(&trimmed));
            if !hit {
                assert_eq!(line.may_become_mail(true), expected, "{trimmed:?}");
            }
        }
    }

    #[test]
    fn half_a_word_waits_in_the_first_line_or_where_mail_is_taken() {
        let after = |text: &[u8]| {
            let mut line = ClientLine::default();
            assert!(!text.iter().any(|byte| line.read(*byte, false)));
            line
        };
        assert!(after(b"\r\nEH").may_become_mail(false));
        assert!(!after(b"text\r\nEH").may_become_mail(false));
        assert!(after(b"text\r\nEH").may_become_mail(true));
        let mut later = after(b"text\r\nEH");
        assert!(b"LO x".iter().any(|byte| later.read(*byte, false)));
    }

    #[test]
    fn a_line_end_is_found_wherever_it_is() {
        for filler in 0..=u8::MAX {
            for end in [b'\r', b'\n'] {
                for at in 0..8 {
                    let mut eight = [filler; 8];
                    let without = filler != b'\r' && filler != b'\n';
                    assert_eq!(
                        has_line_end(u64::from_ne_bytes(eight)),
                        !without,
                        "{filler}"
                    );
                    eight[at] = end;
                    assert!(has_line_end(u64::from_ne_bytes(eight)), "{filler} {at}");
                }
            }
        }
    }

    #[test]
    fn only_220_is_a_mail_server() {
        assert!(is_mail_server(*b"220", 3));
        assert!(is_mail_server(*b"22\0", 2));
        assert!(!is_mail_server(*b"22\0", 3));
        assert!(!is_mail_server(*b"200", 3));
        assert!(!is_mail_server([0; 3], 0));
        assert!(!is_mail_server(*b"SSH", 3));
    }
}
