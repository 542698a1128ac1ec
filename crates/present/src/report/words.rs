//! Words and numbers of the report. What comes from captures is cut and made printable
//! here; the templates escape it for HTML.

use std::borrow::Cow;

/// Text from a capture or a file name: what could hide or turn the text around is written
/// out, and it ends after so many letters.
pub fn shown(text: &str, letters_max: usize) -> String {
    let cut = match text.char_indices().nth(letters_max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    };
    // Letters that no document may hold (XML 1.0, 2.2; the HTML standard's noncharacters).
    let forbidden = |letter: char| {
        let number = u32::from(letter);
        number & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&number)
    };
    engine::printable(&cut).replace(forbidden, "\u{fffd}")
}

/// `1 name`, `2,000 names`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", grouped(number)),
    }
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, in the largest unit that leaves three digits.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match value {
        ..9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_written_out() {
        assert_eq!(shown("#a\u{202e}b\x1b", 20), "#a\\u{202e}b\\x1b");
        assert_eq!(shown("関守関守", 2), "関守…");
        assert_eq!(
            shown("a\u{ffff}\u{fdd0}\u{1fffe}b", 9),
            "a\u{fffd}\u{fffd}\u{fffd}b"
        );
        assert_eq!(shown(&"\u{7f}".repeat(1000), 10).len(), 43);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1, "name", "names"), "1 name");
        assert_eq!(count(0, "name", "names"), "0 names");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(100), "100");
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (45_000, "45 kB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
