//! Reading a packet of TCP in a tracepoint that is handed it: what `packet.rs` is for programs of
//! cgroup_skb.

use aya_ebpf::bindings::bpf_dynptr;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_dynptr_read, bpf_get_socket_cookie, bpf_ktime_get_ns};

use crate::kernel_memory::Typed;
use crate::maps::offset;
use crate::packet::{Packet, Payload};

/// A packet that has come in for an established connection. It begins with the TCP header.
pub struct Arrival {
    /// `struct sock`.
    pub socket: Typed,
    /// `struct sk_buff`.
    pub packet: Typed,
}

impl Arrival {
    /// Where its payload lies.
    #[inline(always)]
    pub fn payload(&self) -> Payload {
        let bytes: u32 = self.packet.read(offset!(skb_len));
        let header = self.packet.follow(offset!(skb_data)).address();
        Payload::behind(header.read(0), 0, bytes)
    }
}

impl Packet for Arrival {
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the tracepoint's socket.
        unsafe { bpf_get_socket_cookie(self.socket.pointer()) }
    }

    /// The coarse clock is not for tracepoints. It is the same one, and a few milliseconds behind.
    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut c_void, bytes: u32) -> bool {
        let mut whole = core::mem::MaybeUninit::<bpf_dynptr>::uninit();
        // SAFETY: the packet is the tracepoint's own. What the first call leaves behind is for the
        // second, which tells when it is nothing; the caller's room.
        unsafe {
            read_packet(self.packet.pointer(), 0, whole.as_mut_ptr());
            bpf_dynptr_read(to, bytes, whole.as_ptr(), offset, 0) == 0
        }
    }
}

/// The kernel's `bpf_dynptr_from_skb`. A function of the kernel and no helper: its number is another
/// in each kernel, and the loader puts it in the place of this one (`crates/linux/src/functions.rs`).
///
/// # Safety
///
/// `packet` is one that the verifier knows, and `whole` room for what tells where its bytes are.
#[inline(always)]
unsafe fn read_packet(packet: *mut c_void, flags: u64, whole: *mut bpf_dynptr) -> i32 {
    type Function = unsafe extern "C" fn(*mut c_void, u64, *mut bpf_dynptr) -> i32;
    // SAFETY: a call of this number is what the loader looks for; no program is loaded with it.
    unsafe {
        let function: Function = core::mem::transmute(abi::PACKET_READER as usize);
        function(packet, flags, whole)
    }
}
