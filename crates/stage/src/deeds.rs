//! What somebody would try who has taken over a process that is shut in: system calls, one
//! after the other, and what came of each. For tests of the walls.

use std::ffi::CStr;
use std::net::SocketAddrV4;

use crate::player::errno_name;

/// Descriptors that such a process could have.
const DESCRIPTORS: std::ops::Range<usize> = 0..32;

/// One try.
struct Deed {
    name: String,
    call: libc::c_long,
    arguments: [usize; 6],
}

/// Tries everything, and hands the name of each deed and what came of it to `tell`: `done`, or
/// the name of an error. `parent` is the process that started this one.
pub fn try_all(parent: u32, mail_server: SocketAddrV4, mut tell: impl FnMut(&str, &str)) {
    let room = vec![0_u8; 4096];
    let address = address(mail_server);
    let mut deeds = sockets(&address, &room);
    deeds.extend(processes(parent as usize, &room));
    deeds.extend(bpf(&room));
    deeds.extend(files());
    deeds.extend(privilege(&room));
    for deed in deeds {
        tell(&deed.name, perform(&deed));
    }
}

/// Writes nonsense to the first page of every descriptor that is memory shared with others: of a
/// ring buffer, that is how far it was read. Returns how many there were.
pub fn spoil_ring_buffers() -> usize {
    const PAGE_BYTES: usize = 4096;
    let spoil = |fd: &usize| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses where, so nothing is mapped over. The page is whole and
        // writable when it is mapped, and is not used after it is unmapped.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                access,
                libc::MAP_SHARED,
                *fd as libc::c_int,
                0,
            );
            if page == libc::MAP_FAILED {
                return false;
            }
            page.cast::<u64>().write_volatile(0x5a5a_5a5a_5a5a_5a5a);
            libc::munmap(page, PAGE_BYTES);
        }
        true
    };
    DESCRIPTORS.filter(spoil).count()
}

fn perform(deed: &Deed) -> &'static str {
    let [a, b, c, d, e, f] = deed.arguments;
    // SAFETY: pointers lead to text that is never freed or to memory of the caller that outlives
    // the call, and are as long as is said. None of the calls is expected to succeed, but for
    // those on files of one's own; one that does makes a test fail. A new process ends at once.
    let result = unsafe { libc::syscall(deed.call, a, b, c, d, e, f) };
    let forks = [libc::SYS_clone, libc::SYS_clone3];
    if result == 0 && forks.contains(&deed.call) {
        // SAFETY: ends the child without anything of the parent's being run.
        unsafe { libc::_exit(0) };
    }
    if result >= 0 {
        return "done";
    }
    errno_name(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn deed(name: impl Into<String>, call: libc::c_long, arguments: &[usize]) -> Deed {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Deed {
        name: name.into(),
        call,
        arguments: all,
    }
}

fn text(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

fn here() -> usize {
    libc::AT_FDCWD as usize
}

/// A `sockaddr_in`.
fn address(of: SocketAddrV4) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&of.port().to_be_bytes());
    out[4..8].copy_from_slice(&of.ip().octets());
    out
}

fn sockets(address: &[u8; 16], room: &[u8]) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for (name, family, kind) in [
        ("tcp", libc::AF_INET, libc::SOCK_STREAM),
        ("tcp6", libc::AF_INET6, libc::SOCK_STREAM),
        ("udp", libc::AF_INET, libc::SOCK_DGRAM),
        ("raw", libc::AF_INET, libc::SOCK_RAW),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("netlink", libc::AF_NETLINK, libc::SOCK_RAW),
        ("unix", libc::AF_UNIX, libc::SOCK_STREAM),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
    ] {
        let arguments = [family as usize, kind as usize];
        deeds.push(deed(format!("socket-{name}"), libc::SYS_socket, &arguments));
    }
    deeds.push(deed(
        "socketpair",
        libc::SYS_socketpair,
        &[
            libc::AF_UNIX as usize,
            libc::SOCK_STREAM as usize,
            0,
            room.as_ptr() as usize,
        ],
    ));
    deeds.push(deed(
        "io-uring",
        libc::SYS_io_uring_setup,
        &[8, room.as_ptr() as usize],
    ));
    let (address, length) = (address.as_ptr() as usize, address.len());
    for fd in DESCRIPTORS {
        let connect = [fd, address, length];
        deeds.push(deed(format!("connect-{fd}"), libc::SYS_connect, &connect));
        let bind = [fd, address, length];
        deeds.push(deed(format!("bind-{fd}"), libc::SYS_bind, &bind));
        let send = [
            fd,
            address,
            length,
            libc::MSG_DONTWAIT as usize,
            address,
            length,
        ];
        deeds.push(deed(format!("sendto-{fd}"), libc::SYS_sendto, &send));
        let sendmsg = [fd, room.as_ptr() as usize, libc::MSG_DONTWAIT as usize];
        deeds.push(deed(format!("sendmsg-{fd}"), libc::SYS_sendmsg, &sendmsg));
        let ioctl = [fd, libc::TIOCSTI as usize, address];
        deeds.push(deed(format!("ioctl-{fd}"), libc::SYS_ioctl, &ioctl));
        let flags = [fd, libc::F_SETFL as usize, libc::O_NONBLOCK as usize];
        deeds.push(deed(format!("flags-{fd}"), libc::SYS_fcntl, &flags));
        let filter = [
            fd,
            libc::SOL_SOCKET as usize,
            libc::SO_ATTACH_FILTER as usize,
            address,
            length,
        ];
        deeds.push(deed(format!("filter-{fd}"), libc::SYS_setsockopt, &filter));
    }
    deeds
}

