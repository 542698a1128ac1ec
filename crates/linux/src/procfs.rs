//! What /proc tells about a process. Everything here may be gone or half written by the
//! time it is read: then there is no answer, never a guess.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use policy::{Invocation, keeps_shell_interactive};

/// How long one question may read what all processes hold. Any user may have very many open
/// files, and namespaces of his own; what is not found in this time stays unknown.
const SEARCH_MAX: Duration = Duration::from_millis(200);

/// A process as /proc has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id; 0 for none.
    pub parent: u32,
    /// Its name for itself.
    pub comm: String,
    /// A kernel thread.
    pub is_kernel: bool,
}

/// All processes, in no order.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// One process.
pub fn process(pid: u32) -> Option<Process> {
    const PF_KTHREAD: u32 = 0x0020_0000;
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The name stands in parentheses and may itself hold anything, parentheses too.
    let (front, back) = (stat.find('(')?, stat.rfind(')')?);
    let comm = stat.get(front + 1..back)?.to_owned();
    let mut fields = stat.get(back + 2..)?.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let flags: u32 = fields.nth(4)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        comm,
        is_kernel: flags & PF_KTHREAD != 0,
    })
}

/// Where its program lay when it was started.
pub fn program_path(pid: u32) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // The kernel adds this to the name of a file that is gone.
    let text = path
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"));
    Some(text.map_or_else(|| path.clone(), PathBuf::from))
}

/// Its arguments, at most the first `limit` bytes of them.
pub fn arguments(pid: u32, limit: u64) -> Vec<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// Its real user. Not the owner of its folder in /proc, which is root where the process lets
/// nobody look inside.
pub fn user(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().next()?.parse().ok()
}

/// How a shell was started, as far as /proc shows it now. A process can rewrite its
/// arguments, so this is only for processes that are older than the gate.
pub fn invocation(pid: u32) -> Invocation {
    let arguments = arguments(pid, 4096);
    let harmless = arguments
        .iter()
        .skip(1)
        .filter(|argument| !argument.is_empty())
        .all(|argument| {
            let mut first = [0; 8];
            argument.len() <= first.len() && {
                first[..argument.len()].copy_from_slice(argument);
                keeps_shell_interactive(first)
            }
        });
    if harmless && stdin_is_terminal(pid) {
        Invocation::Terminal
    } else {
        Invocation::Script
    }
}

/// The script that an interpreter was started with, when that is its first argument and an
/// absolute path.
pub fn script(pid: u32) -> Option<String> {
    let arguments = arguments(pid, 4096);
    let first = String::from_utf8(arguments.get(1)?.clone()).ok()?;
    Path::new(&first).is_absolute().then_some(first)
}

fn stdin_is_terminal(pid: u32) -> bool {
    stdin_major(pid).is_some_and(policy::is_terminal)
}

/// Whether a process's standard input is a pseudo-terminal.
pub fn stdin_is_pseudo_terminal(pid: u32) -> bool {
    stdin_major(pid).is_some_and(policy::is_pseudo_terminal)
}

/// The major number of the character device that a process's standard input is.
fn stdin_major(pid: u32) -> Option<u32> {
    let found = fs::metadata(format!("/proc/{pid}/fd/0")).ok()?;
    let is_device = found.file_type().is_char_device();
    is_device.then(|| rustix::fs::major(found.rdev()))
}

/// Which process holds each of the sockets with these inode numbers, as far as that is found in
/// time. Reads much of /proc, but once for all of them: for rare questions only.
pub fn socket_owners(inodes: &HashSet<u64>, patience: Duration) -> HashMap<u64, u32> {
    let until = Instant::now() + patience;
    let mut owners = HashMap::new();
    for pid in all() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for descriptor in descriptors.filter_map(Result::ok) {
            if owners.len() == inodes.len() || Instant::now() >= until {
                return owners;
            }
            if let Some(inode) = socket_inode(&descriptor.path())
                && inodes.contains(&inode)
            {
                owners.entry(inode).or_insert(pid);
            }
        }
    }
    owners
}

/// The inode number of the socket that a link in /proc/PID/fd leads to.
fn socket_inode(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    let inode = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    inode.parse().ok()
}

/// A TCP connection as /proc/net/tcp lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The socket's own side.
    pub own: SocketAddr,
    /// The other side.
    pub remote: SocketAddr,
    /// Inode number of the socket; 0 when nobody holds it any more.
    pub inode: u64,
    /// Data can flow.
    pub established: bool,
}

/// The TCP connections of our own network namespace.
pub fn connections() -> Vec<Connection> {
    connections_around("self")
}

