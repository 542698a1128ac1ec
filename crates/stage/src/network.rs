//! The network of a sandbox: the loopback interface, brought up and given addresses.
//!
//! Speaks just enough rtnetlink for that, so no `ip` program is needed.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// The loopback interface is the first one of every network namespace.
const LOOPBACK: u32 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;

/// Brings the loopback interface up and gives it `addresses`, each for one host only.
pub(crate) fn set_up_loopback(addresses: &[IpAddr]) -> io::Result<()> {
    // Protocol 0 of netlink is NETLINK_ROUTE.
    let route = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    request(&route, RTM_NEWLINK, 0, &link_up())?;
    for address in addresses {
        request(
            &route,
            RTM_NEWADDR,
            NLM_F_CREATE | NLM_F_REPLACE,
            &host_address(*address),
        )?;
    }
    Ok(())
}

/// An ifinfomsg that sets the interface up.
fn link_up() -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// An ifaddrmsg with its two attributes.
fn host_address(address: IpAddr) -> Vec<u8> {
    let (family, bits, octets) = match address {
        IpAddr::V4(v4) => (AddressFamily::INET, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AddressFamily::INET6, 128, v6.octets().to_vec()),
    };
    let mut body = vec![family.as_raw() as u8, bits, IFA_F_NODAD, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend((4 + octets.len() as u16).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&octets);
    }
    body
}

/// Sends one request and reads its acknowledgement.
fn request(route: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    sendto(
        route.as_fd(),
        &message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;

    let mut answer = [0u8; 512];
    let (length, _) = recv(route.as_fd(), &mut answer[..], RecvFlags::empty())?;
    let short = || io::Error::new(io::ErrorKind::InvalidData, "short netlink answer");
    let answer = answer.get(..length).ok_or_else(short)?;
    let kind = answer.get(4..6).ok_or_else(short)?;
    let code = answer.get(16..20).ok_or_else(short)?;
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "unexpected netlink answer",
        ));
    }
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
