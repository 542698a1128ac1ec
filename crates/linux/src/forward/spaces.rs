//! Whose a network namespace is that a virtual cable leads into: the user who made it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::links::{HEADER_BYTES, asker, attributes, message, number};
use crate::procfs;

/// How long /proc may be searched.
const SEARCH_MAX: Duration = Duration::from_millis(300);

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
/// Of `struct rtgenmsg`, with its padding.
const GENERIC_BYTES: usize = 4;

/// The owners of these network namespaces, by the numbers that the calling process's namespace
/// has for them. One without processes has none, and neither has one that is above this one.
pub fn owners(mut wanted: HashSet<i32>) -> HashMap<i32, u32> {
    let mut found = HashMap::new();
    let Ok(socket) = asker() else { return found };
    let until = Instant::now() + SEARCH_MAX;
    let mut known = HashSet::new();
    for pid in procfs::all() {
        if wanted.is_empty() || Instant::now() > until {
            break;
        }
        let path = format!("/proc/{pid}/ns/net");
        // Many processes share one, and a link is read faster than a namespace is opened.
        let Ok(name) = fs::read_link(&path) else {
            continue;
        };
        if !known.insert(name) {
            continue;
        }
        let Ok(space) = File::open(&path) else {
            continue;
        };
        if let Some(number) = number_of(&socket, &space)
            && wanted.remove(&number)
            && let Some(owner) = owner(&space)
        {
            found.insert(number, owner);
        }
    }
    found
}

/// The number of a namespace; none for one that no interface of this one leads into.
fn number_of(socket: &OwnedFd, space: &File) -> Option<i32> {
    const LENGTH: usize = HEADER_BYTES + GENERIC_BYTES + 8;
    let mut request = [0_u8; LENGTH];
    request[..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETNSID.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    let attribute = HEADER_BYTES + GENERIC_BYTES;
    request[attribute..attribute + 2].copy_from_slice(&8_u16.to_ne_bytes());
    request[attribute + 2..attribute + 4].copy_from_slice(&NETNSA_FD.to_ne_bytes());
    request[attribute + 4..].copy_from_slice(&space.as_raw_fd().to_ne_bytes());
    rustix::net::send(socket, &request, rustix::net::SendFlags::empty()).ok()?;
    let mut buffer = [0; 1024];
    let flags = rustix::net::RecvFlags::empty();
    let (count, _) = rustix::net::recv(socket, &mut buffer[..], flags).ok()?;
    let (kind, body) = message(&mut &buffer[..count])?;
    if kind != RTM_NEWNSID {
        return None;
    }
    let mut all = attributes(body.get(GENERIC_BYTES..)?);
    let (_, content) = all.find(|(kind, _)| *kind == NETNSA_NSID)?;
    // Without a number it is -1.
    number(content)
        .map(u32::cast_signed)
        .filter(|number| *number >= 0)
}

/// The user who made the user namespace that a namespace belongs to. Root for the machine's.
fn owner(space: &File) -> Option<u32> {
    // SAFETY: the call takes no pointer.
    let users = unsafe { libc::ioctl(space.as_fd().as_raw_fd(), NS_GET_USERNS) };
    if users < 0 {
        return None;
    }
    // SAFETY: the call above has just made the descriptor, and nothing else owns it.
    let users = unsafe { OwnedFd::from_raw_fd(users) };
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one user number to the place, which outlives the call.
    let done = unsafe { libc::ioctl(users.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    (done == 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_namespace_is_roots() {
        let space = File::open("/proc/self/ns/net").unwrap();
        // In a container that a user made, it is the user's.
        assert!(owner(&space).is_some());
        assert!(owners(HashSet::new()).is_empty());
    }
}
