//! The registered programs: how they get from the disk into the gate, and what happens when a
//! file changes.
//!
//! A file that root owns, in folders that root owns, is accepted again by itself after a
//! change, because only the machine's own updates can have changed it. So is any file whose
//! contents are still the same. Everything else waits for the user, and counts as changed
//! until then.
//!
//! Whatever takes a right away reaches the kernel first and the disk second; whatever gives one
//! reaches the disk first. So a disk that is full keeps nobody's right alive, and no program
//! has a right that the next start would not know.

mod revoked;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use guard::unsuitable;
use linux::gate::{Gate, Registered};
use linux::identity::{self, Program};
use policy::{Kind, Rights, Role};

use crate::keeper::looker::FileFound;
use crate::paths::Paths;
use crate::store::{Store, Stored};

/// One registered program.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file as it lies there now.
    pub stored: Stored,
    /// As it is kept on disk: the file that was registered or accepted. A changed one must be
    /// found again by the next daemon.
    kept: Stored,
    /// Every path that callers may write for it, when it is a script.
    pub script_paths: Vec<String>,
    /// The shell that may be handed the script; see [`identity::Program::shell`].
    shell: [u8; 8],
    /// Its file changed and was not accepted.
    pub suspended: bool,
}

impl Entry {
    fn new(stored: Stored) -> Self {
        Self {
            kept: stored.clone(),
            stored,
            script_paths: Vec::new(),
            shell: [0; 8],
            suspended: false,
        }
    }

    /// As the gate is told.
    pub fn for_gate(&self) -> Registered {
        Registered {
            role: self.stored.role.clone(),
            kind: self.stored.kind.clone(),
            script_paths: self.script_paths.clone(),
            device: self.stored.device,
            inode: self.stored.inode,
            changed_ns: self.stored.changed_ns,
            suspended: self.suspended,
            rights: rights_of(&self.stored).0,
            name: Path::new(&self.stored.path)
                .file_name()
                .map(|name| policy::name_of(name.as_encoded_bytes()))
                .unwrap_or_default(),
            shell: self.shell,
        }
    }

    fn is_at(&self, stamp: identity::Stamp) -> bool {
        (
            self.stored.device,
            self.stored.inode,
            self.stored.changed_ns,
        ) == (stamp.device, stamp.inode, stamp.changed_ns)
    }

    fn adopt(&mut self, program: &Program) {
        self.stored.device = program.device;
        self.stored.inode = program.inode;
        self.stored.changed_ns = program.changed_ns;
        self.stored.sha256.clone_from(&program.sha256);
        self.stored.root_owned = program.root_owned;
        self.stored.script = program.script.is_some();
        self.script_paths = script_paths(program);
        self.shell = program.shell;
    }

    fn accept(&mut self) {
        self.suspended = false;
        self.kept.clone_from(&self.stored);
    }
}

/// Where programs look for what takes the machine's mail.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// Mailers that stand in for it on a machine without a mail server, and connect while their caller waits. One
/// that keeps mail to send it later (dma) is none of them: whoever may start it would send with it. It is
/// registered as a service, which asks who hands it mail.
const SENDERS: [&str; 3] = ["msmtp", "ssmtp", "esmtp"];

/// What a rule lets a program do. There is one rule so far: what root's own files hand to the machine's
/// `sendmail` leaves the machine, where that is a mailer of root's that sends at once.
fn rights_of(stored: &Stored) -> Rights {
    let path = Path::new(&stored.path);
    let is_batch = stored.role == Role::Mailer.word() && stored.kind == Kind::Batch.word();
    let is_sender = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| SENDERS.contains(&name));
    if !is_batch || !is_sender || !stored.root_owned {
        return Rights::NONE;
    }
    let is_sendmail = identity::roots_all_the_way(Path::new(SENDMAIL))
        && identity::stamp(Path::new(SENDMAIL))
            .is_ok_and(|stamp| (stamp.device, stamp.inode) == (stored.device, stored.inode));
    if is_sendmail {
        Rights::OUTSIDE
    } else {
        Rights::NONE
    }
}

