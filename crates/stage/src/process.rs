//! Processes that a sandbox's init starts: what to start, and what became of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::channel::Channel;
use crate::transcript::Transcript;
use crate::wire::{Exit, Order, Request};

/// What to start, and how. The environment is a small fixed one unless added to: what the
/// caller happens to have set (`LD_LIBRARY_PATH` under cargo) must not leak onto the stage.
#[derive(Clone, Debug)]
pub struct Start {
    pub(crate) order: Order,
    pub(crate) cgroup: Option<String>,
    pub(crate) input: Input,
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Null,
    Pipe,
    File(PathBuf),
}

impl Start {
    /// Starts `program`, a path, or a name that is searched in `/usr/bin` and the like.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let environment = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("LANG", "C"),
        ];
        Self {
            order: Order {
                argv: vec![program.as_ref().to_owned()],
                arg0: None,
                environment: environment
                    .map(|(name, value)| (name.into(), value.into()))
                    .to_vec(),
                directory: PathBuf::from("/"),
                user: None,
                session: false,
                terminal: false,
                cgroup_procs: None,
            },
            cgroup: None,
            input: Input::Null,
            output: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.order.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.order.argv.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Lets the program see another `argv[0]` than its path.
    #[must_use]
    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Self {
        self.order.arg0 = Some(name.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let name: OsString = name.as_ref().to_owned();
        self.order.environment.retain(|(other, _)| *other != name);
        self.order
            .environment
            .push((name, value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory; `/` otherwise.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.order.directory = directory.as_ref().to_owned();
        self
    }

    /// Runs as this user and group, with no other groups; as root otherwise.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.order.user = Some((uid, gid));
        self
    }

    /// Lets the process lead a session of its own.
    #[must_use]
    pub fn session(mut self) -> Self {
        self.order.session = true;
        self
    }

    /// Puts the process into a group below the actors' group before its exec. It is made
    /// when it is not there; `name` may have several levels, as in `user/app`.
    #[must_use]
    pub fn cgroup(mut self, name: impl Into<String>) -> Self {
        self.cgroup = Some(name.into());
        self
    }

    /// Makes standard input a pipe, for [`Process::write`]. It is `/dev/null` otherwise.
    #[must_use]
    pub fn input_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Makes standard input this file.
    #[must_use]
    pub fn input_file(mut self, path: impl AsRef<Path>) -> Self {
        self.input = Input::File(path.as_ref().to_owned());
        self
    }

    /// Appends standard output and errors to this file instead of collecting them.
    #[must_use]
    pub fn output_file(mut self, path: impl AsRef<Path>) -> Self {
        self.output = Some(path.as_ref().to_owned());
        self
    }

    /// The three descriptors the process gets, and the owner's ends of them.
    pub(crate) fn open_streams(&self) -> Result<([OwnedFd; 3], Streams), Error> {
        let null = Path::new("/dev/null");
        let open = |path: &Path| {
            File::open(path)
                .map(OwnedFd::from)
                .map_err(|e| Error::at("open", path, e))
        };
        let (input, writer) = match &self.input {
            Input::Null => (open(null)?, None),
            Input::File(path) => (open(path)?, None),
            Input::Pipe => {
                let (reader, writer) = pipe()?;
                (reader, Some(File::from(writer)))
            }
        };
        if let Some(path) = &self.output {
            let file = File::options().create(true).append(true).open(path);
            let file = OwnedFd::from(file.map_err(|e| Error::at("open", path, e))?);
            let errors = file.try_clone().map_err(|e| Error::at("open", path, e))?;
            let streams = Streams {
                writer,
                stdout: Transcript::default(),
                stderr: Transcript::default(),
            };
            return Ok(([input, file, errors], streams));
        }
        let (stdout, output) = pipe()?;
        let (stderr, errors) = pipe()?;
        let stdout = Transcript::of(File::from(stdout));
        let stderr = Transcript::of(File::from(stderr));
        Ok((
            [input, output, errors],
            Streams {
                writer,
                stdout,
                stderr,
            },
        ))
    }
}

/// The owner's ends of a process's standard streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub writer: Option<File>,
    pub stdout: Transcript,
    pub stderr: Transcript,
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| Error::system("make a pipe", e))
}

