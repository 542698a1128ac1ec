//! Programs known by name: data/catalog.toml, and what lies in /etc/sekimori/catalog.d.
//!
//! The catalog only says where to look and what a program is. It registers nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use policy::{Kind, Role};
use serde::Deserialize;
use toml::Spanned;

use crate::config::{Place, located, read_text};
use crate::identity::{Look, Program};

/// Where a machine's own additions lie.
pub const EXTRA_FOLDER: &str = "/etc/sekimori/catalog.d";

const BUILT_IN: &str = include_str!("../data/catalog.toml");
/// How many folders a pattern may have looked at. No real system has so many below the folders that the
/// catalog names; a pattern of several `*` on a large disk could.
const FOLDERS_MAX: usize = 100_000;

/// One known program, which may consist of several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people call it.
    pub name: String,
    /// What it would be registered as.
    pub role: Role,
    /// How it comes to act.
    pub kind: Kind,
    /// Where it may lie; a component `*` stands for any one folder.
    pub paths: Vec<String>,
    /// The name of the mailer that it helps to send: a person's, or a service.
    pub part_of: Option<String>,
    /// Paths, one of which has to exist.
    pub needs: Vec<String>,
    /// For a service: the names under which a service manager starts it.
    pub units: Vec<String>,
    /// For a mailer of kind service: the users as which it connects to mail servers.
    pub users: Vec<String>,
    /// Setup registers it only for who chooses it; `why` says what speaks against it.
    pub chosen: bool,
    /// What is not obvious about it.
    pub why: Option<String>,
}

/// A file of a known program that is on this computer.
#[derive(Clone, Debug)]
pub struct Installed<'a> {
    /// What the catalog says of it.
    pub entry: &'a Entry,
    /// The path in the catalog that led to it.
    pub listed: PathBuf,
    /// What it is, or why it cannot be registered.
    pub program: Result<Program, String>,
}

/// The known programs.
#[derive(Clone, Debug)]
pub struct Catalog {
    entries: Vec<Entry>,
    /// Hears what is wrong and stops nothing.
    trouble: fn(&str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    program: Vec<Spanned<Raw>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    role: Spanned<String>,
    kind: Option<Spanned<String>>,
    paths: Spanned<Vec<String>>,
    part_of: Option<String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    chosen: bool,
    why: Option<String>,
}

impl Catalog {
    /// The catalog of this version, and the files `*.toml` in `extra` in the order of their
    /// names. Additions come first: where two entries lead to one file, the machine's own
    /// word counts. A folder that is not there adds nothing. `trouble` is told, one line at a
    /// time, what is wrong and stops nothing.
    pub fn load(extra: Option<&Path>, trouble: fn(&str)) -> Result<Self> {
        let mut entries = Vec::new();
        for path in extra.map(additions).transpose()?.unwrap_or_default() {
            if let Some(text) = read_text(&path)? {
                entries.extend(parse(&text, &path)?);
            }
        }
        entries.extend(parse(BUILT_IN, Path::new("catalog.toml"))?);
        Ok(Self { entries, trouble })
    }

    /// Every known program.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that a path leads to, by the file and not by the name.
    pub fn entry_of(&self, path: &Path) -> Option<&Entry> {
        let file = fs::canonicalize(path).ok()?;
        self.located(Path::new("/"))
            .find(|(_, listed)| fs::canonicalize(listed).is_ok_and(|it| it == file))
            .map(|(entry, _)| entry)
    }

