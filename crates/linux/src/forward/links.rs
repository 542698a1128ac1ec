//! The network interfaces of the calling process's network namespace, by rtnetlink.
//!
//! Not by `/sys/class/net`: a sysfs shows the namespace in which it was mounted.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// Answers are as long as a page or, for some interfaces, longer.
const BUFFER_BYTES: usize = 64 * 1024;
/// Interfaces beyond these are not read, and so do not count as root's.
const LINKS_MAX: usize = 16 * 1024;
/// How long the kernel may take for an answer. It never takes that long.
const ANSWER_MAX: Duration = Duration::from_secs(2);

const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_OWNER: u16 = 1;
const IFLA_TUN_GROUP: u16 = 2;
const IFLA_TUN_PERSIST: u16 = 6;
/// Of `struct nlmsghdr` and `struct ifinfomsg`, both.
pub(super) const HEADER_BYTES: usize = 16;
/// The group of changed rules (`NFNLGRP_NFTABLES`), as a bit.
const RULES_CHANGED: u32 = 1 << 6;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it: `tun`, `veth`, `bridge`; empty for hardware.
    pub kind: String,
    /// The bridge or other interface that it is a part of.
    pub master: Option<u32>,
    /// The interface below it, or the other end of a pair.
    pub lower: Option<u32>,
    /// The network namespace of that one, by the number that this namespace has for it.
    pub space: Option<i32>,
    /// A TUN or TAP device: who may use it.
    pub tun: Tun,
}

/// Who may use a TUN or TAP device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tun {
    /// The only user that may, beside root.
    pub owner: Option<u32>,
    /// The only group that may.
    pub group: Option<u32>,
    /// It stays when no process holds it.
    pub persistent: bool,
}

/// All interfaces, by number.
///
/// # Errors
///
/// When the kernel does not answer.
pub fn all() -> io::Result<HashMap<u32, Link>> {
    let socket = asker()?;
    rustix::net::send(&socket, &request(), rustix::net::SendFlags::empty())?;
    let mut links = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (count, length) =
            rustix::net::recv(&socket, &mut buffer[..], rustix::net::RecvFlags::TRUNC)?;
        if length > count {
            return Err(io::Error::other("the kernel's list of interfaces is cut"));
        }
        let mut rest = &buffer[..count];
        while let Some((kind, body)) = message(&mut rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(links),
                libc::NLMSG_ERROR => {
                    return Err(io::Error::other("the kernel does not list its interfaces"));
                }
                _ => {}
            }
            if kind == libc::RTM_NEWLINK
                && links.len() < LINKS_MAX
                && let Some(link) = link(body)
            {
                links.insert(link.index, link);
            }
        }
    }
}

/// A socket to ask the kernel by.
pub(super) fn asker() -> io::Result<OwnedFd> {
    let socket = open(libc::NETLINK_ROUTE, 0)?;
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(ANSWER_MAX),
    )?;
    Ok(socket)
}

/// Tells when interfaces or firewall rules change.
#[derive(Debug)]
pub struct Changes {
    links: OwnedFd,
    rules: Option<OwnedFd>,
}

impl Changes {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// When the kernel has no such socket for this process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            links: open(libc::NETLINK_ROUTE, libc::RTMGRP_LINK as u32)?,
            // A kernel without nftables has none.
            rules: open(libc::NETLINK_NETFILTER, RULES_CHANGED).ok(),
        })
    }

    /// Readable when an interface has changed.
    pub fn links(&self) -> BorrowedFd<'_> {
        self.links.as_fd()
    }

    /// Readable when a rule of nftables has changed, whoever did it.
    pub fn rules(&self) -> Option<BorrowedFd<'_>> {
        self.rules.as_ref().map(AsFd::as_fd)
    }

    /// Takes what has been reported: whether interfaces have changed, and whether rules have. What
    /// it was is looked up, because the kernel drops reports that come too fast.
    pub fn take(&self) -> (bool, bool) {
        let rules = self.rules.as_ref();
        (drain(&self.links), rules.is_some_and(drain))
    }
}

