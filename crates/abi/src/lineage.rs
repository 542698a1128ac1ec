//! Programs, their registration, and the record of a process.

#[cfg(feature = "user")]
use bytemuck::{Pod, Zeroable};
use policy::{Blame, Cause, Kind, Origin, Program, Rights, Role, Sign, Standing, Tamper};

/// How many links of a lineage a record keeps. Longer ones lose links in the middle.
pub const CHAIN_LENGTH: usize = 16;
/// How many components of a path are kept. A longer path keeps its end and its beginning.
pub const PATH_PARTS: usize = 12;
/// How many of them are the path's end. The others hold its beginning, which says where a program
/// lies: in a folder for temporary files, for example. Their number is a power of two.
pub const PATH_END_PARTS: usize = 4;
/// Deeper paths are not walked up to the root. A path that a program names in one call has half as
/// many components at most.
pub const PATH_DEPTH_MAX: usize = 4096;
/// Marks a path of which only the end is known, as gates of layouts before 7 kept deep paths.
pub const BEGINNING_LOST: u16 = 2;
/// Bytes for one component, the closing zero included. Longer names are cut.
pub const PATH_PART_BYTES: usize = 64;
/// Bytes of a script's path, the closing zero included. Longer paths are never registered.
pub const SCRIPT_PATH_BYTES: usize = 128;

/// Value of the map `roots_scripts`: root alone can write the script.
pub const ROOTS_SCRIPT: u32 = 1;
/// The same: others can.
pub const SCRIPT_OF_OTHERS: u32 = 2;

/// A program: an executable file by identity, and for a `#!` script its path as well,
/// because the file that the kernel runs then is the interpreter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct ProgramKey {
    /// Inode number.
    pub inode: u64,
    /// Change time of the inode, in nanoseconds since 1970.
    pub changed_ns: u64,
    /// A hash of the script's path; 0 for a binary. Names a program, proves nothing.
    pub script: u64,
    /// Device, in the kernel's own encoding (major << 20 | minor).
    pub device: u32,
    /// Zero.
    pub reserved: u32,
}

/// What the gate holds of a program it has seen: value of the map `programs`, key
/// [`ProgramKey`]. It outlives the daemon, so that a restarted one can still tell names.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C, align(8))]
pub struct ProgramEntry {
    /// A number for the program, unique as long as the maps live. Never 0.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
    /// Where it lay when it was first seen, or first in the machine's own mount namespace.
    pub path: ProgramPath,
}

/// A path as the kernel walks it: components from the file up to the root.
///
/// A path with more than [`PATH_PARTS`] components loses its middle: see [`ProgramPath::slot`].
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C, align(8))]
pub struct ProgramPath {
    /// The components, each closed by a zero byte. See [`ProgramPath::slot`] for their order.
    pub parts: [[u8; PATH_PART_BYTES]; PATH_PARTS],
    /// For a `#!` script, its path as the caller wrote it; else empty.
    pub script: [u8; SCRIPT_PATH_BYTES],
    /// How many components were walked, kept or not.
    pub filled: u32,
    /// 1 when the walk reached the root, [`BEGINNING_LOST`] for a path that an older gate has cut.
    pub complete: u16,
    /// 1 when this is what another mount namespace than the machine's calls it, where whoever made
    /// that namespace may call a file whatever it likes.
    pub elsewhere: u16,
    /// 1 when the name of a component that is not kept begins with a dot.
    pub hidden: u32,
    /// Zero.
    pub reserved: u32,
}

impl ProgramPath {
    /// Where the component with this number lies in `parts`, counted from the file. The first ones
    /// have places of their own. The others go round in the rest, so that the last ones, which are
    /// the path's beginning, are those that stay.
    #[inline(always)]
    pub const fn slot(number: usize) -> usize {
        if number < PATH_END_PARTS {
            number
        } else {
            PATH_END_PARTS + ((number - PATH_END_PARTS) & (PATH_PARTS - PATH_END_PARTS - 1))
        }
    }
}

const _: () = assert!((PATH_PARTS - PATH_END_PARTS).is_power_of_two());

/// The key of a registered file: without the change time, so that the gate can tell a
/// changed file from one that nobody registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct RegistrationKey {
    /// Inode number.
    pub inode: u64,
    /// Device, in the kernel's own encoding.
    pub device: u32,
    /// Zero.
    pub reserved: u32,
}

