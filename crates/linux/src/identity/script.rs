//! What the first line of a script says, and under which paths a script may be started.

use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use abi::SCRIPT_PATH_BYTES;

use super::links;
use super::{Error, Unfit, open, roots_all_the_way, shown, unreadable};

/// The interpreter in a `#!` line, cut out of it as the kernel does.
pub fn interpreter(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let begin = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let line = &line[begin..];
    let end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | 0))
        .unwrap_or(line.len());
    (end > 0).then(|| &line[..end])
}

/// What follows the interpreter in a `#!` line.
pub fn options(head: &[u8]) -> &[u8] {
    let line = head.strip_prefix(b"#!").unwrap_or_default();
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | 0))
        .unwrap_or(line.len());
    line[end..].trim_ascii()
}

/// The name of a script's shell as [`Program::shell`] has it. `/bin/sh` counts as what it is a link to.
pub fn check_shell(path: &Path, interpreter: &Path, options: &[u8]) -> Result<[u8; 8], Error> {
    let file = fs::canonicalize(interpreter).map_err(|source| unreadable(interpreter, source))?;
    let name = file.file_name().unwrap_or_default().as_bytes();
    if policy::script_reads_users_files(name, options) {
        return Err(Unfit::ReadsUsersFiles(shown(interpreter)).at(path));
    }
    Ok(if policy::keeps_to_script(name) {
        policy::name_of(name)
    } else {
        [0; 8]
    })
}

pub fn check(
    path: &Path,
    reached: &Path,
    interpreter: &Path,
    root_owned: bool,
) -> Result<(), Error> {
    if interpreter.file_name().is_some_and(|name| name == "env") {
        return Err(Unfit::EnvScript.at(path));
    }
    let bytes = reached.as_os_str().len();
    if bytes >= SCRIPT_PATH_BYTES && super::moving::name_inside(reached).is_none() {
        return Err(Unfit::PathTooLong {
            bytes,
            most: SCRIPT_PATH_BYTES - 1,
        }
        .at(path));
    }
    if !root_owned {
        return Err(Unfit::ScriptNotRoots.at(path));
    }
    let unfit = || Unfit::InterpreterUnfit(shown(interpreter)).at(path);
    let mut magic = [0; 4];
    let (mut file, _) = open(interpreter).map_err(|_| unfit())?;
    file.read_exact(&mut magic).map_err(|_| unfit())?;
    if &magic != b"\x7fELF" || !interpreter.is_absolute() {
        return Err(unfit());
    }
    if !roots_all_the_way(interpreter) {
        return Err(Unfit::InterpreterNotRoots(shown(interpreter)).at(path));
    }
    Ok(())
}

/// The other spellings of a script's path: through links such as `/bin` that stand beside
/// the real folders, and the path as it was given. Only those that are root's all the way.
/// One that is too long for the gate's table is left out: callers who write it are refused.
pub fn aliases_of(reached: &Path, given: &Path) -> Vec<PathBuf> {
    let mut aliases = Vec::new();
    for beside in ["/", "/usr"] {
        let Ok(entries) = fs::read_dir(beside) else {
            continue;
        };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        {
            if let Ok(target) = fs::canonicalize(entry.path())
                && let Ok(rest) = reached.strip_prefix(&target)
                && !rest.as_os_str().is_empty()
            {
                aliases.push(entry.path().join(rest));
            }
        }
    }
    aliases.extend(links::to(reached));
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if given.is_absolute() && given.components().all(plain) {
        aliases.push(given.components().collect());
    }
    aliases.retain(|alias| {
        alias != reached
            && alias.as_os_str().len() < SCRIPT_PATH_BYTES
            && alias.to_str().is_some()
            && roots_all_the_way(alias)
    });
    aliases.sort();
    aliases.dedup();
    aliases
}
