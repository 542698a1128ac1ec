//! Programs that lie in a Flatpak or a snap: each update puts them into a folder of its own, to which a
//! link leads that stays.

use std::path::{Component, Path, PathBuf};

/// Digits of a commit, by which Flatpak names the folder of each update.
const COMMIT_DIGITS: usize = 64;

/// Whether a path leads through the link that an update turns: `…/flatpak/app/ID/current/active/…`,
/// `/snap/NAME/current/…`. Such a program is registered by this path and not by the folder of today.
#[must_use]
pub fn moves_with_updates(path: &Path) -> bool {
    let parts: Vec<_> = names(path).collect();
    let has = |name: &str| parts.iter().position(|part| *part == name);
    let flatpak = has("app")
        .zip(has("active"))
        .is_some_and(|(app, active)| app < active);
    let snap = has("snap").is_some_and(|snap| parts.get(snap + 2) == Some(&"current"));
    flatpak || snap
}

/// What a Flatpak itself calls a file of its own: `/app/bin/x`. The path of the whole machine is too
/// long for the gate's table of scripts as a rule.
pub(super) fn name_inside(reached: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = names(reached).collect();
    // app, ID, architecture, branch, commit, files.
    let files = parts.iter().position(|part| *part == "files")?;
    let is_commit = |name: &str| {
        name.len() == COMMIT_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_flatpak = files >= 5 && parts[files - 5] == "app" && is_commit(parts[files - 1]);
    let rest = parts.get(files + 1..).filter(|rest| !rest.is_empty())?;
    is_flatpak.then(|| Path::new("/app").join(rest.iter().collect::<PathBuf>()))
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_an_update_turns_is_known() {
        for path in [
            "/var/lib/flatpak/app/org.x.Y/current/active/files/bin/y",
            "/srv/flatpak/app/org.x.Y/x86_64/stable/active/files/lib/y/y",
            "/snap/thunderbird/current/usr/lib/thunderbird/thunderbird",
            "/var/lib/snapd/snap/x/current/bin/x",
        ] {
            assert!(moves_with_updates(Path::new(path)), "{path}");
        }
        for path in [
            "/usr/bin/active",
            "/usr/bin/snap",
            "/snap/bin/x",
            "/opt/current/app",
        ] {
            assert!(!moves_with_updates(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_flatpak_has_a_name_of_its_own_for_a_file() {
        let commit = "0123456789abcdef".repeat(4);
        let path = format!("/var/lib/flatpak/app/org.x.Y/x86_64/stable/{commit}/files/bin/y");
        assert_eq!(name_inside(Path::new(&path)), Some("/app/bin/y".into()));
        for path in [
            "/var/lib/flatpak/app/org.x.Y/x86_64/stable/abc/files/bin/y".to_owned(),
            format!("/tmp/{commit}/files/bin/y"),
            format!("/var/lib/flatpak/app/org.x.Y/x86_64/stable/{commit}/files"),
        ] {
            assert_eq!(name_inside(Path::new(&path)), None, "{path}");
        }
    }
}
