//! What the gate is told of a registered program.

use abi::{Registration, RegistrationKey, ScriptKey};
use policy::{Kind, Role};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A registered program, as the gate is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Word of the [`Role`].
    pub role: String,
    /// Word of the [`Kind`].
    pub kind: String,
    /// Every path that callers may write for it, when it is a script; else empty.
    pub script_paths: Vec<String>,
    /// Device in the kernel's own encoding.
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time in nanoseconds since 1970.
    pub changed_ns: u64,
    /// The file changed and waits to be verified again.
    pub suspended: bool,
    /// What rules let it do: the bits of [`policy::Rights`].
    pub rights: u8,
    /// The beginning of its file's name; see [`policy::name_of`].
    pub name: [u8; 8],
    /// Of a script, the shell that may be handed it; see [`crate::identity::Program::shell`].
    pub shell: [u8; 8],
}

impl Registered {
    pub(super) fn registration(&self) -> Registration {
        let role = Role::from_word(&self.role).unwrap_or(Role::Unknown);
        let kind = Kind::from_word(&self.kind).unwrap_or(Kind::Batch);
        let is_script = !self.script_paths.is_empty();
        let known = match kind {
            Kind::Scheduled => Kind::Interactive,
            kind => kind,
        };
        Registration {
            changed_ns: if is_script { 0 } else { self.changed_ns },
            role: role as u8,
            kind: known as u8,
            suspended: self.suspended.into(),
            scheduled: (kind == Kind::Scheduled).into(),
            rights: self.rights,
            reserved: [0; 3],
            name: self.name,
            shell: self.shell,
        }
    }

    pub(super) fn scripts(&self) -> Result<Vec<ScriptKey>, Error> {
        self.script_paths
            .iter()
            .map(|path| {
                let mut key = ScriptKey {
                    path: [0; abi::SCRIPT_PATH_BYTES],
                };
                // One byte stays zero: the kernel cuts longer paths and never matches them.
                if path.len() >= key.path.len() {
                    return Err(Error::Failed(format!(
                        "{path}: too long for a registered script"
                    )));
                }
                key.path[..path.len()].copy_from_slice(path.as_bytes());
                Ok(key)
            })
            .collect()
    }

    pub(super) fn file(&self) -> RegistrationKey {
        RegistrationKey {
            inode: self.inode,
            device: self.device,
            reserved: 0,
        }
    }
}
