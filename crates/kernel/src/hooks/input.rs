//! `fentry/input_event`: somebody uses a keyboard, a mouse or a touch screen of this machine.
//!
//! Why here: every driver of an input device reports by this function, whoever has taken the device for
//! itself. Reading the devices (`/dev/input`) would show the daemon which keys are pressed, and
//! a mask that hides the keys hides the times too. A desktop's own word (logind's IdleHint) is what any program of
//! the user says. This program looks at the kind of event, keeps the time and nothing else.
//!
//! What a program makes up does not come by here (XTEST, virtual keyboards of Wayland, a write into
//! `/dev/input`), or comes from a device that hangs on no other (uinput). fentry since 5.5, on arm64 since
//! 6.0; where it is missing, presence is unknown and `status` says so.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::kernel_memory::Address;
use crate::presence::{SEAT, place};

/// A key, a button or a finger on a touch screen.
const EV_KEY: u32 = 1;
/// A mouse moves. A sensor of movement in a laptop reports positions instead, by itself.
const EV_REL: u32 = 2;

#[fentry(function = "input_event")]
pub fn input(ctx: FEntryContext) -> i32 {
    let kind: u32 = ctx.arg(1);
    // What is let go was pressed before, maybe hours ago.
    let value: i32 = ctx.arg(3);
    if !(kind == EV_KEY || kind == EV_REL) || value == 0 {
        return 0;
    }
    let parent = place!(input_parent);
    let device = Address(ctx.arg::<u64>(0));
    if parent == 0 || device.follow(parent).is_null() {
        return 0;
    }
    let Some(seat) = SEAT.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a whole value of the map; of two that come at once, either is right.
    unsafe { (*seat).used_ns = bpf_ktime_get_boot_ns() };
    0
}
