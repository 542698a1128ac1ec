//! Every combination that the policy can be asked about, compared with the design's table,
//! which is written down here a second time and in another form.

use policy::{
    Invocation, Kind, Origin, Program, Rate, Reason, Role, Standing, Tamper, Verdict,
    is_read_for_mail, may_send, may_submit,
};

fn standings() -> impl Iterator<Item = Standing> {
    Origin::ALL.into_iter().flat_map(|origin| {
        Role::ALL.into_iter().flat_map(move |role| {
            Kind::ALL.into_iter().flat_map(move |kind| {
                [false, true].into_iter().flat_map(move |vouched| {
                    [Tamper::NONE, Tamper::ENVIRONMENT]
                        .into_iter()
                        .flat_map(move |tampered| {
                            [false, true].into_iter().map(move |changed| Standing {
                                origin,
                                role,
                                kind,
                                vouched,
                                changed,
                                tampered,
                            })
                        })
                })
            })
        })
    })
}

fn programs() -> impl Iterator<Item = Program> {
    Role::ALL.into_iter().flat_map(|role| {
        Kind::ALL.into_iter().flat_map(move |kind| {
            [false, true].into_iter().map(move |changed| Program {
                role,
                kind,
                changed,
                by_user: false,
            })
        })
    })
}

fn takes_mail(role: Role, kind: Kind) -> bool {
    role == Role::Submitter || (role == Role::Mailer && kind == Kind::Service)
}

/// The design's section 4, sentence by sentence.
fn expected_origin(before: &Standing, program: Program, invocation: Invocation) -> Origin {
    let role = if program.changed {
        Role::Unknown
    } else {
        program.role
    };
    if invocation == Invocation::Script && takes_mail(program.role, program.kind) {
        return Origin::Foreign;
    }
    match (before.origin, role) {
        // Foreign stays foreign, whatever the program is.
        (Origin::Foreign, _) => Origin::Foreign,
        // A desktop shell makes it the user's.
        (Origin::System, Role::Session) => Origin::User,
        // So does a shell on a terminal, when a login program starts it.
        (Origin::System, Role::Shell) => {
            let login = before.role == Role::System && before.kind == Kind::Interactive;
            if login && invocation == Invocation::Terminal {
                Origin::User
            } else {
                Origin::Foreign
            }
        }
        (Origin::System, Role::System) => Origin::System,
        // A mailer registered as a service stays the system's, unless it is a user's own service
        // manager that starts it.
        (Origin::System, Role::Mailer) if program.kind == Kind::Service => {
            if before.role == Role::System && before.kind == Kind::Batch {
                Origin::Foreign
            } else {
                Origin::System
            }
        }
        (Origin::System, _) => Origin::Foreign,
        // Unknown programs become foreign; a shell with a script counts as the script.
        (Origin::User, Role::Unknown) => Origin::Foreign,
        // A sandbox's own parts count only below its command.
        (Origin::User, Role::Sandbox)
            if before.role != Role::Sandbox && program.kind != Kind::Interactive =>
        {
            Origin::Foreign
        }
        // A browser, what it starts, and a sandbox start neither shells nor desktops.
        (Origin::User, Role::Shell | Role::Session | Role::System)
            if before.role == Role::Sandbox
                || (matches!(before.role, Role::Launcher | Role::Helper)
                    && before.kind == Kind::Batch) =>
        {
            Origin::Foreign
        }
        (Origin::User, Role::Shell) if invocation != Invocation::Terminal => Origin::Foreign,
        (Origin::User, _) => Origin::User,
    }
}

#[test]
fn origin_follows_the_design_for_every_standing_program_and_invocation() {
    let mut count = 0;
    for before in standings() {
        for program in programs() {
            for invocation in Invocation::ALL {
                let after = before.after_exec(program, invocation, Tamper::NONE);
                assert_eq!(
                    after.origin,
                    expected_origin(&before, program, invocation),
                    "{before:?} runs {program:?} {invocation:?}"
                );
                assert!(
                    after.origin >= before.origin,
                    "an origin improved: {before:?} -> {after:?}"
                );
                assert_eq!(after.tampered, before.tampered, "signs of tampering stay");
                count += 1;
            }
        }
    }
    assert_eq!(count, 3 * 10 * 3 * 2 * 2 * 2 * (10 * 3 * 2) * 4);
}

/// A part of the machine that a user starts, or that something starts which a user has started,
/// logs nobody in and starts no mail server. What a mail server's own parts start as another user is
/// the machine's.
#[test]
fn what_a_user_starts_is_not_the_machine() {
    let exec = |before: Standing, kind: Kind, root: bool| {
        let program = Program::registered(Role::System, kind).started_by(root);
        before.after_exec(program, Invocation::Plain, Tamper::NONE)
    };
    let origins = |manager: Standing| {
        [(Role::Shell, Kind::Batch), (Role::Mailer, Kind::Service)].map(|(role, kind)| {
            let next = Program::registered(role, kind).started_by(false);
            let next = manager.after_exec(next, Invocation::Terminal, Tamper::NONE);
            next.origin
        })
    };
    for kind in [Kind::Interactive, Kind::Batch] {
        let users = exec(Standing::ROOT, kind, false);
        assert_eq!(origins(users), [Origin::Foreign; 2], "{kind:?}");
        for next in Kind::ALL {
            let next = exec(users, next, false);
            assert_eq!(origins(next), [Origin::Foreign; 2], "{kind:?}, {next:?}");
        }
    }
    let login = exec(Standing::ROOT, Kind::Interactive, true);
    assert_eq!(origins(login), [Origin::User, Origin::System]);
    let part = exec(Standing::ROOT, Kind::Service, false);
    assert_eq!(origins(part), [Origin::Foreign, Origin::System]);
    let manager = exec(Standing::ROOT, Kind::Batch, true);
    assert_eq!(origins(manager), [Origin::Foreign, Origin::System]);
    // Of other programs it does not matter who starts them.
    for program in programs().filter(|program| program.role != Role::System) {
        for before in standings() {
            let [user, root] = [false, true].map(|root| {
                before.after_exec(program.started_by(root), Invocation::Plain, Tamper::NONE)
            });
            assert_eq!(user, root, "{program:?}");
        }
    }
}

