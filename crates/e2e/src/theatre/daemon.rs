//! The theatre's daemon: it is started, signalled and ended.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use aya::programs::loaded_programs;
use rustix::process::{Pid, Signal, kill_process};

use super::Theatre;
use crate::LIMIT;
use crate::remains::Remains;
use crate::tools::wait_until;

/// The variable that `cargo xtask test` sets for what is played once more with the hooks of older kernels.
pub const OLDER_HOOKS: &str = "SEKIMORI_TEST_OLDER_HOOKS";

impl Theatre {
    /// Starts the daemon and waits until it guards. `false`, with the reason printed, when
    /// this machine cannot have a gate.
    #[must_use]
    pub fn raise(&self) -> bool {
        self.raise_with(&[])
    }

    /// The same with more arguments to `run`.
    ///
    /// # Panics
    /// When the daemon ends for another reason than this machine's limits. That its verifier refuses the
    /// gate is none.
    #[must_use]
    pub fn raise_with(&self, arguments: &[&str]) -> bool {
        self.raise_by(&[], arguments)
    }

    /// The same by another program, which gets what to start as its last arguments.
    ///
    /// # Panics
    /// When the daemon ends for another reason than this machine's limits. That its verifier refuses the
    /// gate is none.
    #[must_use]
    pub fn raise_by(&self, starter: &[&str], arguments: &[&str]) -> bool {
        let errors = fs::File::options()
            .create(true)
            .append(true)
            .open(self.daemon_log())
            .expect("the daemon's log");
        let (config, group) = (
            self.sandbox().folder().join("config.toml"),
            self.sandbox().cgroup(),
        );
        let (config, group) = (config.to_string_lossy(), group.to_string_lossy());
        let mut words = vec!["run", "--config", &config, "--cgroup", &group];
        if std::env::var_os(OLDER_HOOKS).is_some() {
            words.push("--older-hooks");
        }
        words.extend(arguments);
        let mut command = self.command_by(starter, &words, None);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("sekimori");
        let ready = wait_until(LIMIT, || {
            if let Some(status) = child.try_wait().expect("wait for the daemon") {
                return Some(Err(status));
            }
            (self.status()["daemon"]["running"] == true).then_some(Ok(()))
        });
        match ready {
            Some(Ok(())) => {}
            // A kernel that lets others load programs, and not ours, is what the tests are for.
            Some(Err(status)) if status.code() == Some(3) && !self.is_rejected() => {
                println!("skipped: {}", self.daemon_words().trim_end());
                return false;
            }
            other => panic!(
                "the daemon is not ready: {other:?}: {}",
                self.daemon_words()
            ),
        }
        *self.lock_daemon() = Some(child);
        let maps = self
            .state
            .join("bpf")
            .join(format!("maps-{}", self.layout()));
        let maps = self
            .sandbox()
            .run_inside(|| Remains::pinned_maps(&maps))
            .expect("the sandbox's namespaces");
        assert!(!maps.is_empty(), "no pinned maps were found");
        self.remains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .maps
            .extend(maps);
        true
    }

    /// Whether the kernel's verifier has refused the gate.
    fn is_rejected(&self) -> bool {
        self.daemon_words()
            .contains("this kernel does not accept the program")
    }

    /// The gate's programs in the kernel, by the name that the kernel keeps, each with the count of
    /// instructions that its verifier followed.
    ///
    /// # Panics
    /// When the kernel does not tell: it counts since 5.16.
    pub fn verified(&self) -> Vec<(String, u32)> {
        let maps = &self
            .remains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .maps;
        // Programs of others may go while we look.
        let programs = loaded_programs().filter_map(Result::ok);
        let own = programs.filter(|program| {
            let used = program.map_ids().ok().flatten().unwrap_or_default();
            used.iter().any(|map| maps.contains(map))
        });
        own.map(|program| {
            let name = String::from_utf8_lossy(program.name()).into_owned();
            let count = program.verified_instruction_count();
            (name, count.expect("the verifier's count"))
        })
        .collect()
    }

    /// The number in the name of the folder of pinned maps.
    fn layout(&self) -> String {
        let pins = self.pins();
        let name = pins.iter().find_map(|path| path.strip_prefix("maps-"));
        name.and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
            .to_owned()
    }

