//! Stories of one host, honest or infected, in many variants: what its programs do and when.
//! A story is told as a capture, or as what the live gate reports of the same programs.

use std::net::SocketAddr;

use engine::*;
use policy::{Kind, Origin, Reason, Role, Tamper};

use super::talks::{Talk, lookup, query, syn};

pub const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_795_000_000 * SECOND;
/// After so long the live gate tells that payload came in after quiet.
const QUIET_SECONDS: f64 = 3.0;
const BOT: &str = "/opt/program";

/// An address and a port.
pub type Place = ([u8; 4], u16);

/// Something that a program does.
pub enum Act {
    /// A conversation: who says what at which second; `true` is the program.
    Talk {
        server: Place,
        lines: Vec<(f64, bool, String)>,
    },
    /// A connection that nobody answers.
    Dead { at: f64, server: Place },
    /// A question to the resolver.
    Lookup { at: f64, name: String, kind: u8 },
    /// A mail, handed to this server.
    Mail { at: f64, server: Place },
    /// Another host delivers mail to a server of this host.
    Delivered { at: f64 },
}

/// What the programs of one host do.
pub struct Story {
    pub name: &'static str,
    pub infected: bool,
    /// Each with whether the program is registered, so that the live gate permits its mail and
    /// looks at nothing else that it does.
    acts: Vec<(bool, Act)>,
    chance: u64,
}

impl Story {
    pub fn new(name: &'static str, infected: bool, seed: u64) -> Self {
        let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let acts = Vec::new();
        Self {
            name,
            infected,
            acts,
            chance,
        }
    }

    /// A number from 0 to below 1 (G. Marsaglia, "Xorshift RNGs", 2003).
    pub fn chance(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Done by a program that nobody registered.
    pub fn unknown(&mut self, act: Act) {
        self.acts.push((false, act));
    }

    /// Done by a registered program.
    pub fn registered(&mut self, act: Act) {
        self.acts.push((true, act));
    }

    /// The packets of it, in order of time.
    pub fn packets(&self) -> Vec<(f64, Vec<u8>)> {
        let mut packets = Vec::new();
        for (number, (_, act)) in self.acts.iter().enumerate() {
            let port = 20_000 + number as u16;
            match act {
                Act::Talk { server, lines } => {
                    packets.extend(talk(port, *server, lines).packets);
                }
                Act::Dead { at, server } => packets.push(syn(*at, port, *server)),
                Act::Lookup { at, name, kind } => packets.push(lookup(*at, port, name, *kind)),
                Act::Mail { at, server } => {
                    packets.extend(talk(port, *server, &smtp(*at)).packets);
                }
                // Between the host's server and another host, so the other way round.
                Act::Delivered { at } => {
                    let talk = talk(port, ([203, 0, 113, 99], 25), &smtp(*at));
                    packets.extend(talk.packets.into_iter().map(with_the_hosts_swapped));
                }
            }
        }
        packets.sort_by(|a, b| a.0.total_cmp(&b.0));
        packets
    }

    /// What the live gate reports of it, in order of time.
    pub fn events(&self) -> Vec<(Timestamp, Event)> {
        let mut events = Vec::new();
        let unregistered = self.acts.iter().filter(|(registered, _)| !registered);
        for (number, (_, act)) in unregistered.enumerate() {
            let cookie = number as u64 + 1;
            match act {
                Act::Talk { server, lines } => samples(cookie, *server, lines, &mut events),
                Act::Lookup { at, name, kind } => {
                    let sample = SampleKind::Query(query(name, *kind));
                    events.push((*at, sampled(0, ([192, 0, 2, 53], 53), sample)));
                }
                Act::Mail { at, server } => events.push((*at, refused(*server))),
                // The gate counts connections that came to nothing only when they are a burst,
                // and the host's own server is a registered program.
                Act::Dead { .. } | Act::Delivered { .. } => {}
            }
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        events
            .into_iter()
            .map(|(at, event)| (Timestamp(BEGIN + (at * 1e9) as u64), event))
            .collect()
    }
}

/// The same packet between the same ports, with the other address at each.
fn with_the_hosts_swapped((at, mut packet): (f64, Vec<u8>)) -> (f64, Vec<u8>) {
    let (from, to) = packet[12..20].split_at_mut(4);
    from.swap_with_slice(to);
    (at, packet)
}

fn talk(port: u16, server: Place, lines: &[(f64, bool, String)]) -> Talk {
    let mut talk = Talk::new(lines[0].0, port, server);
    for (at, client, words) in lines {
        talk.say(*at, *client, words);
    }
    talk
}

/// A conversation of mail.
fn smtp(at: f64) -> Vec<(f64, bool, String)> {
    let lines = [
        (false, "220 mx.example ESMTP\r\n"),
        (true, "EHLO a.example\r\n"),
        (false, "250 mx.example\r\n"),
        (true, "MAIL FROM:<a@a.example>\r\n"),
        (false, "250 ok\r\n"),
    ];
    let lines = lines.into_iter().enumerate();
    lines
        .map(|(number, (client, words))| (at + number as f64 / 100.0, client, words.to_owned()))
        .collect()
}

fn samples(
    cookie: u64,
    server: Place,
    lines: &[(f64, bool, String)],
    events: &mut Vec<(f64, Event)>,
) {
    let mut heard: Option<f64> = None;
    let (mut bytes_sent, mut bytes_received) = (0, 0);
    for (at, client, words) in lines {
        let payload = Payload {
            bytes: words.clone().into_bytes(),
            gap_before: false,
            gap_after: false,
        };
        if *client {
            bytes_sent += words.len() as u64;
            events.push((*at, sampled(cookie, server, SampleKind::Sent(payload))));
            continue;
        }
        bytes_received += words.len() as u64;
        if let Some(before) = heard.replace(*at)
            && at - before >= QUIET_SECONDS
        {
            let quiet_ns = ((at - before) * 1e9) as u64;
            let kind = SampleKind::AfterQuiet { quiet_ns };
            events.push((*at, sampled(cookie, server, kind)));
        }
        events.push((*at, sampled(cookie, server, SampleKind::Received(payload))));
    }
    let kind = SampleKind::Closed {
        bytes_sent,
        bytes_received,
    };
    if let Some((last, ..)) = lines.last() {
        events.push((last + 0.01, sampled(cookie, server, kind)));
    }
}

fn sampled(cookie: u64, server: Place, kind: SampleKind) -> Event {
    Event::Sampled(Sample {
        flow: FlowInfo {
            cookie,
            kind: FlowKind::Sampled,
            pid: 4242,
            uid: 1000,
            program: BOT.into(),
            culprit: Some(Culprit {
                program: BOT.into(),
                pid: 4242,
            }),
            role: Role::Unknown,
            origin: Origin::Foreign,
            destination: SocketAddr::from(server),
        },
        kind,
    })
}

fn refused(server: Place) -> Event {
    Event::Verdict {
        actor: Actor {
            pid: 4242,
            uid: 1000,
            comm: "program".to_owned(),
            program: BOT.into(),
            role: Role::Unknown,
            kind: Kind::Batch,
            origin: Origin::Foreign,
            tampered: Tamper::NONE,
            cause: None,
            lineage: Lineage {
                links: Vec::new(),
                lost: 0,
                culprit: Some(Culprit {
                    program: BOT.into(),
                    pid: 4242,
                }),
            },
        },
        judged: Judged::Connect {
            destination: SocketAddr::from(server),
            cookie: 7,
        },
        reason: Reason::NotAMailer,
        observed: false,
    }
}
