//! What commands need of the guard on forwarded traffic: its name, its end, and its line in
//! `status`. The keeper leads it: see [`crate::keeper`].

use std::fs;

use linux::forward::Guard;
use serde_json::Value;

use crate::failure::Failure;
use crate::paths::Paths;

/// The name of the tables of nftables, families `inet` and `bridge`.
const TABLE: &str = "sekimori_forward";

/// The tables of this installation. One that `--state-dir` names has its own, so that a trial
/// does not replace the rules of the machine.
pub fn table(paths: &Paths) -> String {
    if paths.installed {
        return TABLE.to_owned();
    }
    let state = fs::canonicalize(&paths.state).unwrap_or_else(|_| paths.state.clone());
    // FNV-1a. Two folders with the same number would share their rules, no more.
    let number = state
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    format!("{TABLE}_{number:08x}")
}

/// Removes the rules. Says whether there were any.
///
/// # Errors
///
/// When they could not be removed.
pub fn clear(paths: &Paths) -> Result<bool, Failure> {
    match Guard::find(table(paths)) {
        Some(guard) => Ok(guard.clear()?),
        None => Ok(false),
    }
}

/// The user's name with the number, or the number alone.
pub fn user(uid: u32, passwd: &str) -> String {
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    name.map_or_else(|| format!("user {uid}"), |name| format!("user {name}"))
}

/// The line of `status`.
pub fn sentence(found: &Value) -> Option<String> {
    let text = |value: &Value| engine::printable(value.as_str().unwrap_or("?")).into_owned();
    let state = found["state"].as_str()?;
    let how = match state {
        "guarded" => "guarded by nftables",
        "observing" => "observed, nothing is refused",
        "off" => "not guarded",
        _ => "NOT guarded",
    };
    let mut line = format!("Forwarded packets: {how}; {}.", text(&found["reason"]));
    let users: Vec<String> = found["users_interfaces"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| format!("{} ({})", text(&one["name"]), text(&one["what"])))
        .collect();
    if !users.is_empty() {
        line.push_str(&format!(" Interfaces of users: {}.", users.join(", ")));
    }
    if let Some(why) = found["bridges_not_guarded"].as_str() {
        line.push_str(&format!(
            " What is bridged is not guarded: {}.",
            engine::printable(why)
        ));
    }
    if let Some(packets) = found["packets_refused"].as_u64().filter(|count| *count > 0) {
        line.push_str(&format!(" {packets} packets were refused."));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_trial_has_tables_of_its_own() {
        assert_eq!(table(&Paths::new(None)), "sekimori_forward");
        let [one, other] =
            ["/tmp", "/var"].map(|folder| table(&Paths::new(Some(Path::new(folder)))));
        assert!(one.starts_with("sekimori_forward_") && one != other);
    }

    #[test]
    fn status_names_the_interface_and_its_user() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n";
        assert_eq!(user(1000, passwd), "user bob");
        assert_eq!(user(1001, passwd), "user 1001");
        let found = json!({
            "state": "guarded", "reason": "this machine forwards for others",
            "users_interfaces": [{ "name": "tap0", "what": "a TUN or TAP device of user bob" }],
            "packets_refused": 3,
        });
        assert_eq!(
            sentence(&found).unwrap(),
            "Forwarded packets: guarded by nftables; this machine forwards for others. \
             Interfaces of users: tap0 (a TUN or TAP device of user bob). 3 packets were refused."
        );
        assert_eq!(sentence(&Value::Null), None);
    }
}
