//! Settings that user space writes and the kernel programs read, counters that they keep,
//! and the state of a watched connection.

#[cfg(feature = "user")]
use bytemuck::{Pod, Zeroable};

/// How many mail ports can be guarded.
pub const MAIL_PORTS_MAX: usize = 16;

/// The one value of the map `settings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Settings {
    /// Mail ports in host order; unused slots are 0.
    pub mail_ports: [u16; MAIL_PORTS_MAX],
    /// First port where IRC servers listen (RFC 7194 and custom: 6660).
    pub irc_first: u16,
    /// Last port where IRC servers listen.
    pub irc_last: u16,
    /// 1: refuse nothing, only report what would have been refused.
    pub observe: u8,
    /// 1: submitters started by a process that may not send are ended.
    pub guard_submitters: u8,
    /// 1: connections and DNS queries of processes that may not send are sampled.
    pub sample: u8,
    /// Zero.
    pub reserved: u8,
    /// Connections a minute for one interactive or batch mailer; 0 is no limit.
    pub rate_limit: u32,
    /// Level of the guarded cgroup in its hierarchy; the root is 0.
    pub cgroup_level: u32,
    /// Id of the guarded cgroup.
    pub cgroup_id: u64,
    /// Number of the machine's mount namespace.
    pub mount_namespace: u32,
    /// Number of the machine's user namespace. Registered scripts' paths are meant in mount namespaces of
    /// this one's root, which the service manager makes for single units.
    pub user_namespace: u32,
    /// Bit `port % 64` is set for each watched port, see [`Settings::may_be_watched`].
    pub watched: u64,
    /// Inode number of the machine's root folder, below which those paths are meant.
    pub root_inode: u64,
    /// Device of its file system, in the kernel's own encoding.
    pub root_device: u32,
    /// Number of the process namespace of the machine's own services. A container has another.
    pub process_namespace: u32,
    /// Bit `n` is set where only root can write to the folder [`policy::ROOTS_FOLDERS`]`[n]`.
    pub roots_folders: u32,
    /// Bit `n` is set where only root can write to the folder [`policy::CODE_FOLDERS`]`[n]` and what
    /// lies there.
    pub code_folders: u32,
}

impl Settings {
    /// Fills in [`Settings::watched`] from the ports.
    #[must_use]
    pub fn with_watched(mut self) -> Self {
        let irc = self.irc_first..=self.irc_last;
        let mail = self.mail_ports.into_iter().filter(|port| *port != 0);
        self.watched = mail
            .chain(irc)
            .fold(0, |bits, port| bits | 1 << (port % 64));
        self
    }

    /// The cheapest question, which most traffic answers with no: might this port (host order)
    /// be a mail port or one where IRC servers listen?
    #[inline(always)]
    pub fn may_be_watched(&self, port: u16) -> bool {
        self.watched >> (port % 64) & 1 != 0
    }

