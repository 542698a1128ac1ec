//! Root for those who are not: where polkit is installed and `install` has put its rules there, a
//! command that needs root starts itself again by pkexec, which asks for an administrator's
//! password. Elsewhere it says what it needs, as ever.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, need_root};
use crate::install;
use crate::output::trouble;
use crate::paths::Paths;

const PKEXEC: &str = "/usr/bin/pkexec";

/// Goes on when root runs it. Else does not return where polkit can be asked: this process
/// becomes `sekimori WHAT ARGUMENTS…` as root. Paths among the arguments must be absolute.
///
/// # Errors
///
/// Status 3 where polkit cannot be asked.
pub fn need_root_or_ask(what: &str, arguments: &[OsString], paths: &Paths) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // Its rules are for the installed program and the installed places, and no others.
    let own = std::env::current_exe().unwrap_or_default();
    let can_ask = paths.installed
        && own == Path::new(install::BINARY)
        && Path::new(install::POLKIT_RULES).exists()
        && Path::new(PKEXEC).exists();
    if can_ask {
        let error = Command::new(PKEXEC)
            .arg(install::BINARY)
            .arg(what)
            .args(arguments)
            .exec();
        trouble(&format!("{PKEXEC}: {error}"));
    }
    need_root(what)
}
