//! The picture of living processes.

use std::collections::{HashMap, HashSet};

use engine::{printable, program_name};
use policy::{Origin, Role};

use super::{Style, Tone, columns, padded};

/// How old a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// Its program was started under the gate.
    #[default]
    Newer,
    /// It was started before the gate.
    Older,
    /// Its program was, by the process that it was forked from.
    OlderProgram,
}

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number; 0 when it has none.
    pub parent: u32,
    /// Path of its program; empty when unknown.
    pub program: String,
    /// What the program is registered as.
    pub role: Role,
    /// Whose will it carries.
    pub origin: Origin,
    /// It is what made its own origin foreign.
    pub is_culprit: bool,
    /// What made its origin foreign, or tampered with it: path and process.
    pub culprit: Option<(String, u32)>,
    /// How old it is.
    pub age: Age,
    /// Signs of tampering, its own and those of the processes that it descends from.
    pub tampered: Vec<String>,
}

/// The processes as a forest, children under their parents, by pid. With `root` only that
/// process and its descendants; the text is empty when it is not among them.
pub fn tree(processes: &[Process], root: Option<u32>, style: Style) -> String {
    let known: HashSet<u32> = processes.iter().map(|process| process.pid).collect();
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in processes {
        let parent = if known.contains(&process.parent) && process.parent != process.pid {
            process.parent
        } else {
            0
        };
        children.entry(parent).or_default().push(process);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|process| process.pid);
    }
    let roots: Vec<&Process> = match root {
        Some(pid) => processes
            .iter()
            .filter(|process| process.pid == pid)
            .take(1)
            .collect(),
        None => children.get(&0).cloned().unwrap_or_default(),
    };
    let rows = rows(&roots, &children);
    let width = rows
        .iter()
        .map(|(name, _)| columns(name))
        .max()
        .unwrap_or(0);
    let pid_width = rows
        .iter()
        .map(|(_, process)| process.pid.to_string().len())
        .max()
        .unwrap_or(0);
    let by_pid: HashMap<u32, &Process> = rows
        .iter()
        .map(|(_, process)| (process.pid, *process))
        .collect();
    let culprits: HashSet<u32> = rows
        .iter()
        .filter(|(_, process)| process.is_culprit)
        .map(|(_, process)| process.pid)
        .collect();
    let mut text = String::new();
    for (name, process) in rows {
        text += &format!(
            "{}  pid {:<pid_width$}  {:<9}  ",
            padded(&name, width),
            process.pid,
            process.role.word()
        );
        text += &style.origin(process.origin);
        let age = match process.age {
            Age::Newer => "",
            Age::Older => " (older than the gate)",
            Age::OlderProgram => " (its program is older than the gate)",
        };
        text += &style.paint(Tone::Faint, age);
        text += &notes(
            process,
            by_pid.get(&process.parent).copied(),
            &culprits,
            style,
        );
        text.push('\n');
    }
    text
}

/// Tampering and culprit, each where it begins: what a child has in common with its parent's line is not
/// said again.
fn notes(
    process: &Process,
    parent: Option<&Process>,
    culprits: &HashSet<u32>,
    style: Style,
) -> String {
    let mut text = String::new();
    let new: Vec<_> = process
        .tampered
        .iter()
        .filter(|sign| parent.is_none_or(|parent| !parent.tampered.contains(sign)))
        .map(|sign| printable(sign))
        .collect();
    if !new.is_empty() {
        text += &style.paint(
            Tone::Bad,
            &format!(" (signs of tampering: {})", new.join("; ")),
        );
    } else if !process.tampered.is_empty() {
        text += &style.paint(Tone::Bad, " (signs of tampering, as above)");
    }
    if process.is_culprit {
        text += &style.paint(Tone::Bad, "  ◀ culprit");
    } else if let Some((path, pid)) = &process.culprit {
        // The culprit of tampering is the program that ran here before.
        let is_known = (culprits.contains(pid) && *pid != process.pid)
            || parent.is_some_and(|parent| parent.culprit == process.culprit);
        if !is_known {
            text += &style.paint(
                Tone::Bad,
                &format!("  ◀ culprit {} (pid {pid})", program_name(path)),
            );
        }
    }
    text
}

