//! The table of the gate's programs: where each is attached, and in which gates it is.

/// Where a program is attached.
pub enum Hook {
    /// `cgroup/connect4` or `connect6`.
    Connect,
    /// `cgroup_skb/egress`.
    Egress,
    /// `cgroup_skb/ingress`.
    Ingress,
    /// `cgroup/sock_release`.
    Release,
    /// A raw tracepoint with types.
    Tracepoint(&'static str),
    /// One that only some kernels have; it does better what another hook does too.
    NewTracepoint(&'static str),
    /// One that is handed a packet, which only some kernels let it read.
    PacketTracepoint(&'static str),
    /// The entry of a function of the kernel, where the kernel lets a program in.
    Entry(&'static str),
    /// Where locks of memory maps are taken; only where that costs little.
    MemoryLock(&'static str),
    /// Begin or end of a system call.
    Syscall(&'static str),
    /// A call that only some architectures have.
    OldSyscall(&'static str),
}

impl Hook {
    /// Whether a gate is whole without it, because not every kernel has or permits it.
    pub const fn may_be_missing(&self) -> bool {
        self.is_new() || self.is_call()
    }

    /// Whether older kernels do without it.
    pub const fn is_new(&self) -> bool {
        matches!(
            self,
            Self::NewTracepoint(_)
                | Self::PacketTracepoint(_)
                | Self::Entry(_)
                | Self::MemoryLock(_)
        )
    }

    /// Whether it is on a system call.
    pub const fn is_call(&self) -> bool {
        matches!(self, Self::Syscall(_) | Self::OldSyscall(_))
    }
}

/// In which gates a program is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every one.
    Always,
    /// Packets are watched.
    Packets,
    /// They are not.
    NoPackets,
    /// They are, and sampled too.
    Samples,
    /// Calls that reach into other processes are watched.
    Calls,
    /// Of these only what slows nobody down.
    CheapCalls,
    /// All of them, whatever it costs.
    EveryCall,
}

/// A program of the gate.
pub struct Part {
    /// Its name in the object, and of the link's pin.
    pub name: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// In which gates it is.
    pub when: When,
    /// Not beside this program, which does the same better, or enough of it, and came before it.
    pub unless: Option<&'static str>,
}

const fn part(name: &'static str, hook: Hook, when: When) -> Part {
    Part {
        name,
        hook,
        when,
        unless: None,
    }
}

const fn instead_of(better: &'static str, name: &'static str, hook: Hook, when: When) -> Part {
    Part {
        unless: Some(better),
        ..part(name, hook, when)
    }
}

/// The program that makes most watches on system calls needless.
const MEMORY_WRITE: &str = "memory_write";
/// The program that sees a writer before its bytes are in the socket.
const WRITE: &str = "write";
/// The program that sees what comes in, where it costs less.
const RECEIVED: &str = "received";
/// The program that sees what programs put into terminals.
pub const STUFFING: &str = "stuffing";
/// The program that sees keyboards and mice.
pub const INPUT: &str = "input";
const TAKE_DESCRIPTOR: &str = "take_descriptor";

/// Every program with its hook, in the order in which they are attached. One that is there
/// twice is in no gate twice.
pub static PARTS: [Part; 23] = [
    part("connect4", Hook::Connect, When::Always),
    part("connect6", Hook::Connect, When::Always),
    part("egress", Hook::Egress, When::Packets),
    part("release", Hook::Release, When::Packets),
    part(
        WRITE,
        Hook::NewTracepoint("tcp_sendmsg_locked"),
        When::Packets,
    ),
    instead_of(
        WRITE,
        "written",
        Hook::NewTracepoint("sock_send_length"),
        When::Packets,
    ),
    part(RECEIVED, Hook::PacketTracepoint("tcp_probe"), When::Samples),
    instead_of(RECEIVED, "ingress", Hook::Ingress, When::Samples),
    part(
        "socket_state",
        Hook::Tracepoint("inet_sock_set_state"),
        When::NoPackets,
    ),
    part("exit", Hook::Tracepoint("sched_process_exit"), When::Always),
    part("exec", Hook::Tracepoint("sched_process_exec"), When::Always),
    part("fork", Hook::Tracepoint("sched_process_fork"), When::Always),
    part("traced", Hook::Tracepoint("sched_wait_task"), When::Always),
    part(STUFFING, Hook::Entry("n_tty_receive_buf"), When::Always),
    part(INPUT, Hook::Entry("input_event"), When::Always),
    part(
        MEMORY_WRITE,
        Hook::MemoryLock("mmap_lock_acquire_returned"),
        When::Calls,
    ),
    // Where other calls have to be watched anyway it costs nothing more.
    instead_of(
        MEMORY_WRITE,
        TAKE_DESCRIPTOR,
        Hook::Syscall("sys_enter_pidfd_getfd"),
        When::CheapCalls,
    ),
    part(
        TAKE_DESCRIPTOR,
        Hook::Syscall("sys_enter_pidfd_getfd"),
        When::EveryCall,
    ),
    instead_of(
        MEMORY_WRITE,
        "vm_write",
        Hook::Syscall("sys_enter_process_vm_writev"),
        When::Calls,
    ),
    instead_of(
        MEMORY_WRITE,
        "opened_at",
        Hook::Syscall("sys_exit_openat"),
        When::Calls,
    ),
    instead_of(
        MEMORY_WRITE,
        "opened_at2",
        Hook::Syscall("sys_exit_openat2"),
        When::Calls,
    ),
    instead_of(
        MEMORY_WRITE,
        "opened_old",
        Hook::OldSyscall("sys_exit_open"),
        When::Calls,
    ),
    instead_of(
        MEMORY_WRITE,
        "created",
        Hook::OldSyscall("sys_exit_creat"),
        When::Calls,
    ),
];
