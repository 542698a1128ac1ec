//! The first message of a TLS handshake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::tls::{self, Start};

fuzz_target!(|input: &[u8]| {
    if let Start::Client(hello) = tls::start(input) {
        let _ = hello.offers_irc();
        let names = hello.alpn.iter().chain(&hello.server_name).map(String::len);
        // What is no UTF-8 grows when it is replaced.
        assert!(names.max().unwrap_or(0) <= 3 * input.len());
    }
});
