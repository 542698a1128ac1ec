//! Signals as something to poll for.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// The signals that the daemon listens to.
pub struct Signals {
    end: UnixStream,
    reload: UnixStream,
    either: rustix::fd::OwnedFd,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When the system has no file descriptors left.
    pub fn listen() -> Result<Self, Failure> {
        let pipe = |signals: &[i32]| -> std::io::Result<UnixStream> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            for signal in signals {
                signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
            }
            Ok(read)
        };
        let make = || -> std::io::Result<Self> {
            use rustix::event::epoll;
            let (end, reload) = (pipe(&[SIGTERM, SIGINT])?, pipe(&[SIGHUP])?);
            let either = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            for (number, stream) in [(0, &end), (1, &reload)] {
                epoll::add(
                    &either,
                    stream,
                    epoll::EventData::new_u64(number),
                    epoll::EventFlags::IN,
                )?;
            }
            Ok(Self {
                end,
                reload,
                either,
            })
        };
        make().map_err(|error| Failure::failed(format!("signals: {error}")))
    }

    /// The signal that came, if one did.
    pub fn take(&self) -> Option<Signal> {
        let came = |mut stream: &UnixStream| stream.read(&mut [0; 64]).is_ok_and(|count| count > 0);
        if came(&self.end) {
            return Some(Signal::End);
        }
        came(&self.reload).then_some(Signal::Reload)
    }

    /// Becomes readable when a signal came.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.either.as_fd()
    }
}
