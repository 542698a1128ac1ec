//! The gate as it is pinned: settings, registrations, the process table, counters, events.

mod registered;
mod ring;
mod seat;

use std::path::Path;

use abi::{
    CodeLook, Counter, FOLD_NS, Fold, Interest, ProcessRecord, ProgramEntry, ProgramKey,
    Registration, RegistrationKey, SCRIPT_PATH_BYTES, ScriptKey, Seat, Seated, Settings,
    VerdictEvent,
};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use bytemuck::{AnyBitPattern, NoUninit};
use policy::Tamper;

use crate::Error;
use crate::misses::Counted;
use crate::pins::Pins;

pub use registered::Registered;
pub use ring::{Events, Ring};

// aya takes plain bytes as keys and values; casting to the shared structs happens here and
// nowhere else, without unsafe code.
type Bytes<T> = <T as Plain>::Bytes;

/// A struct of `abi` with its size as a type.
trait Plain: NoUninit + AnyBitPattern {
    type Bytes: aya::Pod + NoUninit + AnyBitPattern;
}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {$(
        impl Plain for $name {
            type Bytes = [u8; size_of::<$name>()];
        }
    )*};
}

plain!(
    Settings,
    ProcessRecord,
    ProgramKey,
    Registration,
    RegistrationKey,
    ScriptKey,
    Interest,
    CodeLook,
    Fold,
    Seat,
    Seated
);

/// The pinned gate.
pub struct Gate {
    pins: Pins,
    settings: Array<MapData, Bytes<Settings>>,
    processes: HashMap<MapData, u32, Bytes<ProcessRecord>>,
    registrations: HashMap<MapData, Bytes<RegistrationKey>, Bytes<Registration>>,
    scripts: HashMap<MapData, Bytes<ScriptKey>, Bytes<Registration>>,
    pub(crate) roots_scripts: HashMap<MapData, [u8; SCRIPT_PATH_BYTES], u32>,
    programs: HashMap<MapData, Bytes<ProgramKey>, [u8; size_of::<ProgramEntry>()]>,
    counters: PerCpuArray<MapData, u64>,
    interests: HashMap<MapData, u64, Bytes<Interest>>,
    folds: HashMap<MapData, u64, Bytes<Fold>>,
    code_seen: HashMap<MapData, u32, Bytes<CodeLook>>,
    spoiled: HashMap<MapData, u32, u64>,
    last_spoiled: Array<MapData, u64>,
    counted: Counted,
    seat: Array<MapData, Bytes<Seat>>,
    seated: HashMap<MapData, u32, Bytes<Seated>>,
}

fn map(pins: &Pins, name: &str) -> Result<Map, Error> {
    let path = pins.map(name);
    let data = MapData::from_pin(&path).map_err(|error| Error::failed(path.display(), &error))?;
    Map::from_map_data(data).map_err(|error| Error::failed(path.display(), &error))
}

fn typed<T: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<T, Error> {
    T::try_from(map(pins, name)?).map_err(|error| Error::failed(pins.map(name).display(), &error))
}

/// What became of an entry that may be gone already.
fn removed(map: &str, result: Result<(), MapError>) -> Result<(), Error> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other.map_err(|error| Error::failed(map, &error)),
    }
}

