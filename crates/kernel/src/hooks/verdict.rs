//! How a verdict is told: the one place where the hooks write its event.

use abi::{Counter, EventTag, ProcessRecord, VerdictEvent, VerdictOrigin};
use aya_ebpf::helpers::bpf_get_current_comm;
use policy::{Reason, Standing};

use crate::report::{current_process, current_user, header_for, reserve, submit, submit_quietly};

/// What is judged, and where it goes.
pub struct Judged {
    /// What kind of deed.
    pub what: VerdictOrigin,
    /// Socket cookie; 0 when there is no socket.
    pub cookie: u64,
    /// Destination in network order.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4, 6 or 0.
    pub family: u8,
    /// Of a packet, the socket's own port in host order; else 0.
    pub own_port: u16,
    /// Whether the gate only observes.
    pub observe: u8,
}

/// Who did it.
pub struct Actor {
    /// Process; 0 where user space has to look for it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Name of its thread.
    pub comm: [u8; 16],
    /// What is said of it where it has no record any more.
    pub left: Left,
}

/// What a connection still knows of a process that is gone.
#[derive(Clone, Copy, Default)]
pub struct Left {
    /// Index of its program.
    pub program: u32,
    /// Index of the culprit in its lineage.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
}

impl Actor {
    /// The current process. Not for cgroup_skb, where these helpers are there since 6.10 only.
    #[inline(always)]
    pub fn current() -> Self {
        Self {
            pid: current_process(),
            uid: current_user(),
            comm: bpf_get_current_comm().unwrap_or([0; 16]),
            left: Left::default(),
        }
    }
}

/// Reports a verdict.
#[inline(always)]
pub fn tell(judged: &Judged, reason: Reason, actor: &Actor, record: Option<&ProcessRecord>) {
    let permitted = reason as u8 == Reason::Permitted as u8;
    let Some(mut event) = reserve::<VerdictEvent>(Counter::EventsLost) else {
        return;
    };
    let room = event.as_mut_ptr();
    // SAFETY: `room` is a whole VerdictEvent in the ring buffer; every field is written.
    unsafe {
        (*room).header = header_for(EventTag::Verdict, actor.pid, actor.uid);
        (*room).cookie = judged.cookie;
        (*room).address = judged.address;
        (*room).port = judged.port;
        (*room).family = judged.family;
        (*room).judged = judged.what as u8;
        (*room).reason = reason as u8;
        (*room).observed = (judged.observe != 0 && !permitted) as u8;
        (*room).own_port = judged.own_port;
        (*room).comm = actor.comm;
        (*room).reserved2 = 0;
        match record {
            Some(record) => {
                (*room).known = 1;
                (*room).record = *record;
            }
            None => {
                (*room).known = 0;
                (*room).record = ProcessRecord::of(&Standing::STRANGER);
                (*room).record.program = actor.left.program;
                (*room).record.culprit = actor.left.culprit;
                (*room).record.culprit_pid = actor.left.culprit_pid;
            }
        }
    }
    // A wake-up costs the caller more than all the rest. Of a permitted connection the daemon
    // hears when it ends; a refusal is told at once.
    if permitted && judged.what as u8 == VerdictOrigin::Connect as u8 {
        submit_quietly(event);
    } else {
        submit(event);
    }
}
