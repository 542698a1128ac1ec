//! The system calls that the watcher may make. All others fail with EPERM.
//!
//! What is missing on purpose: `socket`, `connect`, `bind`, `sendmsg` (it could hand out its
//! descriptors), `bpf`, `execve`, `fork`, `ptrace`, `process_vm_writev`, `pidfd_getfd`, `kill`,
//! `chown`, `link`, `symlink`, `mount`, `unshare`, `setns`, `ioctl`, `io_uring_setup`,
//! `userfaultfd`, `keyctl`, `perf_event_open`.

use std::collections::BTreeMap;

use libc as c;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::Error;

/// Without conditions.
const FREE: &[c::c_long] = &[
    // Files of its folder, and the descriptors that it has.
    c::SYS_openat,
    c::SYS_read,
    c::SYS_readv,
    c::SYS_pread64,
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_lseek,
    c::SYS_close,
    c::SYS_fstat,
    c::SYS_newfstatat,
    c::SYS_statx,
    c::SYS_faccessat,
    c::SYS_faccessat2,
    c::SYS_readlinkat,
    c::SYS_getdents64,
    c::SYS_unlinkat,
    c::SYS_renameat,
    c::SYS_renameat2,
    c::SYS_ftruncate,
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_getcwd,
    // Clients that connected, and the keeper.
    c::SYS_accept4,
    c::SYS_recvfrom,
    c::SYS_getsockopt,
    c::SYS_shutdown,
    c::SYS_ppoll,
    // Memory and threads; those with conditions are below.
    c::SYS_brk,
    c::SYS_munmap,
    c::SYS_mremap,
    c::SYS_madvise,
    c::SYS_futex,
    c::SYS_set_robust_list,
    c::SYS_rseq,
    c::SYS_sched_yield,
    c::SYS_sched_getaffinity,
    c::SYS_sigaltstack,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn,
    c::SYS_restart_syscall,
    c::SYS_gettid,
    c::SYS_getpid,
    c::SYS_getppid,
    c::SYS_getuid,
    c::SYS_geteuid,
    // To end in a way that shows why.
    c::SYS_tgkill,
    c::SYS_exit,
    c::SYS_exit_group,
    // Time and chance.
    c::SYS_clock_gettime,
    c::SYS_clock_nanosleep,
    c::SYS_nanosleep,
    c::SYS_gettimeofday,
    c::SYS_getrandom,
];

/// The older names of some of them, which the C library still uses where they exist.
#[cfg(target_arch = "x86_64")]
const FREE_HERE: &[c::c_long] = &[
    c::SYS_open,
    c::SYS_stat,
    c::SYS_lstat,
    c::SYS_access,
    c::SYS_readlink,
    c::SYS_unlink,
    c::SYS_rename,
    c::SYS_poll,
    c::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const FREE_HERE: &[c::c_long] = &[];

/// Kinds of new namespaces and of new processes: everything that a thread is not.
const NO_THREAD: u64 = (c::CLONE_NEWNS
    | c::CLONE_NEWCGROUP
    | c::CLONE_NEWUTS
    | c::CLONE_NEWIPC
    | c::CLONE_NEWUSER
    | c::CLONE_NEWPID
    | c::CLONE_NEWNET
    | c::CLONE_PTRACE
    | c::CLONE_VFORK) as u64;

/// Limits this process's calls, and those of threads to come.
pub(super) fn limit() -> Result<(), Error> {
    let failed = |error: &dyn std::error::Error| Error::failed("seccomp", error);
    // `clone3` has its flags in memory, where no filter sees them; without it the C library
    // takes `clone`.
    let without_clone3 = program(
        BTreeMap::from([(c::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(c::ENOSYS as u32),
    );
    let listed = rules().and_then(|rules| {
        program(
            rules,
            SeccompAction::Errno(c::EPERM as u32),
            SeccompAction::Allow,
        )
    });
    for filter in [without_clone3, listed] {
        let filter = filter.map_err(|error| failed(&error))?;
        seccompiler::apply_filter(&filter).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, listed, here)?.try_into()
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let argument = |number: u8, mask: u64, value: u64| {
        SeccompCondition::new(
            number,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(mask),
            value,
        )
    };
    let rule = |condition| SeccompRule::new(vec![condition]);
    let thread = c::CLONE_THREAD as u64;
    let executable = c::PROT_EXEC as u64;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE
        .iter()
        .chain(FREE_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    // Listed with conditions: the other filter answers for it.
    rules.insert(c::SYS_clone3, Vec::new());
    rules.insert(
        c::SYS_clone,
        vec![rule(argument(0, NO_THREAD | thread, thread)?)?],
    );
    for call in [c::SYS_mmap, c::SYS_mprotect] {
        rules.insert(call, vec![rule(argument(2, executable, 0)?)?]);
    }
    // To whoever is at the other end already, and nobody else.
    rules.insert(c::SYS_sendto, vec![rule(argument(4, u64::MAX, 0)?)?]);
    // Names of threads and of memory. Locks and copies of descriptors, but not what other
    // processes would notice of a file that they have open too. How long to wait for a client.
    let words: [(c::c_long, u8, &[c::c_int]); 3] = [
        (c::SYS_prctl, 0, &[c::PR_SET_NAME, c::PR_SET_VMA]),
        (
            c::SYS_fcntl,
            1,
            &[
                c::F_DUPFD_CLOEXEC,
                c::F_GETFD,
                c::F_SETFD,
                c::F_GETFL,
                c::F_GETLK,
                c::F_SETLK,
                c::F_SETLKW,
            ],
        ),
        (c::SYS_setsockopt, 2, &[c::SO_RCVTIMEO, c::SO_SNDTIMEO]),
    ];
    for (call, number, values) in words {
        let permitted = values
            .iter()
            .map(|value| rule(argument(number, u32::MAX.into(), *value as u64)?));
        rules.insert(call, permitted.collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dangerous_is_not_listed() {
        let listed = rules().unwrap();
        for call in [
            c::SYS_socket,
            c::SYS_connect,
            c::SYS_sendmsg,
            c::SYS_sendmmsg,
            c::SYS_bpf,
            c::SYS_execve,
            c::SYS_execveat,
            c::SYS_ptrace,
            c::SYS_process_vm_writev,
            c::SYS_pidfd_getfd,
            c::SYS_kill,
            c::SYS_linkat,
            c::SYS_symlinkat,
            c::SYS_fchown,
            c::SYS_ioctl,
            c::SYS_io_uring_setup,
            c::SYS_unshare,
            c::SYS_setns,
            c::SYS_chroot,
            c::SYS_memfd_create,
        ] {
            assert!(!listed.contains_key(&call), "{call}");
        }
        // Never without conditions.
        for call in [
            c::SYS_clone,
            c::SYS_mmap,
            c::SYS_mprotect,
            c::SYS_prctl,
            c::SYS_fcntl,
            c::SYS_setsockopt,
            c::SYS_sendto,
        ] {
            assert!(!listed[&call].is_empty(), "{call}");
        }
    }
}
