//! Programs that do whatever they are told: interpreters, shells, download tools, relays and
//! starters. Registered as a mailer, such a program would let everybody send. So `register`
//! refuses them unless `--force` is given, and `setup` never offers them.
//!
//! A program is recognised by its own name and by the name of each symbolic link that leads to
//! it, version numbers aside. A copy under another name is recognised by its contents, as long as
//! the original is installed.

mod names;

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use policy::Role;

use crate::identity::{Look, is_one_file};

/// Where programs are installed for everybody: originals of copies are looked for here.
const FOLDERS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/games",
];
/// How many links may lead to a program: the kernel's own limit.
const LINKS_MAX: usize = 40;

/// What a program does for whoever starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Runs code that it is given.
    Interpreter,
    /// Runs commands, typed or from a script.
    Shell,
    /// Is many programs in one, a shell and network clients among them.
    Multicall,
    /// Sends and fetches what it is told, wherever it is told.
    Fetcher,
    /// Carries the bytes of others to any host and port.
    Relay,
    /// Starts any program.
    Starter,
    /// Starts any program, as the person at its prompt or its start-up files say.
    Editor,
}

impl Tool {
    /// What such a program is, for a sentence.
    const fn is(self) -> &'static str {
        match self {
            Self::Interpreter => "an interpreter, which runs whatever code anybody gives it",
            Self::Shell => "a shell, which runs whatever commands anybody gives it",
            Self::Multicall => "many programs in one file, a shell and network clients among them",
            Self::Fetcher => "a transfer tool, which sends whatever anybody gives it",
            Self::Relay => "a relay, which carries anybody's bytes to any host and port",
            Self::Starter => "a starter, which starts whatever program anybody names",
            Self::Editor => "an editor, which runs whatever commands its files and arguments name",
        }
    }

    /// Whether a registration in this role makes sense.
    pub const fn suits(self, role: Role) -> bool {
        match role {
            // On Alpine and in small systems, people type into a multi-call program.
            Role::Shell => matches!(self, Self::Shell | Self::Multicall),
            // What it starts is judged by itself.
            Role::Launcher => matches!(self, Self::Starter),
            Role::Helper => matches!(self, Self::Starter | Self::Editor),
            // What runs inside is registered by itself, and the role permits nothing beside it.
            Role::Sandbox => matches!(self, Self::Starter),
            // On Alpine, the first process and the logins are a multi-call program.
            Role::System => matches!(self, Self::Starter | Self::Multicall),
            Role::Unknown | Role::Session | Role::Mailer | Role::Submitter | Role::Chat => false,
        }
    }

    /// What to register instead.
    fn instead(self, role: Role) -> String {
        let script = format!(
            "register the script that it runs, a file of root's that begins with #!: sekimori register /PATH/TO/SCRIPT --as {}",
            role.word()
        );
        match (self, role) {
            (Self::Shell, Role::Launcher | Role::Session | Role::System) => {
                "register it with --as shell".to_owned()
            }
            (Self::Shell | Self::Multicall, _) => {
                format!("{script}; if people type into it, use --as shell")
            }
            (Self::Interpreter | Self::Editor, _) => script,
            (Self::Fetcher | Self::Relay, Role::Mailer | Role::Submitter) => {
                "send with a mailer, and register that one: sekimori register /usr/bin/msmtp --kind batch"
                    .to_owned()
            }
            (Self::Starter, Role::Mailer | Role::Submitter | Role::Chat) => format!(
                "register the program that it starts: sekimori register /PATH/TO/PROGRAM --as {}",
                role.word()
            ),
            (Self::Fetcher | Self::Relay | Self::Starter, _) => format!(
                "register the program that does the work of a {}",
                role.word()
            ),
        }
    }
}

/// Why a program should not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// What kind of tool it is.
    pub tool: Tool,
    /// The name or the file by which it was recognised.
    pub known_as: String,
    role: Role,
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "it is {} ({}): registered as {}, it would act for every program that starts it; {}; --force registers it all the same",
            self.tool.is(),
            self.known_as,
            self.role.word(),
            self.tool.instead(self.role)
        )
    }
}

