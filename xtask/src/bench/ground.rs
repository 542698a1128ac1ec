//! The ground that the bench plays on: a sandbox with workers in it, and what guards it at
//! the moment.

use std::fs::{self, File};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::{Place, Process, Sandbox, SandboxOptions, Start};

use super::bpf;
use super::empty::EmptyPrograms;
use super::task::{Link, Task};
use super::{peer, worker};

/// How long anything may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Until what was detached is really gone: the kernel frees it after a grace period.
pub const SETTLE: Duration = Duration::from_millis(40);

/// What guards the sandbox. Several are compared in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing.
    Off,
    /// Nothing, once more: what differs from the first time is noise.
    OffAgain,
    /// The gate, with its daemon, as it is when nothing is configured.
    Gate,
    /// The same with `packet_watch = "mail"`.
    GateWithoutSamples,
    /// The same with `packet_watch = "off"`.
    GateWithoutPackets,
    /// The gate with `call_watch = "off"`, as it is where Yama guards processes.
    GateWithoutCalls,
    /// The gate with `call_watch = "on"`, which watches a system call too.
    GateWithEveryCall,
    /// Empty programs on the hooks that the gate has in a cgroup.
    EmptyPrograms,
    /// Empty programs on packets in and out.
    EmptyPair,
    /// The peer: nftables with `meta skuid`.
    Nftables,
}

/// The sandbox and all in it. Gone when this is dropped, and when the bench is killed.
pub struct Ground {
    // Dropped in this order: the daemon first, the sandbox last.
    daemon: Option<Daemon>,
    empty: Option<EmptyPrograms>,
    /// Whether the gate has a hook of cgroup_skb/ingress here.
    has_ingress: bool,
    /// Its tracepoints with types, by their numbers.
    tracepoints: Vec<u32>,
    nftables: bool,
    /// The registered mailer, started by the stand-in for a desktop.
    pub mailer: Link,
    /// A program that nobody registered.
    pub stranger: Link,
    /// A registered launcher.
    pub launcher: Link,
    _desktop: (Link, Process),
    sekimori: PathBuf,
    sandbox: Sandbox,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    /// When its start was asked for.
    pub started_ns: u64,
    /// When it said that it is ready.
    pub ready_ns: u64,
}

impl Ground {
    /// Sets it up, with nothing guarding.
    pub fn prepare(sekimori: &Path) -> Result<Self> {
        let own = std::env::current_exe()?;
        let init = [own.as_os_str(), "bench-part".as_ref(), "init".as_ref()];
        let sandbox = Sandbox::new(&SandboxOptions::new(init)).context("the sandbox")?;
        let program = |name: &str| sandbox.program(&own, name);
        let (desktop, mailer, stranger) = (
            program("desktop")?,
            program("mailer")?,
            program("stranger")?,
        );
        let launcher = program("launcher")?;
        let state = sandbox.folder().join("state");
        fs::create_dir(&state)?;
        for (path, role) in [
            (&own, "system"),
            (&desktop, "session"),
            (&mailer, "mailer"),
            (&launcher, "launcher"),
        ] {
            register(sekimori, &state, path, role)?;
        }

        let place = sandbox.folder().join("workers.sock");
        let listener = UnixListener::bind(&place)?;
        let words = ["bench-part", "worker", &place.display().to_string()].map(str::to_owned);
        let process = sandbox.start(&Start::new(&desktop).args(&words))?;
        let mut desktop = accept(&listener)?;
        let mut launch = |program: PathBuf| {
            let arguments = words.to_vec();
            desktop.ask(&Task::Launch { program, arguments })?;
            accept(&listener)
        };
        let (mailer, stranger, launcher) = (launch(mailer)?, launch(stranger)?, launch(launcher)?);
        Ok(Self {
            daemon: None,
            empty: None,
            has_ingress: false,
            tracepoints: Vec::new(),
            nftables: false,
            mailer,
            stranger,
            launcher,
            _desktop: (desktop, process),
            sekimori: sekimori.to_owned(),
            sandbox,
        })
    }

