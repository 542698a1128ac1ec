//! Text or not? What decides whether lines are looked for.

/// Bytes that are looked at.
const LOOKED_AT: usize = 96;

/// Could it be lines of text? Letters of any alphabet and the colours of IRC pass; NUL and
/// most control bytes do not, nor does what is mostly beyond ASCII.
pub fn is_text(bytes: &[u8]) -> bool {
    let looked_at = &bytes[..bytes.len().min(LOOKED_AT)];
    let mut high = 0;
    for byte in looked_at {
        match byte {
            b' '..=b'~' | b'\t' | b'\r' | b'\n' => {}
            // CTCP, bold, colour, plain, reverse, italics, underline; escape.
            1 | 2 | 3 | 0x0f | 0x11 | 0x16 | 0x1b | 0x1d | 0x1e | 0x1f => {}
            0x80.. => high += 1,
            _ => return false,
        }
    }
    !looked_at.is_empty() && high * 4 <= looked_at.len() * 3
}

/// NUL, a byte that begins a record of TLS, or many that text of no encoding has.
pub fn has_control(bytes: &[u8]) -> bool {
    let looked_at = bytes.iter().take(96);
    let control = |byte: &&u8| **byte < b' ' && !matches!(**byte, b'\t' | b'\r' | b'\n');
    bytes.iter().take(96).any(|byte| *byte == 0)
        || matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
        || looked_at.filter(control).count() >= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_not() {
        assert!(is_text(b"\x01ACTION waves\x01 \x0304red\x0f\r\n"));
        assert!(is_text("PRIVMSG #a :こんにちは".as_bytes()));
        assert!(!is_text(b"\x16\x03\x01\x00\xc8\x01"));
        assert!(!is_text(b"abc\0"));
        assert!(!is_text(b""));
    }
}
