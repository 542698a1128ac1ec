//! A sandbox: namespaces, a cgroup, a folder and a bpffs of its own, and an init in them.
//!
//! The owner itself never changes namespace. All of it goes when the owner goes, however it
//! goes: a guard process waits for that. See [`crate::guard`].

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{ffi::OsStr, ffi::OsString};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::cgroup::cgroup2_root;
use crate::channel::Channel;
use crate::process::{Process, Start};
use crate::pty::{Pty, Terminal};
use crate::sys::Namespaces;
use crate::wire::{Reply, Request, SetUp};
use crate::{Error, cgroup, guard, sys};

/// How long the guard may take to end and remove everything.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(15);

/// How long the guard may take to start.
const GUARD_LIMIT: Duration = Duration::from_secs(10);

/// How a sandbox is to be.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The program that serves as init and guard, with leading arguments: the path of
    /// `stage-init`, or of a program that passes the arguments after these on to
    /// [`crate::init_main`].
    pub init: Vec<OsString>,
    /// Addresses of the loopback interface beside 127.0.0.1 and ::1.
    pub addresses: Vec<IpAddr>,
    /// Whether to mount a tracefs too.
    pub tracefs: bool,
}

impl SandboxOptions {
    /// A sandbox without further addresses and without tracefs.
    pub fn new<A: AsRef<OsStr>>(init: impl IntoIterator<Item = A>) -> Self {
        let init = init
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        Self {
            init,
            addresses: Vec::new(),
            tracefs: false,
        }
    }

    /// Adds addresses to the loopback interface.
    #[must_use]
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses.extend(addresses);
        self
    }

    /// Mounts a tracefs too.
    #[must_use]
    pub fn tracefs(mut self) -> Self {
        self.tracefs = true;
        self
    }
}

/// Which of a sandbox's two cgroups a process joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the actors: the group that the gate is attached to, the init's own.
    Actors,
    /// Among the crew: a group beside it, for the daemon and for servers.
    Crew,
}

/// Real namespaces, a real cgroup and real processes, gone when this is dropped and also
/// when the owner is killed.
#[derive(Debug)]
pub struct Sandbox {
    channel: Arc<Channel>,
    namespaces: Arc<Namespaces>,
    group: PathBuf,
    folder: PathBuf,
    tracefs: bool,
    init: Child,
    guard: Child,
}

impl Sandbox {
    /// Makes a sandbox. Needs root.
    ///
    /// # Errors
    /// When there is no cgroup2 hierarchy, a program cannot be started, or the kernel
    /// refuses a namespace or mount. Nothing is left behind.
    pub fn new(options: &SandboxOptions) -> Result<Self, Error> {
        let name = unpredictable_name()?;
        let group = cgroup2_root()?.join(format!("{}{name}", cgroup::PREFIX));
        let folder = std::env::temp_dir().join(format!("{}{name}", guard::FOLDER_PREFIX));

        // The guard comes first, so that no moment is unguarded.
        let mut guard = own_process(options)
            .arg("guard")
            .args([&group, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::system(format!("start {:?} as guard", options.init), e))?;
        match guard_is_ready(&mut guard).and_then(|()| Self::inside(options, &group, &folder)) {
            Ok((channel, init, namespaces)) => Ok(Self {
                channel,
                namespaces,
                group,
                folder,
                tracefs: options.tracefs,
                init,
                guard,
            }),
            Err(error) => {
                dismiss(&mut guard, &group, &folder);
                Err(error)
            }
        }
    }

    fn inside(
        options: &SandboxOptions,
        group: &Path,
        folder: &Path,
    ) -> Result<(Arc<Channel>, Child, Arc<Namespaces>), Error> {
        fs::DirBuilder::new()
            .mode(0o755)
            .create(folder)
            .map_err(|e| Error::at("make folder", folder, e))?;
        fs::create_dir(folder.join("bin")).map_err(|e| Error::at("make folder in", folder, e))?;
        for path in [group, &group.join("actors"), &group.join("crew")] {
            fs::create_dir(path).map_err(|e| Error::at("make cgroup", path, e))?;
        }
        let (channel, theirs) = Channel::new()?;
        let mut init = own_process(options)
            .arg("init")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|e| Error::system(format!("start {:?} as init", options.init), e))?;
        let wishes = SetUp {
            cgroup_procs: group.join("actors/cgroup.procs"),
            addresses: options.addresses.clone(),
            bpffs: folder.join("bpf"),
            tracefs: options.tracefs.then(|| folder.join("tracing")),
        };
        let ready = channel.set_up(&Request::SetUp(wishes)).and_then(|()| {
            let pid = init.id();
            Namespaces::of(pid)
                .map_err(|e| Error::system(format!("open the namespaces of process {pid}"), e))
        });
        match ready {
            Ok(namespaces) => Ok((Arc::new(channel), init, Arc::new(namespaces))),
            Err(error) => {
                channel.close();
                let _ = init.kill();
                let _ = init.wait();
                Err(error)
            }
        }
    }

