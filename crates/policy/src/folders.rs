//! Folders in which only root writes.
//!
//! At exec the kernel cannot ask whose a file is that a variable names. So a path counts as root's when it
//! lies below one of these folders. Which of them really are root's on this machine the keeper finds
//! out when it starts.

use crate::hashed::{self, Hashed};

/// Folders in which by convention only root writes. A folder that lies in another one decides about
/// what is below it. One that is not there counts as root's where root alone could make it: it may be
/// there in a sandbox.
pub const CODE_FOLDERS: [&str; 25] = [
    "/usr",
    "/usr/local",
    "/usr/src",
    // Where there is one, it leads to /var/tmp.
    "/usr/tmp",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/nix/var/nix/profiles/default",
    "/nix/var/nix/profiles/system",
    "/gnu/store",
    "/snap",
    "/var/lib/snapd/snap",
    "/var/lib/snapd/lib",
    "/var/lib/flatpak",
    "/run/current-system",
    "/run/opengl-driver",
    "/run/opengl-driver-32",
    // In the sandbox of a Flatpak: the program, and the machine's own files.
    "/app",
    "/run/host/usr",
];

static TABLE: Hashed<2048> = table();

const fn table() -> Hashed<2048> {
    let mut hashes = [0; CODE_FOLDERS.len()];
    let mut numbers = [0; CODE_FOLDERS.len()];
    let mut index = 0;
    while index < CODE_FOLDERS.len() {
        hashes[index] = hashed::of(hashed::EMPTY, CODE_FOLDERS[index].as_bytes());
        numbers[index] = index as u32 + 1;
        index += 1;
    }
    Hashed::of(&hashes, &numbers, CODE_FOLDERS.len())
}

/// Whether the folder whose path has this hash is root's, where `folders` has a bit for each of
/// [`CODE_FOLDERS`] that is. `before` when it is none of them.
#[inline(always)]
pub fn is_roots(folders: u64, hash: u64, before: bool) -> bool {
    match TABLE.number(hash) {
        0 => before,
        number => folders >> ((number - 1) & 63) & 1 != 0,
    }
}
