//! The registered programs.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::{Error, Journal};

/// A registered program, as it was identified when it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Absolute path.
    pub path: String,
    /// The word of its role.
    pub role: String,
    /// The word of its kind.
    pub kind: String,
    /// It is a `#!` script.
    pub script: bool,
    /// Device, in the kernel's own encoding (major << 20 | minor).
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, nanoseconds since 1970.
    pub changed_ns: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// It and every folder above it belong to root and only root may write there.
    pub root_owned: bool,
    /// When it was registered, nanoseconds since 1970.
    pub registered_ns: u64,
}

const COLUMNS: &str =
    "path, role, kind, script, device, inode, changed_ns, sha256, root_owned, registered_ns";

impl Journal {
    /// Registers a program, or replaces its registration.
    pub fn register(&mut self, program: &Registered) -> Result<(), Error> {
        self.write(|connection| insert(connection, program))?;
        if let Some(known) = &mut self.programs {
            known.insert(program.path.clone(), program.clone());
        }
        Ok(())
    }

    /// Forgets a program. Whether there was one.
    pub fn unregister(&mut self, path: &str) -> Result<bool, Error> {
        let rows = self.write(|connection| {
            connection.execute("DELETE FROM programs WHERE path = ?1", [path])
        })?;
        if let Some(known) = &mut self.programs {
            known.remove(path);
        }
        Ok(rows > 0)
    }

    /// Makes these the registered programs, in one transaction.
    pub(crate) fn register_only(
        &mut self,
        programs: BTreeMap<String, Registered>,
    ) -> Result<(), Error> {
        if self.programs.as_ref() == Some(&programs) {
            return Ok(());
        }
        self.write(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM programs", [])?;
            for program in programs.values() {
                insert(&transaction, program)?;
            }
            transaction.commit()
        })?;
        self.programs = Some(programs);
        Ok(())
    }

    /// All registered programs, by path.
    pub fn registrations(&self) -> Result<Vec<Registered>, Error> {
        let query = format!("SELECT {COLUMNS} FROM programs ORDER BY path");
        let mut statement = self
            .connection
            .prepare(&query)
            .map_err(|source| self.sqlite(source))?;
        let rows = statement
            .query_map([], read)
            .map_err(|source| self.sqlite(source))?;
        rows.collect::<Result<_, _>>()
            .map_err(|source| self.sqlite(source))
    }
}

fn insert(connection: &Connection, program: &Registered) -> rusqlite::Result<()> {
    connection.execute(
        &format!("INSERT OR REPLACE INTO programs ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"),
        params![
            program.path,
            program.role,
            program.kind,
            program.script,
            program.device,
            // SQLite's integers are signed; the bits are kept (inode numbers of
            // stacked file systems use the highest one).
            program.inode as i64,
            program.changed_ns as i64,
            program.sha256,
            program.root_owned,
            program.registered_ns as i64,
        ],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Registered> {
    Ok(Registered {
        path: row.get(0)?,
        role: row.get(1)?,
        kind: row.get(2)?,
        script: row.get(3)?,
        device: row.get(4)?,
        inode: row.get::<_, i64>(5)? as u64,
        changed_ns: row.get::<_, i64>(6)? as u64,
        sha256: row.get(7)?,
        root_owned: row.get(8)?,
        registered_ns: row.get::<_, i64>(9)? as u64,
    })
}
