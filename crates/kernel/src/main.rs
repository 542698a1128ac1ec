//! The gate: the kernel programs that record lineages and permit or refuse mail.
//!
//! Each file in `hooks` is one hook: why this one, and since which kernel it exists. They
//! only gather what the policy needs, ask it, and report. No program loops without a fixed
//! bound, and what cannot be recorded or reported is counted.
//!
//! The oldest kernel that has all of it is 5.17 (`bpf_loop`).

#![no_std]
#![allow(internal_features)]
// Stable Rust has no atomic addition for BPF, which has no compare-and-swap before its third version.
#![feature(core_intrinsics)]
#![no_main]

mod arrival;
mod hooks;
mod image;
mod kernel_memory;
mod mail;
mod maps;
mod packet;
mod presence;
mod repeat;
mod report;
mod sample;

/// The helpers that read kernel memory are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier refuses programs that could get here. The compiler asks for it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
