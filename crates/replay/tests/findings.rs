//! Findings over real captures, where they are there: see also `cargo xtask accuracy`.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use engine::{Observation, Subject, Timestamp};
use replay::{FlowRecord, Hosts, Input, Settings, Sink};

struct Weigher(Hosts);

impl Sink for Weigher {
    fn flow(&mut self, _flow: FlowRecord) {}

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.0.observe(host, observation, Timestamp(time_ns));
    }
}

/// The host that is infected, when it is a capture of a bot.
fn infected(path: &str) -> Option<&'static str> {
    match path {
        "tklab-tud__ID2T/resources/sality_botnet.pcap" => Some("10.0.2.15"),
        // The master's connection: the bot is the host that the server names.
        "netzob__netzob/test/resources/pcaps/botnet_irc_bot.pcap" => Some("20.20.20.2"),
        _ => None,
    }
}

#[test]
fn bots_and_nobody_else() {
    let folder = std::env::var_os("SEKIMORI_CAPTURES").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../../shared/captures"
            ))
        },
        PathBuf::from,
    );
    let Ok(manifest) = fs::read_to_string(folder.join("MANIFEST.tsv")) else {
        eprintln!("skipped: no captures in {}", folder.display());
        return;
    };
    let mut wrong = Vec::new();
    for path in manifest
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
    {
        let mut weigher = Weigher(Hosts::default());
        let input = Input::open(&folder.join(path)).unwrap();
        replay::replay_into(input, &Settings::default(), &mut weigher).unwrap();
        let found = weigher.0.findings();
        let hosts: Vec<String> = found
            .iter()
            .map(|finding| match &finding.subject {
                Subject::Host(host) => host.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        let expected: Vec<&str> = infected(path).into_iter().collect();
        if hosts != expected {
            wrong.push(format!("{path}: {found:#?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
