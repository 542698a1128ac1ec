//! Does something begin like IRC or mail? A cheap look at a few bytes, for what is known to
//! be something else and for what hardly looks like lines.

/// Commands that begin a conversation of IRC or mail, in lower case.
const FIRST_WORDS: [&[u8]; 9] = [
    b"nick ",
    b"user ",
    b"cap ls",
    b"join #",
    b"join &",
    b"privmsg ",
    b"ehlo ",
    b"helo ",
    b"lhlo ",
];

/// First four letters of lines that count, in lower case.
const LINES: [[u8; 4]; 23] = [
    *b"nick", *b"user", *b"pass", *b"cap ", *b"join", *b"priv", *b"noti", *b"erro", *b"serv",
    *b"prot", *b"capa", *b"svin", *b"webi", *b"mode", *b"topi", *b"ehlo", *b"helo", *b"lhlo",
    *b"mail", *b"rcpt", *b"auth", *b"data", *b"star",
];

/// Do these bytes begin like a client of IRC or of mail? Most bytes fail at the first look.
#[inline]
pub fn begins_anew(bytes: &[u8]) -> bool {
    let Some(first) = bytes.first_chunk::<4>() else {
        return false;
    };
    // Lower case of four letters at once.
    let word = u32::from_le_bytes(*first) | 0x2020_2020;
    let may_be = FIRST_WORDS
        .iter()
        .any(|known| u32::from_le_bytes([known[0], known[1], known[2], known[3]]) == word);
    may_be && begins_with_word(bytes)
}

#[cold]
fn begins_with_word(bytes: &[u8]) -> bool {
    FIRST_WORDS.iter().any(|word| {
        bytes
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    })
}

/// May this line count for IRC or mail? What fails here is worth nothing, whatever follows.
pub fn may_count(line: &[u8]) -> bool {
    match line {
        [b':' | b'@', b'!'..=b'~', ..] => true,
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => true,
        [a, b, c, d, ..] => {
            let word = [*a, *b, *c, *d].map(|letter| letter | 0x20);
            LINES.contains(&word)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_begins_a_conversation() {
        for begins in [
            &b"NICK bob\r\n"[..],
            b"nick bob",
            b"USER a 0 * :b",
            b"CAP LS 302",
            b"JOIN #x",
            b"EHLO a",
            b"helo a",
        ] {
            assert!(begins_anew(begins) && may_count(begins), "{begins:?}");
        }
        for other in [
            &b""[..],
            b"NIC",
            b"NICKNAME",
            b"GET / HTTP/1.1",
            b"CAP FOO",
            b"\x16\x03\x01\x00",
        ] {
            assert!(!begins_anew(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = begins_anew(&bytes);
            let _ = may_count(&bytes);
        }
    }
}
