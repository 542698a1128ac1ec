//! What to do when a refusal was wrong: the exact `register` command, or why none helps.

use engine::{FindingEntry, FindingKind, LineageLink, VerdictEntry, dropper_place, program_name};
use linux::programs::is_named_elsewhere;
use policy::{Kind, Origin, Reason, Role};

use super::shell_word;
use crate::unsuitable::{Tool, is_tool, tool_named};

/// What advice depends on.
pub(super) struct Refused<'a> {
    pub(super) reason: Reason,
    pub(super) program: &'a str,
    pub(super) role: Role,
    pub(super) culprit: Option<&'a str>,
    pub(super) culprit_pid: Option<u32>,
    pub(super) links: &'a [LineageLink],
}

impl<'a> From<&'a VerdictEntry> for Refused<'a> {
    fn from(entry: &'a VerdictEntry) -> Self {
        Self {
            reason: entry.reason,
            program: &entry.program,
            role: entry.role,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            links: &entry.lineage,
        }
    }
}

impl<'a> Refused<'a> {
    fn of(entry: &'a FindingEntry, reason: Reason) -> Self {
        Self {
            reason,
            program: &entry.program,
            role: entry.role,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            links: &entry.lineage,
        }
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
/// indented by two spaces.
pub(super) fn advice(refused: &Refused<'_>) -> Vec<String> {
    let registers = registration(refused);
    let named = [Some(refused.program), refused.culprit];
    let is_far = named.into_iter().flatten().any(is_named_elsewhere);
    if is_far && registers.iter().any(|line| line.starts_with("  ")) {
        return vec![
            "It runs in a mount namespace of its own, a container's perhaps: register the file by the path that it has \
             on this machine."
                .to_owned(),
        ];
    }
    registers
}

fn registration(refused: &Refused<'_>) -> Vec<String> {
    let program = refused.program;
    match refused.reason {
        Reason::Permitted => Vec::new(),
        Reason::UnknownProcess | Reason::NoGrant => vec![format!("Close {} and start it again.", name(program))],
        Reason::MailOnOtherPort if refused.role == Role::Mailer => foreign(refused),
        Reason::NotAMailer | Reason::GrantOfAnother | Reason::MailOnOtherPort | Reason::NoRoom => {
            not_a_mailer(refused)
        }
        Reason::FileChanged => {
            let role = if refused.role == Role::Unknown { Role::Mailer } else { refused.role };
            let kind = own_kind(refused).filter(|_| role == Role::Mailer);
            let lead = "If you changed or upgraded it, register it again:";
            proposal(refused, lead, program, role, kind)
        }
        Reason::ForeignOrigin => foreign(refused),
        Reason::NeedsUser => service(refused, program),
        Reason::NeedsTerminal if refused.role == Role::Submitter => {
            vec![format!("Start what called {} at a terminal.", name(program))]
        }
        Reason::NeedsTerminal => {
            let lead = "Start it at a terminal. If it sends only when a person presses a button:";
            proposal(refused, lead, program, Role::Mailer, Some(Kind::Interactive))
        }
        Reason::NeedsSystem => {
            let lead = "Let the system start it, as a service. If you mean to start it yourself:";
            proposal(refused, lead, program, Role::Mailer, Some(Kind::Batch))
        }
        Reason::Tampered => vec![
            "Start it again without what is named above. No registration permits a mailer that was tampered with."
                .to_owned(),
        ],
        Reason::NeedsRule => vec![format!(
            "Have {} hand its mail to this machine's mail server: by sendmail, or as root by a connection to localhost.",
            name(program)
        )],
        Reason::Multipath => vec![format!(
            "Have {} use plain TCP: without mptcpize and the like, or with Multipath TCP off (sysctl net.mptcp.enabled=0).",
            name(program)
        )],
        Reason::RateExceeded => {
            vec!["Wait a minute, or raise rate_per_minute in /etc/sekimori/config.toml.".to_owned()]
        }
    }
}

/// It tried to send itself. When somebody else made it foreign, that one stands in the way
/// of the registration and must be known too.
fn not_a_mailer(refused: &Refused<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(culprit) = refused
        .culprit
        .filter(|culprit| *culprit != refused.program)
    {
        match culprit_role(refused) {
            _ if !is_registrable(culprit) => return not_registered(refused, culprit),
            Role::Unknown => lines.push(command(
                culprit,
                vouching_role(Kind::Batch),
                Some(Kind::Batch),
            )),
            _ => return wrong_start(refused, culprit),
        }
    }
    if !is_registrable(refused.program) {
        return not_registered(refused, refused.program);
    }
    if refused.program.is_empty() {
        return vec![
            "Its program is not known, so it cannot be registered; start it again.".to_owned(),
        ];
    }
    if refused.role != Role::Unknown {
        lines.insert(
            0,
            format!(
                "It is registered as {} now. A program has one role; if it is to be a mailer instead:",
                refused.role.word()
            ),
        );
    }
    lines.push(command(refused.program, Role::Mailer, Some(Kind::Batch)));
    lines
}

/// A mailer or submitter that somebody drives.
fn foreign(refused: &Refused<'_>) -> Vec<String> {
    // A known program that fell when the gate came up is not foreign by what it is.
    let is_seeded = refused.links.last().is_some_and(|link| link.seeded);
    if is_seeded && refused.role != Role::Unknown && refused.culprit == Some(refused.program) {
        return vec![format!(
            "Close {} and start it again, without what is named above; it is older than the gate.",
            name(refused.program)
        )];
    }
    let Some(culprit) = refused.culprit.filter(|culprit| !culprit.is_empty()) else {
        return vec![format!(
            "Close {} and start it again; it is older than the gate.",
            name(refused.program)
        )];
    };
    if let Some(login) = login_before_culprit(refused) {
        return vec![format!(
            "A shell that {} starts is yours only at a terminal, and not when this machine logs in to itself.",
            name(login)
        )];
    }
    if !is_registrable(culprit) {
        return not_registered(refused, culprit);
    }
    if culprit_role(refused) != Role::Unknown {
        return wrong_start(refused, culprit);
    }
    let kind = if refused.role == Role::Submitter {
        Kind::Batch
    } else {
        own_kind(refused).unwrap_or(Kind::Batch)
    };
    let role = vouching_role(kind);
    vec![command(
        culprit,
        role,
        (role == Role::Mailer).then_some(Kind::Batch),
    )]
}

/// As what a program must be registered that may start a mailer of this kind. A launcher
/// only passes the user's will on, which is enough for an interactive mailer; one that sends
/// whatever it is handed needs a starter that may send itself.
fn vouching_role(kind: Kind) -> Role {
    match kind {
        Kind::Interactive => Role::Launcher,
        Kind::Batch | Kind::Service => Role::Mailer,
    }
}

/// The culprit is registered, but was started by the wrong side.
fn wrong_start(refused: &Refused<'_>, culprit: &str) -> Vec<String> {
    if culprit_role(refused) == Role::Mailer && culprit_began_as_system(refused) {
        return service(refused, culprit);
    }
    if culprit_role(refused) == Role::Launcher && culprit_began_as_system(refused) {
        return vec![
            format!(
                "What {} starts by itself, nobody has asked for. If the machine is meant to send this, let a unit of \
                 the system start it in its place, and:",
                name(culprit)
            ),
            "  sudo sekimori register PATH-OF-YOUR-PROGRAM --as mailer --kind service".to_owned(),
        ];
    }
    vec![format!(
        "Start {} from your desktop or at a terminal.",
        name(culprit)
    )]
}

fn service(refused: &Refused<'_>, program: &str) -> Vec<String> {
    let lead = "Start it from your desktop or at a terminal. If the system is meant to run it:";
    proposal(refused, lead, program, Role::Mailer, Some(Kind::Service))
}

/// A command with what leads to it, or why there is none.
fn proposal(
    refused: &Refused<'_>,
    lead: &str,
    path: &str,
    role: Role,
    kind: Option<Kind>,
) -> Vec<String> {
    if is_registrable(path) {
        vec![lead.to_owned(), command(path, role, kind)]
    } else {
        not_registered(refused, path)
    }
}

/// Whether a registration would permit one program and not many. Anybody can use a tool, and
/// anybody can write into a temporary folder.
fn is_registrable(path: &str) -> bool {
    !is_tool(path) && dropper_place(path).is_none()
}

/// Why a program should not be registered, and what to do instead.
fn not_registered(refused: &Refused<'_>, path: &str) -> Vec<String> {
    let Some(tool) = tool_named(path) else {
        return vec![format!(
            "{} {}: a bot would put its program there too. If you trust this program, move it to a folder that only \
             root can change, such as /usr/local/bin, start it from there, and register it by its new path.",
            name(path),
            dropper_place(path).unwrap_or_default()
        )];
    };
    let (does, sends) = match tool {
        Tool::Fetcher | Tool::Relay => ("sends", true),
        Tool::Starter | Tool::Editor => ("starts", false),
        Tool::Interpreter | Tool::Shell | Tool::Multicall => ("runs", false),
    };
    let first = format!(
        "{} {does} whatever it is given, so it is not registered itself.",
        name(path)
    );
    let (next, register) = match (script_of(refused), sends) {
        (Some(script), true) => (
            format!(
                "Have {} send with a mailer, such as msmtp, and register the script:",
                name(script)
            ),
            script,
        ),
        (Some(script), false) => (
            format!(
                "Start {} by its own path, from your desktop or at a terminal, and:",
                name(script)
            ),
            script,
        ),
        (None, true) => {
            return vec![format!(
                "{first} Send with a mailer, such as msmtp, that you start at a terminal."
            )];
        }
        (None, false) => (
            "Give your script a #! line, make it executable, start it by its own path, and:"
                .to_owned(),
            "PATH-OF-YOUR-SCRIPT",
        ),
    };
    vec![
        format!("{first} {next}"),
        command(register, Role::Mailer, Some(Kind::Batch)),
    ]
}

/// The script in the lineage, or whatever else a tool worked for: the youngest program that nobody
/// registered and that can be registered.
fn script_of<'a>(refused: &Refused<'a>) -> Option<&'a str> {
    let links: &'a [LineageLink] = refused.links;
    links
        .iter()
        .rev()
        .filter(|link| link.role == Role::Unknown && link.origin == Origin::Foreign)
        .map(|link| &*link.program)
        .find(|path| path.starts_with('/') && is_registrable(path) && !is_named_elsewhere(path))
}

