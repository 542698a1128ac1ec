//! `tp_btf/sched_process_exec`: a process has a new program; its standing follows.
//!
//! Why here: `exec_binprm` calls it in the task itself, when the new image can no longer
//! fail and before it has run one instruction. Arguments and environment lie in its memory,
//! and a signal sent now is delivered on the way out: a submitter that must not run is gone
//! before its loader, constructors and all. tp_btf since 5.5, bpf_send_signal since 5.3.

use abi::{Counter, ProcessRecord, VerdictOrigin};
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_send_signal};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::{
    ArgumentRules, BY_USER, IS_ROOTS, Invocation, Origin, Parts, Readers, Role, Sign, Standing,
    TAMPER_AT, Verdict, may_submit, without_typing,
};

use crate::image::{Image, ShellStart, is_roots, logs_in_from_here, only_asks, shell_start, signs};
use crate::kernel_memory::{Address, Typed};
use crate::maps::{CODE_SEEN, PROCESSES, SCRATCH, SETTINGS};
use crate::presence::{self, TYPING, has_typed};
use crate::report::{count, current_process, current_user};

use super::verdict::{self, Actor, Judged, STRANGER};

const SIGKILL: u32 = 9;

#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::argument(&ctx, 0).address();
    let binprm = Typed::argument(&ctx, 2);
    let pid = current_process();
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own slot; see `Scratch`.
    let scratch = unsafe { &mut *scratch };
    let Some(record) = PROCESSES.get_ptr_mut(pid).or_else(|| stranger(pid)) else {
        count(Counter::ProcessesLost);
        return 0;
    };
    // SAFETY: only this process's own exec and fork touch its record, and it is here.
    let before = unsafe { (*record).standing() };

    let mut image = Image::of(binprm, scratch);
    let mut program = image.file_program(scratch);
    let mut how = Invocation::Plain;
    if image.is_script {
        // The kernel gives an interpreter the rights of its file, so a submitter is one here too.
        if program.takes_mail() {
            how = Invocation::Script;
        } else {
            program = image.script_program();
        }
    } else if program.role == Role::Shell {
        match shell_start() {
            ShellStart::Terminal => how = Invocation::Terminal,
            ShellStart::Script => how = Invocation::Script,
            ShellStart::NamedScript { only_script } => {
                program = image.count_as_script(only_script, false);
            }
            // `su -c mutt`, `nice sh -c mutt`: the shell starts one program only.
            ShellStart::Words => program = image.count_as_script(false, true),
        }
    }
    let index = image.index(scratch);
    if before.role == Role::Mailer {
        // What the next program has in memory is other code.
        let _ = CODE_SEEN.remove(pid);
    }
    let user = current_user();
    if how == Invocation::Terminal && before.origin == Origin::System && logs_in_from_here() {
        how = Invocation::LoginFromHere;
    }
    // The last use of the script's path: the look writes over it.
    let by_whom = by_whom(pid, user, image.file().0, u32::from(image.is_script));
    let mut after = standing_after(before_exec(pid), program.word(how) | by_whom);
    let origin = Origin::from_code(after as u8);
    // The user's own programs are few. What root's own files do may hand mail to the machine's server. A
    // part of the machine may start a mailer or submitter with variables that a user's file sets, as
    // cron does. What is foreign stays so.
    let is_looked_at = match origin {
        Origin::User | Origin::Service => true,
        Origin::System => matches!(program.role, Role::Mailer | Role::Submitter),
        Origin::Foreign => false,
    };
    let mut found = Sign::NONE;
    if is_looked_at {
        let rules = ArgumentRules::of(program.role, program.kind);
        let readers = Readers::of(program.role, program.kind, image.is_script);
        // SAFETY: as above.
        let counts = unsafe { (*record).signs_that_count() };
        found = signs(task, rules, readers).only(counts);
        after |= u64::from(found.tamper().0) << TAMPER_AT;
    }
    presence::note_before(pid, how as u32);
    let takes_mail = record_exec(pid, index, user, after, found.0) != 0;
    presence::typing_after_exec(has_typed(pid));
    if takes_mail {
        guard_submitter(pid);
    }
    0
}

/// Writes down an exec of the current process, and returns 1 where its program takes mail.
///
/// External linkage: the verifier checks it once, and not for each way that leads to its call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn record_exec(pid: u32, index: u32, user: u32, after: u64, found: u32) -> u32 {
    let Some(record) = PROCESSES.get_ptr_mut(pid) else {
        return 0;
    };
    // SAFETY: only this process's own exec and fork touch its record, and it is here.
    let record = unsafe { &mut *record };
    let after = Standing::from_word(after);
    record.keep_cause(Sign(found));
    record.uid = user;
    record.record_exec(&after, index, pid, 0);
    u32::from(after.role.takes_mail(after.kind))
}

