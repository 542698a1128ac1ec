//! What to register so that an honest program may send: proposals, each with a reason in plain words, and
//! what is never proposed, with the reason too.
//!
//! `doctor` asks about the programs that run now, `learn` about those that the journal names. Nothing here
//! is believed because a user's file says it: a program is proposed when root alone can change it, and the
//! catalog or files of root's say what it is for.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use engine::{dropper_place, is_named_elsewhere, program_name, shell_word};
use policy::{Kind, Role};
use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::identity::{Error, Program};
use crate::unsuitable::{Tool, Tools, tool_named};

/// A registration that is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The program, as it would be registered.
    pub path: PathBuf,
    /// As what.
    pub role: Role,
    /// How it comes to act.
    pub kind: Kind,
    /// What the program is and what the registration gives, in one or two sentences.
    pub why: String,
    /// It permits nothing but what its place on this machine already says that it is for, so `--yes` takes it.
    pub safe: bool,
}

impl Offer {
    /// The command that registers it by hand.
    pub fn command(&self) -> String {
        let kind = match (self.role, self.kind) {
            (Role::Mailer, _) | (Role::Launcher, Kind::Batch) => {
                format!(" --kind {}", self.kind.word())
            }
            _ => String::new(),
        };
        format!(
            "sudo sekimori register {} --as {}{kind}",
            shell_word(&self.path.display().to_string()),
            self.role.word()
        )
    }

    /// For `--json`.
    pub fn json(&self, registered: bool) -> Value {
        json!({
            "path": self.path.display().to_string(),
            "role": self.role.word(),
            "kind": self.kind.word(),
            "why": self.why,
            "safe": self.safe,
            "registered": registered,
        })
    }
}

/// A proposal, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// This registration helps.
    Offer(Offer),
    /// No registration is proposed. The sentences say why and what to do instead.
    Not(String),
}

/// Where a program that sends came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// The system started it.
    System,
    /// A shell that people type into.
    Shell,
    /// The desktop.
    Desktop,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A login screen starts it as a person's desktop.
    Session,
    /// People type into shells in its window.
    Terminal,
    /// People open files with it.
    FileManager,
    /// People browse with it.
    Browser,
    /// The desktop starts it at login.
    DesktopPart,
    /// It sends mail when a person presses send.
    Mailer,
}

/// Says what the program in a file is for.
pub type ToldPurpose = Box<dyn Fn(&Path) -> Option<Purpose>>;

/// Knows what is installed.
pub struct Proposer {
    catalog: Catalog,
    tools: Tools,
    look: fn(&Path) -> Result<Program, Error>,
    purpose: ToldPurpose,
}

impl Proposer {
    /// Of this computer, by how its platform looks at a file, and what the machine's own files say that
    /// the program in a file is for.
    pub fn new(
        catalog: Catalog,
        look: fn(&Path) -> Result<Program, Error>,
        purpose: ToldPurpose,
    ) -> Self {
        Self {
            catalog,
            tools: Tools::below(Path::new("/")),
            look,
            purpose,
        }
    }

    /// For a program that starts others for the person.
    pub fn starter(&self, path: &str) -> Proposal {
        self.judged(path, Role::Launcher, |program, purpose| {
            let name = short_name(path);
            let (role, what, safe) = match purpose {
                Some(Purpose::Session) => (Role::Session, "is a desktop of this machine", true),
                Some(Purpose::Terminal) => (Role::Launcher, "is a terminal program", true),
                Some(Purpose::FileManager) => (Role::Launcher, "is a file manager", true),
                Some(Purpose::Browser) => (Role::Launcher, "is a web browser", true),
                Some(Purpose::DesktopPart) => {
                    (Role::Launcher, "is a part of the desktop, which starts it at login", true)
                }
                Some(Purpose::Mailer) | None => (Role::Launcher, "starts other programs", false),
            };
            let caution = if safe {
                ""
            } else {
                " Register it only if it starts programs because you click or type, and not because a file or \
                 another program says so."
            };
            Offer {
                path: program,
                role,
                // What opens the links of a page vouches for interactive mailers alone.
                kind: match purpose {
                    Some(Purpose::Browser) => Kind::Batch,
                    _ => Kind::Interactive,
                },
                why: format!(
                    "{name} {what}. Registered, it passes your clicks on to your mailers; it cannot send by itself.{caution}"
                ),
                safe,
            }
        })
    }

    /// For a program that has tried to send.
    pub fn sender(&self, path: &str, began: Began) -> Proposal {
        self.judged(path, Role::Mailer, |program, purpose| {
            let name = short_name(path);
            let (kind, why, safe) = match began {
                Began::System => (
                    Kind::Service,
                    format!(
                        "The system starts {name}. Registered as a service, it may send when the system starts it, and \
                         not when a person or a program of a person starts it."
                    ),
                    true,
                ),
                Began::Shell => (
                    Kind::Batch,
                    format!(
                        "{name} was started at a prompt. Registered as a batch mailer, it sends for a person who types at \
                         a terminal."
                    ),
                    false,
                ),
                Began::Desktop => (
                    Kind::Interactive,
                    format!(
                        "{name} was started from the desktop. Register it as an interactive mailer only if it sends when \
                         a person presses send."
                    ),
                    purpose == Some(Purpose::Mailer),
                ),
            };
            Offer {
                path: program,
                role: Role::Mailer,
                kind,
                why,
                safe,
            }
        })
    }

