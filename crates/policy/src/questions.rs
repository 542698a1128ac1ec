//! Questions to a mail server: what lies in the queue, which version it is, whether its configuration is
//! sound. They are asked of the very programs that take mail, and whoever may not hand mail over
//! may ask: an init script tests the configuration, a panel shows the queue.
//!
//! A later option can make a submission of what began as a question (`exim -bP -bm`), so all arguments
//! have to fit one of a few forms, from the first to the last. A form is here only when no
//! program of that name takes mail by it. Programs that hand on to another one, as `sendmail` of Postfix
//! and of nullmailer do, are judged again there.

/// What the arguments of a program that takes mail say, as far as they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Asked {
    /// Nothing was read yet, not even the name that the program was started under.
    Start = 0,
    /// The options are still to come.
    Named = 1,
    /// The next argument is the path of a configuration file.
    File = 2,
    /// A question, if nothing follows.
    Whole = 3,
    /// A question, if no more options follow.
    Words = 4,
    /// No question: it may take mail.
    No = 5,
}

/// The programs that can be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Exim,
    Sendmail,
    OpenSmtpd,
    OpenSmtpdControl,
    Other,
}

/// The beginning of an argument: 24 bytes, padded with zero bytes.
type Text = [u64; 3];

impl Asked {
    /// Reads a code; an unassigned one is no question.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Start,
            1 => Self::Named,
            2 => Self::File,
            3 => Self::Whole,
            4 => Self::Words,
            _ => Self::No,
        }
    }

    /// What the next argument makes of it. `program` is the first eight bytes of the name of the
    /// program's file.
    #[must_use]
    #[inline(always)]
    pub fn next(self, program: [u8; 8], text: Text) -> Self {
        let tool = tool(program);
        if matches!(tool, Tool::Other) {
            return Self::No;
        }
        let is_option = text[0].to_ne_bytes()[0] == b'-';
        match self {
            Self::Start if shows_the_queue(tool, text) => Self::Whole,
            Self::Start => Self::Named,
            Self::Named => option(tool, text),
            Self::File | Self::Words if is_option => Self::No,
            Self::File => Self::Named,
            Self::Words => Self::Words,
            Self::Whole | Self::No => Self::No,
        }
    }

    /// Whether it is a question when there are no more arguments.
    #[must_use]
    #[inline(always)]
    pub const fn is_question(self) -> bool {
        matches!(self, Self::Whole | Self::Words)
    }
}

#[inline(always)]
fn tool(program: [u8; 8]) -> Tool {
    match &program {
        b"exim4\0\0\0" | b"exim\0\0\0\0" => Tool::Exim,
        // Postfix's, Sendmail's, nullmailer's.
        b"sendmail" => Tool::Sendmail,
        b"smtpd\0\0\0" => Tool::OpenSmtpd,
        b"smtpctl\0" => Tool::OpenSmtpdControl,
        _ => Tool::Other,
    }
}

/// Whether the name that a program is started under has it show the queue or make the table of
/// aliases anew. OpenSMTPD has another program for the latter.
#[inline(always)]
fn shows_the_queue(tool: Tool, text: Text) -> bool {
    let queue = is(text, b"mailq") | is(text, b"/usr/bin/mailq") | is(text, b"/usr/sbin/mailq");
    let aliases = is(text, b"newaliases")
        | is(text, b"/usr/bin/newaliases")
        | is(text, b"/usr/sbin/newaliases");
    match tool {
        Tool::Exim | Tool::Sendmail => queue | aliases,
        Tool::OpenSmtpdControl => queue,
        Tool::OpenSmtpd | Tool::Other => false,
    }
}

#[inline(always)]
fn option(tool: Tool, text: Text) -> Asked {
    // Only short ones are known.
    if text[1] | text[2] != 0 {
        return Asked::No;
    }
    let first = &text[0].to_ne_bytes();
    match (tool, first) {
        (
            Tool::Exim,
            b"-bV\0\0\0\0\0" | b"-bp\0\0\0\0\0" | b"-bpa\0\0\0\0" | b"-bpc\0\0\0\0"
            | b"-bpr\0\0\0\0" | b"-bpu\0\0\0\0" | b"-bpra\0\0\0" | b"-bpru\0\0\0",
        ) => Asked::Whole,
        // Names of options, and addresses.
        (Tool::Exim, b"-bP\0\0\0\0\0" | b"-bt\0\0\0\0\0" | b"-bv\0\0\0\0\0" | b"-bvs\0\0\0\0") => {
            Asked::Words
        }
        (Tool::Exim, b"-C\0\0\0\0\0\0") => Asked::File,
        (Tool::Sendmail, b"-bp\0\0\0\0\0" | b"-bi\0\0\0\0\0") => Asked::Whole,
        (Tool::OpenSmtpd, b"-n\0\0\0\0\0\0") => Asked::Whole,
        (Tool::OpenSmtpd, b"-f\0\0\0\0\0\0") => Asked::File,
        _ => Asked::No,
    }
}

