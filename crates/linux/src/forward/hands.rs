//! In whose hands an interface is: whether packets that come in by it are root's or a user's.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::links::{Link, Tun};
use super::spaces;
use crate::procfs;

/// Where lxc-user-nic writes down which interfaces it made, and for whom.
pub const LXC_NICS: &str = "/run/lxc/nics";
const LXC_BYTES_MAX: u64 = 1024 * 1024;
/// What systemd's nsresourced calls the interfaces that it makes for users' namespaces.
const NSRESOURCED: &str = "ns-";
/// How long /proc may be searched for those that hold TUN devices.
const SEARCH_MAX: Duration = Duration::from_millis(300);
/// Interfaces lie on interfaces, but not deeper than this.
const DEPTH_MAX: usize = 8;

/// In whose hands an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Root's, or a service's that root set up.
    Root,
    /// A user's, with words for people: "a TUN or TAP device of user 1000".
    User(User),
    /// It cannot be said yet.
    Unknown,
}

/// A user's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user, where there is one.
    pub uid: Option<u32>,
    /// What the interface is.
    pub what: &'static str,
}

/// What is known beside the interfaces themselves.
#[derive(Debug, Default)]
pub struct Beside {
    /// Names of interfaces that lxc-user-nic made, and the user's name for each.
    pub lxc: HashMap<String, String>,
    /// Owners of the network namespaces that virtual cables lead into.
    pub spaces: HashMap<i32, u32>,
    /// Who holds the TUN device of this name: real user numbers. Filled where it matters.
    pub holders: HashMap<String, Vec<u32>>,
}

impl Beside {
    /// Reads what these interfaces need.
    pub fn read(links: &HashMap<u32, Link>) -> Self {
        use std::io::Read as _;
        let mut text = String::new();
        if let Ok(file) = fs::File::open(LXC_NICS) {
            let _ = file.take(LXC_BYTES_MAX).read_to_string(&mut text);
        }
        let needs_holders = |link: &Link| {
            link.kind == "tun" && link.tun.owner.is_none() && link.tun.group.is_none()
        };
        let spaces = links.values().filter(|link| is_cable(link));
        let spaces = spaces.filter_map(|link| link.space).collect();
        Self {
            lxc: lxc(&text),
            spaces: spaces::owners(spaces),
            holders: if links.values().any(needs_holders) {
                holders()
            } else {
                HashMap::new()
            },
        }
    }
}

/// In whose hands each interface is, by its number.
pub fn all(links: &HashMap<u32, Link>, beside: &Beside) -> HashMap<u32, Hands> {
    let mut all: HashMap<u32, Hands> = links
        .values()
        .map(|link| (link.index, own(link, beside)))
        .collect();
    // What lies on a user's interface is a user's too: a VLAN of it, or the VRF that it is a
    // part of, by whose name its packets are forwarded. Bridges are not: they have rules of
    // their own for each port.
    for _ in 0..DEPTH_MAX {
        let mut changes = Vec::new();
        for link in links.values() {
            let hands = &all[&link.index];
            if *hands != Hands::Root {
                if let Some(master) = link.master.filter(|master| {
                    let kind = links.get(master).map(|master| master.kind.as_str());
                    kind != Some("bridge") && all.get(master) == Some(&Hands::Root)
                }) {
                    changes.push((master, hands.clone()));
                }
            } else if !is_cable(link)
                && let Some(lower) = link.lower.filter(|lower| *lower != link.index)
                && let Some(below) = all.get(&lower).filter(|below| **below != Hands::Root)
            {
                changes.push((link.index, below.clone()));
            }
        }
        if changes.is_empty() {
            break;
        }
        all.extend(changes);
    }
    all
}

/// Whether it has another end, which may be in another network namespace.
pub fn is_cable(link: &Link) -> bool {
    matches!(link.kind.as_str(), "veth" | "netkit")
}

fn own(link: &Link, beside: &Beside) -> Hands {
    let user = |uid, what| Hands::User(User { uid, what });
    match link.kind.as_str() {
        "tun" if link.name.starts_with(NSRESOURCED) => {
            user(link.tun.owner, "a TAP device for a user's namespace")
        }
        "tun" => tun(link.tun, beside.holders.get(&link.name).map(Vec::as_slice)),
        "veth" if link.name.starts_with(NSRESOURCED) => {
            user(None, "a virtual cable into a user's namespace")
        }
        _ if is_cable(link)
            && let Some(uid) = link.space.and_then(|space| beside.spaces.get(&space))
            && is_person(*uid) =>
        {
            user(Some(*uid), "a virtual cable into a network namespace")
        }
        "veth" if beside.lxc.contains_key(&link.name) => {
            user(None, "a virtual cable into a user's container")
        }
        _ => Hands::Root,
    }
}

