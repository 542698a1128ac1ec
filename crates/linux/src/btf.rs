//! Where fields lie in the running kernel, read from its own type information.
//!
//! Only what is needed of the BTF format (kernel `Documentation/bpf/btf.rst`) is understood
//! here: the tables are walked once, and only the few structs that are asked for are kept.
//! The file comes from the kernel, but it is read with checked bounds all the same.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use abi::{Offsets, PresenceOffsets};

use crate::{Error, calls, presence};

/// Where the kernel shows its type information.
pub const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_CONST: u32 = 10;
const KIND_VOLATILE: u32 = 9;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// One type: where it begins, and its head.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    /// Size of a struct, or the type that is referred to.
    target: u32,
}

impl Type {
    const fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }
    const fn members(self) -> usize {
        (self.info & 0xffff) as usize
    }
    const fn has_bitfields(self) -> bool {
        self.info >> 31 == 1
    }
}

/// Types: the kernel's, or those that the kernel keeps with a map.
pub(crate) struct Types<'a> {
    bytes: &'a [u8],
    strings: &'a [u8],
    /// Type n is at index n - 1.
    types: Vec<Type>,
    structs: HashMap<&'a [u8], u32>,
}

/// What the running kernel's type information tells.
pub struct Kernel {
    /// Where fields lie.
    pub offsets: Offsets,
    /// Whether a watch on locks of memory maps costs little: the event says a number where it
    /// said a cgroup's path before 6.14, which the kernel had to put together each time.
    pub has_cheap_memory_locks: bool,
    /// The number of the function that makes a packet readable. Whether a tracepoint may call
    /// it, only the verifier knows: since 6.12.
    pub packet_reader: Option<u32>,
    /// Where fields of terminals lie, as far as the kernel has them.
    pub presence: PresenceOffsets,
}

/// What the gate's programs call and not every kernel with BTF has, the newest first, with the version that
/// brought it. Distributions carry some of them back, so the version alone says nothing.
const HELPERS: [(&str, &str); 5] = [
    ("loop", "5.17"),
    ("task_pt_regs", "5.15"),
    ("ktime_get_coarse_ns", "5.11"),
    ("get_current_task_btf", "5.11"),
    ("skc_to_tcp_sock", "5.9"),
];

/// Resolves every offset of [`Offsets`] from the running kernel.
///
/// # Errors
///
/// [`Error::Unsupported`] when the kernel shows no type information, or lacks a helper or a field.
pub fn kernel() -> Result<Kernel, Error> {
    let path = Path::new(PATH);
    let bytes = fs::read(path).map_err(|error| {
        Error::Unsupported(format!(
            "{PATH}: {error} (the gate needs a kernel built with CONFIG_DEBUG_INFO_BTF)"
        ))
    })?;
    let types = Types::parse(&bytes)
        .ok_or_else(|| Error::Unsupported(format!("{PATH}: not readable as BTF")))?;
    types.has_helpers()?;
    let lock = "trace_event_raw_mmap_lock_acquire_returned";
    Ok(Kernel {
        offsets: types.offsets()?,
        has_cheap_memory_locks: types.offset(lock, "memcg_id").is_some(),
        packet_reader: types.function("bpf_dynptr_from_skb"),
        presence: presence::offsets(&types),
    })
}

