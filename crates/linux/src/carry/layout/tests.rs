//! Types as the kernel keeps them are made here, for the layout of today and for others.

use policy::{Kind, Origin, Rights, Role, Standing};

use super::*;

/// Writes BTF.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn number(&mut self, bytes: u32) -> u32 {
        let name = self.name("number");
        self.words(&[name, 1 << 24, bytes, bytes * 8]);
        self.next()
    }

    fn array(&mut self, element: u32, count: u32) -> u32 {
        self.words(&[0, 3 << 24, 0, element, element, count]);
        self.next()
    }

    /// Members: name, type, place in bytes.
    fn structure(&mut self, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let names: Vec<u32> = members.iter().map(|(name, ..)| self.name(name)).collect();
        let name = self.name("structure");
        self.words(&[name, 4 << 24 | members.len() as u32, bytes]);
        for ((_, target, at), name) in members.iter().zip(names) {
            self.words(&[name, *target, at * 8]);
        }
        self.next()
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn bytes(self) -> Vec<u8> {
        let mut out = vec![0x9f, 0xeb, 1, 0];
        if cfg!(target_endian = "big") {
            out.swap(0, 1);
        }
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(self.types);
        out.extend(self.strings);
        out
    }
}

/// A layout that no version has had: other places, wider numbers, and a chain of `length` links.
fn other_layout(length: u32) -> (Vec<u8>, u32) {
    let mut writer = Writer::new();
    let (byte, word, long) = (writer.number(1), writer.number(4), writer.number(8));
    let link = writer.structure(
        32,
        &[
            ("kind", byte, 0),
            ("seeded", byte, 1),
            ("origin", byte, 2),
            ("role", byte, 3),
            ("program", long, 8),
            ("pid", word, 16),
        ],
    );
    let chain = writer.array(link, length);
    let record = writer.structure(
        80 + 32 * length,
        &[
            ("new_in_this_layout", long, 0),
            ("tampered", word, 8),
            ("origin", byte, 12),
            ("role", byte, 13),
            ("kind", byte, 14),
            ("vouched", byte, 15),
            ("changed", byte, 16),
            ("seeded", byte, 17),
            ("program", long, 24),
            ("culprit", long, 32),
            ("culprit_pid", word, 40),
            ("depth", word, 44),
            ("uid", word, 48),
            ("chain", chain, 80),
        ],
    );
    (writer.bytes(), record)
}

/// A record of that layout, whose lineage had `depth` execs: program n in process 1000 + n.
fn other_record(length: u32, depth: u32, tampered: u32) -> Vec<u8> {
    let mut entry = vec![0; 80 + 32 * length as usize];
    entry[8..12].copy_from_slice(&tampered.to_ne_bytes());
    (entry[12], entry[13], entry[14]) = (Origin::User as u8, Role::Mailer as u8, Kind::Batch as u8);
    (entry[15], entry[17]) = (1, 1);
    entry[24..32].copy_from_slice(&7_u64.to_ne_bytes());
    entry[32..40].copy_from_slice(&9_u64.to_ne_bytes());
    entry[40..44].copy_from_slice(&4711_u32.to_ne_bytes());
    entry[44..48].copy_from_slice(&depth.to_ne_bytes());
    entry[48..52].copy_from_slice(&1000_u32.to_ne_bytes());
    for slot in 0..length.min(depth) {
        let exec = if slot == length - 1 { depth } else { slot + 1 };
        let at = 80 + 32 * slot as usize;
        entry[at + 2] = Origin::User as u8;
        entry[at + 8..at + 16].copy_from_slice(&u64::from(exec).to_ne_bytes());
        entry[at + 16..at + 20].copy_from_slice(&(1000 + exec).to_ne_bytes());
    }
    entry
}

#[test]
fn a_record_of_another_layout_keeps_marks_culprit_and_lineage() {
    let (types, id) = other_layout(4);
    let layout = RecordLayout::of(&types, id).unwrap();
    let record = layout
        .read(&other_record(4, 3, u32::from(Tamper::TRACED.0)))
        .unwrap();
    let expected = Standing {
        origin: Origin::User,
        role: Role::Mailer,
        kind: Kind::Batch,
        vouched: true,
        changed: false,
        activated: false,
        rights: Rights::NONE,
        tampered: Tamper::TRACED,
    };
    assert_eq!(record.standing(), expected);
    assert_eq!(
        (record.program, record.culprit, record.culprit_pid),
        (7, 9, 4711)
    );
    assert_eq!((record.uid, record.depth, record.seeded), (1000, 3, 1));
    let programs: Vec<u32> = record.chain[..4].iter().map(|link| link.program).collect();
    assert_eq!(programs, [1, 2, 3, 0]);
    assert_eq!(record.chain[2].pid, 1003);
}

