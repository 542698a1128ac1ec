//! Loops that the verifier follows once.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::bpf_loop;

/// What is done each time: its number and the state; 0 to go on, 1 to stop.
pub type Step<State> = unsafe extern "C" fn(u32, *mut State) -> u64;

/// Calls `step` so many times, or until it stops. By the helper (since 5.17): the verifier follows
/// the step once, where it follows the body of a plain loop again for each time.
#[inline(always)]
pub fn each<State>(times: u32, step: Step<State>, state: &mut State) {
    // SAFETY: the callback gets the state back, which lives longer than the call.
    unsafe { bpf_loop(times, step as *mut c_void, (&raw mut *state).cast(), 0) };
}
