//! Variables in the person's session that count as tampering: each mailer inherits them and may not send.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use abi::ProcessRecord;
use engine::printable;
use linux::procfs;
use linux::seed::environment_signs;
use policy::{Origin, Role};

use super::{Finding, Machine, is_person, some_of};
use crate::proposal::short_name;
use crate::setup::find::read;

/// Processes whose environment is read.
const PROCESSES_MAX: usize = 256;
/// Files that are searched for what sets a variable.
const FILES_MAX: usize = 256;

/// Findings about the environments of desktops, launchers and shells.
pub fn check(machine: &Machine<'_>) -> Vec<Finding> {
    let Some(gate) = &machine.gate else {
        return Vec::new();
    };
    let mut found: BTreeMap<String, (Vec<String>, u32)> = BTreeMap::new();
    let processes = gate.processes().filter(|(_, record)| hands_on(record));
    for (pid, record) in processes.take(PROCESSES_MAX) {
        let path = procfs::program_path(pid).unwrap_or_default();
        let name = short_name(&path.display().to_string());
        for variable in environment_signs(pid) {
            let entry = found.entry(variable).or_insert((Vec::new(), record.uid));
            let label = format!("{name} (process {pid})");
            entry.0.push(label);
        }
    }
    found
        .into_iter()
        .map(|(variable, (holders, uid))| finding(&variable, &holders, uid))
        .collect()
}

/// Whether a mailer may inherit from it.
fn hands_on(record: &ProcessRecord) -> bool {
    let role = Role::from_code(record.role);
    let is_part = matches!(
        role,
        Role::Session | Role::Launcher | Role::Shell | Role::System
    );
    is_person(record.uid)
        && is_part
        && (record.origin != Origin::Foreign as u8 || record.seeded != 0)
}

fn finding(variable: &str, holders: &[String], uid: u32) -> Finding {
    let name = variable.split('=').next().unwrap_or_default();
    let text = format!(
        "{} is set in the session: {}. A mailer that inherits it counts as tampered with and may not send.",
        printable(&shortened(variable)),
        some_of(holders)
    );
    let places = places(name, uid);
    let next = if places.is_empty() {
        format!("Find what sets {name}, remove it there, and log in again.")
    } else {
        format!("Remove it from {}, and log in again.", places.join(" and "))
    };
    Finding::problem("variable", text).next(next)
}

fn shortened(variable: &str) -> String {
    const SHOWN: usize = 80;
    if variable.chars().count() <= SHOWN {
        return variable.to_owned();
    }
    variable.chars().take(SHOWN).chain(['…']).collect()
}

/// Where a variable is set, as FILE:LINE, among the files that a login reads.
fn places(name: &str, uid: u32) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut files: Vec<PathBuf> = [
        "/etc/environment",
        "/etc/profile",
        "/etc/security/pam_env.conf",
    ]
    .map(PathBuf::from)
    .into();
    for folder in [
        "/etc/profile.d",
        "/etc/X11/Xsession.d",
        "/etc/environment.d",
        "/usr/lib/environment.d",
        "/etc/xdg/plasma-workspace/env",
    ] {
        files.extend(files_in(Path::new(folder)));
    }
    if let Some(home) = home(uid) {
        let own = [
            ".profile",
            ".bash_profile",
            ".bashrc",
            ".zshenv",
            ".zprofile",
            ".zshrc",
            ".xprofile",
            ".xsessionrc",
            ".pam_environment",
        ];
        files.extend(own.map(|file| home.join(file)));
        files.extend(files_in(&home.join(".config/environment.d")));
        files.extend(files_in(&home.join(".config/plasma-workspace/env")));
    }
    let lines = files
        .iter()
        .take(FILES_MAX)
        .filter_map(|file| Some((file, line_that_sets(&read(file)?, name)?)));
    let places = lines.map(|(file, line)| {
        let file = file.display().to_string();
        format!("{}:{line}", printable(&file))
    });
    places.take(SHOWN).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).take(FILES_MAX).collect();
    files.sort();
    files
}

/// The number of the first line that sets a variable, as shells, environment.d and pam_env do.
fn line_that_sets(text: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let words = line
            .split(|c: char| c.is_whitespace() || c == ';')
            .take_while(|word| !word.starts_with('#'));
        let assigned = words.into_iter().any(|word| {
            word.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        });
        let by_pam = line.split_whitespace().next() == Some(name) && line.contains("DEFAULT=");
        assigned || by_pam
    };
    text.lines().position(sets).map(|line| line + 1)
}

fn home(uid: u32) -> Option<PathBuf> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(5).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_sets_a_variable_is_found() {
        let set = |text: &str| line_that_sets(text, "LD_PRELOAD");
        assert_eq!(
            set("# LD_PRELOAD=x\nexport A=1; LD_PRELOAD=/x.so\n"),
            Some(2)
        );
        assert_eq!(set("LD_PRELOAD=/x.so"), Some(1));
        assert_eq!(set("export LD_PRELOAD=/x.so"), Some(1));
        assert_eq!(set("LD_PRELOAD DEFAULT=/x.so"), Some(1));
        assert_eq!(set("MY_LD_PRELOAD=/x.so\necho $LD_PRELOAD\n"), None);
        assert_eq!(set(""), None);
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = format!("LD_PRELOAD=/{}", "x".repeat(4000));
        let finding = finding(&long, &["bash (process 7)".to_owned()], 4_000_000);
        assert!(finding.text.len() < 300 && finding.text.contains('…'));
        assert!(finding.next.is_some_and(|next| next.contains("LD_PRELOAD")));
    }
}
