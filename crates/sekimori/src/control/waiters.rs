//! Who waits for new entries: `log --follow`. A waiting connection costs nothing until there is an
//! entry that it may see.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one user that wait at once. Others are answered immediately and ask again.
const OF_ONE_USER: usize = 4;
/// Connections of all users but root that wait at once.
const OF_ALL_USERS: usize = 24;

struct Waiter {
    id: u64,
    uid: u32,
    tell: SyncSender<()>,
}

#[derive(Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    last_id: u64,
}

/// The connections that wait.
#[derive(Clone, Default)]
pub struct Waiters(Arc<Mutex<Waiting>>);

/// One that waits, until it is dropped.
pub struct Place {
    all: Waiters,
    id: u64,
    /// Gets something when there is an entry for it.
    pub told: Receiver<()>,
}

impl Waiters {
    /// Lets a connection of this user wait. None when too many do.
    pub fn enter(&self, uid: u32) -> Option<Place> {
        let mut waiting = self.lock();
        let waiters = &waiting.waiters;
        let own = waiters.iter().filter(|waiter| waiter.uid == uid).count();
        let users = waiters.iter().filter(|waiter| waiter.uid != 0).count();
        if own >= OF_ONE_USER || (uid != 0 && users >= OF_ALL_USERS) {
            return None;
        }
        let (tell, told) = sync_channel(1);
        waiting.last_id += 1;
        let id = waiting.last_id;
        waiting.waiters.push(Waiter { id, uid, tell });
        Some(Place {
            all: self.clone(),
            id,
            told,
        })
    }

    /// Whether anybody waits.
    pub fn any(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    /// Entries about these users were written; none stands for what concerns the machine. Root sees
    /// all of them.
    pub fn tell(&self, about: &[Option<u32>]) {
        for waiter in &self.lock().waiters {
            if waiter.uid == 0 || about.contains(&Some(waiter.uid)) {
                // One that was told already has not looked yet.
                let _ = waiter.tell.try_send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all
            .lock()
            .waiters
            .retain(|waiter| waiter.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whoever_may_see_an_entry_is_told_of_it() {
        let all = Waiters::default();
        assert!(!all.any());
        let waiters = [0, 1000, 1001].map(|uid| all.enter(uid).expect("a place"));
        let told = || {
            let told = waiters.iter().map(|waiter| waiter.told.try_recv().is_ok());
            told.collect::<Vec<_>>()
        };
        all.tell(&[Some(1001), Some(1001)]);
        assert_eq!(told(), [true, false, true]);
        all.tell(&[None]);
        assert_eq!(told(), [true, false, false]);
        drop(waiters);
        assert!(!all.any());
    }

    #[test]
    fn a_user_takes_a_share_of_the_places() {
        let all = Waiters::default();
        let greedy: Vec<_> = (0..OF_ONE_USER).map(|_| all.enter(1000)).collect();
        assert!(greedy.iter().all(Option::is_some));
        assert!(all.enter(1000).is_none());
        let others: Vec<_> = (0..50).map(|at| all.enter(2000 + at)).collect();
        assert_eq!(others.iter().flatten().count(), OF_ALL_USERS - OF_ONE_USER);
        assert!(all.enter(0).is_some());
        drop(greedy);
        assert!(all.enter(1000).is_some());
    }
}
