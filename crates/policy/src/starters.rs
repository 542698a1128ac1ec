//! What starts a mailer for somebody: how far it hands the user's origin on, and what vouches.
//!
//! - A *launcher* starts what its user picks: a panel, a terminal emulator, a file manager. Its kind
//!   [`Kind::Batch`] starts what others hand it: a browser, which opens the links of a page. That kind is
//!   *narrow*: below it only an interactive mailer is the user's, because only a person sends with one.
//! - A *helper* is typed in front of a command: `env`, `nice`, `sudo`. It does what its command line
//!   says, and nothing that a file of the user's says, so what vouched for the helper vouches for the
//!   program that it starts. Editors and terminal multiplexers run commands from such files, so
//!   they are no helpers.
//! - A *sandbox* runs one program that root installed: `flatpak run`, `snap run`. Its kind
//!   [`Kind::Interactive`] is the command that a person or a menu starts. [`Kind::Batch`] are its own
//!   parts, which count only below that command, because they lay whatever files they are told over
//!   the program's own. [`Kind::Service`] is a start script of the program inside.

use crate::{Kind, Role, Standing};

impl Standing {
    /// Whether only some programs keep the user's origin when this process starts them.
    #[inline(always)]
    pub(crate) const fn is_narrow(&self) -> bool {
        match self.role {
            Role::Sandbox => true,
            Role::Launcher | Role::Helper => matches!(self.kind, Kind::Batch),
            _ => false,
        }
    }

    /// Whether a program of this role and kind keeps the user's origin, as far as the process that
    /// starts it decides that. All else in the rules of [`Standing::after_exec`] comes on top.
    #[inline(always)]
    pub(crate) const fn lets_keep_origin(&self, role: Role, kind: Kind) -> bool {
        let is_part = matches!(role, Role::Sandbox) && !matches!(kind, Kind::Interactive);
        if is_part {
            return matches!(self.role, Role::Sandbox);
        }
        !self.is_narrow()
            || matches!(
                role,
                Role::Launcher
                    | Role::Helper
                    | Role::Sandbox
                    | Role::Mailer
                    | Role::Submitter
                    | Role::Chat
            )
    }

