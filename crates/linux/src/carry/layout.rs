//! Where the fields of an older gate's entries lie, by their names.

use abi::{CHAIN_LENGTH, Link, PATH_PARTS, ProcessRecord, ProgramEntry, ProgramKey, ProgramPath};
use policy::Tamper;

use crate::btf::Types;

/// A number of one to eight bytes in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    at: usize,
    bytes: usize,
}

impl Number {
    fn of(types: &Types<'_>, structure: u32, name: &str) -> Option<Self> {
        let (at, target) = types.field(structure, name)?;
        let bytes = types.size(target)?;
        (1..=8).contains(&bytes).then_some(Self { at, bytes })
    }

    fn read(self, entry: &[u8]) -> Option<u64> {
        let found = entry.get(self.at..self.at.checked_add(self.bytes)?)?;
        let mut bytes = [0; 8];
        if cfg!(target_endian = "little") {
            bytes[..self.bytes].copy_from_slice(found);
        } else {
            bytes[8 - self.bytes..].copy_from_slice(found);
        }
        Some(u64::from_ne_bytes(bytes))
    }

    fn short(self, entry: &[u8]) -> Option<u32> {
        self.read(entry)?.try_into().ok()
    }

    /// A code of one byte. None for one that this program cannot know.
    fn code(self, entry: &[u8]) -> Option<u8> {
        self.read(entry)?.try_into().ok()
    }
}

/// An array in an entry: where it begins, and how its elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Array {
    at: usize,
    each: usize,
    count: usize,
    element: u32,
}

impl Array {
    fn of(types: &Types<'_>, structure: u32, name: &str) -> Option<Self> {
        let (at, target) = types.field(structure, name)?;
        let (element, count) = types.array(target)?;
        let each = types.size(element)?;
        (each > 0).then_some(Self {
            at,
            each,
            count,
            element,
        })
    }

    fn get<'a>(&self, entry: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let begin = self.at.checked_add(index.checked_mul(self.each)?)?;
        entry.get(begin..begin.checked_add(self.each)?)
    }

    fn all<'a>(&self, entry: &'a [u8]) -> Option<&'a [u8]> {
        entry.get(self.at..self.at.checked_add(self.each.checked_mul(self.count)?)?)
    }
}

/// Of a process's record.
#[derive(Debug)]
pub struct RecordLayout {
    codes: [Number; 6],
    seeded: Number,
    /// Layouts before 7 do not have it.
    culprit_assumed: Option<Number>,
    /// Layouts before 9 do not have them.
    activated: Option<Number>,
    rights: Option<Number>,
    /// Layouts before 9 do not have these two.
    tampered_by: Option<Number>,
    tampered_flaw: Option<Number>,
    numbers: [Number; 5],
    chain: Array,
    link_numbers: [Number; 2],
    link_codes: [Number; 4],
}

impl RecordLayout {
    /// Finds the fields of the struct with this number. None when one is missing: half of a
    /// record must not pass for a whole one.
    pub fn of(bytes: &[u8], id: u32) -> Option<Self> {
        let types = Types::parse(bytes)?;
        let number = |name| Number::of(&types, id, name);
        let chain = Array::of(&types, id, "chain")?;
        let link = |name| Number::of(&types, chain.element, name);
        (chain.count > 0).then_some(())?;
        Some(Self {
            codes: [
                number("origin")?,
                number("role")?,
                number("kind")?,
                number("tampered")?,
                number("vouched")?,
                number("changed")?,
            ],
            seeded: number("seeded")?,
            culprit_assumed: number("culprit_assumed"),
            activated: number("activated"),
            rights: number("rights"),
            tampered_by: number("tampered_by"),
            tampered_flaw: number("tampered_flaw"),
            numbers: [
                number("program")?,
                number("culprit")?,
                number("culprit_pid")?,
                number("depth")?,
                number("uid")?,
            ],
            chain,
            link_numbers: [link("program")?, link("pid")?],
            link_codes: [
                link("role")?,
                link("origin")?,
                link("kind")?,
                link("seeded")?,
            ],
        })
    }

    /// Whether that gate knew what root's own files do from what is foreign.
    pub const fn knows_services(&self) -> bool {
        self.rights.is_some()
    }