/// All of them, and where they are kept.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    store: Store,
    /// Paths of programs that lost their registration, which the file still has.
    tombstones: Vec<String>,
}

impl Registry {
    /// Reads the registered programs. Files that are not what they were count as changed
    /// until [`Registry::verify`] has looked at them: nothing is hashed here, so that the
    /// gate can close at once. Also returns what people have to know.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(paths: &Paths) -> Result<(Self, Vec<String>)> {
        let (store, found) = Store::open(paths)?;
        let entries = entries(found.programs);
        let registry = Self {
            entries,
            store,
            tombstones: Vec::new(),
        };
        Ok((registry, found.said))
    }

    /// Where they are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the disk has not taken everything yet.
    pub fn is_unsaved(&self) -> bool {
        self.store.is_unsaved()
    }

    /// Tries once more to write what the disk did not take. Whether it did now.
    pub fn save_again(&mut self) -> bool {
        self.store.is_unsaved() && self.save(&self.kept()).is_ok()
    }

    /// The programs.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the program that is registered at this path stands among them.
    pub fn position(&self, path: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.stored.path == path)
    }

    /// What the gate is told.
    pub fn for_gate(&self) -> Vec<Registered> {
        self.entries.iter().map(Entry::for_gate).collect()
    }

    fn kept(&self) -> Vec<Stored> {
        self.entries
            .iter()
            .map(|entry| entry.kept.clone())
            .collect()
    }

    fn save(&mut self, programs: &[Stored]) -> Result<()> {
        self.store.save(programs)?;
        self.tombstones.clear();
        Ok(())
    }

    /// Registers the program at `path`: on disk, then in the gate, when there is one. Returns the
    /// registration.
    ///
    /// Where the program has another role or kind already, that one is revoked first, and stays
    /// revoked when the disk does not take the new one.
    ///
    /// # Errors
    ///
    /// One line that names the path and what is wrong with it.
    pub fn register(
        &mut self,
        path: &Path,
        as_what: (Role, Kind),
        force: bool,
        now_ns: u64,
        gate: Option<&mut Gate>,
    ) -> Result<Stored> {
        let found = identity::identify_still(path);
        self.register_found(path, found, as_what, force, now_ns, gate)
    }

    /// The same when [`identity::identify_still`] has already looked at the path, which may take
    /// long.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn register_found(
        &mut self,
        path: &Path,
        found: Result<Program, identity::Error>,
        (role, kind): (Role, Kind),
        force: bool,
        now_ns: u64,
        mut gate: Option<&mut Gate>,
    ) -> Result<Stored> {
        let entry = identified(path, found, (role, kind), force, now_ns)?;
        let path = entry.stored.path.clone();
        let other = self.entries.iter().position(|old| {
            let (old, new) = (&old.stored, &entry.stored);
            old.path == path && (&old.role, &old.kind) != (&new.role, &new.kind)
        });
        let Some(other) = other else {
            return self.put(entry, gate);
        };
        let old = self.take_out(other, gate.as_deref_mut())?.stored;
        self.put(entry, gate).map_err(|error| {
            // Whatever was wrong with the new registration, the old one is no more.
            let saved = self.save(&self.kept());
            let error = error.context(format!(
                "{path}: is not registered as {} ({}) any more, and not as {} ({}) either",
                old.role,
                old.kind,
                role.word(),
                kind.word()
            ));
            match saved {
                Ok(()) => error,
                Err(_) => error.context("the old registration comes back at the next start"),
            }
        })
    }

    /// Adds an entry, or puts it in the place of one with the same path, role and kind.
    fn put(&mut self, entry: Entry, mut gate: Option<&mut Gate>) -> Result<Stored> {
        let path = &entry.stored.path;
        let mut kept = self.kept();
        kept.retain(|old| old.path != *path);
        kept.push(entry.kept.clone());
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        let old = self.position(path).map(|at| self.entries[at].for_gate());
        let new = entry.for_gate();
        let is_place_taken = old.as_ref().is_some_and(|old| is_same_place(old, &new));
        // What the gate has no room for must not wait on the disk for the next start: so a place
        // is taken first, in which the program may nothing.
        if let Some(gate) = gate.as_deref_mut()
            && !is_place_taken
        {
            let waiting = Registered {
                suspended: true,
                ..new.clone()
            };
            if let Err(error) = gate.register(&waiting) {
                give_back(gate, &new, old.as_ref())?;
                return Err(error.into());
            }
        }
        if let Err(error) = self.save(&kept) {
            if let Some(gate) = gate
                && !is_place_taken
            {
                give_back(gate, &new, old.as_ref())?;
            }
            return Err(error);
        }
        let stored = entry.stored.clone();
        self.entries.retain(|old| old.stored.path != stored.path);
        self.entries.push(entry);
        self.entries
            .sort_by(|a, b| a.stored.path.cmp(&b.stored.path));
        if let Some(gate) = gate {
            exchange(gate, old.as_ref(), &new)?;
        }
        Ok(stored)
    }

    /// Takes what a look at a program's file has found. Returns one sentence when something changed.
    ///
    /// # Errors
    ///
    /// When disk or gate cannot be written.
    pub fn verify(
        &mut self,
        index: usize,
        look: FileFound,
        gate: &mut Gate,
    ) -> Result<Option<String>> {
        let Some(entry) = self.entries.get(index) else {
            return Ok(None);
        };
        let path = entry.stored.path.clone();
        if !entry.suspended && look.stamp.as_ref().is_ok_and(|stamp| entry.is_at(*stamp)) {
            return Ok(None);
        }
        let before = entry.for_gate();
        let was_suspended = entry.suspended;
        let Some(found) = look.program else {
            return Ok(None);
        };
        let found = found.map_err(anyhow::Error::from);
        let found = found.and_then(|program| match self.owner_of(index, &program) {
            None => Ok(program),
            Some(other) => bail!("{path}: is the same file as {other}, which is registered"),
        });
        let Some(entry) = self.entries.get_mut(index) else {
            return Ok(None);
        };
        let (accepted, said) = match found {
            Ok(program) => looked_at_again(entry, &program),
            Err(error) => {
                entry.suspended = true;
                let words = || format!("a registered program is not usable any more: {error:#}");
                (false, (!was_suspended).then(words))
            }
        };
        let after = entry.for_gate();
        // When the disk does not take it, it is tried again, and the next daemon looks anew.
        // The file alone decides whether it is accepted, so the gate need not wait for the disk.
        let was_unsaved = self.is_unsaved();
        let saved = if accepted {
            self.save(&self.kept())
        } else {
            Ok(())
        };
        if before != after {
            exchange(gate, Some(&before), &after)?;
        }
        Ok(match saved {
            Err(error) if !was_unsaved => {
                let said = said.unwrap_or_else(|| format!("{path} was accepted again"));
                Some(format!(
                    "{said}; {error:#}; the daemon tries again every 10 s"
                ))
            }
            _ => said,
        })
    }

    /// The other registered program that is this very file. What somebody puts at a path of his
    /// own must not change what counts for another's.
    fn owner_of(&self, index: usize, program: &Program) -> Option<&str> {
        let file = |entry: &Entry| (entry.stored.device, entry.stored.inode);
        let is_found = |entry: &Entry| file(entry) == (program.device, program.inode);
        if self.entries.get(index).is_some_and(is_found) {
            return None;
        }
        let other = self.entries.iter().find(|entry| is_found(entry));
        other.map(|entry| entry.stored.path.as_str())
    }
}