/// What speaks against registering this program in this role. `sha256` is that of its contents; `look`
/// says what those of the tools are.
pub fn objection(path: &Path, role: Role, sha256: &str, look: Look<'_>) -> Option<Objection> {
    Tools::below(Path::new("/")).objection(path, role, Some(sha256), look)
}

/// What kind of tool a program is, by the name of its file alone. For advice about programs that need
/// not be on this machine.
pub fn tool_named(path: &str) -> Option<Tool> {
    names::tool(path.rsplit('/').next().unwrap_or_default())
}

/// Whether a program does whatever it is told, by the name of its file alone.
pub fn is_tool(path: &str) -> bool {
    tool_named(path).is_some()
}

/// Whether nothing speaks against a role, by the name of the program's file alone.
pub fn suits(path: &str, role: Role) -> bool {
    tool_named(path).is_none_or(|tool| tool.suits(role))
}

/// The tools that are installed.
#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
    /// With the path as seen inside the root.
    installed: Vec<(Tool, PathBuf, Metadata)>,
}

impl Tools {
    /// Looks for them where `root` stands for `/`.
    pub fn below(root: &Path) -> Self {
        let mut installed = Vec::new();
        for folder in FOLDERS.map(Path::new) {
            let entries = fs::read_dir(inside(root, folder));
            for entry in entries.into_iter().flatten().flatten() {
                let name = entry.file_name();
                let tool = name.to_str().and_then(names::tool);
                if let Some(tool) = tool
                    && let Ok(about) = fs::metadata(entry.path())
                    && about.is_file()
                {
                    installed.push((tool, folder.join(name), about));
                }
            }
        }
        Self {
            root: root.to_owned(),
            installed,
        }
    }

    /// What speaks against registering the program at `path`, as seen inside the root. `look` says what
    /// the contents of files are.
    pub fn objection(
        &self,
        path: &Path,
        role: Role,
        sha256: Option<&str>,
        look: Look<'_>,
    ) -> Option<Objection> {
        let (tool, known_as) =
            by_name(&self.root, path).or_else(|| self.by_contents(path, sha256, look))?;
        let objection = Objection {
            tool,
            known_as,
            role,
        };
        (!tool.suits(role)).then_some(objection)
    }

    /// A hard link or a copy of an installed tool, by whatever name.
    fn by_contents(
        &self,
        path: &Path,
        sha256: Option<&str>,
        look: Look<'_>,
    ) -> Option<(Tool, String)> {
        let about = fs::metadata(inside(&self.root, path)).ok()?;
        let hash = |path: &Path| Some(look(&inside(&self.root, path)).ok()?.sha256);
        let mut sha256 = sha256.map(str::to_owned);
        let found = self.installed.iter().find(|(_, original, other)| {
            if is_one_file(&about, other) {
                return true;
            }
            if about.len() != other.len() || other.len() == 0 {
                return false;
            }
            sha256 = sha256.take().or_else(|| hash(path));
            sha256.is_some() && sha256 == hash(original)
        });
        found.map(|(tool, original, _)| {
            let known_as = format!("the same file as {}", original.display());
            (*tool, known_as)
        })
    }
}

fn by_name(root: &Path, path: &Path) -> Option<(Tool, String)> {
    ways_to(root, path).into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        Some((names::tool(name)?, path.display().to_string()))
    })
}

/// The path, and each path that its symbolic links lead to.
fn ways_to(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut ways = vec![path.to_path_buf()];
    while ways.len() <= LINKS_MAX {
        let last = &ways[ways.len() - 1];
        let Ok(target) = fs::read_link(inside(root, last)) else {
            break;
        };
        let next = last.parent().unwrap_or(Path::new("/")).join(target);
        ways.push(next);
    }
    // A link among the folders may hide how the file itself is called.
    if root == Path::new("/")
        && let Ok(file) = fs::canonicalize(path)
        && !ways.contains(&file)
    {
        ways.push(file);
    }
    ways
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests;
