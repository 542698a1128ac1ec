//! The rows, as data says them: a way in which people or machines send, and what is expected.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::machines::Machine;

/// The files with rows, and the name of each for messages.
const FILES: [(&str, &str); 3] = [
    (
        "servers.toml",
        include_str!("../../data/honest/servers.toml"),
    ),
    (
        "terminal.toml",
        include_str!("../../data/honest/terminal.toml"),
    ),
    (
        "desktops.toml",
        include_str!("../../data/honest/desktops.toml"),
    ),
];

/// What a row is expected to come to.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// A message reaches the mail server outside.
    Sent,
    /// A message reaches a mailbox of the machine.
    Kept,
    /// The last command ends with success, and nothing is refused.
    Answers,
    /// No message arrives, and the journal holds a refusal.
    Refused,
}

impl Expect {
    /// The word in the page.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Kept => "delivered",
            Self::Answers => "answers",
            Self::Refused => "refused",
        }
    }
}

/// A way of sending.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name; with a machine's, the name of a result.
    pub id: String,
    /// Machines and groups that it is played on.
    pub on: Vec<String>,
    /// Machines of these groups that it is not played on.
    #[serde(default)]
    pub not_on: Vec<String>,
    /// What a person or the machine does.
    pub way: String,
    /// What has to come of it.
    pub expect: Expect,
    /// Why it is not to work, or what the reader has to know of how it was played.
    #[serde(default)]
    pub why: String,
    /// What is done.
    pub steps: Vec<Step>,
    /// What takes the place of the steps, once the advice was followed: a person does it otherwise.
    #[serde(default)]
    pub instead: Vec<Step>,
    /// A text that only this row's message holds, where `{mark}` cannot be put into it.
    #[serde(default = "mark")]
    pub sign: String,
    /// Seconds until the message must have arrived.
    #[serde(default = "a_minute")]
    pub limit: u64,
}

fn a_minute() -> u64 {
    60
}

fn mark() -> String {
    "{mark}".to_owned()
}

/// One step.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Step {
    /// Root's script, told to the machine without a terminal. It has to succeed.
    Root(String),
    /// Typed at the terminal by this user; waits for its end.
    Typed(String, String),
    /// Typed at the terminal, and no end waited for.
    Raw(String),
    /// Waits until the terminal shows this.
    Shown(String),
    /// Keys of the machine's keyboard, pressed together.
    Keys(String),
    /// A text on the machine's keyboard.
    Text(String),
    /// A click at a place, with this button.
    Click(u32, u32, Button),
    /// Seconds.
    Wait(u64),
    /// Waits until root's script succeeds.
    Until(String),
    /// A command at a terminal of another machine's ssh.
    Ssh(String),
    /// A command that another machine's ssh runs without a terminal, for root.
    SshCommand(String),
    /// Mail from another machine: to port 25 or 587, for this recipient.
    Inbound(u16, String),
    /// The same by port 587, where this user logs in.
    Submit(String, String),
}

/// What a mouse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// A click.
    Left,
    /// Two clicks.
    Double,
    /// A click with the other button.
    Right,
}

impl TryFrom<String> for Step {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        let (verb, rest) = text
            .split_once(": ")
            .with_context(|| format!("no \"verb: \" in {text:?}"))?;
        let owned = rest.to_owned();
        Ok(match verb {
            "root" => Self::Root(owned),
            "type" => Self::Typed("taro".to_owned(), owned),
            "type-root" => Self::Typed("root".to_owned(), owned),
            "raw" => Self::Raw(owned),
            "shown" => Self::Shown(owned),
            "keys" => Self::Keys(owned),
            "text" => Self::Text(owned),
            "click" | "double" | "right" => {
                let (x, y) = rest.split_once(' ').context("a click has two numbers")?;
                let button = match verb {
                    "right" => Button::Right,
                    "double" => Button::Double,
                    _ => Button::Left,
                };
                Self::Click(x.parse()?, y.parse()?, button)
            }
            "wait" => Self::Wait(rest.parse()?),
            "until" => Self::Until(owned),
            "ssh" => Self::Ssh(owned),
            "ssh-root" => Self::SshCommand(owned),
            "inbound" => {
                let (port, recipient) = rest.split_once(' ').context("a port and a recipient")?;
                Self::Inbound(port.parse()?, recipient.to_owned())
            }
            "submit" => {
                let (user, recipient) = rest.split_once(' ').context("a user and a recipient")?;
                Self::Submit(user.to_owned(), recipient.to_owned())
            }
            verb => bail!("unknown verb {verb:?} in {text:?}"),
        })
    }
}

impl Row {
    /// Whether it is played on this machine.
    pub fn is_on(&self, machine: &Machine) -> bool {
        let named = |list: &[String]| {
            list.iter()
                .any(|name| *name == machine.name || *name == machine.group)
        };
        named(&self.on) && !named(&self.not_on)
    }
}

#[derive(Deserialize)]
struct File {
    row: Vec<Row>,
}

/// All rows, in the order in which they are played.
///
/// # Errors
///
/// When the data cannot be read, or a name is there twice.
pub fn rows() -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (name, text) in FILES {
        let file: File =
            toml::from_str(text).with_context(|| format!("xtask/data/honest/{name}"))?;
        for row in file.row {
            ensure!(
                rows.iter().all(|known| known.id != row.id),
                "two rows are named {}",
                row.id
            );
            rows.push(row);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::machines::machines;
    use super::*;

    #[test]
    fn every_row_is_played_somewhere_and_says_why_it_is_refused() {
        let machines = machines().unwrap();
        for row in rows().unwrap() {
            assert!(
                machines.iter().any(|machine| row.is_on(machine)),
                "{}",
                row.id
            );
            assert!(!row.steps.is_empty(), "{}", row.id);
            assert!(
                row.expect != Expect::Refused || !row.why.is_empty(),
                "{}",
                row.id
            );
            for name in row.on.iter().chain(&row.not_on) {
                assert!(
                    machines
                        .iter()
                        .any(|machine| machine.name == *name || machine.group == *name),
                    "{}: {name}",
                    row.id
                );
            }
        }
    }

    #[test]
    fn every_machine_has_rows() {
        let rows = rows().unwrap();
        for machine in machines().unwrap() {
            assert!(
                rows.iter().any(|row| row.is_on(&machine)),
                "{}",
                machine.name
            );
        }
    }

    #[test]
    fn steps_are_read() {
        let step = |text: &str| Step::try_from(text.to_owned());
        assert_eq!(
            step("double: 10 20").unwrap(),
            Step::Click(10, 20, Button::Double)
        );
        assert_eq!(
            step("inbound: 25 taro@x").unwrap(),
            Step::Inbound(25, "taro@x".to_owned())
        );
        assert!(step("dance: now").is_err());
        assert!(step("click: here").is_err());
    }
}
