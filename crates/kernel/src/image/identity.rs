//! Which program an image is: its file, its script, its registration and its name.

use abi::{
    Counter, EventTag, PATH_DEPTH_MAX, PATH_PART_BYTES, PATH_PARTS, ProgramEvent, ProgramKey,
    ProgramPath, RegistrationKey, SCRIPT_PATH_BYTES,
};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_probe_read_kernel_str};
use policy::{Kind, Program, Rights, Role};

use crate::kernel_memory::{Address, Typed};
use crate::maps::{
    PROCESSES, PROGRAMS, PROGRAMS_SEEN, REGISTRATIONS, SCRATCH, SCRIPTS, SETTINGS, Scratch, offset,
};
use crate::repeat::each;
use crate::report::{count, current_process, header, reserve};

/// Bits of a program's index that hold the CPU.
const CPU_BITS: u32 = 10;

/// Since 6.13 the kernel keeps a flag in the upper bit of the change time's nanoseconds.
const NANOSECONDS_MASK: u32 = 0x7fff_ffff;

/// The file of an image.
pub struct Image {
    /// `struct linux_binprm`.
    binprm: Typed,
    /// Its identity.
    key: ProgramKey,
    /// It is a script that the kernel handed to its interpreter.
    pub is_script: bool,
    /// 1 when it is a script whose path need not mean what it says.
    elsewhere: u16,
}

impl Image {
    /// Looks at the file that `binprm` has loaded. The script's path, if there is one, is left
    /// in the scratch space.
    #[inline(always)]
    pub fn of(binprm: Typed, scratch: &mut Scratch) -> Self {
        let file = binprm.follow(offset!(bprm_file));
        let inode = file.follow(offset!(file_inode));
        let seconds: u64 = inode.read(offset!(inode_ctime_sec));
        let nanoseconds: u32 = inode.read(offset!(inode_ctime_nsec));
        let filename: u64 = binprm.read(offset!(bprm_filename));
        // They begin as one pointer; binfmt_script gives `interp` a string of its own.
        let is_script = filename != binprm.read(offset!(bprm_interp));
        scratch.script.path = [0; SCRIPT_PATH_BYTES];
        let (mut script, mut elsewhere) = (0, 0);
        if is_script {
            // SAFETY: the destination is as long as said; the helper checks the source.
            let length = unsafe {
                bpf_probe_read_kernel_str(
                    scratch.script.path.as_mut_ptr().cast(),
                    SCRIPT_PATH_BYTES as u32,
                    filename as *const _,
                )
            };
            if length == SCRIPT_PATH_BYTES as i64 {
                // Cut off, or just fitting: either way no registered path is this long.
                scratch.script.path[0] = 0;
            }
            (script, elsewhere) = name_script();
        }
        let number: u64 = inode.read(offset!(inode_ino));
        if number == 0 {
            count(Counter::ReadsFailed);
        }
        Self {
            binprm,
            key: ProgramKey {
                inode: number,
                changed_ns: seconds * 1_000_000_000 + u64::from(nanoseconds & NANOSECONDS_MASK),
                script,
                device: inode.follow(offset!(inode_sb)).read(offset!(sb_dev)),
                reserved: 0,
            },
            is_script,
            elsewhere,
        }
    }

    /// The file that runs.
    #[inline(always)]
    pub fn file(&self) -> Address {
        self.binprm.address().follow(offset!(bprm_file))
    }

    /// What the file that runs is registered as; the beginning of its name is left in the scratch
    /// space. Of a script that is its interpreter's file, the last one's where interpreters are scripts
    /// themselves or the kernel is told of more of them.
    #[inline(always)]
    pub fn file_program(&self, scratch: &mut Scratch) -> Program {
        let key = RegistrationKey {
            inode: self.key.inode,
            device: self.key.device,
            reserved: 0,
        };
        scratch.name = 0;
        // SAFETY: nothing is removed from the map while the reference is used.
        match unsafe { REGISTRATIONS.get(&key) } {
            Some(registration) => {
                scratch.name = u64::from_ne_bytes(registration.name);
                registration.program(self.key.changed_ns)
            }
            None => Program::UNKNOWN,
        }
    }