/// Depth first, with a stack of its own: a chain of processes may be as deep as there are
/// pids. Each process comes once, even if the parents form a ring.
fn rows<'a>(
    roots: &[&'a Process],
    children: &HashMap<u32, Vec<&'a Process>>,
) -> Vec<(String, &'a Process)> {
    let mut rows = Vec::new();
    let mut seen = HashSet::new();
    let mut stack: Vec<(String, String, &Process)> = roots
        .iter()
        .rev()
        .map(|root| (String::new(), String::new(), *root))
        .collect();
    while let Some((lead, below, process)) = stack.pop() {
        if !seen.insert(process.pid) {
            continue;
        }
        let path = if process.program.is_empty() {
            "(unknown)".into()
        } else {
            printable(&process.program)
        };
        rows.push((format!("{lead}{path}"), process));
        let Some(siblings) = children.get(&process.pid) else {
            continue;
        };
        for (index, child) in siblings.iter().enumerate().rev() {
            let (corner, line) = if index + 1 == siblings.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            stack.push((format!("{below}{corner}"), format!("{below}{line}"), child));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, program: &str, role: Role, origin: Origin) -> Process {
        Process {
            pid,
            parent,
            program: program.to_owned(),
            role,
            origin,
            is_culprit: false,
            culprit: None,
            age: Age::Newer,
            tampered: Vec::new(),
        }
    }

    fn some() -> Vec<Process> {
        vec![
            process(30, 10, "/tmp/\u{7}x", Role::Unknown, Origin::Foreign),
            process(1, 0, "/sbin/init", Role::System, Origin::System),
            process(10, 1, "/usr/bin/gnome-shell", Role::Session, Origin::User),
            process(20, 10, "/usr/bin/mutt", Role::Mailer, Origin::User),
            process(21, 20, "", Role::Unknown, Origin::Foreign),
            process(99, 98, "/orphan", Role::Unknown, Origin::Foreign),
        ]
    }

    #[test]
    fn children_stand_under_their_parents() {
        let mut processes = some();
        processes[0].is_culprit = true;
        processes[5].age = Age::Older;
        assert_eq!(
            tree(&processes, None, Style::default()),
            "\
/sbin/init               pid 1   system     system
└─ /usr/bin/gnome-shell  pid 10  session    user
   ├─ /usr/bin/mutt      pid 20  mailer     user
   │  └─ (unknown)       pid 21  unknown    foreign
   └─ /tmp/\\x07x         pid 30  unknown    foreign  ◀ culprit
/orphan                  pid 99  unknown    foreign (older than the gate)
"
        );
    }

    /// An agent that was forked from an older one, a shell with a variable that loads code, and what
    /// another program made foreign that has ended.
    #[test]
    fn age_tampering_and_culprit_are_said_where_they_begin() {
        let mut processes = some();
        let sign = || vec!["another process traced it".to_owned()];
        processes[2].age = Age::OlderProgram;
        processes[3].tampered = sign();
        processes[3].culprit = Some(("/usr/bin/gdb".to_owned(), 20));
        processes[4].tampered = sign();
        processes[4].culprit = Some(("/usr/bin/gdb".to_owned(), 20));
        processes[5].culprit = Some(("/tmp/gone".to_owned(), 7));
        assert_eq!(
            tree(&processes, None, Style::default()),
            "\
/sbin/init               pid 1   system     system
└─ /usr/bin/gnome-shell  pid 10  session    user (its program is older than the gate)
   ├─ /usr/bin/mutt      pid 20  mailer     user (signs of tampering: another process traced it)  ◀ culprit /usr/bin/gdb (pid 20)
   │  └─ (unknown)       pid 21  unknown    foreign (signs of tampering, as above)
   └─ /tmp/\\x07x         pid 30  unknown    foreign
/orphan                  pid 99  unknown    foreign  ◀ culprit /tmp/gone (pid 7)
"
        );
    }

    #[test]
    fn one_process_can_be_asked_for() {
        let text = tree(&some(), Some(20), Style::default());
        assert_eq!(
            text,
            "/usr/bin/mutt  pid 20  mailer     user\n└─ (unknown)   pid 21  unknown    foreign\n"
        );
        assert_eq!(tree(&some(), Some(5), Style::default()), "");
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let ring = [
            process(5, 6, "/a", Role::Unknown, Origin::Foreign),
            process(6, 5, "/b", Role::Unknown, Origin::Foreign),
        ];
        assert_eq!(tree(&ring, Some(5), Style::default()).lines().count(), 2);
    }
}
