//! Looks around on the computer: mailers with a menu entry, and what the catalog knows.
//!
//! Menu entries may lie in folders that any program of the user can write to, so nothing
//! that they say is believed beyond "somebody calls this a mailer".

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use guard::catalog::{Catalog, Entry, Installed};
use guard::identity::Look;
use guard::unsuitable::Tools;
use linux::identity;
use policy::{Kind, Role};

use super::desktop::{DesktopEntry, exec_targets, mailto_defaults};
use super::{Fitness, Found, Mailer, Part, Service, packed};

const FILE_BYTES_MAX: u64 = 256 * 1024;
const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 4;

/// Where to look, and for whom. Paths are as seen inside `root`.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The folder that stands for `/`.
    pub root: PathBuf,
    /// Folders with `applications` in them; the user's own come first.
    pub data_folders: Vec<PathBuf>,
    /// How many of the data folders are the user's own.
    pub own_folders: usize,
    /// Folders with a mimeapps.list in them, the user's own first.
    pub config_folders: Vec<PathBuf>,
    /// Where a command without a path is looked for.
    pub path: Vec<PathBuf>,
    /// Names of the running desktop, in lower case.
    pub desktops: Vec<String>,
    /// Language for names, as in LANG.
    pub locale: String,
}

impl Surroundings {
    /// This computer, for the person who runs the command: behind sudo, that is the one who
    /// called it.
    pub fn of_this_computer() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let behind_sudo = rustix::process::getuid()
            .is_root()
            .then(|| variable("SUDO_UID").parse().ok())
            .flatten();
        let home = behind_sudo
            .and_then(home_of)
            .or_else(|| std::env::var_os("HOME").map(PathBuf::from));
        let folders = |name: &str, default: &str| {
            let value = Some(variable(name)).filter(|value| !value.is_empty());
            let value = value.unwrap_or_else(|| default.to_owned());
            std::env::split_paths(&value)
                .filter(|path| path.is_absolute())
                .collect::<Vec<_>>()
        };
        let mut data_folders = Vec::new();
        let mut config_folders = Vec::new();
        if let Some(home) = home.filter(|home| home.is_absolute()) {
            data_folders.push(home.join(".local/share"));
            data_folders.push(home.join(".local/share/flatpak/exports/share"));
            config_folders.push(home.join(".config"));
        }
        let own_folders = data_folders.len();
        data_folders.extend(folders("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
        for more in [
            "/usr/local/share",
            "/usr/share",
            "/var/lib/flatpak/exports/share",
            "/var/lib/snapd/desktop",
        ] {
            if !data_folders.iter().any(|folder| folder == Path::new(more)) {
                data_folders.push(more.into());
            }
        }
        config_folders.extend(folders("XDG_CONFIG_DIRS", "/etc/xdg"));
        Self {
            root: "/".into(),
            data_folders,
            own_folders,
            config_folders,
            path: [
                "/usr/local/bin",
                "/usr/bin",
                "/bin",
                "/usr/games",
                "/snap/bin",
            ]
            .map(PathBuf::from)
            .into(),
            desktops: variable("XDG_CURRENT_DESKTOP")
                .to_lowercase()
                .split(':')
                .map(str::to_owned)
                .collect(),
            locale: ["LC_ALL", "LC_MESSAGES", "LANG"]
                .map(variable)
                .into_iter()
                .find(|it| !it.is_empty())
                .unwrap_or_default(),
        }
    }

    pub(super) fn host(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path inside the root of a file found on the host.
    fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.root) {
            Ok(rest) => Path::new("/").join(rest),
            Err(_) => path.to_path_buf(),
        }
    }
}

/// Everything on this computer that setup could register.
pub fn find(catalog: &Catalog, around: &Surroundings) -> Found {
    find_with(catalog, around, &|path| identity::identify(path))
}

/// [`find`] with another way to look at files.
pub(super) fn find_with(catalog: &Catalog, around: &Surroundings, look: Look<'_>) -> Found {
    let installed = catalog.installed_below(&around.root, look);
    let tools = Tools::below(&around.root);
    let mut found = Found::default();
    for one in &installed {
        let part = part_of_catalog(one, around, &tools);
        match (one.entry.role, one.entry.kind, &one.entry.part_of) {
            (_, _, Some(mailer)) => found.helpers.push((mailer.clone(), part)),
            (Role::Mailer, Kind::Service, None) => {
                found.add_service(one.entry, part, enabled(around, one.entry))
            }
            (Role::Mailer, _, None) => found.add_mailer(one.entry, part),
            _ => found.others.push(part),
        }
    }
    for (id, entry, own) in menu_entries(around) {
        let around = (around, &tools);
        add_menu_entry(&mut found, &installed, around, look, &id, &entry, own);
    }
    let defaults = default_ids(around);
    let chosen = defaults.iter().find_map(|id| {
        found
            .mailers
            .iter()
            .position(|mailer| mailer.ids.contains(id))
    });
    if let Some(index) = chosen {
        found.mailers[index].default = true;
    }
    found
}