    /// Enters the state of the gate for the first time, and looks which hooks it has here.
    ///
    /// # Errors
    ///
    /// When this machine cannot have a gate.
    pub fn enter_the_gate(&mut self) -> Result<()> {
        let others = bpf::tracepoints()?;
        self.enter(State::Gate)?;
        self.tracepoints = bpf::tracepoints()?;
        self.tracepoints.retain(|found| !others.contains(found));
        let pins = self.state().join("bpf");
        let links = self.sandbox.run_inside(|| links(&pins))??;
        self.has_ingress = links.iter().any(|link| link.ends_with("ingress"));
        Ok(())
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The daemon, when the gate is up.
    pub fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// Makes this the state, whatever it was before.
    pub fn enter(&mut self, state: State) -> Result<()> {
        self.leave()?;
        match state {
            State::Off | State::OffAgain => {}
            State::Gate => self.start_daemon("")?,
            State::GateWithoutSamples => self.start_daemon("packet_watch = \"mail\"")?,
            State::GateWithoutPackets => self.start_daemon("packet_watch = \"off\"")?,
            State::GateWithoutCalls => self.start_daemon("call_watch = \"off\"")?,
            State::GateWithEveryCall => self.start_daemon("call_watch = \"on\"")?,
            State::EmptyPrograms => {
                self.empty = Some(EmptyPrograms::as_the_gate(
                    &self.sandbox.cgroup(),
                    self.has_ingress,
                    &self.tracepoints,
                )?);
            }
            State::EmptyPair => {
                self.empty = Some(EmptyPrograms::packet_pair(&self.sandbox.cgroup())?);
            }
            State::Nftables => {
                // All of it or nothing.
                peer::load(&self.sandbox)?;
                self.nftables = true;
            }
        }
        sleep(SETTLE);
        Ok(())
    }

    /// Takes away whatever guards.
    pub fn leave(&mut self) -> Result<()> {
        self.empty = None;
        if std::mem::take(&mut self.nftables) {
            peer::unload(&self.sandbox)?;
        }
        self.stop_daemon()?;
        let pins = self.state().join("bpf");
        self.sandbox
            .run_inside(|| remove_pins(&pins))?
            .with_context(|| pins.display().to_string())
    }

    /// The daemon's state folder.
    pub fn state(&self) -> PathBuf {
        self.sandbox.folder().join("state")
    }

    /// Registers a program.
    pub fn register(&self, program: &Path, role: &str) -> Result<()> {
        register(&self.sekimori, &self.state(), program, role)
    }

    /// Starts the daemon with a setting and waits until it is ready. Adopts the gate when it is
    /// there.
    pub fn start_daemon(&mut self, setting: &str) -> Result<()> {
        let folder = self.sandbox.folder();
        let config = folder.join("config.toml");
        fs::write(
            &config,
            format!("{setting}\nrate_per_minute = 0\nnotify = false\n"),
        )?;
        let notify = folder.join("notify.sock");
        let _ = fs::remove_file(&notify);
        let readiness = UnixDatagram::bind(&notify)?;
        readiness.set_read_timeout(Some(Duration::from_millis(200)))?;
        let log = folder.join("daemon.log");
        let mut command = self
            .sandbox
            .command(&self.sekimori, Place::Crew, None)
            .context("the daemon")?;
        command
            .arg("--state-dir")
            .arg(self.state())
            .arg("run")
            .arg("--config")
            .arg(&config)
            .arg("--cgroup")
            .arg(self.sandbox.cgroup())
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let started_ns = worker::now_ns();
        let mut child = command.spawn().context("the daemon")?;
        let mut word = [0; 64];
        let deadline_ns = started_ns + START_LIMIT.as_nanos() as u64;
        while readiness.recv(&mut word).is_err() {
            let ended = child.try_wait()?;
            if ended.is_some() || worker::now_ns() > deadline_ns {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("the daemon: {}", said.lines().last().unwrap_or("no word"));
            }
        }
        self.daemon = Some(Daemon {
            child,
            started_ns,
            ready_ns: worker::now_ns(),
        });
        Ok(())
    }

    /// Stops the daemon; the gate stays. What was reported is in the journal then.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&daemon.child), Signal::TERM)?;
        daemon.child.wait()?;
        Ok(())
    }

    /// A counter of the gate, as `status --json` shows it.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let mut command = self
            .sandbox
            .command(&self.sekimori, Place::Crew, None)
            .context("status")?;
        command.arg("--state-dir").arg(self.state());
        let said = crate::process::output(command.args(["status", "--json"]))?;
        let status: Value = serde_json::from_str(said.trim()).context("status --json")?;
        status["counters"][name]
            .as_u64()
            .with_context(|| format!("status --json has no counter {name}"))
    }

    /// The verdicts in the journal.
    pub fn verdicts(&self) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.sekimori);
        command.arg("--state-dir").arg(self.state());
        let said = crate::process::output(command.args(["log", "--json"]))?;
        let entries = said.lines().map(serde_json::from_str::<Value>);
        let entries: Vec<Value> = entries
            .collect::<Result<_, _>>()
            .context("the journal's entries")?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry["type"] == "verdict")
            .collect())
    }
}

impl Daemon {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn register(sekimori: &Path, state: &Path, program: &Path, role: &str) -> Result<()> {
    let mut command = Command::new(sekimori);
    command.arg("--state-dir").arg(state);
    command.arg("register").arg(program);
    command.args(["--as", role, "--kind", "interactive"]);
    crate::process::output(&mut command).map(drop)
}

/// The links of the gate that is pinned here.
pub fn links(pins: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(pins)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("links-") {
            for link in fs::read_dir(entry.path())? {
                links.push(link?.path());
            }
        }
    }
    links.sort();
    Ok(links)
}

/// Removes the folders of pins; a bpffs may hold files of the kernel's own beside them. Links
/// before maps, as their names happen to be sorted: the gate must not lose its maps first.
fn remove_pins(folder: &Path) -> std::io::Result<()> {
    let mut pinned = Vec::new();
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pinned.push(entry.path());
        }
    }
    pinned.sort();
    pinned.iter().try_for_each(fs::remove_dir_all)
}

fn accept(listener: &UnixListener) -> Result<Link> {
    let limit = Timespec {
        tv_sec: START_LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit))? == 0 {
        bail!("a worker did not start");
    }
    Ok(Link::new(listener.accept()?.0))
}
