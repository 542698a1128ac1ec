//! Lines as IRC: the grammar, and what is kept of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::Side;
use protocols::irc::{CHANNELS_MAX, IrcFacts, MESSAGES_MAX, Message, PARAMETERS_MAX};

fuzz_target!(|input: &[u8]| {
    let mut facts = IrcFacts::default();
    for (number, line) in input.split(|byte| *byte == b'\n').enumerate() {
        if let Some(message) = Message::parse(line) {
            assert!(message.parameters().len() <= PARAMETERS_MAX);
            let numeric = message.numeric();
            assert!(numeric.is_none_or(|numeric| numeric < 1000));
        }
        let side = match number % 2 {
            0 => Side::Client,
            _ => Side::Server,
        };
        facts.line(side, line);
    }
    assert!(facts.channels.len() <= CHANNELS_MAX && facts.texts.len() <= MESSAGES_MAX);
    let told = facts.texts.iter().map(|text| text.text.len());
    // What is no UTF-8 grows when it is replaced.
    assert!(told.max().unwrap_or(0) <= 3 * 1024);
});