fn command(path: &str, role: Role, kind: Option<Kind>) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!(" --kind {}", kind.word()));
    format!(
        "  sudo sekimori register {} --as {}{kind}",
        shell_word(path),
        role.word()
    )
}

fn name(path: &str) -> String {
    if path.is_empty() {
        "it".to_owned()
    } else {
        program_name(path).into_owned()
    }
}

/// The kind that the program itself is registered as.
fn own_kind(refused: &Refused<'_>) -> Option<Kind> {
    refused
        .links
        .last()
        .filter(|link| &*link.program == refused.program)
        .map(|link| link.kind)
}

fn culprit_place(refused: &Refused<'_>) -> Option<usize> {
    let culprit = refused.culprit?;
    refused.links.iter().position(|link| {
        &*link.program == culprit
            && link.origin == Origin::Foreign
            && refused.culprit_pid.is_none_or(|pid| pid == link.pid)
    })
}

fn culprit_role(refused: &Refused<'_>) -> Role {
    culprit_place(refused).map_or(Role::Unknown, |place| refused.links[place].role)
}

fn culprit_began_as_system(refused: &Refused<'_>) -> bool {
    let before = culprit_place(refused).and_then(|place| place.checked_sub(1));
    before.is_some_and(|before| refused.links[before].origin == Origin::System)
}

/// The program that logs people in, when the culprit is a shell that it started.
fn login_before_culprit<'a>(refused: &Refused<'a>) -> Option<&'a str> {
    let links: &'a [LineageLink] = refused.links;
    let place = culprit_place(refused).filter(|place| links[*place].role == Role::Shell)?;
    let before = &links[place.checked_sub(1)?];
    let logs_in = before.role == Role::System && before.kind == Kind::Interactive;
    logs_in.then_some(&*before.program)
}

#[cfg(test)]
mod tests;
