//! How often something may be done.

use std::time::{Duration, Instant};

/// So many at once, and one more each time that some time has passed.
#[derive(Debug)]
pub struct Allowance {
    at_once: u32,
    every: Duration,
    left: u32,
    since: Instant,
}

impl Allowance {
    /// `at_once` now, and one more after each `every`.
    pub fn new(at_once: u32, every: Duration) -> Self {
        Self {
            at_once,
            every,
            left: at_once,
            since: Instant::now(),
        }
    }

    /// Whether it may be done once more.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_millis() / self.every.as_millis();
        if passed > 0 {
            let more = u32::try_from(passed).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.at_once);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bound_at_once_and_in_time() {
        const AT_ONCE: u32 = 20;
        const EVERY: Duration = Duration::from_secs(3);
        let mut allowance = Allowance::new(AT_ONCE, EVERY);
        let begun = allowance.since;
        let mut taken = |now| (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(begun), AT_ONCE as usize);
        let later = begun + EVERY * 2;
        assert_eq!(taken(later), 2);
        assert_eq!(taken(later + EVERY * 1000), AT_ONCE as usize);
    }
}
