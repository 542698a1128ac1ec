//! The two sockets. The keeper makes both, so that a watcher that is started again goes on
//! with the same one; at the control socket it never accepts anybody itself.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use linux::identity::{self, Program};
use rustix::io::Errno;

use crate::control::protocol::{Line, RootRequest};
use crate::control::server::{failed, read_line, write_lines};
use crate::failure::Failure;
use crate::paths::Paths;

/// A watcher whose keeper was killed ends with it, but perhaps not in the same moment.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// Only root can connect to the keeper, and it has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Both sockets. Their files go with this.
#[derive(Debug)]
pub struct Sockets {
    /// For everybody.
    pub control: UnixListener,
    /// For root.
    pub root: UnixListener,
    files: [PathBuf; 2],
}

impl Sockets {
    /// Binds them.
    ///
    /// # Errors
    ///
    /// When another daemon answers there already, or the folder cannot be written.
    pub fn bind(paths: &Paths) -> Result<Self, Failure> {
        let taken = || {
            Failure::failed(format!(
                "{}: another daemon is running already",
                paths.socket.display()
            ))
        };
        if listens(&paths.keeper) {
            return Err(taken());
        }
        let begun = Instant::now();
        while listens(&paths.socket) {
            if begun.elapsed() > LEFT_OVER {
                return Err(taken());
            }
            sleep(Duration::from_millis(5));
        }
        let control = bind(&paths.socket, 0o666)?;
        let files = [paths.socket.clone(), paths.keeper.clone()];
        let root = bind(&paths.keeper, 0o600).inspect_err(|_| {
            let _ = fs::remove_file(&paths.socket);
        })?;
        let sockets = Self {
            control,
            root,
            files,
        };
        sockets
            .root
            .set_nonblocking(true)
            .map_err(|error| Failure::failed(format!("{}: {error}", paths.keeper.display())))?;
        Ok(sockets)
    }

    /// Makes the control socket anew if nobody can connect to it any more: a watcher that went
    /// astray may have shut it down for all who come after it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn mend(&mut self) -> Result<(), Failure> {
        let [path, _] = &self.files;
        if !is_refused(path) {
            return Ok(());
        }
        self.control = bind(path, 0o666)?;
        Ok(())
    }

    /// The next one who waits at root's socket.
    pub fn next_root(&self) -> Option<Caller> {
        self.root.accept().ok().map(|(stream, _)| Caller(stream))
    }
}

/// Whoever connected to root's socket.
#[derive(Debug)]
pub struct Caller(UnixStream);

/// A command of root's that was read, with the file that it is about.
#[derive(Debug)]
pub struct Asked {
    stream: UnixStream,
    request: RootRequest,
    found: Option<Result<Program, identity::Error>>,
}

impl Caller {
    /// Reads the request, and the file that is to be registered. Takes as long as both take. None
    /// when there is nothing to be done: then the caller has the answer.
    pub fn read(self) -> Option<Asked> {
        // Who leaves early has no answer; the rest is as it was.
        let request = request(&self.0).ok().flatten()?;
        let found = match &request {
            RootRequest::Register { path, .. } => Some(identity::identify_still(path)),
            RootRequest::Unregister { .. } | RootRequest::JudgeAgain | RootRequest::Mode { .. } => {
                None
            }
        };
        Some(Asked {
            stream: self.0,
            request,
            found,
        })
    }
}

impl Asked {
    /// What is wanted.
    pub const fn request(&self) -> &RootRequest {
        &self.request
    }

    /// Writes the answer. Some lines go into the socket at once.
    pub fn answer(
        self,
        answer: impl FnOnce(RootRequest, Option<Result<Program, identity::Error>>) -> Vec<Line>,
    ) {
        let lines = answer(self.request, self.found);
        let _ = write_lines(&self.stream, &lines);
    }
}

fn request(stream: &UnixStream) -> std::io::Result<Option<RootRequest>> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The file's mode says so too; the kernel vouches for this.
    let who = rustix::net::sockopt::socket_peercred(stream)?;
    if !who.uid.is_root() {
        let refusal = failed(3, "only root may do this (try sudo)".to_owned());
        return write_lines(stream, &[refusal]).map(|()| None);
    }
    let line = read_line(stream, PATIENCE)?;
    match serde_json::from_slice(&line) {
        Ok(request) => Ok(Some(request)),
        Err(error) => {
            let words = failed(1, format!("request not understood: {error}"));
            write_lines(stream, &[words]).map(|()| None)
        }
    }
}

/// Connects to a socket. Does not wait.
fn try_connect(path: &Path) -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect};
    let kind = (AddressFamily::UNIX, SocketType::STREAM);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(kind.0, kind.1, flags, None)?;
    connect(socket, &SocketAddrUnix::new(path)?)
}

/// Whether somebody listens there. A queue that is full is somebody's.
fn listens(path: &Path) -> bool {
    matches!(try_connect(path), Ok(()) | Err(Errno::AGAIN))
}

/// Whether nobody listens there.
fn is_refused(path: &Path) -> bool {
    matches!(try_connect(path), Err(Errno::CONNREFUSED | Errno::NOENT))
}

fn bind(path: &Path, mode: u32) -> Result<UnixListener, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Before others than root may connect. A kernel that cannot do it does without.
    linux::descriptors::refuse(listener.as_fd()).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;

    use rustix::net::{
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg, shutdown,
    };

    use super::*;

    /// Closing what others hand over can last as long as they like.
    #[test]
    fn nobody_hands_over_a_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path()));
        let sockets = Sockets::bind(&paths).unwrap();
        if !linux::descriptors::refuse(sockets.control.as_fd()).unwrap() {
            println!("skipped: needs Linux 6.16");
            return;
        }
        let given = [sockets.root.as_fd()];
        for (path, listener) in [
            (&paths.socket, &sockets.control),
            (&paths.keeper, &sockets.root),
        ] {
            let client = UnixStream::connect(path).unwrap();
            let _served = listener.accept().unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut message = SendAncillaryBuffer::new(&mut space);
            assert!(message.push(SendAncillaryMessage::ScmRights(&given)));
            let bytes = [IoSlice::new(b"x")];
            let sent = sendmsg(&client, &bytes, &mut message, SendFlags::empty());
            assert_eq!(sent, Err(Errno::PERM), "{}", path.display());
        }
    }

    #[test]
    fn a_socket_that_was_shut_down_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(folder.path()));
        let mut sockets = Sockets::bind(&paths).unwrap();
        assert!(Sockets::bind(&paths).is_err(), "another daemon");
        sockets.mend().unwrap();
        // Who connected before is still there.
        let before = UnixStream::connect(&paths.socket).unwrap();
        assert!(sockets.control.accept().is_ok());
        drop(before);
        shutdown(&sockets.control, Shutdown::Both).unwrap();
        assert!(UnixStream::connect(&paths.socket).is_err());
        sockets.mend().unwrap();
        let _after = UnixStream::connect(&paths.socket).unwrap();
        assert!(sockets.control.accept().is_ok());
        drop(sockets);
        assert!(!paths.socket.exists() && !paths.keeper.exists());
    }
}