impl Found {
    fn add_mailer(&mut self, entry: &Entry, part: Part) {
        match self
            .mailers
            .iter_mut()
            .find(|mailer| mailer.name == entry.name)
        {
            Some(mailer) => mailer.parts.push(part),
            None => self.mailers.push(Mailer {
                name: entry.name.clone(),
                kind: entry.kind,
                known: true,
                email: true,
                default: false,
                ids: Vec::new(),
                parts: vec![part],
            }),
        }
    }

    fn add_service(&mut self, entry: &Entry, part: Part, enabled: bool) {
        match self
            .services
            .iter_mut()
            .find(|service| service.name == entry.name)
        {
            Some(service) => service.parts.push(part),
            None => self.services.push(Service {
                name: entry.name.clone(),
                enabled,
                parts: vec![part],
            }),
        }
    }
}

fn part_of_catalog(one: &Installed<'_>, around: &Surroundings, tools: &Tools) -> Part {
    let listed = around.inside(&one.listed);
    let part = Part::new(
        &one.entry.name,
        one.entry.role,
        one.entry.kind,
        &listed,
        &one.program,
        |path| around.inside(path),
    );
    match (without_tools(part, tools), &one.entry.why) {
        (part, Some(why)) if one.entry.chosen && part.fitness == Fitness::Good => Part {
            fitness: Fitness::Unfit(format!(
                "{}: {why}; if you want it: sekimori register {} --as {} --kind {}",
                part.path.display(),
                part.path.display(),
                part.role.word(),
                part.kind.word()
            )),
            ..part
        },
        (part, _) => part,
    }
}

