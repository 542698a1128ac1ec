//! `install --harden`: kernel settings that close what the gate cannot see.
//!
//! Each setting is asked for, and written into one file of `/etc/sysctl.d`, which `uninstall` removes. A
//! setting that is as strict already stays as it is. Everything happens below a root folder that tests
//! choose.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::failure::{Failure, need_root};
use crate::install;
use crate::paths::Paths;

/// The file that holds the settings for every start of the machine.
pub const FILE: &str = "/etc/sysctl.d/60-sekimori.conf";

/// A setting of the kernel.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    /// The value that closes it.
    value: u32,
    /// Whether a greater value is as good, and must stay.
    greater_is_stricter: bool,
    why: &'static str,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        name: "dev.tty.legacy_tiocsti",
        value: 0,
        greater_is_stricter: false,
        why: "no program may type into a terminal in its user's place (TIOCSTI)",
    },
    Setting {
        name: "kernel.yama.ptrace_scope",
        value: 1,
        greater_is_stricter: true,
        why: "a program may trace, write into and take descriptors from its own children only",
    },
    Setting {
        name: "fs.protected_hardlinks",
        value: 1,
        greater_is_stricter: true,
        why: "nobody may make a hard link to a program of somebody else, which changes its change time",
    },
    Setting {
        name: "fs.protected_symlinks",
        value: 1,
        greater_is_stricter: true,
        why: "in folders for temporary files, nobody is led astray by a link of somebody else",
    },
];

impl Setting {
    fn place(&self, root: &Path) -> PathBuf {
        root.join("proc/sys").join(self.name.replace('.', "/"))
    }

    /// The value in force; none where the kernel does not have the setting.
    fn now(&self, root: &Path) -> Option<u32> {
        let text = fs::read_to_string(self.place(root)).ok()?;
        text.trim().parse().ok()
    }

    const fn is_closed_by(&self, value: u32) -> bool {
        value == self.value || (self.greater_is_stricter && value > self.value)
    }
}

/// `install --harden`, before the gate is installed.
pub fn run(yes: bool, paths: &Paths) -> Result<(), Failure> {
    if !paths.installed {
        return Err(Failure::usage(
            "install --harden is about this machine and takes no --state-dir; nothing was changed",
        ));
    }
    need_root("install --harden")?;
    if !yes && !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "install --harden asks before each setting, and standard input is no terminal; in scripts, use: sekimori \
             install --harden --yes",
        ));
    }
    let mut input = io::stdin().lock();
    let answers = (!yes).then_some(&mut input as &mut dyn BufRead);
    harden(Path::new("/"), answers, &mut io::stdout()).map_err(Failure::from)
}

/// Closes what is open and agreed to. Without `answers`, all of it is.
///
/// # Errors
///
/// The file cannot be written, or nobody answers.
pub fn harden(
    root: &Path,
    mut answers: Option<&mut dyn BufRead>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut chosen = Vec::new();
    for setting in &SETTINGS {
        let (name, value) = (setting.name, setting.value);
        match setting.now(root) {
            None => writeln!(out, "{name}: this kernel does not have the setting")?,
            Some(now) if setting.is_closed_by(now) => {
                writeln!(out, "{name} is {now} already")?;
            }
            Some(now) => {
                writeln!(out, "{name} is {now}. With {value}, {}.", setting.why)?;
                if agrees(&mut answers, name, value, out)? {
                    chosen.push(setting);
                }
            }
        }
    }
    if chosen.is_empty() {
        return writeln!(out, "no setting of the kernel was changed").map_err(Into::into);
    }
    write_file(root, &chosen)?;
    writeln!(out, "installed {FILE}")?;
    for setting in chosen {
        let (name, value) = (setting.name, setting.value);
        match fs::write(setting.place(root), format!("{value}\n")) {
            Ok(()) => writeln!(out, "set {name} to {value}")?,
            Err(error) => writeln!(
                out,
                "{name} takes effect at the next start of the machine: it cannot be set now ({error})"
            )?,
        }
    }
    Ok(())
}

