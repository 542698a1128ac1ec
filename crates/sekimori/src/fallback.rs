//! Mail ports stay closed when the gate cannot be loaded: firewall rules in its place.
//!
//! The unit calls `boot-fallback close` when the daemon has ended, and `boot-fallback open` when
//! the daemon says that the gate is closed. Each leaves a record that `status` shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use guard::catalog::{self, Catalog};
use guard::config::Config;
use linux::fallback::{Firewall, Rules};
use linux::pins::Pins;
use policy::{Kind, Role};
use serde_json::{Value, json};

use crate::failure::{Failure, need_root};
use crate::output::trouble;
use crate::paths::Paths;
use crate::store;

/// Users by name and number.
const PASSWD: &str = "/etc/passwd";

/// What the hidden command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Deed {
    /// Set the rules, unless the gate is closed
    Close,
    /// Remove the rules
    Open,
}

/// The hidden command.
///
/// # Errors
///
/// When the rules could not be set or removed. The record says so too.
pub fn run(deed: Deed, paths: &Paths) -> Result<ExitCode, Failure> {
    need_root("boot-fallback")?;
    match deed {
        Deed::Close => close(paths)?,
        Deed::Open => drop(open(paths)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the rules, unless a gate is pinned: what is pinned decides without the daemon.
fn close(paths: &Paths) -> Result<(), Failure> {
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    if pins.base().exists() && pins.any_gate() {
        return Ok(());
    }
    // A configuration with a mistake is one reason for the gate to be missing.
    let config = Config::load(None).unwrap_or_else(|error| {
        trouble(&format!("{error:#}; the usual mail ports are closed"));
        Config::default()
    });
    let names = service_users(paths);
    let users = numbers(&names, &fs::read_to_string(PASSWD).unwrap_or_default());
    let rules = Rules {
        mail_ports: config.mail_ports,
        users: users.iter().map(|(_, number)| *number).collect(),
    };
    let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
    let Some(firewall) = Firewall::find() else {
        let why = "neither nft nor iptables with ip6tables is installed";
        record(paths, &json!({ "by": null, "why": why }));
        return Err(Failure::failed(format!(
            "the gate could not be loaded, and the mail ports are open: {why}"
        )));
    };
    if let Err(error) = firewall.set(&rules) {
        record(paths, &json!({ "by": null, "why": error.to_string() }));
        return Err(Failure::failed(format!(
            "the gate could not be loaded, and the mail ports are open: {error}"
        )));
    }
    record(
        paths,
        &json!({ "by": firewall.name(), "mail_ports": rules.mail_ports, "users": names }),
    );
    trouble(&format!(
        "the gate could not be loaded: {} keeps the mail ports closed to all users but root{}",
        firewall.name(),
        listed(&names)
    ));
    Ok(())
}

/// Removes the rules and the record. Says whether there was a record.
///
/// # Errors
///
/// When the rules could not be removed.
pub fn open(paths: &Paths) -> Result<bool, Failure> {
    let record = record_path(paths);
    if !record.exists() {
        return Ok(false);
    }
    if let Some(firewall) = Firewall::find() {
        firewall.clear()?;
    }
    fs::remove_file(&record)
        .map_err(|error| Failure::failed(format!("{}: {error}", record.display())))?;
    Ok(true)
}

/// What is in force in the gate's place: `by` (nftables, iptables or null), `mail_ports`,
/// `users`, `why`. `None` when no rules were set.
pub fn in_force(paths: &Paths) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(record_path(paths)).ok()?).ok()
}

/// The same in a sentence.
pub fn sentence(fallback: &Value) -> String {
    let text = |value: &Value| engine::printable(value.as_str().unwrap_or("?")).into_owned();
    let list = |key: &str| {
        let items = fallback[key].as_array().into_iter().flatten();
        items
            .map(|item| engine::printable(item.to_string().trim_matches('"')).into_owned())
            .collect::<Vec<_>>()
    };
    if fallback["by"].is_null() {
        return format!(
            "The gate is not loaded and the mail ports are OPEN: {}.",
            text(&fallback["why"])
        );
    }
    format!(
        "The gate is not loaded. In its place, {} rules keep mail ports {} closed to all users but root{}.",
        text(&fallback["by"]),
        list("mail_ports").join(", "),
        listed(&list("users"))
    )
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names
        .iter()
        .map(|name| format!(", {}", name.as_ref()))
        .collect()
}

/// Outside /run/sekimori, which the service manager removes when the daemon has failed.
fn record_path(paths: &Paths) -> PathBuf {
    if paths.installed {
        PathBuf::from("/run/sekimori-fallback.json")
    } else {
        paths.state.join("fallback.json")
    }
}

fn record(paths: &Paths, content: &Value) {
    let path = record_path(paths);
    if let Err(error) = fs::write(&path, content.to_string()) {
        trouble(&format!("{}: {error}", path.display()));
    }
}

/// The users as which registered mail services connect, by the catalog.
fn service_users(paths: &Paths) -> Vec<String> {
    let registered = store::peek(paths).unwrap_or_default();
    let extra = Path::new(catalog::EXTRA_FOLDER);
    let catalog = Catalog::load(Some(extra), trouble).or_else(|_| Catalog::load(None, trouble));
    let Ok(catalog) = catalog else {
        return Vec::new();
    };
    let mut users: Vec<String> = registered
        .iter()
        .filter(|stored| stored.role == Role::Mailer.word() && stored.kind == Kind::Service.word())
        .filter_map(|stored| catalog.entry_of(Path::new(&stored.path)))
        .flat_map(|entry| entry.users.iter().cloned())
        .collect();
    users.sort();
    users.dedup();
    users
}

/// The names that exist in the text of a passwd file, with their numbers.
fn numbers(names: &[String], passwd: &str) -> Vec<(String, u32)> {
    names
        .iter()
        .filter_map(|name| {
            let line = passwd
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            Some((name.clone(), line.split(':').nth(2)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_do_not_exist_are_left_out() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostfix:x:104:111::/var:/bin/false\nbad:x:?:1\n";
        let names = ["postfix", "exim", "bad"].map(str::to_owned);
        assert_eq!(numbers(&names, passwd), [("postfix".to_owned(), 104)]);
    }

    #[test]
    fn status_says_what_is_in_force() {
        let closed = json!({ "by": "nftables", "mail_ports": [25, 587], "users": ["postfix"] });
        let said = sentence(&closed);
        assert!(
            said.contains("nftables rules keep mail ports 25, 587 closed"),
            "{said}"
        );
        assert!(said.ends_with("all users but root, postfix."), "{said}");
        let open = json!({ "by": null, "why": "neither nft nor iptables is installed" });
        assert!(sentence(&open).contains("OPEN"));
    }
}
