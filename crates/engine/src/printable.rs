//! Text that other programs chose (paths, thread names), made safe to show. Whoever names a
//! file can put terminal sequences, line breaks or text that runs backwards into it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with everything escaped that could move a cursor, change a colour, break a
/// line, hide, or change the direction of writing. Plain text is returned as it is.
///
/// Use it for all that is shown to people; `--json` keeps the bytes, as JSON escapes them.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_plain(letter) {
            safe.push(letter);
        } else if letter.is_ascii() {
            let _ = write!(safe, "\\x{:02x}", u32::from(letter));
        } else {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(letter));
        }
    }
    Cow::Owned(safe)
}

/// A program's path inside a sentence: in quotes when it could be taken for part of the
/// sentence, "an unknown program" when it is empty.
pub fn program_name(path: &str) -> Cow<'_, str> {
    if path.is_empty() {
        return Cow::Borrowed("an unknown program");
    }
    let safe = printable(path);
    if safe.contains([' ', '"', '\'', ',', ';']) {
        return Cow::Owned(format!("\"{}\"", safe.replace('"', "\\\"")));
    }
    safe
}

/// Bidirectional controls, zero-width letters and separators are in Unicode's categories Cf,
/// Zl and Zp; the tag letters are invisible too (Unicode 15, chapter 23).
fn is_plain(letter: char) -> bool {
    !(letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fffc}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_are_shown_not_sent() {
        assert_eq!(printable("/tmp/\x1b[2Jx\n"), "/tmp/\\x1b[2Jx\\x0a");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(printable("a\u{202e}txt.exe"), "a\\u{202e}txt.exe");
        assert_eq!(
            printable("zero\u{200b}width\u{7f}"),
            "zero\\u{200b}width\\x7f"
        );
    }

    #[test]
    fn usual_names_are_left_alone() {
        for name in ["/usr/bin/mutt", "/home/関守/メール", "/opt/a b/c"] {
            assert!(matches!(printable(name), Cow::Borrowed(same) if same == name));
        }
    }

    #[test]
    fn a_path_cannot_pose_as_a_sentence() {
        assert_eq!(program_name("/tmp/x is harmless"), "\"/tmp/x is harmless\"");
        assert_eq!(program_name("/tmp/\" y"), "\"/tmp/\\\" y\"");
        assert_eq!(program_name(""), "an unknown program");
    }
}
