//! The activity of hosts: bounded, and nothing is lost in the sums.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use engine::MAIL_PORTS;
use proptest::prelude::*;
use protocols::{App, Facts, Outcome, dns};
use replay::timeline::{Activity, MARKS_MAX, Track, WORDS_MAX_BYTES};
use replay::{FlowRecord, Timeline, Transport};

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | number).into()
}

/// A flow that belongs to this track.
fn flow(track: Track, host_number: u32, first_ns: u64, lasts_ns: u64) -> FlowRecord {
    let (app, transport, port, bytes) = match track {
        Track::Irc => (App::Irc, Transport::Tcp, 8080, 100),
        Track::Names | Track::Exchangers => (App::Dns, Transport::Udp, 53, 40),
        Track::Mail => (App::Smtp, Transport::Tcp, 25, 300),
        Track::MailTried => (App::Unknown, Transport::Tcp, 25, 0),
        Track::Tried => (App::Unknown, Transport::Tcp, 445, 0),
    };
    let record_type = if track == Track::Exchangers { 15 } else { 1 };
    let facts = match app {
        App::Dns => Facts::Dns(Box::new(dns::Message {
            response: false,
            rcode: 0,
            answers: 0,
            questions: vec![dns::Question {
                name: "example.org".to_owned(),
                record_type,
            }],
        })),
        _ => Facts::None,
    };
    FlowRecord {
        transport,
        client: SocketAddr::new(host(host_number), 40_000),
        server: SocketAddr::new([198, 51, 100, 7].into(), port),
        outcome: Outcome {
            app,
            facts,
            ..Outcome::default()
        },
        first_ns,
        last_ns: first_ns.saturating_add(lasts_ns),
        bytes_up: bytes,
        bytes_down: bytes,
        packets: 2,
    }
}

fn check_line(activity: &Activity, track: Track) {
    let line = activity.line(track);
    assert!(line.marks().len() <= MARKS_MAX);
    assert_eq!(
        line.flows(),
        line.marks().iter().map(|mark| mark.flows).sum::<u64>()
    );
    let mut after = 0;
    for mark in line.marks() {
        let (begin, end) = line.bin(mark.first_ns);
        assert!(after <= begin && begin <= mark.first_ns && mark.first_ns <= mark.last_ns);
        assert!(mark.first_ns < end || end == u64::MAX);
        after = end;
    }
}

#[test]
fn every_flow_finds_its_track() {
    for track in Track::ALL {
        assert_eq!(Track::of(&flow(track, 1, 0, 0), &MAIL_PORTS), Some(track));
    }
    let mut answered = flow(Track::Tried, 1, 0, 0);
    answered.bytes_down = 1;
    assert_eq!(Track::of(&answered, &MAIL_PORTS), None);
    let mut multicast = flow(Track::Names, 1, 0, 0);
    multicast.server = "224.0.0.251:5353".parse().unwrap();
    assert_eq!(Track::of(&multicast, &MAIL_PORTS), None);
}

#[test]
fn mail_ports_come_from_the_configuration() {
    let tried = |port: u16| {
        let mut tried = flow(Track::Tried, 1, 0, 0);
        tried.server.set_port(port);
        Track::of(&tried, &[2525])
    };
    assert_eq!(tried(2525), Some(Track::MailTried));
    assert_eq!(tried(25), Some(Track::Tried));
    let mut timeline = Timeline::new(1 << 20, vec![2525]);
    let mut tried = flow(Track::Tried, 1, 0, 0);
    tried.server.set_port(2525);
    timeline.add(&tried, String::new);
    let activity = timeline.take(host(1)).unwrap();
    assert_eq!(activity.line(Track::MailTried).flows(), 1);
}

#[test]
fn neighbours_merge_and_those_far_apart_do_not() {
    let mut timeline = Timeline::default();
    let minute = 60_000_000_000;
    for at in 0..10_000 {
        timeline.add(
            &flow(Track::Tried, 1, at * minute / 100, 0),
            String::default,
        );
    }
    // Much later.
    timeline.add(
        &flow(Track::Tried, 1, 1000 * minute, 5 * minute),
        String::default,
    );
    let activity = timeline.take(host(1)).unwrap();
    let marks = activity.line(Track::Tried).marks();
    assert_eq!(activity.line(Track::Tried).flows(), 10_001);
    assert!(marks.len() > MARKS_MAX / 4, "{}", marks.len());
    assert_eq!(marks.last().unwrap().flows, 1);
    assert_eq!(activity.span_ns(), Some((0, 1005 * minute)));
}

