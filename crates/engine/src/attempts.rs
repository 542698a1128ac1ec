//! How often, and at how many mail servers, somebody was refused within the last minute.

use std::net::{IpAddr, SocketAddr};

use crate::event::Timestamp;

/// Different servers that are told apart; more than these read as "more than".
const SERVERS_KEPT: usize = 32;

/// Refused attempts of one culprit since `since`.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The first of them.
    pub(crate) since: Timestamp,
    pub(crate) count: u64,
    servers: Vec<IpAddr>,
    more_servers: bool,
}

impl Attempt {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            count: 0,
            servers: Vec::new(),
            more_servers: false,
        }
    }

    /// Counts `count` more; begins anew when the first is older than `period_ns`.
    pub(crate) fn add(
        &mut self,
        destination: Option<SocketAddr>,
        count: u64,
        now: Timestamp,
        period_ns: u64,
    ) {
        if now.since_ns(self.since) > period_ns {
            *self = Self::new(now);
        }
        self.count += count;
        let Some(server) = destination.map(|destination| destination.ip().to_canonical()) else {
            return;
        };
        if self.servers.contains(&server) {
            return;
        }
        if self.servers.len() < SERVERS_KEPT {
            self.servers.push(server);
        } else {
            self.more_servers = true;
        }
    }

    /// Different servers, as far as they were kept.
    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    pub(crate) fn servers_words(&self) -> String {
        let more = if self.more_servers { "more than " } else { "" };
        format!("{more}{}", self.servers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_counted_once_and_within_bounds() {
        let mut attempt = Attempt::new(Timestamp(0));
        for host in 0..=255u8 {
            for _ in 0..2 {
                attempt.add(
                    Some(SocketAddr::from(([192, 0, 2, host], 25))),
                    1,
                    Timestamp(1),
                    10,
                );
            }
        }
        assert_eq!(
            (attempt.count, attempt.servers_words().as_str()),
            (512, "more than 32")
        );
        attempt.add(None, 3, Timestamp(11), 10);
        assert_eq!(
            (attempt.count, attempt.servers(), attempt.since),
            (3, 0, Timestamp(11))
        );
    }
}
