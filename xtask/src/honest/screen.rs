//! Keyboard, mouse and screen of a machine, as its hardware has them: the desktop cannot tell
//! them from a person's.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::rows::Button;

/// The screen's size, in which places are given.
const WIDTH: u32 = 1024;
const HEIGHT: u32 = 768;
/// The largest place that a tablet knows.
const TABLET_MAX: u32 = 32767;

/// QEMU's monitor.
pub struct Screen {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Screen {
    /// The monitor at the other end of this socket.
    ///
    /// # Errors
    ///
    /// When it does not greet.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut screen = Self {
            writer: stream.try_clone()?,
            reader: BufReader::new(stream),
        };
        let mut greeting = String::new();
        screen
            .reader
            .read_line(&mut greeting)
            .context("QEMU's monitor")?;
        screen.order("qmp_capabilities", &json!({}))?;
        Ok(screen)
    }

    fn order(&mut self, name: &str, arguments: &Value) -> Result<()> {
        writeln!(
            self.writer,
            "{}",
            json!({ "execute": name, "arguments": arguments })
        )?;
        loop {
            let mut line = String::new();
            let read = self.reader.read_line(&mut line).context("QEMU's monitor")?;
            ensure!(read > 0, "QEMU ended");
            let answer: Value = serde_json::from_str(&line).context("QEMU's monitor")?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU's monitor: {name}: {error}");
            }
        }
    }

    fn key(&mut self, code: &str, down: bool) -> Result<()> {
        let key = json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": code } } });
        self.order("input-send-event", &json!({ "events": [key] }))?;
        thread::sleep(Duration::from_millis(if down { 60 } else { 30 }));
        Ok(())
    }

    /// Presses keys together, as in "alt-f2".
    ///
    /// # Errors
    ///
    /// When QEMU does not know a key.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let codes: Vec<&str> = keys.split('-').map(code_of_name).collect();
        for code in &codes {
            self.key(code, true)?;
        }
        for code in codes.iter().rev() {
            self.key(code, false)?;
        }
        Ok(())
    }

    /// Types a text on a keyboard of the United States.
    ///
    /// # Errors
    ///
    /// When a letter is on no key.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for letter in text.chars() {
            let (code, shift) =
                code_of_letter(letter).with_context(|| format!("no key types {letter:?}"))?;
            if shift {
                self.key("shift", true)?;
            }
            self.key(&code, true)?;
            self.key(&code, false)?;
            if shift {
                self.key("shift", false)?;
            }
        }
        Ok(())
    }

    /// Clicks at a place.
    ///
    /// # Errors
    ///
    /// When QEMU has no mouse.
    pub fn click(&mut self, x: u32, y: u32, button: Button) -> Result<()> {
        let axis = |name: &str, at: u32, size: u32| json!({ "type": "abs", "data": { "axis": name, "value": at * TABLET_MAX / size } });
        let events = json!({ "events": [axis("x", x, WIDTH), axis("y", y, HEIGHT)] });
        self.order("input-send-event", &events)?;
        thread::sleep(Duration::from_millis(400));
        let (button, times) = match button {
            Button::Left => ("left", 1),
            Button::Double => ("left", 2),
            Button::Right => ("right", 1),
        };
        for _ in 0..times {
            for down in [true, false] {
                let event = json!({ "type": "btn", "data": { "down": down, "button": button } });
                self.order("input-send-event", &json!({ "events": [event] }))?;
                thread::sleep(Duration::from_millis(80));
            }
        }
        Ok(())
    }

    /// A picture of what is shown.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn picture(&mut self, path: &Path) -> Result<()> {
        self.order("screendump", &json!({ "filename": path, "format": "png" }))
    }
}

/// QEMU's name of a key that people call otherwise.
fn code_of_name(name: &str) -> &str {
    match name {
        "super" => "meta_l",
        "enter" => "ret",
        "space" => "spc",
        "del" => "delete",
        name => name,
    }
}

/// The key that types a letter, and whether with shift.
fn code_of_letter(letter: char) -> Option<(String, bool)> {
    const PLAIN: [(char, &str); 14] = [
        (' ', "spc"),
        ('-', "minus"),
        ('.', "dot"),
        ('/', "slash"),
        ('\n', "ret"),
        ('=', "equal"),
        (',', "comma"),
        (';', "semicolon"),
        ('\'', "apostrophe"),
        ('\\', "backslash"),
        ('[', "bracket_left"),
        (']', "bracket_right"),
        ('`', "grave_accent"),
        ('\t', "tab"),
    ];
    const SHIFTED: [(char, &str); 21] = [
        ('_', "minus"),
        (':', "semicolon"),
        ('"', "apostrophe"),
        ('@', "2"),
        ('!', "1"),
        ('#', "3"),
        ('$', "4"),
        ('%', "5"),
        ('^', "6"),
        ('&', "7"),
        ('*', "8"),
        ('(', "9"),
        (')', "0"),
        ('+', "equal"),
        ('?', "slash"),
        ('>', "dot"),
        ('<', "comma"),
        ('|', "backslash"),
        ('~', "grave_accent"),
        ('{', "bracket_left"),
        ('}', "bracket_right"),
    ];
    let find = |table: &[(char, &str)]| {
        table
            .iter()
            .find(|(known, _)| *known == letter)
            .map(|(_, code)| (*code).to_owned())
    };
    if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
        return Some((letter.to_string(), false));
    }
    if letter.is_ascii_uppercase() {
        return Some((letter.to_ascii_lowercase().to_string(), true));
    }
    find(&PLAIN)
        .map(|code| (code, false))
        .or_else(|| find(&SHIFTED).map(|code| (code, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_that_is_typed_has_a_key() {
        for letter in ' '..='~' {
            assert!(code_of_letter(letter).is_some(), "{letter:?}");
        }
        assert_eq!(code_of_letter('M'), Some(("m".to_owned(), true)));
        assert_eq!(code_of_letter('é'), None);
    }
}