    /// The group that the gate is to be attached to: the init and all that it starts.
    pub fn cgroup(&self) -> PathBuf {
        self.group.join("actors")
    }

    /// The group beside it, for programs that help but are not judged.
    pub fn crew_cgroup(&self) -> PathBuf {
        self.group.join("crew")
    }

    /// The folder of the sandbox, readable for everybody.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the sandbox's bpffs is mounted, seen from inside its mount namespace.
    pub fn bpffs(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// Where its tracefs is mounted, if it was asked for.
    pub fn tracefs(&self) -> Option<PathBuf> {
        self.tracefs.then(|| self.folder.join("tracing"))
    }

    /// The process id of the init, from which every lineage on this stage begins.
    pub fn init_pid(&self) -> u32 {
        self.init.id()
    }

    /// Copies an executable into the sandbox as `name`, which makes it a program of its own.
    /// Returns its path.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn program(&self, from: &Path, name: &str) -> Result<PathBuf, Error> {
        let to = self.folder.join("bin").join(name);
        let from = from.to_owned();
        self.channel.ask(
            |ticket| Request::Copy {
                ticket,
                from,
                to: to.clone(),
            },
            &[],
        )?;
        Ok(to)
    }

    /// Starts a process as a child of the init.
    ///
    /// # Errors
    /// When the program cannot be executed, or a stream or the cgroup cannot be opened.
    pub fn start(&self, start: &Start) -> Result<Process, Error> {
        let (descriptors, streams) = start.open_streams()?;
        self.start_with(
            start,
            [&descriptors[0], &descriptors[1], &descriptors[2]],
            streams,
        )
    }

    /// Starts a process as a child of the init, leading a session on a pseudo-terminal.
    ///
    /// # Errors
    /// When the program cannot be executed or no terminal can be opened.
    pub fn start_on_pty(&self, start: &Start) -> Result<Pty, Error> {
        let terminal = Terminal::open(start.order.user)?;
        let mut start = start.clone().session();
        start.order.terminal = true;
        if !start
            .order
            .environment
            .iter()
            .any(|(name, _)| name == "TERM")
        {
            start = start.env("TERM", "dumb");
        }
        let user_end = &terminal.user_end;
        let process =
            self.start_with(&start, [user_end, user_end, user_end], terminal.streams())?;
        Ok(Pty::new(process, terminal.master, terminal.screen))
    }

    fn start_with(
        &self,
        start: &Start,
        descriptors: [&std::os::fd::OwnedFd; 3],
        streams: crate::process::Streams,
    ) -> Result<Process, Error> {
        let mut order = start.order.clone();
        if let Some(name) = &start.cgroup {
            let group = self.cgroup().join(name);
            fs::create_dir_all(&group).map_err(|e| Error::at("make cgroup", &group, e))?;
            order.cgroup_procs = Some(group.join("cgroup.procs"));
        }
        let name = order
            .argv
            .first()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let descriptors = descriptors.map(|descriptor| descriptor.as_fd());
        match self
            .channel
            .ask(|ticket| Request::Start { ticket, order }, &descriptors)?
        {
            (ticket, Reply::Started { pid, .. }) => Ok(Process::new(
                Arc::clone(&self.channel),
                ticket,
                pid,
                name,
                streams,
            )),
            (_, other) => Err(Error::Message(format!("{other:?} as an answer to start"))),
        }
    }

