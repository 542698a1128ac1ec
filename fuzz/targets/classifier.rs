//! The classifier as a whole: pieces, gaps and datagrams of both sides in any order. The
//! first byte says whether the roles are known, the rest is a story.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::Roles;
use sekimori_fuzz::classify;

fuzz_target!(|input: &[u8]| {
    let Some((roles, story)) = input.split_first() else {
        return;
    };
    let roles = match roles & 1 {
        0 => Roles::Known,
        _ => Roles::Guessed,
    };
    assert_eq!(classify(roles, story), classify(roles, story));
});