fn add_menu_entry(
    found: &mut Found,
    installed: &[Installed<'_>],
    (around, tools): (&Surroundings, &Tools),
    look: Look<'_>,
    id: &str,
    entry: &DesktopEntry,
    own: bool,
) {
    let Some(path) = entry
        .command
        .first()
        .and_then(|command| resolve(around, command))
    else {
        return;
    };
    let file = fs::canonicalize(around.host(&path)).ok();
    let known = installed
        .iter()
        .find(|one| file.is_some() && fs::canonicalize(&one.listed).ok() == file);
    match known.map(|one| one.entry) {
        Some(known) if known.role == Role::Mailer => {
            if let Some(mailer) = found
                .mailers
                .iter_mut()
                .find(|mailer| mailer.name == known.name)
            {
                mailer.ids.push(id.to_owned());
            }
            return;
        }
        // It starts a program in a sandbox, or behind `env`.
        Some(known) if matches!(known.role, Role::Sandbox | Role::Helper) => {}
        // A shell, `exo-open` and the like: they pass the address on.
        Some(_) => return,
        None if entry.browser || entry.no_display => return,
        None => {}
    }
    let kind = if entry.terminal {
        Kind::Batch
    } else {
        Kind::Interactive
    };
    let name = entry
        .name
        .chars()
        .filter(|c| !c.is_control())
        .take(60)
        .collect::<String>();
    let mut parts = packed::parts(around, look, &name, kind, entry, own);
    if parts.is_empty() {
        parts.push(part_at((around, tools), look, &name, kind, &path));
        for target in script_targets(around, &path) {
            if !parts.iter().any(|part| part.path == target) {
                parts.push(part_at((around, tools), look, &name, kind, &target));
            }
        }
    }
    // Any program of the user's can write an entry of its own that calls itself a mailer, and
    // make it the default. It is shown, but never proposed.
    let ids = if own { Vec::new() } else { vec![id.to_owned()] };
    match found
        .mailers
        .iter_mut()
        .find(|mailer| !mailer.known && mailer.parts == parts)
    {
        Some(mailer) => mailer.ids.extend(ids),
        None => found.mailers.push(Mailer {
            name,
            kind,
            known: false,
            email: entry.email && !own,
            default: false,
            ids,
            parts,
        }),
    }
}

fn part_at(
    (around, tools): (&Surroundings, &Tools),
    look: Look<'_>,
    name: &str,
    kind: Kind,
    path: &Path,
) -> Part {
    let program = look(&around.host(path)).map_err(|error| error.to_string());
    let part = Part::new(name, Role::Mailer, kind, path, &program, |path| {
        around.inside(path)
    });
    without_tools(part, tools)
}

/// What does whatever it is told is never offered: a menu entry may start a mailer by it, and so
/// may a file of the machine's own catalog.
fn without_tools(part: Part, tools: &Tools) -> Part {
    match tools.objection(&part.path, part.role, None, &identity::identify) {
        Some(objection) => Part {
            fitness: Fitness::Unfit(format!("{}: {objection}", part.path.display())),
            ..part
        },
        None => part,
    }
}

/// What the launch script at `path` starts, if it is one.
fn script_targets(around: &Surroundings, path: &Path) -> Vec<PathBuf> {
    let text = read(&around.host(path)).filter(|text| text.starts_with("#!"));
    exec_targets(&text.unwrap_or_default())
        .into_iter()
        .filter_map(|target| resolve(around, &target))
        .collect()
}

/// Finds a command as a desktop does. The path is as seen inside the root.
fn resolve(around: &Surroundings, command: &str) -> Option<PathBuf> {
    let exists = |path: &PathBuf| around.host(path).is_file();
    if command.starts_with('/') {
        return Some(PathBuf::from(command)).filter(exists);
    }
    if command.is_empty() || command.contains('/') {
        return None;
    }
    around
        .path
        .iter()
        .map(|folder| folder.join(command))
        .find(exists)
}

/// Menu entries that open mail addresses, and whether each is from the user's own folders.
/// Of two with one id, the first folder's counts.
fn menu_entries(around: &Surroundings) -> Vec<(String, DesktopEntry, bool)> {
    let mut seen: HashMap<String, Option<(DesktopEntry, bool)>> = HashMap::new();
    for (index, folder) in around.data_folders.iter().enumerate() {
        let folder = around.host(folder).join("applications");
        let mut files = Vec::new();
        desktop_files(&folder, &folder, 0, &mut files);
        for (id, path) in files {
            if seen.len() >= ENTRIES_MAX || seen.contains_key(&id) {
                continue;
            }
            let entry = read(&path).and_then(|text| DesktopEntry::parse(&text, &around.locale));
            let entry = entry.filter(|entry| {
                let there = entry
                    .try_exec
                    .as_deref()
                    .is_none_or(|program| resolve(around, program).is_some());
                !entry.hidden && entry.opens_mailto() && there
            });
            seen.insert(id, entry.map(|entry| (entry, index < around.own_folders)));
        }
    }
    let mut entries: Vec<_> = seen
        .into_iter()
        .filter_map(|(id, entry)| entry.map(|(entry, own)| (id, entry, own)))
        .collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    entries
}

/// The id of a desktop file is its path below `applications` with `-` for `/`.
fn desktop_files(top: &Path, folder: &Path, depth: usize, files: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if files.len() >= ENTRIES_MAX {
            return;
        }
        if path.is_dir() {
            if depth < DEPTH_MAX {
                desktop_files(top, &path, depth + 1, files);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "desktop")
            && let Some(id) = path.strip_prefix(top).ok().and_then(Path::to_str)
        {
            files.push((id.replace('/', "-"), path));
        }
    }
}

/// Desktop files named as default for mail addresses, best first.
fn default_ids(around: &Surroundings) -> Vec<String> {
    let mut names: Vec<String> = around
        .desktops
        .iter()
        .filter(|desktop| !desktop.is_empty() && !desktop.contains('/'))
        .map(|desktop| format!("{desktop}-mimeapps.list"))
        .collect();
    names.push("mimeapps.list".to_owned());
    let data = around
        .data_folders
        .iter()
        .map(|folder| folder.join("applications"));
    let folders: Vec<_> = around.config_folders.iter().cloned().chain(data).collect();
    folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .filter_map(|path| read(&around.host(&path)))
        .flat_map(|text| mailto_defaults(&text))
        .collect()
}

/// Whether the system starts a service by itself: systemd, System V or OpenRC.
fn enabled(around: &Surroundings, entry: &Entry) -> bool {
    entry.units.iter().any(|unit| is_unit_enabled(around, unit))
}

/// The same for a unit or an init script by its name, without `.service`.
pub fn is_unit_enabled(around: &Surroundings, unit: &str) -> bool {
    let subfolders = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(around.host(Path::new(folder)));
        entries
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let there = |path: PathBuf| fs::symlink_metadata(path).is_ok();
    let systemd = ["/etc/systemd/system", "/usr/lib/systemd/system"]
        .into_iter()
        .flat_map(subfolders)
        .filter(|folder| {
            folder
                .extension()
                .is_some_and(|extension| extension == "wants" || extension == "requires")
        });
    let starts = |link: &PathBuf| {
        let name = link
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with('S') && name.get(3..) == Some(unit)
    };
    systemd
        .into_iter()
        .any(|folder| there(folder.join(format!("{unit}.service"))))
        || (2..=5)
            .flat_map(|level| subfolders(&format!("/etc/rc{level}.d")))
            .any(|link| starts(&link))
        || there(around.host(Path::new("/etc/runlevels/default")).join(unit))
}

/// The beginning of a regular file, or nothing. A pipe or a device under that name does not make us wait.
pub fn read(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn home_of(uid: u32) -> Option<PathBuf> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(5).map(PathBuf::from))?
    })
}