fn processes(parent: usize, room: &[u8]) -> Vec<Deed> {
    let room = room.as_ptr() as usize;
    let attach = |request: libc::c_uint| [request as usize, parent, 0, 0];
    let kill = libc::SIGKILL as usize;
    let new_user = (libc::CLONE_NEWUSER | libc::SIGCHLD) as usize;
    let mut deeds = vec![
        deed("exec", libc::SYS_execve, &[text(c"/bin/sh"), room, room]),
        deed(
            "exec-file",
            libc::SYS_execve,
            &[text(c"/journal.db"), room, room],
        ),
        deed(
            "exec-at",
            libc::SYS_execveat,
            &[0, text(c""), room, room, libc::AT_EMPTY_PATH as usize],
        ),
        deed("fork", libc::SYS_clone, &[libc::SIGCHLD as usize]),
        deed("clone3", libc::SYS_clone3, &[room, 88]),
        deed("new-user-namespace", libc::SYS_clone, &[new_user]),
        deed(
            "ptrace-attach",
            libc::SYS_ptrace,
            &attach(libc::PTRACE_ATTACH),
        ),
        deed(
            "ptrace-seize",
            libc::SYS_ptrace,
            &attach(libc::PTRACE_SEIZE),
        ),
        deed(
            "vm-write",
            libc::SYS_process_vm_writev,
            &[parent, room, 1, room, 1, 0],
        ),
        deed(
            "vm-read",
            libc::SYS_process_vm_readv,
            &[parent, room, 1, room, 1, 0],
        ),
        deed("pidfd", libc::SYS_pidfd_open, &[parent]),
        deed("kill", libc::SYS_kill, &[parent, kill]),
        deed("tgkill", libc::SYS_tgkill, &[parent, parent, kill]),
        deed("tkill", libc::SYS_tkill, &[parent, kill]),
        deed("sigqueue", libc::SYS_rt_sigqueueinfo, &[parent, kill, room]),
        deed("priority", libc::SYS_setpriority, &[0, parent, 19]),
        deed(
            "limits",
            libc::SYS_prlimit64,
            &[parent, libc::RLIMIT_NOFILE as usize, room],
        ),
    ];
    deeds.extend(DESCRIPTORS.map(|fd| {
        deed(
            format!("take-descriptor-{fd}"),
            libc::SYS_pidfd_getfd,
            &[fd, 3],
        )
    }));
    deeds
}

/// The gate's maps and programs, by their names, their numbers and every descriptor.
fn bpf(room: &[u8]) -> Vec<Deed> {
    const COMMANDS: [(&str, usize); 8] = [
        ("lookup", 1),
        ("update", 2),
        ("delete", 3),
        ("load", 5),
        ("get-pin", 7),
        ("next-map", 12),
        ("info", 15),
        ("detach", 34),
    ];
    let attribute = room.as_ptr() as usize;
    let mut deeds: Vec<Deed> = COMMANDS
        .iter()
        .map(|(name, command)| {
            deed(
                format!("bpf-{name}"),
                libc::SYS_bpf,
                &[*command, attribute, 64],
            )
        })
        .collect();
    deeds.push(deed(
        "perf-event",
        libc::SYS_perf_event_open,
        &[attribute, 0, 0, 0, 0],
    ));
    deeds
}

