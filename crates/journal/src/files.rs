//! What each platform says of files in its own way: who may read a new one, and whether one is still
//! the file that it was.

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A new folder that nobody else may open. Elsewhere than on Unix, it inherits from the folder above who
/// may.
pub(crate) fn narrow_folder() -> DirBuilder {
    let mut folder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.recursive(true);
    folder
}

/// Makes a new file that nobody else may open; as above.
pub(crate) fn narrow_file() -> OpenOptions {
    let mut file = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.write(true).create_new(true);
    file
}

/// What stays the same as long as a file does, whatever is written to it: device and inode.
#[cfg(unix)]
pub(crate) fn identity(about: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (about.dev(), about.ino())
}

/// The same where the standard library tells no number of a file: when it was made.
#[cfg(not(unix))]
pub(crate) fn identity(about: &Metadata) -> (u64, u64) {
    let made = about.created().map_or(Duration::ZERO, since_1970);
    (made.as_secs(), made.subsec_nanos().into())
}

/// When a file was last written to, renamed or linked, since 1970.
#[cfg(unix)]
pub(crate) fn changed(about: &Metadata) -> Option<Duration> {
    use std::os::unix::fs::MetadataExt as _;
    let (s, ns) = (about.ctime(), about.ctime_nsec());
    Some(Duration::new(s.try_into().ok()?, ns.try_into().ok()?))
}

/// The same where the standard library does not tell of renaming: when it was last written to.
#[cfg(not(unix))]
pub(crate) fn changed(about: &Metadata) -> Option<Duration> {
    about.modified().ok().map(since_1970)
}

/// How long after the beginning of 1970.
pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
