//! The hosts of a capture, each weighed as a lineage is weighed live.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::{DetectSettings, Detector, MAIL_PORTS, Observation, Subject, Suspicion, Timestamp};

use crate::exclude::Network;

/// Bounds that leave replay within its memory, whatever the capture holds.
const SUBJECTS_MAX: usize = 16_384;
const DETAIL_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Suspicious hosts that are remembered; beyond that, the first that were found.
const FINDINGS_MAX: usize = 1024;

/// What is known of the hosts before a capture is read.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Ports that mail goes to.
    pub mail_ports: Vec<u16>,
    /// Hosts that are not judged, because the user knows what they are.
    pub exclude: Vec<Network>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            mail_ports: MAIL_PORTS.to_vec(),
            exclude: Vec::new(),
        }
    }
}

/// Weighs the hosts of one capture.
#[derive(Debug)]
pub struct Hosts {
    detector: Detector,
    /// Each with whether a host of the capture was in it.
    exclude: Vec<(Network, bool)>,
    found: BTreeMap<IpAddr, Suspicion>,
    last: Timestamp,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new(HostSettings::default())
    }
}

impl Hosts {
    /// Hosts of which nothing was seen yet.
    pub fn new(settings: HostSettings) -> Self {
        Self {
            detector: Detector::new(DetectSettings {
                subjects_max: SUBJECTS_MAX,
                detail_max_bytes: DETAIL_MAX_BYTES,
                mail_ports: settings.mail_ports,
            }),
            exclude: settings
                .exclude
                .into_iter()
                .map(|network| (network, false))
                .collect(),
            found: BTreeMap::new(),
            last: Timestamp::default(),
        }
    }

    /// Takes an observation into account.
    pub fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, now: Timestamp) {
        self.last = self.last.max(now);
        if self.is_excluded(host) {
            return;
        }
        let told = self
            .detector
            .observe(&Subject::Host(host), observation, now);
        for suspicion in told {
            if let Subject::Host(host) = suspicion.subject
                && !self.is_excluded(host)
                && (self.found.len() < FINDINGS_MAX || self.found.contains_key(&host))
            {
                self.found.insert(host, suspicion);
            }
        }
    }

    /// The excluded networks that hosts of this capture belong to.
    pub fn excluded(&self) -> Vec<Network> {
        let met = self.exclude.iter().filter(|(_, met)| *met);
        met.map(|(network, _)| *network).collect()
    }

    fn is_excluded(&mut self, host: IpAddr) -> bool {
        let known = self
            .exclude
            .iter_mut()
            .find(|(network, _)| network.contains(host));
        known.is_some_and(|(_, met)| {
            *met = true;
            true
        })
    }

    /// The suspicious hosts at the end of the capture, in the order in which they were found.
    pub fn findings(&self) -> Vec<Suspicion> {
        let mut findings: Vec<Suspicion> = self
            .found
            .values()
            .map(|told| {
                // By now there may be more of it; or the host was forgotten, or is calm again.
                let now = self.detector.suspicion(&told.subject, self.last);
                now.filter(|now| now.score >= told.score)
                    .unwrap_or_else(|| told.clone())
            })
            .collect();
        findings.sort_by_key(|finding| finding.since);
        findings
    }
}