    /// What the script in the scratch space is registered as; the beginning of its name is left there.
    #[inline(always)]
    pub fn script_program(&self) -> Program {
        unpacked(find_script(u32::from(self.elsewhere), 0))
    }

    /// A shell was started with a script, whose name the scratch space holds. It counts as that
    /// script, as it would if the script had been started itself, where `only_script` says that the
    /// shell reads nothing else and the script's own first line names this shell. In any case the
    /// script is what people read of.
    #[inline(always)]
    pub fn count_as_script(&mut self, only_script: bool, is_words: bool) -> Program {
        if is_words {
            return unpacked(find_script(0, WORDS));
        }
        (self.key.script, self.elsewhere) = name_script();
        let barred = u32::from(self.elsewhere) | u32::from(!only_script);
        unpacked(find_script(barred, HANDED))
    }

    /// The program's number; a program that was never seen before gets one, and its path is
    /// kept for the journal. 0 when that fails, which is counted.
    ///
    /// A path that another mount namespace has for the file is kept only until the machine's own is
    /// seen: who makes a namespace can call any file there `/usr/bin/ssh`, and run it once.
    #[inline(always)]
    pub fn index(&self, scratch: &mut Scratch) -> u32 {
        let (known, named_elsewhere) = self.known();
        if known != 0 && named_elsewhere == 0 {
            return known;
        }
        let file = self.file().0;
        // A script has two numbers instead, because its path says all that is known of it.
        let is_script = self.key.script != 0;
        let elsewhere = if is_script {
            self.elsewhere
        } else {
            lies_elsewhere(file) as u16
        };
        let (index, flags) = if known == 0 {
            match next_index() {
                Some(index) => (index, BPF_NOEXIST),
                None => return 0,
            }
        } else if elsewhere != 0 {
            return known;
        } else {
            (known, BPF_ANY)
        };
        scratch.entry.index = index;
        scratch.entry.reserved = 0;
        scratch.entry.path.script = scratch.script.path;
        scratch.entry.path.elsewhere = elsewhere;
        // The executable, or the interpreter of a script.
        walk(file);
        // Another CPU may see the same program for the first time: what it was called there is
        // its name, because records with that number are out already.
        if PROGRAMS
            .insert(&self.key, &scratch.entry, u64::from(flags))
            .is_err()
        {
            let (known, _) = self.known();
            if known == 0 {
                count(Counter::ProgramsLost);
            }
            return known;
        }
        if let Some(mut event) = reserve::<ProgramEvent>(Counter::ProgramsLost) {
            event.write(ProgramEvent {
                header: header(EventTag::Program),
                key: self.key,
                index,
                reserved: 0,
            });
            event.submit(0);
        }
        index
    }

    /// Its number, and whether its name is another mount namespace's. The number is 0 when the program is
    /// not known: an `Option` would leave a register without a value, which the verifier refuses.
    #[inline(always)]
    fn known(&self) -> (u32, u16) {
        // SAFETY: the value is copied out at once.
        match unsafe { PROGRAMS.get(&self.key) } {
            Some(known) => (known.index, known.path.elsewhere),
            None => (0, 0),
        }
    }
}

/// What the script in the scratch space is registered as, packed into a word; see [`unpacked`]. Nothing
/// when it is `barred`, or when it was [`HANDED`] to another shell than its own first line names,
/// which the scratch space has the name of. The script's name takes that name's place.
///
/// What bars a script that the kernel runs is that its path is another mount namespace's. A sandbox that
/// the user has started has a namespace of its own making, so there its own start scripts count, which
/// may start nothing but the registered program.
///
/// External linkage: the verifier checks it once, and does not follow what it finds any further.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_script(barred: u32, how: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return UNKNOWN;
    };
    // SAFETY: this CPU's own slot; see `Scratch`. The caller's reference to it is not used
    // during the call.
    let scratch = unsafe { &mut *scratch };
    let runs_in = core::mem::take(&mut scratch.name);
    if how == WORDS {
        return HELPER;
    }
    let in_sandbox = barred != 0 && how != HANDED && runs_in_sandbox();
    if barred != 0 && !in_sandbox {
        return UNKNOWN;
    }
    // SAFETY: nothing is removed from the map while the reference is used.
    let Some(registration) = (unsafe { SCRIPTS.get(&scratch.script) }) else {
        return UNKNOWN;
    };
    let own = u64::from_ne_bytes(registration.shell);
    if how == HANDED && (own == 0 || own != runs_in) {
        return UNKNOWN;
    }
    if in_sandbox && registration.role != Role::Sandbox as u8 {
        return UNKNOWN;
    }
    scratch.name = u64::from_ne_bytes(registration.name);
    let program = registration.program(0);
    program.role as u32
        | (program.kind as u32) << 8
        | u32::from(program.changed) << 16
        | u32::from(program.rights.0) << 24
}

