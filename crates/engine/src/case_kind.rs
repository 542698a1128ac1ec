//! Which kind of case a refusal is: the title of its warning, and the one short line that fits a
//! desktop's banner.
//!
//! A mailer that a person has just started is not treated in words like a bot. The full sentence, with
//! paths and addresses, is in `sentence.rs`.

use std::borrow::Cow;

use policy::{Kind, Origin, Reason, Role, Tamper};

use crate::event::LineageLink;
use crate::evidence::dropper_place;
use crate::printable::printable;
use crate::sentence::Case;

/// A longer name of a program is cut in a title or a banner.
const NAME_COLUMNS: usize = 24;
/// Desktops cut a title that is longer.
pub const TITLE_MAX: usize = 50;
/// Desktops show about so many letters of a text before a person opens the whole of it.
pub const BRIEF_MAX: usize = 110;

/// The kinds of cases. The order is that of the questions in [`CaseKind::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaseKind {
    /// Nothing was refused.
    Permitted,
    /// A registered file changed.
    FileChanged,
    /// Code that is not the mailer's own may run in it.
    Tampered,
    /// The program was running before the gate started.
    Older,
    /// A program above it was running before the gate started.
    OlderAbove,
    /// The gate has no record of the process or of its connection.
    NoRecord,
    /// The unknown program lies where bots put theirs.
    Suspicious,
    /// A login program ran a command, or started a shell for a connection from this machine.
    Login,
    /// A job of the machine: no person started it, and it runs as root or as a service's user.
    MachineJob,
    /// A job of a user: cron, a timer, the user's own service manager.
    Job,
    /// A script, or what an interpreter was told to run.
    Script,
    /// A mailer was started through a program that the gate does not know.
    UnknownStart,
    /// A mailer was started through a registered program that had no person behind it.
    WrongStart,
    /// The program itself is not registered.
    NotRegistered,
    /// The system started a mailer of a kind that only a person may start.
    NeedsUser,
    /// A mailer or submitter that takes whatever it is handed was not started at a terminal.
    NeedsTerminal,
    /// It was started at a terminal, but through another program.
    Indirect,
    /// A person started a mail service.
    NeedsSystem,
    /// Too many connections.
    RateExceeded,
    /// It wrote into a connection of another program.
    GrantOfAnother,
    /// Mail on a port that is no mail port.
    OtherPort,
    /// The connection could not be read.
    NoRoom,
    /// Multipath TCP.
    Multipath,
    /// A program of the machine's wanted to send to another machine.
    NeedsRule,
    /// A start-up file of a shell sent.
    NeedsTyping,
    /// A mailer sent while nobody used the computer.
    NeedsPresence,
    /// A reason without words of its own.
    Other,
}

impl CaseKind {
    /// The kind of a refusal.
    pub fn of(reason: Reason, case: &Case<'_>) -> Self {
        match reason {
            Reason::Permitted => Self::Permitted,
            Reason::FileChanged => Self::FileChanged,
            Reason::Tampered => Self::Tampered,
            Reason::UnknownProcess | Reason::NoGrant => Self::NoRecord,
            Reason::ForeignOrigin => foreign(case),
            Reason::MailOnOtherPort if is_mailer(case.role) => foreign(case),
            Reason::NotAMailer => match foreign(case) {
                // What a program is that sends by itself matters more than who started it.
                Self::UnknownStart | Self::WrongStart | Self::Older | Self::OlderAbove => {
                    Self::NotRegistered
                }
                other => other,
            },
            Reason::NeedsUser => Self::NeedsUser,
            Reason::NeedsTerminal => Self::NeedsTerminal,
            Reason::IndirectStart => Self::Indirect,
            Reason::NeedsSystem => Self::NeedsSystem,
            Reason::RateExceeded => Self::RateExceeded,
            Reason::GrantOfAnother => Self::GrantOfAnother,
            Reason::MailOnOtherPort => Self::OtherPort,
            Reason::NoRoom => Self::NoRoom,
            _ => Self::of_word(reason.word()),
        }
    }

