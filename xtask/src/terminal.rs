//! What is shown while a job runs. Colours only on a terminal.

use std::env;
use std::io::{IsTerminal, stdout};

/// The colour of a word.
#[derive(Clone, Copy)]
pub enum Colour {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Neither.
    Yellow,
}

/// The text in this colour, where colours can be seen and are wanted.
pub fn paint(colour: Colour, text: &str) -> String {
    let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !wanted || !stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Says what begins now.
pub fn step(text: &str) {
    println!("── {text}");
}