/// Which of the TCP sockets with these inode numbers can transfer data, in our own network namespace.
pub fn established(inodes: &HashSet<u64>) -> HashSet<u64> {
    let mut found = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let Ok(file) = fs::File::open(format!("/proc/self/net/{table}")) else {
            continue;
        };
        for line in BufReader::new(file).lines().map_while(Result::ok).skip(1) {
            // All of them are found before the table ends, as a rule.
            if found.len() == inodes.len() {
                return found;
            }
            let open = connection(&line).filter(|one| one.established);
            found.extend(
                open.map(|one| one.inode)
                    .filter(|inode| inodes.contains(inode)),
            );
        }
    }
    found
}

/// Those of the network namespace of a process.
fn connections_around(process: &str) -> Vec<Connection> {
    ["tcp", "tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .flat_map(|text| {
            text.lines()
                .skip(1)
                .filter_map(connection)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// One line of the table: number, own address, the other's, state, …, inode.
fn connection(line: &str) -> Option<Connection> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_whitespace();
    let own = socket_address(fields.nth(1)?)?;
    let remote = socket_address(fields.next()?)?;
    let established = fields.next()? == ESTABLISHED;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Connection {
        own,
        remote,
        inode,
        established,
    })
}

/// An address as the table has it: each four bytes as one number of this machine, in
/// hexadecimal digits.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    let words = ip.len() / 8;
    for (slot, at) in bytes
        .chunks_exact_mut(4)
        .zip((0..words).map(|word| word * 8))
    {
        slot.copy_from_slice(
            &u32::from_str_radix(ip.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        );
    }
    let ip = match words {
        1 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        4 => IpAddr::from(bytes).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that holds the TCP connection from `own_port` to `remote`, in our own network
/// namespace. Reads much of /proc: for rare questions only.
pub fn tcp_owner(own_port: u16, remote: SocketAddr) -> Option<u32> {
    let found = connections()
        .into_iter()
        .find(|one| one.own.port() == own_port && one.remote == remote)?;
    // A connection that nobody holds any more has no inode.
    if found.inode == 0 {
        return None;
    }
    socket_owners(&HashSet::from([found.inode]), SEARCH_MAX).remove(&found.inode)
}

/// The TCP ports at which somebody listens, in any network namespace: a container's server is
/// one of the machine's too.
pub fn listening_ports() -> HashSet<u16> {
    let until = Instant::now() + SEARCH_MAX;
    let mut namespaces = HashSet::new();
    let mut ports = HashSet::new();
    // The own namespace first, because the time may not suffice for all.
    let others = all().into_iter().map(|pid| pid.to_string());
    for process in std::iter::once("self".to_owned()).chain(others) {
        if Instant::now() >= until {
            break;
        }
        let Ok(namespace) = fs::read_link(format!("/proc/{process}/ns/net")) else {
            continue;
        };
        if namespaces.insert(namespace) {
            for table in ["tcp", "tcp6"] {
                add_listening(&format!("/proc/{process}/net/{table}"), until, &mut ports);
            }
        }
    }
    ports
}

/// The inode numbers of this network namespace's sockets that listen on a port.
pub fn listeners(port: u16) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(file) = fs::File::open(table) else {
            continue;
        };
        // Listening sockets come first.
        let lines = BufReader::new(file).lines().map_while(Result::ok).skip(1);
        let listening = lines.map_while(|line| listener(&line));
        let wanted = listening.filter(|(own, _)| *own == port);
        inodes.extend(wanted.map(|(_, inode)| inode));
    }
    inodes
}

/// Port and inode number of a line of /proc/net/tcp, when the socket listens.
fn listener(line: &str) -> Option<(u16, u64)> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace();
    let own = fields.nth(1).and_then(socket_address)?;
    if fields.nth(1) != Some(LISTENS) {
        return None;
    }
    Some((own.port(), fields.nth(5)?.parse().ok()?))
}

