//! Every combination that the policy can be asked about, compared with the design's table,
//! which is written down here a second time and in another form.

use policy::{
    Attempt, Invocation, Kind, Origin, Program, Rate, Reason, Rights, Role, Standing, Tamper,
    Verdict, is_loopback, is_read_for_mail, may_send, may_submit,
};

const BOTH: [bool; 2] = [false, true];
const RIGHTS: [Rights; 2] = [Rights::NONE, Rights::OUTSIDE];

/// Every origin with every role and kind, and with all that is true of a standing or not.
/// The kinds that the kernel tells apart.
const KINDS: [Kind; 3] = [Kind::Interactive, Kind::Batch, Kind::Service];

fn standings() -> impl Iterator<Item = Standing> {
    Origin::ALL.into_iter().flat_map(|origin| {
        Role::ALL.into_iter().flat_map(move |role| {
            KINDS.into_iter().flat_map(move |kind| {
                (0_u8..32).map(move |bits| {
                    let bit = |number: u8| bits >> number & 1 != 0;
                    Standing {
                        origin,
                        role,
                        kind,
                        vouched: bit(0),
                        tampered: if bit(1) {
                            Tamper::ENVIRONMENT
                        } else {
                            Tamper::NONE
                        },
                        changed: bit(2),
                        activated: bit(3),
                        rights: RIGHTS[usize::from(bit(4))],
                    }
                })
            })
        })
    })
}

fn programs() -> impl Iterator<Item = Program> {
    Role::ALL.into_iter().flat_map(|role| {
        KINDS.into_iter().flat_map(move |kind| {
            (0_u8..8).map(move |bits| Program {
                role,
                kind,
                changed: bits & 1 != 0,
                by_user: false,
                is_roots: bits & 2 != 0,
                rights: RIGHTS[usize::from(bits >> 2)],
            })
        })
    })
}

fn attempts() -> impl Iterator<Item = Attempt> {
    BOTH.into_iter().flat_map(|to_itself| {
        BOTH.into_iter()
            .map(move |by_root| Attempt { to_itself, by_root })
    })
}

fn takes_mail(role: Role, kind: Kind) -> bool {
    role == Role::Submitter || (role == Role::Mailer && kind == Kind::Service)
}

fn hands_in(one: &Standing) -> bool {
    let part = [Role::Mailer, Role::System].contains(&one.role) && one.kind == Kind::Service;
    part || one.role == Role::Submitter
}

/// Whether this is a part of the machine that does what a user's files say.
fn is_users_manager(one: &Standing) -> bool {
    one.origin == Origin::System && one.role == Role::System && one.kind == Kind::Batch
}

/// What a user's own service manager may start as the user's: what waits for the person, and what passes
/// that on.
fn waits_for_the_person(role: Role, kind: Kind) -> bool {
    matches!(role, Role::Launcher | Role::Helper)
        || (matches!(role, Role::Mailer | Role::Sandbox) && kind == Kind::Interactive)
}

/// The design's section 4, sentence by sentence.
fn expected_origin(before: &Standing, program: Program, invocation: Invocation) -> Origin {
    let role = if program.changed {
        Role::Unknown
    } else {
        program.role
    };
    if before.origin == Origin::Foreign {
        return Origin::Foreign;
    }
    if invocation == Invocation::Script && takes_mail(program.role, program.kind) {
        return Origin::Foreign;
    }
    let is_typed = matches!(invocation, Invocation::Terminal | Invocation::LoginFromHere);
    let otherwise = if program.is_roots && !is_typed {
        Origin::Service
    } else {
        Origin::Foreign
    };
    match (before.origin, role) {
        // Foreign stays foreign, whatever the program is.
        (Origin::Foreign, _) => Origin::Foreign,
        // A desktop shell makes it the user's, unless a mail server starts it for a `.forward` file.
        (Origin::System, Role::Session) if before.role == Role::System => Origin::User,
        // The mail server and the other parts of the machine hand mail over; what logs people in does not.
        (Origin::System, Role::Submitter) if hands_in(before) => Origin::System,
        // So does a shell on a terminal, when a login program starts it.
        (Origin::System, Role::Shell) => {
            let login = before.role == Role::System && before.kind == Kind::Interactive;
            if login && invocation == Invocation::Terminal {
                Origin::User
            } else {
                otherwise
            }
        }
        (Origin::System, Role::System) => Origin::System,
        // A mailer registered as a service stays the system's, unless it is a user's own service
        // manager that starts it.
        (Origin::System, Role::Mailer) if program.kind == Kind::Service => {
            if is_users_manager(before) {
                otherwise
            } else {
                Origin::System
            }
        }
        // What waits for the person is the user's when the user's own manager starts it.
        (Origin::System, role) if waits_for_the_person(role, program.kind) => {
            if is_users_manager(before) {
                Origin::User
            } else {
                otherwise
            }
        }
        (Origin::System, _) => otherwise,
        // Unknown programs become foreign; a shell with a script counts as the script.
        (Origin::User, Role::Unknown) => otherwise,
        // A sandbox's own parts count only below its command.
        (Origin::User, Role::Sandbox)
            if before.role != Role::Sandbox && program.kind != Kind::Interactive =>
        {
            otherwise
        }
        // A browser, what it starts, and a sandbox start neither shells nor desktops.
        (Origin::User, Role::Shell | Role::Session | Role::System)
            if before.role == Role::Sandbox
                || (matches!(before.role, Role::Launcher | Role::Helper)
                    && before.kind == Kind::Batch) =>
        {
            otherwise
        }
        (Origin::User, Role::Shell) if invocation != Invocation::Terminal => otherwise,
        // Below what the user's manager has started, nothing acts without the person.
        (Origin::User, Role::Submitter | Role::Chat) if before.activated => otherwise,
        (Origin::User, Role::Mailer) if before.activated && program.kind != Kind::Interactive => {
            otherwise
        }
        (Origin::User, _) => Origin::User,
        // What takes mail and was let has parts that run as others than root.
        (Origin::Service, role)
            if takes_mail(role, program.kind)
                && takes_mail(before.role, before.kind)
                && !before.changed =>
        {
            Origin::Service
        }
        (Origin::Service, _) => otherwise,
    }
}

