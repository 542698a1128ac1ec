//! Whether a file can be registered, by its path alone, and what to do when it cannot.

use engine::{LineageLink, dropper_place, is_named_elsewhere};
use guard::unsuitable::{Tool, tool_named};
use policy::{Kind, Origin, Role};

use super::chain::is_wrapper;
use super::{Refused, command, name};

/// What a path says of its file.
#[derive(Clone, Copy, Debug)]
pub(super) enum File {
    /// It can be registered.
    Good,
    /// A program that does whatever it is told.
    Tool(Tool),
    /// Anybody can write there. With words for the place.
    Dropper(&'static str),
    /// A container's name for the file.
    Elsewhere,
    /// The path leads to no file: it is relative, cut, deleted, or there was none.
    Nowhere,
}

impl File {
    pub(super) fn at(path: &str) -> Self {
        if is_named_elsewhere(path) {
            return Self::Elsewhere;
        }
        if let Some(tool) = tool_named(path) {
            return Self::Tool(tool);
        }
        if !path.starts_with('/') || path.contains('…') || path.ends_with(')') {
            return Self::Nowhere;
        }
        dropper_place(path).map_or(Self::Good, Self::Dropper)
    }
}

/// Why a program should not be registered, and what to do instead.
pub(super) fn not_registered(refused: &Refused<'_>, path: &str) -> Vec<String> {
    match File::at(path) {
        File::Good => Vec::new(),
        File::Tool(tool) => instead_of(tool, refused, path),
        File::Dropper(place) => vec![format!(
            "{} {place}: a bot would put its program there too. If you trust this program, move it to a folder that \
             only root can change, such as /usr/local/bin, start it from there, and register it by its new path.",
            name(path)
        )],
        File::Elsewhere => vec![format!(
            "{} runs in a mount namespace of its own, perhaps in a container. Register the file by the path that it \
             has on this machine.",
            name(path)
        )],
        File::Nowhere if path.is_empty() => {
            vec!["The gate does not know the program. Start it again.".to_owned()]
        }
        File::Nowhere if path.starts_with("./") || path.starts_with("../") => vec![format!(
            "Start {} by its full path: the gate knows a script by that path alone.",
            name(path)
        )],
        File::Nowhere => vec![format!(
            "{} runs from no file that can be found again, as bots do. If you know the program, install its file in a \
             folder that only root can change, such as /usr/local/bin, and start it from there.",
            name(path)
        )],
    }
}

/// A tool does what it is given, so what it was given counts.
fn instead_of(tool: Tool, refused: &Refused<'_>, path: &str) -> Vec<String> {
    let (does, sends) = match tool {
        Tool::Fetcher | Tool::Relay => ("sends", true),
        Tool::Starter | Tool::Editor => ("starts", false),
        Tool::Interpreter | Tool::Shell | Tool::Multicall => ("runs", false),
    };
    let first = format!(
        "{} {does} whatever it is given, so do not register it.",
        name(path)
    );
    let script = script_of(refused);
    if engine::is_without_person(refused.links) {
        // A registration as a person's mailer changes nothing for a job.
        return vec![
            format!(
                "Start {} at a terminal. A job that no person starts may not send for a user.",
                script.map_or("the job".into(), name)
            ),
            format!(
                "{first} If the machine is to send this mail, let root's own table (/etc/cron.d) or a system unit \
                 start a script that only root can change."
            ),
        ];
    }
    match (script, sends) {
        (Some(script), true) => vec![
            format!(
                "{first} Have {} send with a mailer, such as msmtp. Start it at a terminal, and:",
                name(script)
            ),
            command(script, Role::Mailer, Some(Kind::Batch)),
        ],
        (Some(script), false) => vec![
            format!(
                "{first} Start {} by its own path at a terminal, and:",
                name(script)
            ),
            command(script, Role::Mailer, Some(Kind::Batch)),
        ],
        (None, true) => vec![format!(
            "{first} Send with a mailer, such as msmtp, that you start at a terminal."
        )],
        (None, false) => vec![format!(
            "{first} Type the command at the prompt itself. Or give your script a #! line, make it executable, and \
             start it by its own path at a terminal: the next entry then names the command that registers it."
        )],
    }
}

/// The script in the lineage, or whatever else a tool worked for: the youngest program that nobody
/// registered and that can be registered. Else what the interpreter's arguments named.
pub(super) fn script_of<'a>(refused: &Refused<'a>) -> Option<&'a str> {
    let links: &'a [LineageLink] = refused.links;
    links
        .iter()
        .rev()
        .filter(|link| link.role == Role::Unknown && link.origin == Origin::Foreign)
        .map(|link| &*link.program)
        .filter(|path| !is_wrapper(path, refused.program))
        .chain(refused.script)
        .find(|path| matches!(File::at(path), File::Good))
}