/// A shell was handed the script.
const HANDED: u32 = 1;
/// A shell was handed a command of plain words: it counts as a helper.
const WORDS: u32 = 2;
/// A helper, packed.
const HELPER: u32 = Role::Helper as u32 | (Kind::Interactive as u32) << 8;

/// Whether the current process, before its exec, is a sandbox that the user has started.
#[inline(always)]
fn runs_in_sandbox() -> bool {
    PROCESSES.get_ptr(current_process()).is_some_and(|record| {
        // SAFETY: only this process's own exec and fork touch its record, and it is here.
        unsafe { (*record).is_users_sandbox() }
    })
}

/// What nobody registered, packed.
const UNKNOWN: u32 = Role::Unknown as u32 | (Kind::Batch as u32) << 8;

#[inline(always)]
fn unpacked(word: u32) -> Program {
    Program {
        role: Role::from_code(word as u8),
        kind: Kind::from_code((word >> 8) as u8),
        changed: word >> 16 & 1 != 0,
        by_user: false,
        is_roots: false,
        rights: Rights((word >> 24) as u8),
    }
}

/// What the script in the scratch space is called in a [`ProgramKey`], and 1 when its path need not
/// mean what it says. It is another program then.
#[inline(always)]
fn name_script() -> (u64, u16) {
    let elsewhere = path_is_elsewheres();
    (hash_script() ^ u64::from(elsewhere), elsewhere as u16)
}

/// A new index: this CPU's number in the lower bits, its count in the upper ones. Each CPU
/// counts for itself because BPF targets before v3 have no fetching atomics. They come
/// round after four million programs, which could only mix up names in the journal.
#[inline(always)]
fn next_index() -> Option<u32> {
    let seen = PROGRAMS_SEEN.get_ptr_mut(0)?;
    // SAFETY: this CPU's own slot, and exec hooks of one CPU do not overlap.
    let count = unsafe {
        *seen = (*seen).wrapping_add(1);
        *seen
    };
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    Some((count << CPU_BITS) | (cpu & ((1 << CPU_BITS) - 1)))
}

/// 0 when a path names for this task what it names for the machine, else 1.
///
/// The service manager gives a unit a mount namespace of its own (PrivateTmp), with the machine's root
/// folder in it. Only root makes a mount namespace that belongs to the machine's user namespace, so
/// what is mounted there is root's word. A task without privilege needs a user namespace of its own
/// for a mount namespace, or for chroot. Helpers that are setuid root make mount namespaces for users;
/// those that put a user's files at such paths, as containers do, change the root folder.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_is_elsewheres() -> u32 {
    let Some(settings) = SETTINGS.get(0) else {
        return 1;
    };
    let task = Address::current_task();
    let users = |of: Address, offset: usize| -> u32 {
        of.follow(offset).read::<u32>(offset!(user_ns_inum))
    };
    let mounts = task
        .follow(offset!(task_nsproxy))
        .follow(offset!(nsproxy_mnt));
    let root = task
        .follow(offset!(task_fs))
        .follow(offset!(fs_root))
        .follow(offset!(dentry_inode));
    let device: u32 = root.follow(offset!(inode_sb)).read(offset!(sb_dev));
    let own = users(task.follow(offset!(task_cred)), offset!(cred_user_ns))
        == settings.user_namespace
        && users(mounts, offset!(mnt_ns_owner)) == settings.user_namespace
        && root.read::<u64>(offset!(inode_ino)) == settings.root_inode
        && device == settings.root_device;
    u32::from(!own)
}