/// The key of a registered script: its absolute path, filled up with zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
// Aligned, so that the kernel programs clear and hash it by words.
#[repr(C, align(8))]
pub struct ScriptKey {
    /// The path.
    pub path: [u8; SCRIPT_PATH_BYTES],
}

/// A registration, of a file or of a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Registration {
    /// Change time that the file must have; 0 for a script, which is trusted by its
    /// root-owned path.
    pub changed_ns: u64,
    /// Code of the [`Role`].
    pub role: u8,
    /// Code of the [`Kind`].
    pub kind: u8,
    /// 1 while the file waits to be verified again: it counts as changed.
    pub suspended: u8,
    /// 1 for an interactive mailer that also sends at set times: nobody need be there.
    pub scheduled: u8,
    /// Its [`Rights`].
    pub rights: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The first eight bytes of its file's name, by which [`policy::argument_sign`] knows the program.
    pub name: [u8; 8],
    /// Of a script, the name of the shell that its first line names, where that shell reads nothing
    /// but the script: it counts as itself when that shell is handed it. Else zero.
    pub shell: [u8; 8],
}

impl Registration {
    /// The program as the policy sees it, for a file whose change time is `changed_ns`.
    #[inline(always)]
    pub fn program(&self, changed_ns: u64) -> Program {
        let changed =
            self.suspended != 0 || (self.changed_ns != 0 && self.changed_ns != changed_ns);
        Program {
            role: Role::from_code(self.role),
            kind: Kind::from_code(self.kind),
            changed,
            by_user: false,
            is_roots: false,
            rights: Rights(self.rights),
        }
    }
}

/// One exec in a lineage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Link {
    /// Index of the program; 0 when it could not be recorded.
    pub program: u32,
    /// Process that called exec, in the initial pid namespace.
    pub pid: u32,
    /// Code of the program's [`Role`].
    pub role: u8,
    /// Code of the [`Origin`] after the exec.
    pub origin: u8,
    /// Code of the program's [`Kind`].
    pub kind: u8,
    /// 1 when the link was read from /proc instead of being recorded as it happened.
    pub seeded: u8,
}

/// What the gate holds of a process: value of the map `processes`, key the process id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct ProcessRecord {
    /// Code of the [`Origin`].
    pub origin: u8,
    /// Code of the [`Role`].
    pub role: u8,
    /// Code of the [`Kind`].
    pub kind: u8,
    /// Signs of [`Tamper`].
    pub tampered: u8,
    /// 1 when vouched for.
    pub vouched: u8,
    /// 1 when the registered file changed.
    pub changed: u8,
    /// 1 when this record, or one that it was copied from, came from /proc.
    pub seeded: u8,
    /// 1 when the culprit is the best that is known, and not a program that was seen to make the
    /// origin foreign: it is older than the gate, or the first program behind a gap.
    pub culprit_assumed: u8,
    /// Index of the program that it runs.
    pub program: u32,
    /// Index of the culprit; 0 when there is none.
    pub culprit: u32,
    /// Process that the culprit was, when it became one.
    pub culprit_pid: u32,
    /// How many execs the lineage has, kept or not.
    pub depth: u32,
    /// User at the last exec, in the initial user namespace.
    pub uid: u32,
    /// What was sampled of this process lately: the time in units of 2^33 ns in the upper half,
    /// then how many connections and how many DNS queries within it, a byte each.
    pub sampled: u32,
    /// 1 when the user's own service manager or bus started it, or what it comes from.
    pub activated: u8,
    /// Its [`Rights`].
    pub rights: u8,
    /// Number of the variable or argument that was the first sign of tampering; see
    /// [`policy::Cause`]. 0 when there is none.
    pub tampered_by: u16,
    /// Code of its [`policy::Flaw`].
    pub tampered_flaw: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The lineage, oldest first. When it is longer than the array, the last slot holds the
    /// newest exec and those between are lost.
    pub chain: [Link; CHAIN_LENGTH],
}

