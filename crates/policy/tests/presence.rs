//! Presence, for every standing.

use policy::{
    Attempt, Invocation, Kind, Origin, Program, Rate, Reason, Role, Standing, Tamper, Verdict,
    awaits_typing, depends_on_typing, is_asked_for_presence, may_send, may_submit, without_typing,
};

const ELSEWHERE: Attempt = Attempt {
    to_itself: false,
    by_root: false,
};

fn standings() -> impl Iterator<Item = Standing> {
    Origin::ALL.into_iter().flat_map(|origin| {
        Role::ALL.into_iter().flat_map(move |role| {
            Kind::ALL.into_iter().flat_map(move |kind| {
                [false, true].into_iter().map(move |vouched| Standing {
                    origin,
                    role,
                    kind,
                    vouched,
                    changed: false,
                    tampered: Tamper::NONE,
                    ..Standing::STRANGER
                })
            })
        })
    })
}

/// It only ever refuses, and only what a shell vouched for.
#[test]
fn where_nothing_was_typed_nothing_more_is_permitted() {
    let mut refused = 0;
    for one in standings() {
        let send = Some(may_send(&one, ELSEWHERE, Rate::UNLIMITED));
        for answer in [send, may_submit(&one)].into_iter().flatten() {
            match (answer, without_typing(answer, &one)) {
                (Verdict::Refuse(first), after) => assert_eq!(after, Verdict::Refuse(first)),
                (Verdict::Allow, Verdict::Allow) => {
                    let needs_nobody = one.origin != Origin::User || one.kind.is_interactive();
                    assert!(needs_nobody, "{one:?}");
                }
                (Verdict::Allow, Verdict::Refuse(reason)) => {
                    assert_eq!(reason, Reason::NeedsTyping);
                    assert!(one.origin == Origin::User && one.vouched, "{one:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}

/// From a shell in which nobody has typed, whatever runs keeps that until a mailer whose user presses
/// send, or another shell on a terminal, takes its place. No chain of programs loses it otherwise
/// and still sends by the shell's word.
#[test]
fn what_a_start_up_file_starts_does_not_lose_it() {
    let shell = Standing {
        origin: Origin::User,
        role: Role::Shell,
        kind: Kind::Interactive,
        vouched: false,
        changed: false,
        tampered: Tamper::NONE,
        ..Standing::STRANGER
    };
    // A standing, and whether it still depends on what is typed.
    let mut open = vec![(shell, true)];
    let mut seen = Vec::new();
    while let Some((before, depends)) = open.pop() {
        if seen.contains(&(before, depends)) {
            continue;
        }
        seen.push((before, depends));
        for role in Role::ALL {
            for kind in Kind::ALL {
                for invocation in Invocation::ALL {
                    let program = Program::registered(role, kind);
                    let after = before.after_exec(program, invocation, Tamper::NONE);
                    if awaits_typing(&after, invocation) {
                        continue;
                    }
                    let still = depends && depends_on_typing(&before, &after);
                    let batch = after.role == Role::Mailer && after.kind == Kind::Batch;
                    let sends =
                        batch && may_send(&after, ELSEWHERE, Rate::UNLIMITED) == Verdict::Allow;
                    let was_interactive = seen
                        .iter()
                        .any(|(one, _)| one.role == Role::Mailer && one.kind.is_interactive());
                    assert!(still || !sends || was_interactive, "{before:?} {after:?}");
                    open.push((after, still));
                }
            }
        }
    }
}

#[test]
fn only_a_users_interactive_mailer_is_asked_for_presence() {
    for one in standings() {
        let asked =
            one.origin == Origin::User && one.role == Role::Mailer && one.kind == Kind::Interactive;
        assert_eq!(is_asked_for_presence(&one), asked, "{one:?}");
    }
}
