//! The system calls of the stand-in programs that have no safe wrapper, each behind a safe
//! function. A stand-in program has one thread when it makes them, unless stated otherwise.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What `fork` returned.
pub(super) enum Forked {
    Child,
    Parent(i32),
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Lets the kernel end this process after a time, even if it hangs.
pub(super) fn end_after(limit: Duration) {
    // SAFETY: alarm takes a number and has no memory effects.
    unsafe { libc::alarm(limit.as_secs() as u32) };
}

/// Forks. The child must not return to its caller's caller but exit.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: there is one thread, so the child has a whole and consistent process.
    match check(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks by clone3, sharing what a fork does not: file system, I/O context, semaphore undo.
pub(super) fn fork_by_clone3() -> io::Result<Forked> {
    // As many fields as the first version of the call knew: flags, pidfd, child_tid,
    // parent_tid, exit_signal, stack, stack_size, tls.
    let flags = libc::CLONE_FS | libc::CLONE_IO | libc::CLONE_SYSVSEM;
    let arguments: [u64; 8] = [
        u64::from(flags.cast_unsigned()),
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
    ];
    // SAFETY: without CLONE_VM this is a fork; the kernel only reads the arguments, which
    // outlive the call and are as long as is said.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_ptr(),
            std::mem::size_of_val(&arguments),
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks a child that gets this process id, which must be free. Takes CAP_CHECKPOINT_RESTORE.
pub(super) fn fork_as(pid: i32) -> io::Result<Forked> {
    // The fields above, and tls, set_tid, set_tid_size.
    let ids = [pid];
    let arguments: [u64; 10] = [
        0,
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
        ids.as_ptr() as u64,
        ids.len() as u64,
    ];
    // SAFETY: without CLONE_VM this is a fork; the kernel only reads the arguments and the
    // array, which outlive the call and are as long as is said.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_ptr(),
            std::mem::size_of_val(&arguments),
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks with flags of clone, without a new stack or shared memory.
pub(super) fn fork_with(flags: i32) -> io::Result<Forked> {
    let flags =
        (flags & !(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND)) as libc::c_ulong;
    // The exit signal must be absent with CLONE_PARENT, which takes over that of the parent.
    let signal = if flags & libc::CLONE_PARENT as libc::c_ulong == 0 {
        libc::SIGCHLD as libc::c_ulong
    } else {
        0
    };
    // SAFETY: without CLONE_VM this is a fork: null pointers mean the same stack, copied,
    // and no thread identifiers to write.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags | signal,
            0usize,
            0usize,
            0usize,
            0usize,
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// A reset ends the connection when the socket is closed; nothing is left waiting.
pub(super) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).map_err(Into::into)
}

/// Starts a program with vfork semantics, which is what posix_spawn does.
pub(super) fn spawn_like_vfork(argv: &[String]) -> io::Result<i32> {
    let words = c_strings(argv)?;
    let pointers = null_terminated(&words);
    let mut pid = 0;
    // SAFETY: all pointers are to null-terminated strings and arrays that outlive the call;
    // null attributes mean the defaults.
    let errno = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            pointers[0],
            std::ptr::null(),
            std::ptr::null(),
            pointers.as_ptr().cast(),
            environ().cast(),
        )
    };
    if errno == 0 {
        Ok(pid)
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

/// Becomes the program behind a descriptor. Returns only on failure.
pub(super) fn exec_descriptor(descriptor: &OwnedFd, argv: &[String]) -> io::Error {
    let Ok(words) = c_strings(argv) else {
        return io::Error::from_raw_os_error(libc::EINVAL);
    };
    let pointers = null_terminated(&words);
    // SAFETY: the path is an empty string and the arrays are null-terminated and outlive the
    // call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            descriptor.as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environ(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn environ() -> *const *const libc::c_char {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library's variable; nothing changes the environment meanwhile.
    unsafe { environ }
}

fn c_strings(words: &[String]) -> io::Result<Vec<CString>> {
    if words.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    words
        .iter()
        .map(|word| CString::new(word.as_str()).map_err(io::Error::from))
        .collect()
}

fn null_terminated(words: &[CString]) -> Vec<*const libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Takes over a socket that came with the exec, by its number.
pub(super) fn inherited_socket(number: i32) -> io::Result<TcpStream> {
    // SAFETY: fcntl on any number is harmless and tells whether it is open.
    check(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_GETFD)
    }))?;
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and whoever gave its number to this program left it to it.
    Ok(unsafe { TcpStream::from_raw_fd(number) })
}

