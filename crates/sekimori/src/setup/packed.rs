//! Mailers in a Flatpak or a snap: which files of theirs have to be registered.
//!
//! A menu entry names the command that starts the sandbox. What runs inside is what root has installed:
//! the deployed commit of a Flatpak, the mounted file system of a snap. A Flatpak that a user has
//! installed lies in that user's home, where every program of the user can change it.

use std::path::{Path, PathBuf};

use guard::identity::Look;
use policy::{Kind, Role};

use super::desktop::{DesktopEntry, behind_exec, group};
use super::find::{Surroundings, read};
use super::{Fitness, Part};

const FLATPAKS: &str = "/var/lib/flatpak/app";
const SNAPS: [&str; 2] = ["/snap", "/var/lib/snapd/snap"];

/// The parts of the mailer that a menu entry starts in a sandbox; none when it starts none in one.
pub(super) fn parts(
    around: &Surroundings,
    look: Look<'_>,
    name: &str,
    kind: Kind,
    entry: &DesktopEntry,
    own: bool,
) -> Vec<Part> {
    let words = without_env(&entry.command);
    let Some((first, rest)) = words.split_first() else {
        return Vec::new();
    };
    let first = Path::new(first.as_str());
    let unfit = |why: String| {
        vec![Part {
            name: name.to_owned(),
            role: Role::Mailer,
            kind,
            path: first.to_path_buf(),
            fitness: Fitness::Unfit(why),
        }]
    };
    let inside = if first.file_name().is_some_and(|name| name == "flatpak") {
        let Some(id) = flatpak_id(rest) else {
            return unfit(format!("{name} starts flatpak, but runs no program of it"));
        };
        let base = Path::new(FLATPAKS).join(id).join("current/active");
        if own || !around.host(&base).exists() {
            return unfit(format!(
                "{id} is a Flatpak that a user has installed, and any program of that user can change it; have root \
                 install it (sudo flatpak install --system {id}), remove the other one (flatpak uninstall --user {id}), \
                 and run setup again"
            ));
        }
        Inside::flatpak(around, base, rest)
    } else if let Some(app) = snap_app(first, rest) {
        match Inside::snap(around, &app) {
            Some(inside) => inside,
            None => return unfit(format!("{app} is a snap that is not mounted now")),
        }
    } else {
        return Vec::new();
    };
    inside.parts(around, look, name, kind)
}

/// A menu entry may begin with `env A=1`.
fn without_env(command: &[String]) -> &[String] {
    let is_env = |word: &String| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name == "env")
    };
    match command.split_first() {
        Some((first, rest)) if is_env(first) => {
            let settings = rest.iter().take_while(|word| word.contains('=')).count();
            &rest[settings..]
        }
        _ => command,
    }
}

fn flatpak_id(rest: &[String]) -> Option<&str> {
    let (run, rest) = rest.split_first()?;
    let id = rest
        .iter()
        .find(|word| !word.starts_with('-') && !word.starts_with('@'))?;
    // org.mozilla.Thunderbird, or the same with //branch.
    let id = id.split('/').next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_id = id.contains('.') && id.chars().all(is_plain) && !id.starts_with('.');
    (run == "run" && is_id).then_some(id)
}

/// The application of a snap: `thunderbird`, or `suite.mail`.
fn snap_app(first: &Path, rest: &[String]) -> Option<String> {
    let name = first.file_name()?.to_str()?;
    let app = if first.parent() == Some(Path::new("/snap/bin"))
        || first.parent() == Some(Path::new("/var/lib/snapd/snap/bin"))
    {
        name
    } else if name == "snap" && rest.first().is_some_and(|word| word == "run") {
        rest.iter().skip(1).find(|word| !word.starts_with('-'))?
    } else {
        return None;
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!app.is_empty() && !app.starts_with('.') && app.chars().all(is_plain)).then(|| app.to_owned())
}

/// Where the files of a sandboxed program lie, and with which of them it begins.
struct Inside {
    /// What the program itself calls `prefix` lies here.
    folder: PathBuf,
    prefix: &'static str,
    /// Where a command without a path is looked for, below the folder.
    path: &'static [&'static str],
    /// Commands that are run one after the other, the program last.
    commands: Vec<String>,
}

impl Inside {
    fn flatpak(around: &Surroundings, base: PathBuf, words: &[String]) -> Self {
        let named = words
            .iter()
            .find_map(|word| word.strip_prefix("--command="));
        let command = named.map(str::to_owned).or_else(|| {
            let metadata = read(&around.host(&base.join("metadata")))?;
            let value = group(&metadata, "Application")
                .find(|(key, _)| *key == "command")?
                .1;
            Some(value.to_owned())
        });
        Self {
            folder: base.join("files"),
            prefix: "/app",
            path: &["bin"],
            commands: command.into_iter().collect(),
        }
    }