    /// What of the catalog lies below `root`: each file once, under the first entry that
    /// leads to it. `look` says what a file is.
    pub fn installed_below(&self, root: &Path, look: Look<'_>) -> Vec<Installed<'_>> {
        let mut seen = HashSet::new();
        let mut installed = Vec::new();
        for (entry, listed) in self.located(root) {
            if fs::canonicalize(&listed).is_ok_and(|file| seen.insert(file)) {
                let program = look(&listed).map_err(|error| error.to_string());
                installed.push(Installed {
                    entry,
                    listed,
                    program,
                });
            }
        }
        installed
    }

    /// Each entry with each of its paths that exists below `root`.
    fn located<'a, 'r>(
        &'a self,
        root: &'r Path,
    ) -> impl Iterator<Item = (&'a Entry, PathBuf)> + use<'a, 'r> {
        let trouble = self.trouble;
        let exists = move |pattern: &String| !expand(root, pattern, trouble).is_empty();
        self.entries
            .iter()
            .filter(move |entry| entry.needs.is_empty() || entry.needs.iter().any(exists))
            .flat_map(move |entry| entry.paths.iter().map(move |path| (entry, path)))
            .flat_map(move |(entry, path)| {
                expand(root, path, trouble)
                    .into_iter()
                    .map(move |found| (entry, found))
            })
    }
}

fn additions(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("{}: cannot be read", folder.display()))?,
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("{}: cannot be read", folder.display()))?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    Ok(paths)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Entry>> {
    let document: Document = toml::from_str(text).map_err(|error| located(path, text, &error))?;
    document
        .program
        .into_iter()
        .map(|raw| check(raw.into_inner(), text, path))
        .collect()
}

fn check(raw: Raw, text: &str, path: &Path) -> Result<Entry> {
    let place = |start| Place::of(path, text, start);
    let role = Role::from_word(raw.role.get_ref()).filter(|role| *role != Role::Unknown);
    let Some(role) = role else {
        let words: Vec<_> = Role::ALL
            .iter()
            .map(|role| role.word())
            .filter(|word| *word != "unknown")
            .collect();
        bail!(
            "{}: role: expected one of {}, found {:?}",
            place(raw.role.span().start),
            words.join(", "),
            raw.role.get_ref()
        );
    };
    let kind = match raw.kind {
        Some(word) => match Kind::from_word(word.get_ref()) {
            Some(kind) => kind,
            None => bail!(
                "{}: kind: expected interactive, batch or service, found {:?}",
                place(word.span().start),
                word.get_ref()
            ),
        },
        None => match default_kind(role) {
            Some(kind) => kind,
            None => bail!(
                "{}: {:?} is a mailer without a kind, expected interactive, batch or service",
                place(raw.role.span().start),
                raw.name
            ),
        },
    };
    let good = |path: &String| {
        path.starts_with('/') && !path.contains("/..") && !path.contains(char::is_control)
    };
    if raw.paths.get_ref().is_empty() || !raw.paths.get_ref().iter().chain(&raw.needs).all(good) {
        bail!(
            "{}: paths: expected a list of absolute paths",
            place(raw.paths.span().start)
        );
    }
    Ok(Entry {
        name: raw.name,
        role,
        kind,
        paths: raw.paths.into_inner(),
        part_of: raw.part_of,
        needs: raw.needs,
        units: raw.units,
        users: raw.users,
        chosen: raw.chosen,
        why: raw.why,
    })
}

/// The kind of a program that is registered without one. A mailer's has to be said.
pub fn default_kind(role: Role) -> Option<Kind> {
    match role {
        Role::Mailer => None,
        Role::System => Some(Kind::Service),
        Role::Submitter | Role::Unknown => Some(Kind::Batch),
        Role::Session
        | Role::Launcher
        | Role::Shell
        | Role::Chat
        | Role::Helper
        | Role::Sandbox => Some(Kind::Interactive),
    }
}

/// The files below `root` that a path with `*` components leads to.
fn expand(root: &Path, pattern: &str, trouble: fn(&str)) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut looked_at = 0;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if part != "*" {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        // What does not exist has nothing below it.
        found = found.iter().flat_map(|path| subfolders(path)).collect();
        looked_at += found.len();
        if looked_at > FOLDERS_MAX {
            trouble(&format!(
                "{pattern} in the catalog leads to more than {FOLDERS_MAX} folders; the others are left out"
            ));
            found.truncate(FOLDERS_MAX);
        }
    }
    found.retain(|path| fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir()));
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut folders: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::identity::tests::as_it_lies_there;

    fn complaint(text: &str) -> String {
        let complaint = parse(text, Path::new("x.toml")).unwrap_err().to_string();
        assert!(!complaint.contains('\n'), "{complaint}");
        complaint
    }

    fn put(root: &Path, path: &str) {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"\x7fELF").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_built_in_catalog_is_sound() {
        let catalog = Catalog::load(None, |_| ()).unwrap();
        assert!(catalog.entries().len() > 90);
        let names: HashSet<_> = catalog
            .entries()
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(
            names.len(),
            catalog.entries().len(),
            "a name is there twice"
        );
        for entry in catalog.entries() {
            assert!(
                entry
                    .part_of
                    .as_deref()
                    .is_none_or(|name| names.contains(name)),
                "{}",
                entry.name
            );
            let unique: HashSet<_> = entry.paths.iter().collect();
            assert_eq!(unique.len(), entry.paths.len(), "{}", entry.name);
        }
    }

    #[test]
    fn nothing_that_runs_what_anybody_says_is_in_it() {
        let catalog = Catalog::load(None, |_| ()).unwrap();
        let all: HashSet<_> = catalog
            .entries()
            .iter()
            .flat_map(|entry| &entry.paths)
            .collect();
        for absent in [
            "perl",
            "python3",
            "node",
            "curl",
            "wget",
            "xargs",
            "find",
            "script",
            "systemd-run",
            "nvim",
        ] {
            assert!(!all.contains(&format!("/usr/bin/{absent}")), "{absent}");
        }
        // Starters hand on what others decided, and vouch for nothing themselves.
        for (starter, role, kind) in [
            ("env", Role::Helper, Kind::Interactive),
            ("tmux", Role::Launcher, Kind::Interactive),
            ("flatpak", Role::Sandbox, Kind::Interactive),
            ("bwrap", Role::Sandbox, Kind::Batch),
            ("firefox", Role::Launcher, Kind::Batch),
        ] {
            let path = format!("/usr/bin/{starter}");
            let mut entries = catalog.entries().iter();
            let entry = entries.find(|entry| entry.paths.contains(&path)).unwrap();
            assert_eq!((entry.role, entry.kind), (role, kind), "{starter}");
        }
        // Who has to choose is told why.
        let chosen = |entry: &&Entry| entry.chosen;
        for entry in catalog.entries().iter().filter(chosen) {
            assert!(entry.why.is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn installed_gives_each_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "/usr/lib/thunderbird/thunderbird-bin");
        symlink(
            "thunderbird-bin",
            root.join("usr/lib/thunderbird/thunderbird"),
        )
        .unwrap();
        put(root, "/usr/lib/x86_64-linux-gnu/sddm/sddm-helper");
        put(root, "/usr/bin/git");
        fs::create_dir_all(root.join("usr/bin/mutt")).unwrap();
        let catalog = Catalog::load(None, |_| ()).unwrap();
        let installed = catalog.installed_below(root, &as_it_lies_there);
        let names: Vec<_> = installed
            .iter()
            .map(|found| found.entry.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["Thunderbird", "SDDM"],
            "git is a mailer only with git-send-email"
        );
        assert!(installed.iter().all(|found| found.program.is_ok()));

        put(root, "/usr/libexec/git-core/git-send-email");
        let installed = catalog.installed_below(root, &as_it_lies_there);
        assert!(installed.iter().any(|found| found.entry.name == "git"));
    }

    #[test]
    fn a_pattern_looks_into_every_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for number in 0..300 {
            fs::create_dir_all(root.join(format!("usr/lib/a{number:03}"))).unwrap();
        }
        put(root, "/usr/lib/x86_64-linux-gnu/sddm/sddm-helper");
        let catalog = Catalog::load(None, |_| ()).unwrap();
        let installed = catalog.installed_below(root, &as_it_lies_there);
        assert_eq!(installed.len(), 1);
        assert_eq!(installed[0].entry.name, "SDDM");
        assert_eq!(expand(root, "/usr/*/*/sddm/sddm-helper", |_| ()).len(), 1);
    }

    #[test]
    fn a_machine_adds_its_own() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Catalog::load(Some(&folder.path().join("none")), |_| ())
                .unwrap()
                .entries()
                .len(),
            Catalog::load(None, |_| ()).unwrap().entries().len()
        );
        let own = "[[program]]\nname = \"own\"\nrole = \"mailer\"\nkind = \"batch\"\npaths = [\"/opt/own\"]\n";
        fs::write(folder.path().join("own.toml"), own).unwrap();
        fs::write(folder.path().join("readme"), "not TOML").unwrap();
        let catalog = Catalog::load(Some(folder.path()), |_| ()).unwrap();
        assert_eq!(
            (
                catalog.entries()[0].name.as_str(),
                catalog.entries()[0].kind
            ),
            ("own", Kind::Batch)
        );
    }

    #[test]
    fn mistakes_are_one_line_with_their_place() {
        let start = "[[program]]\nname = \"x\"\n";
        assert!(
            complaint(&format!("{start}role = \"mailr\"\npaths = [\"/x\"]"))
                .starts_with("x.toml:3:8: role: expected one of system, session")
        );
        assert!(
            complaint(&format!("{start}role = \"unknown\"\npaths = [\"/x\"]"))
                .contains("role: expected")
        );
        assert!(
            complaint(&format!("{start}role = \"mailer\"\npaths = [\"/x\"]"))
                .contains("without a kind")
        );
        assert!(
            complaint(&format!(
                "{start}role = \"shell\"\nkind = \"b\"\npaths = [\"/x\"]"
            ))
            .contains("kind: expected interactive")
        );
        assert!(
            complaint(&format!("{start}role = \"shell\"\npaths = [\"x\"]"))
                .contains("absolute paths")
        );
        assert!(
            complaint(&format!("{start}role = \"shell\"\npaths = []")).contains("absolute paths")
        );
        assert!(
            complaint(&format!("{start}role = \"shell\"\npath = [\"/x\"]"))
                .starts_with("x.toml:4:1: unknown field `path`")
        );
        assert!(complaint("[[programs]]").contains("unknown field `programs`"));
        assert!(complaint("[[program]]\n").starts_with("x.toml:1:"));
    }
}
