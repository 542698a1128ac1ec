//! What was refused of forwarded packets: the sum, and what is to be reported when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use linux::forward::Refused;

/// How often counters are read: soon after a refusal, and later on.
const COUNT_SOON: Duration = Duration::from_secs(3);
const COUNT_LATER: Duration = Duration::from_secs(10);
/// How long a refusal is recent.
const RECENT: Duration = Duration::from_secs(60);
/// One interface is reported again after so long; two interfaces, one after the other.
const REPORT_EVERY: Duration = Duration::from_secs(600);
const REPORT_GAP: Duration = Duration::from_secs(5);
/// How many destinations a report names, and how many interfaces are remembered.
const NAMED_MAX: usize = 3;
const INTERFACES_MAX: usize = 1024;

/// What was refused of one interface since its last report.
#[derive(Debug, Default)]
pub struct Account {
    /// The interface.
    pub interface: String,
    /// Packets.
    packets: u64,
    destinations: BTreeSet<IpAddr>,
    reported: Option<Instant>,
}

impl Account {
    /// The report.
    pub fn words(&self, what: &str, observe: bool) -> String {
        let named: Vec<String> = self
            .destinations
            .iter()
            .take(NAMED_MAX)
            .map(IpAddr::to_string)
            .collect();
        let more = match self.destinations.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (how, packets) = if observe {
            ("would have been refused", "counted")
        } else {
            ("were refused", "refused")
        };
        format!(
            "{} forwarded packets to mail ports {how}: they came in by {}, {what}, and were for {}{more}. \
             Forwarded packets belong to no program of this machine, so no mailer sent them; all such \
             packets are {packets}. If they are wanted, set guard_forwarded = \"off\" in \
             /etc/sekimori/config.toml",
            self.packets,
            self.interface,
            named.join(", ")
        )
    }
}

/// The sums.
#[derive(Debug, Default)]
pub struct Book {
    /// The counters as they were read last.
    last: Refused,
    total: u64,
    accounts: BTreeMap<String, Account>,
    refused: Option<Instant>,
    reported: Option<Instant>,
}

impl Book {
    /// Rules were set anew: their counters begin at 0.
    pub fn began(&mut self) {
        self.last.clear();
    }

    /// Packets that were refused.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How long to wait until the counters are read again.
    pub fn pause(&self) -> Duration {
        match self.refused {
            Some(at) if at.elapsed() < RECENT => COUNT_SOON,
            _ => COUNT_LATER,
        }
    }

    /// Takes the counters.
    pub fn read(&mut self, counters: Refused, now: Instant) {
        for ((interface, address), packets) in &counters {
            let before = self.last.get(&(interface.clone(), *address));
            // A counter that went back began anew.
            let before = before.copied().filter(|before| before <= packets);
            let more = packets - before.unwrap_or(0);
            if more == 0 {
                continue;
            }
            self.total = self.total.saturating_add(more);
            self.refused = Some(now);
            if self.accounts.len() >= INTERFACES_MAX && !self.accounts.contains_key(interface) {
                continue;
            }
            let account = self.accounts.entry(interface.clone()).or_default();
            account.interface.clone_from(interface);
            account.packets = account.packets.saturating_add(more);
            account.destinations.insert(*address);
        }
        self.last = counters;
    }

    /// What is to be reported now, one interface at a time.
    pub fn due(&mut self, now: Instant) -> Option<Account> {
        let is_past = |at: Option<Instant>, pause: Duration| {
            at.is_none_or(|at| now.duration_since(at) >= pause)
        };
        if !is_past(self.reported, REPORT_GAP) {
            return None;
        }
        let due = self
            .accounts
            .values_mut()
            .find(|account| account.packets > 0 && is_past(account.reported, REPORT_EVERY))?;
        self.reported = Some(now);
        let empty = Account {
            interface: due.interface.clone(),
            reported: Some(now),
            ..Account::default()
        };
        Some(std::mem::replace(due, empty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(all: &[(&str, &str, u64)]) -> Refused {
        all.iter()
            .map(|(name, address, packets)| {
                (((*name).to_owned(), address.parse().unwrap()), *packets)
            })
            .collect()
    }

    #[test]
    fn an_interface_is_reported_at_once_and_then_seldom() {
        let mut book = Book::default();
        let start = Instant::now();
        assert_eq!(book.pause(), COUNT_LATER);
        book.read(counters(&[("tap0", "203.0.113.9", 2)]), start);
        assert_eq!(book.pause(), COUNT_SOON);
        let report = book.due(start).unwrap();
        let words = report.words("a TUN or TAP device of user bob", false);
        assert!(
            words.starts_with("2 forwarded packets to mail ports were refused: they came in by tap0, a TUN or TAP device of user bob, and were for 203.0.113.9. "),
            "{words}"
        );
        let later = start + REPORT_GAP;
        book.read(
            counters(&[("tap0", "203.0.113.9", 5), ("tap1", "2001:db8::9", 1)]),
            later,
        );
        assert_eq!(book.due(later).unwrap().interface, "tap1");
        assert!(book.due(later + REPORT_GAP).is_none());
        let again = book.due(start + REPORT_EVERY).unwrap();
        assert_eq!((again.interface.as_str(), again.packets), ("tap0", 3));
        assert_eq!(book.total(), 6);
    }

    #[test]
    fn counters_that_begin_anew_are_added() {
        let mut book = Book::default();
        let now = Instant::now();
        book.read(counters(&[("tap0", "203.0.113.9", 5)]), now);
        book.read(counters(&[("tap0", "203.0.113.9", 2)]), now);
        book.began();
        book.read(counters(&[("tap0", "203.0.113.9", 2)]), now);
        assert_eq!(book.total(), 9);
    }
}
