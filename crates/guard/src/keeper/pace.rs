//! How soon a registered file that users can write to is looked at again.
//!
//! Each look reads the whole file, and tells people when it is not what it was. Whoever changes such a
//! file again and again must not keep the keeper busy with it, nor fill the journal. In between
//! the changed file counts as changed: the kernel sees that by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between the first two looks, when the file changes again at once.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks at a file that never rests.
const LONGEST: Duration = Duration::from_secs(60);

/// When which file was looked at.
#[derive(Debug, Default)]
pub struct Pace(HashMap<String, Looked>);

#[derive(Debug)]
struct Looked {
    at: Instant,
    pause: Duration,
    /// It has changed since.
    changed: bool,
}

impl Pace {
    /// A file has changed. Whether it is looked at now; if not, it is due later.
    pub fn changed(&mut self, path: &str, now: Instant) -> bool {
        let Some(looked) = self.0.get_mut(path) else {
            self.0.insert(path.to_owned(), Looked::first(now));
            return true;
        };
        let rested = now.saturating_duration_since(looked.at);
        if rested >= looked.pause * 2 {
            *looked = Looked::first(now);
        } else if rested >= looked.pause {
            looked.again(now);
        } else {
            looked.changed = true;
            return false;
        }
        true
    }

    /// The files that are looked at now, because they changed too soon after the last look.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for (path, looked) in &mut self.0 {
            if looked.changed && now >= looked.at + looked.pause {
                looked.again(now);
                due.push(path.clone());
            }
        }
        due
    }

    /// When the next one is due, if any is.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|looked| looked.changed);
        waiting.map(|looked| looked.at + looked.pause).min()
    }

    /// Forgets the others.
    pub fn keep(&mut self, is_registered: impl Fn(&str) -> bool) {
        self.0.retain(|path, _| is_registered(path));
    }
}

impl Looked {
    const fn first(at: Instant) -> Self {
        Self {
            at,
            pause: FIRST,
            changed: false,
        }
    }

    fn again(&mut self, now: Instant) {
        self.at = now;
        self.pause = (self.pause * 2).min(LONGEST);
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/home/alice/mailer";

    #[test]
    fn a_file_that_rests_is_looked_at_at_once() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        for minute in 0..10 {
            assert!(pace.changed(FILE, begin + Duration::from_secs(60 * minute)));
        }
        assert_eq!(pace.next(), None);
    }

    #[test]
    fn a_file_that_never_rests_is_looked_at_less_and_less() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        let mut looks = Vec::new();
        for tenths in 0..36_000 {
            let now = begin + Duration::from_millis(100 * tenths);
            if pace.changed(FILE, now) || !pace.due(now).is_empty() {
                looks.push(tenths / 10);
            }
        }
        assert_eq!(looks[..6], [0, 1, 3, 7, 15, 31]);
        assert!(looks.len() < 70, "{}", looks.len());
    }

    #[test]
    fn the_last_change_is_looked_at_too() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        assert!(pace.changed(FILE, begin));
        let soon = begin + Duration::from_millis(300);
        assert!(!pace.changed(FILE, soon));
        assert!(pace.due(soon).is_empty());
        let due = pace.next().unwrap();
        assert_eq!(due, begin + FIRST);
        assert_eq!(pace.due(due), [FILE]);
        assert_eq!(pace.next(), None);
        pace.keep(|_| false);
        assert!(pace.changed(FILE, due));
    }
}
