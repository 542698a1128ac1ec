//! Finds installed mailers, asks which one is the user's, and says what to register.
//!
//! Three steps that do not know each other: [`find()`] looks around, [`ask`] talks to the
//! person, [`plan`] decides. Registering is done by the caller, through the daemon.

mod desktop;
pub mod find;
mod packed;
pub mod servers;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use linux::identity::{self, Program};
use policy::{Kind, Role};

pub use desktop::DesktopEntry;
pub use find::{Surroundings, find};

/// Whether a file can be registered without being named by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It belongs to root, all the way.
    Good,
    /// Others than root could replace it, so it takes a person to say that it is theirs.
    Loose,
    /// It cannot be registered at all; why not.
    Unfit(String),
}

/// One file that could be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What people call the program.
    pub name: String,
    /// What it would be registered as.
    pub role: Role,
    /// How it comes to act.
    pub kind: Kind,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it can be registered.
    pub fitness: Fitness,
}

impl Part {
    fn new(
        name: &str,
        role: Role,
        kind: Kind,
        listed: &Path,
        program: &Result<Program, String>,
        inside: impl Fn(&Path) -> PathBuf,
    ) -> Self {
        let (path, fitness) = match program {
            // A script is registered with the path that callers write.
            Ok(program) if program.script.is_some() => (listed.to_path_buf(), Fitness::Good),
            Ok(program) if program.root_owned && identity::moves_with_updates(listed) => {
                (listed.to_path_buf(), Fitness::Good)
            }
            Ok(program) if program.root_owned => (inside(&program.path), Fitness::Good),
            Ok(program) => (inside(&program.path), Fitness::Loose),
            Err(why) => (listed.to_path_buf(), Fitness::Unfit(why.clone())),
        };
        Self {
            name: name.to_owned(),
            role,
            kind,
            path,
            fitness,
        }
    }
}

/// An interactive or batch mailer on this computer.
#[derive(Clone, Debug)]
pub struct Mailer {
    /// What people call it.
    pub name: String,
    /// How it comes to act.
    pub kind: Kind,
    /// The catalog knows it; otherwise only a menu entry says that it is a mailer.
    pub known: bool,
    /// The catalog, or its menu entry among root's own, says that it is a program for mail.
    pub email: bool,
    /// The desktop opens mail addresses with it.
    pub default: bool,
    /// Names of its desktop files.
    pub ids: Vec<String>,
    /// Its files.
    pub parts: Vec<Part>,
}

impl Mailer {
    fn registrable(&self) -> bool {
        self.parts.iter().any(|part| part.fitness == Fitness::Good)
    }
}

/// A transfer agent on this computer.
#[derive(Clone, Debug)]
pub struct Service {
    /// What people call it.
    pub name: String,
    /// The system starts it by itself.
    pub enabled: bool,
    /// Its files.
    pub parts: Vec<Part>,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Interactive and batch mailers.
    pub mailers: Vec<Mailer>,
    /// Transfer agents.
    pub services: Vec<Service>,
    /// Programs that a mailer needs to send, with its name.
    pub helpers: Vec<(String, Part)>,
    /// The system, desktop shells, launchers, shells, submitters and IRC clients.
    pub others: Vec<Part>,
}

/// Which mailers are the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nobody was asked (`--yes`): every mailer that root installed. An interactive mailer sends only
    /// when a person presses send, and a batch mailer only for a person at a prompt or a registered
    /// script, so registering one that nobody uses opens nothing.
    Default,
    /// These, by their place in [`Found::mailers`].
    Mailers(Vec<usize>),
}

/// What is to be registered, and what was found but is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be registered: mailers first.
    pub register: Vec<Part>,
    /// Not to be registered, and why.
    pub passed_over: Vec<(Part, String)>,
}

impl Plan {
    /// The path, role and kind of each program to be registered.
    pub fn registrations(&self) -> impl Iterator<Item = (&Path, Role, Kind)> {
        self.register
            .iter()
            .map(|part| (part.path.as_path(), part.role, part.kind))
    }

