//! What a theatre consists of, as far as it could outlive it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{MapInfo, loaded_maps};

use crate::tools::wait_until;

/// The kernel takes a moment to take maps down.
const LIMIT: Duration = Duration::from_secs(60);

/// Traces that must be gone when the theatre is closed.
#[derive(Debug)]
pub(crate) struct Remains {
    pub folder: PathBuf,
    pub group: PathBuf,
    /// The link target of `/proc/PID/ns/mnt`.
    pub mount_namespace: PathBuf,
    /// Ids of the gate's maps. A map lives as long as any program that uses it, so they
    /// stand for programs and links too.
    pub maps: HashSet<u32>,
}

impl Remains {
    /// Traces of the sandbox whose init is this process.
    pub(crate) fn of(folder: PathBuf, group: PathBuf, init: u32) -> Self {
        let mount_namespace = fs::read_link(format!("/proc/{init}/ns/mnt")).unwrap_or_default();
        Self {
            folder,
            group,
            mount_namespace,
            maps: HashSet::new(),
        }
    }

    /// Notes the maps that are pinned in a folder. To be called inside the sandbox.
    pub(crate) fn pinned_maps(folder: &std::path::Path) -> HashSet<u32> {
        let pins = fs::read_dir(folder).into_iter().flatten().flatten();
        pins.filter_map(|pin| MapInfo::from_pin(pin.path()).ok())
            .map(|map| map.id())
            .collect()
    }

    /// What is still there, in words; nothing when all is well.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for path in [&self.folder, &self.group] {
            if path.exists() {
                left.push(format!("{} is there", path.display()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.to_string_lossy().into_owned();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&folder))
                .map(|line| format!("mounted: {line}")),
        );
        if wait_until(LIMIT, || self.processes().is_empty().then_some(())).is_none() {
            left.extend(self.processes());
        }
        if wait_until(LIMIT, || self.loaded().is_empty().then_some(())).is_none() {
            left.extend(self.loaded());
        }
        left
    }

    /// Processes in the sandbox's namespaces.
    fn processes(&self) -> Vec<String> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter(|process| {
            fs::read_link(process.path().join("ns/mnt"))
                .is_ok_and(|namespace| namespace == self.mount_namespace)
        })
        .map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!(
                "process {:?} ({}) runs",
                process.file_name(),
                name.trim_end()
            )
        })
        .collect()
    }

    fn loaded(&self) -> Vec<String> {
        let maps = loaded_maps()
            .flatten()
            .filter(|map| self.maps.contains(&map.id()));
        maps.map(|map| format!("map {} ({:?}) is loaded", map.id(), map.name_as_str()))
            .collect()
    }
}
