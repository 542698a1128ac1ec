//! Root for those who are not: where polkit is installed and `install` has put its rules there, a
//! command that needs root starts itself again by pkexec, which asks for an administrator's
//! password. Elsewhere it says what it needs, as ever.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, need_root};
use crate::install;
use crate::output::{tell, trouble};
use crate::paths::Paths;

const PKEXEC: &str = "/usr/bin/pkexec";
/// What pkexec ends with when it was not permitted, or nobody answered (pkexec(1)). No command of
/// ours ends so.
const REFUSED: [Option<i32>; 2] = [Some(126), Some(127)];

/// Goes on when root runs it. Else, where polkit can be asked and permits it, this process ends as
/// `sekimori WHAT ARGUMENTS…` ends as root. Paths among the arguments must be absolute.
///
/// # Errors
///
/// Status 3 where polkit cannot be asked, or does not permit it. Its terminal agent fails for want of
/// a session before polkit 125; a desktop's does not.
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
        tell(&format!(
            "sekimori: {what} needs root; asking polkit for an administrator's permission"
        ));
        let asked = Command::new(PKEXEC)
            .arg(install::BINARY)
            .arg(what)
            .args(arguments)
            .status();
        match asked {
            Ok(status) if REFUSED.contains(&status.code()) => {
                return Err(Failure::unsupported(format!(
                    "{what} needs root, and polkit did not permit it (try: sudo sekimori {what})"
                )));
            }
            Ok(status) => std::process::exit(status.code().unwrap_or(1)),
            Err(error) => trouble(&format!("{PKEXEC}: {error}")),
        }
    }
    need_root(what)
}