/// Who may use a TUN device decides, and for one that has neither owner nor group, who holds it.
/// A user of services that root set up (OpenVPN's) counts as root: this machine may be a router
/// for them.
fn tun(tun: Tun, holders: Option<&[u32]>) -> Hands {
    const WHAT: &str = "a TUN or TAP device";
    let of = |uid| {
        Hands::User(User {
            uid: Some(uid),
            what: WHAT,
        })
    };
    if let Some(owner) = tun.owner {
        return if is_person(owner) {
            of(owner)
        } else {
            Hands::Root
        };
    }
    match tun.group {
        Some(0) => return Hands::Root,
        // Persons are members of systems' groups too (netdev, kvm).
        Some(_) => {
            return Hands::User(User {
                uid: None,
                what: "a TUN or TAP device of a group",
            });
        }
        None => {}
    }
    let holders = holders.unwrap_or_default();
    if let Some(person) = holders.iter().copied().find(|uid| is_person(*uid)) {
        return of(person);
    }
    match (holders.is_empty(), tun.persistent) {
        (false, _) => Hands::Root,
        // The kernel gives it to whichever user asks first.
        (true, true) => Hands::User(User {
            uid: None,
            what: "a TUN or TAP device that every user may take",
        }),
        (true, false) => Hands::Unknown,
    }
}

/// Whether programs of this user are a person's, and not a service's: by the table of systemd,
/// <https://systemd.io/UIDS-GIDS/>. `nobody` counts as a person, because anything may run so.
pub const fn is_person(uid: u32) -> bool {
    matches!(uid, 1000..=61183 | 65534..)
}

/// The lines of lxc-user-nic: user, type, bridge, interface.
fn lxc(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let user = words.next()?.to_owned();
            Some((words.nth(2)?.to_owned(), user))
        })
        .collect()
}

/// The real users of the processes that hold TUN devices, by the name of the device. The real
/// one, because a helper that is setuid root makes them for who called it.
fn holders() -> HashMap<String, Vec<u32>> {
    let until = Instant::now() + SEARCH_MAX;
    let mut found: HashMap<String, Vec<u32>> = HashMap::new();
    for pid in procfs::all() {
        if Instant::now() > until {
            break;
        }
        let folder = format!("/proc/{pid}");
        for entry in fs::read_dir(format!("{folder}/fd")).into_iter().flatten() {
            let Ok(entry) = entry else { break };
            let is_tun = fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("net/tun"));
            if !is_tun {
                continue;
            }
            let number = entry.file_name();
            let number = number.to_string_lossy();
            let info = fs::read_to_string(format!("{folder}/fdinfo/{number}")).unwrap_or_default();
            let name = info.lines().find_map(|line| line.strip_prefix("iff:"));
            let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
            if let (Some(name), Some(uid)) = (name, real_user(&status)) {
                found.entry(name.trim().to_owned()).or_default().push(uid);
            }
        }
    }
    found
}

fn real_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tun_of(owner: Option<u32>, group: Option<u32>, persistent: bool) -> Tun {
        Tun {
            owner,
            group,
            persistent,
        }
    }

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Link::default()
        }
    }

    fn is_users(hands: &Hands) -> bool {
        matches!(hands, Hands::User(_))
    }

    #[test]
    fn a_tun_device_is_of_those_that_may_use_it() {
        for (device, holders, expected) in [
            (tun_of(Some(1000), None, true), &[][..], true),
            (tun_of(Some(65534), None, true), &[], true),
            (tun_of(Some(0), None, true), &[], false),
            // OpenVPN's own user, on a server of root's.
            (tun_of(Some(120), None, true), &[], false),
            (tun_of(None, Some(0), true), &[], false),
            (tun_of(None, Some(108), true), &[], true),
            // Everybody may take it, unless root's program holds it.
            (tun_of(None, None, true), &[], true),
            (tun_of(None, None, true), &[0], false),
            // libvirt's machines run as a user of its own; a helper passes one on to a person.
            (tun_of(None, None, false), &[64055], false),
            (tun_of(None, None, false), &[0, 1000], true),
        ] {
            let hands = tun(device, Some(holders));
            assert_eq!(is_users(&hands), expected, "{device:?} {holders:?}");
        }
        assert_eq!(tun(tun_of(None, None, false), None), Hands::Unknown);
    }

    #[test]
    fn what_lies_on_a_users_interface_is_a_users() {
        let mut tap = link(1, "tap0", "tun");
        tap.tun = tun_of(Some(1000), None, true);
        tap.master = Some(3);
        let mut vlan = link(2, "tap0.5", "vlan");
        vlan.lower = Some(1);
        let vrf = link(3, "vrf0", "vrf");
        let mut port = link(4, "tap1", "tun");
        port.tun = tap.tun;
        port.master = Some(5);
        let bridge = link(5, "br0", "bridge");
        let mut cable = link(6, "veth0", "veth");
        // The other end has a number of another namespace.
        cable.lower = Some(1);
        let links = [tap, vlan, vrf, port, bridge, cable];
        let links: HashMap<_, _> = links.map(|link| (link.index, link)).into();
        let all = all(&links, &Beside::default());
        let users: Vec<_> = (1..=6).filter(|index| is_users(&all[index])).collect();
        assert_eq!(users, [1, 2, 3, 4]);
    }

    #[test]
    fn cables_into_users_containers_are_users() {
        let beside = Beside {
            lxc: lxc("bob veth lxcbr0 vethAbC12\nshort line\n"),
            ..Beside::default()
        };
        assert_eq!(beside.lxc.len(), 1);
        assert!(is_users(&own(&link(1, "vethAbC12", "veth"), &beside)));
        assert!(is_users(&own(&link(1, "ns-1a2b", "veth"), &beside)));
        assert_eq!(own(&link(1, "veth77", "veth"), &beside), Hands::Root);
        assert_eq!(own(&link(1, "docker0", "bridge"), &beside), Hands::Root);
    }
}