/// Whether there was anything.
fn drain(socket: &OwnedFd) -> bool {
    let mut buffer = [0; 256];
    let flags = rustix::net::RecvFlags::DONTWAIT;
    let mut any = false;
    while let Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) =
        rustix::net::recv(socket, &mut buffer, flags)
    {
        any = true;
    }
    any
}

fn open(protocol: i32, groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed.
    let number = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made the descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: all bytes zero is a value of this plain structure.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address lives for the call and is as long as the size says.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// The request for all interfaces.
fn request() -> [u8; 2 * HEADER_BYTES] {
    let mut out = [0; 2 * HEADER_BYTES];
    out[..4].copy_from_slice(&(2 * HEADER_BYTES as u32).to_ne_bytes());
    out[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    out[6..8].copy_from_slice(&flags.to_ne_bytes());
    out
}

/// The next message: its type and what follows its header.
pub(super) fn message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
    let body = rest.get(HEADER_BYTES..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body))
}

/// The attributes of a message: type and content.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let content = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper bits are flags.
        Some((kind & 0x3fff, content))
    })
}

fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: number(body.get(4..8)?)?,
        ..Link::default()
    };
    for (kind, content) in attributes(body.get(HEADER_BYTES..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(content),
            IFLA_LINK => link.lower = number(content),
            IFLA_LINK_NETNSID => link.space = number(content).map(u32::cast_signed),
            IFLA_MASTER => link.master = number(content),
            IFLA_LINKINFO => info(content, &mut link),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn info(content: &[u8], link: &mut Link) {
    let mut data = None;
    for (kind, content) in attributes(content) {
        match kind {
            IFLA_INFO_KIND => link.kind = text(content),
            IFLA_INFO_DATA => data = Some(content),
            _ => {}
        }
    }
    if link.kind != "tun" {
        return;
    }
    for (kind, content) in attributes(data.unwrap_or_default()) {
        match kind {
            IFLA_TUN_OWNER => link.tun.owner = number(content),
            IFLA_TUN_GROUP => link.tun.group = number(content),
            IFLA_TUN_PERSIST => link.tun.persistent = content.first().is_some_and(|on| *on != 0),
            _ => {}
        }
    }
}

pub(super) fn number(content: &[u8]) -> Option<u32> {
    content.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Text up to its zero byte.
fn text(content: &[u8]) -> String {
    let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut out = ((content.len() + 4) as u16).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn a_tun_device_is_read_with_its_owner() {
        let data = [
            attribute(IFLA_TUN_OWNER, &1000_u32.to_ne_bytes()),
            attribute(IFLA_TUN_PERSIST, &[1]),
        ]
        .concat();
        let info = [
            attribute(IFLA_INFO_KIND, b"tun\0"),
            attribute(IFLA_INFO_DATA | 0x8000, &data),
        ]
        .concat();
        let mut body = vec![0; HEADER_BYTES];
        body[4] = 7;
        body.extend(attribute(IFLA_IFNAME, b"tap0\0"));
        body.extend(attribute(IFLA_MASTER, &3_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &info));
        let read = link(&body).unwrap();
        assert_eq!((read.index, read.name.as_str()), (7, "tap0"));
        assert_eq!((read.kind.as_str(), read.master), ("tun", Some(3)));
        let tun = Tun {
            owner: Some(1000),
            group: None,
            persistent: true,
        };
        assert_eq!(read.tun, tun);
        // A cut message gives nothing, and no panic.
        for end in 0..body.len() {
            let _ = link(&body[..end]);
        }
    }

    #[test]
    fn the_kernel_lists_the_loopback_interface() {
        let links = all().unwrap();
        assert!(links.values().any(|link| link.name == "lo"), "{links:?}");
    }
}