    /// Adds what helps the mailer of this name to send.
    fn add_helpers(&mut self, found: &Found, mailer: &str) {
        found.helpers_of(mailer).for_each(|part| self.add(part));
    }

    fn add(&mut self, part: &Part) {
        match &part.fitness {
            Fitness::Good if self.register.iter().any(|there| there.path == part.path) => {}
            Fitness::Good => self.register.push(part.clone()),
            Fitness::Loose => {
                let why = format!(
                    "others than root could replace it; if it is yours: sekimori register {} --as {}{}",
                    part.path.display(),
                    part.role.word(),
                    if part.role == Role::Mailer {
                        format!(" --kind {}", part.kind.word())
                    } else {
                        String::new()
                    }
                );
                self.passed_over.push((part.clone(), why));
            }
            Fitness::Unfit(why) => self.passed_over.push((part.clone(), why.clone())),
        }
    }
}

/// Decides what to register. Pure.
///
/// Everything of the catalog that belongs to root and is no mailer is registered: it permits
/// nothing by itself, and without it the user's own mailer would look foreign. A transfer
/// agent is registered when the system starts it by itself. Mailers as `choice` says.
pub fn plan(found: &Found, choice: &Choice) -> Plan {
    let chosen = match choice {
        Choice::Mailers(chosen) => chosen.clone(),
        Choice::Default => proposal(found),
    };
    let mut plan = Plan::default();
    for (index, mailer) in found.mailers.iter().enumerate() {
        if chosen.contains(&index) {
            mailer.parts.iter().for_each(|part| plan.add(part));
            plan.add_helpers(found, &mailer.name);
            if mailer.name == "Kontact" {
                plan.add_helpers(found, "KMail");
            }
        }
    }
    for service in &found.services {
        for part in &service.parts {
            if service.enabled {
                plan.add(part);
            } else {
                let why =
                    "it is installed, but the system does not start it as a service".to_owned();
                plan.passed_over.push((part.clone(), why));
            }
        }
        if service.enabled {
            plan.add_helpers(found, &service.name);
        }
    }
    found.others.iter().for_each(|part| plan.add(part));
    for (index, mailer) in found.mailers.iter().enumerate() {
        if !chosen.contains(&index) {
            let parts = mailer.parts.iter().map(|part| {
                let why = match &part.fitness {
                    Fitness::Unfit(why) => why.clone(),
                    _ => "it was not chosen".to_owned(),
                };
                (part.clone(), why)
            });
            plan.passed_over.extend(parts);
        }
    }
    plan
}

/// The mailers that root installed: those of the catalog, and those of which root's own menu entry says
/// that they are for mail.
fn proposal(found: &Found) -> Vec<usize> {
    let is_taken = |index: &usize| {
        let mailer = &found.mailers[*index];
        mailer.email && (mailer.known || mailer.registrable())
    };
    (0..found.mailers.len()).filter(is_taken).collect()
}

/// What a person gets who only presses Enter: the mailer that the desktop opens mail addresses with, else
/// all interactive ones that root installed.
fn proposed(found: &Found) -> Vec<usize> {
    let is_default = |index: &usize| {
        let mailer = &found.mailers[*index];
        mailer.default && mailer.registrable()
    };
    if let Some(default) = (0..found.mailers.len()).find(is_default) {
        return vec![default];
    }
    let mut all = proposal(found);
    all.retain(|index| found.mailers[*index].kind == Kind::Interactive);
    all
}

impl Found {
    /// What a mailer or a service needs beside its own files.
    fn helpers_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Part> {
        let helps = move |of: &str| of == name || (name == "Kontact" && of == "KMail");
        let helpers = self.helpers.iter().filter(move |(of, _)| helps(of));
        helpers.map(|(_, part)| part)
    }

