//! What a hostile watcher may send to the keeper, which has privilege; and the other way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekimori::channel::news::Packet;
use sekimori::channel::request::Request;

fuzz_target!(|packet: &[u8]| {
    // There is one way to write each request, so nothing hides in what is read.
    if let Ok(request) = Request::decode(packet) {
        assert_eq!(request.encode(), packet);
    }
    let _ = Packet::decode(packet);
});