    fn snap(around: &Surroundings, app: &str) -> Option<Self> {
        let (snap, app) = app.split_once('.').unwrap_or((app, app));
        let folder = SNAPS
            .map(|folder| Path::new(folder).join(snap).join("current"))
            .into_iter()
            .find(|folder| around.host(folder).exists())?;
        let about = read(&around.host(&folder.join("meta/snap.yaml")))?;
        Some(Self {
            commands: snap_commands(&about, app),
            folder,
            prefix: "$SNAP",
            path: &["bin", "usr/bin"],
        })
    }

    /// The file that a word of a start script or of the description names.
    fn resolve(&self, around: &Surroundings, word: &str) -> Option<PathBuf> {
        let word = word.trim_matches('"');
        let there = |path: PathBuf| around.host(&path).is_file().then_some(path);
        let rest = word
            .strip_prefix(self.prefix)
            .or_else(|| word.strip_prefix("${SNAP}"))
            .and_then(|rest| rest.strip_prefix('/'));
        if word.contains("..") {
            return None;
        }
        if let Some(rest) = rest {
            return there(self.folder.join(rest));
        }
        if word.contains('/') {
            return (!word.starts_with('/'))
                .then(|| self.folder.join(word))
                .and_then(there);
        }
        self.path
            .iter()
            .find_map(|folder| there(self.folder.join(folder).join(word)))
    }

    /// Every file from the first command on: start scripts as parts of the sandbox, the program itself
    /// as the mailer.
    fn parts(&self, around: &Surroundings, look: Look<'_>, name: &str, kind: Kind) -> Vec<Part> {
        const PARTS_MAX: usize = 16;
        let mut parts: Vec<Part> = Vec::new();
        let mut left: Vec<PathBuf> = self
            .commands
            .iter()
            .filter_map(|command| self.resolve(around, command))
            .collect();
        while let Some(path) = left.pop() {
            if parts.len() >= PARTS_MAX || parts.iter().any(|part| part.path == path) {
                continue;
            }
            let program = look(&around.host(&path)).map_err(|error| error.to_string());
            let script = read(&around.host(&path)).filter(|text| text.starts_with("#!"));
            let (role, kind) = match &script {
                Some(_) => (Role::Sandbox, Kind::Service),
                None => (Role::Mailer, kind),
            };
            let targets = targets(&script.unwrap_or_default());
            left.extend(targets.iter().filter_map(|word| self.resolve(around, word)));
            let fitness = match program {
                Ok(program) if program.root_owned => Fitness::Good,
                Ok(_) => Fitness::Loose,
                Err(why) => Fitness::Unfit(why),
            };
            parts.push(Part {
                name: name.to_owned(),
                role,
                kind,
                path,
                fitness,
            });
        }
        parts
    }
}

/// The words that a start script may end in the exec of.
fn targets(script: &str) -> Vec<String> {
    behind_exec(script)
        .filter_map(|mut words| words.find(|word| !word.starts_with('-') && !word.contains('=')))
        .map(|word| word.trim_matches(['"', '\'', ';']).to_owned())
        .collect()
}

/// The command chain and the command of an application in a snap's description. Of YAML, only what
/// snapd itself writes: one key a line, lists with a hyphen or in brackets.
fn snap_commands(text: &str, app: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut commands = Vec::new();
    if !lines.any(|line| line.trim_end() == "apps:") {
        return commands;
    }
    let is_app = |line: &&str| indent(line) > 0 && line.trim() == format!("{app}:");
    let mut lines = lines
        .take_while(|line| indent(line) > 0)
        .skip_while(|line| !is_app(line));
    let Some(depth) = lines.next().map(indent) else {
        return commands;
    };
    let mut in_chain = false;
    for line in lines.take_while(|line| indent(line) > depth || line.trim().starts_with("- ")) {
        let word = |value: &str| {
            let value = value.trim().trim_matches(['"', '\'']);
            value.split_whitespace().next().map(str::to_owned)
        };
        let line = line.trim();
        if let Some(item) = line.strip_prefix("- ") {
            commands.extend(word(item).filter(|_| in_chain));
            continue;
        }
        in_chain = false;
        match line.split_once(':') {
            Some(("command", value)) => commands.extend(word(value)),
            Some(("command-chain", value)) => {
                in_chain = true;
                let list = value.trim().trim_matches(['[', ']']);
                commands.extend(list.split(',').filter_map(word));
            }
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests;
