//! Reading what a process shows, without waiting for ever.
//!
//! A user can make any read of a process's own memory last as long as he likes: its arguments may
//! lie in a page that a FUSE file system or userfaultfd never delivers. So such reads happen in
//! a thread of their own. A thread that does not come back in time is left behind, and the answer is
//! missing.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long one read may take. A read of /proc takes microseconds, also on a busy machine.
const EACH: Duration = Duration::from_secs(1);
/// How many reads of one user's processes may hang. After that no process of that user is read.
const OF_ONE_USER: u32 = 4;
/// The same for all users together. Each one leaves a thread behind.
const OF_ALL: u32 = 128;

type Job = Box<dyn FnOnce() + Send>;

/// Does work with a time limit.
#[derive(Default)]
pub struct Patience {
    worker: Option<Sender<Job>>,
    hanging: HashMap<u32, u32>,
}

impl Patience {
    /// The result of `work`, which reads a process of this user. `None` when it takes too long, or
    /// when too many processes of the user have taken too long before.
    pub fn ask<T: Send + 'static>(
        &mut self,
        user: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.is_spent(user) {
            return None;
        }
        let (answer, answers): (Sender<T>, Receiver<T>) = channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more when it took too long.
            let _ = answer.send(work());
        });
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => worker()?,
        };
        worker.send(job).ok()?;
        match answers.recv_timeout(EACH) {
            Ok(found) => {
                self.worker = Some(worker);
                Some(found)
            }
            Err(_) => {
                *self.hanging.entry(user).or_default() += 1;
                None
            }
        }
    }

    fn is_spent(&self, user: u32) -> bool {
        let all: u32 = self.hanging.values().sum();
        let own = self.hanging.get(&user).copied().unwrap_or(0);
        own >= OF_ONE_USER || all >= OF_ALL
    }
}

/// A thread that does one job after the other until nobody can send it another.
fn worker() -> Option<Sender<Job>> {
    let (jobs, waiting) = channel::<Job>();
    let work = move || waiting.into_iter().for_each(|job| job());
    thread::Builder::new().spawn(work).ok()?;
    Some(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_hangs_costs_its_user_and_nobody_else() {
        let mut patience = Patience::default();
        assert_eq!(patience.ask(1, || 7), Some(7));
        let (hold, held) = channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        for _ in 0..OF_ONE_USER {
            let held = std::sync::Arc::clone(&held);
            let hang = move || drop(held.lock().map(|held| held.recv()));
            assert_eq!(patience.ask(1, hang), None);
        }
        assert_eq!(patience.ask(1, || 7), None);
        assert_eq!(patience.ask(2, || 7), Some(7));
        drop(hold);
    }
}
