//! The gate and its daemon: do they guard, and do they reach anybody?

use std::path::Path;

use engine::printable;
use linux::pins::Pins;
use serde_json::Value;

use super::{Finding, Machine, some_of};
use crate::control::client::ask;
use crate::control::protocol::Request;
use crate::failure::Failure;
use crate::{fallback, registry};

/// Where sessions have their bus.
const RUN_USER: &str = "/run/user";

/// Findings about the gate itself.
pub fn check(machine: &Machine<'_>) -> Result<Vec<Finding>, Failure> {
    let mut status = Value::Null;
    let runs = ask(&machine.paths.socket, &Request::Status, |value| {
        status = value;
    })?;
    if !runs {
        return Ok(without_daemon(machine));
    }
    let mut findings = of_status(&status);
    findings.extend(reach(&status, Path::new(RUN_USER)));
    findings.extend(changed(machine)?);
    Ok(findings)
}

fn without_daemon(machine: &Machine<'_>) -> Vec<Finding> {
    let start = if machine.paths.installed {
        "Start it: sudo systemctl start sekimori (or, where it is not installed: sudo sekimori install)"
    } else {
        "Start it: sudo sekimori run"
    };
    let pins = Pins::new(&machine.paths.pins, linux::load::OBJECT);
    let text = match &machine.gate {
        Some(_) => {
            "No daemon runs. The gate decides all the same, but nothing is written down and nobody is warned."
                .to_owned()
        }
        None if pins.base().exists() && pins.any_gate() => {
            "A gate of another version guards this machine, and no daemon runs.".to_owned()
        }
        None => match fallback::in_force(machine.paths) {
            Some(rules) => fallback::sentence(&rules),
            None => "No gate guards this machine: every program may send mail.".to_owned(),
        },
    };
    vec![Finding::problem("gate", text).next(start)]
}

/// What the daemon says of itself.
fn of_status(status: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let words = |pointer: &str| -> Vec<String> {
        let list = status.pointer(pointer).and_then(Value::as_array);
        let list = list.into_iter().flatten().filter_map(Value::as_str);
        list.map(|word| printable(word).into_owned()).collect()
    };
    let servers = words("/not_closed");
    if !servers.is_empty() {
        findings.push(
            Finding::problem(
                "mode",
                format!(
                    "The gate is not closed, and every program may send: closed, it would block mail servers that this \
                     machine starts ({}).",
                    some_of(&servers)
                ),
            )
            .next("Register them and close the gate: sudo sekimori setup"),
        );
    } else if status["gate"] == "observing" {
        findings.push(
            Finding::problem(
                "mode",
                "The gate only observes: it blocks nothing, and the journal notes what it would have blocked.",
            )
            .next("See what to register: sudo sekimori learn. Close the gate: sudo sekimori enforce"),
        );
    }
    let waiting = words("/restart_needed");
    if !waiting.is_empty() {
        findings.push(
            Finding::problem(
                "configuration",
                format!(
                    "{} changed in the configuration and waits for a restart.",
                    waiting.join(" and ")
                ),
            )
            .next("Restart the daemon: sudo systemctl restart sekimori"),
        );
    }
    let version = status.pointer("/daemon/version").and_then(Value::as_str);
    if version.is_some_and(|version| version != env!("CARGO_PKG_VERSION")) {
        findings.push(
            Finding::problem(
                "version",
                format!(
                    "The daemon is version {}, and this command is version {}.",
                    printable(version.unwrap_or("?")),
                    env!("CARGO_PKG_VERSION")
                ),
            )
            .next("Install this version: sudo sekimori install"),
        );
    }
    if let Some(why) = status["unwatched_calls"].as_str() {
        findings.push(
            Finding::limit(
                "kernel",
                format!(
                    "Programs that reach into a mailer's memory are not noticed on this kernel ({}).",
                    printable(why)
                ),
            )
            .next("Forbid it: sudo sysctl kernel.yama.ptrace_scope=1"),
        );
    }
    match status["configuration"]["packet_watch"].as_str() {
        Some("off") => findings.push(Finding::limit(
            "configuration",
            "packet_watch is off: mail on other ports and bots are not noticed.",
        )),
        Some("mail") => findings.push(Finding::limit(
            "configuration",
            "packet_watch is \"mail\": mail on other ports is not noticed.",
        )),
        _ => {}
    }
    findings
}

