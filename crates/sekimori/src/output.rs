//! Standard output and standard error: colours, and readers that go away.

use std::io::{Error, ErrorKind, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use present::Style;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::Failure;

/// The first thing that went wrong with standard output.
static LOST: Mutex<Option<String>> = Mutex::new(None);
/// Of a process that waits for no reader. None: of one that does.
static HURRY: Mutex<Option<Hurry>> = Mutex::new(None);
/// How long a reader who keeps up may take. After that, none until it reads again.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// What a pipe that can be written takes without waiting (pipe(7): `PIPE_BUF`).
const AT_ONCE_BYTES: usize = 4096;

/// Colours on a terminal, unless the user asked for none (`NO_COLOR`).
pub fn style() -> Style {
    Style {
        colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// The same for standard error.
pub fn stderr_style() -> Style {
    Style {
        colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Prints a line. `false` when it cannot be: there is no use in going on. [`all_said`] tells why.
pub fn say(line: &str) -> bool {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) => {
            not_said(&error);
            false
        }
    }
}

/// Something could not be written to standard output. All is well when nobody reads any more,
/// as behind `| head`.
pub fn not_said(error: &Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| format!("standard output: {error}"));
    }
}

/// Whether whoever reads got all that was said.
///
/// # Errors
///
/// Why not.
pub fn all_said() -> Result<(), Failure> {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    lost.take().map_or(Ok(()), |why| Err(Failure::failed(why)))
}

/// Says on standard error that something went wrong. Paths are in it, whatever they are made of.
pub fn trouble(text: &str) {
    tell(&format!("sekimori: {}", engine::printable(text)));
}

/// From now on a line on standard error that nobody takes is lost, and holds nobody up: a daemon
/// has more to do than to be read. A command waits for its reader, as behind `| less`.
pub fn wait_for_no_reader() {
    let mut hurry = HURRY.lock().unwrap_or_else(PoisonError::into_inner);
    hurry.get_or_insert(Hurry { lost: 0 });
}

/// Prints a line on standard error. Where that cannot be written, as on a full disk, the line
/// is lost and nothing else: `eprintln!` would end the process. What the watcher does to the
/// standard error that it has from the keeper must not end the keeper.
pub fn tell(line: &str) {
    let mut hurry = HURRY.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *hurry {
        None => {
            let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
        }
        Some(hurry) => hurry.tell(line, &mut std::io::stderr()),
    }
}

/// How somebody writes who waits for no reader.
#[derive(Debug)]
struct Hurry {
    /// Lines since the last one that was taken.
    lost: u64,
}

impl Hurry {
    fn tell(&mut self, line: &str, out: &mut (impl Write + AsFd)) {
        let lost = match self.lost {
            0 => String::new(),
            lost => format!("sekimori: nobody took the last {lost} lines, they are lost\n"),
        };
        for piece in format!("{lost}{line}\n").as_bytes().chunks(AT_ONCE_BYTES) {
            if !self.is_taken(out.as_fd()) {
                self.lost += 1;
                return;
            }
            let _ = out.write_all(piece);
        }
        self.lost = 0;
    }

    /// Whether writing holds nobody up. One that fails does not.
    fn is_taken(&self, out: BorrowedFd<'_>) -> bool {
        let patience = if self.lost == 0 {
            PATIENCE
        } else {
            Timespec::default()
        };
        let mut waiting = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
        loop {
            match poll(&mut waiting, Some(&patience)) {
                Err(Errno::INTR) => {}
                taken => return taken != Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn who_does_not_read_holds_nobody_up_and_hears_how_much_is_lost() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut writer = File::from(OwnedFd::from(writer));
        let mut hurry = Hurry { lost: 0 };
        let long = "x".repeat(10_000);
        let begun = std::time::Instant::now();
        // If it waited for each line, this would take as many seconds.
        for _ in 0..1000 {
            hurry.tell(&long, &mut writer);
        }
        assert!(begun.elapsed().as_secs() < 300, "{:?}", begun.elapsed());
        let lost = hurry.lost;
        assert!((900..1000).contains(&lost), "{lost}");
        let mut taken = [0; 1 << 16];
        let length = reader.read(&mut taken).unwrap();
        assert!(length > 10_000);
        hurry.tell("and then", &mut writer);
        assert_eq!(hurry.lost, 0);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let said =
            format!("sekimori: nobody took the last {lost} lines, they are lost\nand then\n");
        assert!(rest.ends_with(&said), "{rest}");
    }

    #[test]
    fn who_has_gone_holds_nobody_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut hurry = Hurry { lost: 0 };
        hurry.tell("nobody hears", &mut File::from(OwnedFd::from(writer)));
        assert_eq!(hurry.lost, 0);
    }
}