    /// Whether `port` (host order) is a mail port. Port 0 is none.
    #[inline(always)]
    pub fn is_mail_port(&self, port: u16) -> bool {
        let mut index = 0;
        while index < MAIL_PORTS_MAX {
            if self.mail_ports[index] == 0 {
                return false;
            }
            if self.mail_ports[index] == port {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Whether IRC servers listen on `port` (host order).
    #[inline(always)]
    pub fn is_irc_port(&self, port: u16) -> bool {
        port >= self.irc_first && port <= self.irc_last
    }
}

/// Where fields lie in the running kernel's structures, in bytes, resolved from its BTF.
/// A read-only global of each program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Offsets {
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.ptrace`
    pub task_ptrace: u32,
    /// `task_struct.parent`
    pub task_parent: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `task_struct.cred`
    pub task_cred: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `signal_struct.tty`
    pub signal_tty: u32,
    /// `mm_struct.exe_file`
    pub mm_exe_file: u32,
    /// `mm_struct.arg_start`
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`
    pub mm_arg_end: u32,
    /// `mm_struct.env_start`
    pub mm_env_start: u32,
    /// `mm_struct.env_end`
    pub mm_env_end: u32,
    /// `mm_struct.exec_vm`: how many pages may be run and not written.
    pub mm_exec_pages: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.f_path.mnt`
    pub file_mnt: u32,
    /// `file.f_path.dentry`
    pub file_dentry: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_uid`
    pub inode_uid: u32,
    /// `inode.i_gid`
    pub inode_gid: u32,
    /// `inode.i_rdev`
    pub inode_rdev: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// Seconds of the change time: `inode.i_ctime_sec`, or `i_ctime.tv_sec` before 6.11.
    pub inode_ctime_sec: u32,
    /// Its nanoseconds.
    pub inode_ctime_nsec: u32,
    /// `super_block.s_dev`
    pub sb_dev: u32,
    /// `dentry.d_parent`
    pub dentry_parent: u32,
    /// `dentry.d_name.name`
    pub dentry_name: u32,
    /// `vfsmount.mnt_root`
    pub vfsmount_root: u32,
    /// `vfsmount.mnt_flags`
    pub vfsmount_flags: u32,
    /// `mount.mnt`
    pub mount_mnt: u32,
    /// `mount.mnt_parent`
    pub mount_parent: u32,
    /// `mount.mnt_mountpoint`
    pub mount_mountpoint: u32,
    /// `mount.mnt_ns`
    pub mount_ns: u32,
    /// `linux_binprm.file`
    pub bprm_file: u32,
    /// `linux_binprm.filename`
    pub bprm_filename: u32,
    /// `linux_binprm.interp`
    pub bprm_interp: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `inode.i_private`
    pub inode_private: u32,
    /// `pid.numbers[0].nr`: the number in the initial pid namespace
    pub pid_number: u32,
    /// `nsproxy.mnt_ns`
    pub nsproxy_mnt: u32,
    /// `mnt_namespace.ns.inum`
    pub mnt_ns_inum: u32,
    /// `mnt_namespace.user_ns`
    pub mnt_ns_owner: u32,
    /// `task_struct.fs`
    pub task_fs: u32,
    /// `fs_struct.root.dentry`
    pub fs_root: u32,
    /// `dentry.d_inode`
    pub dentry_inode: u32,
    /// `nsproxy.pid_ns_for_children`
    pub nsproxy_processes: u32,
    /// `pid_namespace.ns.inum`
    pub process_ns_inum: u32,
    /// `cred.uid`
    pub cred_uid: u32,
    /// `cred.euid`
    pub cred_euid: u32,
    /// `cred.fsuid`
    pub cred_fsuid: u32,
    /// `cred.user_ns`
    pub cred_user_ns: u32,
    /// `user_namespace.ns.inum`
    pub user_ns_inum: u32,
    /// `file.f_mode`
    pub file_mode: u32,
    /// `super_block.s_magic`
    pub sb_magic: u32,
    /// `proc_inode.vfs_inode`
    pub proc_vfs_inode: u32,
    /// `proc_inode.pid`
    pub proc_pid: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `sock.sk_lock.owned`
    pub sock_owned: u32,
    /// `sock.__sk_common.skc_dport`
    pub sock_dport: u32,
    /// `sock.__sk_common.skc_num`
    pub sock_num: u32,
    /// `sock.__sk_common.skc_state`
    pub sock_state: u32,
    /// `sock.__sk_common.skc_family`
    pub sock_family: u32,
    /// `sock.sk_type`
    pub sock_type: u32,
    /// `sock.sk_rx_dst_ifindex`
    pub sock_interface: u32,
    /// `unix_sock.addr`: null for what has no name.
    pub unix_address: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.end`, an offset from `head`
    pub skb_end: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.len`
    pub skb_len: u32,
    /// `skb_shared_info.flags`
    pub shared_info_flags: u32,
    /// `sock.sk_bpf_storage`
    pub sock_storage: u32,
    /// `sock.sk_filter`
    pub sock_filter: u32,
    /// `inet_sock.min_ttl`
    pub inet_min_ttl: u32,
    /// `inet_sock.pinet6`; 0 where the kernel knows no IPv6.
    pub inet_pinet6: u32,
    /// `ipv6_pinfo.min_hopcount`
    pub ipv6_min_hops: u32,
    /// `tcp_sock.is_mptcp`; 0 where the kernel knows no Multipath TCP.
    pub tcp_is_mptcp: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.rcv_wnd`
    pub tcp_rcv_wnd: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `mm_struct.owner`; 0 where the kernel does not keep it.
    pub mm_owner: u32,
    /// The number of the call in `pt_regs`; 0 where that is not known.
    pub registers_call: u32,
    /// Where `task_struct` tells by which kind of call it is in the kernel; see
    /// [`Calls::compat_bit`].
    pub task_call_state: u32,
}

/// How many calls that write are known of a machine, at most.
pub const WRITING_CALLS_MAX: usize = 16;

/// Numbers of the calls by which a process may write into another's memory; unused slots have
/// one that no call has. A read-only global of each program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Calls {
    /// Of the machine's own calls.
    pub native: [u32; WRITING_CALLS_MAX],
    /// Of those that 32-bit programs make.
    pub compat: [u32; WRITING_CALLS_MAX],
    /// Set in the word at [`Offsets::task_call_state`] while the task is in one of those.
    pub compat_bit: u32,
}

/// A watched connection: value of the socket storage `flows`, which dies with its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Flow {
    /// When connect() was called, in nanoseconds since boot.
    pub connected_ns: u64,
    /// Process that called it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Index of its program.
    pub program: u32,
    /// Index of the culprit in its lineage; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Code of the [`crate::FlowKind`]; 0 when the connection holds nothing: it is only
    /// remembered that it was reported.
    pub kind: u8,
    /// Code of the program's role.
    pub role: u8,
    /// Code of the process's origin.
    pub origin: u8,
    /// 0 before it is established, 1 while it is, 2 once it is closed.
    pub established: u8,
    /// 1 when the grant exists only because the gate observes.
    pub observed: u8,
    /// Process whose code is being looked at; 0 for none. What it says waits for the look.
    pub looked_at: u32,
}

/// A mailer's use of its rate: value of the map `rates`. The key is the user in the upper
/// half and the program's index in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct RateWindow {
    /// When the current minute began, in nanoseconds since boot.
    pub began_ns: u64,
    /// Connections permitted in it.
    pub used: u32,
    /// Zero.
    pub reserved: u32,
}

/// Slots of the per-CPU map `counters`. What the kernel cannot report, it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Connections to mail ports that were judged.
    ConnectsJudged = 0,
    /// Of these, permitted.
    ConnectsAllowed = 1,
    /// Of these, refused (or noted, when the gate observes).
    ConnectsRefused = 2,
    /// Packets to mail ports without a grant.
    PacketsRefused = 3,
    /// Submitters ended at their exec.
    SubmittersRefused = 4,
    /// Verdicts and flows that could not be reported, because the ring buffer was full.
    EventsLost = 5,
    /// Programs that could not be reported.
    ProgramsLost = 6,
    /// Processes that could not be recorded, because the process table was full.
    ProcessesLost = 7,
    /// Execs of processes without a record.
    ExecsUnknown = 8,
    /// Grants born.
    GrantsOpened = 9,
    /// Grants ended.
    GrantsClosed = 10,
    /// Kernel memory that could not be read.
    ReadsFailed = 11,
    /// A connection's state that could not be kept.
    FlowsLost = 12,
    /// Samples that could not be reported, because their ring buffer was full.
    SamplesLost = 13,
    /// How often a program of the gate did not run, because it was running already on that
    /// processor. The kernel itself counts that, and the map has no slot for it.
    RecursionMisses = 14,
}

impl Counter {
    /// Every counter with the name that `status --json` gives it.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::ConnectsJudged, "connects_judged"),
        (Self::ConnectsAllowed, "connects_allowed"),
        (Self::ConnectsRefused, "connects_refused"),
        (Self::PacketsRefused, "packets_refused"),
        (Self::SubmittersRefused, "submitters_refused"),
        (Self::EventsLost, "events_lost"),
        (Self::ProgramsLost, "programs_lost"),
        (Self::ProcessesLost, "processes_lost"),
        (Self::ExecsUnknown, "execs_unknown"),
        (Self::GrantsOpened, "grants_opened"),
        (Self::GrantsClosed, "grants_closed"),
        (Self::ReadsFailed, "reads_failed"),
        (Self::FlowsLost, "flows_lost"),
        (Self::SamplesLost, "samples_lost"),
        (Self::RecursionMisses, "recursion_misses"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_watched_port_is_passed_over() {
        let mut settings = Settings {
            irc_first: 6660,
            irc_last: 6669,
            ..Settings::default()
        };
        settings.mail_ports[..4].copy_from_slice(&[25, 465, 587, 65535]);
        let settings = settings.with_watched();
        for port in 0..=u16::MAX {
            if settings.is_mail_port(port) || settings.is_irc_port(port) {
                assert!(settings.may_be_watched(port), "{port}");
            }
        }
        assert!(!settings.may_be_watched(443));
        assert!(!Settings::default().is_mail_port(0));
    }
}
