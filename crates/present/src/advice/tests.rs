//! Tests of the advice.

use engine::{dropper_place, is_named_elsewhere};
use guard::unsuitable::is_tool;
use policy::Origin;

use super::super::lineage::tests::{figure_4, link};
use super::*;

/// A refusal of the last program of a lineage. The culprit is the first foreign link.
fn refused(reason: Reason, links: &[LineageLink]) -> Refused<'_> {
    let culprit = links.iter().find(|link| link.origin == Origin::Foreign);
    let last = links.last().unwrap();
    Refused {
        reason,
        judged: JudgedWord::Connect,
        program: &last.program,
        role: last.role,
        uid: 1000,
        culprit: culprit.map(|link| &*link.program),
        culprit_pid: culprit.map(|link| link.pid),
        script: None,
        tampered: Tamper::NONE,
        tampered_by: None,
        links,
    }
}

fn of_kind(kind: Kind, link: LineageLink) -> LineageLink {
    LineageLink { kind, ..link }
}

fn systemd() -> LineageLink {
    let link = link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System);
    of_kind(Kind::Service, link)
}

fn desktop() -> LineageLink {
    link("/usr/bin/gnome-shell", 9, Role::Session, Origin::User)
}

fn shell() -> LineageLink {
    link("/usr/bin/bash", 10, Role::Shell, Origin::User)
}

fn unknown(program: &str) -> LineageLink {
    link(program, 11, Role::Unknown, Origin::Foreign)
}

fn mailer(program: &str, kind: Kind) -> LineageLink {
    of_kind(kind, link(program, 12, Role::Mailer, Origin::Foreign))
}

fn submitter() -> LineageLink {
    link("/usr/sbin/sendmail", 12, Role::Submitter, Origin::Foreign)
}

/// What a command registers: path, role, kind. None when it registers nothing.
type Registers = Option<(String, Role, Option<Kind>)>;

/// Reads a command. The test `every_command_of_an_advice_is_understood` of the command line tries each
/// of these forms; a new one belongs there too.
fn parsed(line: &str) -> Registers {
    let words = line.strip_prefix("  sudo sekimori ").expect(line);
    let words: Vec<&str> = match words.split_once("$'") {
        // Only bash reads these; the rest of the line is plain.
        Some((before, rest)) => {
            let (_, after) = rest.rsplit_once('\'').unwrap();
            let words = before.split_whitespace().chain(["/x"]);
            words.chain(after.split_whitespace()).collect()
        }
        None => words.split_whitespace().collect(),
    };
    let role = |word: &str| Role::from_word(word).expect(line);
    let kind = |word: &str| Kind::from_word(word).expect(line);
    match &words[..] {
        ["programs"] | ["setup", "--yes"] => None,
        ["register", path, "--as", as_role] => Some((path.replace('\'', ""), role(as_role), None)),
        ["register", path, "--as", as_role, "--kind", as_kind] => {
            Some((path.replace('\'', ""), role(as_role), Some(kind(as_kind))))
        }
        _ => panic!("a command of another form: {line}"),
    }
}

/// The rules that hold for all advice.
fn keeps_the_rules(refused: &Refused<'_>) -> Vec<String> {
    let lines = advice(refused);
    let all = lines.join("\n");
    let said = format!("{:?} {:?}: {all}", refused.reason, refused.links);
    let is_last_command = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("  "));
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line.ends_with(':'), is_last_command(at), "{said}");
        if !line.starts_with("  ") {
            assert!(line.ends_with(['.', ':']), "{said}");
            assert!(line.chars().count() < 330, "{said}");
            continue;
        }
        let Some((path, role, kind)) = parsed(line) else {
            continue;
        };
        assert!(path.starts_with('/'), "{said}");
        assert!(dropper_place(&path).is_none(), "{said}");
        assert!(!is_named_elsewhere(&path), "{said}");
        assert!(suits(&path, role), "{said}");
        let is_desktop = refused.links.iter().any(|link| link.origin == Origin::User)
            || refused.is_interactive();
        // A changed file is registered again as what it was.
        let is_again = refused.reason == Reason::FileChanged;
        assert!(
            kind != Some(Kind::Service) || !is_desktop || is_again,
            "{said}"
        );
        let starts = ["panel", "terminal", "wrapper"]
            .iter()
            .any(|name| path.contains(name));
        // Unless it sends by itself.
        let itself = path == refused.program;
        assert!(!starts || role != Role::Mailer || itself, "{said}");
    }
    for phrase in [
        "nobody asked for",
        "(in no folder)",
        "anew",
        "PATH-OF",
        "stands in its lineage",
    ] {
        assert!(!all.contains(phrase), "{said}");
    }
    assert_eq!(
        lines.is_empty(),
        refused.reason == Reason::Permitted,
        "{said}"
    );
    lines
}

