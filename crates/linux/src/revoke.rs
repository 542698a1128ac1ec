//! A registration is taken back, and the program's running processes lose what it gave them.

use abi::{ProcessRecord, ProgramEntry, ProgramKey};
use policy::{Origin, Role};

use crate::Error;
use crate::gate::{Gate, Registered};
use crate::programs::display_here;

impl Gate {
    /// Takes a registration back, at once and for the processes too that run the program at
    /// `path` already. Returns how many processes lost their role.
    ///
    /// Parts of the machine (role `system`) keep running as what they are: the first process
    /// cannot be started anew, and whatever it starts from now on is judged by its new standing
    /// at the next boot.
    ///
    /// # Errors
    ///
    /// When the kernel does not remove the entry.
    pub fn revoke(&mut self, path: &str, program: &Registered) -> Result<usize, Error> {
        self.unregister(program)?;
        let is_it = |key: &ProgramKey, entry: &ProgramEntry| {
            if program.script_paths.is_empty() {
                // An older file of this path may still run.
                (key.device, key.inode) == (program.device, program.inode) && key.script == 0
                    || display_here(key, entry.path) == *path
            } else {
                let script = text(&entry.path.script);
                program
                    .script_paths
                    .iter()
                    .any(|path| path.as_bytes() == script)
            }
        };
        let indexes: Vec<u32> = self
            .programs_from(0)
            .filter(|(key, entry)| is_it(key, entry))
            .map(|(_, entry)| entry.index)
            .collect();
        let running: Vec<(u32, ProcessRecord)> = self
            .processes()
            .filter(|(_, record)| indexes.contains(&record.program))
            .filter_map(|(pid, record)| Some((pid, without_role(pid, &record)?)))
            .collect();
        for (pid, record) in &running {
            self.change_process(*pid, record)?;
        }
        Ok(running.len())
    }
}

/// The record of a process whose program counts as unknown from now on, as if it were started
/// now. None where nothing changes.
fn without_role(pid: u32, record: &ProcessRecord) -> Option<ProcessRecord> {
    let standing = record.standing();
    if matches!(standing.role, Role::Unknown | Role::System) {
        return None;
    }
    let mut after = *record;
    after.role = Role::Unknown as u8;
    after.vouched = 0;
    after.rights = 0;
    after.changed = 0;
    if standing.origin != Origin::Foreign {
        after.origin = Origin::Foreign as u8;
        after.culprit = record.program;
        after.culprit_pid = pid;
    }
    Some(after)
}

fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use policy::{Kind, Rights, Standing, Tamper};

    use super::*;

    #[test]
    fn a_revoked_program_counts_as_unknown() {
        let standing = |role, origin| Standing {
            origin,
            role,
            kind: Kind::Batch,
            vouched: true,
            changed: false,
            activated: false,
            rights: Rights::NONE,
            tampered: Tamper::NONE,
        };
        let after = |role, origin| {
            let mut record = ProcessRecord::of(&standing(role, origin));
            record.program = 7;
            without_role(9, &record)
        };
        let mailer = after(Role::Mailer, Origin::User).unwrap();
        assert_eq!(
            mailer.standing(),
            Standing {
                vouched: false,
                ..standing(Role::Unknown, Origin::Foreign)
            }
        );
        assert_eq!((mailer.culprit, mailer.culprit_pid), (7, 9));
        // Who made it foreign before stays the culprit.
        assert_eq!(after(Role::Mailer, Origin::Foreign).unwrap().culprit, 0);
        assert_eq!(after(Role::System, Origin::System), None);
        assert_eq!(after(Role::Unknown, Origin::Foreign), None);
    }
}