/// 0 when the file was opened in the machine's own mount namespace, else 1. It is the file's and not the
/// task's that counts: an open file can be handed on, and run in any namespace.
///
/// External linkage: the verifier checks it once, for any argument.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lies_elsewhere(file: u64) -> u32 {
    let Some(settings) = SETTINGS.get(0) else {
        return 1;
    };
    let inside = Address(file).follow(offset!(file_mnt));
    let mount = Address(inside.0 - offset!(mount_mnt) as u64);
    let namespace = mount.follow(offset!(mount_ns));
    u32::from(namespace.read::<u32>(offset!(mnt_ns_inum)) != settings.mount_namespace)
}

/// A hash over the script's path in the scratch space, word by word in the manner of FNV-1a.
/// Only tells scripts apart in the journal.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_script() -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`. The caller's reference to it is not used
    // during the call.
    let path = unsafe { &(*scratch).script.path };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let words = path.as_ptr().cast::<u64>();
    for index in 0..SCRIPT_PATH_BYTES / 8 {
        // Volatile, or the compiler reads all of them first, and needs more stack for that than
        // older kernels (6.1) leave to what the exec hook calls.
        // SAFETY: the path is so long, and aligned to eight bytes.
        let word = unsafe { core::ptr::read_volatile(words.add(index)) };
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // What the multiplications left in the upper bits alone must not get lost.
    hash ^ (hash >> 32)
}

/// Walks from a file up to the root of its mount tree and keeps the names on the way.
///
/// bpf_d_path would do this, but not from a tracepoint. Names are read without locks: a
/// rename at the same moment can give a torn path, which only the journal would show.
///
/// External linkage: the verifier checks it once, for any argument.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk(file: u64) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`. The caller's reference to it is not used
    // during the call.
    let path = unsafe { &mut (*scratch).entry.path };
    path.filled = 0;
    path.complete = 0;
    path.hidden = 0;
    path.reserved = 0;
    let file = Address(file);
    let mut climb = Climb {
        dentry: file.follow(offset!(file_dentry)).0,
        mount: file.follow(offset!(file_mnt)).0,
    };
    each(PATH_DEPTH_MAX as u32, keep_name, &mut climb);
    0
}

/// Where a walk is. Words, because the verifier keeps track of words.
struct Climb {
    /// `struct dentry`.
    dentry: u64,
    /// `struct vfsmount`.
    mount: u64,
}

/// Keeps one name and goes one folder up: 0 to go on, 1 at the root.
unsafe extern "C" fn keep_name(number: u32, climb: *mut Climb) -> u64 {
    // SAFETY: see `each`.
    let climb = unsafe { &mut *climb };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let path = unsafe { &mut (*scratch).entry.path };
    let (mut dentry, mut mount_point) = (Address(climb.dentry), Address(climb.mount));
    // Twice, because a mount can lie on the root of another, as `/` does on rootfs.
    for _ in 0..2 {
        if dentry == mount_point.follow(offset!(vfsmount_root)) {
            let mount = Address(mount_point.0 - offset!(mount_mnt) as u64);
            let above = mount.follow(offset!(mount_parent));
            if above == mount || above.is_null() {
                path.complete = 1;
                return 1;
            }
            dentry = mount.follow(offset!(mount_mountpoint));
            mount_point = above.field(offset!(mount_mnt));
        }
    }
    let number = number as usize;
    let part = &mut path.parts[ProgramPath::slot(number)];
    if number >= PATH_PARTS && part[0] == b'.' {
        path.hidden = 1;
    }
    // By this byte user space tells a name that was cut. It must not be that of a longer name
    // which lay here before.
    part[PATH_PART_BYTES - 2] = 0;
    let name = dentry.follow(offset!(dentry_name));
    // SAFETY: the destination is as long as said; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel_str(
            part.as_mut_ptr().cast(),
            part.len() as u32,
            name.0 as *const _,
        )
    };
    path.filled = number as u32 + 1;
    let parent = dentry.follow(offset!(dentry_parent));
    if dentry == parent {
        // A file without a place in any folder, such as a memfd.
        return 1;
    }
    (climb.dentry, climb.mount) = (parent.0, mount_point.0);
    0
}