    fn of_word(reason: &str) -> Self {
        match reason {
            "multipath" => Self::Multipath,
            "needs-rule" => Self::NeedsRule,
            "needs-typing" => Self::NeedsTyping,
            "needs-presence" => Self::NeedsPresence,
            _ => Self::Other,
        }
    }

    /// The part of the title behind "Mail stopped: ".
    const fn words(self) -> &'static str {
        match self {
            Self::Permitted | Self::Other => "see the entry",
            Self::FileChanged => "a registered file changed",
            Self::Tampered => "signs of tampering",
            Self::Older => "start the mailer again",
            Self::OlderAbove => "log out and in again",
            Self::NoRecord => "start the program again",
            Self::Suspicious => "a bot-like program",
            Self::Login => "a command of a remote login",
            Self::MachineJob => "a job of this machine",
            Self::Job => "a background job",
            Self::Script => "an unknown script",
            Self::UnknownStart => "unknown start of the mailer",
            Self::WrongStart => "no person started the mailer",
            Self::NotRegistered => "a program is not registered",
            Self::NeedsUser => "the system started a mailer",
            Self::NeedsTerminal => "the mailer needs a terminal",
            Self::Indirect => "start the mailer directly",
            Self::NeedsSystem => "a user ran a mail service",
            Self::RateExceeded => "too many connections",
            Self::GrantOfAnother => "a connection of another",
            Self::OtherPort => "mail on an unusual port",
            Self::NoRoom => "a connection that hides its data",
            Self::Multipath => "Multipath TCP",
            Self::NeedsRule => "it needs a rule to go outside",
            Self::NeedsTyping => "a start-up file of a shell",
            Self::NeedsPresence => "nobody used this computer",
        }
    }

    /// The title of a warning, [`TITLE_MAX`] letters at most.
    pub fn title(self, observed: bool) -> String {
        let stopped = if observed {
            "Would be stopped"
        } else {
            "Mail stopped"
        };
        format!("{stopped}: {}", self.words())
    }

    /// The reason in one line of [`BRIEF_MAX`] letters at most, with the names of files instead of
    /// their paths.
    pub fn brief(self, case: &Case<'_>) -> String {
        let program = short_name(case.program);
        let culprit = case.culprit.map_or_else(|| program.clone(), short_name);
        let text = match self {
            Self::Permitted => format!("{program} may send."),
            Self::FileChanged => {
                format!("{program} is not the file that was registered. Was it upgraded?")
            }
            Self::Tampered => format!("{program}: {}.", sign(case.tampered)),
            Self::Older => {
                format!("{program} was running before the gate. Close it and start it again.")
            }
            Self::OlderAbove => {
                format!("{culprit} was running before the gate, so {program} is not yet trusted.")
            }
            Self::NoRecord => format!("The gate has not seen how {program} was started."),
            Self::Suspicious => format!(
                "{culprit} {}, where bots hide.",
                case.culprit
                    .or(Some(case.program))
                    .and_then(dropper_place)
                    .unwrap_or("lies in an unusual place")
            ),
            Self::Login => format!("{program} was not started at the prompt of a login."),
            Self::MachineJob if culprit == program => {
                format!("{program} ran as a job of this machine, without permission to send.")
            }
            Self::MachineJob => {
                format!("The job {culprit} started {program} without permission to send.")
            }
            Self::Job if culprit == program => {
                format!("{program} ran in the background, and no person started it.")
            }
            Self::Job => format!("{culprit} started {program}, and no person started {culprit}."),
            Self::Script if culprit == program => {
                format!("{program} ran a script or a command that nobody registered.")
            }
            Self::Script => {
                format!("{program} was started by {culprit}: a script that nobody registered.")
            }
            Self::UnknownStart => {
                format!("{culprit} started {program}, and nobody registered {culprit}.")
            }
            Self::WrongStart => format!("{culprit} started {program}, but not for a person."),
            Self::NotRegistered => {
                format!("{program} tried to send, and nobody registered it as a mailer.")
            }
            Self::NeedsUser => {
                format!("Only a person may start {program}, and the system started it.")
            }
            Self::NeedsTerminal => {
                format!("{program} sends whatever it is handed, so start it at a terminal.")
            }
            Self::Indirect => {
                format!("{culprit} stands between your shell and {program}.")
            }
            Self::NeedsSystem => {
                format!("{program} is a mail service: only the system may start it.")
            }
            Self::RateExceeded => {
                format!("{program} opened more connections in a minute than it may.")
            }
            Self::GrantOfAnother => {
                format!("{program} wrote into a mail connection of another program.")
            }
            Self::OtherPort => {
                format!("{program} spoke mail on a port that is no mail port.")
            }
            Self::NoRoom => format!("The gate could not read the connection of {program}."),
            Self::Multipath => format!("{program} must use plain TCP."),
            Self::NeedsRule => {
                format!("{program} may hand mail only to this machine's own mail server.")
            }
            Self::NeedsTyping => {
                format!("{program} was started before anybody had typed into its terminal.")
            }
            Self::NeedsPresence => {
                format!("{program} sent, and nobody had used keyboard or mouse for a while.")
            }
            Self::Other => format!("{program} may not send."),
        };
        // The name of a file is written as it is.
        match text.strip_prefix("an unknown") {
            Some(rest) => format!("An unknown{rest}"),
            None => text,
        }
    }
}