impl Gate {
    /// Opens what is pinned.
    ///
    /// # Errors
    ///
    /// When a map is missing or of another shape.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            pins: pins.clone(),
            settings: typed(pins, "settings")?,
            processes: typed(pins, "processes")?,
            registrations: typed(pins, "registrations")?,
            scripts: typed(pins, "scripts")?,
            roots_scripts: typed(pins, "roots_scripts")?,
            programs: typed(pins, "programs")?,
            counters: typed(pins, "counters")?,
            interests: typed(pins, "interests")?,
            folds: typed(pins, "folds")?,
            code_seen: typed(pins, "code_seen")?,
            spoiled: typed(pins, "spoiled")?,
            last_spoiled: typed(pins, "last_spoiled")?,
            counted: Counted::open(&pins.link_folders()),
            seat: typed(pins, "seat")?,
            seated: typed(pins, "seated")?,
        })
    }

    /// The ring buffer of events, to be handed to the one process that reads it.
    ///
    /// # Errors
    ///
    /// When the map is missing.
    pub fn events(&self) -> Result<Ring, Error> {
        Ring::open(&self.pins, "events")
    }

    /// The ring buffer in which the kernel asks for looks at the code of mailers, to be read here.
    ///
    /// # Errors
    ///
    /// When the map is missing.
    pub fn code(&self) -> Result<Events, Error> {
        Events::of_map(map(&self.pins, "code")?)
    }

    /// The ring buffer of samples, likewise.
    ///
    /// # Errors
    ///
    /// When the map is missing.
    pub fn samples(&self) -> Result<Ring, Error> {
        Ring::open(&self.pins, "samples")
    }

    /// Says what is wanted of a sampled connection from now on.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn set_interest(&mut self, cookie: u64, interest: &Interest) -> Result<(), Error> {
        let bytes: Bytes<Interest> = bytemuck::cast(*interest);
        self.interests
            .insert(cookie, bytes, 0)
            .map_err(|error| Error::failed("map interests", &error))
    }

    /// What is known of sampled connections, by socket cookie.
    pub fn interests(&self) -> impl Iterator<Item = (u64, Interest)> + '_ {
        self.interests
            .iter()
            .filter_map(Result::ok)
            .map(|(cookie, bytes)| (cookie, bytemuck::cast(bytes)))
    }

    /// Takes out refusals that were counted and have come to rest: at most `limit` events, each with
    /// its count. Also whether others are still being counted, or are left.
    pub fn take_folds(&mut self, now_ns: u64, limit: usize) -> (Vec<VerdictEvent>, bool) {
        let (mut taken, mut resting, mut left) = (Vec::new(), Vec::new(), false);
        for (key, value) in self.folds.iter().filter_map(Result::ok) {
            if taken.len() >= limit {
                left = true;
                break;
            }
            let fold: Fold = bytemuck::cast(value);
            // What counts on is told by the kernel. One without a tag is being written.
            let rests = now_ns.saturating_sub(fold.last_ns) > FOLD_NS;
            if !rests || fold.first.header.tag == 0 {
                left = true;
                continue;
            }
            resting.push(key);
            if fold.count > 0 {
                let mut event = fold.first;
                event.count = u32::try_from(fold.count).unwrap_or(u32::MAX);
                event.header.boot_ns = fold.last_ns;
                taken.push(event);
            }
        }
        for key in resting {
            // One that cannot be removed is gone already.
            let _ = self.folds.remove(&key);
        }
        (taken, left)
    }

    /// The settings in force.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn settings(&self) -> Result<Settings, Error> {
        let bytes = self
            .settings
            .get(&0, 0)
            .map_err(|error| Error::failed("map settings", &error))?;
        Ok(bytemuck::cast(bytes))
    }

    /// Puts settings in force, all at once.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn apply_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        let bytes: Bytes<Settings> = bytemuck::cast(*settings);
        self.settings
            .set(0, bytes, 0)
            .map_err(|error| Error::failed("map settings", &error))
    }

    /// Registers a program, or changes its registration.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn register(&mut self, program: &Registered) -> Result<(), Error> {
        let value: Bytes<Registration> = bytemuck::cast(program.registration());
        if program.script_paths.is_empty() {
            let key: Bytes<RegistrationKey> = bytemuck::cast(program.file());
            return self
                .registrations
                .insert(key, value, 0)
                .map_err(|_| Error::Full("the table of registered files"));
        }
        for script in program.scripts()? {
            let key: Bytes<ScriptKey> = bytemuck::cast(script);
            self.scripts
                .insert(key, value, 0)
                .map_err(|_| Error::Full("the table of registered scripts"))?;
        }
        Ok(())
    }

    /// Takes a registration back. A program that runs already keeps its standing until its
    /// next exec; [`Gate::revoke`] ends that too.
    ///
    /// # Errors
    ///
    /// When a script's path is too long, or the kernel does not remove the entry; not when the
    /// registration is gone already.
    pub fn unregister(&mut self, program: &Registered) -> Result<(), Error> {
        if program.script_paths.is_empty() {
            let key: Bytes<RegistrationKey> = bytemuck::cast(program.file());
            removed("map registrations", self.registrations.remove(&key))?;
        }
        for script in program.scripts()? {
            let key: Bytes<ScriptKey> = bytemuck::cast(script);
            removed("map scripts", self.scripts.remove(&key))?;
        }
        Ok(())
    }

    /// Makes the registrations these and no others. New ones come before old ones go, so a
    /// program that is in both is registered all the time. Returns which of them the gate has no
    /// room for: a program too many must not keep it from closing.
    pub fn replace_registrations(&mut self, programs: &[Registered]) -> Vec<usize> {
        let mut without_room = Vec::new();
        let mut files = Vec::new();
        let mut scripts: Vec<Bytes<ScriptKey>> = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            if self.register(program).is_err() {
                let _ = self.unregister(program);
                without_room.push(index);
                continue;
            }
            if program.script_paths.is_empty() {
                files.push(bytemuck::cast::<_, Bytes<RegistrationKey>>(program.file()));
            }
            let keys = program.scripts().into_iter().flatten();
            scripts.extend(keys.map(bytemuck::cast::<_, Bytes<ScriptKey>>));
        }
        let old: Vec<_> = self
            .registrations
            .keys()
            .filter_map(Result::ok)
            .filter(|key| !files.contains(key))
            .collect();
        for key in old {
            let _ = self.registrations.remove(&key);
        }
        let old: Vec<_> = self
            .scripts
            .keys()
            .filter_map(Result::ok)
            .filter(|key| !scripts.contains(key))
            .collect();
        for key in old {
            let _ = self.scripts.remove(&key);
        }
        // Those that went may have made room.
        without_room.retain(|&index| {
            let failed = self.register(&programs[index]).is_err();
            if failed {
                let _ = self.unregister(&programs[index]);
            }
            failed
        });
        without_room
    }

    /// What a file is registered as in the gate at this moment.
    pub fn registration(&self, device: u32, inode: u64) -> Option<Registration> {
        let key: Bytes<RegistrationKey> = bytemuck::cast(RegistrationKey {
            inode,
            device,
            reserved: 0,
        });
        self.registrations.get(&key, 0).ok().map(bytemuck::cast)
    }

    /// What a script is registered as in the gate at this moment.
    pub fn script(&self, path: &str) -> Option<Registration> {
        let mut key = ScriptKey {
            path: [0; abi::SCRIPT_PATH_BYTES],
        };
        key.path
            .get_mut(..path.len())?
            .copy_from_slice(path.as_bytes());
        let key: Bytes<ScriptKey> = bytemuck::cast(key);
        self.scripts.get(&key, 0).ok().map(bytemuck::cast)
    }

    /// The record of a process.
    pub fn process(&self, pid: u32) -> Option<ProcessRecord> {
        self.processes.get(&pid, 0).ok().map(bytemuck::cast)
    }

    /// All records.
    pub fn processes(&self) -> impl Iterator<Item = (u32, ProcessRecord)> + '_ {
        self.processes
            .iter()
            .filter_map(Result::ok)
            .map(|(pid, bytes)| (pid, bytemuck::cast(bytes)))
    }

    /// Records a process that the hooks have not recorded themselves. Returns whether it was
    /// new.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn record_process(&mut self, pid: u32, record: &ProcessRecord) -> Result<bool, Error> {
        const ONLY_IF_NEW: u64 = 1;
        let bytes: Bytes<ProcessRecord> = bytemuck::cast(*record);
        match self.processes.insert(pid, bytes, ONLY_IF_NEW) {
            Ok(()) => Ok(true),
            Err(_) if self.process(pid).is_some() => Ok(false),
            Err(_) => Err(Error::Full("the process table")),
        }
    }

    /// Adds signs of tampering to the record of a process.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn mark_process(&mut self, pid: u32, signs: policy::Tamper) -> Result<(), Error> {
        const ONLY_IF_THERE: u64 = 2;
        let Some(mut record) = self.process(pid) else {
            return Ok(());
        };
        record.tampered |= signs.0;
        let bytes: Bytes<ProcessRecord> = bytemuck::cast(record);
        match self.processes.insert(pid, bytes, ONLY_IF_THERE) {
            Err(error) if self.process(pid).is_some() => {
                Err(Error::failed("map processes", &error))
            }
            _ => Ok(()),
        }
    }

    /// Has every processor count programs from behind where another gate's map of these counts is,
    /// so that both gates never give one number twice.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn count_programs_behind(&self, other: &Path, margin: u32) -> Result<(), Error> {
        let failed = |error: &dyn std::error::Error| Error::failed("map programs_seen", error);
        let mut own: PerCpuArray<MapData, u32> = typed(&self.pins, "programs_seen")?;
        let other = MapData::from_pin(other)
            .ok()
            .and_then(|data| Map::from_map_data(data).ok())
            .and_then(|map| PerCpuArray::<MapData, u32>::try_from(map).ok())
            .and_then(|map| map.get(&0, 0).ok());
        let current = own.get(&0, 0).map_err(|error| failed(&error))?;
        let counts: Vec<u32> = (0..current.len())
            .map(|processor| {
                let before = other
                    .as_ref()
                    .and_then(|other| other.get(processor))
                    .copied();
                before.unwrap_or(0).wrapping_add(margin)
            })
            .collect();
        let counts = PerCpuValues::try_from(counts).map_err(|error| failed(&error))?;
        own.set(0, counts, 0).map_err(|error| failed(&error))
    }

    /// Puts another record in the place of a process's own. A process that has ended stays
    /// forgotten.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn change_process(&mut self, pid: u32, record: &ProcessRecord) -> Result<(), Error> {
        const ONLY_IF_THERE: u64 = 2;
        let bytes: Bytes<ProcessRecord> = bytemuck::cast(*record);
        removed(
            "map processes",
            self.processes.insert(pid, bytes, ONLY_IF_THERE),
        )
    }

    /// Forgets a process that ended while it was being recorded.
    pub fn forget_process(&mut self, pid: u32) {
        let _ = self.processes.remove(&pid);
    }

    /// The look at a process's code that was asked for at this moment has been taken: what it says need not
    /// wait any longer.
    pub fn looked(&mut self, pid: u32, asked_ns: u64) {
        let Ok(bytes) = self.code_seen.get(&pid, 0) else {
            return;
        };
        let mut look: CodeLook = bytemuck::cast(bytes);
        if look.asked_ns == asked_ns {
            look.taken = 1;
            let bytes: Bytes<CodeLook> = bytemuck::cast(look);
            let _ = self.code_seen.insert(pid, bytes, 0);
        }
    }

    /// Marks a process as one with these signs of tampering, as the kernel does where it notices them: its
    /// grants from before `now_ns`, in nanoseconds since boot, are worth nothing any more.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn spoil(&mut self, pid: u32, signs: Tamper, now_ns: u64) -> Result<(), Error> {
        self.spoiled
            .insert(pid, now_ns, 0)
            .map_err(|error| Error::failed("map spoiled", &error))?;
        self.last_spoiled
            .set(0, now_ns, 0)
            .map_err(|error| Error::failed("map last_spoiled", &error))?;
        let Some(mut record) = self.process(pid) else {
            return Ok(());
        };
        record.tampered |= signs.0;
        let bytes: Bytes<ProcessRecord> = bytemuck::cast(record);
        // Not a record for a process that has ended meanwhile. One that calls exec at this moment may
        // have its older record again, with the mark, which permits nothing.
        const ONLY_IF_THERE: u64 = 2;
        let _ = self.processes.insert(pid, bytes, ONLY_IF_THERE);
        Ok(())
    }

    /// A program that was seen, by its identity.
    pub fn program(&self, key: &ProgramKey) -> Option<ProgramEntry> {
        let key: Bytes<ProgramKey> = bytemuck::cast(*key);
        let bytes = self.programs.get(&key, 0).ok()?;
        Some(bytemuck::pod_read_unaligned(&bytes))
    }

    /// Keeps a program's name under an index of user space.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn remember_program(
        &mut self,
        key: &ProgramKey,
        entry: &ProgramEntry,
    ) -> Result<(), Error> {
        let key: Bytes<ProgramKey> = bytemuck::cast(*key);
        let mut bytes = [0; size_of::<ProgramEntry>()];
        bytes.copy_from_slice(bytemuck::bytes_of(entry));
        self.programs
            .insert(key, bytes, 0)
            .map_err(|error| Error::failed("map programs", &error))
    }

    /// Every program that was seen.
    pub fn programs(&self) -> impl Iterator<Item = ProgramEntry> + '_ {
        self.programs
            .iter()
            .filter_map(Result::ok)
            .map(|(_, bytes)| bytemuck::pod_read_unaligned(&bytes))
    }

    /// The same, without the first so many. Their order stays the same until another is seen.
    pub fn programs_from(
        &self,
        skip: usize,
    ) -> impl Iterator<Item = (ProgramKey, ProgramEntry)> + '_ {
        let keys = self.programs.keys().filter_map(Result::ok).skip(skip);
        keys.filter_map(|key| {
            let entry = bytemuck::pod_read_unaligned(&self.programs.get(&key, 0).ok()?);
            Some((bytemuck::cast(key), entry))
        })
    }

    /// A counter, summed over all CPUs.
    pub fn counter(&self, counter: Counter) -> u64 {
        if counter == Counter::RecursionMisses {
            return self.counted.misses();
        }
        self.counters
            .get(&(counter as u32), 0)
            .map_or(0, |values| values.iter().sum())
    }

    /// Where it is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }
}
