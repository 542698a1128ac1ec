//! Registrations are taken back: in the kernel first. What the disk does not take then is
//! remembered as a tombstone and written later.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use linux::gate::{Gate, Registered};
use linux::identity;
use policy::{Kind, Role};

use super::{Entry, Registry};
use crate::store::Stored;

/// A registration that does not count any more.
#[derive(Debug)]
pub struct Revocation {
    /// The program's path.
    pub path: String,
    /// How many of its processes lost their role.
    pub processes: usize,
    /// Why the file of registrations still has it.
    pub unsaved: Option<anyhow::Error>,
}

impl Revocation {
    /// For the journal and for people.
    pub fn words(&self) -> String {
        let running = match self.processes {
            0 => String::new(),
            1 => "; 1 process that runs it lost its role".to_owned(),
            count => format!("; {count} processes that run it lost their role"),
        };
        format!("{} is not registered any more{running}", self.path)
    }

    /// The error when the file still has it. `next` says what becomes of it.
    pub fn complaint(&self, next: &str) -> Option<anyhow::Error> {
        let why = self.unsaved.as_ref()?;
        Some(anyhow!(
            "{}: revoked in the running gate, but not on disk: {why:#}; {next}",
            self.path
        ))
    }
}

impl Registry {
    /// Takes a registration back, in the gate first. `path` may be the path as registered or one
    /// that leads to it.
    ///
    /// # Errors
    ///
    /// When nothing is registered there, or the gate does not let go of it. Where there is no
    /// gate, also when the disk does not take it.
    pub fn unregister(&mut self, path: &Path, mut gate: Option<&mut Gate>) -> Result<Revocation> {
        let wanted = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_it = |known: &str| Path::new(known) == wanted || Path::new(known) == path;
        let has_gate = gate.is_some();
        let at = self
            .entries
            .iter()
            .position(|entry| is_it(&entry.stored.path));
        let (path, processes) = if let Some(at) = at {
            let taken = self.take_out(at, gate.as_deref_mut())?;
            (taken.stored.path, taken.processes)
        } else if let Some(path) = self.tombstones.iter().find(|path| is_it(path)) {
            (path.clone(), 0)
        } else if self.store.is_refused()
            && let Some(gate) = gate
            && let Some(stray) = stray(gate, &wanted)
        {
            // The file is not believed, but a gate that an earlier daemon left still has it.
            let path = wanted.display().to_string();
            let processes = gate.revoke(&path, &stray)?;
            (path, processes)
        } else {
            bail!(
                "{}: not registered (`sekimori programs` lists what is)",
                path.display()
            );
        };
        match self.save(&self.kept()).err() {
            Some(error) if !has_gate => Err(error.context(format!("{path}: is still registered"))),
            unsaved => Ok(Revocation {
                path,
                processes,
                unsaved,
            }),
        }
    }

    /// Paths of programs that lost their registration, which the file still has.
    pub fn tombstones(&self) -> &[String] {
        &self.tombstones
    }

    /// Takes an entry out of the gate and the list. The file still has it.
    pub(super) fn take_out(&mut self, at: usize, gate: Option<&mut Gate>) -> Result<Taken> {
        let entry = &self.entries[at];
        let processes = match gate {
            Some(gate) => gate.revoke(&entry.stored.path, &entry.for_gate())?,
            None => 0,
        };
        let Entry { stored, .. } = self.entries.remove(at);
        self.tombstones.push(stored.path.clone());
        Ok(Taken { stored, processes })
    }
}

/// An entry that was taken out.
pub(super) struct Taken {
    pub(super) stored: Stored,
    processes: usize,
}

/// What the gate holds of the file at this path.
fn stray(gate: &Gate, path: &Path) -> Option<Registered> {
    let stamp = identity::stamp(path).ok()?;
    let text = path.to_str()?;
    let (found, script_paths) = match gate.registration(stamp.device, stamp.inode) {
        Some(found) => (found, Vec::new()),
        None => (gate.script(text)?, vec![text.to_owned()]),
    };
    Some(Registered {
        role: Role::from_code(found.role).word().to_owned(),
        kind: Kind::from_code(found.kind).word().to_owned(),
        script_paths,
        device: stamp.device,
        inode: stamp.inode,
        changed_ns: stamp.changed_ns,
        suspended: false,
        rights: found.rights,
        name: found.name,
        shell: found.shell,
    })
}