impl ProcessRecord {
    /// A record without a lineage.
    pub const fn of(standing: &Standing) -> Self {
        Self {
            origin: standing.origin as u8,
            role: standing.role as u8,
            kind: standing.kind as u8,
            tampered: standing.tampered.0,
            vouched: standing.vouched as u8,
            changed: standing.changed as u8,
            seeded: 0,
            culprit_assumed: 0,
            program: 0,
            culprit: 0,
            culprit_pid: 0,
            depth: 0,
            uid: 0,
            sampled: 0,
            activated: standing.activated as u8,
            rights: standing.rights.0,
            tampered_by: 0,
            tampered_flaw: 0,
            reserved: [0; 3],
            chain: [Link {
                program: 0,
                pid: 0,
                role: 0,
                origin: 0,
                kind: 0,
                seeded: 0,
            }; CHAIN_LENGTH],
        }
    }

    /// The part that the policy looks at.
    #[inline(always)]
    pub fn standing(&self) -> Standing {
        Standing {
            origin: Origin::from_code(self.origin),
            role: Role::from_code(self.role),
            kind: Kind::from_code(self.kind),
            vouched: self.vouched == 1,
            changed: self.changed != 0,
            // What does not read as "no" permits less.
            activated: self.activated != 0,
            rights: Rights(self.rights),
            tampered: Tamper(self.tampered),
        }
    }

    /// Whether it is a sandbox that the user has started. By the codes, because reading them as words
    /// is many ways for the verifier to follow.
    #[inline(always)]
    pub const fn is_users_sandbox(&self) -> bool {
        (self.origin ^ Origin::User as u8) | (self.role ^ Role::Sandbox as u8) == 0
    }

    /// Whether it is a helper that somebody vouched for.
    #[inline(always)]
    pub const fn hands_on_vouching(&self) -> bool {
        (self.origin ^ Origin::User as u8)
            | (self.role ^ Role::Helper as u8)
            | (self.vouched ^ 1)
            | self.tampered
            == 0
    }

    /// The signs of tampering that count in what this process starts. The variables that a start script
    /// of a sandbox sets for its program are root's choice, and name the user's folders because nothing
    /// else can be written to there. Those that it was started with have been looked at.
    #[inline(always)]
    pub const fn signs_that_count(&self) -> Tamper {
        let is_start_script =
            self.is_users_sandbox() && (self.kind ^ Kind::Service as u8) | self.tampered == 0;
        // Without a branch, as above.
        Tamper(!(Tamper::ENVIRONMENT.0 * is_start_script as u8))
    }

    /// Writes the policy's part back.
    #[inline(always)]
    pub fn set_standing(&mut self, standing: &Standing) {
        self.origin = standing.origin as u8;
        self.role = standing.role as u8;
        self.kind = standing.kind as u8;
        self.vouched = standing.vouched as u8;
        self.changed = standing.changed as u8;
        self.activated = standing.activated as u8;
        self.rights = standing.rights.0;
        self.tampered = standing.tampered.0;
    }

    /// Keeps which variable or argument was the first sign of tampering. The signs themselves are in the standing.
    #[inline(always)]
    pub fn keep_cause(&mut self, sign: Sign) {
        if self.tampered_by == 0 {
            self.tampered_by = sign.number();
            self.tampered_flaw = sign.flaw();
        }
    }

    /// Which variable or argument the first sign of tampering was.
    pub fn cause(&self) -> Option<Cause> {
        Cause::from_codes(self.tampered_by, self.tampered_flaw)
    }

