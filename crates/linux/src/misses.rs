//! How often programs of the gate did not run though their hook was passed.
//!
//! The kernel does not let a program of a tracepoint interrupt itself: what happens on the same
//! processor meanwhile passes the hook unseen. The kernel counts that for each program.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

// Commands of bpf(2).
const OBJ_GET: libc::c_long = 7;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

#[repr(C)]
struct ByPath {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    unused: u32,
    flags: u32,
}

#[repr(C)]
struct GetInfo {
    fd: u32,
    bytes: u32,
    info: u64,
}

/// The first fields of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
}

/// The fields of `struct bpf_prog_info` up to the one that is wanted.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    others: [u64; 26],
    recursion_misses: u64,
}

/// The programs of pinned links. They are opened once, because that takes a privilege (CAP_SYS_ADMIN) which
/// the daemon gives up; asking them takes none.
pub struct Counted(Vec<OwnedFd>);

impl Counted {
    /// Opens the programs whose links are pinned in these folders.
    pub fn open(folders: &[PathBuf]) -> Self {
        let pins = folders.iter().flat_map(fs::read_dir).flatten().flatten();
        Self(
            pins.filter_map(|pin| program_of(&pin.path()).ok())
                .collect(),
        )
    }

    /// How often they did not run. 0 where the kernel does not count: it does so since 5.12.
    pub fn misses(&self) -> u64 {
        let infos = self
            .0
            .iter()
            .filter_map(|program| info_of::<ProgramInfo>(program).ok());
        infos.map(|info| info.recursion_misses).sum()
    }
}

fn program_of(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = open(
        OBJ_GET,
        &mut ByPath {
            path: path.as_ptr() as u64,
            fd: 0,
            flags: 0,
        },
    )?;
    open(
        PROG_GET_FD_BY_ID,
        &mut ById {
            id: info_of::<LinkInfo>(&link)?.program,
            unused: 0,
            flags: 0,
        },
    )
}

/// What the kernel tells of a link or a program. It fills as much of `T` as it knows, and the rest
/// stays zero.
fn info_of<T: Default>(object: &OwnedFd) -> io::Result<T> {
    let mut info = T::default();
    let mut wanted = GetInfo {
        fd: object.as_raw_fd() as u32,
        bytes: size_of::<T>() as u32,
        info: (&raw mut info) as u64,
    };
    call(OBJ_GET_INFO_BY_FD, &mut wanted)?;
    Ok(info)
}

fn open<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most as many bytes as the struct has. Its pointers lead
    // to a path that ends with a zero byte, and to as much room as `bytes` says.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
