//! Watches the registered files, so that an update is verified at once.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::registry::Registry;

/// An inotify instance: one watch for each file, and one for each folder, because updates
/// put a new file in the old one's place.
pub struct Files {
    fd: OwnedFd,
    /// By the number of the watch. Two paths may lead to one file.
    files: HashMap<i32, Vec<String>>,
    folders: HashMap<i32, String>,
    paths: HashSet<String>,
}

impl Files {
    /// Watches every registered file. `None` when the system allows no more watches; then
    /// updates are noticed at the next start.
    pub fn new(registry: &Registry) -> Option<Self> {
        let mut files = Self::empty()?;
        files.follow(registry);
        Some(files)
    }

    fn empty() -> Option<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self {
            fd,
            files: HashMap::new(),
            folders: HashMap::new(),
            paths: HashSet::new(),
        })
    }

    /// Watches what is registered now.
    pub fn follow(&mut self, registry: &Registry) {
        let entries = registry.entries().iter();
        self.follow_paths(entries.map(|entry| entry.stored.path.clone()).collect());
    }

    /// Watches these paths and no others. Watching a path again finds the file that is there now.
    /// A file that was only moved away, or that is not registered any more, exists: its watch has to be
    /// removed, or each update would leave one behind.
    fn follow_paths(&mut self, paths: HashSet<String>) {
        let changes = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM;
        let of_file = WatchFlags::ATTRIB | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE_SELF;
        let old: HashSet<i32> = self
            .files
            .keys()
            .chain(self.folders.keys())
            .copied()
            .collect();
        self.paths = paths;
        self.files.clear();
        let mut folders = HashSet::new();
        for path in &self.paths {
            if let Ok(number) = inotify::add_watch(&self.fd, path.as_str(), of_file) {
                self.files.entry(number).or_default().push(path.clone());
            }
            folders.extend(
                Path::new(path)
                    .parent()
                    .and_then(Path::to_str)
                    .map(str::to_owned),
            );
        }
        self.folders.clear();
        for folder in folders {
            if let Ok(number) =
                inotify::add_watch(&self.fd, folder.as_str(), changes | WatchFlags::ONLYDIR)
            {
                self.folders.insert(number, folder);
            }
        }
        for number in old {
            if !self.files.contains_key(&number) && !self.folders.contains_key(&number) {
                // The kernel has removed it already when the file is gone.
                let _ = inotify::remove_watch(&self.fd, number);
            }
        }
    }

    /// The registered paths at which something happened.
    pub fn changed(&mut self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed = HashSet::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return self.paths.iter().cloned().collect();
            }
            let paths = self.files.get(&event.wd()).into_iter().flatten();
            changed.extend(paths.cloned());
            let inside = self
                .folders
                .get(&event.wd())
                .zip(event.file_name().and_then(|name| name.to_str().ok()));
            if let Some((folder, name)) = inside {
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                if self.paths.contains(&path) {
                    changed.insert(path);
                }
            }
        }
        changed.into_iter().collect()
    }

    /// Becomes readable when something happened.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn watches(files: &Files) -> usize {
        let about = format!("/proc/self/fdinfo/{}", files.fd.as_raw_fd());
        let text = fs::read_to_string(about).unwrap();
        text.lines()
            .filter(|line| line.starts_with("inotify "))
            .count()
    }

    #[test]
    fn watches_of_files_that_went_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (path, other) = (name("program"), name("other"));
        fs::write(&path, "0").unwrap();
        fs::write(&other, "0").unwrap();
        let mut files = Files::empty().unwrap();
        let both = HashSet::from([path.clone(), other.clone()]);
        files.follow_paths(both.clone());
        assert_eq!(watches(&files), 3);
        // An update that keeps the old file under another name.
        for update in 0..20 {
            fs::rename(&path, name(&format!("old-{update}"))).unwrap();
            fs::write(&path, "1").unwrap();
            assert!(files.changed().contains(&path));
            files.follow_paths(both.clone());
            assert_eq!(watches(&files), 3);
        }
        files.follow_paths(HashSet::from([other.clone()]));
        assert_eq!(watches(&files), 2);
        fs::remove_file(&other).unwrap();
        files.follow_paths(HashSet::from([other]));
        assert_eq!(watches(&files), 1);
        files.follow_paths(HashSet::new());
        assert_eq!(watches(&files), 0);
    }

    #[test]
    fn a_file_with_two_names_changes_under_both() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::write(&one, "0").unwrap();
        fs::hard_link(&one, &two).unwrap();
        let paths = [&one, &two].map(|path| path.to_str().unwrap().to_owned());
        let mut files = Files::empty().unwrap();
        files.follow_paths(HashSet::from(paths.clone()));
        fs::write(&one, "1").unwrap();
        let mut changed = files.changed();
        changed.sort();
        assert_eq!(changed, paths);
    }
}