/// Adds those of one table. Listening sockets come first there, so that the connections, which
/// may be many, are not read.
fn add_listening(table: &str, until: Instant, ports: &mut HashSet<u16>) {
    const LISTENS: &str = "0A";
    let Ok(file) = fs::File::open(table) else {
        return;
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    for line in lines.skip(1).take_while(|_| Instant::now() < until) {
        let mut fields = line.split_whitespace();
        let own = fields.nth(1).and_then(socket_address);
        match (own, fields.nth(1)) {
            (Some(own), Some(LISTENS)) => ports.insert(own.port()),
            _ => return,
        };
    }
}

/// Whether the first connection among a process's descriptors has its other end on this machine
/// too: a TCP connection in whatever state, or one that came by a named socket of the machine.
/// A process that holds no connection and the other end of a terminal shows that terminal to a
/// person: `Some(false)`. `None` when it holds neither.
pub fn is_connected_from_here(pid: u32) -> Option<bool> {
    let mut descriptors: Vec<u32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    descriptors.sort_unstable();
    let connections = connections_around(&pid.to_string());
    let named = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let named: Vec<u64> = named.lines().filter_map(accepted_by_name).collect();
    // `/dev/ptmx`, the end of a pseudo-terminal that types.
    let master = rustix::fs::makedev(5, 2);
    let mut shows_terminal = None;
    let connected = descriptors.into_iter().find_map(|descriptor| {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        if fs::metadata(&path).is_ok_and(|found| found.rdev() == master) {
            shows_terminal = Some(false);
        }
        let inode = socket_inode(Path::new(&path))?;
        if named.contains(&inode) {
            return Some(true);
        }
        // What listens has no other end.
        let found = connections
            .iter()
            .find(|one| one.inode == inode && one.remote.port() != 0)?;
        let is_other_end = |one: &Connection| one.own == found.remote && one.remote == found.own;
        Some(found.remote.ip().is_loopback() || connections.iter().any(is_other_end))
    });
    connected.or(shows_terminal)
}

/// The inode number in a line of /proc/net/unix, when it is a connected stream with a name:
/// number, references, protocol, flags, type, state, inode, name.
fn accepted_by_name(line: &str) -> Option<u64> {
    const STREAM: &str = "0001";
    const CONNECTED: &str = "03";
    let mut fields = line.split_whitespace();
    let is_connection = fields.nth(4)? == STREAM && fields.next()? == CONNECTED;
    let inode = fields.next()?.parse().ok()?;
    (is_connection && fields.next().is_some()).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` with the own port and the server's address of a connection to a server of this
    /// process: one by IPv4, then one by IPv6, which not every machine has.
    fn with_connections(check: impl Fn(u16, SocketAddr)) {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                println!("skipped: {address} cannot be bound");
                continue;
            };
            let remote = listener.local_addr().expect("an address");
            let stream = std::net::TcpStream::connect(remote).expect("a connection");
            let own = stream.local_addr().expect("an address").port();
            check(own, remote);
        }
    }

    #[test]
    fn the_own_process_is_found() {
        let own = std::process::id();
        let process = process(own).expect("own process");
        assert_eq!(process.pid, own);
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(!process.is_kernel);
        assert_eq!(program_path(own), std::env::current_exe().ok());
        assert_eq!(user(own), Some(rustix::process::getuid().as_raw()));
        assert!(all().contains(&own));
    }

    #[test]
    fn the_owner_of_a_connection_is_found() {
        with_connections(|own, remote| {
            assert_eq!(tcp_owner(own, remote), Some(std::process::id()));
            assert_eq!(is_connected_from_here(std::process::id()), Some(true));
        });
    }

    #[test]
    fn the_owners_of_many_sockets_are_found_in_one_search_that_ends_in_time() {
        let held: Vec<_> = (0..100)
            .map(|_| std::os::unix::net::UnixDatagram::unbound().expect("a socket"))
            .collect();
        let inodes: HashSet<u64> = held
            .iter()
            .filter_map(|socket| Some(rustix::fs::fstat(socket).ok()?.st_ino))
            .collect();
        assert_eq!(inodes.len(), held.len());
        let owners = socket_owners(&inodes, Duration::from_secs(10));
        assert_eq!(owners.len(), held.len());
        assert!(owners.values().all(|pid| *pid == std::process::id()));
        assert!(socket_owners(&inodes, Duration::ZERO).is_empty());
        assert!(socket_owners(&HashSet::new(), Duration::from_secs(10)).is_empty());
    }

    #[test]
    fn established_sockets_are_told_from_others() {
        use std::os::fd::AsFd as _;
        let inode = |socket: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(socket).unwrap().st_ino;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, open) = (inode(listener.as_fd()), inode(stream.as_fd()));
        assert_eq!(
            established(&HashSet::from([server, open])),
            HashSet::from([open])
        );
        drop(stream);
        assert!(established(&HashSet::from([open])).is_empty());
    }

    #[test]
    fn the_ports_of_servers_are_found_and_no_others() {
        with_connections(|own, remote| {
            let ports = listening_ports();
            assert!(ports.contains(&remote.port()), "{remote}: {ports:?}");
            assert!(!ports.contains(&own), "{own}: {ports:?}");
        });
    }

    #[test]
    fn a_process_that_is_gone_gives_no_answer() {
        let mut child = std::process::Command::new("/bin/true")
            .spawn()
            .expect("spawn");
        let pid = child.id();
        child.wait().expect("wait");
        assert_eq!(process(pid), None);
        assert_eq!(program_path(pid), None);
        assert!(arguments(pid, 10).is_empty());
    }
}
