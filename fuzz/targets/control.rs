//! The control socket: a line that anybody on the machine may write, and the answers as a
//! command reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekimori::control::protocol::{Line, Request, RootRequest, role_and_kind};

fuzz_target!(|line: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        let again = serde_json::to_vec(&request).expect("a request");
        assert_eq!(
            serde_json::from_slice::<Request>(&again).ok(),
            Some(request)
        );
    }
    if let Ok(request) = serde_json::from_slice::<RootRequest>(line) {
        let again = serde_json::to_vec(&request).expect("a request");
        assert_eq!(
            serde_json::from_slice::<RootRequest>(&again).ok(),
            Some(request)
        );
    }
    let _ = serde_json::from_slice::<Line>(line);
    if let Some((role, kind)) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once(' '))
        && let Ok((named, _)) = role_and_kind(role, kind)
    {
        assert_eq!(named.word(), role);
    }
});
