//! Shutting the watcher in. It reads bytes that strangers wrote, so it gives up everything
//! that it does not need before it reads the first of them: root and every capability, all
//! folders but its own, new sockets, other programs, other processes.
//!
//! Each wall stands by itself. Which of them this kernel has is said in `status`.

mod calls;

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{Gid, Uid};

use crate::Error;

/// Files that it may hold open: more than its clients need.
const FILES_MAX: u64 = 1024;
/// Memory of its own: far more than the bounds of the engine add up to.
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Whom a process becomes when it gives up root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id; never 0.
    pub user: u32,
    /// Group id; never 0.
    pub group: u32,
}

/// How much of landlock this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// All that is asked for.
    Full,
    /// An older kernel: some of it.
    Partial,
    /// Nothing: only the other walls stand.
    Missing,
}

impl Landlock {
    /// The word in `status`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

/// Shuts this process in for good. Afterwards `folder` is the root of all that it can name;
/// it may read and write files there, use the sockets that it has, start threads, and little
/// else. It ends with the process that started it.
///
/// # Errors
///
/// When a wall cannot be raised that every kernel has. The process must not go on then.
pub fn enter(folder: BorrowedFd<'_>, account: Account) -> Result<Landlock, Error> {
    let failed = |what: &'static str| {
        move |error: rustix::io::Errno| Error::Failed(format!("{what}: {error}"))
    };
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Nofile, FILES_MAX),
        (Resource::Data, MEMORY_BYTES_MAX),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit).map_err(failed("a limit cannot be set"))?;
    }
    rustix::process::fchdir(folder).map_err(failed("the folder cannot be entered"))?;
    live_in(Path::new("."), account)?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    // Not even another process of the same user may look into it or take its sockets.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("dumpable"))?;
    // After the change of user, which would undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("the end with the keeper"))?;
    let landlock = only_files_here()?;
    calls::limit()?;
    Ok(landlock)
}

/// Gives up what only loading the gate takes: on Debian, whose `kernel.perf_event_paranoid` is 3,
/// CAP_SYS_ADMIN attaches programs to system calls. With no new privileges it does not come
/// back.
///
/// # Errors
///
/// When the kernel refuses to take it away.
pub fn needs_no_loading() -> Result<(), Error> {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let failed = |error| Error::Failed(format!("capabilities: {error}"));
    let mut own = capabilities(None).map_err(failed)?;
    for set in [&mut own.effective, &mut own.permitted, &mut own.inheritable] {
        set.remove(CapabilitySet::SYS_ADMIN);
    }
    set_capabilities(None, own).map_err(failed)
}

/// Closes every descriptor but the first three: what whoever started the daemon left open.
///
/// Call it first of all, while this process holds none of its own.
pub fn close_inherited() {
    // SAFETY: nothing of this process owns a descriptor above the first three yet, as said
    // above, so none is closed behind its owner's back.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Makes a folder the root of all that this process can name, and becomes another user there
/// for good, without other groups and without capabilities. The current folder stays what it
/// is, also when it lies elsewhere.
///
/// # Errors
///
/// When it cannot be done; also for root itself, and when other threads run, which would keep
/// what they are.
pub fn live_in(root: &Path, account: Account) -> Result<(), Error> {
    alone()?;
    rustix::process::chroot(root).map_err(|error| {
        Error::Failed(format!(
            "{}: cannot be made the root: {error}",
            root.display()
        ))
    })?;
    if account.user == 0 || account.group == 0 {
        return Err(Error::Failed(
            "root cannot be given up for user or group 0".to_owned(),
        ));
    }
    let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
    rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
        .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user))
        .map_err(|error| {
            Error::Failed(format!(
                "root cannot be given up for user {}: {error}",
                account.user
            ))
        })?;
    let left = rustix::thread::capabilities(None)
        .map_err(|error| Error::Failed(format!("capabilities: {error}")))?;
    if rustix::thread::set_thread_uid(Uid::ROOT).is_ok()
        || !left.effective.is_empty()
        || !left.permitted.is_empty()
    {
        return Err(Error::Failed("root was not given up".to_owned()));
    }
    Ok(())
}

/// What follows changes the calling thread alone.
fn alone() -> Result<(), Error> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).map_err(Error::file(path))?;
    let one = ["Threads:", "1"];
    if status.lines().any(|line| line.split_whitespace().eq(one)) {
        return Ok(());
    }
    Err(Error::Failed(
        "root can only be given up before other threads are started".to_owned(),
    ))
}

/// Files of its folder may be read, written, made and removed. Nothing else of the file
/// system, no TCP port, no other process's signals or abstract sockets.
fn only_files_here() -> Result<Landlock, Error> {
    let failed = |error: landlock::RulesetError| Error::failed("landlock", &error);
    let newest = ABI::V6;
    let files = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let root = PathFd::new("/").map_err(|error| Error::failed("landlock", &error))?;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(newest)))
        .and_then(|rules| rules.scope(Scope::from_all(newest)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.add_rule(PathBeneath::new(root, files)))
        .and_then(|rules| rules.restrict_self())
        .map_err(failed)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}
