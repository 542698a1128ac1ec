//! Tests of the advice.

use super::super::lineage::tests::{figure_4, link};
use super::*;

fn driven(kind: Kind) -> Vec<String> {
    let mut links = figure_4();
    links[3].kind = kind;
    links[2].program = "/opt/update".into();
    advice(&Refused {
        reason: Reason::ForeignOrigin,
        program: "/usr/bin/thunderbird",
        role: Role::Mailer,
        culprit: Some("/opt/update"),
        culprit_pid: Some(4242),
        links: &links,
    })
}

fn alone(program: &str, role: Role) -> Vec<String> {
    let links = [link(program, 5, role, Origin::Foreign)];
    let refused = Refused {
        reason: Reason::NotAMailer,
        program,
        role,
        culprit: Some(program),
        culprit_pid: Some(5),
        links: &links,
    };
    advice(&refused)
}

#[test]
fn the_role_that_is_proposed_is_the_one_that_helps() {
    assert_eq!(
        alone("/opt/report", Role::Unknown),
        ["  sudo sekimori register /opt/report --as mailer --kind batch"]
    );
    assert_eq!(
        driven(Kind::Interactive)[0],
        "  sudo sekimori register /opt/update --as launcher"
    );
    assert_eq!(
        driven(Kind::Batch)[0],
        "  sudo sekimori register /opt/update --as mailer --kind batch"
    );
}

/// The policy itself says whether following the advice would have helped.
#[test]
fn following_the_advice_makes_the_policy_agree() {
    use policy::{Attempt, Invocation, Program, Rate, Standing, Tamper, Verdict, may_send};
    let elsewhere = Attempt {
        to_itself: false,
        by_root: false,
    };
    let shell = Standing {
        origin: Origin::User,
        role: Role::Shell,
        kind: Kind::Batch,
        ..Standing::ROOT
    };
    let exec = |from: &Standing, role, kind| {
        from.after_exec(
            Program::registered(role, kind),
            Invocation::Plain,
            Tamper::NONE,
        )
    };
    for kind in [Kind::Interactive, Kind::Batch] {
        let starter = exec(&shell, vouching_role(kind), Kind::Batch);
        let mailer = exec(&starter, Role::Mailer, kind);
        assert_eq!(
            may_send(&mailer, elsewhere, Rate::UNLIMITED),
            Verdict::Allow,
            "{kind:?}"
        );
    }
    let alone = exec(&shell, Role::Mailer, Kind::Batch);
    assert_eq!(may_send(&alone, elsewhere, Rate::UNLIMITED), Verdict::Allow);
}

#[test]
fn an_interpreter_is_never_proposed() {
    for program in [
        "/usr/bin/python3.12",
        "/bin/sh",
        "/usr/bin/perl",
        "/usr/bin/env",
        "/opt/node-22/bin/node",
    ] {
        let lines = alone(program, Role::Unknown);
        assert!(
            lines[1].contains("PATH-OF-YOUR-SCRIPT") && !lines[1].contains(program),
            "{lines:?}"
        );
    }
    // The script's own path is what stands in the lineage when it has a #! line.
    assert!(
        alone("/home/u/report.py", Role::Unknown)[0]
            .contains("register /home/u/report.py --as mailer")
    );
}

#[test]
fn neither_a_tool_nor_a_program_in_a_temporary_folder_is_proposed() {
    for program in [
        "/tmp/update",
        "/dev/shm/x",
        "/var/tmp/x",
        "/home/u/.x/y",
        "/usr/bin/setpriv",
        "/usr/bin/nohup",
        "/usr/bin/curl",
        "/usr/bin/socat",
        "/usr/bin/python3.12",
    ] {
        for reason in Reason::ALL {
            for role in [Role::Unknown, Role::Mailer, Role::Submitter] {
                let links = [
                    link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
                    link(program, 5, role, Origin::Foreign),
                    link("/usr/bin/msmtp", 6, Role::Mailer, Origin::Foreign),
                ];
                for (acted, links) in [(program, &links[..2]), ("/usr/bin/msmtp", &links[..])] {
                    let lines = advice(&Refused {
                        reason,
                        program: acted,
                        role: if acted == program { role } else { Role::Mailer },
                        culprit: Some(program),
                        culprit_pid: Some(5),
                        links,
                    });
                    let proposed = format!("register {program}");
                    assert!(
                        !lines.iter().any(|line| line.contains(&proposed)),
                        "{reason:?}: {lines:?}"
                    );
                }
            }
        }
    }
    let said = alone("/tmp/update", Role::Unknown);
    assert!(
        said.len() == 1 && said[0].contains("/usr/local/bin"),
        "{said:?}"
    );
}

