//! How long a start waits that follows failed ones.
//!
//! The service manager starts a daemon that failed again after one second, for ever. This file
//! makes the delay grow: each start notes itself, and a daemon that ends as it was asked to
//! removes the note. It works with every version of systemd; its own growing delay
//! (RestartSteps) came with version 254.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The longest delay. The service manager gives a start 90 seconds.
const LONGEST: Duration = Duration::from_secs(60);
/// A start after this much time is no longer one in a row.
const ROW: Duration = Duration::from_secs(300);

/// The note of starts that did not end well.
#[derive(Debug)]
pub struct Starts {
    path: PathBuf,
}

impl Starts {
    /// The note in this folder, which has to be root's.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            path: folder.join("starts"),
        }
    }

    /// Notes a start at `now` since the boot, and tells how long it has to wait: not at all
    /// the first time, then 1, 3, 7, 15, 31 and 60 seconds.
    pub fn begin(&self, now: Duration) -> Duration {
        let before = fs::read_to_string(&self.path).unwrap_or_default();
        let mut numbers = before.split(' ').map(str::parse::<u64>);
        let (count, last) = match (numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(last))) => (count, Duration::from_secs(last)),
            _ => (0, now),
        };
        let in_a_row = if now.saturating_sub(last) > ROW {
            0
        } else {
            count.min(16)
        };
        let delay = Duration::from_secs((1_u64 << in_a_row) - 1).min(LONGEST);
        let noted = format!("{} {}", in_a_row + 1, (now + delay).as_secs());
        // Without the note the delay stays short, which harms nobody.
        let _ = fs::write(&self.path, noted);
        delay
    }

    /// The daemon ends because it was asked to.
    pub fn ended_well(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_a_minute_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let starts = Starts::in_folder(folder.path().to_owned());
        let mut now = Duration::from_secs(100);
        let delays: Vec<u64> = (0..8)
            .map(|_| {
                let delay = starts.begin(now);
                now += delay + Duration::from_secs(2);
                delay.as_secs()
            })
            .collect();
        assert_eq!(delays, [0, 1, 3, 7, 15, 31, 60, 60]);
    }

    #[test]
    fn a_start_after_a_good_end_or_a_long_time_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let starts = Starts::in_folder(folder.path().to_owned());
        let at = Duration::from_secs;
        starts.begin(at(10));
        starts.ended_well();
        assert_eq!(starts.begin(at(11)), at(0));
        assert_eq!(starts.begin(at(12)), at(1));
        assert_eq!(starts.begin(at(1000)), at(0));
        fs::write(folder.path().join("starts"), "x").unwrap();
        assert_eq!(starts.begin(at(1001)), at(0));
    }
}