    /// For what takes mail from local programs.
    pub fn submitter(&self, path: &str) -> Proposal {
        self.judged(path, Role::Submitter, |program, _| Offer {
            path: program,
            role: Role::Submitter,
            kind: Kind::Batch,
            why: format!(
                "{} takes mail from local programs. Registered, it takes mail from a person at a terminal and from \
                 registered mailers, and ends when a stranger starts it.",
                short_name(path)
            ),
            safe: true,
        })
    }

    /// What the catalog says comes first; then all that speaks against the program.
    fn judged(
        &self,
        path: &str,
        role: Role,
        offer: impl FnOnce(PathBuf, Option<Purpose>) -> Offer,
    ) -> Proposal {
        let name = short_name(path);
        if !path.starts_with('/') || is_named_elsewhere(path) {
            return Proposal::Not(format!(
                "{name} runs in a container or has no path on this machine, so it cannot be registered by its path."
            ));
        }
        if let Some(place) = dropper_place(path) {
            return Proposal::Not(format!(
                "{name} {place}: a bot would put its program there too. If you trust it, move it to a folder that only \
                 root can change, such as /usr/local/bin."
            ));
        }
        let program = match (self.look)(Path::new(path)) {
            Ok(program) => program,
            Err(error) => return Proposal::Not(format!("{error}, so it cannot be registered.")),
        };
        if !program.root_owned {
            return Proposal::Not(format!(
                "Others than root can change {path}, so any program of yours could put itself in its place. If you \
                 trust it, have root install it."
            ));
        }
        let registered = registered_path(path, &program);
        let tool = self.tool(path, &program);
        if let Some(entry) = self.catalog.entry_of(Path::new(path)) {
            let known = known_words(&name, entry.role, entry.kind);
            let against = entry.why.as_deref().filter(|_| entry.chosen);
            let why = against.map_or(known.clone(), |why| format!("{known} But {why}."));
            if entry.chosen && tool.is_some_and(|tool| !tool.suits(entry.role)) {
                return Proposal::Not(why);
            }
            return Proposal::Offer(Offer {
                path: registered,
                role: entry.role,
                kind: entry.kind,
                why,
                safe: !entry.chosen,
            });
        }
        if let Some(tool) = tool {
            return Proposal::Not(tool_words(&name, tool, role));
        }
        let purpose = (self.purpose)(&program.path);
        Proposal::Offer(offer(registered, purpose))
    }

    /// Whether it runs anything for anybody, by name, by link or by contents. No tool is a mailer.
    fn tool(&self, path: &str, program: &Program) -> Option<Tool> {
        if program.script.is_some() {
            return None;
        }
        let objection = self.tools.objection(
            Path::new(path),
            Role::Mailer,
            Some(&program.sha256),
            &self.look,
        );
        tool_named(path).or(objection.map(|objection| objection.tool))
    }
}

/// A program's name in a sentence: its file's, without the folders.
pub fn short_name(path: &str) -> String {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    program_name(name.unwrap_or(path)).into_owned()
}

/// A script is registered by the path that callers write.
fn registered_path(path: &str, program: &Program) -> PathBuf {
    if program.script.is_some() {
        PathBuf::from(path)
    } else {
        program.path.clone()
    }
}

fn known_words(name: &str, role: Role, kind: Kind) -> String {
    let what = match role {
        Role::Mailer => match kind {
            Kind::Interactive => "a mailer, which sends when a person presses send",
            Kind::Scheduled => "a mailer, which also sends at times that a person has set before",
            Kind::Batch => "a mailer for the terminal, which sends for a person who types there",
            Kind::Service => "a part of a mail server, which sends when the system starts it",
        },
        Role::Submitter => "a program that takes mail from local programs and is guarded for that",
        Role::Session => "a desktop, from which a person starts programs",
        Role::Launcher => "a program that starts others for a person and cannot send by itself",
        Role::Shell => "a shell, which a person types into",
        Role::Chat => "an IRC client of people",
        Role::System => "a part of the machine, which starts others and cannot send by itself",
        Role::Helper => "typed in front of a command and starts what its command line says",
        Role::Sandbox => "a part of what runs one installed program in a sandbox",
        Role::Unknown => "a known program",
    };
    format!("Sekimori knows {name}: it is {what}.")
}

fn tool_words(name: &str, tool: Tool, role: Role) -> String {
    let (does, instead) = match tool {
        Tool::Fetcher | Tool::Relay => (
            "carries whatever anybody gives it",
            "Send with a mailer, such as msmtp, that you start at a terminal",
        ),
        Tool::Starter => (
            "starts whatever program anybody names",
            "Start the program itself, from the desktop or at a terminal",
        ),
        Tool::Interpreter | Tool::Editor | Tool::Shell | Tool::Multicall => (
            "runs whatever code anybody gives it",
            "If it runs a script that you trust, have root own the script, give it a #! line, and register the script",
        ),
    };
    let would = match role {
        Role::Mailer => "every program could send through it",
        _ => "every program could pass for you through it",
    };
    format!("{name} {does}: registered, {would}. {instead}.")
}

/// Asks a question that is answered with y or n. Anything else, and the end of the input, is no.
pub fn ask_yes(
    question: &str,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<bool> {
    write!(output, "{question} [y/N] ")?;
    output.flush()?;
    let mut line = String::new();
    if io::Read::take(&mut *input, 256).read_line(&mut line)? == 0 {
        writeln!(output)?;
    }
    Ok(matches!(line.trim(), "y" | "Y" | "yes" | "Yes"))
}
