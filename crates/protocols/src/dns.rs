//! DNS messages (RFC 1035), over UDP and, with their length before them, over TCP.

use domain::base::{Message as Parsed, Rtype};

/// Longest list of questions that is kept.
pub const QUESTIONS_MAX: usize = 8;

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in lower case, without the dot at the end; `.` is the root.
    pub name: String,
    /// The number of the record type: 1 A, 15 MX, 28 AAAA.
    pub record_type: u16,
}

impl Question {
    /// Is a mail exchanger asked for?
    pub fn is_mx(&self) -> bool {
        self.record_type == Rtype::MX.to_int()
    }

    /// Is an address asked for (A or AAAA)?
    pub fn is_address(&self) -> bool {
        self.record_type == Rtype::A.to_int() || self.record_type == Rtype::AAAA.to_int()
    }
}

/// A DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// An answer, and no query.
    pub response: bool,
    /// The response code of an answer: 0 no error, 3 no such name.
    pub rcode: u8,
    /// How many records answer.
    pub answers: u16,
    /// What was asked, at most [`QUESTIONS_MAX`].
    pub questions: Vec<Question>,
}

/// Reads one message, as a UDP datagram holds it. `None` for what is no DNS: its header must
/// make sense, and as many questions as it says must be there.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let parsed = plausible(bytes)?;
    let header = parsed.header();
    let mut questions = Vec::new();
    for question in parsed.question() {
        // One that is damaged, or cut off with the capture, ends it.
        let question = question.ok()?;
        if questions.len() < QUESTIONS_MAX {
            let name = question.qname().to_string().to_ascii_lowercase();
            questions.push(Question {
                name,
                record_type: question.qtype().to_int(),
            });
        }
    }
    let rcode = header.rcode().to_int();
    if header.qr() {
        // With no question, an answer must hold a record that can be read.
        if questions.is_empty() && parsed.answer().ok()?.next()?.is_err() {
            return None;
        }
    }
    Some(Message {
        response: header.qr(),
        rcode,
        answers: parsed.header_counts().ancount(),
        questions,
    })
}

/// Is there a DNS header with counts that fit? Cheap, before names are looked at.
fn plausible(bytes: &[u8]) -> Option<Parsed<&[u8]>> {
    let parsed = Parsed::from_octets(bytes).ok()?;
    let (header, counts) = (parsed.header(), parsed.header_counts());
    let opcode = header.opcode().to_int();
    let records = usize::from(counts.ancount())
        + usize::from(counts.nscount())
        + usize::from(counts.arcount());
    let questions = usize::from(counts.qdcount());
    // Queries, inverse queries, status, notifications and updates (RFC 6895, 2.2).
    let fits = !header.z()
        && (opcode <= 2 || opcode == 4 || opcode == 5)
        && questions <= QUESTIONS_MAX * 4
        && (questions > 0 || (header.qr() && counts.ancount() > 0))
        // The least that each takes.
        && 12 + questions * 5 + records * 11 <= bytes.len().max(512)
        && (header.qr() || (counts.ancount() <= 32 && header.rcode().to_int() == 0));
    fits.then_some(parsed)
}

/// Reads the first message of a TCP connection, which has its length before it (RFC 1035,
/// 4.2.2). `Err(())` while it may become one.
#[expect(clippy::result_unit_err, reason = "the only way not to know yet")]
pub fn parse_tcp(bytes: &[u8]) -> Result<Option<Message>, ()> {
    let Some((length, message)) = bytes.split_first_chunk::<2>() else {
        return Err(());
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < 17 {
        return Ok(None);
    }
    if message.len() < 12 {
        return Err(());
    }
    if message.len() >= length {
        return Ok(parse(&message[..length]));
    }
    // A transfer of a zone is long: the header and the questions are enough.
    if plausible(message).is_none() {
        return Ok(None);
    }
    if message.len() < 512 {
        return Err(());
    }
    Ok(parse(message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const MX_QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07Example\x03org\x00\x00\x0f\x00\x01";

    #[test]
    fn a_query_for_mail_exchangers() {
        let message = parse(MX_QUERY).unwrap();
        assert!(!message.response);
        assert_eq!(message.questions.len(), 1);
        assert_eq!(message.questions[0].name, "example.org");
        assert!(message.questions[0].is_mx());
    }

    #[test]
    fn over_tcp_it_has_its_length_first() {
        let mut bytes = vec![0, MX_QUERY.len() as u8];
        bytes.extend_from_slice(MX_QUERY);
        assert!(parse_tcp(&bytes).unwrap().unwrap().questions[0].is_mx());
        assert_eq!(parse_tcp(&bytes[..20]), Err(()));
        assert_eq!(
            parse_tcp(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Ok(None)
        );
    }

    #[test]
    fn text_is_no_dns() {
        assert_eq!(parse(b"PING :irc.example.net\r\n"), None);
        assert_eq!(parse(b"EHLO client.example.org\r\n"), None);
        assert_eq!(parse(&[0; 40]), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
            let _ = parse_tcp(&bytes);
        }

        #[test]
        fn never_panics_near_a_message(at in 0usize..29, byte in any::<u8>(), cut in 0usize..30) {
            let mut bytes = MX_QUERY.to_vec();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = parse(&bytes);
        }
    }
}