    /// Every file.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let mailers = self.mailers.iter().flat_map(|mailer| &mailer.parts);
        let services = self.services.iter().flat_map(|service| &service.parts);
        let helpers = self.helpers.iter().map(|(_, part)| part);
        mailers.chain(services).chain(helpers).chain(&self.others)
    }
}

/// Asks which mailers are the user's. An answer that is no answer is asked for again, twice.
pub fn ask(found: &Found, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<Choice> {
    const TRIES: usize = 3;
    let offered: Vec<usize> = (0..found.mailers.len())
        .filter(|index| found.mailers[*index].registrable())
        .collect();
    for mailer in found.mailers.iter().filter(|mailer| !mailer.registrable()) {
        writeln!(output, "Found, but not to be chosen here: {}", mailer.name)?;
        for part in &mailer.parts {
            let why = match &part.fitness {
                Fitness::Unfit(why) => why.clone(),
                _ => format!("{}: others than root could replace it", part.path.display()),
            };
            writeln!(output, "     {why}")?;
        }
    }
    if offered.is_empty() {
        writeln!(
            output,
            "No mailer was found. Register yours with: sekimori register PATH --as mailer --kind interactive"
        )?;
        return Ok(Choice::Mailers(Vec::new()));
    }
    let proposed = proposed(found);
    let proposed: Vec<usize> = (0..offered.len())
        .filter(|number| proposed.contains(&offered[*number]))
        .collect();
    writeln!(output, "These mailers are installed:")?;
    for (number, index) in offered.iter().enumerate() {
        let mailer = &found.mailers[*index];
        let path = &mailer
            .parts
            .iter()
            .find(|part| part.fitness == Fitness::Good)
            .unwrap_or(&mailer.parts[0])
            .path;
        let mut remarks = Vec::new();
        if mailer.default {
            remarks.push("opens mail addresses on this desktop");
        }
        if mailer.kind == Kind::Batch {
            remarks.push("sends for a person at a prompt only");
        }
        if !mailer.known {
            remarks.push("only its menu entry says that it is a mailer");
        }
        let remarks = if remarks.is_empty() {
            String::new()
        } else {
            format!(" ({})", remarks.join("; "))
        };
        writeln!(
            output,
            "{:4}  {}  {}{remarks}",
            number + 1,
            mailer.name,
            path.display()
        )?;
    }
    for _ in 0..TRIES {
        let default = match proposed.as_slice() {
            [] => String::new(),
            numbers => {
                let numbers: Vec<String> = numbers.iter().map(|it| (it + 1).to_string()).collect();
                format!(" [{}]", numbers.join(", "))
            }
        };
        write!(
            output,
            "Which of them are yours? Numbers, or \"none\"{default}: "
        )?;
        output.flush()?;
        let mut line = String::new();
        if io::Read::take(&mut *input, 1024).read_line(&mut line)? == 0 {
            writeln!(output)?;
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "no answer; use --yes to take the default",
            ));
        }
        match line.trim() {
            "" if !proposed.is_empty() => {
                let taken = proposed.iter().map(|number| offered[*number]);
                return Ok(Choice::Mailers(taken.collect()));
            }
            "none" | "0" => return Ok(Choice::Mailers(Vec::new())),
            answer => {
                if let Some(chosen) = numbers(answer, &offered) {
                    return Ok(Choice::Mailers(chosen));
                }
            }
        }
        writeln!(
            output,
            "Please answer with numbers from 1 to {}, such as \"1\" or \"1, 2\".",
            offered.len()
        )?;
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "no usable answer",
    ))
}

fn numbers(answer: &str, offered: &[usize]) -> Option<Vec<usize>> {
    let words = answer
        .split([',', ' ', '\t'])
        .filter(|word| !word.is_empty());
    let chosen: Option<Vec<usize>> = words
        .map(|word| {
            offered
                .get(word.parse::<usize>().ok()?.checked_sub(1)?)
                .copied()
        })
        .collect();
    chosen.filter(|chosen| !chosen.is_empty())
}

#[cfg(test)]
mod tests;
