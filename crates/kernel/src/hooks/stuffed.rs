//! `fentry/n_tty_receive_buf`: a program puts input into a terminal (TIOCSTI), as if it had been typed.
//!
//! Why here: what is typed reaches a terminal's buffer by the other function, `n_tty_receive_buf2`. This
//! one is called for TIOCSTI alone, so nobody else pays. There is no tracepoint. What was put there is kept
//! apart from what a person types: see `presence.rs`. fentry since 5.5, on arm64 since 6.0; where it
//! is missing, `dev.tty.legacy_tiocsti=0` (since 6.2) closes the call itself.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::kernel_memory::Address;
use crate::presence::{STUFFED, place};

#[fentry(function = "n_tty_receive_buf")]
pub fn stuffing(ctx: FEntryContext) -> i32 {
    let terminal = Address::from(ctx.arg::<*const c_void>(0));
    let count = ctx.arg::<u64>(3);
    // Terminals that no shell of a user's has begun on do not matter.
    let Some(slot) = STUFFED.get_ptr_mut(terminal.0) else {
        return 0;
    };
    let head: u64 = terminal
        .follow(place!(tty_disc_data))
        .read(place!(n_tty_head));
    // SAFETY: a whole value of the map. The terminal is locked while input is put there.
    unsafe {
        (*slot).head = head + count;
        (*slot).at_ns = bpf_ktime_get_boot_ns();
    }
    0
}
