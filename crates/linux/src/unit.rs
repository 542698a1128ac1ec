//! Which unit of the service manager a process belongs to, by its cgroup, and which script it runs.
//!
//! Only for people: no verdict depends on either. A process may be gone before it is asked about, a user
//! may make cgroups of any name below the user's own service manager, and arguments are the
//! process's own.

use std::fs::{self, File};
use std::io::Read as _;

use crate::procfs;

/// A longer list of cgroups is read no further.
const BYTES_MAX: u64 = 64 * 1024;
/// Ends of names that the service manager gives to what holds processes.
const KINDS: [&str; 2] = [".service", ".scope"];

/// The unit of a process: `cron.service`, `session-3.scope`, or the user's own service manager and
/// a unit of it, `user@1000.service/app-mail.scope`.
pub fn of(pid: u32) -> Option<String> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/cgroup"))
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text))
        .ok()?;
    unit_in(&String::from_utf8_lossy(&text))
}

/// The unit in the text of `/proc/PID/cgroup`: one line for each hierarchy, in the form
/// `number:controllers:path` (cgroups(7)). The unified hierarchy is number 0; before it, the service manager
/// kept one of its own, called `name=systemd`.
fn unit_in(text: &str) -> Option<String> {
    let path_of = |wanted: fn(&str, &str) -> bool| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers) = (fields.next()?, fields.next()?);
            wanted(number, controllers).then(|| fields.next())?
        })
    };
    let unified = path_of(|number, controllers| number == "0" && controllers.is_empty());
    let named = path_of(|_, controllers| controllers == "name=systemd");
    [unified, named].into_iter().flatten().find_map(unit_of)
}

/// The outermost unit in the path of a cgroup, and the innermost where it is another one: of the
/// user's service manager and of containers.
fn unit_of(path: &str) -> Option<String> {
    // What was removed while the process was in it keeps its name, with a mark.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let is_unit = |part: &&str| {
        KINDS
            .iter()
            .any(|kind| part.len() > kind.len() && part.ends_with(kind))
    };
    let mut units = path.split('/').filter(is_unit);
    let outer = units.next()?;
    Some(match units.next_back() {
        Some(inner) => format!("{outer}/{inner}"),
        None => outer.to_owned(),
    })
}

/// The script that an interpreter with this process id runs, by its first argument. A relative
/// name is completed by the process's folder.
pub fn script(pid: u32) -> Option<String> {
    let arguments = procfs::arguments(pid, 4096);
    let first = String::from_utf8(arguments.get(1)?.clone()).ok()?;
    if first.is_empty() || first.starts_with('-') {
        return None;
    }
    if first.starts_with('/') {
        return Some(first);
    }
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(folder.join(first).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_read_from_every_layout_of_hierarchies() {
        for (text, unit) in [
            // Unified.
            ("0::/system.slice/cron.service\n", Some("cron.service")),
            (
                "0::/system.slice/system-postfix.slice/postfix@-.service\n",
                Some("postfix@-.service"),
            ),
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n",
                Some("session-3.scope"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-mail-77.scope\n",
                Some("user@1000.service/app-gnome-mail-77.scope"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
                Some("user@1000.service/init.scope"),
            ),
            (
                "0::/system.slice/backup.service (deleted)\n",
                Some("backup.service"),
            ),
            // A service that manages a part of the tree itself, and a container.
            (
                "0::/system.slice/foo.service/workers/3\n",
                Some("foo.service"),
            ),
            (
                "0::/system.slice/docker-abc.scope/system.slice/cron.service\n",
                Some("docker-abc.scope/cron.service"),
            ),
            // Hybrid: the service manager's own hierarchy may be the only one that names it.
            (
                "12:pids:/system.slice/cron.service\n1:name=systemd:/system.slice/cron.service\n0::/system.slice/cron.service\n",
                Some("cron.service"),
            ),
            (
                "4:memory:/\n1:name=systemd:/system.slice/smartd.service\n0::/\n",
                Some("smartd.service"),
            ),
            // The first version alone.
            (
                "3:cpu,cpuacct:/\n1:name=systemd:/user.slice/user-0.slice/session-c1.scope\n",
                Some("session-c1.scope"),
            ),
            // No service manager, a slice alone, and nothing.
            ("0::/\n", None),
            ("0::/user.slice\n", None),
            ("0::/.service/.scope\n", None),
            ("1:name=systemd:/a:b.service\n", Some("a:b.service")),
            ("", None),
            ("garbage\n0\n0:", None),
        ] {
            assert_eq!(unit_in(text).as_deref(), unit, "{text}");
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_unit_and_no_script() {
        assert_eq!((of(0), script(0)), (None, None));
    }

    #[test]
    fn a_relative_script_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("report.sh"), "read line\n").unwrap();
        let run = |words: &[&str]| {
            std::process::Command::new("/bin/sh")
                .args(words)
                .current_dir(folder.path())
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let whole = folder
            .path()
            .join("report.sh")
            .to_string_lossy()
            .into_owned();
        let cases: [(&[&str], Option<&str>); 3] = [
            (&["report.sh"], Some(&whole)),
            (&[&whole], Some(&whole)),
            (&["-c", "read line"], None),
        ];
        for (words, wanted) in cases {
            let mut child = run(words);
            // The text ends with a zero byte. Until the shell has replaced the test's own image.
            let is_shell = || procfs::arguments(child.id(), 4096).len() == words.len() + 2;
            let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while !is_shell() && std::time::Instant::now() < patience {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            let found = script(child.id());
            drop(child.stdin.take());
            child.wait().unwrap();
            assert_eq!(found.as_deref(), wanted, "{words:?}");
        }
    }
}
