//! Whatever sequence of forks, execs and tampering happens, some things never do.

use policy::{
    Attempt, Blame, Invocation, Kind, Origin, Program, Rate, Rights, Role, Standing, Tamper,
    Verdict, may_submit,
};
use proptest::prelude::*;

/// Whether it may send anywhere at all.
fn sends(process: &Standing) -> bool {
    let attempt = Attempt {
        to_itself: true,
        by_root: true,
    };
    policy::may_send(process, attempt, Rate::UNLIMITED) == Verdict::Allow
}

/// One thing that can happen to a process.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The child goes on with a copy.
    Fork,
    Exec(Program, Invocation, Tamper),
}

fn program() -> impl Strategy<Value = Program> {
    let role = prop::sample::select(Role::ALL.to_vec());
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let words = (any::<bool>(), any::<bool>(), 0_u8..2);
    (role, kind, prop::bool::weighted(0.1), words).prop_map(
        |(role, kind, changed, (by_user, is_roots, rights))| Program {
            role,
            kind,
            changed,
            by_user,
            is_roots,
            rights: Rights(rights),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let invocation = prop::sample::select(Invocation::ALL.to_vec());
    let signs = prop_oneof![8 => Just(Tamper::NONE), 1 => (0_u8..64).prop_map(Tamper)];
    prop_oneof![
        1 => Just(Step::Fork),
        3 => (program(), invocation, signs).prop_map(|(program, invocation, signs)| Step::Exec(program, invocation, signs)),
    ]
}

fn standing() -> impl Strategy<Value = Standing> {
    let origin = prop::sample::select(Origin::ALL.to_vec());
    (
        origin,
        program(),
        (any::<bool>(), any::<bool>()),
        prop_oneof![Just(Tamper::NONE), (0_u8..64).prop_map(Tamper)],
    )
        .prop_map(
            |(origin, program, (vouched, activated), tampered)| Standing {
                origin,
                role: program.role,
                kind: program.kind,
                vouched,
                changed: program.changed,
                activated,
                rights: program.rights,
                tampered,
            },
        )
}

fn walk(start: Standing, steps: &[Step]) -> impl Iterator<Item = (Standing, Standing)> + '_ {
    let mut at = start;
    steps.iter().map(move |step| {
        let before = at;
        at = match *step {
            Step::Fork => before,
            Step::Exec(program, invocation, signs) => before.after_exec(program, invocation, signs),
        };
        (before, at)
    })
}

/// A launcher of the machine's answers for what it starts as a user, and so does the caller of what takes mail.
fn who_made_foreign(before: &Standing, after: &Standing) -> Blame {
    let answers = before.role == Role::Launcher || after.role.takes_mail(after.kind);
    if before.origin == Origin::Service && answers {
        Blame::Caller
    } else {
        Blame::Program
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_starts_foreign_never_sends(start in standing(), steps in prop::collection::vec(step(), 0..24)) {
        let start = Standing { origin: Origin::Foreign, ..start };
        for (_, after) in walk(start, &steps) {
            prop_assert!(!sends(&after));
            prop_assert_ne!(may_submit(&after), Some(Verdict::Allow));
        }
    }

    #[test]
    fn an_origin_never_improves_and_signs_never_go(start in standing(), steps in prop::collection::vec(step(), 0..24)) {
        for (before, after) in walk(start, &steps) {
            prop_assert!(after.origin >= before.origin);
            prop_assert_eq!(after.tampered.0 & before.tampered.0, before.tampered.0);
        }
    }

    #[test]
    fn what_was_tampered_with_never_sends_again(start in standing(), steps in prop::collection::vec(step(), 0..24)) {
        let start = Standing { tampered: Tamper::TRACED, ..start };
        for (_, after) in walk(start, &steps) {
            prop_assert!(!sends(&after));
        }
    }

    #[test]
    fn an_unknown_program_on_the_way_closes_the_gate(
        start in standing(),
        first in prop::collection::vec(step(), 0..8),
        then in prop::collection::vec(step(), 0..8),
    ) {
        let at = walk(start, &first).last().map_or(start, |(_, after)| after);
        let unknown = at.after_exec(Program::UNKNOWN, Invocation::Plain, Tamper::NONE);
        prop_assert_eq!(unknown.origin, Origin::Foreign);
        for (_, after) in walk(unknown, &then) {
            prop_assert!(!sends(&after));
        }
    }

    #[test]
    fn whoever_made_it_worse_is_named_once(steps in prop::collection::vec(step(), 0..24)) {
        let falls = walk(Standing::ROOT, &steps)
            .filter(|(before, after)| before.origin != Origin::Foreign && after.origin == Origin::Foreign)
            .inspect(|(before, after)| assert_eq!(before.blame(after), who_made_foreign(before, after)))
            .count();
        prop_assert!(falls <= 1);
    }

    #[test]
    fn whoever_called_exec_answers_for_the_environment(start in standing(), program in program()) {
        let start = Standing { tampered: Tamper::NONE, ..start };
        let after = start.after_exec(program, Invocation::Terminal, Tamper::ENVIRONMENT);
        let blame = if start.origin == Origin::Foreign {
            Blame::Nobody
        } else if after.origin == Origin::Foreign {
            who_made_foreign(&start, &after)
        } else {
            Blame::Caller
        };
        prop_assert_eq!(start.blame(&after), blame);
    }
}
