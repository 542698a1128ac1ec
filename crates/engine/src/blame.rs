//! Whom people are to read as the culprit.
//!
//! The gate records as culprit the first program that made an origin foreign. Often that is a
//! program which only starts another one: `env`, `nohup`, `timeout`, `sudo`. Such a starter does
//! what its caller says, so the culprit is the program that it started, or the one that started
//! it, whichever of the two is unknown. Verdicts do not depend on this.

use policy::{Origin, Role};

use crate::event::{Culprit, LineageLink};

/// Folders that belong to root, and hold programs of the distribution. Only the whole path counts:
/// a bot may call itself `/tmp/env`. A script that runs in a mount namespace of its own, where
/// `/usr/bin/env` can be any file, has another name here: see `linux::programs`.
const FOLDERS: [&str; 6] = [
    "/usr/bin/",
    "/bin/",
    "/usr/sbin/",
    "/sbin/",
    "/usr/lib/cargo/bin/",
    "/usr/lib/cargo/bin/coreutils/",
];

/// Programs that run the program they are given, and add nothing of their own. Sorted.
///
/// Interpreters are not among them: what a shell or Perl does, its script says.
#[rustfmt::skip]
const STARTERS: [&str; 115] = [
    "abduco", "argv0", "busybox", "bwrap", "capsh", "catchsegv", "cgexec", "cgrun", "choom",
    "chpst", "chronic", "chroot", "chrt", "coresched", "coreutils", "cpulimit", "cset",
    "daemonize", "dbus-launch", "dbus-run-session", "doas", "dtach", "eatmydata", "entr", "env",
    "envdir", "envuidgid", "execcap", "fakechroot", "faketime", "find", "firejail",
    "flatpak-spawn", "flock", "gamemoderun", "gosu", "gpg-agent", "i386", "i686", "ifne",
    "ionice", "lckdo", "linux32", "linux64", "ltrace", "mangohud", "mispipe", "nice", "nocache",
    "nohup", "nsenter", "numactl", "opendoas", "optirun", "parallel", "perf", "pipexec", "pkexec",
    "prime-run", "primusrun", "prlimit", "proot", "proxychains", "proxychains4", "rlwrap",
    "run-one", "run-parts", "run0", "runcon", "runuser", "schedtool", "schroot", "screen",
    "script", "setarch", "setlock", "setpriv", "setsid", "setuidgid", "sg", "softlimit",
    "ssh-agent", "start-stop-daemon", "startx", "stdbuf", "strace", "su", "su-exec", "su-rs",
    "sudo", "sudo-rs", "sudo.ws", "systemd-cat", "systemd-inhibit", "systemd-run",
    "systemd-socket-activate", "taskset", "time", "timeout", "torify", "torsocks", "toybox",
    "trickle", "tsocks", "tsp", "uclampset", "uname26", "unbuffer", "unshare", "valgrind",
    "watch", "x86_64", "xargs", "xinit", "xvfb-run",
];

/// Whether a program only starts the one that it is given, by its whole path.
pub fn is_starter(path: &str) -> bool {
    let Some(name) = name_in_folders(path) else {
        return false;
    };
    let known = |name: &str| STARTERS.binary_search(&name).is_ok();
    // Ubuntu keeps the GNU programs beside newer ones as `gnuenv` and the like.
    known(name) || name.strip_prefix("gnu").is_some_and(known)
}

/// The name of a program that lies in one of [`FOLDERS`].
fn name_in_folders(path: &str) -> Option<&str> {
    FOLDERS
        .iter()
        .filter_map(|folder| path.strip_prefix(folder))
        .find(|name| !name.contains('/'))
}

/// The culprit for people, of one that the gate recorded.
pub fn to_blame(links: &[LineageLink], recorded: Option<&Culprit>) -> Option<Culprit> {
    let recorded = recorded?;
    let other = place(links, recorded).and_then(|place| {
        let (before, after) = (&links[..place], &links[place + 1..]);
        if links[place].seeded {
            youngest(after)
        } else if before.last().is_some_and(|link| link.seeded) && is_distributed(&recorded.program)
        {
            // The first program that the gate saw start below an old one may be a tool, too.
            youngest_of(after, |link| !is_distributed(&link.program))
                .or_else(|| instead(links, place))
        } else if is_shell(&links[place]) {
            // A job's shell: what it started is to blame, or else cron and its like, which say
            // where the job stands.
            let is_foreign = |link: &&LineageLink| link.origin == Origin::Foreign;
            started(after).or_else(|| before.last().filter(is_foreign))
        } else {
            instead(links, place)
        }
    });
    Some(other.map_or_else(|| recorded.clone(), named))
}

/// Whom to name in the place of a starter.
fn instead(links: &[LineageLink], place: usize) -> Option<&LineageLink> {
    if !is_starter(&links[place].program) {
        return None;
    }
    started(&links[place + 1..]).or_else(|| starting(&links[..place]))
}

