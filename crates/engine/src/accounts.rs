//! Whose share of bounded room a user id takes.
//!
//! An ordinary user has one id. With user namespaces he has subordinate ids too, 65,536 of them
//! as distributions set it up, and could take as many shares. So all ids of one range count as
//! one account. This is about room alone: evidence and warnings go by the id itself.

use serde::{Deserialize, Serialize};

/// Ranges of subordinate ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subordinate {
    /// First and last id of each.
    ranges: Vec<(u32, u32)>,
}

/// How many ranges are kept. One for each user is usual.
const RANGES_MAX: usize = 2048;

impl Subordinate {
    /// Reads `/etc/subuid`: lines of the form `user:first:count` (subuid(5)). Other lines are
    /// passed over.
    pub fn read(text: &str) -> Self {
        let range = |line: &str| {
            let mut fields = line.trim().split(':').skip(1);
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let last = first.checked_add(count.checked_sub(1)?)?;
            // A range that holds root or everybody would put all users into one account.
            (first > 0 && fields.next().is_none()).then_some((first, last))
        };
        Self {
            ranges: text.lines().filter_map(range).take(RANGES_MAX).collect(),
        }
    }

    /// The account of a user id: the first id of its range, or the id itself.
    pub fn account(&self, uid: u32) -> u32 {
        self.ranges
            .iter()
            .find(|(first, last)| (*first..=*last).contains(&uid))
            .map_or(uid, |(first, _)| *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_range_are_one_account() {
        let ids = Subordinate::read(
            "a:100000:65536\nb:165536:65536\n\n# comment\nc:x:5\nd:1:0\ne:5\nf:0:9\ng:4294967295:2\n",
        );
        assert_eq!(ids.account(100_000), 100_000);
        assert_eq!(ids.account(165_535), 100_000);
        assert_eq!(ids.account(165_536), 165_536);
        for uid in [0, 1, 5, 1000, 99_999, 231_072, u32::MAX] {
            assert_eq!(ids.account(uid), uid);
        }
    }

    #[test]
    fn the_ranges_fit_into_one_message_of_the_keeper() {
        let lines: String = (0..9000)
            .map(|at| format!("u:{}:1\n", 4_200_000_000u32 + at))
            .collect();
        let ids = Subordinate::read(&lines);
        let text = serde_json::to_string(&ids).expect("JSON");
        assert!(text.len() < 60_000, "{}", text.len());
        assert_eq!(serde_json::from_str::<Subordinate>(&text).ok(), Some(ids));
    }
}