#[test]
fn the_script_that_used_a_tool_is_named() {
    for (tool, words) in [
        ("/usr/bin/curl", "Have /home/u/report.sh send with a mailer"),
        (
            "/usr/bin/python3.12",
            "Start /home/u/report.sh by its own path",
        ),
    ] {
        let links = [
            link("/usr/bin/bash", 4, Role::Shell, Origin::User),
            link("/home/u/report.sh", 5, Role::Unknown, Origin::Foreign),
            link(tool, 6, Role::Unknown, Origin::Foreign),
        ];
        for culprit in [&links[1], &links[2]] {
            let lines = advice(&Refused {
                reason: Reason::NotAMailer,
                program: tool,
                role: Role::Unknown,
                culprit: Some(&culprit.program),
                culprit_pid: Some(culprit.pid),
                links: &links,
            });
            assert!(lines[0].contains(words), "{lines:?}");
            assert_eq!(
                lines[1..],
                ["  sudo sekimori register /home/u/report.sh --as mailer --kind batch"]
            );
        }
    }
}

#[test]
fn a_login_from_here_is_explained() {
    let mut links = [
        link("/usr/sbin/sshd", 10, Role::System, Origin::System),
        link("/usr/bin/bash", 11, Role::Shell, Origin::Foreign),
        link("/usr/bin/msmtp", 12, Role::Mailer, Origin::Foreign),
    ];
    let said = |links: &[LineageLink]| {
        advice(&Refused {
            reason: Reason::ForeignOrigin,
            program: "/usr/bin/msmtp",
            role: Role::Mailer,
            culprit: Some("/usr/bin/bash"),
            culprit_pid: Some(11),
            links,
        })
    };
    links[0].kind = Kind::Interactive;
    assert_eq!(
        said(&links),
        [
            "A shell that /usr/sbin/sshd starts is yours only at a terminal, and not when this machine logs in to itself."
        ]
    );
    // A service manager is none that logs people in.
    links[0].kind = Kind::Service;
    assert!(said(&links)[0].contains("#! line"));
}

#[test]
fn a_containers_path_is_not_registered() {
    let said = advice(&Refused {
        reason: Reason::NotAMailer,
        program: "/usr/bin/msmtp (as another mount namespace calls it)",
        role: Role::Unknown,
        culprit: None,
        culprit_pid: None,
        links: &[],
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("the path that it has on this machine"),
        "{said:?}"
    );
}

#[test]
fn a_job_becomes_a_unit() {
    let links = [
        link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
        link("/usr/sbin/cron", 5, Role::Launcher, Origin::Foreign),
        link("/usr/bin/dash", 6, Role::Shell, Origin::Foreign),
        link("/usr/bin/msmtp", 6, Role::Mailer, Origin::Foreign),
    ];
    let said = advice(&Refused {
        reason: Reason::ForeignOrigin,
        program: "/usr/bin/msmtp",
        role: Role::Mailer,
        culprit: Some("/usr/sbin/cron"),
        culprit_pid: Some(5),
        links: &links,
    });
    assert!(
        said[0].contains("What /usr/sbin/cron starts by itself"),
        "{said:?}"
    );
    assert!(said[1].ends_with("--as mailer --kind service"), "{said:?}");
}

#[test]
fn a_mailer_that_the_system_starts_is_proposed_as_a_service() {
    let links = [
        link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
        link("/usr/bin/msmtp", 5, Role::Mailer, Origin::Foreign),
    ];
    let refused = Refused {
        reason: Reason::ForeignOrigin,
        program: "/usr/bin/msmtp",
        role: Role::Mailer,
        culprit: Some("/usr/bin/msmtp"),
        culprit_pid: Some(5),
        links: &links,
    };
    assert_eq!(
        advice(&refused)[1],
        "  sudo sekimori register /usr/bin/msmtp --as mailer --kind service"
    );
}

#[test]
fn every_reason_but_one_has_advice() {
    let links = figure_4();
    for reason in Reason::ALL {
        let refused = Refused {
            reason,
            program: "/usr/bin/thunderbird",
            role: Role::Mailer,
            culprit: None,
            culprit_pid: None,
            links: &links,
        };
        assert_eq!(
            advice(&refused).is_empty(),
            reason == Reason::Permitted,
            "{reason:?}"
        );
    }
}

#[test]
fn a_hostile_path_stays_one_word_of_the_command() {
    let lines = alone("/opt/x; rm -rf ~\n", Role::Unknown);
    assert_eq!(
        lines[0],
        "  sudo sekimori register $'/opt/x; rm -rf ~\\x0a' --as mailer --kind batch"
    );
}
