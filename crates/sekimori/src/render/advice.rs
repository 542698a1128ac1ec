//! What to do when a refusal was wrong: the one step that helps, or why no registration does.
//!
//! The step follows from the lineage: who stands in the way, and what part that program plays. A panel, a
//! terminal or a wrapper only starts programs, so it is never proposed as a mailer. A desktop program is
//! never proposed as a service. Anything that runs whatever it is given is not proposed at all.

mod chain;
mod file;

use engine::{
    Case, FindingEntry, FindingKind, JudgedWord, LineageLink, TamperedBy, VerdictEntry,
    culprit_link, is_machines_user, is_without_person, login_of, printable, program_name,
    short_name,
};
use policy::{Flaw, Kind, Reason, Role, Tamper};

use super::shell_word;
use crate::unsuitable::{Tool, suits};
use chain::{Part, part_of};
use file::{File, not_registered};

/// What advice depends on.
pub(super) struct Refused<'a> {
    pub(super) reason: Reason,
    pub(super) judged: JudgedWord,
    pub(super) program: &'a str,
    pub(super) role: Role,
    pub(super) uid: u32,
    pub(super) culprit: Option<&'a str>,
    pub(super) culprit_pid: Option<u32>,
    pub(super) script: Option<&'a str>,
    pub(super) tampered: Tamper,
    pub(super) links: &'a [LineageLink],
    pub(super) tampered_by: Option<TamperedBy<'a>>,
}

impl<'a> From<&'a VerdictEntry> for Refused<'a> {
    fn from(entry: &'a VerdictEntry) -> Self {
        Self {
            reason: entry.reason,
            judged: entry.judged,
            program: &entry.program,
            role: entry.role,
            uid: entry.uid,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            script: entry.script.as_deref(),
            tampered: entry.tampered,
            links: &entry.lineage,
            tampered_by: TamperedBy::of(entry.tampered_by.as_deref(), entry.tampered_flaw),
        }
    }
}

impl<'a> Refused<'a> {
    fn of(entry: &'a FindingEntry, reason: Reason) -> Self {
        Self {
            reason,
            judged: entry.judged,
            program: &entry.program,
            role: entry.role,
            uid: entry.uid,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            script: entry.script.as_deref(),
            tampered: entry.tampered,
            links: &entry.lineage,
            tampered_by: TamperedBy::of(entry.tampered_by.as_deref(), entry.tampered_flaw),
        }
    }

    fn case(&self) -> Case<'a> {
        Case {
            program: self.program,
            role: self.role,
            uid: self.uid,
            culprit: self.culprit,
            culprit_pid: self.culprit_pid,
            lineage: self.links,
            judged: self.judged,
            destination: None,
            tampered: self.tampered,
            tampered_by: self.tampered_by,
            observed: false,
        }
    }

    /// The kind that the program itself is registered as.
    fn kind(&self) -> Option<Kind> {
        self.links
            .last()
            .filter(|link| &*link.program == self.program)
            .map(|link| link.kind)
    }

    /// A mailer that sends only when a person presses send.
    fn is_interactive(&self) -> bool {
        let is_a_persons = |kind: Kind| !matches!(kind, Kind::Batch | Kind::Service);
        self.role == Role::Mailer && self.kind().is_some_and(is_a_persons)
    }

    /// The culprit when it is somebody else than the program itself.
    fn other(&self) -> Option<&'a str> {
        self.culprit
            .filter(|culprit| *culprit != self.program && !culprit.is_empty())
    }

    fn role_of_culprit(&self) -> Role {
        culprit_link(&self.case()).map_or(Role::Unknown, |(_, link)| link.role)
    }

    fn is_culprit_old(&self) -> bool {
        culprit_link(&self.case()).is_some_and(|(_, link)| link.seeded)
    }
}

