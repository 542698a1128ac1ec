//! What can be asked, and what comes back.

use std::path::PathBuf;

use policy::{Kind, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A longer request is refused.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Entries in one answer. Whoever wants more asks again from the last id.
pub const ENTRIES_MAX: u32 = 1000;

/// A question to the daemon, at the control socket: anybody may ask, and nothing changes by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The gate's state.
    Status,
    /// The registered programs.
    Programs,
    /// Entries of the journal; of others than root, about themselves only.
    Entries {
        /// At or after this moment, nanoseconds since 1970.
        since: Option<u64>,
        /// With a greater id than this.
        after: Option<u64>,
    },
    /// Write down what was not read yet. Cheap, and the answer is empty.
    Flush,
    /// Wait until there is an entry that [`Request::Entries`] would answer with, a few seconds at
    /// most. The answer is false when too many of this user's connections wait.
    Wait {
        /// At or after this moment, nanoseconds since 1970.
        since: Option<u64>,
        /// With a greater id than this.
        after: Option<u64>,
    },
    /// One entry; of others than root, about themselves only.
    Entry {
        /// Its id.
        id: u64,
    },
}

/// What root alone may ask for, at the keeper's own socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RootRequest {
    /// Register a program.
    Register {
        /// Absolute path.
        path: PathBuf,
        /// Word of the role.
        role: String,
        /// Word of the kind.
        kind: String,
        /// Register even what does whatever it is told.
        #[serde(default)]
        force: bool,
    },
    /// Take a registration back.
    Unregister {
        /// Absolute path.
        path: PathBuf,
    },
    /// Judge the processes that are older than the gate again, and tell which are not foreign any more
    /// and which have to be started again.
    JudgeAgain,
    /// Close the gate, or have it observe only, from now on and at every start.
    Mode {
        /// Refuse nothing.
        observe: bool,
    },
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A piece of the answer.
    Item(Value),
    /// The answer is complete.
    Done,
    /// It is refused or failed, with the exit status for the command.
    Failed {
        /// 1 failed, 3 not permitted.
        status: u8,
        /// One line.
        message: String,
    },
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// User id, as the kernel vouches.
    pub uid: u32,
}

impl Asker {
    /// Whether it may ask for everything.
    pub const fn is_root(self) -> bool {
        self.uid == 0
    }

    /// The user whose entries it may see; none means all.
    pub const fn sees(self) -> Option<u32> {
        if self.is_root() { None } else { Some(self.uid) }
    }
}

/// Reads the words of a registration.
///
/// # Errors
///
/// Names the word.
pub fn role_and_kind(role: &str, kind: &str) -> Result<(Role, Kind), String> {
    let role = Role::from_word(role).ok_or_else(|| format!("unknown role {role}"))?;
    let kind = Kind::from_word(kind).ok_or_else(|| format!("unknown kind {kind}"))?;
    Ok((role, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(read(r#"{"request":"status"}"#).ok(), Some(Request::Status));
        assert_eq!(
            read(r#"{"request":"entry","id":7}"#).ok(),
            Some(Request::Entry { id: 7 })
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"request":"nonsense"}"#,
            r#"{"request":"entry","id":-1}"#,
            r#"{"request":"entry","id":1,"x":2}"#,
            r#"{"request":"register","path":"/bin/ls","role":"mailer","kind":"batch"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
