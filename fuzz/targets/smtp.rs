//! Lines as mail, of both sides.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::smtp::{RECIPIENTS_MAX, SmtpFacts};

fuzz_target!(|input: &[u8]| {
    let mut facts = SmtpFacts::default();
    for line in input.split(|byte| *byte == b'\n') {
        facts.client_line(line);
        facts.server_line(line);
    }
    assert!(facts.recipients.len() <= RECIPIENTS_MAX);
    let names = [&facts.helo, &facts.mail_from, &facts.greeting];
    let longest = names
        .into_iter()
        .flatten()
        .chain(&facts.recipients)
        .map(String::len)
        .max();
    // What is no UTF-8 grows when it is replaced.
    assert!(longest.unwrap_or(0) <= 3 * 256);
});