/// The short words for the gravest sign of tampering.
fn sign(tampered: Tamper) -> &'static str {
    const WORDS: [(Tamper, &str); 8] = [
        (
            Tamper::MEMORY_WRITTEN,
            "another process wrote into its memory",
        ),
        (Tamper::TRACED, "another process traced it"),
        (
            Tamper::DESCRIPTOR_TAKEN,
            "another process took a file descriptor from it",
        ),
        (
            Tamper::LOADED_CODE,
            "it runs code that others than root can change",
        ),
        (
            Tamper::CODE_ARGUMENT,
            "one of its arguments names code to run",
        ),
        (Tamper::REMOTE_CONTROL, "it was started for remote control"),
        (
            Tamper::ENVIRONMENT,
            "a variable in its environment can load other code",
        ),
        (Tamper::UNREADABLE, "it could not be checked to the end"),
    ];
    WORDS
        .iter()
        .find(|(one, _)| tampered.0 & one.0 != 0)
        .map_or("it may run code of others", |(_, words)| words)
}

/// Why a process does not act for the user.
fn foreign(case: &Case<'_>) -> CaseKind {
    let last_is_old = case.lineage.last().is_some_and(|link| link.seeded);
    let culprit = case.culprit.unwrap_or(case.program);
    let link = culprit_link(case);
    if last_is_old && is_mailer(case.role) {
        return if case.tampered.any() {
            CaseKind::Tampered
        } else {
            CaseKind::Older
        };
    }
    if dropper_place(culprit).is_some() {
        return CaseKind::Suspicious;
    }
    if link.is_some_and(|(_, link)| link.seeded) {
        return CaseKind::OlderAbove;
    }
    if login_of(case).is_some() {
        return CaseKind::Login;
    }
    if is_without_person(case.lineage) {
        return if is_machines_user(case.uid) {
            CaseKind::MachineJob
        } else {
            CaseKind::Job
        };
    }
    if is_script(culprit) {
        return CaseKind::Script;
    }
    match link {
        _ if !is_mailer(case.role) => CaseKind::NotRegistered,
        Some((_, link)) if link.role != Role::Unknown => CaseKind::WrongStart,
        None if case.culprit.is_none() => CaseKind::NoRecord,
        _ => CaseKind::UnknownStart,
    }
}

const fn is_mailer(role: Role) -> bool {
    matches!(role, Role::Mailer | Role::Submitter)
}

/// Root, and the users that services have: those below the first that people get
/// (`UID_MIN` of login.defs), and `nobody`. Only for words: no verdict depends on it.
pub const fn is_machines_user(uid: u32) -> bool {
    uid < 1000 || matches!(uid, 65_534 | 65_535)
}