#[test]
fn descriptions_are_cut_between_letters() {
    let mut timeline = Timeline::default();
    for _ in 0..1000 {
        timeline.add(&flow(Track::Irc, 1, 0, 0), || "関".repeat(1000));
    }
    let activity = timeline.take(host(1)).unwrap();
    let kept = activity.line(Track::Irc).kept();
    assert!(kept.len() < 100);
    for one in kept {
        assert_eq!(one.words.len(), WORDS_MAX_BYTES / 3 * 3);
    }
    assert_eq!(timeline.held_bytes(), 0);
}

#[test]
fn a_flood_of_forged_senders_does_not_push_the_bot_out() {
    let mut timeline = Timeline::default();
    timeline.add(&flow(Track::Irc, 1, 0, 0), || "bot".to_owned());
    for number in 0..200_000 {
        timeline.add(
            &flow(Track::Tried, 1000 + number, u64::from(number), 0),
            String::default,
        );
    }
    assert!(timeline.left() > 100_000);
    assert!(timeline.take(host(1)).is_some());
    // Of those without anything telling, the last ones are still there.
    assert!(timeline.take(host(1000)).is_none());
    assert!(timeline.take(host(200_999)).is_some());
}

fn tracks() -> impl Strategy<Value = Track> {
    prop::sample::select(Track::ALL.to_vec())
}

proptest! {
    #[test]
    fn nothing_is_lost_in_the_sums(
        flows in prop::collection::vec((tracks(), 0u32..4, any::<u64>(), any::<u64>()), 1..600),
        narrow in 0u32..50,
    ) {
        let mut timeline = Timeline::default();
        let mut expected: HashMap<(IpAddr, Track), (u64, u64, u64)> = HashMap::new();
        for (track, number, first_ns, lasts_ns) in &flows {
            let one = flow(*track, *number, first_ns >> narrow, lasts_ns >> narrow);
            let sum = expected.entry((host(*number), *track)).or_insert((0, u64::MAX, 0));
            *sum = (sum.0 + 1, sum.1.min(one.first_ns), sum.2.max(one.last_ns));
            timeline.add(&one, String::default);
        }
        prop_assert_eq!(timeline.left(), 0);
        for number in 0..4 {
            let Some(activity) = timeline.take(host(number)) else {
                prop_assert!(Track::ALL.iter().all(|track| !expected.contains_key(&(host(number), *track))));
                continue;
            };
            for track in Track::ALL {
                check_line(&activity, track);
                let marks = activity.line(track).marks();
                let found = (
                    activity.line(track).flows(),
                    marks.iter().map(|mark| mark.first_ns).min().unwrap_or(u64::MAX),
                    marks.iter().map(|mark| mark.last_ns).max().unwrap_or(0),
                );
                let sum = expected.get(&(host(number), track)).copied();
                prop_assert_eq!(found, sum.unwrap_or((0, u64::MAX, 0)));
            }
        }
        prop_assert_eq!(timeline.held_bytes(), 0);
    }

    #[test]
    fn bounds_hold(
        flows in prop::collection::vec((tracks(), 0u32..200, any::<u64>()), 1..1500),
        bytes_max in 0usize..40_000,
    ) {
        let mut timeline = Timeline::new(bytes_max, MAIL_PORTS.to_vec());
        for (track, number, first_ns) in &flows {
            timeline.add(&flow(*track, *number, *first_ns, 0), || "x".repeat(100));
            prop_assert!(timeline.held_bytes() <= bytes_max);
        }
        let mut kept = 0;
        for number in 0..200 {
            if let Some(activity) = timeline.take(host(number)) {
                kept += Track::ALL.iter().map(|track| activity.line(*track).flows()).sum::<u64>();
            }
        }
        prop_assert!(kept <= flows.len() as u64);
        prop_assert!(kept == flows.len() as u64 || timeline.left() > 0);
        prop_assert_eq!(timeline.held_bytes(), 0);
    }
}
