//! A pinned map whose keys and values are of a shape that is only known when the program runs: one
//! that another version has made.
//!
//! The kernel keeps with each map what its keys and values are made of (BTF). So a map
//! tells by itself where its fields lie.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use aya::maps::MapData;

use crate::Error;

/// Numbers of commands in `linux/bpf.h`.
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BTF_GET_FD_BY_ID: libc::c_int = 19;

/// Kinds of maps with one value under each key: hash, array, hash that forgets the oldest.
const KINDS: [u32; 3] = [1, 2, 9];
/// No map of ours has larger keys or values.
const BYTES_MAX: u32 = 64 * 1024;
/// Type information of a whole object takes some KiB.
const TYPES_MAX: u32 = 16 << 20;

/// The beginning of `struct bpf_map_info`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    vmlinux_type: u32,
    device: u64,
    inode: u64,
    types: u32,
    key_type: u32,
    value_type: u32,
    reserved: u32,
}

/// The beginning of `struct bpf_btf_info`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct TypesInfo {
    bytes: u64,
    length: u32,
    id: u32,
}

/// `union bpf_attr` for a question about one entry.
#[derive(Default)]
#[repr(C)]
struct EntryAttribute {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for a question about what a descriptor is of.
#[derive(Default)]
#[repr(C)]
struct InfoAttribute {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The same for a descriptor by number.
#[derive(Default)]
#[repr(C)]
struct NumberAttribute {
    id: u32,
    next: u32,
    flags: u32,
}

/// A map of any shape, for reading.
pub struct RawMap {
    map: MapData,
    info: MapInfo,
}

impl RawMap {
    /// Opens a pinned map.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: &dyn std::error::Error| Error::failed(path.display(), error);
        let map = MapData::from_pin(path).map_err(|error| failed(&error))?;
        let mut info = MapInfo::default();
        let descriptor = map.fd().as_raw_fd_number();
        about(descriptor, &mut info).map_err(|error| failed(&error))?;
        // Of a map with a value for each processor the kernel would write more than one value.
        let is_plain = KINDS.contains(&info.kind);
        if !is_plain || info.key_bytes > BYTES_MAX || info.value_bytes > BYTES_MAX {
            return Err(Error::Failed(format!(
                "{}: a map of another kind than expected",
                path.display()
            )));
        }
        Ok(Self { map, info })
    }

    /// The numbers of the types of a key and a value, in [`RawMap::types`].
    pub const fn key_and_value_type(&self) -> (u32, u32) {
        (self.info.key_type, self.info.value_type)
    }

    /// What the kernel knows of the types.
    ///
    /// # Errors
    ///
    /// When it knows nothing.
    pub fn types(&self) -> io::Result<Vec<u8>> {
        let mut attribute = NumberAttribute {
            id: self.info.types,
            ..NumberAttribute::default()
        };
        let raw = command(BTF_GET_FD_BY_ID, &mut attribute)?;
        // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
        let types = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut info = TypesInfo::default();
        about(types.as_raw_fd(), &mut info)?;
        if info.length > TYPES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; info.length as usize];
        info = TypesInfo {
            bytes: bytes.as_mut_ptr() as u64,
            length: info.length,
            id: 0,
        };
        about(types.as_raw_fd(), &mut info)?;
        Ok(bytes)
    }

    /// All keys. One that comes or goes meanwhile may be missing.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        // The kernel begins anew when the last key has gone meanwhile, so there must be an end.
        while keys.len() < 2 * self.info.entries as usize {
            let mut next = vec![0; self.info.key_bytes as usize];
            let last = keys.last().map_or(std::ptr::null(), |key| key.as_ptr());
            let mut attribute = EntryAttribute {
                map: self.descriptor(),
                key: last as u64,
                value: next.as_mut_ptr() as u64,
                ..EntryAttribute::default()
            };
            if command(MAP_GET_NEXT_KEY, &mut attribute).is_err() {
                break;
            }
            keys.push(next);
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The value under a key. None for a key that is not there, or not of the map's size.
    pub fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        if key.len() != self.info.key_bytes as usize {
            return None;
        }
        let mut value = vec![0; self.info.value_bytes as usize];
        let mut attribute = EntryAttribute {
            map: self.descriptor(),
            key: key.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            ..EntryAttribute::default()
        };
        command(MAP_LOOKUP_ELEM, &mut attribute).ok()?;
        Some(value)
    }

    fn descriptor(&self) -> u32 {
        self.map.fd().as_raw_fd_number().cast_unsigned()
    }
}

/// The number of a descriptor.
trait Number {
    fn as_raw_fd_number(&self) -> libc::c_int;
}

impl Number for aya::maps::MapFd {
    fn as_raw_fd_number(&self) -> libc::c_int {
        use std::os::fd::AsFd as _;
        self.as_fd().as_raw_fd()
    }
}

/// Plain numbers that the kernel fills in.
trait Info: Default {}
impl Info for MapInfo {}
impl Info for TypesInfo {}

fn about<T: Info>(descriptor: libc::c_int, info: &mut T) -> io::Result<()> {
    let mut attribute = InfoAttribute {
        descriptor: descriptor.cast_unsigned(),
        length: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    command(OBJ_GET_INFO_BY_FD, &mut attribute).map(drop)
}

fn command<T>(number: libc::c_int, attribute: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the attribute is a whole beginning of `union bpf_attr`, and every address in it is that of
    // a buffer that is as long as the kernel takes it to be and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            number,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as libc::c_int)
}