    /// Everything that is pinned, as paths below the folder of pins.
    ///
    /// # Panics
    /// When the sandbox is gone.
    pub fn pins(&self) -> Vec<String> {
        let base = self.state.join("bpf");
        let list = || {
            let mut found = Vec::new();
            for folder in fs::read_dir(&base).into_iter().flatten().flatten() {
                let outer = folder.file_name().to_string_lossy().into_owned();
                found.push(outer.clone());
                let inner = fs::read_dir(folder.path()).into_iter().flatten().flatten();
                found.extend(
                    inner.map(|pin| format!("{outer}/{}", pin.file_name().to_string_lossy())),
                );
            }
            found
        };
        self.sandbox()
            .run_inside(list)
            .expect("the sandbox's namespaces")
    }

    fn lock_daemon(&self) -> MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The daemon's process id: that of its keeper.
    ///
    /// # Panics
    /// When none runs.
    pub fn daemon_pid(&self) -> u32 {
        self.lock_daemon().as_ref().expect("a daemon").id()
    }

    /// The process id of the daemon's watcher; none while there is none.
    ///
    /// # Panics
    /// When no daemon runs.
    pub fn watcher_pid(&self) -> Option<u32> {
        let keeper = self.daemon_pid();
        children(keeper).into_iter().find(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"watch")
        })
    }

    /// The same, which may just be beginning.
    ///
    /// # Panics
    /// When no daemon runs, or no watcher begins.
    pub fn watcher(&self) -> u32 {
        wait_until(LIMIT, || self.watcher_pid()).expect("a watcher")
    }

    /// The watcher that runs when this one is gone.
    ///
    /// # Panics
    /// When no daemon runs, or no other watcher begins.
    pub fn next_watcher(&self, gone: u32) -> u32 {
        let next = || self.watcher_pid().filter(|pid| *pid != gone);
        wait_until(LIMIT, next).unwrap_or_else(|| panic!("{}", self.daemon_words()))
    }

    /// Both of the daemon's processes.
    ///
    /// # Panics
    /// When no daemon runs.
    pub fn daemon_pids(&self) -> Vec<u32> {
        let mut pids = vec![self.daemon_pid()];
        pids.extend(self.watcher_pid());
        pids
    }

    /// Sends the daemon a signal: both of its processes when it is to stop or to go on, else
    /// the one that whoever started it knows.
    ///
    /// # Panics
    /// When none runs.
    pub fn signal_daemon(&self, signal: Signal) {
        let both = [Signal::STOP, Signal::CONT].contains(&signal);
        let pids = if both {
            self.daemon_pids()
        } else {
            vec![self.daemon_pid()]
        };
        pids.into_iter()
            .for_each(|pid| Self::signal_process(pid, signal));
    }

    /// Sends one process a signal.
    ///
    /// # Panics
    /// When there is none.
    pub fn signal_process(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("signal the process");
    }

    /// Ends the daemon with a signal and waits for it. Returns its exit status; -1 when the
    /// signal ended it.
    ///
    /// # Panics
    /// When none runs, or it does not end.
    pub fn end_daemon(&self, signal: Signal) -> i32 {
        self.signal_daemon(signal);
        let mut child = self.lock_daemon().take().expect("a daemon");
        let status = wait_until(LIMIT, || child.try_wait().expect("wait for the daemon"));
        let status = status.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the daemon did not end: {}", self.daemon_words())
        });
        status
            .code()
            .unwrap_or_else(|| -status.signal().map_or(1, |_| 1))
    }

    fn daemon_log(&self) -> PathBuf {
        self.sandbox().folder().join("daemon.log")
    }

    /// What the daemon has written to standard errors so far.
    pub fn daemon_words(&self) -> String {
        fs::read_to_string(self.daemon_log()).unwrap_or_default()
    }

    /// Ends the daemon if one runs, whatever state it is in.
    ///
    /// # Panics
    /// When it does not end, and the test has not failed before.
    pub(super) fn end_with_the_theatre(&self, failed: bool) {
        let Some(mut child) = self.lock_daemon().take() else {
            return;
        };
        // A stopped daemon hears nothing.
        let tell = |pid: u32, signal| {
            Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, signal))
        };
        for watcher in children(child.id()) {
            tell(watcher, Signal::CONT);
        }
        for signal in [Signal::CONT, Signal::TERM] {
            tell(child.id(), signal);
        }
        if wait_until(Duration::from_secs(10), || child.try_wait().ok().flatten()).is_none() {
            let _ = child.kill();
            let _ = child.wait();
            assert!(failed, "the daemon did not end when told to");
        }
    }
}

/// The processes that a process has started itself.
fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
