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
    if safe.contains(|letter: char| letter.is_whitespace() || "\"',;".contains(letter)) {
        return Cow::Owned(format!("\"{}\"", safe.replace('"', "\\\"")));
    }
    safe
}

/// Stands behind a program's path that need not be the machine's own.
pub const NAMED_ELSEWHERE: &str = " (as another mount namespace calls it)";

/// Whether a name is that of a file as another mount namespace calls it.
pub fn is_named_elsewhere(name: &str) -> bool {
    name.ends_with(NAMED_ELSEWHERE)
}

/// A text as one word of a command line that can be pasted into a shell. Control letters
/// are written in `$'…'`, which bash and zsh read back.
pub fn shell_word(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(safe) {
        return text.to_owned();
    }
    if printable(text) == text {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut word = String::from("$'");
    for byte in text.bytes() {
        match byte {
            b'\'' | b'\\' => word.extend(['\\', char::from(byte)]),
            b' '..=b'~' => word.push(char::from(byte)),
            _ => word += &format!("\\x{byte:02x}"),
        }
    }
    word + "'"
}

/// Letters that nobody sees, or that change how others are shown. Sorted.
///
/// These are all code points with the property Default_Ignorable_Code_Point and all of the categories
/// Cf, Zl and Zp (Unicode 16), and beside them those that are drawn as nothing at all though
/// their properties do not say so.
const HIDDEN: [(char, char); 28] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    // An empty pattern of Braille.
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    // Not assigned, then annotations and the place of an object.
    ('\u{fff0}', '\u{fffc}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    // Egyptian controls and blanks.
    ('\u{13430}', '\u{13442}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1bca0}', '\u{1bca3}'),
    // A note without a head, then musical controls.
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Tags, and all that Unicode keeps for more of the kind.
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_plain(letter: char) -> bool {
    if letter.is_ascii() {
        return !letter.is_control();
    }
    let place = HIDDEN.partition_point(|(_, last)| *last < letter);
    let hidden = HIDDEN.get(place).is_some_and(|(first, _)| *first <= letter);
    !letter.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_word_is_one_word() {
        assert_eq!(shell_word("/usr/bin/mutt"), "/usr/bin/mutt");
        assert_eq!(shell_word("/opt/a b; rm -rf ~"), "'/opt/a b; rm -rf ~'");
        assert_eq!(shell_word("/opt/it's"), "'/opt/it'\\''s'");
        assert_eq!(
            shell_word("/tmp/\x1b[2J'é"),
            "$'/tmp/\\x1b[2J\\'\\xc3\\xa9'"
        );
        assert_eq!(shell_word("/tmp/$(id)"), "'/tmp/$(id)'");
        assert_eq!(shell_word("-x"), "'-x'");
    }

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
    fn no_letter_hides() {
        assert!(HIDDEN.is_sorted_by(|(_, last), (first, _)| last < first));
        // The fillers of Hangul, which look like spaces, and others that are drawn as nothing.
        for letter in [
            '\u{115f}',
            '\u{1160}',
            '\u{3164}',
            '\u{ffa0}',
            '\u{34f}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180f}',
            '\u{2065}',
            '\u{2800}',
            '\u{fe0f}',
            '\u{fff8}',
            '\u{1bca0}',
            '\u{1d159}',
            '\u{1d173}',
            '\u{e0100}',
            '\u{e0fff}',
            '\u{600}',
            '\u{110bd}',
            '\u{1343f}',
        ] {
            let text = format!("/tmp/a{letter}b");
            assert_eq!(
                printable(&text),
                format!("/tmp/a\\u{{{:x}}}b", u32::from(letter))
            );
        }
        for letter in [
            '\u{ac}', '\u{ae}', '\u{1161}', '\u{3163}', '\u{3165}', '\u{3000}', '\u{ffa1}',
            '\u{fffd}',
        ] {
            assert!(is_plain(letter), "{letter:?}");
        }
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
        assert_eq!(program_name("/tmp/x\u{3000}is"), "\"/tmp/x\u{3000}is\"");
        assert_eq!(program_name(""), "an unknown program");
    }
}
