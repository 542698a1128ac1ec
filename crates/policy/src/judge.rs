//! The two questions: may this process send, and may it hand mail to a submitter?

use crate::{Kind, Origin, Rights, Role, Standing};

/// Where a connection to a mail port goes, and who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// It goes to this machine's own loopback addresses.
    pub to_itself: bool,
    /// The process runs as root at this moment: it may have become another user since its exec.
    pub by_root: bool,
}

/// Whether a destination in network order, with IPv4 in the first four bytes, is this machine itself by the
/// loopback interface. The kernel takes the address of nobody for it too.
#[must_use]
#[inline(always)]
pub fn is_loopback(address: &[u8; 16], family: u8) -> bool {
    let word = |at: usize| {
        u32::from_ne_bytes([
            address[at],
            address[at + 1],
            address[at + 2],
            address[at + 3],
        ])
    };
    if family == 4 {
        return address[0] == 127 || word(0) == 0;
    }
    let is_short = word(0) == 0 && word(4) == 0;
    let is_mapped = word(8) == u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let last = word(12);
    is_short
        && ((word(8) == 0 && (last == 0 || last == u32::from_ne_bytes([0, 0, 0, 1])))
            || (is_mapped && (address[12] == 127 || last == 0)))
}

/// How often a mailer has opened a connection in the current minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections already permitted in this minute.
    pub used: u32,
    /// Connections a minute; 0 means no limit.
    pub limit: u32,
}

impl Rate {
    /// No limit at all.
    pub const UNLIMITED: Self = Self { used: 0, limit: 0 };

    #[inline(always)]
    const fn exceeded(self) -> bool {
        self.limit != 0 && self.used >= self.limit
    }
}

/// Why the answer was what it was. The order of the codes is the order of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Every condition holds.
    Permitted = 0,
    /// The gate has no record of the process.
    UnknownProcess = 1,
    /// The program is not registered as a mailer.
    NotAMailer = 2,
    /// The program's file is not the one that was registered.
    FileChanged = 3,
    /// The process does not carry the user's will: a culprit stands in its lineage.
    ForeignOrigin = 4,
    /// An interactive mailer was started by the system instead of the user.
    NeedsUser = 5,
    /// A batch mailer or a submitter was started by the desktop instead of at a terminal.
    NeedsTerminal = 6,
    /// A service mailer was started by the user instead of the system.
    NeedsSystem = 7,
    /// Somebody tampered with the process or with one that it descends from.
    Tampered = 8,
    /// The mailer opens connections faster than its limit.
    RateExceeded = 9,
    /// A packet to a mail port from a socket that has no grant.
    NoGrant = 10,
    /// A process that may not send itself wrote into a connection that was granted to a mailer.
    GrantOfAnother = 11,
    /// A process that may not send spoke mail on a port that is no mail port.
    MailOnOtherPort = 12,
    /// A socket has no room left for what the gate keeps of its connection.
    NoRoom = 13,
    /// A mailer asked for Multipath TCP, where nothing tells who writes into a connection.
    Multipath = 14,
    /// A program of the machine's may hand mail to this machine's mail server only, and only as root.
    NeedsRule = 16,
    /// A batch mailer or a submitter was started at a terminal, but not by the shell itself: another
    /// program stands between the two. The kernel gives [`Reason::NeedsTerminal`]; the engine tells the
    /// two apart by the lineage.
    IndirectStart = 20,
}

impl Reason {
    /// Every reason, for tables and exhaustive tests.
    pub const ALL: [Self; 17] = [
        Self::Permitted,
        Self::UnknownProcess,
        Self::NotAMailer,
        Self::FileChanged,
        Self::ForeignOrigin,
        Self::NeedsUser,
        Self::NeedsTerminal,
        Self::NeedsSystem,
        Self::Tampered,
        Self::RateExceeded,
        Self::NoGrant,
        Self::GrantOfAnother,
        Self::MailOnOtherPort,
        Self::NoRoom,
        Self::Multipath,
        Self::NeedsRule,
        Self::IndirectStart,
    ];

    /// Reads a code; an unassigned one is [`Reason::UnknownProcess`].
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Permitted,
            2 => Self::NotAMailer,
            3 => Self::FileChanged,
            4 => Self::ForeignOrigin,
            5 => Self::NeedsUser,
            6 => Self::NeedsTerminal,
            7 => Self::NeedsSystem,
            8 => Self::Tampered,
            9 => Self::RateExceeded,
            10 => Self::NoGrant,
            11 => Self::GrantOfAnother,
            12 => Self::MailOnOtherPort,
            13 => Self::NoRoom,
            14 => Self::Multipath,
            16 => Self::NeedsRule,
            20 => Self::IndirectStart,
            _ => Self::UnknownProcess,
        }
    }

    /// The word that programs read in `--json` output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::UnknownProcess => "unknown-process",
            Self::NotAMailer => "not-a-mailer",
            Self::FileChanged => "file-changed",
            Self::ForeignOrigin => "foreign-origin",
            Self::NeedsUser => "needs-user",
            Self::NeedsTerminal => "needs-terminal",
            Self::NeedsSystem => "needs-system",
            Self::Tampered => "tampered",
            Self::RateExceeded => "rate-exceeded",
            Self::NoGrant => "no-grant",
            Self::GrantOfAnother => "grant-of-another",
            Self::MailOnOtherPort => "mail-on-other-port",
            Self::NoRoom => "no-room",
            Self::Multipath => "multipath",
            Self::NeedsRule => "needs-rule",
            Self::IndirectStart => "indirect-start",
        }
    }
}