#[inline(always)]
fn is<const BYTES: usize>(text: Text, expected: &[u8; BYTES]) -> bool {
    let mut bytes = [0; 24];
    let mut index = 0;
    while index < BYTES {
        bytes[index] = expected[index];
        index += 1;
    }
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    (text[0] ^ word(0)) | (text[1] ^ word(8)) | (text[2] ^ word(16)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_of;

    fn is_question(program: &str, arguments: &[&str]) -> bool {
        let mut asked = Asked::Start;
        for argument in arguments {
            let mut bytes = [0; 24];
            for (slot, byte) in bytes.iter_mut().zip(argument.bytes()) {
                *slot = byte;
            }
            let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
            let next = asked.next(name_of(program.as_bytes()), [word(0), word(8), word(16)]);
            assert_eq!(Asked::from_code(next as u8), next);
            asked = next;
        }
        asked.is_question()
    }

    #[test]
    fn questions_are_told_from_submissions() {
        let questions: [(&str, &[&str]); 14] = [
            ("exim4", &["/usr/sbin/exim4", "-bV"]),
            ("exim4", &["exim4", "-C", "/var/lib/exim4/config", "-bV"]),
            ("exim4", &["/usr/sbin/exim", "-bP", "primary_hostname"]),
            (
                "exim4",
                &["exim", "-bt", "alice@example.org", "bob@example.org"],
            ),
            ("exim4", &["sendmail", "-bp"]),
            ("exim", &["mailq"]),
            ("exim4", &["/usr/bin/newaliases"]),
            ("sendmail", &["mailq"]),
            ("sendmail", &["/usr/bin/mailq"]),
            ("sendmail", &["/usr/bin/newaliases"]),
            ("sendmail.postfix", &["sendmail", "-bp"]),
            ("smtpctl", &["mailq"]),
            ("smtpd", &["smtpd", "-n"]),
            ("smtpd", &["smtpd", "-f", "/etc/smtpd.conf", "-n"]),
        ];
        for (program, arguments) in questions {
            assert!(is_question(program, arguments), "{program} {arguments:?}");
        }
        let submissions: [(&str, &[&str]); 33] = [
            ("exim4", &[]),
            ("exim4", &["exim4"]),
            ("exim4", &["exim4", "-t"]),
            ("exim4", &["exim4", "-bm", "a@example.org"]),
            ("exim4", &["exim4", "-bV", "-bm"]),
            ("exim4", &["exim4", "-bV", "a@example.org"]),
            ("exim4", &["exim4", "-bP", "-bm", "a@example.org"]),
            ("exim4", &["exim4", "-bP", "all", "-t"]),
            ("exim4", &["exim4", "-bm", "-bV"]),
            ("exim4", &["exim4", "-bt", "a@example.org", "-bm"]),
            ("exim4", &["exim4", "-bp", "-q"]),
            ("exim4", &["exim4", "-bVx"]),
            ("exim4", &["exim4", "-bPxxxxxxxxxxxxxxxx"]),
            ("exim4", &["exim4", "-C", "-bV"]),
            ("exim4", &["exim4", "-C", "/tmp/x"]),
            ("exim4", &["exim4", "-C", "/tmp/x", "-t"]),
            ("exim4", &["exim4", "-C/tmp/x", "-bV"]),
            ("exim4", &["exim4", "-Mc", "1abcde-000000-00"]),
            ("exim4", &["exim4", "-bs"]),
            ("exim4", &["exim4", "-bd"]),
            ("exim4", &["exim4", "", "-bV"]),
            ("exim4", &["mailq", "-bm"]),
            ("exim4", &["/tmp/mailq"]),
            ("sendmail", &["sendmail", "-bp", "-t"]),
            ("sendmail", &["mailq", "a@example.org"]),
            ("sendmail", &["mailqx"]),
            ("sendmail", &["sendmail", "-bv", "a@example.org"]),
            ("sendmail", &["sendmail", "-C", "/tmp/x", "-bp"]),
            // OpenSMTPD's sendmail passes over `-bp`.
            ("smtpctl", &["sendmail", "-bp"]),
            ("smtpctl", &["newaliases"]),
            ("postdrop", &["mailq"]),
            ("nullmailer-inject", &["mailq"]),
            ("msmtpd", &["mailq"]),
        ];
        for (program, arguments) in submissions {
            assert!(!is_question(program, arguments), "{program} {arguments:?}");
        }
    }
}
