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
    files: HashMap<i32, String>,
    folders: HashMap<i32, String>,
    paths: HashSet<String>,
}

impl Files {
    /// Watches every registered file. `None` when the system allows no more watches; then
    /// updates are noticed at the next start.
    pub fn new(registry: &Registry) -> Option<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let mut files = Self {
            fd,
            files: HashMap::new(),
            folders: HashMap::new(),
            paths: HashSet::new(),
        };
        files.follow(registry);
        Some(files)
    }

    /// Watches what is registered now. Watching a path again finds the file that lies there
    /// now; the kernel drops watches of files that are gone by itself.
    pub fn follow(&mut self, registry: &Registry) {
        let changes = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM;
        let of_file = WatchFlags::ATTRIB | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE_SELF;
        self.paths = registry
            .entries()
            .iter()
            .map(|entry| entry.stored.path.clone())
            .collect();
        self.files.clear();
        let mut folders = HashSet::new();
        for path in &self.paths {
            if let Ok(number) = inotify::add_watch(&self.fd, path.as_str(), of_file) {
                self.files.insert(number, path.clone());
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
            if let Some(path) = self.files.get(&event.wd()) {
                changed.insert(path.clone());
            }
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
