//! Whose turn it is to read the journal. Anybody may ask for entries, over many connections at
//! once; but reading costs time that the watcher needs for reports. So one connection of each user
//! reads at a time, a page each, and few users at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Users other than root whose pages are read at once. Root has a turn of its own.
const USERS_AT_ONCE: usize = 2;
/// A user whose connections wait for each other pauses for as long as a page took, and not longer
/// than this.
const PAUSE_MAX: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    /// Users that have their turn, or pause after it.
    users: Vec<u32>,
    /// Users that read now, without root.
    reading: usize,
    /// One for each connection that waits.
    waiting: Vec<u32>,
}

/// Who reads and who waits.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

/// A turn. It ends when this is dropped.
pub struct Turn<'a> {
    turns: &'a Turns,
    uid: u32,
    begun: Instant,
}

impl Turns {
    /// Waits for a turn of this user. None when it takes longer than `patience`.
    pub fn take(&self, uid: u32, patience: Duration) -> Option<Turn<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.waiting.push(uid);
        let taken = loop {
            let free = uid == 0 || state.reading < USERS_AT_ONCE;
            if free && !state.users.contains(&uid) {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        forget(&mut state.waiting, uid);
        if !taken {
            return None;
        }
        state.users.push(uid);
        state.reading += usize::from(uid != 0);
        Some(Turn {
            turns: self,
            uid,
            begun: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let mut state = self.turns.lock();
        state.reading -= usize::from(self.uid != 0);
        if state.waiting.contains(&self.uid) {
            self.turns.changed.notify_all();
            drop(state);
            thread::sleep(took.min(PAUSE_MAX));
            state = self.turns.lock();
        }
        forget(&mut state.users, self.uid);
        drop(state);
        self.turns.changed.notify_all();
    }
}

fn forget(users: &mut Vec<u32>, uid: u32) {
    if let Some(at) = users.iter().position(|user| *user == uid) {
        users.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_user_has_one_turn_at_a_time_and_few_users_read_at_once() {
        let turns = Turns::default();
        let first = turns.take(1000, LONG).expect("a turn");
        assert!(turns.take(1000, Duration::ZERO).is_none());
        let second = turns.take(1001, LONG).expect("a turn");
        assert!(turns.take(1002, Duration::ZERO).is_none());
        // Root does not wait for users, and they do not wait for root.
        let root = turns.take(0, LONG).expect("a turn");
        assert!(turns.take(0, Duration::ZERO).is_none());
        drop(second);
        let third = turns.take(1002, LONG).expect("a turn");
        drop((first, root, third));
        assert!(turns.take(1000, Duration::ZERO).is_some());
        assert!(turns.lock().waiting.is_empty() && turns.lock().users.is_empty());
    }

    #[test]
    fn many_connections_of_a_user_read_one_after_the_other() {
        let turns = Turns::default();
        let (now, most, read) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        let turn = turns.take(1000, LONG).expect("a turn");
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        read.fetch_add(1, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), read.into_inner()), (1, 16 * 8));
    }
}
