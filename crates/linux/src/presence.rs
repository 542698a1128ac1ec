//! Who sits at this machine, and what the kernel lets the gate know of terminals.
//!
//! Who sits where is read from logind's own files, as libsystemd does: the keeper has no bus. A user
//! who may not send cannot write them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use abi::{PresenceOffsets, Seated};
use rustix::fs::{Mode, OFlags, open};

use crate::btf::Types;

/// Where logind keeps its sessions.
pub const SESSIONS: &str = "/run/systemd/sessions";
/// More sessions than this are not read.
const SESSIONS_MAX: usize = 1000;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where fields lie. Those of terminals are all known or count as unknown.
pub(crate) fn offsets(types: &Types<'_>) -> PresenceOffsets {
    let terminals = || {
        Some(PresenceOffsets {
            has_terminals: 1,
            tty_disc_data: types.offset("tty_struct", "disc_data")?,
            tty_ldisc: types.offset("tty_struct", "ldisc")?,
            ldisc_ops: types.offset("tty_ldisc", "ops")?,
            ldisc_number: types.offset("tty_ldisc_ops", "num")?,
            tty_file_tty: types.offset("tty_file_private", "tty")?,
            n_tty_head: types.offset("n_tty_data", "read_head")?,
            n_tty_tail: types.offset("n_tty_data", "read_tail")?,
            n_tty_buffer: types.offset("n_tty_data", "read_buf")?,
            tty_port: types.offset("tty_struct", "port")?,
            port_buffer: types.offset("tty_port", "buf.head")?,
            buffer_commit: types.offset("tty_buffer", "commit")?,
            buffer_read: types.offset("tty_buffer", "read")?,
            buffer_size: types.offset("tty_buffer", "size")?,
        })
    };
    terminals().unwrap_or_default()
}

/// Where each user is, by the sessions in a folder. `None` when there is no logind, so that nobody knows.
pub fn seated(sessions: &Path) -> Option<HashMap<u32, Seated>> {
    let mut users: HashMap<u32, Seated> = HashMap::new();
    for entry in fs::read_dir(sessions).ok()?.flatten().take(SESSIONS_MAX) {
        let Ok(text) = text_of(&entry.path()) else {
            continue;
        };
        let Some((user, place)) = place_of(&text) else {
            continue;
        };
        let seated = users.entry(user).or_default();
        match place {
            Place::Seat => seated.at_seat = 1,
            Place::Elsewhere => seated.elsewhere = 1,
            Place::Nowhere => {}
        }
    }
    Some(users)
}

/// The text of a file. Beside each session's file lies a named pipe that logind holds open: whoever read
/// it would wait until the session ends.
fn text_of(path: &Path) -> io::Result<String> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The session that the seat shows.
    Seat,
    /// The session of somebody whose input nobody sees: over the network, or on a virtual display.
    Elsewhere,
    /// A session without a person: a job of cron's, or one that the seat does not show.
    Nowhere,
}

/// Whose session it is, and where that user is because of it.
fn place_of(text: &str) -> Option<(u32, Place)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let user = field("UID").parse().ok()?;
    let is_users = matches!(field("CLASS"), "user" | "user-early" | "");
    let from = field("REMOTE_HOST");
    // A login from this machine itself is as likely a program's.
    let from_here = from == "localhost" || from.starts_with("127.") || from == "::1";
    let has_display = matches!(field("TYPE"), "tty" | "x11" | "wayland" | "mir" | "web");
    let place = if !is_users {
        Place::Nowhere
    } else if !field("SEAT").is_empty() {
        if field("ACTIVE") == "1" {
            Place::Seat
        } else {
            Place::Nowhere
        }
    } else if from_here {
        Place::Nowhere
    } else if field("REMOTE") == "1" || has_display {
        Place::Elsewhere
    } else {
        Place::Nowhere
    };
    Some((user, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};

    fn place(text: &str) -> Place {
        let (user, place) =
            place_of(&format!("# made by logind\nUID=1000\nUSER=anna\n{text}")).unwrap();
        assert_eq!(user, 1000);
        place
    }

    #[test]
    fn the_session_that_the_seat_shows_is_at_the_seat() {
        let seat = "SEAT=seat0\nTYPE=wayland\nCLASS=user\nREMOTE=0\n";
        assert_eq!(place(&format!("ACTIVE=1\n{seat}")), Place::Seat);
        // Another user's session is shown.
        assert_eq!(place(&format!("ACTIVE=0\n{seat}")), Place::Nowhere);
        assert_eq!(
            place("ACTIVE=1\nSEAT=seat0\nTYPE=wayland\nCLASS=greeter\n"),
            Place::Nowhere
        );
    }

    #[test]
    fn somebody_whose_input_nobody_sees_is_elsewhere() {
        assert_eq!(
            place("ACTIVE=1\nTYPE=tty\nCLASS=user\nREMOTE=1\nREMOTE_HOST=192.0.2.7\n"),
            Place::Elsewhere
        );
        assert_eq!(
            place("ACTIVE=1\nTYPE=x11\nCLASS=user\nREMOTE=0\n"),
            Place::Elsewhere
        );
    }

    #[test]
    fn programs_that_make_a_session_are_nowhere() {
        // A job of cron's, a service manager, and a login to the same machine.
        assert_eq!(
            place("ACTIVE=1\nTYPE=unspecified\nCLASS=user\n"),
            Place::Nowhere
        );
        assert_eq!(
            place("ACTIVE=1\nTYPE=tty\nCLASS=background\n"),
            Place::Nowhere
        );
        for host in ["::1", "127.0.0.1", "localhost"] {
            let text = format!("ACTIVE=1\nTYPE=tty\nCLASS=user\nREMOTE=1\nREMOTE_HOST={host}\n");
            assert_eq!(place(&text), Place::Nowhere);
        }
    }

    #[test]
    fn what_is_no_session_is_passed_over() {
        assert_eq!(place_of("ACTIVE=1\n"), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(seated(&folder.path().join("none")), None);
        fs::write(
            folder.path().join("1"),
            b"UID=1000\nACTIVE=1\nSEAT=seat0\nCLASS=user\n",
        )
        .unwrap();
        fs::write(folder.path().join("2"), b"\xff\xfe").unwrap();
        fs::write(
            folder.path().join("3"),
            b"UID=1000\nREMOTE=1\nTYPE=tty\nCLASS=user\n",
        )
        .unwrap();
        // logind's, which nobody may wait for.
        let pipe = folder.path().join("1.ref");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _held = File::options().read(true).write(true).open(pipe).unwrap();
        let seated = seated(folder.path()).unwrap();
        assert_eq!(seated.len(), 1);
        assert_eq!((seated[&1000].at_seat, seated[&1000].elsewhere), (1, 1));
    }
}
