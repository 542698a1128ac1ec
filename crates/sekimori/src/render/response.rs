//! What to do about a bot when it was not the reader who started it: end it, look at it, keep a copy,
//! change passwords. Each step comes with commands for the processes and files of the finding.

use engine::{FindingEntry, LineageLink};
use linux::programs::is_named_elsewhere;
use policy::{Origin, Role};

use super::shell_word;
use crate::unsuitable::is_tool;

/// The steps: sentences, and commands that are indented by two spaces.
pub(super) fn response(entry: &FindingEntry, id: u64) -> Vec<String> {
    let pids = pids(entry);
    let file = suspect(entry);
    let copy = keep_a_copy(file, &pids, id);
    let end = end_it(entry, &pids);
    let look = look_at_it(file);
    let mut lines = Vec::new();
    // A file that has no usable path can only be copied while its process lives.
    let steps = if file.is_some_and(|(path, _)| has_path(path)) {
        [end, look, copy]
    } else {
        [look, copy, end]
    };
    lines.extend(steps.into_iter().flatten());
    lines.push(
        "Change the passwords that were used or saved on this computer, mail passwords first. Do this on another \
         computer. Then change the password of this account:"
            .to_owned(),
    );
    lines.push(format!("  sudo passwd \"$(id -nu {})\"", entry.uid));
    lines
}

fn end_it(entry: &FindingEntry, pids: &[u32]) -> Vec<String> {
    if pids.is_empty() {
        return vec![
            "The number of the process is not known. List the processes of this user, and end those that you do not know:"
                .to_owned(),
            format!("  ps -u {} -o pid,lstart,args", entry.uid),
        ];
    }
    let words: Vec<String> = pids.iter().map(u32::to_string).collect();
    vec![
        "End the processes. First check that these numbers still belong to the programs above:"
            .to_owned(),
        format!("  ps -o pid,user,lstart,args -p {}", words.join(",")),
        format!("  sudo kill -KILL {}", words.join(" ")),
    ]
}

fn look_at_it(file: Option<(&str, u32)>) -> Vec<String> {
    match file {
        Some((path, _)) if has_path(path) => {
            let path = shell_word(path);
            vec![
                "Look at the file, and look for what starts it again:".to_owned(),
                format!("  sudo ls -l {path}"),
                format!("  sudo grep -rlsF -e {path} /etc /var/spool/cron /root /home"),
            ]
        }
        Some((_, pid)) => vec![
            "Look at the process while it still runs:".to_owned(),
            format!("  sudo ls -l /proc/{pid}/exe /proc/{pid}/cwd /proc/{pid}/fd"),
        ],
        None => vec![
            "Look at the arguments of the process while it still runs. They name the script or the command:"
                .to_owned(),
            "  ps -eo pid,ppid,user,lstart,args --forest".to_owned(),
        ],
    }
}

fn keep_a_copy(file: Option<(&str, u32)>, pids: &[u32], id: u64) -> Vec<String> {
    let from = match (file, pids.first()) {
        (Some((path, _)), _) if has_path(path) => shell_word(path).to_string(),
        (Some((_, pid)), _) => format!("/proc/{pid}/exe"),
        (None, Some(pid)) => format!("/proc/{pid}/cmdline"),
        (None, None) => return Vec::new(),
    };
    vec![
        "Keep a copy for whoever examines it. The copy cannot be run:".to_owned(),
        format!("  sudo install -m 0400 {from} /root/sekimori-finding-{id}"),
    ]
}

