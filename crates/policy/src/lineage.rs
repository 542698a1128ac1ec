//! How a standing is born and how exec changes it. Fork copies it unchanged.

use crate::{Invocation, Kind, Origin, Rights, Role, Tamper};

/// A program as the registry knows it at the moment of an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is registered as; [`Role::Unknown`] when it is not.
    pub role: Role,
    /// How it comes to act.
    pub kind: Kind,
    /// It is registered, but its file is not the one that was registered.
    pub changed: bool,
    /// Somebody else than root starts it.
    pub by_user: bool,
    /// Root starts it, and root alone can have written it: the file that runs and, of an
    /// interpreter, the script. Code in an argument is the caller's.
    pub is_roots: bool,
    /// What rules let it do.
    pub rights: Rights,
}

impl Program {
    /// A program that nobody registered.
    pub const UNKNOWN: Self = Self {
        role: Role::Unknown,
        kind: Kind::Batch,
        changed: false,
        by_user: false,
        is_roots: false,
        rights: Rights::NONE,
    };

    /// A registered program with its file unchanged.
    pub const fn registered(role: Role, kind: Kind) -> Self {
        Self {
            role,
            kind,
            changed: false,
            by_user: false,
            is_roots: false,
            rights: Rights::NONE,
        }
    }

    /// Whether it takes mail from whoever starts it: see [`crate::may_submit`].
    #[must_use]
    #[inline(always)]
    pub const fn takes_mail(&self) -> bool {
        self.role.takes_mail(self.kind)
    }

    /// The role that it has for what it does: a changed file is nobody's.
    #[inline(always)]
    pub(crate) const fn counts_as(&self) -> Role {
        if self.changed {
            Role::Unknown
        } else {
            self.role
        }
    }

    /// The same program, started by root or not.
    #[must_use]
    #[inline(always)]
    pub const fn started_by(self, root: bool) -> Self {
        Self {
            by_user: !root,
            ..self
        }
    }

    /// The same program where root starts it and alone can have written it, or where not.
    #[must_use]
    #[inline(always)]
    pub const fn roots(self, is_roots: bool) -> Self {
        Self { is_roots, ..self }
    }
}

/// Who made a standing worse by an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It did not get worse.
    Nobody,
    /// The program that runs from here on: the origin is foreign because of it.
    Program,
    /// The program that called exec: the environment, the arguments and the tracer, in which
    /// signs of tampering are found, are of its making.
    Caller,
}

/// What the gate holds of a process: all that a verdict depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose will it carries.
    pub origin: Origin,
    /// What the program that it runs is registered as. A changed one is unknown, unless it takes
    /// mail and is guarded.
    pub role: Role,
    /// How that program comes to act.
    pub kind: Kind,
    /// An interactive shell on a terminal, or a mailer that may send itself, started this
    /// image. Only this makes a batch mailer or a submitter the user's own.
    pub vouched: bool,
    /// The program is registered, but its file changed since.
    pub changed: bool,
    /// The user's own service manager, or the user's bus, started it or what it comes from, for whoever
    /// asked: it may be the user's, and vouches for nothing.
    pub activated: bool,
    /// What rules let its program do. Nothing where the origin needs no rule.
    pub rights: Rights,
    /// Signs of tampering, this process's own and those of its lineage.
    pub tampered: Tamper,
}

impl Standing {
    /// The standing that all others descend from: the machine itself, before its first program.
    pub const ROOT: Self = Self {
        origin: Origin::System,
        role: Role::System,
        kind: Kind::Service,
        vouched: false,
        changed: false,
        activated: false,
        rights: Rights::NONE,
        tampered: Tamper::NONE,
    };

    /// The standing of a process about which nothing is known. It may nothing.
    pub const STRANGER: Self = Self {
        origin: Origin::Foreign,
        role: Role::Unknown,
        kind: Kind::Batch,
        vouched: false,
        changed: false,
        activated: false,
        rights: Rights::NONE,
        tampered: Tamper::NONE,
    };