/// Whether warnings reach anybody.
fn reach(status: &Value, run_user: &Path) -> Option<Finding> {
    if status["configuration"]["notify"] == false {
        return Some(Finding::limit(
            "notifications",
            "notify is false: findings are in the journal only (sekimori log), and no desktop shows them.",
        ));
    }
    let sessions = std::fs::read_dir(run_user).into_iter().flatten().flatten();
    let people: Vec<u32> = sessions
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|uid| super::is_person(*uid))
        .collect();
    let has_bus = |uid: &u32| run_user.join(uid.to_string()).join("bus").exists();
    let without: Vec<String> = people
        .iter()
        .filter(|uid| !has_bus(uid))
        .map(u32::to_string)
        .collect();
    if without.is_empty() {
        return None;
    }
    Some(
        Finding::limit(
            "notifications",
            format!(
                "Warnings do not reach the desktop of user {}: the session has no bus in {}/UID/bus.",
                without.join(", "),
                run_user.display()
            ),
        )
        .next("Install a session bus (on Debian: dbus-user-session) and log in again."),
    )
}

/// Registered files that changed and wait for a person.
fn changed(machine: &Machine<'_>) -> Result<Option<Finding>, Failure> {
    let suspended: Vec<_> = registry::peek(machine.paths)?
        .into_iter()
        .filter(|entry| entry.suspended)
        .collect();
    let Some(first) = suspended.first() else {
        return Ok(None);
    };
    let names: Vec<String> = suspended
        .iter()
        .map(|entry| printable(&entry.stored.path).into_owned())
        .collect();
    let text = format!(
        "Registered files changed or are gone, and do not count until you register them again: {}.",
        some_of(&names)
    );
    let next = format!(
        "If it was you: sudo sekimori register {} --as {} --kind {}. If it is gone: sudo sekimori unregister {0}",
        crate::render::shell_word(&first.stored.path),
        first.stored.role,
        first.stored.kind
    );
    Ok(Some(Finding::problem("changed", text).next(next)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gate_that_guards_gives_no_findings() {
        let status = json!({
            "gate": "closed", "not_closed": [], "restart_needed": [], "unwatched_calls": null,
            "daemon": { "version": env!("CARGO_PKG_VERSION") },
            "configuration": { "packet_watch": "full", "notify": true },
        });
        assert_eq!(of_status(&status), []);
        let nobody = tempfile::tempdir().unwrap();
        assert_eq!(reach(&status, nobody.path()), None);
    }

    #[test]
    fn each_weakness_is_told_with_a_next_step() {
        let status = json!({
            "gate": "observing", "not_closed": ["Exim"], "restart_needed": ["packet_watch"],
            "unwatched_calls": "no such hook", "daemon": { "version": "0.0.0" },
            "configuration": { "packet_watch": "off", "notify": false },
        });
        let findings = of_status(&status);
        let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(
            checks,
            [
                "mode",
                "configuration",
                "version",
                "kernel",
                "configuration"
            ]
        );
        assert!(findings[0].text.contains("Exim"));
        assert!(
            findings[0]
                .next
                .as_ref()
                .is_some_and(|next| next.contains("setup"))
        );
        let learned = of_status(&json!({ "gate": "observing" }));
        assert!(
            learned[0]
                .next
                .as_ref()
                .is_some_and(|next| next.contains("enforce"))
        );
        let sessions = tempfile::tempdir().unwrap();
        std::fs::create_dir(sessions.path().join("1000")).unwrap();
        let reached = |status: &Value| reach(status, sessions.path()).map(|finding| finding.text);
        assert!(reached(&status).unwrap().contains("notify is false"));
        assert!(reached(&json!({})).unwrap().contains("user 1000"));
        std::fs::write(sessions.path().join("1000/bus"), "").unwrap();
        assert_eq!(reached(&json!({})), None);
    }
}