#[test]
fn only_five_standings_may_send() {
    let allowed: Vec<Standing> = standings()
        .filter(|one| may_send(one, Rate::UNLIMITED) == Verdict::Allow)
        .collect();
    for one in &allowed {
        assert_eq!(one.role, Role::Mailer);
        assert!(!one.changed && !one.tampered.any());
        let fits = match one.kind {
            Kind::Interactive => one.origin == Origin::User,
            Kind::Batch => one.origin == Origin::User && one.vouched,
            Kind::Service => one.origin == Origin::System,
        };
        assert!(fits, "{one:?}");
    }
    // Interactive and service with and without a voucher, batch with one.
    assert_eq!(allowed.len(), 5);
}

/// On other ports too, nobody speaks mail unread but mailers and the machine's services, and none
/// of these when it does not act for itself.
#[test]
fn whoever_may_not_send_is_read() {
    for one in standings() {
        let service =
            one.origin == Origin::System && one.role == Role::System && one.kind == Kind::Service;
        let exempt = one.role == Role::Mailer || service;
        let itself = one.origin != Origin::Foreign && !one.tampered.any();
        assert_eq!(is_read_for_mail(&one), !(exempt && itself), "{one:?}");
    }
}

#[test]
fn the_rate_is_the_last_question() {
    for one in standings() {
        let full = Rate { used: 7, limit: 7 };
        let verdict = may_send(&one, full);
        match may_send(&one, Rate::UNLIMITED) {
            Verdict::Allow => assert_eq!(verdict, Verdict::Refuse(Reason::RateExceeded)),
            refused => assert_eq!(verdict, refused),
        }
        assert_eq!(
            may_send(&one, Rate { used: 6, limit: 7 }),
            may_send(&one, Rate::UNLIMITED)
        );
    }
}

#[test]
fn submitters_take_mail_only_from_those_who_may_send() {
    for one in standings() {
        let answer = may_submit(&one);
        assert_eq!(answer.is_some(), takes_mail(one.role, one.kind));
        if answer == Some(Verdict::Allow) {
            assert!(!one.tampered.any());
            assert!(
                one.origin == Origin::System || (one.origin == Origin::User && one.vouched),
                "{one:?}"
            );
        }
    }
}

/// What takes mail and has changed is refused to whom it would be refused unchanged; whoever might
/// have handed it mail starts a stranger.
#[test]
fn a_changed_file_opens_nothing() {
    for before in standings() {
        for program in programs().filter(|program| program.takes_mail() && program.changed) {
            for invocation in Invocation::ALL {
                let exec = |program| before.after_exec(program, invocation, Tamper::NONE);
                let unchanged = Program {
                    changed: false,
                    ..program
                };
                let after = exec(program);
                let expected = match may_submit(&exec(unchanged)) {
                    Some(Verdict::Allow) => {
                        assert_eq!(after.role, Role::Unknown);
                        None
                    }
                    _ => Some(Verdict::Refuse(Reason::FileChanged)),
                };
                assert_eq!(may_submit(&after), expected, "{before:?} runs {program:?}");
                assert_eq!(after.origin, Origin::Foreign);
            }
        }
    }
}

/// A script that names what takes mail as its interpreter is nobody's, whoever starts it.
#[test]
fn what_takes_mail_runs_no_scripts() {
    for before in standings() {
        for program in programs().filter(|program| program.takes_mail() && !program.changed) {
            let after = before.after_exec(program, Invocation::Script, Tamper::NONE);
            let refused = Some(Verdict::Refuse(Reason::ForeignOrigin));
            assert_eq!(may_submit(&after), refused, "{before:?} runs {program:?}");
        }
    }
}

#[test]
fn codes_and_words_lead_back_and_unknown_codes_permit_nothing() {
    for origin in Origin::ALL {
        assert_eq!(Origin::from_code(origin as u8), origin);
    }
    for role in Role::ALL {
        assert_eq!(Role::from_code(role as u8), role);
        assert_eq!(Role::from_word(role.word()), Some(role));
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::from_code(kind as u8), kind);
        assert_eq!(Kind::from_word(kind.word()), Some(kind));
    }
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason as u8), reason);
    }
    for code in 10..=u8::MAX {
        assert_eq!(Origin::from_code(code), Origin::Foreign);
        assert_eq!(Role::from_code(code), Role::Unknown);
        assert_eq!(Kind::from_code(code), Kind::Batch);
    }
    assert_eq!(Role::from_word("Mailer"), None);
}
