//! `status`.

use std::process::ExitCode;

use linux::gate::Gate;
use linux::pins::Pins;
use serde_json::Value;

use crate::control::client::ask;
use crate::control::protocol::Request;
use crate::failure::{Failure, need_root};
use crate::output::{say, style};
use crate::paths::Paths;
use crate::{fallback, forward, render, status};

/// `status`. Exit status 1 when no gate guards this machine.
pub fn run(json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let mut found = Value::Null;
    if !ask(&paths.socket, &Request::Status, |value| found = value)? {
        need_root("status")?;
        let pins = Pins::new(&paths.pins, linux::load::OBJECT);
        if !pins.has_maps() {
            if let Some(in_force) = fallback::in_force(paths) {
                if json {
                    say(
                        &serde_json::json!({ "gate": "fallback", "fallback": in_force })
                            .to_string(),
                    );
                    return Ok(ExitCode::FAILURE);
                }
                return Err(Failure::failed(fallback::sentence(&in_force)));
            }
            let message = if pins.base().exists() && pins.any_gate() {
                "a gate of another version guards this machine, and no daemon runs"
            } else {
                "no gate guards this machine (sudo sekimori run, or sudo sekimori install)"
            };
            return Err(Failure::failed(message));
        }
        found = status::of_gate(&Gate::open(&pins)?);
    }
    if json {
        say(&found.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    print(&found);
    Ok(ExitCode::SUCCESS)
}

fn print(status: &Value) {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let ports = status["mail_ports"]
        .as_array()
        .map(|ports| ports.iter().map(Value::to_string).collect::<Vec<_>>());
    let ports = ports.unwrap_or_default().join(", ");
    let ports = engine::printable(&ports);
    let waits_for: Vec<String> = status["not_closed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|server| Some(engine::printable(server.as_str()?).into_owned()))
        .collect();
    match status["gate"].as_str() {
        Some("observing") if !waits_for.is_empty() => say(&format!(
            "Gate: NOT CLOSED, every program may send. Closed, it would block mail servers that this machine starts: \
             {}. Register them and close the gate: sudo sekimori setup. Mail ports {ports}.",
            waits_for.join(", ")
        )),
        Some("observing") => say(&format!(
            "Gate: observing, nothing is refused (sudo sekimori enforce closes it). Mail ports {ports}."
        )),
        _ => say(&format!(
            "Gate: closed. Mail ports {ports} open only for a registered mailer that the user started."
        )),
    };
    if status["daemon"]["running"] == Value::Bool(true) {
        say(&format!(
            "Daemon: running, process {}, for {} s; its watcher is process {}, user {} (landlock: {}).",
            number("/daemon/pid"),
            number("/daemon/uptime_seconds"),
            number("/watcher/pid"),
            number("/watcher/uid"),
            engine::printable(status["watcher"]["landlock"].as_str().unwrap_or("unknown"))
        ));
    } else {
        say(
            "Daemon: not running. The gate decides all the same; what it reports is counted below.",
        );
    }
    if let Some(cgroup) = status["cgroup"].as_str() {
        let cgroup = engine::printable(cgroup);
        say(&format!("Guarded: cgroup {cgroup} and all below."));
    }
    if let Some(line) = forward::sentence(&status["forwarded"]) {
        say(&line);
    }
    print_waiting(status);
    if status.get("programs").is_some() {
        let suspended = number("/programs/suspended");
        say(&format!(
            "Programs: {} registered, {} of them mailers{}.",
            number("/programs/registered"),
            number("/programs/mailers"),
            if suspended == 0 {
                String::new()
            } else {
                format!(", {suspended} changed and waiting for you")
            }
        ));
    }
    say(&format!(
        "Processes: {} known, {} foreign{} (sudo sekimori tree shows them).",
        number("/processes/known"),
        number("/processes/foreign"),
        older_words(
            number("/processes/foreign_until_started_anew"),
            number("/processes/foreign_through_older")
        )
    ));
    list("Open grants", &status["grants"], number("/open_grants"));
    if let Some(irc) = status["irc"].as_array().filter(|irc| !irc.is_empty()) {
        list("IRC connections", &status["irc"], irc.len() as u64);
    }
    let rows: Vec<Vec<String>> = status["counters"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let name = engine::printable(name).replace('_', " ");
            vec![name, engine::printable(&value.to_string()).into_owned()]
        })
        .collect();
    say(render::table(&["COUNTED", "SINCE THE GATE WAS CLOSED"], &rows, style()).trim_end());
}

/// Which foreign processes a new start helps.
fn older_words(older: u64, through_older: u64) -> String {
    let mut words = String::new();
    if older > 0 {
        words += &format!("; {older} are older than the gate: start them again");
    }
    if through_older > 0 {
        words += &format!(
            "; {through_older} were started by a program that is older than the gate: start that one again, or log \
             out and in"
        );
    }
    words
}

/// The keys of the configuration that wait for a restart.
fn print_waiting(status: &Value) {
    let waiting: Vec<&str> = status["restart_needed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !waiting.is_empty() {
        say(&format!(
            "Configuration: {} changed; restart the daemon for the new value (sudo systemctl restart sekimori).",
            engine::printable(&waiting.join(" and "))
        ));
    }
}

fn list(what: &str, flows: &Value, count: u64) {
    say(&format!("{what}: {count}."));
    for flow in flows.as_array().into_iter().flatten() {
        let text = |key: &str| engine::printable(flow[key].as_str().unwrap_or("?")).into_owned();
        say(&format!(
            "  {} (process {}) to {}",
            text("program"),
            flow["pid"].as_u64().unwrap_or(0),
            text("destination")
        ));
    }
}
