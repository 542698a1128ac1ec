//! A file that users can write to is held still while it is read.
//!
//! The gate knows such a program by its change time, and a file that somebody has mapped into memory for
//! writing changes without that: the kernel sets the time once, with the first write after the last
//! one has reached the disk. So it is read under a lease, which the kernel gives only while nobody has
//! the file open for writing, and a mapping counts as open. Whoever opens it afterwards begins with a
//! write that shows, on the file systems that keep the time so.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Unfit;

/// The longest file that is read: a mailer with its own browser in it is half as long.
const MOST_BYTES: u64 = 256 << 20;
/// `F_SETSIG` in `asm-generic/fcntl.h`, as on x86, ARM and RISC-V.
const SET_SIGNAL: libc::c_int = 10;
/// Longer than the steps of the clock by which change times are kept (`CONFIG_HZ` of 100).
const CLOCK_STEP: Duration = Duration::from_millis(20);

/// File systems that set the change time with the first write to a mapped page
/// (`file_update_time` in their `page_mkwrite`), by the numbers in `linux/magic.h`.
const KNOWN: [u64; 5] = [
    // ext2, ext3, ext4
    0xef53,
    // XFS
    0x5846_5342,
    // Btrfs
    0x9123_683e,
    // F2FS
    0xf2f5_2010,
    // bcachefs
    0xca45_1a4e,
];

/// The others that people know by name.
const NAMES: [(u64, &str); 6] = [
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
    (0x2fc1_2fc1, "ZFS"),
    (0xff53_4d42, "CIFS"),
];

/// Nobody can open the file for writing as long as this is there: who tries waits.
pub struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    /// Begins to hold it.
    pub fn hold(file: &'a File) -> Result<Self, Unfit> {
        let length = file.metadata().map_err(not_still)?.len();
        if length > MOST_BYTES {
            return Err(Unfit::TooLong {
                most: MOST_BYTES >> 20,
            });
        }
        let system = rustix::fs::fstatfs(file).map_err(|error| not_still(error.into()))?;
        let magic = u64::from(system.f_type as u32);
        if !KNOWN.contains(&magic) {
            let name = NAMES.iter().find(|(number, _)| *number == magic);
            return Err(Unfit::Unseen(name.map_or("unknown", |(_, name)| name)));
        }
        // Who wants to write is told to this process by a signal: one that is ignored unless asked for.
        control(file, SET_SIGNAL, libc::SIGURG).map_err(not_still)?;
        match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
            Ok(()) => Ok(Self(file)),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Err(Unfit::Written),
            Err(error) => Err(not_still(error)),
        }
    }

    /// Waits until the next write gets another change time than this one, in nanoseconds since 1970.
    pub fn let_clock_pass(self, changed_ns: u64) {
        let changed = UNIX_EPOCH + Duration::from_nanos(changed_ns);
        // Of a time in the future there is nothing to wait for: the next write brings it back.
        if let Ok(since) = SystemTime::now().duration_since(changed) {
            sleep(CLOCK_STEP.saturating_sub(since));
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing the file ends it too.
        let _ = control(self.0, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

fn not_still(error: io::Error) -> Unfit {
    Unfit::NotStill(error.to_string())
}

fn control(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the commands of this module take a number, and no memory is touched.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
