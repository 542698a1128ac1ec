//! Text pictures: lineages, explanations, log lines, tables.
//!
//! Pure: JSON and plain data in, text out. Whatever other programs chose (paths, thread
//! names) is escaped here, so nobody can send sequences to the reader's terminal.

mod advice;
mod explain;
mod finding;
mod flow;
mod lineage;
mod log;
pub mod report;
mod response;
mod summary;
mod table;
mod tree;

pub use explain::explain;
pub use finding::{finding_json, finding_lines};
pub use flow::{FLOW_HEADINGS, flow_details, flow_json, flow_line};
pub use lineage::lineage;
pub use log::log_line;
pub use summary::{not_judged, not_read, summary_json, verdict};
pub use table::table;
pub use tree::{Age, Process, tree};

use policy::Origin;

/// How the text is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With colours (ECMA-48 "select graphic rendition"), for a terminal.
    pub colour: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug)]
enum Tone {
    Good,
    Bad,
    Faint,
    Strong,
}

impl Style {
    fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Faint => 2,
            Tone::Strong => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn origin(self, origin: Origin) -> String {
        let tone = match origin {
            Origin::System | Origin::Service => Tone::Faint,
            Origin::User => Tone::Good,
            Origin::Foreign => Tone::Bad,
        };
        self.paint(tone, origin.word())
    }
}

/// A line of headings.
pub fn heading(line: &str, style: Style) -> String {
    style.paint(Tone::Strong, line)
}

/// Columns that a text takes on a terminal. Letters of East Asia take two (Unicode
/// Standard Annex 11, the wide blocks that paths are made of).
fn columns(text: &str) -> usize {
    let wide = |letter: char| {
        matches!(letter,
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars()
        .map(|letter| 1 + usize::from(wide(letter)))
        .sum()
}

/// The text filled up with spaces to `width` columns.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// A text as one word of a command line that can be pasted into a shell. Control letters
/// are written in `$'…'`, which bash and zsh read back.
pub fn shell_word(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(safe) {
        return text.to_owned();
    }
    if engine::printable(text) == text {
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
    fn wide_letters_take_two_columns() {
        assert_eq!(columns("関守.db"), 7);
        assert_eq!(padded("関", 4), "関  ");
    }
}
