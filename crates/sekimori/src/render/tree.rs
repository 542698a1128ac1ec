//! The picture of living processes.

use std::collections::{HashMap, HashSet};

use engine::printable;
use policy::{Origin, Role};

use super::{Style, Tone, columns, padded};

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
    /// It was read from /proc instead of being recorded as it began.
    pub seeded: bool,
    /// It shows signs of tampering, or a process that it descends from does.
    pub tampered: bool,
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
    let mut text = String::new();
    for (name, process) in rows {
        text += &format!(
            "{}  pid {:<pid_width$}  {:<9}  ",
            padded(&name, width),
            process.pid,
            process.role.word()
        );
        text += &style.origin(process.origin);
        if process.seeded {
            text += &style.paint(Tone::Faint, " (older than the gate)");
        }
        if process.tampered {
            text += &style.paint(Tone::Bad, " (signs of tampering)");
        }
        if process.is_culprit {
            text += &style.paint(Tone::Bad, "  ◀ culprit");
        }
        text.push('\n');
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
            seeded: false,
            tampered: false,
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
        processes[5].seeded = true;
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
