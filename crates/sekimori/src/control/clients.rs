//! Who is connected to the control socket. Anybody may connect, so everybody has a share,
//! and whoever wants more than it loses what he had first. Others do not notice.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections of one user at once. A command is answered in milliseconds, so whoever has
/// more is not waiting for an answer.
const OF_ONE_USER: usize = 16;
/// Connections of all users but root at once.
const OF_ALL_USERS: usize = 48;

struct Client {
    id: u64,
    uid: u32,
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
    /// or of the user who has most, is cut off. Returns the number to leave with.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left.
    pub fn enter(&self, uid: u32, stream: &UnixStream) -> std::io::Result<u64> {
        let stream = stream.try_clone()?;
        let mut connected = self.lock();
        let clients = &mut connected.clients;
        if count(clients, uid) >= OF_ONE_USER {
            cut_off(clients, uid);
        }
        let others = clients.iter().filter(|client| client.uid != 0);
        if uid != 0 && others.clone().count() >= OF_ALL_USERS {
            let greedy = others
                .map(|client| client.uid)
                .max_by_key(|uid| count(clients, *uid));
            if let Some(greedy) = greedy {
                cut_off(clients, greedy);
            }
        }
        connected.last_id += 1;
        let id = connected.last_id;
        connected.clients.push(Client { id, uid, stream });
        Ok(id)
    }

    /// A connection has ended.
    pub fn leave(&self, id: u64) {
        self.lock().clients.retain(|client| client.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(clients: &[Client], uid: u32) -> usize {
    clients.iter().filter(|client| client.uid == uid).count()
}

fn cut_off(clients: &mut Vec<Client>, uid: u32) {
    if let Some(oldest) = clients.iter().position(|client| client.uid == uid) {
        // Its thread finds the connection ended. It may have ended by itself.
        let _ = clients.remove(oldest).stream.shutdown(Shutdown::Both);
    }
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
}
