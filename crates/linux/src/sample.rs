//! Bytes from the ring buffer of samples → samples for the engine. As in [`crate::decode`],
//! lengths are checked and unknown codes are errors.

use abi::{EventTag, Interest, SampleHead, Sampled};
use engine::{FlowInfo, FlowKind, Payload, Sample, SampleKind, Wish};
use policy::{Origin, Role};

use crate::decode::{Error, Names, address, culprit, known, read};

/// Decodes one record: when it happened, in nanoseconds since boot, and what.
///
/// # Errors
///
/// See [`Error`].
pub fn decode(bytes: &[u8], names: &mut impl Names) -> Result<(u64, Sample), Error> {
    let head: SampleHead = read(bytes)?;
    if head.header.tag != EventTag::Sample as u32 {
        return Err(Error::Tag(head.header.tag));
    }
    let payload = || {
        let begin = size_of::<SampleHead>();
        let length = head.length as usize;
        bytes
            .get(begin..begin + length)
            .map(|captured| Payload {
                bytes: captured.to_vec(),
                gap_before: head.gap != 0,
                gap_after: head.wire_bytes as usize > length,
            })
            .ok_or(Error::Short(bytes.len()))
    };
    let kind = match Sampled::from_code(head.what).ok_or(Error::Code("sample"))? {
        Sampled::Sent => SampleKind::Sent(payload()?),
        Sampled::Received => SampleKind::Received(payload()?),
        Sampled::Query => SampleKind::Query(payload()?.bytes),
        Sampled::AfterQuiet => SampleKind::AfterQuiet {
            quiet_ns: head.quiet_ns,
        },
        Sampled::Burst => SampleKind::Burst {
            connections: head.wire_bytes,
            over_ns: head.quiet_ns,
        },
        Sampled::Closed => SampleKind::Closed {
            bytes_sent: head.bytes_sent,
            bytes_received: head.bytes_received,
        },
    };
    let sample = Sample {
        flow: flow(head.cookie, &interest_of(&head), names)?,
        kind,
    };
    Ok((head.header.boot_ns, sample))
}

/// What the gate is to know of the connection of a sample.
///
/// # Errors
///
/// When the record is too short.
pub fn interest(bytes: &[u8], wish: Wish) -> Result<Interest, Error> {
    let wish = match wish {
        Wish::Enough => abi::Wish::Enough,
        Wish::Follow => abi::Wish::Follow,
    };
    Ok(Interest {
        wish: wish as u32,
        ..interest_of(&read(bytes)?)
    })
}

/// Whose connection it is, with no wish.
fn interest_of(head: &SampleHead) -> Interest {
    Interest {
        wish: 0,
        pid: head.header.pid,
        uid: head.header.uid,
        program: head.program,
        culprit: head.culprit,
        culprit_pid: head.culprit_pid,
        address: head.address,
        port: head.port,
        family: head.family,
        role: head.role,
        origin: head.origin,
        reserved: [0; 3],
    }
}

/// A connection that an earlier daemon found to be IRC; `None` for any other.
///
/// # Errors
///
/// See [`Error`].
pub fn followed(
    cookie: u64,
    interest: &Interest,
    names: &mut impl Names,
) -> Result<Option<FlowInfo>, Error> {
    if interest.wish != abi::Wish::Follow as u32 {
        return Ok(None);
    }
    flow(cookie, interest, names).map(Some)
}

fn flow(cookie: u64, interest: &Interest, names: &mut impl Names) -> Result<FlowInfo, Error> {
    Ok(FlowInfo {
        cookie,
        kind: FlowKind::Sampled,
        pid: interest.pid,
        uid: interest.uid,
        program: known(names, interest.program),
        culprit: culprit(names, interest.culprit, interest.culprit_pid),
        role: Role::from_code(interest.role),
        origin: Origin::from_code(interest.origin),
        destination: address(interest.address, interest.port, interest.family)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::NoNames;

    fn record(what: Sampled, payload: &[u8]) -> abi::Sample {
        let mut sample: abi::Sample = bytemuck::Zeroable::zeroed();
        sample.head.header.tag = EventTag::Sample as u32;
        sample.head.header.boot_ns = 5;
        sample.head.what = what as u8;
        sample.head.family = 4;
        sample.head.address[..4].copy_from_slice(&[198, 51, 100, 7]);
        sample.head.port = 8080;
        sample.head.program = 4;
        sample.head.culprit = 3;
        sample.head.culprit_pid = 33;
        sample.head.wire_bytes = payload.len() as u32 + 1;
        sample.head.length = payload.len() as u32;
        sample.data[..payload.len()].copy_from_slice(payload);
        sample
    }

    #[test]
    fn payload_comes_with_whose_it_is() {
        let record = record(Sampled::Received, b"PING :x\r\n");
        let (boot_ns, sample) = decode(bytemuck::bytes_of(&record), &mut NoNames).expect("good");
        assert_eq!(boot_ns, 5);
        assert_eq!(
            sample.flow.destination,
            "198.51.100.7:8080".parse().expect("an address")
        );
        let culprit = sample.flow.culprit.as_ref().expect("a culprit");
        assert_eq!((&*culprit.program, culprit.pid), ("/program/3", 33));
        let SampleKind::Received(payload) = sample.kind else {
            panic!("{sample:?}")
        };
        assert_eq!(payload.bytes, b"PING :x\r\n");
        assert!(payload.gap_after && !payload.gap_before);
    }

    #[test]
    fn what_one_daemon_knew_the_next_one_learns() {
        let record = record(Sampled::Received, b"x");
        let bytes = bytemuck::bytes_of(&record);
        let (_, sample) = decode(bytes, &mut NoNames).expect("good");
        let follow = interest(bytes, Wish::Follow).expect("good");
        assert_eq!(
            followed(sample.flow.cookie, &follow, &mut NoNames),
            Ok(Some(sample.flow))
        );
        let enough = interest(bytes, Wish::Enough).expect("good");
        assert_eq!(followed(1, &enough, &mut NoNames), Ok(None));
        assert!(interest(&bytes[..20], Wish::Follow).is_err());
    }

    #[test]
    fn every_cut_of_a_record_is_an_error_and_no_panic() {
        let record = record(Sampled::Sent, &[7; abi::SAMPLE_BYTES]);
        let bytes = bytemuck::bytes_of(&record);
        for length in 0..bytes.len() {
            assert!(
                matches!(decode(&bytes[..length], &mut NoNames), Err(Error::Short(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn more_bytes_than_there_are_is_an_error() {
        let mut record = record(Sampled::Query, b"x");
        record.head.length = u32::MAX;
        assert!(decode(bytemuck::bytes_of(&record), &mut NoNames).is_err());
        record.head.length = 1;
        record.head.what = 99;
        assert_eq!(
            decode(bytemuck::bytes_of(&record), &mut NoNames),
            Err(Error::Code("sample"))
        );
    }
}