/// What is registered when `path` is, as it is there now.
fn identified(
    path: &Path,
    found: Result<Program, identity::Error>,
    (role, kind): (Role, Kind),
    force: bool,
    now_ns: u64,
) -> Result<Entry> {
    if role == Role::Unknown {
        bail!(
            "{}: a program cannot be registered as unknown",
            path.display()
        );
    }
    let program = found?;
    let objection = unsuitable::objection(path, role, &program.sha256, &identity::identify);
    if let Some(objection) = &objection
        && !force
    {
        bail!("{}: {objection}", path.display());
    }
    // What an update puts elsewhere is known by the link that root turns.
    let is_moving = program.root_owned
        && identity::moves_with_updates(path)
        && identity::roots_all_the_way(path);
    let reached = if is_moving {
        path
    } else {
        program.path.as_path()
    };
    let text = reached.to_str().context("path is not text")?;
    let mut entry = Entry::new(Stored {
        path: text.to_owned(),
        role: role.word().to_owned(),
        kind: kind.word().to_owned(),
        script: false,
        device: 0,
        inode: 0,
        changed_ns: 0,
        sha256: String::new(),
        root_owned: false,
        registered_ns: now_ns,
        forced: objection.is_some(),
    });
    entry.adopt(&program);
    entry.accept();
    Ok(entry)
}