    /// Records an exec: the standing after it, the culprit if it made one, and its link.
    /// Kernel and seeding both go through here; `seeded` is 1 for the latter.
    #[inline(always)]
    pub fn record_exec(&mut self, after: &Standing, program: u32, pid: u32, seeded: u8) {
        // Behind a gap in what /proc knew, the first program that is known has to answer.
        let nobody = self.culprit == 0 && after.origin == Origin::Foreign;
        let blame = self.standing().blame(after);
        let unknown = after.role == Role::Unknown && after.origin == Origin::Foreign;
        // An old shell is foreign only because nobody saw it start. Whoever answers is the first
        // unknown program that it is seen to start.
        let instead = self.culprit_assumed != 0 && seeded == 0 && unknown;
        if nobody || instead || blame != Blame::Nobody {
            self.culprit_assumed = (seeded != 0 || (nobody && !unknown)) as u8;
            self.culprit = if blame == Blame::Caller && self.program != 0 {
                self.program
            } else {
                program
            };
            self.culprit_pid = pid;
        }
        self.set_standing(after);
        self.program = program;
        let link = Link {
            program,
            pid,
            role: after.role as u8,
            origin: after.origin as u8,
            kind: after.kind as u8,
            seeded,
        };
        let slot = self.depth as usize;
        let slot = if slot < CHAIN_LENGTH - 1 {
            slot
        } else {
            CHAIN_LENGTH - 1
        };
        self.chain[slot] = link;
        self.depth = self.depth.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_SHELL: u32 = 1;
    const NEW: u32 = 2;
    const CHILD: u32 = 3;

    fn foreign(role: Role) -> Standing {
        Standing {
            role,
            ..Standing::STRANGER
        }
    }

    /// A shell without a known past, as it is read from /proc.
    fn old_shell() -> ProcessRecord {
        let mut record = ProcessRecord::of(&Standing::STRANGER);
        record.record_exec(&foreign(Role::Shell), OLD_SHELL, 10, 1);
        assert_eq!((record.culprit, record.culprit_assumed), (OLD_SHELL, 1));
        record
    }

    #[test]
    fn a_new_unknown_program_takes_the_blame_from_an_older_one() {
        let mut record = old_shell();
        record.record_exec(&foreign(Role::Unknown), NEW, 11, 0);
        record.record_exec(&foreign(Role::Unknown), CHILD, 12, 0);
        assert_eq!(
            (record.culprit, record.culprit_pid, record.culprit_assumed),
            (NEW, 11, 0)
        );
    }

    #[test]
    fn a_known_program_takes_no_blame_from_an_older_one() {
        let mut record = old_shell();
        record.record_exec(&foreign(Role::Mailer), NEW, 11, 0);
        assert_eq!((record.culprit, record.culprit_assumed), (OLD_SHELL, 1));
        // Nor does a program that is older than the gate itself.
        let mut record = old_shell();
        record.record_exec(&foreign(Role::Unknown), NEW, 11, 1);
        assert_eq!(record.culprit, OLD_SHELL);
    }

    #[test]
    fn a_culprit_that_was_seen_stays() {
        let mut record = ProcessRecord::of(&Standing {
            origin: Origin::User,
            ..Standing::STRANGER
        });
        record.record_exec(&foreign(Role::Unknown), NEW, 11, 0);
        record.record_exec(&foreign(Role::Unknown), CHILD, 12, 0);
        assert_eq!((record.culprit, record.culprit_pid), (NEW, 11));
    }

    #[test]
    fn codes_tell_what_the_words_would() {
        for origin in Origin::ALL {
            for role in Role::ALL {
                for kind in Kind::ALL {
                    for vouched in [false, true] {
                        let record = ProcessRecord::of(&Standing {
                            origin,
                            role,
                            kind,
                            vouched,
                            ..Standing::STRANGER
                        });
                        let is_users = origin == Origin::User;
                        assert_eq!(record.is_users_sandbox(), is_users && role == Role::Sandbox);
                        let helps = role == Role::Helper && vouched;
                        assert_eq!(record.hands_on_vouching(), is_users && helps);
                        let is_script = record.is_users_sandbox() && kind == Kind::Service;
                        let environment = record.signs_that_count().0 & Tamper::ENVIRONMENT.0;
                        assert_eq!(environment == 0, is_script);
                    }
                }
            }
        }
        let mut record = ProcessRecord::of(&Standing {
            origin: Origin::User,
            role: Role::Helper,
            vouched: true,
            ..Standing::STRANGER
        });
        record.tampered = Tamper::ENVIRONMENT.0;
        assert!(!record.hands_on_vouching());
    }

    #[test]
    fn a_deep_path_keeps_both_ends() {
        let kept = |depth: usize| {
            let mut places = [usize::MAX; PATH_PARTS];
            (0..depth).for_each(|number| places[ProgramPath::slot(number)] = number);
            places.sort_unstable();
            places
        };
        assert_eq!(kept(12), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(kept(40), [0, 1, 2, 3, 32, 33, 34, 35, 36, 37, 38, 39]);
    }
}