#[test]
fn a_chain_of_another_length_keeps_its_newest_link() {
    let longer = CHAIN_LENGTH as u32 + 4;
    let (types, id) = other_layout(longer);
    let layout = RecordLayout::of(&types, id).unwrap();
    let record = layout.read(&other_record(longer, 50, 0)).unwrap();
    assert_eq!(record.depth, 50);
    assert_eq!(record.chain[CHAIN_LENGTH - 1].program, 50);
    assert_eq!(
        record.chain[CHAIN_LENGTH - 2].program,
        CHAIN_LENGTH as u32 - 1
    );

    let (types, id) = other_layout(4);
    let layout = RecordLayout::of(&types, id).unwrap();
    let record = layout.read(&other_record(4, 50, 0)).unwrap();
    // The next exec goes behind it.
    assert_eq!((record.depth, record.chain[3].program), (4, 50));
}

#[test]
fn a_sign_without_a_word_is_a_sign_all_the_same() {
    let (types, id) = other_layout(4);
    let layout = RecordLayout::of(&types, id).unwrap();
    let record = layout.read(&other_record(4, 1, 0x100)).unwrap();
    assert!(record.standing().tampered.any());
}

#[test]
fn half_a_record_is_none() {
    let (types, id) = other_layout(4);
    let layout = RecordLayout::of(&types, id).unwrap();
    let whole = other_record(4, 4, 0);
    assert!(layout.read(&whole).is_some());
    assert!((0..whole.len() - 12).all(|length| layout.read(&whole[..length]).is_none()));
    // A field of today is missing.
    let mut writer = Writer::new();
    let byte = writer.number(1);
    let id = writer.structure(1, &[("origin", byte, 0)]);
    assert!(RecordLayout::of(&writer.bytes(), id).is_none());
    assert!(RecordLayout::of(&types, 4711).is_none());
    assert!(RecordLayout::of(b"", 1).is_none());
}

#[test]
fn a_program_of_another_layout_keeps_its_number_and_its_name() {
    let mut writer = Writer::new();
    let (byte, short, word, long) = (
        writer.number(1),
        writer.number(2),
        writer.number(4),
        writer.number(8),
    );
    let part = writer.array(byte, 16);
    let (parts, script) = (writer.array(part, 2), writer.array(byte, 8));
    let path = writer.structure(
        48,
        &[
            ("filled", word, 0),
            ("complete", short, 4),
            ("elsewhere", short, 6),
            ("script", script, 8),
            ("parts", parts, 16),
        ],
    );
    let value = writer.structure(64, &[("path", path, 8), ("index", word, 56)]);
    let key = writer.structure(
        32,
        &[
            ("device", word, 0),
            ("inode", long, 8),
            ("changed_ns", long, 16),
            ("script", long, 24),
        ],
    );
    let layout = ProgramLayout::of(&writer.bytes(), key, value).unwrap();
    let mut entry = vec![0; 64];
    (entry[8], entry[12], entry[56]) = (2, 1, 77);
    entry[24..29].copy_from_slice(b"mutt\0");
    entry[40..44].copy_from_slice(b"bin\0");
    let mut of_key = vec![0; 32];
    (of_key[0], of_key[8], of_key[16]) = (1, 2, 3);
    let (key, entry) = layout.read(&of_key, &entry).unwrap();
    assert_eq!((key.device, key.inode, key.changed_ns), (1, 2, 3));
    assert_eq!(entry.index, 77);
    assert_eq!(crate::programs::display(&entry.path), "/bin/mutt");
}

#[test]
fn a_culprit_that_is_older_than_its_gate_stays_an_assumed_one() {
    let (types, id) = other_layout(4);
    let layout = RecordLayout::of(&types, id).unwrap();
    let mut entry = other_record(4, 3, 0);
    // The second link is the culprit.
    entry[32..40].copy_from_slice(&2_u64.to_ne_bytes());
    entry[40..44].copy_from_slice(&1002_u32.to_ne_bytes());
    assert_eq!(layout.read(&entry).unwrap().culprit_assumed, 0);
    entry[80 + 32 + 1] = 1;
    assert_eq!(layout.read(&entry).unwrap().culprit_assumed, 1);
}