/// The answer to a question of the policy.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No, with the first reason that applies.
    Refuse(Reason),
}

impl Verdict {
    /// The reason behind the answer.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Allow => Reason::Permitted,
            Self::Refuse(reason) => reason,
        }
    }
}

/// May this process open a connection to a mail port?
#[inline(always)]
pub fn may_send(process: &Standing, attempt: Attempt, rate: Rate) -> Verdict {
    if process.changed {
        return Verdict::Refuse(Reason::FileChanged);
    }
    if matches!(process.origin, Origin::Service) {
        return may_service_send(process, attempt);
    }
    if process.role != Role::Mailer {
        return Verdict::Refuse(Reason::NotAMailer);
    }
    let origin = match (process.origin, process.kind) {
        (Origin::Foreign, _) => Verdict::Refuse(Reason::ForeignOrigin),
        (Origin::User, Kind::Interactive) => Verdict::Allow,
        (Origin::User, Kind::Batch) if process.vouched => Verdict::Allow,
        (Origin::User, Kind::Batch) => Verdict::Refuse(Reason::NeedsTerminal),
        // Exim is `sendmail` too, and starts itself anew to deliver what it was let take.
        (Origin::User, Kind::Service) if process.vouched => Verdict::Allow,
        (Origin::User, Kind::Service) => Verdict::Refuse(Reason::NeedsSystem),
        (Origin::System, Kind::Service) => Verdict::Allow,
        (Origin::System, Kind::Interactive | Kind::Batch) => Verdict::Refuse(Reason::NeedsUser),
        (Origin::Service, _) => Verdict::Refuse(Reason::NeedsRule),
    };
    match origin {
        Verdict::Refuse(_) => origin,
        Verdict::Allow if process.tampered.any() => Verdict::Refuse(Reason::Tampered),
        Verdict::Allow if rate.exceeded() => Verdict::Refuse(Reason::RateExceeded),
        Verdict::Allow => Verdict::Allow,
    }
}

/// The machine's own programs hand mail to its mail server, and that server sends it elsewhere. No rate
/// bounds them: the mail server has its own limits.
#[inline(always)]
fn may_service_send(process: &Standing, attempt: Attempt) -> Verdict {
    // A program that has become another user, such as a web server's part, is asked for as that user.
    // A mailer stays the mailer that root has started.
    let to_server = attempt.to_itself && (attempt.by_root || process.role == Role::Mailer);
    if !to_server && !sends_for_the_machine(process) {
        Verdict::Refuse(Reason::NeedsRule)
    } else if process.tampered.any() {
        Verdict::Refuse(Reason::Tampered)
    } else {
        Verdict::Allow
    }
}

/// Whether a process of the machine's own is its mail server, or what takes the place of one: Exim
/// delivers as `sendmail` too what it has taken.
#[inline(always)]
fn sends_for_the_machine(process: &Standing) -> bool {
    process.role == Role::Mailer
        && (matches!(process.kind, Kind::Service) || process.rights.has(Rights::OUTSIDE))
}

/// Does what this process says on ports that are no mail ports have to be read, because mail may
/// not be among it?
///
/// A mailer may speak mail on any port. So may the machine's own services: a mail server hands
/// mail to a filter. A login program is none of them, because it forwards for whom it logs in.
#[must_use]
#[inline(always)]
pub fn is_read_for_mail(process: &Standing) -> bool {
    match (process.origin, process.role) {
        (Origin::Foreign, _) => true,
        _ if process.tampered.any() => true,
        (Origin::Service, _) => !sends_for_the_machine(process),
        (_, Role::Mailer) => false,
        (Origin::System, Role::System) => process.kind != Kind::Service,
        _ => true,
    }
}

/// May this process, which has just become a submitter, take mail?
///
/// The question is really about the process before the exec. What counts of it has been
/// carried over by [`Standing::after_exec`]: the origin and whether it vouches.
/// `None` when the program takes no mail for others and the question does not arise.
#[inline(always)]
pub fn may_submit(process: &Standing) -> Option<Verdict> {
    if !process.role.takes_mail(process.kind) {
        return None;
    }
    if process.changed {
        return Some(Verdict::Refuse(Reason::FileChanged));
    }
    let answer = match process.origin {
        Origin::Foreign => Verdict::Refuse(Reason::ForeignOrigin),
        Origin::User if !process.vouched => Verdict::Refuse(Reason::NeedsTerminal),
        Origin::User | Origin::System | Origin::Service => Verdict::Allow,
    };
    Some(match answer {
        Verdict::Allow if process.tampered.any() => Verdict::Refuse(Reason::Tampered),
        _ => answer,
    })
}
