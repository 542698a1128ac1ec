//! Mail servers of which a machine holds one at a time: their Debian packages, unpacked below the build
//! folder. The root tests lay the files over the machine's in a mount namespace of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{process, terminal};

/// A server, and the packages that it is. What they need beside the machine's own comes with them.
const SERVERS: [(&str, &[&str]); 5] = [
    ("amavis", &["amavisd-new"]),
    ("dovecot", &["dovecot-lmtpd", "dovecot-sieve"]),
    ("exim", &["exim4-daemon-light"]),
    ("nullmailer", &["nullmailer"]),
    ("opensmtpd", &["opensmtpd"]),
];

/// Unpacks those that are not there yet.
///
/// # Errors
///
/// When apt-get or dpkg-deb is not here, or the packages cannot be had.
pub fn unpack(workspace: &Workspace) -> Result<()> {
    for (server, packages) in SERVERS {
        let place = workspace.target("packages").join(server);
        if !place.join("usr").is_dir() {
            terminal::step(&format!("unpacking {}", packages.join(" ")));
            unpack_into(&place, packages)
                .with_context(|| format!("{server} cannot be unpacked"))?;
        }
    }
    Ok(())
}

fn unpack_into(place: &Path, packages: &[&str]) -> Result<()> {
    let fresh = place.with_extension("fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let files = fresh.join("files");
    fs::create_dir_all(&files)?;
    let needed = needed(packages)?;
    let fetch = || {
        let mut command = Command::new("apt-get");
        process::run(
            command
                .arg("-qq")
                .arg("download")
                .args(&needed)
                .current_dir(&fresh),
        )
    };
    if fetch().is_err() {
        process::run(Command::new("apt-get").args(["-qq", "update"]))?;
        fetch()?;
    }
    for entry in fs::read_dir(&fresh)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            process::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .args([&package, &files]),
            )?;
        }
    }
    // On the machine these are links into /usr, and the files have to lie where the links lead.
    for folder in ["bin", "sbin", "lib", "lib64"] {
        let (from, to) = (files.join(folder), files.join("usr").join(folder));
        if from.is_dir() {
            fs::create_dir_all(&to)?;
            process::run(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to))?;
            fs::remove_dir_all(&from)?;
        }
    }
    fs::rename(&files, place)?;
    fs::remove_dir_all(&fresh)?;
    Ok(())
}

/// The packages that an installation would add, without those that it would only bring up to date.
fn needed(packages: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args([
        "--simulate",
        "-o",
        "Debug::NoLocking=1",
        "install",
        "--no-install-recommends",
    ]);
    let plan = process::output(command.args(packages))?;
    let needed: Vec<String> = plan.lines().filter_map(added).map(str::to_owned).collect();
    if needed.is_empty() {
        bail!("apt-get would install nothing for {}", packages.join(" "));
    }
    Ok(needed)
}

/// The package that a line of apt-get's plan adds: `Inst NAME (VERSION …`. One that is there has its
/// present version in brackets before the new one.
fn added(line: &str) -> Option<&str> {
    let mut words = line.strip_prefix("Inst ")?.split(' ');
    let name = words.next()?;
    words.next()?.starts_with('(').then_some(name)
}

#[cfg(test)]
mod tests {
    use super::added;

    #[test]
    fn what_is_there_already_is_not_added() {
        let line = "Inst opensmtpd (6.8.0p2-4+b2 Debian:12.11/stable [amd64])";
        assert_eq!(added(line), Some("opensmtpd"));
        let line =
            "Inst perl-base [5.36.0-7+deb12u2] (5.36.0-7+deb12u3 Debian-Security:12 [amd64])";
        assert_eq!(added(line), None);
        for line in [
            "Conf opensmtpd (6.8.0p2-4+b2 Debian)",
            "Remv postfix [3.7.11-0+deb12u1]",
            "",
        ] {
            assert_eq!(added(line), None, "{line}");
        }
    }
}
