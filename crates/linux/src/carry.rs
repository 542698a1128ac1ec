//! What an older gate with maps of another layout knows of processes is carried over: marks of tampering,
//! culprits and lineages. Nothing of it could be read from /proc again.
//!
//! The older maps say themselves where their fields lie, so this program reads layouts that are
//! older than it, and newer ones. A field is found by its name: whoever changes a layout in `abi`
//! keeps the names and the meaning of the numbers. A process of which the older gate has no
//! readable record counts as foreign.

mod layout;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use abi::ProcessRecord;
use policy::Origin;

use crate::cgroup::Cgroup;
use crate::gate::Gate;
use crate::pins::Pins;
use crate::raw_map::RawMap;
use crate::seed::{self, Seeded, keep, stranger};
use crate::{Error, procfs};
use layout::{ProgramLayout, RecordLayout};

/// Processes can fork while the older gate is read; two rounds without anything new are enough.
const ROUNDS_MAX: usize = 5;
/// Programs that a gate may see between the moment in which its count is read and the moment in which it
/// is removed. More would only mix up names.
const COUNT_MARGIN: u32 = 1 << 12;

/// The maps of an older gate, which still guards.
pub struct Older {
    processes: RawMap,
    record: RecordLayout,
    programs: Option<(RawMap, ProgramLayout)>,
    /// Where the count of programs is.
    folder: PathBuf,
}

/// Whether there is a gate of another layout, and what can be read of it.
pub enum Found {
    /// None is there.
    Nothing,
    /// It can be read.
    Readable(Box<Older>),
    /// It cannot be read.
    Unreadable,
}

impl Older {
    /// Looks for maps of another layout below the pins. Of several, those with the highest number.
    pub fn find(pins: &Pins) -> Found {
        let folders = folders(pins);
        if folders.is_empty() {
            return Found::Nothing;
        }
        let older = folders.iter().find_map(|folder| Self::open(folder));
        older.map_or(Found::Unreadable, |older| Found::Readable(Box::new(older)))
    }

    fn open(folder: &Path) -> Option<Self> {
        let processes = RawMap::open(&folder.join("processes")).ok()?;
        let types = processes.types().ok()?;
        let record = RecordLayout::of(&types, processes.key_and_value_type().1)?;
        let programs = RawMap::open(&folder.join("programs")).ok();
        let programs = programs.and_then(|map| {
            let (key, value) = map.key_and_value_type();
            let layout = ProgramLayout::of(&map.types().ok()?, key, value)?;
            Some((map, layout))
        });
        Some(Self {
            processes,
            record,
            programs,
            folder: folder.to_owned(),
        })
    }

    /// Has the new gate count programs from behind where the older one is, so that a number keeps its
    /// meaning. Before the new gate sees its first program.
    ///
    /// # Errors
    ///
    /// When the new gate's map cannot be written.
    pub fn carry_counts(&self, gate: &mut Gate) -> Result<(), Error> {
        gate.count_programs_behind(&self.folder.join("programs_seen"), COUNT_MARGIN)
    }

    /// Carries names and processes over. The new gate's hooks see every fork, exec and exit already.
    ///
    /// # Errors
    ///
    /// When the new gate's maps cannot be written.
    pub fn carry(&self, gate: &mut Gate, cgroup: &Cgroup) -> Result<Seeded, Error> {
        if let Some((map, layout)) = &self.programs {
            for key in map.keys() {
                let entry = map.value(&key);
                if let Some((key, entry)) = entry.and_then(|entry| layout.read(&key, &entry)) {
                    gate.remember_program(&key, &entry)?;
                }
            }
        }
        let mut seeded = Seeded::default();
        let (mut carried, mut foreign) = (Vec::new(), Vec::new());
        let mut left_out = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let mut fresh: Vec<_> = procfs::all()
                .into_iter()
                .filter(|pid| !left_out.contains(pid) && gate.process(*pid).is_none())
                .map(|pid| (pid, self.process(pid)))
                .collect();
            if fresh.is_empty() {
                break;
            }
            let is_foreign = |record: &ProcessRecord| record.standing().origin == Origin::Foreign;
            // A full table must not leave out whoever may do something.
            fresh.sort_by_key(|(pid, record)| (record.as_ref().is_none_or(is_foreign), *pid));
            for (pid, record) in fresh {
                let is_known = record.is_some();
                let record = record.unwrap_or_else(stranger);
                match keep(gate, pid, &record)? {
                    Some(true) => carried.push(pid),
                    Some(false) => continue,
                    None => {
                        left_out.insert(pid);
                        seeded.without_room += 1;
                    }
                }
                seeded.carried += u32::from(is_known);
                seeded.processes += 1;
                if is_foreign(&record) {
                    seeded.foreign += 1;
                    foreign.push(pid);
                }
            }
        }
        self.carry_late_marks(gate, &carried)?;
        if !self.record.knows_services() {
            seeded.foreign -= seed::judge_services(gate, cgroup, &foreign)?;
        }
        Ok(seeded)
    }

    fn process(&self, pid: u32) -> Option<ProcessRecord> {
        self.record.read(&self.processes.value(&pid.to_ne_bytes())?)
    }

    /// Somebody may have reached into a process after its record was read and before the new gate knew
    /// the process.
    fn carry_late_marks(&self, gate: &mut Gate, carried: &[u32]) -> Result<(), Error> {
        for pid in carried {
            let (Some(older), Some(newer)) = (self.process(*pid), gate.process(*pid)) else {
                continue;
            };
            let marks = older.standing().tampered.with(newer.standing().tampered);
            if marks != newer.standing().tampered {
                gate.mark_process(*pid, marks)?;
            }
        }
        Ok(())
    }
}

/// Folders of maps with other layouts, highest number first.
fn folders(pins: &Pins) -> Vec<PathBuf> {
    let entries = fs::read_dir(pins.base()).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let layout = name.to_str()?.strip_prefix("maps-")?.parse().ok()?;
            (layout != abi::LAYOUT).then(|| (layout, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}
