//! Who is connected to the control socket. Anybody may connect, so everybody has a share,
//! and whoever wants more than it loses what he had first. Others do not notice.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections of one user at once. A command is answered in milliseconds, so whoever has
/// more is not waiting for an answer.
const OF_ONE_USER: usize = 16;
/// Connections of all users but root at once.
const OF_ALL_USERS: usize = 48;
/// How long a user's only connection stays at least: long enough to ask, also when as many
/// users as are served come again and again.
const AT_LEAST: Duration = Duration::from_millis(50);

struct Client {
    id: u64,
    uid: u32,
    since: Instant,
    /// Its request has been read.
    asked: bool,
    stream: UnixStream,
}

#[derive(Default)]
struct Connected {
    /// The oldest first.
    clients: Vec<Client>,
    last_id: u64,
}

/// The connections that are being served.
#[derive(Default)]
pub struct Clients(Mutex<Connected>);

impl Clients {
    /// Adds a connection of this user. When there are too many, the oldest one of its user,
    /// or of the user who has most, is cut off. Where many users have as many, whoever has had
    /// time to ask and asked nothing goes before whoever waits for an answer. Returns the number
    /// to leave with.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left.
    pub fn enter(&self, uid: u32, stream: &UnixStream) -> std::io::Result<u64> {
        let stream = stream.try_clone()?;
        let mut connected = self.lock();
        let clients = &mut connected.clients;
        if count(clients, uid) >= OF_ONE_USER
            && let Some(oldest) = clients.iter().position(|client| client.uid == uid)
        {
            cut_off(clients, oldest);
        }
        if uid != 0 {
            connected = self.make_room(connected, uid);
        }
        connected.last_id += 1;
        let id = connected.last_id;
        connected.clients.push(Client {
            id,
            uid,
            since: Instant::now(),
            asked: false,
            stream,
        });
        Ok(id)
    }

    /// The request of a connection has been read.
    pub fn asked(&self, id: u64) {
        let clients = &mut self.lock().clients;
        if let Some(client) = clients.iter_mut().find(|client| client.id == id) {
            client.asked = true;
        }
    }

    /// A connection has ended.
    pub fn leave(&self, id: u64) {
        self.lock().clients.retain(|client| client.id != id);
    }

    fn make_room<'a>(
        &'a self,
        mut connected: MutexGuard<'a, Connected>,
        newcomer: u32,
    ) -> MutexGuard<'a, Connected> {
        while let Some((at, wait)) = first_to_go(&connected.clients, newcomer) {
            if wait.is_zero() {
                cut_off(&mut connected.clients, at);
                break;
            }
            drop(connected);
            thread::sleep(wait);
            connected = self.lock();
        }
        connected
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(clients: &[Client], uid: u32) -> usize {
    clients.iter().filter(|client| client.uid == uid).count()
}

/// Which connection goes for a new one of this user's, which counts as if it were there, and
/// how soon. None while there is room.
fn first_to_go(clients: &[Client], newcomer: u32) -> Option<(usize, Duration)> {
    let of_users = clients.iter().enumerate();
    let of_users = of_users.filter(|(_, client)| client.uid != 0);
    if of_users.clone().count() < OF_ALL_USERS {
        return None;
    }
    let share = |uid| count(clients, uid) + usize::from(uid == newcomer);
    // Of those that are alike the last one is taken: the oldest.
    let (at, first) = of_users
        .rev()
        .max_by_key(|(_, client)| (share(client.uid), !client.asked))?;
    let wait = if share(first.uid) > 1 {
        Duration::ZERO
    } else {
        AT_LEAST.saturating_sub(first.since.elapsed())
    };
    Some((at, wait))
}

fn cut_off(clients: &mut Vec<Client>, at: usize) {
    // Its thread finds the connection ended. It may have ended by itself.
    let _ = clients.remove(at).stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};

    use super::*;

    /// Whether the other side of a connection was cut off.
    fn is_cut_off(mut stream: &UnixStream) -> bool {
        stream.set_nonblocking(true).unwrap();
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn enter(clients: &Clients, uid: u32) -> (u64, UnixStream) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        (clients.enter(uid, &ours).unwrap(), theirs)
    }

    #[test]
    fn whoever_takes_more_than_a_share_loses_the_oldest() {
        let clients = Clients::default();
        let (root, other) = (enter(&clients, 0).1, enter(&clients, 1001).1);
        let mut greedy: Vec<_> = (0..OF_ONE_USER).map(|_| enter(&clients, 1000).1).collect();
        assert!(!greedy.iter().any(is_cut_off));
        greedy.push(enter(&clients, 1000).1);
        assert!(is_cut_off(&greedy[0]));
        assert!(!greedy[1..].iter().any(is_cut_off));
        assert!(!is_cut_off(&root) && !is_cut_off(&other));
    }

    #[test]
    fn many_users_together_have_a_bound_and_root_is_apart() {
        let clients = Clients::default();
        let all: Vec<_> = (0..OF_ALL_USERS as u32)
            .map(|at| enter(&clients, 1000 + at / 8))
            .collect();
        let greedy = enter(&clients, 1000).1;
        assert_eq!(
            all.iter().filter(|(_, stream)| is_cut_off(stream)).count(),
            1
        );
        let root = enter(&clients, 0).1;
        assert_eq!(
            all.iter().filter(|(_, stream)| is_cut_off(stream)).count(),
            1
        );
        assert!(!is_cut_off(&root) && !is_cut_off(&greedy));
        for (id, _) in &all {
            clients.leave(*id);
        }
        assert_eq!(clients.lock().clients.len(), 2);
    }

    #[test]
    fn among_users_with_one_connection_each_the_newest_is_not_cut_off() {
        let clients = Clients::default();
        let first = enter(&clients, 1000);
        clients.asked(first.0);
        let begun = Instant::now();
        let silent: Vec<_> = (1..OF_ALL_USERS as u32)
            .map(|at| enter(&clients, 1000 + at).1)
            .collect();
        for (at, uid) in (3000..3004).enumerate() {
            let newest = enter(&clients, uid);
            // Not before it could have asked.
            assert!(begun.elapsed() >= AT_LEAST);
            clients.asked(newest.0);
            // The oldest of those that have asked nothing.
            assert!(is_cut_off(&silent[at]) && !is_cut_off(&silent[at + 1]));
            assert!(!is_cut_off(&newest.1));
        }
        assert!(!is_cut_off(&first.1));
        // Whoever comes with a second one has most.
        let last = silent.last().unwrap();
        let again = enter(&clients, 1000 + OF_ALL_USERS as u32 - 1).1;
        assert!(is_cut_off(last) && !is_cut_off(&again));
    }
}
