//! The one place where the wall clock and the boot clock are read.

use engine::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since 1970.
pub fn now() -> Timestamp {
    Timestamp(read(ClockId::Realtime))
}

/// Now, in nanoseconds since boot, as the kernel dates its reports.
pub fn boot_ns() -> u64 {
    read(ClockId::Boottime)
}

/// When something happened that the kernel dated in nanoseconds since boot.
pub fn since_boot(boot_ns: u64) -> Timestamp {
    let ago = self::boot_ns().saturating_sub(boot_ns);
    Timestamp(read(ClockId::Realtime).saturating_sub(ago))
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}