/// Makes a later connect wait for the first data (TCP_FASTOPEN_CONNECT).
pub(super) fn set_fast_open_connect(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
}

/// Makes every packet of the socket carry these options of IPv4.
pub(super) fn set_ip_options(socket: &OwnedFd, options: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            options.len() as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Uses up what the kernel lets hang on a socket (`net.core.optmem_max`), down to a few bytes, by
/// keys for peers that it never speaks to (RFC 2385).
pub(super) fn fill_up(socket: &OwnedFd) -> io::Result<()> {
    /// `TCP_MD5SIG` in `linux/tcp.h`.
    const MD5_KEY: i32 = 14;
    /// More than there is room for on any socket.
    const MOST: u32 = 1 << 20;
    for peer in 0..MOST {
        // `struct tcp_md5sig`: an address in 128 bytes, two flags, the key's length, an interface,
        // the key.
        let mut key = [0; 216];
        key[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        key[4] = 10;
        key[5..8].copy_from_slice(&peer.to_be_bytes()[1..]);
        key[130..132].copy_from_slice(&8_u16.to_ne_bytes());
        // SAFETY: the kernel reads as many bytes as is said.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                MD5_KEY,
                key.as_ptr().cast(),
                key.len() as u32,
            )
        };
        match check(libc::c_long::from(result)) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the socket takes anything"))
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Whose hands do what a ring is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RingHands {
    /// The caller's, inside its call.
    Caller,
    /// A worker thread of the kernel's.
    Worker,
    /// A thread of the kernel's that looks at the ring by itself: no call is made.
    Poller,
}

/// Connects through io_uring. Returns what the ring's connect returned.
pub(super) fn connect_by_ring(
    socket: &OwnedFd,
    server: SocketAddr,
    hands: RingHands,
) -> io::Result<()> {
    let SocketAddr::V4(server) = server else {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    };
    let mut builder = io_uring::IoUring::<io_uring::squeue::Entry>::builder();
    if hands == RingHands::Poller {
        builder.setup_sqpoll(1000);
    }
    let mut ring = builder.build(4)?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: server.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(server.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as u32;
    let connect = io_uring::opcode::Connect::new(
        io_uring::types::Fd(socket.as_raw_fd()),
        (&raw const address).cast(),
        length,
    );
    let mut connect = connect.build();
    if hands == RingHands::Worker {
        connect = connect.flags(io_uring::squeue::Flags::ASYNC);
    }
    // SAFETY: the address lives until the completion has been waited for.
    unsafe { done_by_ring(&mut ring, &connect) }.map(drop)
}

/// Opens a file for writing and writes at an offset, by io_uring alone.
pub(super) fn write_by_ring(path: &CStr, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut ring = io_uring::IoUring::new(4)?;
    let open = io_uring::opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(libc::O_WRONLY | libc::O_CLOEXEC);
    // SAFETY: the path lives until the completion has been waited for.
    let descriptor = unsafe { done_by_ring(&mut ring, &open.build()) }?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let target = io_uring::types::Fd(file.as_raw_fd());
    let write = io_uring::opcode::Write::new(target, bytes.as_ptr(), bytes.len() as u32);
    // SAFETY: the bytes live until the completion has been waited for.
    let written = unsafe { done_by_ring(&mut ring, &write.offset(offset).build()) }?;
    if written as usize == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Submits one operation and returns its result.
///
/// # Safety
///
/// Whatever the operation points at stays valid until this returns.
unsafe fn done_by_ring(
    ring: &mut io_uring::IoUring,
    operation: &io_uring::squeue::Entry,
) -> io::Result<i32> {
    // SAFETY: promised by the caller.
    unsafe { ring.submission().push(operation) }
        .map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    ring.submit_and_wait(1)?;
    match ring.completion().next().map(|entry| entry.result()) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        Some(code) => Ok(code),
        None => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

/// Opens a file for writing by the call that 32-bit programs make; a 64-bit one can make it too.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_as_32_bit(path: &CStr) -> io::Result<OwnedFd> {
    const OPEN: i64 = 5;
    let length = path.count_bytes() + 1;
    // Such a call can only point at the first 4 GiB.
    // SAFETY: a new mapping, of which nobody knows yet.
    let low = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            length,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE
                | rustix::mm::MapFlags::from_bits_retain(libc::MAP_32BIT as u32),
        )
    }?;
    // SAFETY: the mapping is at least as long as the path with its end.
    unsafe { std::ptr::copy_nonoverlapping(path.as_ptr().cast(), low.cast::<u8>(), length) };
    let mut result = OPEN;
    // SAFETY: the call reads the path and changes nothing but the registers named; rbx, which
    // the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {path}, rbx",
            "int 0x80",
            "xchg {path}, rbx",
            path = inout(reg) low as u64 => _,
            inout("rax") result,
            in("rcx") libc::O_WRONLY,
            in("rdx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // SAFETY: the mapping is this function's own.
    unsafe { rustix::mm::munmap(low, length) }?;
    let descriptor = result as i32;
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Opens a file for writing by the call that 32-bit programs make.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn open_as_32_bit(_path: &CStr) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Ends a connection and leaves the socket as if it were new.
pub(super) fn disconnect(socket: &OwnedFd) -> io::Result<()> {
    Ok(rustix::net::connect_unspec(socket)?)
}

/// Sends a whole link-layer frame on the loopback interface.
pub(super) fn send_frame(socket: &OwnedFd, ethertype: u16, frame: &[u8]) -> io::Result<usize> {
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = 1;
    address.sll_halen = 6;
    // SAFETY: the buffer and the address are valid for the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    check(sent as libc::c_long).map(|sent| sent as usize)
}

/// One ptrace request without address and data.
pub(super) fn trace(request: libc::c_uint, pid: i32) -> io::Result<()> {
    // SAFETY: attach, seize, detach, continue and traceme take no pointers; zero means none.
    check(unsafe { libc::ptrace(request, pid, 0usize, 0usize) }).map(drop)
}

/// Waits until a traced or own child changes state; returns the raw status.
pub(super) fn wait_for(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: status is a valid place for an int.
    check(libc::c_long::from(unsafe {
        libc::waitpid(pid, &raw mut status, libc::__WALL)
    }))?;
    Ok(status)
}

/// Writes bytes into another process (process_vm_writev).
pub(super) fn write_memory_of(pid: i32, address: u64, bytes: &[u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the local vector is only read and is valid; the remote one is another
    // process's, which the kernel checks.
    let written =
        unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    check(written as libc::c_long).map(|written| written as usize)
}

/// Puts a character into the terminal's input as if it had been typed.
pub(super) fn type_into(terminal: impl AsFd, character: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads one byte.
    let result = unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCSTI,
            (&raw const character).cast::<u8>(),
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Gives the process another short name.
pub(super) fn rename_process(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Leaves namespaces for new ones.
pub(super) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: no caller passes FILES, which is what could break descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags & !rustix::thread::UnshareFlags::FILES) }?;
    Ok(())
}

/// A connect() that another process waits in.
pub(super) struct Notified {
    id: u64,
    /// The process, as this one sees it.
    pub pid: u32,
    /// Its descriptor.
    pub socket: i32,
    /// Where in its memory the address lies, and how long it is.
    pub address: u64,
    pub length: u64,
}

/// From now on, each connect() of this process and its descendants waits for whoever holds the
/// descriptor that is returned.
pub(super) fn hand_over_connects() -> io::Result<OwnedFd> {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of what the filter sees.
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_connect as u32,
            0,
            1,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_USER_NOTIF,
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers only.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    }))?;
    // SAFETY: the kernel copies the program, which outlives the call.
    let listener = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Takes the next call that waits.
pub(super) fn next_connect(listener: &OwnedFd) -> io::Result<Notified> {
    // `_IOWR('!', 0, struct seccomp_notif)`.
    const RECEIVE: libc::Ioctl = 0xc050_2100u32 as libc::Ioctl;
    // SAFETY: an all-zero seccomp_notif is valid, and what the kernel asks for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call)
    }))?;
    Ok(Notified {
        id: call.id,
        pid: call.pid,
        socket: call.data.args[0] as i32,
        address: call.data.args[1],
        length: call.data.args[2],
    })
}

/// Lets it return.
pub(super) fn answer_connect(
    listener: &OwnedFd,
    call: &Notified,
    answer: io::Result<()>,
) -> io::Result<()> {
    // `_IOWR('!', 1, struct seccomp_notif_resp)`.
    const SEND: libc::Ioctl = 0xc018_2101u32 as libc::Ioctl;
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: answer.err().map_or(0, |error| -errno(error)),
        flags: 0,
    };
    // SAFETY: the kernel reads one seccomp_notif_resp.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer)
    }))
    .map(drop)
}

/// Connects to an address in the form that the kernel reads.
pub(super) fn connect_to_bytes(socket: &OwnedFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as is said.
    let connected = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as u32,
        )
    };
    check(libc::c_long::from(connected)).map(drop)
}