/// What to do if a finding is wrong. A suspected bot is never registered by a command from here: whoever
/// is in a hurry would run it.
pub(super) fn advice_on(entry: &FindingEntry) -> Vec<String> {
    match (entry.finding, entry.reason) {
        (FindingKind::IllegalSend, Some(reason)) => advice(&Refused::of(entry, reason)),
        (FindingKind::BotSuspected, Some(_)) => vec![
            "If you know every program above and started it yourself, you need not end it. Its mail stays blocked."
                .to_owned(),
        ],
        (_, None) => vec![
            "If you know every program above, you need not end it. The gate blocked nothing.".to_owned(),
        ],
    }
}

/// What to do if it was legitimate: sentences and commands, one a line; commands are
/// indented by two spaces. The step that helps comes first.
pub(super) fn advice(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    match refused.reason {
        Reason::Permitted => Vec::new(),
        Reason::UnknownProcess | Reason::NoGrant => again(program),
        Reason::MailOnOtherPort if refused.role == Role::Mailer => foreign(refused),
        Reason::NotAMailer
        | Reason::GrantOfAnother
        | Reason::MailOnOtherPort
        | Reason::NoRoom => not_a_mailer(refused),
        Reason::FileChanged => file_changed(refused),
        Reason::ForeignOrigin => foreign(refused),
        Reason::NeedsUser if refused.is_interactive() => by_a_person(program),
        Reason::NeedsUser => by_a_person_or_the_system(refused, program),
        Reason::NeedsTerminal => needs_terminal(refused),
        Reason::IndirectStart => vec![format!(
            "Type the command of {} at the prompt of your shell, without {}.",
            name(program),
            refused.other().map_or("what stands between".into(), name)
        )],
        Reason::NeedsSystem => vec![format!(
            "Let the system start {}: restart its service, or the computer.",
            name(program)
        )],
        Reason::Tampered => tampered(refused),
        Reason::RateExceeded => vec![
            "Wait a minute. To permit more connections, raise rate_per_minute in /etc/sekimori/config.toml."
                .to_owned(),
        ],
        reason => vec![by_word(reason.word(), &name(program))],
    }
}

/// Reasons whose step is one sentence.
fn by_word(reason: &str, program: &str) -> String {
    match reason {
        "multipath" => format!(
            "Have {program} use plain TCP: start it without mptcpize, or turn Multipath TCP off (sysctl \
             net.mptcp.enabled=0)."
        ),
        "needs-rule" => format!(
            "Have {program} hand its mail to this machine's mail server: by sendmail, or to port 25 of localhost."
        ),
        "needs-typing" => format!("Type the command of {program} at the prompt of your shell."),
        "needs-presence" => "Use the keyboard or the mouse, and send again.".to_owned(),
        _ => format!("Start {program} again, from your desktop or at a terminal."),
    }
}

fn again(program: &str) -> Vec<String> {
    vec![format!("Close {} and start it again.", name(program))]
}

fn by_a_person(program: &str) -> Vec<String> {
    vec![format!(
        "Start {} from your desktop or at a terminal.",
        name(program)
    )]
}

/// A mailer that takes whatever it is handed may be the system's, when it is nobody else's.
fn by_a_person_or_the_system(refused: &Refused<'_>, program: &str) -> Vec<String> {
    let mut lines = vec![format!("Start {} at a terminal.", name(program))];
    let is_batch = chain::known(program).is_none_or(|entry| entry.kind == Kind::Batch);
    if matches!(File::at(program), File::Good)
        && is_batch
        && is_machines_user(refused.uid)
        && is_without_person(refused.links)
    {
        lines.push("If only the system is to start it, and no person:".to_owned());
        lines.push(command(program, Role::Mailer, Some(Kind::Service)));
    }
    lines
}

fn needs_terminal(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    if refused.role == Role::Submitter {
        let links = refused.links;
        let caller = links.len().checked_sub(2).map(|at| &*links[at].program);
        return vec![format!(
            "Start {} at a terminal: it hands mail to {}.",
            caller.map_or("the program above".into(), name),
            name(program)
        )];
    }
    let mut lines = vec![format!("Start {} at a terminal.", name(program))];
    if matches!(File::at(program), File::Good) && chain::known(program).is_none() {
        lines.push("If it sends only when a person presses a button:".to_owned());
        lines.push(command(program, Role::Mailer, Some(Kind::Interactive)));
    }
    lines
}

