//! The picture of one lineage.

use engine::{LineageLink, printable};
use policy::Origin;

use super::{Style, Tone, columns, padded};

/// The chain of execs as a tree, oldest at the top: path, pid, role and origin of each; the
/// culprit marked; links from /proc and lost ones said. Each line ends with a line break.
///
/// `lost` links are missing between the last one and the one before it. The culprit is the
/// link with this path and pid, or with this path where no pid is known.
pub fn lineage(
    links: &[LineageLink],
    lost: u32,
    culprit: Option<(&str, Option<u32>)>,
    style: Style,
) -> String {
    let marked = culprit.and_then(|culprit| culprit_link(links, culprit));
    let mut lines = Vec::new();
    for (index, link) in links.iter().enumerate() {
        if lost > 0 && index + 1 == links.len() && index > 0 {
            let links = if lost == 1 {
                "1 link was"
            } else {
                &format!("{lost} links were")
            };
            lines.push((
                branch(lines.len(), &format!("… {links} not recorded")),
                None,
            ));
        }
        let path = if link.program.is_empty() {
            "(not recorded)".into()
        } else {
            printable(&link.program)
        };
        lines.push((
            branch(lines.len(), &path),
            Some((link, marked == Some(index))),
        ));
    }
    let width = lines
        .iter()
        .filter(|(_, link)| link.is_some())
        .map(|(name, _)| columns(name))
        .max()
        .unwrap_or(0);
    let pid_width = links
        .iter()
        .map(|link| link.pid.to_string().len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, link) in &lines {
        match link {
            None => text += &style.paint(Tone::Faint, name),
            Some((link, is_culprit)) => {
                let name = padded(name, width);
                text += &if *is_culprit {
                    style.paint(Tone::Bad, &name)
                } else {
                    name
                };
                text += &format!("  pid {:<pid_width$}  {:<9}  ", link.pid, link.role.word());
                text += &notes(link, *is_culprit, style);
            }
        }
        text.push('\n');
    }
    // A culprit that is among the lost links still has a name.
    if let (Some((path, pid)), None) = (culprit, marked) {
        let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        text += &style.paint(
            Tone::Bad,
            &format!("◀ culprit: {}{pid}, not among these links", printable(path)),
        );
        text.push('\n');
    }
    text
}

fn notes(link: &LineageLink, is_culprit: bool, style: Style) -> String {
    let mut notes = style.origin(link.origin);
    if link.seeded {
        notes += &style.paint(Tone::Faint, " (older than the gate)");
    }
    if is_culprit {
        notes += &style.paint(Tone::Bad, "  ◀ culprit");
    }
    notes
}

/// A program that falls more than once stands in the lineage more than once: the first
/// foreign link with that path and pid is the one.
fn culprit_link(links: &[LineageLink], (path, pid): (&str, Option<u32>)) -> Option<usize> {
    let fits = |link: &LineageLink| &*link.program == path && pid.is_none_or(|pid| pid == link.pid);
    links
        .iter()
        .position(|link| fits(link) && link.origin == Origin::Foreign)
        .or_else(|| links.iter().position(fits))
        .or_else(|| {
            // Who called exec with a variable or an argument was a fork of the link before.
            let called =
                |pair: &[LineageLink]| &*pair[0].program == path && Some(pair[1].pid) == pid;
            links.windows(2).position(called)
        })
}

pub(super) fn branch(depth: usize, name: &str) -> String {
    match depth {
        0 => name.to_owned(),
        _ => format!("{}└─ {name}", "   ".repeat(depth - 1)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use policy::{Kind, Role};

    use super::*;

    pub(crate) fn link(program: &str, pid: u32, role: Role, origin: Origin) -> LineageLink {
        LineageLink {
            program: program.into(),
            pid,
            role,
            origin,
            kind: Kind::Batch,
            seeded: false,
        }
    }

    pub(crate) fn figure_4() -> Vec<LineageLink> {
        vec![
            LineageLink {
                seeded: true,
                ..link("/usr/lib/systemd/systemd", 1, Role::System, Origin::System)
            },
            link("/usr/bin/gnome-shell", 1200, Role::Session, Origin::User),
            link("/tmp/update", 4242, Role::Unknown, Origin::Foreign),
            link("/usr/bin/thunderbird", 4243, Role::Mailer, Origin::Foreign),
        ]
    }

    #[test]
    fn the_oldest_stands_at_the_top_and_the_culprit_is_marked() {
        assert_eq!(
            lineage(
                &figure_4(),
                0,
                Some(("/tmp/update", Some(4242))),
                Style::default()
            ),
            "\
/usr/lib/systemd/systemd       pid 1     system     system (older than the gate)
└─ /usr/bin/gnome-shell        pid 1200  session    user
   └─ /tmp/update              pid 4242  unknown    foreign  ◀ culprit
      └─ /usr/bin/thunderbird  pid 4243  mailer     foreign
"
        );
    }

    #[test]
    fn the_caller_of_a_tampered_program_is_marked() {
        let links = [
            link("/usr/bin/bash", 5, Role::Shell, Origin::User),
            link("/usr/bin/mutt", 6, Role::Mailer, Origin::User),
        ];
        let text = lineage(
            &links,
            0,
            Some(("/usr/bin/bash", Some(6))),
            Style::default(),
        );
        assert_eq!(
            text,
            "\
/usr/bin/bash     pid 5  shell      user  ◀ culprit
└─ /usr/bin/mutt  pid 6  mailer     user
"
        );
    }

    #[test]
    fn lost_links_and_a_lost_culprit_are_said() {
        let links = [figure_4()[1].clone(), figure_4()[3].clone()];
        assert_eq!(
            lineage(
                &links,
                9,
                Some(("/tmp/update", Some(4242))),
                Style::default()
            ),
            "\
/usr/bin/gnome-shell        pid 1200  session    user
└─ … 9 links were not recorded
   └─ /usr/bin/thunderbird  pid 4243  mailer     foreign
◀ culprit: /tmp/update, pid 4242, not among these links
"
        );
    }

    #[test]
    fn hostile_paths_are_escaped_and_missing_ones_said() {
        let links = [
            link("", 7, Role::Unknown, Origin::Foreign),
            link("/tmp/\x1b[2J\n/bin/sh", 8, Role::Unknown, Origin::Foreign),
        ];
        let text = lineage(&links, 0, None, Style::default());
        assert_eq!(
            text,
            "\
(not recorded)              pid 7  unknown    foreign
└─ /tmp/\\x1b[2J\\x0a/bin/sh  pid 8  unknown    foreign
"
        );
        assert_eq!(lineage(&[], 0, None, Style::default()), "");
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let culprit = Some(("/tmp/update", None));
        let mut coloured = lineage(&figure_4(), 2, culprit, Style { colour: true });
        assert!(coloured.contains("\x1b[31m"));
        for code in ["\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, lineage(&figure_4(), 2, culprit, Style::default()));
    }
}