    /// A command that will run inside the sandbox's namespaces and in one of its cgroups,
    /// as a child of the caller and not of the init. The environment is the caller's.
    ///
    /// Don't set a user with [`std::os::unix::process::CommandExt::uid`], which would come
    /// too early; give it here.
    ///
    /// # Errors
    /// When the cgroup cannot be opened.
    pub fn command(
        &self,
        program: impl AsRef<OsStr>,
        place: Place,
        user: Option<(u32, u32)>,
    ) -> Result<Command, Error> {
        let group = match place {
            Place::Actors => self.cgroup(),
            Place::Crew => self.crew_cgroup(),
        };
        let mut command = Command::new(program);
        sys::enter_before_exec(
            &mut command,
            Arc::clone(&self.namespaces),
            &group.join("cgroup.procs"),
            user,
        )
        .map_err(|e| Error::at("open cgroup", &group, e))?;
        Ok(command)
    }

    /// Runs `work` in a thread inside the sandbox's mount and network namespaces and waits
    /// for it. Sockets that it opens stay in them. The caller's own cgroup does not change.
    ///
    /// # Errors
    /// When the namespaces cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| self.namespaces.enter_with_thread().map(|()| work()));
            match thread.join() {
                Ok(result) => {
                    result.map_err(|e| Error::system("enter the sandbox's namespaces", e))
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Listens on TCP addresses inside the sandbox. Port 0 takes any free port. IPv6
    /// sockets take IPv4-mapped connections too when they listen on `[::]`.
    ///
    /// # Errors
    /// When an address is in use or not the sandbox's.
    pub fn listen(&self, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
        let open = || -> Result<Vec<_>, Error> {
            let one = |address: &SocketAddr| {
                TcpListener::bind(address)
                    .map_err(|e| Error::system(format!("listen on {address}"), e))
            };
            addresses.iter().map(one).collect()
        };
        self.run_inside(open)?
    }

    /// Number of processes in the sandbox's cgroups, the init included.
    pub fn process_count(&self) -> usize {
        cgroup::processes_below(&self.group).len()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.channel.close();
        dismiss(&mut self.guard, &self.group, &self.folder);
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

/// Waits for the guard's word that it stands.
fn guard_is_ready(guard: &mut Child) -> Result<(), Error> {
    let Some(mut output) = guard.stdout.take() else {
        return Ok(());
    };
    let limit = Timespec {
        tv_sec: GUARD_LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut word = [0; guard::READY.len()];
    let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&limit))
        .is_ok_and(|count| count > 0)
        && output.read_exact(&mut word).is_ok()
        && word == *guard::READY;
    if ready {
        return Ok(());
    }
    Err(Error::Timeout {
        what: format!("guard process {} did not become ready", guard.id()),
        limit: GUARD_LIMIT,
    })
}

/// Tells the guard that the end has come and waits for its work; does the work itself when
/// the guard cannot.
fn dismiss(guard: &mut Child, group: &Path, folder: &Path) {
    drop(guard.stdin.take());
    let deadline = Instant::now() + CLEAN_UP_LIMIT;
    let finished = loop {
        match guard.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = guard.kill();
                let _ = guard.wait();
                break false;
            }
        }
    };
    let is_left = group.exists() || folder.exists();
    if (!finished || is_left)
        && let Err(error) = guard::clean_up(group, folder)
    {
        eprintln!("sandbox is not all gone: {error}");
    }
}

/// A command for one of the sandbox's own processes. Nothing of the caller's environment
/// goes with it, since the gate would judge the lineage by that.
fn own_process(options: &SandboxOptions) -> Command {
    let (program, leading) = options
        .init
        .split_first()
        .map_or((OsStr::new(""), &[][..]), |(p, l)| (p.as_os_str(), l));
    let mut command = Command::new(program);
    command
        .args(leading)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sys::session_before_exec(&mut command);
    command
}

fn unpredictable_name() -> Result<String, Error> {
    let mut bytes = [0u8; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|e| Error::system("get random bytes", e))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// The path of a program that was built beside the running one, such as `stage-player`:
/// in its folder, or in the one above it, where cargo puts programs for tests.
///
/// # Errors
/// When it is in neither place.
pub fn program_beside(name: &str) -> Result<PathBuf, Error> {
    let here = std::env::current_exe().map_err(|e| Error::system("find the running program", e))?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::at(
                "find",
                Path::new(name),
                io::Error::from(io::ErrorKind::NotFound),
            )
        })
}