/// Whether two registrations are the same entries of the gate.
fn is_same_place(one: &Registered, other: &Registered) -> bool {
    (one.device, one.inode, &one.script_paths) == (other.device, other.inode, &other.script_paths)
}

/// Takes out of the gate what a registration that failed has put there.
fn give_back(gate: &mut Gate, new: &Registered, old: Option<&Registered>) -> Result<()> {
    gate.unregister(new)?;
    if let Some(old) = old {
        // What both have went with the new one.
        gate.register(old)?;
    }
    Ok(())
}

/// Puts a registration in another's place. When that fails, what was there is there again. Where
/// both are one entry of the gate it is only overwritten: while it is missing nobody guards it.
fn exchange(gate: &mut Gate, old: Option<&Registered>, new: &Registered) -> Result<()> {
    if let Err(error) = gate.register(new) {
        give_back(gate, new, old)?;
        return Err(error.into());
    }
    if let Some(old) = old
        && !is_same_place(old, new)
    {
        gate.unregister(old)?;
        // What both have went with the old one.
        gate.register(new)?;
    }
    Ok(())
}

fn entries(programs: Vec<Stored>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stored in programs {
        let mut entry = Entry::new(stored);
        let path = Path::new(&entry.stored.path);
        if entry.stored.script {
            match identity::identify_again(path) {
                Ok(program) => {
                    entry.script_paths = script_paths(&program);
                    entry.shell = program.shell;
                }
                Err(_) => entry.suspended = true,
            }
            // Even then the path must lead into the table of scripts, not of files.
            if entry.script_paths.is_empty() {
                entry.script_paths.push(entry.stored.path.clone());
            }
        } else {
            entry.suspended = !identity::stamp_again(path).is_ok_and(|stamp| entry.is_at(stamp));
        }
        entries.push(entry);
    }
    entries
}

/// The registered programs without anything being changed: for commands that only show them.
///
/// # Errors
///
/// When the file cannot be read, or is none of ours.
pub fn peek(paths: &Paths) -> Result<Vec<Entry>> {
    crate::store::peek(paths).map(entries)
}

fn script_paths(program: &Program) -> Vec<String> {
    if program.script.is_none() {
        return Vec::new();
    }
    program
        .spellings()
        .filter_map(Path::to_str)
        .filter(|spelling| spelling.len() < abi::SCRIPT_PATH_BYTES)
        .map(str::to_owned)
        .collect()
}

/// What becomes of a registered program whose file has changed: whether it is accepted, and what to say.
fn looked_at_again(entry: &mut Entry, program: &Program) -> (bool, Option<String>) {
    let path = &entry.stored.path.clone();
    let before = entry.stored.sha256.clone();
    let was_suspended = entry.suspended;
    let same = program.sha256 == before;
    entry.adopt(program);
    if !(program.root_owned || same) {
        // Compared with what was registered, whenever it changes again.
        entry.stored.sha256 = before;
        entry.suspended = true;
        let words = || {
            format!(
                "{path} changed and waits for you: users can write to it (if it was you: sudo sekimori register {path} --as {} --kind {})",
                entry.stored.role, entry.stored.kind
            )
        };
        return (false, (!was_suspended).then(words));
    }
    entry.accept();
    let words = || {
        let why = if same {
            "its contents are the same"
        } else {
            "root owns it and its folders"
        };
        format!(
            "{path} changed and was accepted again: {why} (SHA-256 was {}, is {})",
            short(&before),
            short(&entry.stored.sha256)
        )
    };
    (true, (!same || was_suspended).then(words))
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
