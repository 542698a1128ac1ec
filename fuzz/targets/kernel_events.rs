//! Records of the ring buffer: a damaged or older one must do no harm.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;

use abi::{ProcessRecord, ProgramEvent};
use libfuzzer_sys::fuzz_target;
use linux::decode::{self, Names};

struct Numbered;

impl Names for Numbered {
    fn name(&mut self, index: u32) -> Option<Arc<str>> {
        (index != 0).then(|| format!("/program/{index}").into())
    }

    fn seen(&mut self, _: &ProgramEvent) {}

    fn process(&mut self, _: u32) -> Option<ProcessRecord> {
        None
    }

    fn owner(&mut self, _: u16, _: SocketAddr) -> Option<u32> {
        None
    }

    fn path(&mut self, _: u32) -> Option<Arc<str>> {
        None
    }
}

fuzz_target!(|record: &[u8]| {
    let _ = decode::decode(record, &mut Numbered);
});
