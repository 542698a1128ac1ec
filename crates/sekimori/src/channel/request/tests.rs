use proptest::prelude::*;

use super::*;

fn interest() -> Interest {
    Interest {
        wish: Wish::Follow as u32,
        pid: 7,
        family: 4,
        port: 6667,
        ..Interest::default()
    }
}

fn all() -> Vec<Request> {
    let remote = |text: &str| text.parse().unwrap();
    vec![
        Request::Process { pid: 1 },
        Request::Program {
            key: ProgramKey::default(),
        },
        Request::Programs { skip: 2 },
        Request::Owner {
            own_port: 40_000,
            remote: remote("198.51.100.25:25"),
        },
        Request::Owner {
            own_port: 1,
            remote: remote("[2001:db8::25]:587"),
        },
        Request::Path { pid: u32::MAX },
        Request::Counters,
        Request::Gate,
        Request::Registered { skip: 0 },
        Request::Followed { skip: u32::MAX },
        Request::SetInterest {
            cookie: 3,
            interest: interest(),
        },
        Request::OlderIrc,
        Request::Folded,
        Request::Open { inodes: vec![] },
        Request::Open {
            inodes: vec![9; OPEN_MAX],
        },
        Request::Warn {
            uid: 1000,
            urgent: true,
            title: "関".to_owned(),
            body: String::new(),
        },
        Request::Warn {
            uid: 0,
            urgent: false,
            title: "t".repeat(TITLE_BYTES_MAX),
            body: "b".repeat(BODY_BYTES_MAX),
        },
        Request::Pong,
    ]
}

#[test]
fn what_is_asked_is_what_is_read() {
    for request in all() {
        let packet = request.encode();
        assert!(packet.len() <= REQUEST_BYTES_MAX);
        assert_eq!(Request::decode(&packet), Ok(request));
    }
}

/// A piece of a request is none, and neither is one with more after it. Texts and lists may
/// end earlier or later.
#[test]
fn every_cut_is_refused() {
    for request in all() {
        let packet = request.encode();
        let varies = matches!(request, Request::Open { .. } | Request::Warn { .. });
        for length in 0..packet.len() {
            if let Ok(read) = Request::decode(&packet[..length]) {
                assert!(varies && read != request, "{request:?} {length}");
            }
        }
        if !varies {
            assert!(Request::decode(&[&packet[..], &[0]].concat()).is_err());
        }
    }
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let long = |title: usize, body: usize| Request::Warn {
        uid: 1,
        urgent: false,
        title: "t".repeat(title),
        body: "b".repeat(body),
    };
    let odd = |change: &dyn Fn(&mut Interest)| {
        let mut interest = interest();
        change(&mut interest);
        Request::SetInterest {
            cookie: 1,
            interest,
        }
    };
    for request in [
        long(TITLE_BYTES_MAX + 1, 0),
        long(0, BODY_BYTES_MAX + 1),
        Request::Open {
            inodes: vec![1; OPEN_MAX + 1],
        },
        odd(&|interest| interest.wish = 0),
        odd(&|interest| interest.wish = 3),
        odd(&|interest| interest.family = 0),
        odd(&|interest| interest.reserved[2] = 1),
    ] {
        assert!(Request::decode(&request.encode()).is_err(), "{request:?}");
    }
    for packet in [
        &[][..],
        &[0],
        // The first number that is no request's, and one without the fields that its request has.
        &[16],
        &[10],
        &[255; 64],
        &[13, 0, 0, 0, 0, 2, 0, 0],
        &[13, 0, 0, 0, 0, 0, 1, 0, 0xff],
        &vec![12; REQUEST_BYTES_MAX + 1],
    ] {
        assert!(Request::decode(packet).is_err(), "{packet:?}");
    }
}

proptest! {
    /// Whatever comes, it is refused or it is a request whose packet is exactly this.
    #[test]
    fn a_packet_means_one_thing(number in 0_u8..16, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let packet = [&[number][..], &rest].concat();
        if let Ok(request) = Request::decode(&packet) {
            prop_assert_eq!(request.encode(), packet);
        }
    }

    #[test]
    fn a_spoiled_request_is_refused_or_another(which in 0..all().len(), at in any::<usize>(), bit in 0_u8..8) {
        let request = all().swap_remove(which);
        let mut packet = request.encode();
        let at = at % packet.len();
        packet[at] ^= 1 << bit;
        if let Ok(read) = Request::decode(&packet) {
            prop_assert_ne!(&read, &request);
            prop_assert_eq!(read.encode(), packet);
        }
    }
}