impl<'a> Types<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(4)? as usize;
        let types_at = header.checked_add(word(8)? as usize)?;
        let types_end = types_at.checked_add(word(12)? as usize)?;
        let strings_at = header.checked_add(word(16)? as usize)?;
        let strings = bytes.get(strings_at..strings_at.checked_add(word(20)? as usize)?)?;
        bytes.get(types_at..types_end)?;

        let mut types = Vec::with_capacity((types_end - types_at) / 24);
        let mut structs = HashMap::new();
        let mut at = types_at;
        while at < types_end {
            let found = Type {
                at,
                name: word(at)?,
                info: word(at + 4)?,
                target: word(at + 8)?,
            };
            types.push(found);
            let count = found.members();
            let kind = found.kind();
            at += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                    _ => 0,
                };
            if kind == KIND_STRUCT && count > 0 {
                let name = string(strings, found.name)?;
                if !name.is_empty() {
                    structs.entry(name).or_insert(types.len() as u32);
                }
            }
        }
        Some(Self {
            bytes,
            strings,
            types,
            structs,
        })
    }

    fn word(&self, at: usize) -> u32 {
        self.bytes
            .get(at..at + 4)
            .and_then(|four| four.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }

    /// Follows typedefs and qualifiers down to a struct or union.
    fn composite(&self, mut id: u32) -> Option<Type> {
        for _ in 0..16 {
            let found = *self.types.get(id.checked_sub(1)? as usize)?;
            match found.kind() {
                KIND_STRUCT | KIND_UNION => return Some(found),
                KIND_TYPEDEF | KIND_CONST | KIND_VOLATILE | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.target
                }
                _ => return None,
            }
        }
        None
    }

    /// Bit offset and type of a member, also inside members without a name.
    fn member(&self, composite: Type, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        for index in 0..composite.members() {
            let at = composite.at + 12 + 12 * index;
            let (member_name, target, offset) =
                (self.word(at), self.word(at + 4), self.word(at + 8));
            let bits = if composite.has_bitfields() {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            let found = string(self.strings, member_name)?;
            if found == name {
                return Some((bits, target));
            }
            if found.is_empty() && depth > 0 {
                let inner = self
                    .composite(target)
                    .and_then(|inner| self.member(inner, name, depth - 1));
                if let Some((inner_bits, target)) = inner {
                    return Some((bits + inner_bits, target));
                }
            }
        }
        None
    }

    /// Bytes from the start of `structure` to a path of members such as `f_path.mnt`.
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let id = *self.structs.get(structure.as_bytes())?;
        let mut composite = self.composite(id)?;
        let mut bits = 0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let (more, target) = self.member(composite, name.as_bytes(), 4)?;
            bits += more;
            if names.peek().is_some() {
                composite = self.composite(target)?;
            }
        }
        Some(bits / 8)
    }

    /// The member of a struct: where it lies, and of which type it is.
    pub(crate) fn field(&self, structure: u32, name: &str) -> Option<(usize, u32)> {
        let (bits, target) = self.member(self.composite(structure)?, name.as_bytes(), 4)?;
        (bits % 8 == 0).then_some((bits as usize / 8, target))
    }

    /// The type of an array's elements, and how many there are.
    pub(crate) fn array(&self, id: u32) -> Option<(u32, usize)> {
        let found = *self.types.get(id.checked_sub(1)? as usize)?;
        let element = self.word(found.at + 12);
        let count = self.word(found.at + 20) as usize;
        (found.kind() == KIND_ARRAY).then_some((element, count))
    }

    /// How many bytes a value of a type takes.
    pub(crate) fn size(&self, mut id: u32) -> Option<usize> {
        let mut count = 1_usize;
        for _ in 0..16 {
            let found = *self.types.get(id.checked_sub(1)? as usize)?;
            match found.kind() {
                KIND_INT | KIND_ENUM | KIND_ENUM64 | KIND_STRUCT | KIND_UNION => {
                    return count.checked_mul(found.target as usize);
                }
                KIND_ARRAY => {
                    let (element, elements) = self.array(id)?;
                    count = usize::checked_mul(count, elements)?;
                    id = element;
                }
                _ => id = found.target,
            }
        }
        None
    }

    /// Whether an enumeration has a constant. None when there is no such enumeration.
    fn has_constant(&self, enumeration: &str, name: &str) -> Option<bool> {
        let is_it = |found: &&Type| {
            found.kind() == KIND_ENUM
                && found.members() > 0
                && string(self.strings, found.name) == Some(enumeration.as_bytes())
        };
        let found = self.types.iter().find(is_it)?;
        let names = (0..found.members()).map(|index| self.word(found.at + 12 + 8 * index));
        Some(
            names
                .filter_map(|at| string(self.strings, at))
                .any(|it| it == name.as_bytes()),
        )
    }

    /// An older kernel refuses a program that calls what it does not have with "invalid func unknown". This
    /// says it in words, before anything is loaded.
    fn has_helpers(&self) -> Result<(), Error> {
        let lacks = |name: &str| {
            let constant = format!("BPF_FUNC_{name}");
            self.has_constant("bpf_func_id", &constant) == Some(false)
        };
        let missing: Vec<_> = HELPERS
            .iter()
            .filter(|(name, _)| lacks(name))
            .map(|(name, since)| format!("bpf_{name} (Linux {since})"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "this kernel is too old for the gate: it has no {}. Install a newer one; until then the \
             service closes the mail ports with firewall rules (see \"Kernels\" in README.md)",
            missing.join(", ")
        )))
    }

    /// The number of a function.
    fn function(&self, name: &str) -> Option<u32> {
        let is_it = |found: &Type| {
            found.kind() == KIND_FUNC && string(self.strings, found.name) == Some(name.as_bytes())
        };
        let index = self.types.iter().position(is_it)?;
        u32::try_from(index + 1).ok()
    }

    fn offsets(&self) -> Result<Offsets, Error> {
        // Where a field moved between kernel versions, the newest spelling comes first.
        let field = |structure: &str, paths: &[&str]| {
            paths
                .iter()
                .find_map(|path| self.offset(structure, path))
                .ok_or_else(|| {
                    Error::Unsupported(format!(
                        "{PATH}: this kernel has no field {structure}.{}",
                        paths[0]
                    ))
                })
        };
        // Without it nobody waits for a traced task, and tracing would not be seen
        // (`crates/kernel/src/hooks/trace.rs`): built for one processor, before 6.17.
        field("task_struct", &["on_cpu"])?;
        Ok(Offsets {
            task_tgid: field("task_struct", &["tgid"])?,
            task_pid: field("task_struct", &["pid"])?,
            task_mm: field("task_struct", &["mm"])?,
            task_signal: field("task_struct", &["signal"])?,
            task_files: field("task_struct", &["files"])?,
            task_ptrace: field("task_struct", &["ptrace"])?,
            task_parent: field("task_struct", &["parent"])?,
            task_real_parent: field("task_struct", &["real_parent"])?,
            task_nsproxy: field("task_struct", &["nsproxy"])?,
            task_cred: field("task_struct", &["cred"])?,
            signal_live: field("signal_struct", &["live"])?,
            signal_tty: field("signal_struct", &["tty"])?,
            mm_exe_file: field("mm_struct", &["exe_file"])?,
            mm_arg_start: field("mm_struct", &["arg_start"])?,
            mm_arg_end: field("mm_struct", &["arg_end"])?,
            mm_env_start: field("mm_struct", &["env_start"])?,
            mm_env_end: field("mm_struct", &["env_end"])?,
            mm_exec_pages: field("mm_struct", &["exec_vm"])?,
            file_inode: field("file", &["f_inode"])?,
            file_mnt: field("file", &["f_path.mnt"])?,
            file_dentry: field("file", &["f_path.dentry"])?,
            file_private: field("file", &["private_data"])?,
            inode_ino: field("inode", &["i_ino"])?,
            inode_mode: field("inode", &["i_mode"])?,
            inode_uid: field("inode", &["i_uid"])?,
            inode_gid: field("inode", &["i_gid"])?,
            inode_rdev: field("inode", &["i_rdev"])?,
            inode_sb: field("inode", &["i_sb"])?,
            // 6.11 and later, 6.6 to 6.10, older.
            inode_ctime_sec: field(
                "inode",
                &["i_ctime_sec", "__i_ctime.tv_sec", "i_ctime.tv_sec"],
            )?,
            inode_ctime_nsec: field(
                "inode",
                &["i_ctime_nsec", "__i_ctime.tv_nsec", "i_ctime.tv_nsec"],
            )?,
            sb_dev: field("super_block", &["s_dev"])?,
            dentry_parent: field("dentry", &["d_parent"])?,
            dentry_name: field("dentry", &["d_name.name", "__d_name.name"])?,
            vfsmount_root: field("vfsmount", &["mnt_root"])?,
            vfsmount_flags: field("vfsmount", &["mnt_flags"])?,
            mount_mnt: field("mount", &["mnt"])?,
            mount_parent: field("mount", &["mnt_parent"])?,
            mount_mountpoint: field("mount", &["mnt_mountpoint"])?,
            mount_ns: field("mount", &["mnt_ns"])?,
            bprm_file: field("linux_binprm", &["file"])?,
            bprm_filename: field("linux_binprm", &["filename"])?,
            bprm_interp: field("linux_binprm", &["interp"])?,
            files_fdt: field("files_struct", &["fdt"])?,
            fdt_fd: field("fdtable", &["fd"])?,
            inode_private: field("inode", &["i_private"])?,
            // The array's first element begins where the array does.
            pid_number: field("pid", &["numbers"])? + field("upid", &["nr"])?,
            nsproxy_mnt: field("nsproxy", &["mnt_ns"])?,
            mnt_ns_inum: field("mnt_namespace", &["ns.inum"])?,
            mnt_ns_owner: field("mnt_namespace", &["user_ns"])?,
            task_fs: field("task_struct", &["fs"])?,
            fs_root: field("fs_struct", &["root.dentry"])?,
            dentry_inode: field("dentry", &["d_inode"])?,
            nsproxy_processes: field("nsproxy", &["pid_ns_for_children"])?,
            process_ns_inum: field("pid_namespace", &["ns.inum"])?,
            cred_uid: field("cred", &["uid"])?,
            cred_euid: field("cred", &["euid"])?,
            cred_fsuid: field("cred", &["fsuid"])?,
            cred_user_ns: field("cred", &["user_ns"])?,
            user_ns_inum: field("user_namespace", &["ns.inum"])?,
            file_mode: field("file", &["f_mode"])?,
            sb_magic: field("super_block", &["s_magic"])?,
            proc_vfs_inode: field("proc_inode", &["vfs_inode"])?,
            proc_pid: field("proc_inode", &["pid"])?,
            task_flags: field("task_struct", &["flags"])?,
            sock_owned: field("sock", &["sk_lock.owned"])?,
            sock_dport: field("sock", &["__sk_common.skc_dport"])?,
            sock_num: field("sock", &["__sk_common.skc_num"])?,
            sock_state: field("sock", &["__sk_common.skc_state"])?,
            sock_family: field("sock", &["__sk_common.skc_family"])?,
            sock_type: field("sock", &["sk_type"])?,
            // Since 5.16 it is every socket's; an inet_sock begins with its sock.
            sock_interface: field("sock", &["sk_rx_dst_ifindex"])
                .or_else(|new| field("inet_sock", &["rx_dst_ifindex"]).map_err(|_| new))?,
            unix_address: field("unix_sock", &["addr"])?,
            socket_sk: field("socket", &["sk"])?,
            skb_head: field("sk_buff", &["head"])?,
            skb_end: field("sk_buff", &["end"])?,
            skb_data: field("sk_buff", &["data"])?,
            skb_len: field("sk_buff", &["len"])?,
            shared_info_flags: field("skb_shared_info", &["flags"])?,
            sock_storage: field("sock", &["sk_bpf_storage"])?,
            sock_filter: field("sock", &["sk_filter"])?,
            inet_min_ttl: field("inet_sock", &["min_ttl"])?,
            inet_pinet6: self.offset("inet_sock", "pinet6").unwrap_or(0),
            ipv6_min_hops: self.offset("ipv6_pinfo", "min_hopcount").unwrap_or(0),
            tcp_is_mptcp: self.offset("tcp_sock", "is_mptcp").unwrap_or(0),
            tcp_write_seq: field("tcp_sock", &["write_seq"])?,
            tcp_snd_una: field("tcp_sock", &["snd_una"])?,
            tcp_rcv_nxt: field("tcp_sock", &["rcv_nxt"])?,
            tcp_rcv_wnd: field("tcp_sock", &["rcv_wnd"])?,
            tcp_bytes_acked: field("tcp_sock", &["bytes_acked"])?,
            tcp_bytes_received: field("tcp_sock", &["bytes_received"])?,
            mm_owner: self.offset("mm_struct", "owner").unwrap_or(0),
            registers_call: self.offset("pt_regs", calls::NUMBER).unwrap_or(0),
            task_call_state: self.offset("task_struct", calls::STATE).unwrap_or(0),
        })
    }
}

