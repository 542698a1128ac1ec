//! Replay and the live gate judge the same traffic alike, and honest hosts are left alone.
//!
//! Each story is played twice in several variants: as a capture, and as the reports of the gate
//! about the same programs. Some things only one of the two can know. Live, a registered program
//! is known, so its mail is permitted and nothing else of it is looked at; refused mail counts at
//! once. A capture shows connections that came to nothing and mail that others deliver.

mod common;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::IpAddr;

use common::CLIENT;
use common::hosts::{honest, honest_in_captures, infected, infected_in_captures};
use common::stories::Story;
use common::talks::timed_pcap;
use engine::*;
use replay::{FlowRecord, Hosts, Input, Sink};

const VARIANTS: u64 = 6;

#[derive(Default)]
struct Weigher(Hosts);

impl Sink for Weigher {
    fn flow(&mut self, _flow: FlowRecord) {}

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.0.observe(host, observation, Timestamp(time_ns));
    }
}

/// The signs by which replay finds the host; none when it finds nothing.
fn replayed(story: &Story) -> Option<BTreeSet<String>> {
    let input = Input::new(Cursor::new(timed_pcap(&story.packets())));
    let mut weigher = Weigher::default();
    replay::replay_into(input, &replay::Settings::default(), &mut weigher).unwrap();
    let found = weigher.0.findings();
    let host = Subject::Host(CLIENT.0.into());
    let others = found.iter().filter(|one| one.subject != host).count();
    assert_eq!(others, 0, "{}: {found:#?}", story.name);
    let own = found.into_iter().find(|one| one.subject == host)?;
    Some(shared(&own.evidence))
}

/// The signs by which the live engine finds the program; none when it calls it no bot.
fn lived(story: &Story) -> Option<BTreeSet<String>> {
    let mut engine = Engine::new(Settings::default());
    let mut found = Vec::new();
    let mut last = Timestamp(0);
    for (at, event) in story.events() {
        last = at;
        found.extend(engine.handle(event, at));
    }
    found.extend(engine.tick(last.plus_ns(120_000_000_000)));
    let findings = found.into_iter().filter_map(|action| match action {
        Action::Append(Entry::Finding(finding)) => Some(finding),
        _ => None,
    });
    let bots = findings.filter(|finding| finding.finding == FindingKind::BotSuspected);
    let evidence: Vec<Evidence> = bots.flat_map(|finding| finding.evidence).collect();
    (!evidence.is_empty()).then(|| shared(&evidence))
}

/// The signs that both can know, by their names.
fn shared(evidence: &[Evidence]) -> BTreeSet<String> {
    let both = [
        Sign::SpeaksIrc,
        Sign::MachineNick,
        Sign::KeyedChannel,
        Sign::BotCommand,
        Sign::BotReply,
        Sign::CommandReaction,
        Sign::NumberedRequests,
        Sign::MxLookups,
    ];
    let known = evidence.iter().filter(|one| both.contains(&one.what));
    known.map(|one| format!("{:?}", one.what)).collect()
}

#[test]
fn replay_and_live_judge_the_same_traffic_alike() {
    let mut wrong = Vec::new();
    let mut counted = [0; 2];
    for seed in 1..=VARIANTS {
        for story in infected(seed).into_iter().chain(honest(seed)) {
            counted[usize::from(story.infected)] += 1;
            let (replayed, lived) = (replayed(&story), lived(&story));
            let right = |found: &Option<_>| Option::is_some(found) == story.infected;
            if !right(&replayed) || !right(&lived) || replayed != lived {
                wrong.push(format!(
                    "{} {seed}: replay {replayed:?}, live {lived:?}",
                    story.name
                ));
            }
        }
    }
    assert_eq!(counted, [36, 30]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn infected_hosts_are_found_and_honest_ones_are_not() {
    let (mut wrong, mut counted) = (Vec::new(), [0; 2]);
    for seed in 1..=VARIANTS {
        let honest = honest_in_captures(100 + seed);
        for story in infected_in_captures(100 + seed).into_iter().chain(honest) {
            counted[usize::from(story.infected)] += 1;
            let found = replayed(&story);
            if found.is_some() != story.infected {
                wrong.push(format!("{} {seed}: {found:?}", story.name));
            }
        }
    }
    assert_eq!(counted, [120, 96]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