/// A registered file that changed. What it was registered as, the record does not say.
fn file_changed(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    if !matches!(File::at(program), File::Good) {
        return not_registered(refused, program);
    }
    let first = "An upgrade is accepted by itself: start the program again in a minute.";
    let what = match refused.role {
        Role::Unknown => chain::known(program).map(|entry| (entry.role, entry.kind)),
        role => Some((role, refused.kind().unwrap_or(Kind::Batch))),
    };
    let Some((role, kind)) = what else {
        return vec![
            format!(
                "{first} If you changed the file yourself, look up its role, and register it again:"
            ),
            "  sudo sekimori programs".to_owned(),
        ];
    };
    vec![
        format!("{first} If you changed the file yourself, register it again:"),
        command(program, role, (role == Role::Mailer).then_some(kind)),
    ]
}

fn tampered(refused: &Refused<'_>) -> Vec<String> {
    let signs = refused.tampered;
    let program = name(refused.program);
    let has = |sign: Tamper| signs.0 & sign.0 != 0;
    let step = if has(Tamper::TRACED)
        || has(Tamper::MEMORY_WRITTEN)
        || has(Tamper::DESCRIPTOR_TAKEN)
    {
        format!(
            "End the debugger or whatever else reached into {program}, and start {program} again."
        )
    } else if has(Tamper::LOADED_CODE) {
        format!(
            "Have {program} load only files that root alone can change, and start it again. The file is named above."
        )
    } else if let Some(by) = refused.tampered_by {
        return without(&program, &by);
    } else if has(Tamper::CODE_ARGUMENT) || has(Tamper::REMOTE_CONTROL) {
        format!("Start {program} again without the argument that the reason names.")
    } else if has(Tamper::ENVIRONMENT) {
        format!("Remove the variable from the environment, and start {program} again.")
    } else {
        format!("Start {program} again.")
    };
    vec![step, NO_REGISTRATION.to_owned()]
}

const NO_REGISTRATION: &str = "No registration permits a mailer that may run code of others.";

/// Without which variable or argument a program has to be started, and where that is set.
fn without(program: &str, by: &TamperedBy<'_>) -> Vec<String> {
    let name = printable(by.name);
    if by.flaw == Flaw::Argument {
        return vec![
            format!("Start {program} again without the argument {name}. {NO_REGISTRATION}"),
            "Such an argument comes from the line Exec= of a .desktop file, from ExecStart= of a unit, or from an alias \
             of your shell. To look for it:"
                .to_owned(),
            format!(
                "  grep -rsF -e {} ~/.local/share/applications ~/.config/autostart ~/.config/systemd/user ~/.bashrc",
                shell_word(&name)
            ),
        ];
    }
    let mut lines = vec![
        format!("Start {program} again without the variable {name}. {NO_REGISTRATION}"),
        "Such a variable comes from a start-up file, from Environment= of a unit, or from the line Exec= of a .desktop \
         file. Find the variable, remove it there, and log out and in again:"
            .to_owned(),
        format!(
            "  grep -rsF {} ~/.profile ~/.bash_profile ~/.bashrc ~/.xprofile ~/.xsessionrc ~/.pam_environment \
             ~/.config/environment.d ~/.config/plasma-workspace/env ~/.config/systemd/user ~/.config/autostart \
             ~/.local/share/applications /etc/environment /etc/environment.d /etc/profile.d",
            shell_word(&name)
        ),
    ];
    if matches!(by.flaw, Flaw::UsersPath | Flaw::CurrentFolder) {
        lines.push(
            "If you need what the variable names, have root install that in a folder where only root can write, such as \
             /usr/local/lib, and set the variable to that path."
                .to_owned(),
        );
    }
    lines
}

