//! What part an unknown program plays in a lineage.

use std::collections::HashMap;
use std::sync::LazyLock;

use engine::{LineageLink, culprit_link, is_machines_user, is_without_person};
use guard::catalog::{Catalog, Entry};
use policy::{Kind, Origin, Role};

use super::{Refused, command, name};

/// The part of a program that stands in the way.
pub(super) enum Part {
    /// The catalog knows it.
    Known(&'static Entry),
    /// It only starts programs: a panel, a terminal, a wrapper.
    Starter,
    /// It hands mail to a mailer by itself, and a person starts it at a terminal.
    Sender,
    /// It starts the machine's mail server, or is a part of it.
    OfServer,
    /// A job of the machine.
    Machine,
    /// The machine runs it, out of a folder of a user's.
    Movable,
    /// Nobody starts it for a user but a table or a timer.
    Job,
    /// A desktop program that started what only a terminal may start.
    Desktop,
    /// It stands between a shell and the mailer, and has nothing to send itself.
    Wrapper,
}

/// The part that the unknown program `culprit` plays.
pub(super) fn part_of(refused: &Refused<'_>, culprit: &str) -> Part {
    if let Some(entry) = known(culprit) {
        return Part::Known(entry);
    }
    let place = culprit_link(&refused.case()).map(|(place, _)| place);
    let before = place
        .and_then(|place| place.checked_sub(1))
        .map(|before| &refused.links[before]);
    let after = place.map_or(&[][..], |place| &refused.links[place + 1..]);
    let starts_shell = after
        .split_last()
        .is_some_and(|(_, between)| between.iter().any(|link| link.role == Role::Shell));
    let is_for_people = refused.role == Role::Unknown
        && known(refused.program)
            .is_some_and(|entry| entry.role == Role::Mailer && entry.kind == Kind::Interactive);
    if refused.is_interactive()
        || is_for_people
        || (starts_shell && !is_without_person(refused.links))
    {
        return Part::Starter;
    }
    if is_without_person(refused.links) {
        let is_server = refused.role == Role::Mailer && refused.kind() == Some(Kind::Service);
        return match is_machines_user(refused.uid) {
            true if is_roots_place(culprit) && is_server => Part::OfServer,
            true if is_roots_place(culprit) => Part::Machine,
            true => Part::Movable,
            false => Part::Job,
        };
    }
    let by_shell = before.is_none_or(|link| link.role == Role::Shell);
    if !by_shell && is_roots_place(culprit) {
        return Part::Desktop;
    }
    if is_wrapper(culprit, refused.program) {
        return Part::Wrapper;
    }
    Part::Sender
}

/// Whether a program only starts another one, by the name of its file: it is called after that one, or as
/// panels, terminals and wrappers are.
pub(super) fn is_wrapper(path: &str, program: &str) -> bool {
    const NAMES: [&str; 9] = [
        "panel", "term", "wrap", "launch", "dock", "menu", "session", "desktop", "-open",
    ];
    let name_of = |path: &str| {
        path.rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let (name, other) = (name_of(path), name_of(program));
    let other = other.trim_end_matches(|letter: char| !letter.is_ascii_alphabetic());
    (other.len() > 3 && path != program && name.contains(other))
        || NAMES.iter().any(|known| name.contains(known))
}

/// Whether the desktop started the program itself.
pub(super) fn is_started_by_the_desktop(links: &[LineageLink]) -> bool {
    let before = links.len().checked_sub(2).map(|at| &links[at]);
    before.is_some_and(|link| {
        link.origin == Origin::User && matches!(link.role, Role::Session | Role::Launcher)
    })
}

/// Folders that the distribution and root fill. Only for words: whoever registers a program is told
/// who can change its file.
fn is_roots_place(path: &str) -> bool {
    const PLACES: [&str; 7] = [
        "/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/etc/", "/opt/",
    ];
    PLACES.iter().any(|place| path.starts_with(place))
}

/// The paths of the built-in catalog by the name of their file, each with its entry.
type ByName = HashMap<&'static str, Vec<(&'static str, &'static Entry)>>;

/// What the built-in catalog says of a path.
pub(super) fn known(path: &str) -> Option<&'static Entry> {
    static CATALOG: LazyLock<Option<Catalog>> = LazyLock::new(|| Catalog::load(None, |_| ()).ok());
    static BY_NAME: LazyLock<ByName> = LazyLock::new(|| {
        let mut by_name = ByName::new();
        let entries = CATALOG.as_ref().map_or(&[][..], Catalog::entries);
        for (entry, pattern) in entries
            .iter()
            .flat_map(|entry| entry.paths.iter().map(move |pattern| (entry, pattern)))
        {
            let name = pattern.rsplit('/').next().unwrap_or_default();
            by_name.entry(name).or_default().push((pattern, entry));
        }
        by_name
    });
    // The kernel names a file in /usr/bin where the catalog says /bin.
    let other = path.strip_prefix("/usr").filter(|it| it.starts_with('/'));
    let fits =
        |pattern: &str| matches(pattern, path) || other.is_some_and(|it| matches(pattern, it));
    let named = BY_NAME.get(path.rsplit('/').next()?)?;
    let found = named.iter().find(|(pattern, _)| fits(pattern));
    found.map(|(_, entry)| *entry)
}

/// Whether a path is one that a pattern of the catalog means: `*` stands for one folder.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// How a program that the catalog knows is registered.
pub(super) fn as_known(path: &str, entry: &Entry) -> Vec<String> {
    let is_server =
        entry.role == Role::System || (entry.role == Role::Mailer && entry.kind == Kind::Service);
    if is_server {
        // A server has several parts, and setup knows which are needed.
        return vec![
            format!(
                "{} belongs to {}. Have it registered:",
                name(path),
                entry.name
            ),
            "  sudo sekimori setup --yes".to_owned(),
        ];
    }
    let kind = (entry.role == Role::Mailer).then_some(entry.kind);
    if entry.chosen {
        return vec![
            format!(
                "{} also does what its start-up files or add-ons say, and any program of yours can change these. Type the \
                 command at the prompt of a shell in a terminal window. If you accept that risk:",
                name(path)
            ),
            command(path, entry.role, kind),
        ];
    }
    vec![
        format!("{} belongs to {}. Register it:", name(path), entry.name),
        command(path, entry.role, kind),
    ]
}