/// Every reason, with every role and kind of the program, in every kind of lineage.
#[test]
fn every_advice_keeps_the_rules() {
    let login = || {
        of_kind(
            Kind::Interactive,
            link("/usr/sbin/sshd", 3, Role::System, Origin::System),
        )
    };
    let manager = || {
        of_kind(
            Kind::Batch,
            link("/usr/lib/systemd/systemd", 5, Role::System, Origin::System),
        )
    };
    let foreign_shell = || link("/usr/bin/bash", 13, Role::Shell, Origin::Foreign);
    let cron = || link("/usr/sbin/cron", 5, Role::Launcher, Origin::Foreign);
    let culprits = [
        "/opt/panel",
        "/usr/bin/panel",
        "/usr/lib/x/terminal",
        "/home/u/bin/report.sh",
        "/etc/cron.daily/job",
        "/usr/bin/python3.12",
        "/usr/bin/env",
        "/usr/bin/sudo",
        "/usr/bin/curl",
        "/tmp/update",
        "/dev/shm/x",
        "(in no folder)memfd:x",
        "(in no folder)/memfd:x",
        "/opt/x (deleted)",
        "./plain",
        "…/a/b",
        "/opt/x (as another mount namespace calls it)",
        "",
        "/opt/x; rm -rf ~\n",
        "/usr/bin/xfce4-terminal",
        "/usr/bin/vim",
        "/usr/share/code/code",
        "/usr/sbin/exim4",
    ];
    // A kind matters for a mailer alone.
    let others = Role::ALL.into_iter().filter(|role| *role != Role::Mailer);
    let roles: Vec<(Role, Kind)> = others
        .map(|role| (role, Kind::Batch))
        .chain(Kind::ALL.map(|kind| (Role::Mailer, kind)))
        .collect();
    let mut count = 0;
    for culprit in culprits {
        let chains: [Vec<LineageLink>; 9] = [
            vec![],
            vec![systemd(), desktop(), unknown(culprit)],
            vec![systemd(), desktop(), unknown(culprit), foreign_shell()],
            vec![systemd(), shell(), unknown(culprit)],
            vec![systemd(), unknown(culprit)],
            vec![systemd(), manager(), unknown(culprit)],
            vec![systemd(), login(), foreign_shell(), unknown(culprit)],
            vec![systemd(), cron(), foreign_shell(), unknown(culprit)],
            vec![
                systemd(),
                desktop(),
                LineageLink {
                    seeded: true,
                    ..unknown(culprit)
                },
            ],
        ];
        for before in &chains {
            for program in ["/usr/bin/thunderbird", culprit] {
                for &(role, kind) in &roles {
                    for origin in [Origin::User, Origin::Foreign] {
                        let mut links = before.clone();
                        links.push(of_kind(kind, link(program, 12, role, origin)));
                        for reason in Reason::ALL {
                            for (uid, tampered) in [(0, 0), (1000, 1)] {
                                let case = Refused {
                                    uid,
                                    tampered: Tamper(tampered),
                                    ..refused(reason, &links)
                                };
                                keeps_the_rules(&case);
                                count += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(count > 200_000, "{count}");
}

/// GNOME's dock started Thunderbird through a helper that nobody registered.
#[test]
fn a_mailer_from_the_dock_needs_its_starter_as_a_launcher() {
    let links = [
        systemd(),
        desktop(),
        unknown("/usr/libexec/gnome-app-helper"),
        mailer("/usr/bin/thunderbird", Kind::Interactive),
    ];
    assert_eq!(
        keeps_the_rules(&refused(Reason::ForeignOrigin, &links)),
        [
            "If /usr/libexec/gnome-app-helper starts programs for you:",
            "  sudo sekimori register /usr/libexec/gnome-app-helper --as launcher",
        ]
    );
}

/// Plasma sets a variable for all programs of the session.
#[test]
fn a_mailer_with_a_variable_is_told_to_drop_it() {
    let links = [
        systemd(),
        desktop(),
        LineageLink {
            origin: Origin::User,
            ..mailer("/usr/bin/kmail", Kind::Interactive)
        },
    ];
    let case = Refused {
        tampered: Tamper::ENVIRONMENT,
        ..refused(Reason::Tampered, &links)
    };
    assert_eq!(
        keeps_the_rules(&case)[0],
        "Remove the variable from the environment, and start /usr/bin/kmail again."
    );
}

/// XFCE's terminal button starts the terminal by a helper; below it there is a shell.
#[test]
fn what_starts_a_terminal_is_a_launcher_also_for_a_batch_mailer() {
    let links = [
        systemd(),
        desktop(),
        unknown("/usr/lib/x/xfce4/mime-helper-of-ours"),
        link("/usr/bin/bash", 13, Role::Shell, Origin::Foreign),
        mailer("/usr/bin/msmtp", Kind::Batch),
    ];
    assert_eq!(
        keeps_the_rules(&refused(Reason::ForeignOrigin, &links))[1],
        "  sudo sekimori register /usr/lib/x/xfce4/mime-helper-of-ours --as launcher"
    );
    // One that the catalog knows is named.
    let links = links.map(|link| match link.role {
        Role::Unknown => unknown("/usr/bin/xfce4-terminal"),
        _ => link,
    });
    let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
    assert!(
        said[0].starts_with("/usr/bin/xfce4-terminal belongs to "),
        "{said:?}"
    );
    assert_eq!(
        said[1],
        "  sudo sekimori register /usr/bin/xfce4-terminal --as launcher"
    );
}

/// Debian's init script starts Exim; so does Dovecot hand mail to it.
#[test]
fn a_part_of_a_mail_server_is_the_systems() {
    let exim = || mailer("/usr/sbin/exim4", Kind::Service);
    for (culprit, step) in [
        (
            "/etc/init.d/mta",
            "  sudo sekimori register /etc/init.d/mta --as system",
        ),
        (
            "/usr/lib/dovecot/own-delivery",
            "  sudo sekimori register /usr/lib/dovecot/own-delivery --as system",
        ),
        // Setup knows the parts of what the catalog knows.
        ("/usr/lib/postfix/sbin/smtp", "  sudo sekimori setup --yes"),
    ] {
        let links = [systemd(), unknown(culprit), exim()];
        let case = Refused {
            uid: 0,
            ..refused(Reason::ForeignOrigin, &links)
        };
        assert_eq!(keeps_the_rules(&case)[1], step, "{culprit}");
    }
    // Started by hand, it is not the user's.
    let links = [
        systemd(),
        shell(),
        LineageLink {
            origin: Origin::User,
            ..exim()
        },
    ];
    assert_eq!(
        keeps_the_rules(&refused(Reason::NeedsSystem, &links)),
        ["Let the system start /usr/sbin/exim4: restart its service, or the computer."]
    );
}

#[test]
fn a_job_is_told_where_jobs_that_may_send_stand() {
    let cron = link("/usr/sbin/cron", 5, Role::Launcher, Origin::Foreign);
    let bash = link("/usr/bin/dash", 6, Role::Shell, Origin::Foreign);
    let script = unknown("/home/u/report.sh");
    let links = [systemd(), cron, bash, script, submitter()];
    let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
    assert_eq!(
        said[0],
        "Start /home/u/report.sh at a terminal. A job that no person starts may not send for a user."
    );
    assert!(said[1].contains("/etc/cron.d"), "{said:?}");
    // Logwatch is root's own.
    let links = [
        systemd(),
        unknown("/etc/cron.daily/00logwatch"),
        submitter(),
    ];
    let case = Refused {
        uid: 0,
        ..refused(Reason::ForeignOrigin, &links)
    };
    let said = keeps_the_rules(&case);
    let step = "See that only root can change /etc/cron.daily/00logwatch";
    assert!(said.len() == 1 && said[0].starts_with(step), "{said:?}");
    let links = [systemd(), unknown("/home/u/backup"), submitter()];
    let case = Refused {
        uid: 0,
        ..refused(Reason::ForeignOrigin, &links)
    };
    let said = keeps_the_rules(&case);
    assert!(
        said[0].contains("Move /home/u/backup to /usr/local/sbin"),
        "{said:?}"
    );
}

#[test]
fn a_terminals_mail_is_registered_as_what_it_is() {
    let links = [
        systemd(),
        shell(),
        unknown("/usr/bin/bsd-mailx"),
        submitter(),
    ];
    assert_eq!(
        keeps_the_rules(&refused(Reason::ForeignOrigin, &links))
            .last()
            .unwrap(),
        "  sudo sekimori register /usr/bin/bsd-mailx --as mailer --kind batch"
    );
    // Typed behind something that only starts programs.
    let links = [
        systemd(),
        shell(),
        link("/usr/bin/xterm", 11, Role::Launcher, Origin::User),
        LineageLink {
            origin: Origin::User,
            ..mailer("/usr/bin/msmtp", Kind::Batch)
        },
    ];
    let case = Refused {
        culprit: Some("/usr/bin/xterm"),
        ..refused(Reason::IndirectStart, &links)
    };
    assert_eq!(
        keeps_the_rules(&case),
        ["Type the command of /usr/bin/msmtp at the prompt of your shell, without /usr/bin/xterm."]
    );
}

#[test]
fn a_wrapper_is_no_mailer() {
    for (wrapper, kind, step) in [
        (
            "/usr/local/bin/msmtp-wrapped",
            Kind::Batch,
            "Type the command of /opt/msmtp at the prompt",
        ),
        (
            "/home/u/bin/msmtp",
            Kind::Batch,
            "Type the command of /opt/msmtp at the prompt",
        ),
        (
            "/usr/local/bin/own-xterm",
            Kind::Batch,
            "Type the command of /opt/msmtp at the prompt",
        ),
        (
            "/usr/local/bin/msmtp-wrapped",
            Kind::Interactive,
            "If /usr/local/bin/msmtp-wrapped starts programs",
        ),
    ] {
        let links = [
            systemd(),
            shell(),
            unknown(wrapper),
            mailer("/opt/msmtp", kind),
        ];
        let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
        assert!(said[0].starts_with(step), "{said:?}");
    }
}

fn alone(program: &str, role: Role) -> Vec<String> {
    let links = [link(program, 5, role, Origin::Foreign)];
    keeps_the_rules(&refused(Reason::NotAMailer, &links))
}

#[test]
fn what_sends_by_itself_is_registered_by_how_it_was_started() {
    assert_eq!(
        alone("/opt/report", Role::Unknown)[1],
        "  sudo sekimori register /opt/report --as mailer --kind batch"
    );
    let links = [systemd(), desktop(), unknown("/opt/own-mailer")];
    assert_eq!(
        keeps_the_rules(&refused(Reason::NotAMailer, &links))[1],
        "  sudo sekimori register /opt/own-mailer --as mailer --kind interactive"
    );
    let links = [systemd(), unknown("/usr/sbin/own-server")];
    let case = Refused {
        uid: 0,
        ..refused(Reason::NotAMailer, &links)
    };
    assert_eq!(
        keeps_the_rules(&case)[1],
        "  sudo sekimori register /usr/sbin/own-server --as mailer --kind service"
    );
    // A panel sends no mail.
    let said = alone("/usr/bin/panel", Role::Launcher);
    assert!(
        said.len() == 1 && said[0].contains("Send with a mailer"),
        "{said:?}"
    );
}

/// The policy itself says whether following the advice would have helped.
#[test]
fn following_the_advice_makes_the_policy_agree() {
    use policy::{Attempt, Invocation, Program, Rate, Standing, Verdict, may_send};
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
        let links = [
            systemd(),
            self::shell(),
            unknown("/opt/starter"),
            mailer("/opt/mailer", kind),
        ];
        let lines = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
        let (_, role, as_kind) = parsed(&lines[1]).unwrap();
        let starter = exec(&shell, role, as_kind.unwrap_or(Kind::Batch));
        let mailer = exec(&starter, Role::Mailer, kind);
        assert_eq!(
            may_send(&mailer, elsewhere, Rate::UNLIMITED),
            Verdict::Allow,
            "{kind:?}"
        );
    }
    // What starts the mail server is registered as system.
    let systemd = exec(&Standing::ROOT, Role::System, Kind::Service);
    let script = exec(&systemd, Role::System, Kind::Service);
    let server = exec(&script, Role::Mailer, Kind::Service);
    assert_eq!(
        may_send(&server, elsewhere, Rate::UNLIMITED),
        Verdict::Allow
    );
    assert_eq!(policy::may_submit(&server), Some(Verdict::Allow));
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
            is_tool(program) && lines.len() == 1 && lines[0].contains("#! line"),
            "{lines:?}"
        );
    }
    // The script's own path is what stands in the lineage when it has a #! line.
    assert!(
        alone("/home/u/report.py", Role::Unknown)[1]
            .contains("register /home/u/report.py --as mailer")
    );
    // Else its arguments say which script it was.
    let links = [systemd(), shell(), unknown("/usr/bin/python3.12")];
    let case = Refused {
        script: Some("/home/u/report.py"),
        ..refused(Reason::NotAMailer, &links)
    };
    assert_eq!(
        keeps_the_rules(&case)[1],
        "  sudo sekimori register /home/u/report.py --as mailer --kind batch"
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
            shell(),
            unknown("/home/u/report.sh"),
            link(tool, 6, Role::Unknown, Origin::Foreign),
        ];
        for culprit in [&links[1], &links[2]] {
            let lines = keeps_the_rules(&Refused {
                culprit: Some(&culprit.program),
                culprit_pid: Some(culprit.pid),
                ..refused(Reason::NotAMailer, &links)
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
fn a_command_over_a_login_is_explained() {
    let mut links = [
        link("/usr/sbin/sshd", 10, Role::System, Origin::System),
        link("/usr/bin/bash", 11, Role::Shell, Origin::Foreign),
        link("/usr/bin/msmtp", 12, Role::Mailer, Origin::Foreign),
    ];
    links[0].kind = Kind::Interactive;
    let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
    assert!(
        said[0].starts_with("Log in first, then start /usr/bin/msmtp at the prompt."),
        "{said:?}"
    );
    // A service manager is none that logs people in.
    links[0].kind = Kind::Service;
    let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
    assert!(said[0].contains("A job that no person starts"), "{said:?}");
}

#[test]
fn what_is_older_than_the_gate_is_started_again() {
    let mut links = figure_4();
    links[2].program = "/opt/starter".into();
    links[2].seeded = true;
    links[3].kind = Kind::Interactive;
    let said = keeps_the_rules(&refused(Reason::ForeignOrigin, &links));
    assert_eq!(
        said.last().unwrap(),
        "Then log out and log in again: /opt/starter was running before the gate."
    );
    let links = [
        systemd(),
        LineageLink {
            seeded: true,
            ..mailer("/usr/bin/mutt", Kind::Batch)
        },
    ];
    assert_eq!(
        keeps_the_rules(&refused(Reason::ForeignOrigin, &links)),
        ["Close /usr/bin/mutt and start it again: it was running before the gate."]
    );
}

#[test]
fn a_changed_file_keeps_its_role() {
    let links = [systemd(), desktop(), unknown("/usr/bin/xfce4-terminal")];
    assert_eq!(
        keeps_the_rules(&refused(Reason::FileChanged, &links))[1],
        "  sudo sekimori register /usr/bin/xfce4-terminal --as launcher"
    );
    let links = [systemd(), desktop(), unknown("/opt/own")];
    assert_eq!(
        keeps_the_rules(&refused(Reason::FileChanged, &links))[1],
        "  sudo sekimori programs"
    );
}

#[test]
fn a_containers_path_is_not_registered() {
    let links = [unknown(
        "/usr/bin/own (as another mount namespace calls it)",
    )];
    let said = keeps_the_rules(&refused(Reason::NotAMailer, &links));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("the path that it has on this machine"),
        "{said:?}"
    );
}

#[test]
fn a_hostile_path_stays_one_word_of_the_command() {
    let lines = alone("/opt/x; rm -rf ~\n", Role::Unknown);
    assert_eq!(
        lines[1],
        "  sudo sekimori register $'/opt/x; rm -rf ~\\x0a' --as mailer --kind batch"
    );
}

#[test]
fn advice_on_tampering_names_the_variable_and_where_it_is_set() {
    let said = |name, flaw| {
        let by = TamperedBy { name, flaw };
        without("/usr/bin/thunderbird", &by).join("\n")
    };
    let path = said("GTK_MODULES", Flaw::UsersPath);
    assert!(
        path.starts_with("Start /usr/bin/thunderbird again without the variable GTK_MODULES."),
        "{path}"
    );
    for place in [
        "~/.profile",
        "~/.config/environment.d",
        "Environment=",
        ".desktop",
    ] {
        assert!(path.contains(place), "{place}: {path}");
    }
    assert!(path.contains("  grep -rsF GTK_MODULES "), "{path}");
    assert!(path.contains("have root install"), "{path}");
    let switch = said("MOZ_MARIONETTE", Flaw::Switch);
    assert!(!switch.contains("have root install"), "{switch}");
    let argument = said("--marionette", Flaw::Argument);
    assert!(
        argument.contains("without the argument --marionette"),
        "{argument}"
    );
    assert!(
        argument.contains("grep -rsF -e '--marionette' "),
        "{argument}"
    );
}
