//! How often something may be done.

use std::collections::HashMap;
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
    pub fn new(at_once: u32, every: Duration, now: Instant) -> Self {
        Self {
            at_once,
            every,
            left: at_once,
            since: now,
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

    /// Whether nothing of it is used up.
    fn is_whole(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_millis() / self.every.as_millis();
        u128::from(self.at_once - self.left) <= passed
    }
}

/// An allowance for each user, so that none of them uses up another's.
#[derive(Debug)]
pub struct Allowances {
    at_once: u32,
    every: Duration,
    users_max: usize,
    users: HashMap<u32, Allowance>,
    /// Of those who come while every place is taken.
    crowd: Allowance,
}

impl Allowances {
    /// For each of `users_max` users `at_once` now, and one more after each `every`. Others share one
    /// such allowance.
    pub fn new(at_once: u32, every: Duration, users_max: usize, now: Instant) -> Self {
        Self {
            at_once,
            every,
            users_max,
            users: HashMap::new(),
            crowd: Allowance::new(at_once, every, now),
        }
    }

    /// Whether it may be done once more for this user.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        if !self.users.contains_key(&uid) && self.users.len() >= self.users_max {
            // Who has all of it again needs no place.
            self.users.retain(|_, allowance| !allowance.is_whole(now));
            if self.users.len() >= self.users_max {
                return self.crowd.take(now);
            }
        }
        self.users
            .entry(uid)
            .or_insert_with(|| Allowance::new(self.at_once, self.every, now))
            .take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_another_his_allowance() {
        const EVERY: Duration = Duration::from_secs(3);
        let now = Instant::now();
        let mut allowances = Allowances::new(5, EVERY, 2, now);
        for _ in 0..100 {
            allowances.take(1000, now);
        }
        assert!(!allowances.take(1000, now));
        assert!((0..5).all(|_| allowances.take(1001, now)));
        assert!(!allowances.take(1001, now));
        // Two more users share what is left for all others, until a place is free.
        let crowd = (0..5).filter(|_| allowances.take(1002, now) && allowances.take(1003, now));
        assert_eq!(crowd.count(), 2);
        let later = now + EVERY * 6;
        assert!((0..5).all(|_| allowances.take(1002, later)));
        assert!((0..5).all(|_| allowances.take(1003, later)));
        assert_eq!(allowances.users.len(), 2);
    }

    #[test]
    fn there_is_a_bound_at_once_and_in_time() {
        const AT_ONCE: u32 = 20;
        const EVERY: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        let mut allowance = Allowance::new(AT_ONCE, EVERY, begun);
        let mut taken = |now| (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(begun), AT_ONCE as usize);
        let later = begun + EVERY * 2;
        assert_eq!(taken(later), 2);
        assert_eq!(taken(later + EVERY * 1000), AT_ONCE as usize);
    }
}