/// The word of the current process's standing before the exec.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn before_exec(pid: u32) -> u64 {
    match PROCESSES.get_ptr(pid) {
        // SAFETY: only this process's own exec and fork touch its record, and it is here.
        Some(record) => unsafe { (*record).standing() }.word(),
        None => Standing::STRANGER.word(),
    }
}

/// Who starts the program, and whether it is root's own, as a program's word has it.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn by_whom(pid: u32, user: u32, file: u64, is_script: u32) -> u64 {
    if user != 0 {
        return BY_USER;
    }
    let foreign = PROCESSES
        .get_ptr(pid)
        // SAFETY: as above.
        .is_none_or(|record| unsafe { (*record).origin } == Origin::Foreign as u8);
    if !foreign && is_roots(Address(file), is_script != 0) {
        IS_ROOTS
    } else {
        0
    }
}

/// The word of a standing after an exec; see `policy::standing_of_parts`. Each part is asked for in a
/// function with external linkage, which the verifier checks once.
#[inline(always)]
fn standing_after(before: u64, program: u64) -> u64 {
    let parts = Parts {
        origin: part_origin(before, program),
        is_guarded: part_guarded(before, program),
        kind: part_kind(before, program),
        vouched: part_vouched(before),
        activated: part_activated(before, program),
    };
    policy::standing_of_parts(before, program, parts)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_origin(before: u64, program: u64) -> u64 {
    policy::origin_of(before, program)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_guarded(before: u64, program: u64) -> u64 {
    policy::is_guarded(before, program)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_kind(before: u64, program: u64) -> u64 {
    policy::kind_of(before, program)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_vouched(before: u64) -> u64 {
    policy::is_vouched(before)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_activated(before: u64, program: u64) -> u64 {
    policy::is_activated(before, program)
}

/// A record for a process that was there before the gate and escaped the seeding: it is foreign
/// until it is started anew.
#[inline(always)]
fn stranger(pid: u32) -> Option<*mut ProcessRecord> {
    count(Counter::ExecsUnknown);
    PROCESSES.insert(pid, &STRANGER, u64::from(BPF_ANY)).ok()?;
    PROCESSES.get_ptr_mut(pid)
}

/// Ends a submitter that the current process, whose record is written, may not be.
///
/// External linkage: the verifier checks it once, not for each way that leads to its call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_submitter(pid: u32) -> u32 {
    let (Some(settings), Some(record)) = (SETTINGS.get(0), PROCESSES.get_ptr_mut(pid)) else {
        return 0;
    };
    // SAFETY: only this process's own exec and fork touch its record, and it is here.
    let record = unsafe { &mut *record };
    let standing = record.standing();
    let Some(answer) = may_submit(&standing) else {
        return 0;
    };
    // An entry that is left says that nobody has typed.
    let answer = if TYPING.get_ptr(pid).is_some() {
        without_typing(answer, &standing)
    } else {
        answer
    };
    if settings.guard_submitters == 0 || !in_guarded_cgroup(settings) {
        return 0;
    }
    match answer {
        // A service mailer that its own service starts hands in nobody else's mail.
        Verdict::Allow if standing.role == Role::Mailer => return 0,
        Verdict::Allow => {}
        // Whoever may hand nothing over may ask. The process takes no mail and passes nothing on.
        Verdict::Refuse(_) if only_asks() != 0 => {
            record.role = Role::Unknown as u8;
            return 0;
        }
        Verdict::Refuse(_) => {
            if settings.observe == 0 {
                // SAFETY: the helper has no preconditions.
                unsafe { bpf_send_signal(SIGKILL) };
            }
            count(Counter::SubmittersRefused);
        }
    }
    let judged = Judged {
        what: VerdictOrigin::Submit,
        cookie: 0,
        address: [0; 16],
        port: 0,
        family: 0,
        own_port: 0,
        observe: settings.observe,
    };
    verdict::tell(
        &judged,
        answer.reason() as u8,
        &Actor::current(),
        Some(record),
    );
    0
}

/// Tracepoints see the whole machine; the gate may guard a part of it.
#[inline(always)]
fn in_guarded_cgroup(settings: &abi::Settings) -> bool {
    // SAFETY: the helper has no preconditions; an unknown level gives 0.
    let id = unsafe { bpf_get_current_ancestor_cgroup_id(settings.cgroup_level as i32) };
    id == settings.cgroup_id
}