/// The processes to end: what acted, and each unknown program that led to it.
fn pids(entry: &FindingEntry) -> Vec<u32> {
    let is_unknown =
        |link: &&LineageLink| link.role == Role::Unknown && link.origin == Origin::Foreign;
    let led = entry.lineage.iter().filter(is_unknown).map(|link| link.pid);
    let known = entry
        .lineage
        .iter()
        .any(|link| Some(link.pid) == entry.culprit_pid && link.role != Role::Unknown);
    let culprit = entry.culprit_pid.filter(|_| !known);
    let mut pids: Vec<u32> = Vec::new();
    for pid in culprit.into_iter().chain(led).chain([entry.pid]) {
        // The first process is nobody's bot, and ending it ends the machine.
        if pid > 1 && !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// The program to look at, with its process: not a tool, which only does what it was given.
fn suspect(entry: &FindingEntry) -> Option<(&str, u32)> {
    let culprit = entry.culprit.as_deref().zip(entry.culprit_pid);
    let unknown = |link: &&LineageLink| {
        link.role == Role::Unknown && link.origin == Origin::Foreign && !link.seeded
    };
    let links = entry.lineage.iter().rev().filter(unknown);
    let known: Vec<&str> = entry
        .lineage
        .iter()
        .filter(|link| link.role != Role::Unknown)
        .map(|link| &*link.program)
        .collect();
    let own = (entry.role == Role::Unknown).then_some((&*entry.program, entry.pid));
    culprit
        .into_iter()
        .chain(links.map(|link| (&*link.program, link.pid)))
        .chain(own)
        .find(|(path, _)| !path.is_empty() && !is_tool(path) && !known.contains(path))
}

/// Whether the text is the path of a file that can be named in a command.
fn has_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains('…')
        && !path.ends_with(" (deleted)")
        && !is_named_elsewhere(path)
}

#[cfg(test)]
mod tests {
    use super::super::explain::tests::finding;
    use super::super::log::FromJournal as _;
    use super::*;

    fn steps(change: impl FnOnce(&mut FindingEntry)) -> Vec<String> {
        let engine::Entry::Finding(mut entry) =
            engine::Entry::deserialize_from(&finding()).unwrap()
        else {
            panic!("not a finding")
        };
        change(&mut entry);
        response(&entry, 42)
    }

    #[test]
    fn each_step_has_a_command_that_fits() {
        assert_eq!(
            steps(|_| {}),
            [
                "End the processes. First check that these numbers still belong to the programs above:",
                "  ps -o pid,user,lstart,args -p 4242,4243",
                "  sudo kill -KILL 4242 4243",
                "Look at the file, and look for what starts it again:",
                "  sudo ls -l /tmp/update",
                "  sudo grep -rlsF -e /tmp/update /etc /var/spool/cron /root /home",
                "Keep a copy for whoever examines it. The copy cannot be run:",
                "  sudo install -m 0400 /tmp/update /root/sekimori-finding-42",
                "Change the passwords that were used or saved on this computer, mail passwords first. Do this on another \
                 computer. Then change the password of this account:",
                "  sudo passwd \"$(id -nu 1000)\"",
            ]
        );
    }

    #[test]
    fn a_program_without_a_file_is_copied_before_it_is_ended() {
        for path in [
            "(in no folder)/memfd:x",
            "/tmp/x (deleted)",
            "/tmp/a/b/…/c/bot",
        ] {
            let lines = steps(|entry| {
                entry.culprit = Some(path.into());
                entry.lineage[2].program = path.into();
            });
            let at = |text: &str| lines.iter().position(|line| line.contains(text));
            let copy = at("install -m 0400 /proc/4242/exe");
            assert!(copy.is_some() && copy < at("kill -KILL"), "{lines:?}");
            assert_eq!(at(&format!("  sudo ls -l {path}")), None);
        }
    }

    #[test]
    fn no_known_program_is_ended_or_suspected() {
        let lines = steps(|entry| {
            entry.culprit = Some("/usr/bin/bash".into());
            entry.culprit_pid = Some(4242);
            entry.lineage[2].program = "/usr/bin/bash".into();
            entry.lineage[2].role = Role::Shell;
        });
        assert!(
            lines.contains(&"  sudo kill -KILL 4243".to_owned()),
            "{lines:?}"
        );
        let all = lines.join("\n");
        assert!(
            !all.contains("/usr/bin/bash") && !all.contains("4242"),
            "{all}"
        );
    }

    #[test]
    fn what_an_interpreter_ran_is_looked_for_in_its_arguments() {
        let lines = steps(|entry| {
            entry.culprit = Some("/usr/bin/python3.12".into());
            entry.lineage[2].program = "/usr/bin/python3.12".into();
        });
        let all = lines.join("\n");
        assert!(
            all.contains("arguments") && all.contains("/proc/4242/cmdline"),
            "{all}"
        );
        assert!(!all.contains("ls -l /usr/bin/python"), "{all}");
    }

    #[test]
    fn an_unknown_process_is_looked_for_among_the_users() {
        let lines = steps(|entry| {
            (entry.pid, entry.culprit_pid) = (0, None);
            entry.lineage.clear();
        });
        assert!(
            lines.contains(&"  ps -u 1000 -o pid,lstart,args".to_owned()),
            "{lines:?}"
        );
    }
}