/// The standing after an exec as the kernel puts it together.
fn in_words(before: &Standing, program: Program, invocation: Invocation) -> Standing {
    let (before, program) = (before.word(), program.word(invocation));
    let parts = policy::Parts {
        origin: policy::origin_of(before, program),
        is_guarded: policy::is_guarded(before, program),
        kind: policy::kind_of(before, program),
        vouched: policy::is_vouched(before),
        activated: policy::is_activated(before, program),
    };
    Standing::from_word(policy::standing_of_parts(before, program, parts))
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
                assert_eq!(in_words(&before, program, invocation), after);
                let of_manager = is_users_manager(&before)
                    && !program.changed
                    && waits_for_the_person(program.role, program.kind);
                assert_eq!(
                    after.activated,
                    after.origin == Origin::User && (before.activated || of_manager),
                    "{before:?} runs {program:?}"
                );
                let ruled = after.origin == Origin::Service && !program.changed;
                let rights = if ruled { program.rights } else { Rights::NONE };
                assert_eq!(after.rights, rights, "{before:?} runs {program:?}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 4 * 10 * 3 * 32 * (10 * 3 * 8) * 4);
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
        for next in KINDS {
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
fn nobody_sends_but_those_in_the_table() {
    for one in standings() {
        for attempt in attempts() {
            let is_mailer = one.role == Role::Mailer;
            let allowed = match (one.origin, one.kind) {
                (Origin::User, Kind::Interactive | Kind::Scheduled) => is_mailer,
                (Origin::User, Kind::Batch | Kind::Service) => is_mailer && one.vouched,
                (Origin::System, Kind::Service) => is_mailer,
                // The machine's mail server, or the `sendmail` of a machine without one, sends elsewhere;
                // all others of root's hand it mail.
                (Origin::Service, kind) => {
                    let sends = kind == Kind::Service || one.rights == Rights::OUTSIDE;
                    (is_mailer && sends) || (attempt.to_itself && (attempt.by_root || is_mailer))
                }
                _ => false,
            };
            let allowed = allowed && !one.changed && !one.tampered.any();
            let verdict = may_send(&one, attempt, Rate::UNLIMITED);
            assert_eq!(verdict == Verdict::Allow, allowed, "{one:?} {attempt:?}");
            if one.origin != Origin::Service {
                assert_ne!(verdict.reason(), Reason::NeedsRule, "{one:?}");
            }
        }
    }
}

/// On other ports too, nobody speaks mail unread but mailers and the machine's services, and none
/// of these when it does not act for itself.
#[test]
fn whoever_may_not_send_is_read() {
    for one in standings() {
        let is_mailer = one.role == Role::Mailer;
        let exempt = match one.origin {
            Origin::System => is_mailer || (one.role == Role::System && one.kind == Kind::Service),
            Origin::User => is_mailer,
            Origin::Service => {
                is_mailer && (one.kind == Kind::Service || one.rights == Rights::OUTSIDE)
            }
            Origin::Foreign => false,
        };
        let itself = !one.tampered.any();
        assert_eq!(is_read_for_mail(&one), !(exempt && itself), "{one:?}");
    }
}

/// A bot may ask the user's own service manager, or a bus, for anything. Of what comes of that, nothing
/// sends but a mailer that waits for the person, and nothing else speaks mail unread.
#[test]
fn what_the_users_manager_starts_acts_for_nobody_by_itself() {
    let manager = Standing {
        kind: Kind::Batch,
        ..Standing::ROOT
    };
    let here = Attempt {
        to_itself: true,
        by_root: false,
    };
    let mut seen = vec![manager];
    let mut at = 0;
    while at < seen.len() {
        let before = seen[at];
        at += 1;
        for program in programs().filter(|program| !program.is_roots) {
            // A desktop shell is the user's, wherever it comes from: see SECURITY.md.
            if program.role == Role::Session && before.origin == Origin::System {
                continue;
            }
            for invocation in Invocation::ALL {
                let program = program.started_by(false);
                let after = before.after_exec(program, invocation, Tamper::NONE);
                if !seen.contains(&after) {
                    seen.push(after);
                }
            }
        }
    }
    for one in &seen {
        let sends = may_send(one, here, Rate::UNLIMITED) == Verdict::Allow;
        let waits = one.role == Role::Mailer && one.kind == Kind::Interactive;
        assert_eq!(
            sends,
            waits && one.origin == Origin::User && !one.changed,
            "{one:?}"
        );
        assert_ne!(may_submit(one), Some(Verdict::Allow), "{one:?}");
        assert!(
            is_read_for_mail(one) || (waits && one.origin == Origin::User),
            "{one:?}"
        );
        let is_talking = one.role == Role::Chat && one.origin == Origin::User;
        assert!(!is_talking, "{one:?}");
    }
    assert!(
        seen.iter()
            .any(|one| one.activated && one.role == Role::Shell)
    );
}

/// Mail of the machine's own: everything on the way is root's, or it is nobody's.
#[test]
fn a_file_of_others_ends_the_chain() {
    for before in standings().filter(|one| one.origin == Origin::Service) {
        for program in programs().filter(|program| !program.is_roots) {
            for invocation in Invocation::ALL {
                let after = before.after_exec(program, invocation, Tamper::NONE);
                let parts =
                    takes_mail(before.role, before.kind) && takes_mail(program.role, program.kind);
                assert!(
                    after.origin == Origin::Foreign || parts,
                    "{before:?} {program:?}"
                );
            }
        }
    }
}

#[test]
fn the_rate_is_the_last_question() {
    for one in standings() {
        for attempt in attempts() {
            let full = may_send(&one, attempt, Rate { used: 7, limit: 7 });
            let free = may_send(&one, attempt, Rate::UNLIMITED);
            match free {
                Verdict::Allow if one.origin != Origin::Service => {
                    assert_eq!(full, Verdict::Refuse(Reason::RateExceeded));
                }
                same => assert_eq!(full, same),
            }
            assert_eq!(may_send(&one, attempt, Rate { used: 6, limit: 7 }), free);
        }
    }
}

#[test]
fn submitters_take_mail_only_from_those_who_may_send() {
    for one in standings() {
        let answer = may_submit(&one);
        assert_eq!(answer.is_some(), takes_mail(one.role, one.kind));
        if answer == Some(Verdict::Allow) {
            assert!(!one.tampered.any());
            let allowed = match one.origin {
                Origin::System | Origin::Service => true,
                Origin::User => one.vouched,
                Origin::Foreign => false,
            };
            assert!(allowed, "{one:?}");
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
                assert!(after.origin >= Origin::Service, "{after:?}");
                for attempt in attempts() {
                    assert_ne!(may_send(&after, attempt, Rate::UNLIMITED), Verdict::Allow);
                }
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
        // The kernel knows a scheduled mailer by a mark of its registration.
        if kind != Kind::Scheduled {
            assert_eq!(Kind::from_code(kind as u8), kind);
        }
        assert_eq!(Kind::from_word(kind.word()), Some(kind));
    }
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason as u8), reason);
    }
    let mut order = Origin::ALL;
    order.sort();
    assert_eq!(order, Origin::ALL);
    for code in 10..=u8::MAX {
        assert_eq!(Origin::from_code(code), Origin::Foreign);
        assert_eq!(Role::from_code(code), Role::Unknown);
        assert_eq!(Kind::from_code(code), Kind::Batch);
    }
    assert_eq!(Role::from_word("Mailer"), None);
}

#[test]
fn only_this_machine_is_itself() {
    let is = |text: &str| {
        let mut address = [0; 16];
        match text.parse::<std::net::IpAddr>().unwrap() {
            std::net::IpAddr::V4(ip) => {
                address[..4].copy_from_slice(&ip.octets());
                is_loopback(&address, 4)
            }
            std::net::IpAddr::V6(ip) => is_loopback(&ip.octets(), 6),
        }
    };
    for text in [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
    ] {
        assert!(is(text), "{text}");
    }
    for text in [
        "128.0.0.1",
        "192.0.2.1",
        "::2",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "fe80::1",
        "::1:0:0:1",
        "64:ff9b::127.0.0.1",
    ] {
        assert!(!is(text), "{text}");
    }
}