    /// What is started from something narrow, and starts programs itself, is narrow too.
    #[inline(always)]
    pub(crate) const fn narrowed(&self, role: Role, kind: Kind) -> Kind {
        match role {
            Role::Launcher | Role::Helper if self.is_narrow() => Kind::Batch,
            _ => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Attempt, Rate, may_send, may_submit};
    use crate::{Invocation, Kind, Origin, Program, Reason, Role, Standing, Tamper, Verdict};

    const BATCH: Program = Program::registered(Role::Mailer, Kind::Batch);
    const INTERACTIVE: Program = Program::registered(Role::Mailer, Kind::Interactive);
    const SUBMITTER: Program = Program::registered(Role::Submitter, Kind::Batch);
    const LAUNCHER: Program = Program::registered(Role::Launcher, Kind::Interactive);
    const BROWSER: Program = Program::registered(Role::Launcher, Kind::Batch);
    const HELPER: Program = Program::registered(Role::Helper, Kind::Interactive);
    const FLATPAK: Program = Program::registered(Role::Sandbox, Kind::Interactive);
    const PART: Program = Program::registered(Role::Sandbox, Kind::Batch);
    const START_SCRIPT: Program = Program::registered(Role::Sandbox, Kind::Service);
    const SHELL: Program = Program::registered(Role::Shell, Kind::Interactive);
    const SESSION: Program = Program::registered(Role::Session, Kind::Interactive);

    fn desktop() -> Standing {
        Standing {
            origin: Origin::User,
            role: Role::Session,
            kind: Kind::Interactive,
            ..Standing::ROOT
        }
    }

    fn prompt() -> Standing {
        Standing {
            role: Role::Shell,
            ..desktop()
        }
    }

    /// The standing behind these programs, one after the other. A shell has a terminal.
    fn through(start: Standing, programs: &[Program]) -> Standing {
        programs.iter().fold(start, |standing, program| {
            let how = match program.role {
                Role::Shell => Invocation::Terminal,
                _ => Invocation::Plain,
            };
            standing.after_exec(*program, how, Tamper::NONE)
        })
    }

    fn sends(standing: &Standing) -> Verdict {
        let attempt = Attempt {
            to_itself: false,
            by_root: false,
        };
        may_send(standing, attempt, Rate::UNLIMITED)
    }

    #[test]
    fn a_browser_starts_an_interactive_mailer_and_no_other() {
        for chain in [
            &[BROWSER][..],
            &[BROWSER, LAUNCHER],
            &[LAUNCHER, BROWSER, HELPER],
        ] {
            let browser = through(desktop(), chain);
            assert_eq!(sends(&through(browser, &[INTERACTIVE])), Verdict::Allow);
            let refused = Verdict::Refuse(Reason::NeedsTerminal);
            assert_eq!(sends(&through(browser, &[BATCH])), refused);
            // Neither a terminal below it nor another desktop shell is the user's.
            for way in [
                &[SHELL][..],
                &[LAUNCHER, SHELL],
                &[SESSION],
                &[SESSION, SHELL],
            ] {
                let after = through(through(browser, way), &[BATCH]);
                assert_eq!(after.origin, Origin::Foreign, "{chain:?} {way:?}");
            }
            let submitted = may_submit(&through(browser, &[SUBMITTER]));
            assert_ne!(submitted, Some(Verdict::Allow));
        }
    }

    #[test]
    fn a_helper_hands_on_what_vouched_for_it() {
        for chain in [&[HELPER][..], &[HELPER, HELPER]] {
            assert_eq!(
                sends(&through(through(prompt(), chain), &[BATCH])),
                Verdict::Allow
            );
            let submitter = through(through(prompt(), chain), &[SUBMITTER]);
            assert_eq!(may_submit(&submitter), Some(Verdict::Allow));
            // Nobody vouched for what the desktop started.
            let asked = through(through(desktop(), chain), &[BATCH]);
            assert_eq!(sends(&asked), Verdict::Refuse(Reason::NeedsTerminal));
            let asked = through(through(desktop(), chain), &[INTERACTIVE]);
            assert_eq!(sends(&asked), Verdict::Allow);
        }
        // Only what the helper itself starts.
        let further = through(prompt(), &[HELPER, LAUNCHER, BATCH]);
        assert_eq!(sends(&further), Verdict::Refuse(Reason::NeedsTerminal));
        let bot = through(prompt(), &[HELPER, Program::UNKNOWN, HELPER, BATCH]);
        assert_eq!(sends(&bot), Verdict::Refuse(Reason::ForeignOrigin));
        let foreign = through(Standing::STRANGER, &[HELPER, BATCH]);
        assert_eq!(sends(&foreign), Verdict::Refuse(Reason::ForeignOrigin));
        let machine = through(Standing::ROOT, &[HELPER, BATCH]);
        assert_eq!(sends(&machine), Verdict::Refuse(Reason::ForeignOrigin));
    }

    /// The user's service manager starts programs for whoever asks.
    #[test]
    fn what_the_users_manager_starts_hands_the_origin_on_and_vouches_for_nothing() {
        let manager = Standing {
            kind: Kind::Batch,
            ..Standing::ROOT
        };
        for chain in [
            &[HELPER][..],
            &[FLATPAK, PART],
            &[BROWSER],
            &[HELPER, LAUNCHER],
        ] {
            let started = through(manager, chain);
            assert_eq!(
                sends(&through(started, &[INTERACTIVE])),
                Verdict::Allow,
                "{chain:?}"
            );
            assert_ne!(
                sends(&through(started, &[BATCH])),
                Verdict::Allow,
                "{chain:?}"
            );
            assert_ne!(
                sends(&through(started, &[SHELL, BATCH])),
                Verdict::Allow,
                "{chain:?}"
            );
        }
    }

    #[test]
    fn a_sandbox_runs_one_program_and_nothing_beside_it() {
        let inside = [FLATPAK, PART];
        for start in [desktop(), prompt()] {
            let program = through(through(start, &inside), &[INTERACTIVE]);
            assert_eq!(sends(&program), Verdict::Allow);
            let scripted = through(through(start, &inside), &[START_SCRIPT, INTERACTIVE]);
            assert_eq!(sends(&scripted), Verdict::Allow);
            for other in [SHELL, Program::UNKNOWN, SESSION] {
                let other = through(through(start, &inside), &[other, INTERACTIVE]);
                assert_eq!(sends(&other), Verdict::Refuse(Reason::ForeignOrigin));
            }
        }
        // Its parts lay anything over anything, so nobody else may start them.
        for start in [desktop(), prompt(), through(desktop(), &[LAUNCHER])] {
            for part in [PART, START_SCRIPT] {
                let program = through(start, &[part, INTERACTIVE]);
                assert_eq!(sends(&program), Verdict::Refuse(Reason::ForeignOrigin));
            }
        }
        let batch = through(through(desktop(), &inside), &[BATCH]);
        assert_eq!(sends(&batch), Verdict::Refuse(Reason::NeedsTerminal));
        let typed = through(through(prompt(), &inside), &[BATCH]);
        assert_eq!(sends(&typed), Verdict::Allow);
    }
}
