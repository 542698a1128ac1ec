//! Records of the ring buffer: a damaged or older one must do no harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linux::decode;
use sekimori_fuzz::Numbered;

fuzz_target!(|record: &[u8]| {
    let _ = decode::decode(record, &mut Numbered);
});