fn string(strings: &[u8], at: u32) -> Option<&[u8]> {
    let rest = strings.get(at as usize..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        if !Path::new(PATH).exists() {
            println!("skipped: {PATH} is not there");
            return;
        }
        let offsets = kernel().expect("offsets").offsets;
        // `tgid` follows `pid` in every kernel there is.
        assert_eq!(offsets.task_tgid, offsets.task_pid + 4);
        assert_ne!(offsets.bprm_filename, offsets.bprm_interp);
    }

    #[test]
    fn a_helper_that_the_kernel_lacks_is_seen() {
        let Ok(bytes) = fs::read(PATH) else {
            println!("skipped: {PATH} is not there");
            return;
        };
        let types = Types::parse(&bytes).expect("types");
        let has = |name: &str| types.has_constant("bpf_func_id", name);
        for (name, _) in HELPERS {
            assert_eq!(has(&format!("BPF_FUNC_{name}")), Some(true), "{name}");
        }
        assert_eq!(has("BPF_FUNC_loop_the_loop"), Some(false));
        assert_eq!(types.has_constant("no_enumeration", "BPF_FUNC_loop"), None);
        // The same table without its newest helper, as an older kernel has it.
        let at = bytes
            .windows(14)
            .position(|it| it == b"BPF_FUNC_loop\0")
            .expect("its name");
        let mut older = bytes.clone();
        older[at] = b'X';
        let types = Types::parse(&older).expect("types");
        let missing = types.has_helpers().expect_err("it is missing");
        let error = missing.to_string();
        assert!(error.contains("bpf_loop (Linux 5.17)"), "{error}");
        assert!(!error.contains("bpf_task_pt_regs"), "{error}");
    }

    #[test]
    fn damaged_type_information_is_refused() {
        assert!(Types::parse(b"").is_none());
        assert!(Types::parse(&[0x9f, 0xeb, 1, 0]).is_none());
        let mut cut = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        for number in [0_u32, 0xffff_ffff, 0, 1] {
            cut.extend(number.to_ne_bytes());
        }
        assert!(Types::parse(&cut).is_none());
    }
}