/// It tried to send itself. When somebody else made it foreign, that one stands in the way
/// of the registration and must be known too.
fn not_a_mailer(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    if let Some(line) = log_in_first(refused) {
        return vec![line];
    }
    if let Some(other) = refused.other()
        && !is_registrable(refused, other)
    {
        return not_registered(refused, other);
    }
    if !matches!(File::at(program), File::Good) {
        return not_registered(refused, program);
    }
    if matches!(
        refused.role,
        Role::System | Role::Session | Role::Launcher | Role::Shell
    ) {
        return vec![format!(
            "{} is registered as {}, and such a program sends no mail itself. Send with a mailer.",
            name(program),
            refused.role.word()
        )];
    }
    let mut lines = Vec::new();
    if refused.other().is_some() {
        match refused.role_of_culprit() {
            Role::Unknown => lines.extend(unknown_part(refused)),
            _ => return wrong_start(refused),
        }
        if !lines.iter().any(|line| line.starts_with("  ")) {
            // Without its starter, the mailer's registration would change nothing.
            return lines;
        }
    }
    if !matches!(refused.role, Role::Unknown) {
        lines.push(format!(
            "{} is registered as {} now, and a program has one role. If it is to be a mailer instead:",
            name(program),
            refused.role.word()
        ));
        lines.push(command(program, Role::Mailer, Some(Kind::Batch)));
        return lines;
    }
    lines.extend(own_registration(refused));
    lines
}

/// How an unknown program that sends by itself is registered.
fn own_registration(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    if let Some(entry) = chain::known(program) {
        return chain::as_known(program, entry);
    }
    let (lead, kind) = if chain::is_started_by_the_desktop(refused.links) {
        (
            "If it is a mail program that sends only when you press send:",
            Kind::Interactive,
        )
    } else if is_without_person(refused.links) && is_machines_user(refused.uid) {
        (
            "If it is a mail server of this machine, or another program of root's that has to send:",
            Kind::Service,
        )
    } else if is_without_person(refused.links) {
        return vec![format!(
            "Start {} from your desktop or at a terminal. A job that no person starts may not send.",
            name(program)
        )];
    } else {
        (
            "If you trust it to send whatever it is handed:",
            Kind::Batch,
        )
    };
    vec![lead.to_owned(), command(program, Role::Mailer, Some(kind))]
}

/// A mailer or submitter that does not act for the user.
fn foreign(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    // A known program that fell when the gate came up is not foreign by what it is.
    let is_old = refused.links.last().is_some_and(|link| link.seeded);
    if is_old && refused.role != Role::Unknown && refused.other().is_none() {
        if refused.tampered.any() {
            return tampered(refused);
        }
        return vec![format!(
            "Close {} and start it again: it was running before the gate.",
            name(program)
        )];
    }
    if refused.culprit.is_none_or(str::is_empty) {
        return again(program);
    }
    if let Some(line) = log_in_first(refused) {
        return vec![line];
    }
    let culprit = refused.culprit.unwrap_or(program);
    if !is_registrable(refused, culprit) {
        return not_registered(refused, culprit);
    }
    match refused.role_of_culprit() {
        Role::Unknown => unknown_part(refused),
        _ => wrong_start(refused),
    }
}

/// What to do where a login program ran a command.
fn log_in_first(refused: &Refused<'_>) -> Option<String> {
    let login = login_of(&refused.case())?;
    Some(format!(
        "Log in first, then start {} at the prompt. A command that {} runs for you is not typed at a terminal, and a \
         login from this machine to itself does not count.",
        name(refused.program),
        name(login)
    ))
}

/// Whether a registration of a program that stands in the way could help. The catalog knows some
/// starters that are launchers when a person uses them. A shell is no such one: what it ran counts.
fn is_registrable(refused: &Refused<'_>, path: &str) -> bool {
    match File::at(path) {
        File::Good => true,
        File::Tool(Tool::Starter) => {
            refused.role_of_culprit() == Role::Unknown
                && !is_without_person(refused.links)
                && chain::known(path).is_some_and(|entry| suits(path, entry.role))
        }
        _ => false,
    }
}