/// Asks for one setting. Return alone means yes; an end of the input means no.
fn agrees(
    answers: &mut Option<&mut dyn BufRead>,
    name: &str,
    value: u32,
    out: &mut dyn Write,
) -> Result<bool> {
    let Some(answers) = answers else {
        return Ok(true);
    };
    loop {
        write!(out, "Set {name} to {value}? [Y/n] ")?;
        out.flush()?;
        let mut line = String::new();
        if answers.read_line(&mut line).context("standard input")? == 0 {
            return Ok(false);
        }
        match line.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

/// Writes the file. What an earlier one holds stays in it.
fn write_file(root: &Path, chosen: &[&Setting]) -> Result<()> {
    let path = root.join(FILE.trim_start_matches('/'));
    let older = fs::read_to_string(&path).unwrap_or_default();
    let is_in_older = |setting: &Setting| {
        let line = line_of(setting);
        older.lines().any(|one| one == line)
    };
    let mut text = String::from(
        "# Written by `sekimori install --harden`; `sekimori uninstall` removes it.\n\
         # A file that comes later in the order of names may set these otherwise.\n",
    );
    for setting in &SETTINGS {
        let is_chosen = chosen.iter().any(|one| one.name == setting.name);
        if is_chosen || is_in_older(setting) {
            text += &format!("\n# {}\n{}\n", setting.why, line_of(setting));
        }
    }
    install::put_text(&path, text.as_bytes())
}

fn line_of(setting: &Setting) -> String {
    format!("{} = {}", setting.name, setting.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these values, in the order of the table; none is a kernel without it.
    fn machine(values: [Option<u32>; 4]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (setting, value) in SETTINGS.iter().zip(values) {
            if let Some(value) = value {
                let place = setting.place(root.path());
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, format!("{value}\n")).unwrap();
            }
        }
        root
    }

    fn hardened(root: &Path, answers: Option<&str>) -> String {
        let mut out = Vec::new();
        let mut answers = answers.map(str::as_bytes);
        let answers = answers.as_mut().map(|answers| answers as &mut dyn BufRead);
        harden(root, answers, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn file(root: &Path) -> String {
        fs::read_to_string(root.join(&FILE[1..])).unwrap_or_default()
    }

    fn settings(root: &Path) -> Vec<String> {
        let text = file(root);
        let lines = text.lines().filter(|line| line.contains(" = "));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn what_is_open_is_closed_and_stays_closed() {
        let root = machine([Some(1), Some(0), Some(1), Some(0)]);
        let said = hardened(root.path(), None);
        let now: Vec<_> = SETTINGS.iter().map(|one| one.now(root.path())).collect();
        assert_eq!(now, [Some(0), Some(1), Some(1), Some(1)]);
        assert_eq!(
            settings(root.path()),
            [
                "dev.tty.legacy_tiocsti = 0",
                "kernel.yama.ptrace_scope = 1",
                "fs.protected_symlinks = 1"
            ]
        );
        assert!(
            said.contains("fs.protected_hardlinks is 1 already"),
            "{said}"
        );
        let text = file(root.path());
        assert!(text.starts_with("# Written by"), "{text}");
        // Once more changes nothing, and the file stays.
        let again = hardened(root.path(), None);
        assert!(
            again.contains("no setting of the kernel was changed"),
            "{again}"
        );
        assert_eq!(file(root.path()), text);
    }

    #[test]
    fn a_stricter_value_and_a_missing_setting_stay() {
        let root = machine([None, Some(2), Some(1), Some(1)]);
        let said = hardened(root.path(), None);
        assert!(
            said.contains("dev.tty.legacy_tiocsti: this kernel does not have"),
            "{said}"
        );
        assert_eq!(SETTINGS[1].now(root.path()), Some(2));
        assert_eq!(file(root.path()), "");
    }

    #[test]
    fn each_setting_is_asked_for() {
        let root = machine([Some(1), Some(0), Some(0), Some(0)]);
        // A word that is no answer is asked again, and an end of the input means no.
        hardened(root.path(), Some("n\nwhat\n\n"));
        assert_eq!(settings(root.path()), ["kernel.yama.ptrace_scope = 1"]);
        assert_eq!(SETTINGS[0].now(root.path()), Some(1));
        // What was agreed to later joins it.
        hardened(root.path(), Some("y\nno\nno\n"));
        assert_eq!(
            settings(root.path()),
            ["dev.tty.legacy_tiocsti = 0", "kernel.yama.ptrace_scope = 1"]
        );
    }
}
