//! The hosts of a capture, each weighed as a lineage is weighed live.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::{DetectSettings, Detector, Observation, Subject, Suspicion, Timestamp};

/// Bounds that leave replay within its memory, whatever the capture holds.
const SUBJECTS_MAX: usize = 16_384;
const DETAIL_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Suspicious hosts that are remembered; beyond that, the first that were found.
const FINDINGS_MAX: usize = 1024;

/// Weighs the hosts of one capture.
#[derive(Debug)]
pub struct Hosts {
    detector: Detector,
    found: BTreeMap<IpAddr, Suspicion>,
    last: Timestamp,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            detector: Detector::new(DetectSettings {
                subjects_max: SUBJECTS_MAX,
                detail_max_bytes: DETAIL_MAX_BYTES,
                ..DetectSettings::default()
            }),
            found: BTreeMap::new(),
            last: Timestamp::default(),
        }
    }
}

impl Hosts {
    /// Takes an observation into account.
    pub fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, now: Timestamp) {
        self.last = self.last.max(now);
        let told = self
            .detector
            .observe(&Subject::Host(host), observation, now);
        for suspicion in told {
            if let Subject::Host(host) = suspicion.subject
                && (self.found.len() < FINDINGS_MAX || self.found.contains_key(&host))
            {
                self.found.insert(host, suspicion);
            }
        }
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