/// The youngest unknown program below a culprit that is older than the gate. Such a culprit is foreign only
/// because nobody saw how it started, while the programs below were seen. A program that does not
/// come with the distribution comes before one that does: a bot starts `curl`, and not the other way
/// round.
fn youngest(after: &[LineageLink]) -> Option<&LineageLink> {
    youngest_of(after, |link| !is_distributed(&link.program))
        .or_else(|| youngest_of(after, |link| !is_starter(&link.program)))
}

fn youngest_of(
    after: &[LineageLink],
    suits: impl Fn(&LineageLink) -> bool,
) -> Option<&LineageLink> {
    after
        .iter()
        .rev()
        .filter(|link| is_unknown(link) && !link.seeded)
        .find(|link| suits(link))
}

/// Whether the path is one where root alone installs programs.
fn is_distributed(path: &str) -> bool {
    const PLACES: [&str; 5] = ["/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/"];
    let is_plain = !path.ends_with(')') && !path.starts_with("/usr/local/");
    is_plain && PLACES.iter().any(|place| path.starts_with(place))
}

fn named(link: &LineageLink) -> Culprit {
    Culprit {
        program: link.program.clone(),
        pid: link.pid,
    }
}

fn place(links: &[LineageLink], culprit: &Culprit) -> Option<usize> {
    links.iter().position(|link| {
        link.program == culprit.program && link.pid == culprit.pid && link.origin == Origin::Foreign
    })
}

fn is_unknown(link: &LineageLink) -> bool {
    link.role == Role::Unknown && !link.program.is_empty()
}

/// The unknown program that a starter started, itself or by other starters. `su -c` and its like
/// hand the command to a shell, which then is as little to blame as long as it started a program.
fn started(after: &[LineageLink]) -> Option<&LineageLink> {
    let first = |passed_over: fn(&LineageLink) -> bool| {
        after
            .iter()
            .find(|link| {
                !is_starter(&link.program) && link.role != Role::Shell && !passed_over(link)
            })
            .filter(|link| is_unknown(link))
    };
    first(is_shell).or_else(|| first(|_| false))
}

fn is_shell(link: &LineageLink) -> bool {
    const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"];
    name_in_folders(&link.program).is_some_and(|name| SHELLS.contains(&name))
}

/// The unknown program that started it.
fn starting(before: &[LineageLink]) -> Option<&LineageLink> {
    before
        .iter()
        .rev()
        .find(|link| !is_starter(&link.program))
        .filter(|link| is_unknown(link))
}

#[cfg(test)]
mod tests {
    use policy::Kind;

    use super::*;

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

    fn foreign(program: &str, pid: u32, role: Role) -> LineageLink {
        link(program, pid, role, Origin::Foreign)
    }

    /// Whom people read as the culprit when the gate recorded the first foreign link.
    fn blamed(foreign: &[LineageLink]) -> Culprit {
        let mut links = vec![
            link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
            link("/usr/bin/bash", 7, Role::Shell, Origin::User),
        ];
        links.extend_from_slice(foreign);
        to_blame(&links, Some(&named(&foreign[0]))).expect("a culprit")
    }

    #[test]
    fn the_table_is_sorted_and_without_folders() {
        assert!(STARTERS.is_sorted(), "{STARTERS:?}");
        assert!(STARTERS.iter().all(|name| !name.contains('/')));
    }

    #[test]
    fn a_jobs_shell_is_not_the_culprit() {
        let cron = foreign("/usr/sbin/cron", 20, Role::Launcher);
        let shell = foreign("/usr/bin/dash", 21, Role::Unknown);
        let mailer = foreign("/usr/bin/msmtp", 23, Role::Mailer);
        let mut links = vec![cron, shell.clone(), mailer];
        let read =
            |links: &[LineageLink]| to_blame(links, Some(&named(&shell))).expect("a culprit");
        assert_eq!(read(&links).program.as_ref(), "/usr/sbin/cron");
        links.insert(2, foreign("/tmp/bot", 22, Role::Unknown));
        assert_eq!(read(&links).program.as_ref(), "/tmp/bot");
        assert_eq!(read(&links[1..]).program.as_ref(), "/tmp/bot");
    }

    #[test]
    fn what_a_starter_started_is_the_culprit() {
        for starter in [
            "/usr/bin/env",
            "/usr/bin/setsid",
            "/usr/bin/setpriv",
            "/usr/bin/timeout",
            "/usr/bin/nohup",
            "/usr/bin/gnunice",
            "/usr/bin/xargs",
            "/usr/bin/sudo",
            "/sbin/start-stop-daemon",
            "/usr/bin/busybox",
        ] {
            let lineage = [
                foreign(starter, 40, Role::Unknown),
                foreign("/tmp/bot", 41, Role::Unknown),
                foreign("/usr/bin/msmtp", 42, Role::Mailer),
            ];
            let culprit = blamed(&lineage);
            assert_eq!(
                (&*culprit.program, culprit.pid),
                ("/tmp/bot", 41),
                "{starter}"
            );
        }
    }

