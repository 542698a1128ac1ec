//! A mailer that holds a grant and has code which nobody has looked at yet is reported to the keeper.
//!
//! Libraries of a mailer load code that files of the user name: a module for keys on a smart card, a
//! module of the desktop's toolkit. No hook of these kernels is passed when a file is mapped to be run, so
//! the keeper looks at the mailer's memory map. The kernel says when: at the first grant of a
//! process, and whenever it writes into a granted connection and has more pages to run than before. The
//! count is the kernel's own, so that nobody pays for it but a mailer that connects or writes mail. Until the
//! keeper has looked, what the mailer says does not leave.

use abi::{CodeEvent, CodeLook, Counter, EventTag, Flow, ProcessRecord};
use aya_ebpf::bindings::{BPF_ANY, BPF_RB_FORCE_WAKEUP};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use policy::Kind;

use crate::kernel_memory::Address;
use crate::maps::{CODE, CODE_SEEN, PROCESSES, offset};
use crate::report::{count, current_process, current_user, header_for};

/// How long what a mailer says waits for the look. It takes a millisecond; without a keeper it never
/// comes, and the mailer sends as it did before there were looks.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Asks for a look at the current process, which is to send over this connection, if its code has grown.
#[inline(always)]
pub fn ask_for_look(flow: &mut Flow) {
    // SAFETY: the flow is whole.
    let asked = unsafe { ask(core::ptr::from_ref(flow)) };
    if asked != 0 {
        flow.looked_at = asked;
    }
}

/// Whether what leaves by this connection has to wait for a look.
#[inline(always)]
pub fn waits_for_look(flow: &mut Flow) -> bool {
    if flow.looked_at == 0 {
        return false;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the value is copied out at once.
    let look = unsafe { CODE_SEEN.get(flow.looked_at) };
    if look.is_some_and(|look| look.taken == 0 && now - look.asked_ns < PATIENCE_NS) {
        return true;
    }
    flow.looked_at = 0;
    false
}

/// Returns the process when it has to be looked at, else 0.
///
/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn ask(flow: *const Flow) -> u32 {
    // SAFETY: null or whole, as the verifier sees to.
    let Some(flow) = (unsafe { flow.as_ref() }) else {
        return 0;
    };
    let pid = current_process();
    // The machine's own mailers load what root's files name.
    if PROCESSES.get_ptr(pid).is_none_or(is_service) {
        return 0;
    }
    let memory = Address::current_task().follow(offset!(task_mm));
    let pages: u64 = memory.read(offset!(mm_exec_pages));
    // SAFETY: the value is copied out at once.
    if let Some(look) = unsafe { CODE_SEEN.get(pid) }
        && look.pages == pages
    {
        return if look.taken == 0 { pid } else { 0 };
    }
    let Some(mut event) = CODE.reserve_untyped::<CodeEvent>(0) else {
        // Asked again with the next write.
        count(Counter::EventsLost);
        return 0;
    };
    let header = header_for(EventTag::Code, pid, current_user());
    let look = CodeLook {
        pages,
        asked_ns: header.boot_ns,
        taken: 0,
    };
    // Before it is asked for, so that the answer finds it.
    let _ = CODE_SEEN.insert(pid, &look, u64::from(BPF_ANY));
    event.write(CodeEvent {
        header,
        address: flow.address,
        port: flow.port,
        family: flow.family,
        reserved: [0; 5],
    });
    event.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    pid
}

#[inline(always)]
fn is_service(record: *const ProcessRecord) -> bool {
    // SAFETY: the record of the current process stays while it is in its call.
    unsafe { (*record).kind == Kind::Service as u8 }
}