    /// The standing after this process has replaced its image with `program`.
    ///
    /// Who is the culprit of what got worse, [`Standing::blame`] says.
    #[must_use]
    #[inline(always)]
    pub fn after_exec(&self, program: Program, invocation: Invocation, signs: Tamper) -> Self {
        let role = program.counts_as();
        let origin = self.origin_with(program, invocation);
        Self {
            origin,
            role: if self.is_guarded_changed(program, invocation) {
                program.role
            } else {
                role
            },
            kind: self.kind_after(program),
            vouched: self.vouches_for_next_image(),
            changed: program.changed,
            activated: matches!(origin, Origin::User)
                && (self.activated || self.activates(role, program.kind)),
            rights: if matches!(origin, Origin::Service) && !program.changed {
                program.rights
            } else {
                Rights::NONE
            },
            tampered: self.tampered.with(signs),
        }
    }

    /// To whom a later refusal is due, when the exec that led from `self` to `after` is its
    /// cause.
    #[inline(always)]
    pub fn blame(&self, after: &Self) -> Blame {
        if self.origin == Origin::Foreign {
            Blame::Nobody
        } else if after.origin == Origin::Foreign {
            // cron starts a user's jobs, and reports them, as that user: it is what people know of them.
            let launches = matches!(self.role, Role::Launcher);
            if self.origin == Origin::Service && (launches || after.role.takes_mail(after.kind)) {
                Blame::Caller
            } else {
                Blame::Program
            }
        } else if after.tampered.any() && !self.tampered.any() {
            Blame::Caller
        } else {
            Blame::Nobody
        }
    }

    /// Whether it is a program that logs people in.
    #[must_use]
    #[inline(always)]
    pub const fn logs_people_in(&self) -> bool {
        matches!(self.origin, Origin::System)
            && matches!(self.role, Role::System)
            && matches!(self.kind, Kind::Interactive)
    }

    /// Whether it is a part of the machine that does what a user's files say: that user's own
    /// service manager, and what it starts.
    #[inline(always)]
    const fn serves_one_user(&self) -> bool {
        matches!(self.role, Role::System) && matches!(self.kind, Kind::Batch)
    }

    /// Whether it is a part of the machine that may hand mail to its mail server: that server itself, its
    /// filters and delivery agents, and whatever else runs for the machine and logs nobody in.
    #[inline(always)]
    const fn hands_in_for_the_machine(&self) -> bool {
        match self.role {
            Role::Mailer | Role::System => matches!(self.kind, Kind::Service),
            Role::Submitter => true,
            _ => false,
        }
    }

    /// The kind that a process has with this program. A part of the machine serves a user when that
    /// user starts it and it does what it is handed, or logs in whom its configuration names; and
    /// when something that serves a user starts it. A mail server's parts do not run as root, and
    /// serve the machine all the same.
    #[inline(always)]
    pub(crate) fn kind_after(&self, program: Program) -> Kind {
        if !matches!(program.role, Role::System) {
            return self.narrowed(program.role, program.kind);
        }
        let users = match program.kind {
            Kind::Interactive | Kind::Batch | Kind::Scheduled => program.by_user,
            Kind::Service => self.serves_one_user(),
        };
        match program.kind {
            _ if users => Kind::Batch,
            Kind::Interactive => Kind::Interactive,
            Kind::Batch | Kind::Service | Kind::Scheduled => Kind::Service,
        }
    }

    /// The origin with this program.
    #[inline(always)]
    pub(crate) fn origin_with(&self, program: Program, invocation: Invocation) -> Origin {
        self.origin_after(program.counts_as(), program, invocation)
    }

    /// The same with a program that counts as having this role.
    #[inline(always)]
    fn origin_after(&self, role: Role, program: Program, invocation: Invocation) -> Origin {
        // Nobody registered the script, and it says with which options.
        let is_script_of_taker = program.takes_mail() && matches!(invocation, Invocation::Script);
        if matches!(self.origin, Origin::Foreign) || is_script_of_taker {
            return Origin::Foreign;
        }
        let origin = match self.origin {
            Origin::System => self.origin_from_system(role, program.kind, invocation),
            Origin::User => self.origin_from_user(role, program.kind, invocation),
            Origin::Service if self.is_submitting() && role.takes_mail(program.kind) => {
                Origin::Service
            }
            Origin::Service | Origin::Foreign => Origin::Foreign,
        };
        // Not the user's and no part of the machine, but all of it root's own. What somebody types into a
        // shell is no file of root's.
        let is_typed = matches!(invocation, Invocation::Terminal | Invocation::LoginFromHere);
        match origin {
            Origin::Foreign if program.is_roots && !is_typed => Origin::Service,
            _ => origin,
        }
    }

