//! Empty kernel programs on the gate's hooks: what they cost is the floor for any program
//! there. They are attached as long as the value lives.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

use super::bpf;

const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const LINK_CREATE: libc::c_long = 28;

const WHAT: &str = "an empty kernel program";

/// A kind of program: its number in the kernel, and where it is attached.
#[derive(Clone, Copy)]
struct Hook {
    program: u32,
    attach: u32,
}

const SKB_INGRESS: Hook = Hook {
    program: 8,
    attach: 0,
};
const SKB_EGRESS: Hook = Hook {
    program: 8,
    attach: 1,
};
const CONNECT4: Hook = Hook {
    program: 18,
    attach: 10,
};
const CONNECT6: Hook = Hook {
    program: 18,
    attach: 11,
};

/// A tracepoint with types, which the kernel's type information numbers.
const TRACEPOINT: Hook = Hook {
    program: bpf::TRACING,
    attach: 23,
};

/// `r0 = 1; exit`, as the kernel encodes it.
const PERMIT: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// The first fields of `union bpf_attr` for loading a program.
#[repr(C)]
struct Load {
    program: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
    debug_information: [u32; 9],
    attach_type_id: u32,
}

/// The same for a link to a tracepoint with types, which has no name.
#[repr(C)]
struct OpenTracepoint {
    name: u64,
    program: u32,
    reserved: u32,
}

/// The same for another link.
#[repr(C)]
struct Attach {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

/// Attached programs.
#[derive(Debug)]
pub struct EmptyPrograms {
    links: Vec<OwnedFd>,
}

impl EmptyPrograms {
    /// On the packets' ways in and out.
    pub fn packet_pair(cgroup: &Path) -> Result<Self> {
        Self::attach(cgroup, &[SKB_INGRESS, SKB_EGRESS])
    }

    /// On the gate's own: those of connections and packets, and its tracepoints. Older kernels have
    /// one more.
    pub fn as_the_gate(cgroup: &Path, has_ingress: bool, tracepoints: &[u32]) -> Result<Self> {
        let mut hooks = vec![CONNECT4, CONNECT6, SKB_EGRESS];
        if has_ingress {
            hooks.push(SKB_INGRESS);
        }
        let mut programs = Self::attach(cgroup, &hooks)?;
        for tracepoint in tracepoints {
            let link = attach_to_tracepoint(*tracepoint);
            programs.links.push(link.context(WHAT)?);
        }
        Ok(programs)
    }

    fn attach(cgroup: &Path, hooks: &[Hook]) -> Result<Self> {
        let folder = File::open(cgroup).with_context(|| cgroup.display().to_string())?;
        let links = hooks.iter().map(|hook| attach_one(&folder, *hook));
        let links = links.collect::<io::Result<_>>();
        Ok(Self {
            links: links.context(WHAT)?,
        })
    }
}

fn attach_one(cgroup: &File, hook: Hook) -> io::Result<OwnedFd> {
    let program = load(hook, 0)?;
    let link = Attach {
        program: program.as_raw_fd() as u32,
        target: cgroup.as_raw_fd() as u32,
        attach: hook.attach,
        flags: 0,
    };
    bpf::make(LINK_CREATE, &link)
}

fn attach_to_tracepoint(type_id: u32) -> io::Result<OwnedFd> {
    let program = load(TRACEPOINT, type_id)?;
    let link = OpenTracepoint {
        name: 0,
        program: program.as_raw_fd() as u32,
        reserved: 0,
    };
    bpf::make(RAW_TRACEPOINT_OPEN, &link)
}

fn load(hook: Hook, attach_type_id: u32) -> io::Result<OwnedFd> {
    let load = Load {
        program: hook.program,
        instructions: PERMIT.len() as u32,
        code: PERMIT.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach: hook.attach,
        debug_information: [0; 9],
        attach_type_id,
    };
    bpf::make(PROG_LOAD, &load)
}