/// The link of the culprit, with its place: the first foreign one with that path and process.
pub fn culprit_link<'a>(case: &Case<'a>) -> Option<(usize, &'a LineageLink)> {
    let links: &'a [LineageLink] = case.lineage;
    let culprit = case.culprit?;
    links.iter().enumerate().find(|(_, link)| {
        &*link.program == culprit
            && link.origin == Origin::Foreign
            && case.culprit_pid.is_none_or(|pid| pid == link.pid)
    })
}

/// The program that logs people in, when the culprit is a shell that it started.
pub fn login_of<'a>(case: &Case<'a>) -> Option<&'a str> {
    let links: &'a [LineageLink] = case.lineage;
    let (place, _) = culprit_link(case).filter(|(_, link)| link.role == Role::Shell)?;
    let before = &links[place.checked_sub(1)?];
    let logs_in = before.role == Role::System && before.kind == Kind::Interactive;
    logs_in.then_some(&*before.program)
}

/// Whether nothing in a lineage was the user's: no desktop, and no shell that a person types into.
pub fn is_without_person(lineage: &[LineageLink]) -> bool {
    let is_known = lineage
        .iter()
        .any(|link| matches!(link.origin, Origin::System));
    is_known && lineage.iter().all(|link| link.origin != Origin::User)
}

/// The program that stands between a person's shell and the last program of a lineage. None where
/// that shell started it itself, or where no person typed.
pub fn between(lineage: &[LineageLink]) -> Option<&LineageLink> {
    let (_, before) = lineage.split_last()?;
    let shell = before
        .iter()
        .rposition(|link| link.role == Role::Shell && link.origin == Origin::User)?;
    let after = &before[shell + 1..];
    let starts_desktop = after.iter().any(|link| link.role == Role::Session);
    after.last().filter(|_| !starts_desktop)
}

/// The reason as people read it, with the program that it is about besides. The kernel says that a
/// terminal was needed for whatever no shell vouched for. A person who did start it at a terminal is told
/// what really stood in the way: a program between the shell and the mailer, or tampering, for which no
/// shell vouches.
pub(crate) fn retold(
    reason: Reason,
    tampered: Tamper,
    lineage: &[LineageLink],
) -> (Reason, Option<&LineageLink>) {
    if reason != Reason::NeedsTerminal {
        return (reason, None);
    }
    if tampered.any() {
        return (Reason::Tampered, None);
    }
    match between(lineage) {
        Some(link) => (Reason::IndirectStart, Some(link)),
        None => (reason, None),
    }
}

/// Whether a path is that of a script, by the name of its file, or of an interpreter, which runs
/// one. Only for words.
pub fn is_script(path: &str) -> bool {
    const ENDS: [&str; 9] = [
        ".sh", ".bash", ".py", ".pl", ".rb", ".php", ".js", ".lua", ".tcl",
    ];
    const INTERPRETERS: [&str; 16] = [
        "sh", "bash", "dash", "ksh", "zsh", "fish", "python", "perl", "ruby", "php", "node", "lua",
        "tclsh", "gawk", "mawk", "expect",
    ];
    let name = file_name(path);
    let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    ENDS.iter().any(|end| name.ends_with(end)) || INTERPRETERS.contains(&plain)
}

fn file_name(path: &str) -> &str {
    // What stands in brackets says how the path is to be read.
    let path = path.strip_prefix("(in no folder)").unwrap_or(path);
    let path = path.split(" (").next().unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// The name of a program's file, safe to show and short.
pub fn short_name(path: &str) -> Cow<'_, str> {
    let name = file_name(path);
    if name.is_empty() {
        return Cow::Borrowed("an unknown program");
    }
    let name = printable(name);
    let name = if name.chars().count() > NAME_COLUMNS {
        let kept: String = name.chars().take(NAME_COLUMNS - 1).collect();
        Cow::Owned(kept + "…")
    } else {
        name
    };
    // A name must not pose as a part of the sentence.
    let is_odd = |letter: char| letter.is_whitespace() || "\"',;:!?".contains(letter);
    if name.contains(is_odd) || name.ends_with('.') {
        return Cow::Owned(format!("\"{}\"", name.replace('"', "'")));
    }
    name
}

#[cfg(test)]
mod tests;