    #[inline(always)]
    fn origin_from_system(&self, role: Role, kind: Kind, invocation: Invocation) -> Origin {
        match role {
            Role::System => Origin::System,
            // The machine's mail server is nothing that a user's own manager starts.
            Role::Mailer if matches!(kind, Kind::Service) && !self.serves_one_user() => {
                Origin::System
            }
            // The mail server starts what a user's `.forward` names, and no desktop.
            Role::Session if matches!(self.role, Role::System) => Origin::User,
            // A Sieve script forwards what arrived, and a filter writes to a postmaster.
            Role::Submitter if self.hands_in_for_the_machine() => Origin::System,
            // A service manager or cron may give a shell a terminal too, but nobody types there;
            // and at the far end of a login from this machine there may be a program.
            Role::Shell if self.logs_people_in() && matches!(invocation, Invocation::Terminal) => {
                Origin::User
            }
            _ if self.activates(role, kind) => Origin::User,
            _ => Origin::Foreign,
        }
    }

    #[inline(always)]
    fn origin_from_user(&self, role: Role, kind: Kind, invocation: Invocation) -> Origin {
        match role {
            Role::Unknown => Origin::Foreign,
            _ if !self.lets_keep_origin(role, kind) => Origin::Foreign,
            Role::Shell if !matches!(invocation, Invocation::Terminal) => Origin::Foreign,
            // Whoever asked the user's service manager has a terminal emulator start anything. What
            // acts without a person stays foreign there, unless something vouches for it.
            Role::Mailer if matches!(kind, Kind::Interactive) => Origin::User,
            Role::Mailer | Role::Submitter | Role::Chat
                if self.activated && !self.vouches_for_next_image() =>
            {
                Origin::Foreign
            }
            // A desktop shell that restarts itself, or su and login, stay the user's.
            _ => Origin::User,
        }
    }

    /// Whether the user's own service manager or bus makes a program of this role the user's. They
    /// start it for whoever asks, so it must be one that acts when a person does something in its
    /// window, or one that passes the origin on.
    #[inline(always)]
    pub(crate) fn activates(&self, role: Role, kind: Kind) -> bool {
        matches!(self.origin, Origin::System)
            && self.serves_one_user()
            && match role {
                Role::Launcher | Role::Helper => true,
                Role::Mailer | Role::Sandbox => matches!(kind, Kind::Interactive),
                _ => false,
            }
    }

    /// Whether it takes mail and was let. Its parts may run as other users: Exim starts itself anew as its
    /// own user, and nullmailer's queue belongs to another.
    #[inline(always)]
    fn is_submitting(&self) -> bool {
        self.role.takes_mail(self.kind) && !self.changed
    }

    /// Whether a changed program is still guarded as what takes mail: where this process could hand it
    /// none if it had not changed. Whoever could has it run, as a stranger that sends nothing and
    /// hands nothing on. An upgrade changes files while people write and the mail server
    /// works; ending those programs until the daemon has verified them would lose a message, or
    /// have Postfix wait a minute before it starts the next.
    #[inline(always)]
    pub(crate) fn is_guarded_changed(&self, program: Program, invocation: Invocation) -> bool {
        if !program.changed || !program.takes_mail() {
            return false;
        }
        let unchanged = self.origin_after(program.role, program, invocation);
        let hands_mail = match unchanged {
            Origin::System | Origin::Service => !self.tampered.any(),
            Origin::User => self.vouches_for_next_image(),
            Origin::Foreign => false,
        };
        !hands_mail
    }

    /// A shell keeps the user's origin only while it is interactive, so the role is enough
    /// to know that a person types. A submitter passes on what vouched for it. What the user's service
    /// manager has started vouches for nothing: whoever asked may have said what it does.
    #[inline(always)]
    pub(crate) fn vouches_for_next_image(&self) -> bool {
        if self.origin != Origin::User || self.activated || self.tampered.any() {
            return false;
        }
        match self.role {
            Role::Shell => true,
            Role::Mailer => match self.kind {
                Kind::Interactive => true,
                Kind::Batch | Kind::Service | Kind::Scheduled => self.vouched,
            },
            Role::Submitter | Role::Helper | Role::Sandbox => self.vouched,
            _ => false,
        }
    }
}