/// What a process left behind when it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard errors.
    pub stderr: String,
}

/// A process that the sandbox's init started. It lives on when this is dropped, and ends
/// with the sandbox at the latest.
#[derive(Debug)]
pub struct Process {
    channel: Arc<Channel>,
    ticket: u64,
    pid: u32,
    name: String,
    writer: Mutex<Option<File>>,
    stdout: Transcript,
    stderr: Transcript,
}

impl Process {
    pub(crate) fn new(
        channel: Arc<Channel>,
        ticket: u64,
        pid: u32,
        name: String,
        streams: Streams,
    ) -> Self {
        let Streams {
            writer,
            stdout,
            stderr,
        } = streams;
        Self {
            channel,
            ticket,
            pid,
            name,
            writer: Mutex::new(writer),
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.channel.exit(self.ticket)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `limit`; the message holds what it wrote to standard errors.
    pub fn wait(&self, limit: Duration) -> Result<Exit, Error> {
        self.channel
            .wait_for_exit(self.ticket, limit)?
            .ok_or_else(|| Error::Timeout {
                what: format!(
                    "process {} ({}) did not end ({:?})",
                    self.pid,
                    self.name,
                    self.stderr.text()
                ),
                limit,
            })
    }

    /// Waits until it has ended and returns all that it wrote.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn output(&self, limit: Duration) -> Result<Output, Error> {
        let exit = self.wait(limit)?;
        // What its own children still hold open is not waited for longer than this.
        self.stdout.wait_for_end(Duration::from_millis(500));
        self.stderr.wait_for_end(Duration::from_millis(100));
        Ok(Output {
            exit,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        })
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard errors so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until its standard output contains `pattern`; returns the output up to there.
    ///
    /// # Errors
    /// When that does not happen within `limit` or before the output ends.
    pub fn wait_for_output(&self, pattern: &str, limit: Duration) -> Result<String, Error> {
        let end = self.stdout.wait_for(pattern, 0, limit)?;
        Ok(self.stdout.between(0, end))
    }

    /// The place after `pattern` in standard output, looking from `from` on.
    pub(crate) fn output_after(
        &self,
        pattern: &str,
        from: usize,
        limit: Duration,
    ) -> Result<(usize, String), Error> {
        let end = self.stdout.wait_for(pattern, from, limit)?;
        Ok((end, self.stdout.between(from, end)))
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    /// When the input is no pipe (see [`Start::input_pipe`]), was closed, or nobody reads it.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match writer.as_mut() {
            Some(pipe) => pipe.write_all(bytes),
            None => Err(std::io::Error::from_raw_os_error(libc::EBADF)),
        };
        result
            .map_err(|e| Error::system(format!("write to process {} ({})", self.pid, self.name), e))
    }

    /// Closes its standard input.
    pub fn close_input(&self) {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Sends it a signal, such as `libc::SIGTERM`. Never reaches another process that has
    /// taken over the number.
    ///
    /// # Errors
    /// When it has ended already (`ESRCH`).
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let target = self.ticket;
        self.channel
            .ask(
                |ticket| Request::Signal {
                    ticket,
                    target,
                    signal,
                    group: false,
                },
                &[],
            )
            .map(drop)
    }

    /// Sends a signal to the process group that it leads (see [`Start::session`]).
    ///
    /// # Errors
    /// When it has ended already (`ESRCH`) or leads no group.
    pub fn signal_group(&self, signal: i32) -> Result<(), Error> {
        let target = self.ticket;
        self.channel
            .ask(
                |ticket| Request::Signal {
                    ticket,
                    target,
                    signal,
                    group: true,
                },
                &[],
            )
            .map(drop)
    }
}