/// An unknown program stands in the way. Its part in the lineage says as what it is to be registered,
/// or that no registration helps.
fn unknown_part(refused: &Refused<'_>) -> Vec<String> {
    let culprit = refused.culprit.unwrap_or(refused.program);
    let mut lines = match part_of(refused, culprit) {
        Part::Known(entry) => chain::as_known(culprit, entry),
        Part::Starter => vec![
            format!("If {} starts programs for you:", name(culprit)),
            command(culprit, Role::Launcher, None),
        ],
        Part::Sender => vec![
            format!(
                "Start {} at a terminal. If you trust it to send mail:",
                name(culprit)
            ),
            command(culprit, Role::Mailer, Some(Kind::Batch)),
        ],
        Part::OfServer => vec![
            format!(
                "If {} belongs to this machine's mail server, and only root can change the file:",
                name(culprit)
            ),
            command(culprit, Role::System, None),
        ],
        Part::Machine => vec![format!(
            "See that only root can change {} and the folders that it is in, and that root starts it. Then a job of \
             the machine needs no registration.",
            name(culprit)
        )],
        Part::Movable => vec![format!(
            "A job of the machine must be a file that only root can change. Move {} to /usr/local/sbin, and have root \
             start it from there.",
            name(culprit)
        )],
        Part::Job => job(refused, culprit),
        Part::Wrapper => vec![format!(
            "Type the command of {} at the prompt of your shell, without {}.",
            name(refused.program),
            name(culprit)
        )],
        Part::Desktop => vec![format!(
            "Start {} at a terminal. It sends whatever it is handed, so no desktop program may start it.",
            name(refused.program)
        )],
    };
    if refused.is_culprit_old() {
        lines.push(format!(
            "Then log out and log in again: {} was running before the gate.",
            name(culprit)
        ));
    }
    lines
}

/// What no person starts.
fn job(refused: &Refused<'_>, job: &str) -> Vec<String> {
    vec![
        format!(
            "Start {} at a terminal. A job that no person starts may not send for a user.",
            name(file::script_of(refused).unwrap_or(job))
        ),
        "If the machine is to send this mail, let root's own table (/etc/cron.d) or a system unit start a file that \
         only root can change."
            .to_owned(),
    ]
}

/// The culprit is registered, but was started by the wrong side.
fn wrong_start(refused: &Refused<'_>) -> Vec<String> {
    let culprit = refused.culprit.unwrap_or(refused.program);
    let case = refused.case();
    let link = culprit_link(&case).map(|(_, link)| link);
    if refused.is_culprit_old() {
        return vec![format!(
            "Log out and log in again: {} was running before the gate.",
            name(culprit)
        )];
    }
    let role = link.map_or(Role::Unknown, |link| link.role);
    let kind = link.map_or(Kind::Batch, |link| link.kind);
    match (role, kind) {
        (Role::Mailer, Kind::Interactive) => by_a_person(culprit),
        (Role::Mailer, Kind::Service) => vec![format!(
            "Let the system start {}: restart its service, or the computer.",
            name(culprit)
        )],
        (Role::Mailer, Kind::Batch) => by_a_person_or_the_system(refused, culprit),
        (Role::Submitter, _) => vec![format!(
            "Start {} at a terminal, or let a program do it that may send.",
            name(culprit)
        )],
        _ if is_without_person(refused.links) => job(refused, culprit),
        (Role::Session, _) => vec!["Log out and log in again.".to_owned()],
        _ => by_a_person(culprit),
    }
}

fn command(path: &str, role: Role, kind: Option<Kind>) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!(" --kind {}", kind.word()));
    format!(
        "  sudo sekimori register {} --as {}{kind}",
        shell_word(path),
        role.word()
    )
}

/// A program inside a sentence: by its path where it has one that can be looked up, else by the name
/// of its file.
fn name(path: &str) -> std::borrow::Cow<'_, str> {
    if path.is_empty() {
        return "the program".into();
    }
    match File::at(path) {
        File::Nowhere | File::Elsewhere => short_name(path),
        _ => program_name(path),
    }
}

#[cfg(test)]
mod tests;
