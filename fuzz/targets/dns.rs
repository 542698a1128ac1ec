//! DNS: a datagram, and the same bytes as the beginning of a TCP connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::dns::{self, QUESTIONS_MAX};

fuzz_target!(|input: &[u8]| {
    let datagram = dns::parse(input);
    let connection = dns::parse_tcp(input);
    for message in [datagram.clone(), connection.unwrap_or_default()]
        .into_iter()
        .flatten()
    {
        assert!(message.questions.len() <= QUESTIONS_MAX);
        // A name has at most 255 bytes, and each may be written as `\ddd`.
        let longest = message
            .questions
            .iter()
            .map(|question| question.name.len())
            .max();
        assert!(longest.unwrap_or(0) <= 4 * 255);
    }
    // A message is the same whether it came alone or with its length before it.
    if let (Some(message), Ok(length)) = (datagram, u16::try_from(input.len()))
        && length >= 17
    {
        let framed = [&length.to_be_bytes()[..], input].concat();
        assert_eq!(dns::parse_tcp(&framed), Ok(Some(message)));
    }
});
