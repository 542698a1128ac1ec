//! Mail servers of this machine that the gate would block: those that the system starts by itself, and
//! whose programs are not registered.
//!
//! The catalog knows the usual ones. Any other is found while it runs, by what makes it a mail server: a
//! unit that the system starts has it listen on the port of mail.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux::identity;
use linux::procfs;
use policy::{Kind, Role};

use super::find::{Surroundings, find, is_unit_enabled};
use super::{Fitness, Found, Part};
use crate::catalog::{Catalog, EXTRA_FOLDER};
use crate::unsuitable::Tools;

/// Where mail servers listen.
const SMTP: u16 = 25;
/// How long the owners of sockets are looked for.
const SEARCH_MAX: Duration = Duration::from_millis(600);

/// A mail server that the gate would block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What people call it.
    pub name: String,
    /// The unit that starts it, when it was found by that.
    pub unit: Option<String>,
    /// What of it is not registered.
    pub missing: Vec<Part>,
}

impl Blocked {
    /// For a list.
    pub fn label(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{} (unit {unit})", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether all that is missing can be registered without more ado.
    pub fn is_registrable(&self) -> bool {
        self.missing
            .iter()
            .all(|part| part.fitness == Fitness::Good)
    }
}

/// The servers among what was found, and those that listen, of which something is not registered.
pub fn blocked(
    found: &Found,
    listening: &[Blocked],
    is_registered: &dyn Fn(&str) -> bool,
) -> Vec<Blocked> {
    let is_missing = |part: &&Part| {
        part.fitness == Fitness::Good && !part.path.to_str().is_some_and(is_registered)
    };
    let mut blocked: Vec<Blocked> = Vec::new();
    for service in found.services.iter().filter(|service| service.enabled) {
        let runs_it = format!("{}, ", service.name);
        let others = found
            .others
            .iter()
            .filter(|part| part.name.starts_with(&runs_it));
        let helpers = found.helpers_of(&service.name);
        let missing: Vec<Part> = service
            .parts
            .iter()
            .chain(helpers)
            .chain(others)
            .filter(is_missing)
            .cloned()
            .collect();
        if !missing.is_empty() {
            blocked.push(Blocked {
                name: service.name.clone(),
                unit: None,
                missing,
            });
        }
    }
    for server in listening {
        let is_known = |part: &Part| {
            part.path.to_str().is_some_and(is_registered)
                || found.parts().any(|known| known.path == part.path)
        };
        if !server.missing.iter().any(is_known) {
            blocked.push(server.clone());
        }
    }
    blocked
}

/// The same of this computer, as labels. For the daemon's first start.
pub fn blocked_here(is_registered: &dyn Fn(&str) -> bool) -> Vec<String> {
    // A catalog with a mistake is told of by the commands that people call.
    let Ok(catalog) = Catalog::load(Some(Path::new(EXTRA_FOLDER))) else {
        return Vec::new();
    };
    let around = Surroundings::of_this_computer();
    let found = find(&catalog, &around);
    blocked(&found, &listening(&around), is_registered)
        .iter()
        .map(Blocked::label)
        .collect()
}

/// Programs that listen on the port of mail, started by a unit that the system starts by itself.
pub fn listening(around: &Surroundings) -> Vec<Blocked> {
    let inodes = procfs::listeners(SMTP);
    if inodes.is_empty() {
        return Vec::new();
    }
    let owners: HashSet<u32> = procfs::socket_owners(&inodes, SEARCH_MAX)
        .into_values()
        .collect();
    let tools = Tools::below(&around.root);
    let mut servers: HashMap<PathBuf, Blocked> = HashMap::new();
    for pid in owners {
        // PID 1 holds the sockets of units that it starts when somebody connects.
        let Some(unit) = unit_of(pid).filter(|_| pid != 1) else {
            continue;
        };
        if !is_unit_enabled(around, unit.trim_end_matches(".service")) {
            continue;
        }
        let Some(part) = part_of(pid, &tools) else {
            continue;
        };
        servers.entry(part.path.clone()).or_insert(Blocked {
            name: part.name.clone(),
            unit: Some(unit),
            missing: vec![part],
        });
    }
    let mut servers: Vec<Blocked> = servers.into_values().collect();
    servers.sort_by(|one, other| one.name.cmp(&other.name));
    servers
}

/// The program that listens, as it would be registered. Of an interpreter, the script that it runs.
fn part_of(pid: u32, tools: &Tools) -> Option<Part> {
    let exe = procfs::program_path(pid)?;
    let script = procfs::script(pid).map(PathBuf::from).filter(|script| {
        identity::stamp(&exe).is_ok_and(|stamp| identity::is_interpreter(&stamp, script))
    });
    let path = script.unwrap_or(exe);
    let name = path.file_name()?.to_string_lossy().into_owned();
    let program = identity::identify(&path).map_err(|error| error.to_string());
    let (role, kind) = (Role::Mailer, Kind::Service);
    let mut part = Part::new(&name, role, kind, &path, &program, Path::to_path_buf);
    if let Some(objection) = tools.objection(&part.path, role, None) {
        part.fitness = Fitness::Unfit(format!("{}: {objection}", part.path.display()));
    }
    Some(part)
}

/// The system's unit that a process belongs to. None for a user's.
fn unit_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit_in(&text)
}

fn unit_in(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if parts.next() != Some("system.slice") {
        return None;
    }
    parts
        .find(|part| part.ends_with(".service"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_system_are_told_from_users() {
        let unit = |text: &str| unit_in(text);
        assert_eq!(
            unit("0::/system.slice/exim4.service\n").as_deref(),
            Some("exim4.service")
        );
        assert_eq!(
            unit("1:name=x:/\n0::/system.slice/system-postfix.slice/postfix@-.service\n")
                .as_deref(),
            Some("postfix@-.service")
        );
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/m.service"),
            None
        );
        assert_eq!(unit("0::/init.scope"), None);
        assert_eq!(unit(""), None);
    }
}
