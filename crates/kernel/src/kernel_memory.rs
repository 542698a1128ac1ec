//! Reading fields of kernel structures by offsets that the loader took from BTF.
//!
//! By an address alone, through `bpf_probe_read_kernel`; where the verifier knows the type,
//! directly. Neither can fault: a failed read gives zero, and callers treat zero as "unknown",
//! which never permits anything.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel,
};
use aya_ebpf::programs::BtfTracePointContext;

/// An address in the kernel. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// The task that runs this program.
    #[inline(always)]
    pub fn current_task() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task() })
    }

    /// Whether this is no address.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The value that lies `offset` bytes further, or zero.
    ///
    /// There is no branch on failure, because the verifier would have to follow both ways
    /// after each read: the helper itself fills what it cannot read with zeroes.
    #[inline(always)]
    pub fn read<T: Copy + Default>(self, offset: usize) -> T {
        let mut value = T::default();
        let source = (self.0 + offset as u64) as *const c_void;
        // SAFETY: the destination is as long as said; the helper checks the source.
        unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, source) };
        value
    }

    /// The address that lies `offset` bytes further.
    #[inline(always)]
    pub fn follow(self, offset: usize) -> Self {
        Self(self.read(offset))
    }

    /// The address `offset` bytes further on, without reading.
    #[inline(always)]
    pub fn field(self, offset: usize) -> Self {
        Self(self.0 + offset as u64)
    }
}

/// A structure of the kernel whose type the verifier knows, because a tracepoint or a helper
/// gave it, or because it hangs on such a one. Reading a field is one load and no call; behind a null
/// pointer everything is zero.
#[derive(Clone, Copy)]
pub struct Typed(*const c_void);

impl Typed {
    /// The task that runs this program, which is a tracepoint's.
    #[inline(always)]
    pub fn current_task() -> Self {
        // SAFETY: the helper has no preconditions. Since 5.11.
        Self::given(unsafe { bpf_get_current_task_btf() })
    }

    /// What a helper gave.
    #[inline(always)]
    pub fn given<T>(pointer: *mut T) -> Self {
        Self(pointer.cast_const().cast())
    }

    /// An argument of the tracepoint.
    #[inline(always)]
    pub fn argument(ctx: &BtfTracePointContext, index: usize) -> Self {
        Self(ctx.arg(index))
    }

    /// One of its fields.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: a field by the running kernel's own types, which the verifier compares; the
        // kernel catches the fault of a pointer that leads nowhere.
        unsafe { *self.0.byte_add(offset).cast::<T>() }
    }

    /// The structure that one of its fields points to.
    #[inline(always)]
    pub fn follow(self, offset: usize) -> Self {
        Self(self.read(offset))
    }

    /// For helpers that take it by its type.
    #[inline(always)]
    pub fn pointer<T>(self) -> *mut T {
        self.0.cast_mut().cast()
    }

    /// For what reads it by calls.
    #[inline(always)]
    pub fn address(self) -> Address {
        Address(self.0 as u64)
    }
}

impl From<*const c_void> for Address {
    fn from(pointer: *const c_void) -> Self {
        Self(pointer as u64)
    }
}
