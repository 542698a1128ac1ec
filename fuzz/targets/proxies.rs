//! HTTP, and ways through proxies: HTTP CONNECT and SOCKS. The input is a story.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::{Roles, http};
use sekimori_fuzz::{classify, steps};

fuzz_target!(|story: &[u8]| {
    for step in steps(story) {
        let _ = http::first_line(step.bytes);
        let _ = http::facts(step.bytes);
    }
    let _ = classify(Roles::Known, story);
});
