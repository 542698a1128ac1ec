//! Which hosts of the captures are infected, and which were suspected.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use engine::{Observation, Subject, Timestamp};
use replay::{FlowRecord, Hosts, Sink};

/// Captures of bots, and the infected host in each. In the second, the master's connection
/// was captured; the bot is the host that the server names in its answers.
const INFECTED: [(&str, &str); 2] = [
    ("tklab-tud__ID2T/resources/sality_botnet.pcap", "10.0.2.15"),
    (
        "netzob__netzob/test/resources/pcaps/botnet_irc_bot.pcap",
        "20.20.20.2",
    ),
];

/// Hands flows on and weighs what the hosts do.
pub struct Weigher<F> {
    /// Takes each flow.
    pub each: F,
    /// The hosts of the capture.
    pub hosts: Hosts,
}

impl<F: FnMut(FlowRecord)> Sink for Weigher<F> {
    fn flow(&mut self, flow: FlowRecord) {
        (self.each)(flow);
    }

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.hosts.observe(host, observation, Timestamp(time_ns));
    }
}

/// Right and wrong about hosts.
#[derive(Default)]
pub struct Findings {
    right: Vec<String>,
    missed: Vec<String>,
    false_alarms: Vec<String>,
}

impl Findings {
    /// Compares what was found in a capture with the truth.
    pub fn file(&mut self, file: &str, hosts: &Hosts) {
        let infected = INFECTED.iter().filter(|(path, _)| *path == file);
        let mut infected: BTreeSet<&str> = infected.map(|(_, host)| *host).collect();
        for finding in hosts.findings() {
            let Subject::Host(host) = &finding.subject else {
                continue;
            };
            let what = format!("{host} in {file}, score {}", finding.score);
            if infected.remove(host.to_string().as_str()) {
                self.right.push(what);
            } else {
                self.false_alarms.push(what);
            }
        }
        let missed = infected.iter().map(|host| format!("{host} in {file}"));
        self.missed.extend(missed);
    }

    /// Misses and false alarms.
    pub fn failures(&self) -> usize {
        self.missed.len() + self.false_alarms.len()
    }

    /// The part of the report that is about hosts.
    pub fn report(&self) -> String {
        let mut text = String::from("\n## Suspicious hosts\n\n");
        let _ = writeln!(
            text,
            "Infected hosts found: {} of {}. Other hosts suspected: {}.\n",
            self.right.len(),
            INFECTED.len(),
            self.false_alarms.len()
        );
        for (word, lines) in [
            ("found", &self.right),
            ("missed", &self.missed),
            ("false alarm", &self.false_alarms),
        ] {
            for line in lines {
                let _ = writeln!(text, "- {word}: {line}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_that_is_not_found_is_a_failure() {
        let mut findings = Findings::default();
        findings.file("some.pcap", &Hosts::default());
        assert_eq!(findings.failures(), 0);
        findings.file(INFECTED[0].0, &Hosts::default());
        assert_eq!(findings.failures(), 1);
        assert!(findings.report().contains("missed: 10.0.2.15"));
    }
}
