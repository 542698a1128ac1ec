//! Packets through the whole of replay, in a capture that is sound itself: so that mutations
//! get as far as fragments, streams, the table of flows, and what its hosts are found to be. The first byte chooses the link
//! layer; then each step is a packet, and its kind is the time that passed.
#![no_main]

use std::io::Cursor;
use std::net::IpAddr;

use engine::{Observation, Timestamp};
use libfuzzer_sys::fuzz_target;
use replay::{FlowRecord, Hosts, Input, Settings, Sink};
use sekimori_fuzz::steps;

/// Ethernet, raw IP, loopback, Linux cooked 1 and 2.
const LINKS: [u32; 6] = [1, 101, 0, 108, 113, 276];

fuzz_target!(|input: &[u8]| {
    let Some((link, story)) = input.split_first() else {
        return;
    };
    let link = LINKS[usize::from(*link) % LINKS.len()];
    let mut capture = Vec::new();
    for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
        capture.extend(u32::to_le_bytes(number));
    }
    let mut now = 1_795_000_000u32;
    let mut packets = 0;
    for step in steps(story) {
        // Some packets come at once, some after an hour.
        now = now.saturating_add(1 << (step.kind % 16) >> 1);
        let length = step.bytes.len() as u32;
        for number in [now, 0, length, length] {
            capture.extend(number.to_le_bytes());
        }
        capture.extend(step.bytes);
        packets += 1;
    }
    // So few that the bounds are reached.
    let settings = Settings {
        flows_max: 4,
        held_max_bytes: 2048,
    };
    let mut story = Story::default();
    let summary = replay::replay_into(Input::new(Cursor::new(capture)), &settings, &mut story)
        .expect("the capture is sound");
    assert!(summary.damage.is_none(), "{:?}", summary.damage);
    assert_eq!((summary.packets, summary.flows), (packets, story.flows));
    assert!(
        story.of_flows <= packets,
        "{} of {packets} packets are in flows",
        story.of_flows
    );
    for finding in story.hosts.findings() {
        assert!(!finding.evidence.is_empty(), "{finding:?}");
    }
});

/// Counts flows and weighs hosts.
#[derive(Default)]
struct Story {
    flows: u64,
    of_flows: u64,
    hosts: Hosts,
}

impl Sink for Story {
    fn flow(&mut self, flow: FlowRecord) {
        assert!(flow.first_ns <= flow.last_ns);
        self.flows += 1;
        self.of_flows += flow.packets;
    }

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.hosts.observe(host, observation, Timestamp(time_ns));
    }
}