fn files() -> Vec<Deed> {
    let write = libc::O_WRONLY as usize;
    let make = (libc::O_WRONLY | libc::O_CREAT) as usize;
    let cut = (libc::O_WRONLY | libc::O_TRUNC) as usize;
    let open = |name: &str, path, how| {
        deed(
            format!("open-{name}"),
            libc::SYS_openat,
            &[here(), text(path), how, 0o644],
        )
    };
    let rename = |name: &str, from, to| {
        let arguments = [here(), text(from), here(), text(to), 0];
        deed(format!("rename-{name}"), libc::SYS_renameat2, &arguments)
    };
    let unlink = |name: &str, path, how: i32| {
        deed(
            format!("unlink-{name}"),
            libc::SYS_unlinkat,
            &[here(), text(path), how as usize],
        )
    };
    vec![
        open("passwd", c"/etc/passwd", 0),
        open("above", c"/../../../etc/passwd", 0),
        open("proc", c"/proc/self/mem", write),
        open("escape", c"/../escaped", make),
        open(
            "root",
            c"/..",
            libc::O_RDONLY as usize | libc::O_PATH as usize | 0o40000000,
        ),
        open("programs-read", c"/programs.json", 0),
        open("programs-write", c"/programs.json", write),
        open("programs-cut", c"/programs.json", cut),
        open("keeper-socket", c"/keeper.sock", write),
        open("own-file", c"/own", make),
        rename("own-file", c"/own", c"/own-too"),
        rename("over-programs", c"/own-too", c"/programs.json"),
        rename("programs", c"/programs.json", c"/stolen"),
        rename("control-socket", c"/control.sock", c"/stolen"),
        rename("pins", c"/bpf", c"/stolen"),
        unlink("programs", c"/programs.json", 0),
        unlink("control-socket", c"/control.sock", 0),
        unlink("keeper-socket", c"/keeper.sock", 0),
        unlink("pins", c"/bpf", libc::AT_REMOVEDIR),
        unlink("own-file", c"/own-too", 0),
        unlink("escape", c"/escaped", 0),
        deed(
            "mkdir",
            libc::SYS_mkdirat,
            &[here(), text(c"/folder"), 0o755],
        ),
        deed(
            "mknod",
            libc::SYS_mknodat,
            &[
                here(),
                text(c"/node"),
                libc::S_IFCHR as usize | 0o666,
                0x103,
            ],
        ),
        deed(
            "symlink",
            libc::SYS_symlinkat,
            &[text(c"/etc/shadow"), here(), text(c"/journal.db-x")],
        ),
        deed(
            "link",
            libc::SYS_linkat,
            &[here(), text(c"/programs.json"), here(), text(c"/linked"), 0],
        ),
        deed(
            "chmod",
            libc::SYS_fchmodat,
            &[here(), text(c"/programs.json"), 0o666],
        ),
        deed(
            "chmod-folder",
            libc::SYS_fchmodat,
            &[here(), text(c"/"), 0o777],
        ),
        deed(
            "chown",
            libc::SYS_fchownat,
            &[here(), text(c"/programs.json"), 1, 1, 0],
        ),
        deed("lock", libc::SYS_flock, &[0, libc::LOCK_EX as usize]),
        deed("watch", libc::SYS_inotify_init1, &[0]),
    ]
}

fn privilege(room: &[u8]) -> Vec<Deed> {
    let room = room.as_ptr() as usize;
    let executable = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as usize;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    vec![
        deed("setuid", libc::SYS_setresuid, &[0, 0, 0]),
        deed("setgid", libc::SYS_setresgid, &[0, 0, 0]),
        deed("setgroups", libc::SYS_setgroups, &[0, 0]),
        deed("capset", libc::SYS_capset, &[room, room]),
        deed("chroot", libc::SYS_chroot, &[text(c"..")]),
        deed(
            "mount",
            libc::SYS_mount,
            &[text(c"none"), text(c"/"), text(c"tmpfs"), 0, 0],
        ),
        deed(
            "unshare-user",
            libc::SYS_unshare,
            &[libc::CLONE_NEWUSER as usize],
        ),
        deed(
            "unshare-net",
            libc::SYS_unshare,
            &[libc::CLONE_NEWNET as usize],
        ),
        deed("setns", libc::SYS_setns, &[0, 0]),
        deed(
            "dumpable",
            libc::SYS_prctl,
            &[libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0],
        ),
        deed(
            "outlive",
            libc::SYS_prctl,
            &[libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0],
        ),
        deed(
            "map-executable",
            libc::SYS_mmap,
            &[0, 4096, executable, anonymous, usize::MAX, 0],
        ),
        deed(
            "protect-executable",
            libc::SYS_mprotect,
            &[room & !4095, 4096, executable],
        ),
        deed("memfd", libc::SYS_memfd_create, &[text(c"x"), 0]),
        deed("userfaultfd", libc::SYS_userfaultfd, &[0]),
        deed("keyctl", libc::SYS_keyctl, &[0, 0]),
        deed(
            "open-by-handle",
            libc::SYS_open_by_handle_at,
            &[here(), room, 0],
        ),
        deed("module", libc::SYS_init_module, &[room, 0, room]),
        deed("clock", libc::SYS_clock_settime, &[0, room]),
        deed("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
    ]
}
