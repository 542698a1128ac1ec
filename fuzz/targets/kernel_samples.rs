//! Samples of connections, as the kernel hands them over: what they hold is the network's.
#![no_main]

use engine::Wish;
use libfuzzer_sys::fuzz_target;
use linux::sample;
use sekimori_fuzz::Numbered;

fuzz_target!(|record: &[u8]| {
    let decoded = sample::decode(record, &mut Numbered);
    // Whoever can be told of more has been read.
    assert!(decoded.is_err() || sample::interest(record, Wish::Follow).is_ok());
});
