//! Small things that every test needs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Reads an address.
///
/// # Panics
/// When it is none.
pub fn address(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no ADDRESS:PORT"))
}

/// Whether one of these programs is not installed, which is printed as the reason for
/// skipping.
pub fn is_missing(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|path| !Path::new(path).exists())
        .collect();
    if !missing.is_empty() {
        println!("skipped: not installed: {missing:?}");
    }
    !missing.is_empty()
}

/// User and group of the daemon's watcher: the account that `install` makes, or the numbers
/// that stand in for it.
pub fn watcher_account() -> (u32, u32) {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = accounts.lines().find(|line| line.starts_with("sekimori:"));
    let mut numbers = line
        .into_iter()
        .flat_map(|line| line.split(':').skip(2))
        .filter_map(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or((65525, 65525))
}

/// Asks again and again until there is an answer, for at most `limit`.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Memory of their own that processes hold resident, added up, in KiB. Pages of files are none of it: the
/// daemon gives them back after its start, and they come again with the code that runs.
///
/// # Panics
/// When one of them has ended.
pub fn own_kib(pids: &[u32]) -> u64 {
    let of = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let line = line.unwrap().trim_end_matches("kB");
        line.trim().parse::<u64>().unwrap()
    };
    pids.iter().map(of).sum()
}

/// What the descriptors of processes are, one for each.
///
/// # Panics
/// When one of them has ended.
pub fn open_files(pids: &[u32]) -> Vec<String> {
    let of = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let descriptors = pids.iter().flat_map(of);
    let targets = descriptors.map(|file| match fs::read_link(file.path()) {
        Ok(target) => target.display().to_string(),
        Err(_) => "closed meanwhile".to_owned(),
    });
    let mut targets: Vec<_> = targets.collect();
    targets.sort();
    targets
}
