//! What is learned from made-up refusals of real programs of this machine.

use policy::Kind;

use super::*;
use crate::catalog::Catalog;
use crate::identity::tests::as_it_lies_there;

fn link(program: &str, role: Role, origin: Origin) -> LineageLink {
    LineageLink {
        program: program.into(),
        pid: 7,
        role,
        origin,
        kind: Kind::Interactive,
        seeded: false,
    }
}

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

fn refusal(id: u64, reason: Reason, count: u64, links: Vec<LineageLink>) -> Refusal {
    let last = links.last().unwrap().clone();
    let entry = json!({
        "id": id, "time": format!("2026-11-29T12:00:{id:02}Z"),
        "type": "verdict", "verdict": "refuse", "reason": reason.word(), "judged": "connect", "observed": true,
        "count": count, "pid": 7, "uid": 1000, "comm": "x", "program": &*last.program,
        "role": last.role.word(), "kind": "interactive", "origin": "foreign",
        "culprit": null, "culprit_pid": null, "destination": "192.0.2.1:25", "tampered": [],
        "lineage": links.iter().map(|link| json!({
            "program": &*link.program, "pid": link.pid, "role": link.role.word(),
            "origin": link.origin.word(), "kind": "interactive", "seeded": false,
        })).collect::<Vec<_>>(),
        "lost": 0,
    });
    Refusal::read(&entry).unwrap_or_else(|| panic!("{entry}"))
}

fn from(links: &[(&str, Role)]) -> Vec<LineageLink> {
    let mut all = vec![link(SYSTEMD, Role::System, Origin::System)];
    all.extend(
        links
            .iter()
            .map(|(program, role)| link(program, *role, Origin::Foreign)),
    );
    all
}

fn learned(refusals: Vec<Refusal>, registered: &[&str]) -> Learned {
    let proposer = Proposer::new(
        Catalog::load(None, |_| ()).unwrap(),
        as_it_lies_there,
        Box::new(|_| None),
    );
    let registered = registered.iter().map(|path| (*path).to_owned()).collect();
    learn(refusals.into_iter(), &proposer, &registered)
}

#[test]
fn refusals_of_one_program_are_counted_together() {
    let bash = std::fs::canonicalize("/bin/bash").unwrap();
    let bash = bash.to_str().unwrap();
    let chain = || {
        from(&[
            (bash, Role::Unknown),
            ("/usr/bin/mail-reader", Role::Mailer),
        ])
    };
    let learned = learned(
        vec![
            refusal(3, Reason::ForeignOrigin, 5, chain()),
            refusal(9, Reason::ForeignOrigin, 1, chain()),
        ],
        &[],
    );
    assert_eq!((learned.refusals, learned.settled), (6, 0));
    assert_eq!(learned.left, []);
    let [lesson] = &learned.lessons[..] else {
        panic!("{learned:?}")
    };
    assert_eq!((lesson.offer.role, lesson.seen.count), (Role::Shell, 6));
    assert_eq!(lesson.seen.last, "2026-11-29T12:00:09Z");
    assert_eq!(lesson.seen.entry, 9);
    let chains: Vec<_> = lesson.seen.chains.iter().collect();
    assert_eq!(chains, ["systemd → bash → mail-reader"]);
}

#[test]
fn one_program_that_must_not_be_registered_spoils_the_chain() {
    let bash = std::fs::canonicalize("/bin/bash").unwrap();
    let bash = bash.to_str().unwrap();
    let starter = from(&[
        (bash, Role::Unknown),
        ("/usr/bin/xargs", Role::Unknown),
        ("/usr/bin/mail-reader", Role::Mailer),
    ]);
    let bot = from(&[
        ("/home/u/.cache/bot", Role::Unknown),
        ("/usr/bin/mail-reader", Role::Mailer),
    ]);
    let learned = learned(
        vec![
            refusal(1, Reason::ForeignOrigin, 1, starter),
            refusal(2, Reason::ForeignOrigin, 4, bot),
        ],
        &[],
    );
    assert_eq!(learned.lessons, []);
    let left: Vec<_> = learned
        .left
        .iter()
        .map(|left| left.program.as_str())
        .collect();
    assert_eq!(left, ["/home/u/.cache/bot", "/usr/bin/xargs"]);
    assert!(
        learned.left[1]
            .why
            .contains("starts whatever program anybody names")
    );
}

#[test]
fn what_has_been_registered_since_is_settled() {
    let chain = from(&[
        ("/usr/bin/panel", Role::Unknown),
        ("/usr/bin/m", Role::Mailer),
    ]);
    let learned = learned(
        vec![refusal(1, Reason::ForeignOrigin, 3, chain)],
        &["/usr/bin/panel"],
    );
    assert_eq!((learned.refusals, learned.settled), (3, 3));
    assert!(learned.lessons.is_empty() && learned.left.is_empty());
}

#[test]
fn other_reasons_are_explained() {
    let script = from(&[("/usr/bin/bash", Role::Shell), ("/usr/bin/m", Role::Mailer)]);
    let tampered = from(&[("/usr/bin/m", Role::Mailer)]);
    let learned = learned(
        vec![
            refusal(1, Reason::ForeignOrigin, 1, script),
            refusal(2, Reason::Tampered, 1, tampered.clone()),
            refusal(3, Reason::NeedsTerminal, 1, tampered),
        ],
        &[],
    );
    assert_eq!(learned.lessons, []);
    let whys: Vec<&str> = learned.left.iter().map(|left| left.why.as_str()).collect();
    assert_eq!(whys.len(), 3, "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("nobody typed into it")));
    assert!(whys.iter().any(|why| why.contains("tampered with")));
    assert!(whys.iter().any(|why| why.contains("needs-terminal")));
}

#[test]
fn a_program_that_sends_is_proposed_by_what_started_it() {
    let root_owned = "/usr/bin/true";
    let kind_after = |starter: Option<(&str, Role, Origin)>| {
        let mut links = vec![link(SYSTEMD, Role::System, Origin::System)];
        links.extend(starter.map(|(program, role, origin)| link(program, role, origin)));
        links.push(link(root_owned, Role::Unknown, Origin::Foreign));
        let learned = learned(vec![refusal(1, Reason::NotAMailer, 1, links)], &[]);
        learned.lessons.first().map(|lesson| lesson.offer.kind)
    };
    assert_eq!(kind_after(None), Some(Kind::Service));
    let shell = Some(("/usr/bin/bash", Role::Shell, Origin::User));
    assert_eq!(kind_after(shell), Some(Kind::Batch));
    let desktop = Some(("/usr/bin/desk", Role::Session, Origin::User));
    assert_eq!(kind_after(desktop), Some(Kind::Interactive));
}

#[test]
fn what_is_no_refusal_teaches_nothing() {
    for entry in [
        json!({"id": 1, "type": "notice"}),
        json!({"id": 1, "type": "verdict", "verdict": "allow"}),
        json!({"id": 1, "type": "verdict", "verdict": "refuse"}),
        json!(null),
    ] {
        assert!(Refusal::read(&entry).is_none(), "{entry}");
    }
}