    /// Reads a record. None when it says something that this program cannot know.
    pub fn read(&self, entry: &[u8]) -> Option<ProcessRecord> {
        let [origin, role, kind, tampered, vouched, changed] = self.codes;
        let [program, culprit, culprit_pid, depth, uid] = self.numbers;
        // Signs that this program has no word for are signs all the same.
        let signs = tampered.read(entry)?;
        let signs = u8::try_from(signs).unwrap_or(signs as u8 | Tamper::UNREADABLE.0);
        let optional = |field: Option<Number>| field.map_or(Some(0), |field| field.code(entry));
        let mut record = ProcessRecord {
            origin: origin.code(entry)?,
            role: role.code(entry)?,
            kind: kind.code(entry)?,
            tampered: signs,
            vouched: vouched.code(entry)?,
            changed: changed.code(entry)?,
            seeded: self.seeded.code(entry)?,
            program: program.short(entry)?,
            culprit: culprit.short(entry)?,
            culprit_pid: culprit_pid.short(entry)?,
            depth: depth.short(entry)?,
            uid: uid.short(entry)?,
            activated: optional(self.activated)?,
            rights: optional(self.rights)?,
            ..ProcessRecord::default()
        };
        let kept = self.chain.count.min(record.depth as usize);
        for slot in 0..kept.min(CHAIN_LENGTH) {
            // The newest is the last one, however many are lost before it.
            let is_last = slot == CHAIN_LENGTH - 1;
            let from = if is_last { kept - 1 } else { slot };
            record.chain[slot] = self.link(self.chain.get(entry, from)?)?;
        }
        if kept < CHAIN_LENGTH {
            record.depth = kept as u32;
        }
        if let (Some(by), Some(flaw)) = (self.tampered_by, self.tampered_flaw) {
            record.tampered_by = by.short(entry)?.try_into().ok()?;
            record.tampered_flaw = flaw.code(entry)?;
        }
        record.culprit_assumed = match self.culprit_assumed {
            Some(assumed) => assumed.code(entry)?,
            None => u8::from(culprit_is_seeded(&record)),
        };
        Some(record)
    }

    fn link(&self, link: &[u8]) -> Option<Link> {
        let [program, pid] = self.link_numbers;
        let [role, origin, kind, seeded] = self.link_codes;
        Some(Link {
            program: program.short(link)?,
            pid: pid.short(link)?,
            role: role.code(link)?,
            origin: origin.code(link)?,
            kind: kind.code(link)?,
            seeded: seeded.code(link)?,
        })
    }
}

/// Whether the culprit is older than the gate that recorded it.
fn culprit_is_seeded(record: &ProcessRecord) -> bool {
    record.culprit != 0
        && record.chain.iter().any(|link| {
            link.program == record.culprit && link.pid == record.culprit_pid && link.seeded != 0
        })
}

/// Of a program and its name.
#[derive(Debug)]
pub struct ProgramLayout {
    key: [Number; 4],
    index: Number,
    /// Where the path begins in the entry.
    path: usize,
    parts: Array,
    script: Array,
    filled: Number,
    complete: Number,
    elsewhere: Number,
    /// Layouts before 7 do not have it. They keep the end of a deep path alone.
    hidden: Option<Number>,
}

impl ProgramLayout {
    /// Finds the fields of the structs with these numbers.
    pub fn of(bytes: &[u8], key: u32, value: u32) -> Option<Self> {
        let types = Types::parse(bytes)?;
        let of_key = |name| Number::of(&types, key, name);
        let (at, path) = types.field(value, "path")?;
        let of_path = |name| Number::of(&types, path, name);
        Some(Self {
            key: [
                of_key("inode")?,
                of_key("changed_ns")?,
                of_key("script")?,
                of_key("device")?,
            ],
            index: Number::of(&types, value, "index")?,
            path: at,
            parts: Array::of(&types, path, "parts")?,
            script: Array::of(&types, path, "script")?,
            filled: of_path("filled")?,
            complete: of_path("complete")?,
            elsewhere: of_path("elsewhere")?,
            hidden: of_path("hidden"),
        })
    }

    /// Reads a program and its name.
    pub fn read(&self, key: &[u8], entry: &[u8]) -> Option<(ProgramKey, ProgramEntry)> {
        let [inode, changed_ns, script, device] = self.key;
        let key = ProgramKey {
            inode: inode.read(key)?,
            changed_ns: changed_ns.read(key)?,
            script: script.read(key)?,
            device: device.short(key)?,
            reserved: 0,
        };
        let path = entry.get(self.path..)?;
        let mut new: ProgramPath = bytemuck::Zeroable::zeroed();
        let walked = self.filled.short(path)?;
        let complete = self.complete.read(path)? != 0;
        let filled = self.parts.count.min(walked as usize);
        for (index, part) in new.parts.iter_mut().enumerate().take(filled) {
            copy_text(self.parts.get(path, index)?, part);
            new.filled += 1;
        }
        copy_text(self.script.all(path)?, &mut new.script);
        let is_whole = new.filled as usize == filled;
        match self.hidden {
            // The names of a deep path lie in the same places only when there are as many.
            Some(hidden) if self.parts.count == PATH_PARTS => {
                new.filled = walked;
                new.hidden = u32::from(hidden.read(path)? != 0);
                new.complete = u16::from(complete);
            }
            _ if is_whole && complete && walked as usize <= filled => new.complete = 1,
            // Its beginning is lost, which is not the same as a file in no folder.
            _ if filled >= PATH_PARTS => new.complete = abi::BEGINNING_LOST,
            _ => {}
        }
        new.elsewhere = u16::from(self.elsewhere.read(path)? != 0);
        let entry = ProgramEntry {
            index: self.index.short(entry)?,
            reserved: 0,
            path: new,
        };
        (entry.index != 0).then_some((key, entry))
    }
}

/// Copies what fits, and leaves the last byte zero.
fn copy_text(from: &[u8], to: &mut [u8]) {
    let length = from.len().min(to.len().saturating_sub(1));
    to[..length].copy_from_slice(&from[..length]);
}

#[cfg(test)]
mod tests;
