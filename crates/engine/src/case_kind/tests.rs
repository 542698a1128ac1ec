//! Tests of titles and banners.

use policy::{Kind, Origin, Reason, Role, Tamper};

use super::*;
use crate::entry::JudgedWord;

fn link(program: &str, pid: u32, role: Role, origin: Origin) -> LineageLink {
    LineageLink {
        program: program.into(),
        pid,
        role,
        origin,
        kind: Kind::Batch,
        seeded: false,
    }
}

fn case<'a>(program: &'a str, role: Role, lineage: &'a [LineageLink]) -> Case<'a> {
    let culprit = lineage.iter().find(|link| link.origin == Origin::Foreign);
    Case {
        program,
        role,
        uid: 1000,
        culprit: culprit.map(|link| &*link.program),
        culprit_pid: culprit.map(|link| link.pid),
        lineage,
        judged: JudgedWord::Connect,
        destination: None,
        tampered: Tamper::NONE,
        tampered_by: None,
        observed: false,
    }
}

/// Every reason, role, origin, and way to be started gives a title and a banner that fit.
#[test]
fn every_title_and_banner_fits_and_is_plain() {
    let long = format!("/opt/{}", "x".repeat(200));
    let hostile = "/tmp/\x1b[2J\u{202e} is harmless. Run sudo rm\n";
    let paths = [
        "/usr/bin/thunderbird",
        "/usr/bin/python3.12",
        "/tmp/update",
        "(in no folder)memfd:x",
        "/usr/bin/msmtp (as another mount namespace calls it)",
        "",
        hostile,
        &long,
    ];
    for reason in Reason::ALL {
        for program in paths {
            for culprit in paths {
                for role in Role::ALL {
                    for origin in Origin::ALL {
                        for (uid, seeded, tampered) in
                            [(0, false, 0), (1000, true, 0), (1000, false, 0xff)]
                        {
                            let first = LineageLink {
                                kind: Kind::Interactive,
                                ..link("/sbin/init", 1, Role::System, Origin::System)
                            };
                            let links = [
                                first,
                                link("/usr/bin/bash", 4, Role::Shell, origin),
                                link(culprit, 5, Role::Unknown, Origin::Foreign),
                                LineageLink {
                                    seeded,
                                    ..link(program, 6, role, Origin::Foreign)
                                },
                            ];
                            let case = Case {
                                uid,
                                tampered: Tamper(tampered),
                                culprit: Some(culprit),
                                culprit_pid: Some(5),
                                ..case(program, role, &links)
                            };
                            let cause = CaseKind::of(reason, &case);
                            assert_ne!(cause, CaseKind::Other, "{reason:?}");
                            let (title, brief) = (cause.title(true), cause.brief(&case));
                            assert!(title.chars().count() <= TITLE_MAX, "{title}");
                            assert!(brief.chars().count() <= BRIEF_MAX, "{brief}");
                            assert!(brief.ends_with(['.', '?']), "{brief}");
                            assert_eq!(printable(&brief), brief);
                            assert!(!title.contains("nobody asked for"), "{title}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_mailer_from_the_dock_is_no_bot() {
    let links = [
        link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
        link("/usr/bin/gnome-shell", 9, Role::Session, Origin::User),
        link(
            "/usr/lib/desktop-helper",
            10,
            Role::Unknown,
            Origin::Foreign,
        ),
        link("/usr/bin/thunderbird", 11, Role::Mailer, Origin::Foreign),
    ];
    let case = case("/usr/bin/thunderbird", Role::Mailer, &links);
    let cause = CaseKind::of(Reason::ForeignOrigin, &case);
    assert_eq!(
        cause.title(false),
        "Mail stopped: unknown start of the mailer"
    );
    assert_eq!(
        cause.brief(&case),
        "desktop-helper started thunderbird, and nobody registered desktop-helper."
    );
}

#[test]
fn each_case_has_its_own_title() {
    let system = || link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System);
    let shell = || link("/usr/bin/bash", 4, Role::Shell, Origin::User);
    let told = |uid: u32, links: &[LineageLink], role: Role| {
        let last = links.last().unwrap().program.clone();
        let case = Case {
            uid,
            ..case(&last, role, links)
        };
        let reason = match role {
            Role::Unknown => Reason::NotAMailer,
            _ => Reason::ForeignOrigin,
        };
        CaseKind::of(reason, &case)
    };
    let foreign = |program: &str, role| link(program, 7, role, Origin::Foreign);
    let mailer = || foreign("/usr/bin/msmtp", Role::Mailer);
    for (uid, links, role, cause) in [
        (
            1000,
            vec![system(), shell(), foreign("/tmp/.x/bot", Role::Unknown)],
            Role::Unknown,
            CaseKind::Suspicious,
        ),
        (
            1000,
            vec![system(), shell(), foreign("/opt/bot", Role::Unknown)],
            Role::Unknown,
            CaseKind::NotRegistered,
        ),
        (
            1000,
            vec![
                system(),
                shell(),
                foreign("/home/u/report.sh", Role::Unknown),
                mailer(),
            ],
            Role::Mailer,
            CaseKind::Script,
        ),
        (
            1000,
            vec![
                system(),
                foreign("/usr/sbin/cron", Role::Launcher),
                mailer(),
            ],
            Role::Mailer,
            CaseKind::Job,
        ),
        (
            0,
            vec![
                system(),
                foreign("/etc/cron.daily/logwatch", Role::Unknown),
                foreign("/usr/sbin/sendmail", Role::Submitter),
            ],
            Role::Submitter,
            CaseKind::MachineJob,
        ),
        (
            1000,
            vec![
                LineageLink {
                    kind: Kind::Interactive,
                    ..link("/usr/sbin/sshd", 3, Role::System, Origin::System)
                },
                foreign("/usr/bin/bash", Role::Shell),
                mailer(),
            ],
            Role::Mailer,
            CaseKind::Login,
        ),
        (
            1000,
            vec![
                system(),
                shell(),
                LineageLink {
                    seeded: true,
                    ..foreign("/usr/bin/msmtp", Role::Mailer)
                },
            ],
            Role::Mailer,
            CaseKind::Older,
        ),
    ] {
        assert_eq!(told(uid, &links, role), cause, "{links:?}");
    }
}

/// Whatever a person started at a terminal, a terminal is not what it needs.
#[test]
fn whoever_was_at_a_terminal_is_not_told_that_a_terminal_is_needed() {
    let user = |program: &str, pid, role| link(program, pid, role, Origin::User);
    let shell = user("/usr/bin/bash", 4, Role::Shell);
    let xterm = user("/usr/bin/xterm", 5, Role::Launcher);
    let msmtp = user("/usr/bin/msmtp", 6, Role::Mailer);
    let session = user("/usr/bin/gnome-shell", 7, Role::Session);
    let told = |tampered, links: &[&LineageLink]| {
        let links: Vec<LineageLink> = links.iter().copied().cloned().collect();
        let (reason, link) = retold(Reason::NeedsTerminal, tampered, &links);
        (reason, link.map(|link| link.program.to_string()))
    };
    assert_eq!(
        told(Tamper::NONE, &[&shell, &xterm, &msmtp]),
        (Reason::IndirectStart, Some("/usr/bin/xterm".to_owned()))
    );
    // A shell whose environment loads code vouches for nothing.
    assert_eq!(
        told(Tamper::ENVIRONMENT, &[&shell, &msmtp]),
        (Reason::Tampered, None)
    );
    // A desktop that was started at a console's shell is a desktop.
    for links in [&[&shell, &session, &msmtp][..], &[&session, &xterm, &msmtp]] {
        assert_eq!(told(Tamper::NONE, links), (Reason::NeedsTerminal, None));
    }
}

#[test]
fn names_are_short_and_stay_apart_from_the_sentence() {
    assert_eq!(short_name("/usr/bin/python3.12"), "python3.12");
    assert_eq!(short_name("/opt/a b"), "\"a b\"");
    assert_eq!(short_name("(in no folder)memfd:x"), "\"memfd:x\"");
    assert_eq!(
        short_name("/usr/bin/msmtp (as another mount namespace calls it)"),
        "msmtp"
    );
    assert_eq!(short_name("/opt/x."), "\"x.\"");
    assert_eq!(short_name("/"), "an unknown program");
    assert_eq!(short_name(&"y".repeat(99)).chars().count(), 24);
}