    #[test]
    fn starters_in_a_row_and_the_shell_of_su_are_passed_over() {
        let lineage = [
            foreign("/usr/bin/nohup", 40, Role::Unknown),
            foreign("/usr/bin/su", 40, Role::Launcher),
            foreign("/usr/bin/bash", 41, Role::Shell),
            foreign("/usr/bin/env", 42, Role::Unknown),
            foreign("/tmp/bot", 42, Role::Unknown),
        ];
        assert_eq!(&*blamed(&lineage).program, "/tmp/bot");
        // Nobody registered this shell.
        let lineage = [
            foreign("/usr/bin/unshare", 40, Role::Unknown),
            foreign("/usr/bin/dash", 40, Role::Unknown),
            foreign("/tmp/bot", 40, Role::Unknown),
        ];
        assert_eq!(&*blamed(&lineage).program, "/tmp/bot");
        assert_eq!(&*blamed(&lineage[..2]).program, "/usr/bin/dash");
    }

    #[test]
    fn the_name_alone_makes_no_starter() {
        for path in [
            "/tmp/env",
            "/home/u/bin/sudo",
            "/usr/bin/env (deleted)",
            "/usr/bin/env (as another mount namespace calls it)",
            "env",
            "./env",
            "/usr/bin/x/env",
            "/usr/local/bin/env",
            "/tmp/usr/bin/env",
            "/usr/bin/",
            "",
        ] {
            assert!(!is_starter(path), "{path}");
            let lineage = [
                foreign(path, 40, Role::Unknown),
                foreign("/usr/bin/curl", 41, Role::Unknown),
            ];
            assert_eq!(&*blamed(&lineage).program, path);
        }
    }

    #[test]
    fn who_started_a_known_program_by_a_starter_is_the_culprit_when_unknown() {
        let links = [
            link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
            foreign("/opt/old", 30, Role::Unknown),
            foreign("/usr/bin/env", 40, Role::Unknown),
            foreign("/usr/bin/thunderbird", 40, Role::Mailer),
        ];
        let culprit = to_blame(&links, Some(&named(&links[2]))).expect("a culprit");
        assert_eq!(&*culprit.program, "/opt/old");
    }

    #[test]
    fn below_an_old_culprit_the_youngest_unknown_program_is_named() {
        let old = |program: &str, pid, role| LineageLink {
            seeded: true,
            ..foreign(program, pid, role)
        };
        let shell = old("/usr/bin/bash", 20, Role::Shell);
        let blamed = |below: &[LineageLink]| {
            let mut links = vec![
                link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System),
                shell.clone(),
            ];
            links.extend_from_slice(below);
            let culprit = to_blame(&links, Some(&named(&shell))).expect("a culprit");
            (culprit.program.to_string(), culprit.pid)
        };
        let bot = foreign("/tmp/new", 31, Role::Unknown);
        let make = foreign("/usr/bin/make", 30, Role::Unknown);
        let curl = foreign("/usr/bin/curl", 32, Role::Unknown);
        let mailer = foreign("/usr/bin/msmtp", 33, Role::Mailer);
        let expected = ("/tmp/new".to_owned(), 31);
        assert_eq!(blamed(std::slice::from_ref(&bot)), expected);
        assert_eq!(
            blamed(&[make.clone(), bot.clone(), curl.clone(), mailer.clone()]),
            expected
        );
        let older = old("/opt/older", 29, Role::Unknown);
        assert_eq!(blamed(&[older.clone(), bot.clone()]), expected);
        assert_eq!(blamed(&[make.clone(), curl.clone()]).0, "/usr/bin/curl");
        // Nobody else is there to be named.
        assert_eq!(blamed(std::slice::from_ref(&mailer)).0, "/usr/bin/bash");
        assert_eq!(blamed(&[older, mailer]).0, "/usr/bin/bash");

        // The gate itself has passed over the old shell, and came to a tool.
        let links = [shell, make.clone(), bot, curl];
        let culprit = to_blame(&links, Some(&named(&make))).expect("a culprit");
        assert_eq!(&*culprit.program, "/tmp/new");
    }

    #[test]
    fn where_both_are_known_the_starter_stays() {
        let lineage = [
            foreign("/usr/bin/env", 40, Role::Unknown),
            foreign("/usr/bin/thunderbird", 40, Role::Mailer),
        ];
        assert_eq!(&*blamed(&lineage).program, "/usr/bin/env");
        let alone = [foreign("/usr/bin/busybox", 40, Role::Unknown)];
        assert_eq!(&*blamed(&alone).program, "/usr/bin/busybox");
        assert_eq!(to_blame(&[], None), None);
    }

    #[test]
    fn any_other_culprit_stays() {
        let lineage = [
            foreign("/usr/bin/python3.12", 40, Role::Unknown),
            foreign("/tmp/bot", 41, Role::Unknown),
        ];
        assert_eq!(&*blamed(&lineage).program, "/usr/bin/python3.12");
    }
}
