//! Any bytes as a capture: pcap, pcapng, gzip and zstd around them. Memory is bounded: the
//! fuzzer's limit is far below what a length field can ask for.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use replay::{Input, Settings};

fuzz_target!(|input: &[u8]| {
    let mut flows = 0;
    let reader = Input::new(Cursor::new(input.to_vec()));
    if let Ok(summary) = replay::replay(reader, &Settings::default(), |_| flows += 1) {
        assert_eq!(summary.flows, flows);
    }
});
