//! Watches the registered files, so that an update is verified at once.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::identity;
use rustix::event::epoll;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::registry::Registry;

/// How many folders above a program in a Flatpak or a snap are watched.
const ABOVE_MAX: usize = 16;
/// The table of mounts.
const MOUNTS: &str = "/proc/self/mountinfo";

/// An inotify instance: one watch for each file, and one for each folder, because updates
/// put a new file in the old one's place.
pub struct Files {
    fd: OwnedFd,
    /// That, and the table of mounts: a snap is a mount, which comes at boot after the daemon.
    either: OwnedFd,
    _mounts: Option<File>,
    mounts_seen: Vec<u8>,
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
        let either = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let nothing = epoll::EventData::new_u64(0);
        epoll::add(&either, &fd, nothing, epoll::EventFlags::IN).ok()?;
        let mounts = File::open(MOUNTS).ok();
        if let Some(mounts) = &mounts {
            epoll::add(&either, mounts, nothing, epoll::EventFlags::PRI).ok()?;
        }
        Some(Self {
            fd,
            either,
            _mounts: mounts,
            mounts_seen: Vec::new(),
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
            let path = Path::new(path);
            let moves = identity::moves_with_updates(path);
            // Of what an update turns, the folders with the links; of all else, the file's.
            let above = if moves { ABOVE_MAX } else { 1 };
            folders.extend(
                path.ancestors()
                    .skip(1)
                    .take(above)
                    .filter_map(Path::to_str)
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
        let mounts_changed = self.mounts_changed();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed = HashSet::new();
        if mounts_changed {
            let moves = |path: &&String| identity::moves_with_updates(Path::new(path));
            changed.extend(self.paths.iter().filter(moves).cloned());
        }
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
                // An update turns a link above the file.
                let below = format!("{path}/");
                let below = self.paths.iter().filter(|other| other.starts_with(&below));
                changed.extend(below.cloned());
                if self.paths.contains(&path) {
                    changed.insert(path);
                }
            }
        }
        changed.into_iter().collect()
    }

    /// Whether something was mounted or unmounted since this was asked. The kernel tells of it once, and
    /// the wait has heard that already, so the table itself is compared.
    fn mounts_changed(&mut self) -> bool {
        let moves = |path: &String| identity::moves_with_updates(Path::new(path));
        if !self.paths.iter().any(moves) {
            return false;
        }
        let table = fs::read(MOUNTS).unwrap_or_default();
        let before = std::mem::replace(&mut self.mounts_seen, table);
        self.mounts_seen != before
    }

    /// Becomes readable when something happened.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.either.as_fd()
    }
}

#[cfg(test)]
mod tests {
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
    fn an_update_that_turns_a_link_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let stable = folder.path().join("app/org.x.Y/x86_64/stable");
        for commit in ["1", "2"] {
            let files = stable.join(commit).join("files/bin");
            fs::create_dir_all(&files).unwrap();
            fs::write(files.join("y"), commit).unwrap();
        }
        let turn = |commit: &str| {
            let link = stable.join("new");
            std::os::unix::fs::symlink(commit, &link).unwrap();
            fs::rename(&link, stable.join("active")).unwrap();
        };
        turn("1");
        let path = stable
            .join("active/files/bin/y")
            .to_str()
            .unwrap()
            .to_owned();
        let mut files = Files::empty().unwrap();
        files.follow_paths(HashSet::from([path.clone()]));
        // The table of mounts is compared for the first time.
        files.changed();
        turn("2");
        assert_eq!(files.changed(), [path]);
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
