//! A stage with a guard: sandbox, registered programs, daemon, and what its journal says.

mod daemon;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use stage::{Desktop, Place, Process, Sandbox, SandboxOptions, Start, program_beside};

pub use daemon::OLDER_HOOKS;

use crate::remains::Remains;
use crate::terminal::Terminal;
use crate::tools::wait_until;
use crate::{LIMIT, PERSON};

/// What the topmost process counts as. It is registered as `system` in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// It logs people in: a shell on a terminal that it starts is the user's.
    Login,
    /// A service manager: nothing that it starts is a person's.
    Services,
}

/// How a theatre is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the topmost process is.
    pub top: Top,
    /// Lines of the configuration beside the usual ones.
    pub config: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            top: Top::Login,
            config: String::new(),
        }
    }
}

/// How a command of `sekimori` ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit status; -1 after a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard errors.
    pub stderr: String,
}

/// A sandbox and its guard. Closing it checks that nothing is left.
#[derive(Debug)]
pub struct Theatre {
    sandbox: Option<Sandbox>,
    state: PathBuf,
    binary: PathBuf,
    player: PathBuf,
    init: PathBuf,
    daemon: Mutex<Option<Child>>,
    remains: Mutex<Remains>,
}

impl Theatre {
    /// A stage whose topmost process logs people in. `None`, with the reason printed, where
    /// such tests cannot run.
    pub fn open() -> Option<Self> {
        Self::open_with(&Options::default())
    }

    /// A stage of another kind.
    ///
    /// # Panics
    /// When the programs are not built, or the sandbox cannot be made although it should.
    pub fn open_with(options: &Options) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let built = |name: &str| {
            program_beside(name).unwrap_or_else(|error| {
                panic!("{error}; build first: cargo build -p sekimori -p sekimori-stage")
            })
        };
        let (init, player, binary) = (
            built("stage-init"),
            built("stage-player"),
            built("sekimori"),
        );
        let more = ["198.51.100.25", "198.51.100.26", "2001:db8::25"]
            .map(|ip| ip.parse().expect("an address"));
        let sandbox = match Sandbox::new(&SandboxOptions::new([&init]).addresses(more)) {
            Ok(sandbox) => sandbox,
            Err(error @ stage::Error::NoCgroup) => {
                println!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let group = sandbox
            .cgroup()
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        let remains = Remains::of(sandbox.folder().to_owned(), group, sandbox.init_pid());
        let theatre = Self {
            state: sandbox.folder().join("state"),
            sandbox: Some(sandbox),
            binary,
            player,
            init,
            daemon: Mutex::new(None),
            remains: Mutex::new(remains),
        };
        fs::create_dir(&theatre.state).expect("the state folder");
        // Warnings must not reach the desktop of whoever runs the tests, nor the machine's log.
        let syslog = if options.config.contains("syslog") {
            ""
        } else {
            "syslog = false\n"
        };
        theatre.write(
            "config.toml",
            &format!("notify = false\n{syslog}{}\n", options.config),
        );
        let home = theatre.home();
        fs::create_dir(&home).expect("a home");
        theatre.write("home/.bashrc", &format!("PS1='{}'\n", Terminal::PROMPT));
        chown(&home, Some(PERSON.0), Some(PERSON.1)).expect("a home of one's own");
        let kind = if options.top == Top::Login {
            "interactive"
        } else {
            "service"
        };
        theatre.register_as(&theatre.init, "system", Some(kind));
        Some(theatre)
    }

    /// The sandbox.
    ///
    /// # Panics
    /// Never before the theatre is closed.
    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().expect("an open theatre")
    }

    /// Where journal, control socket and pins lie.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A folder of the person's own.
    pub fn home(&self) -> PathBuf {
        self.sandbox().folder().join("home")
    }

    /// The built binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The program of the topmost process.
    pub fn built_init(&self) -> &Path {
        &self.init
    }

    /// The built stand-in program.
    pub fn built_player(&self) -> &Path {
        &self.player
    }

    /// Writes a file into the sandbox's folder, readable for everybody.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.sandbox().folder().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Runs any program inside the sandbox as root, outside of the guarded group, and expects
    /// it to succeed. Executables are put in their places this way: if this process wrote
    /// them, a fork in another thread could hold them open, and they could not be executed.
    ///
    /// # Panics
    /// When it fails.
    pub fn crew(&self, program: &str, words: &[&str]) -> String {
        let mut command = self
            .sandbox()
            .command(program, Place::Crew, None)
            .expect("the crew's group");
        let output = command
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect(program);
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A copy of the stand-in program under a name of its own: another program to the gate.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn player(&self, name: &str) -> PathBuf {
        self.sandbox()
            .program(&self.player, name)
            .expect("a copy of the stand-in program")
    }

    /// The same, registered.
    ///
    /// # Panics
    /// When it cannot be copied or registered.
    pub fn registered(&self, name: &str, role: &str, kind: Option<&str>) -> PathBuf {
        let path = self.player(name);
        self.register_as(&path, role, kind);
        path
    }

    /// Registers a program.
    ///
    /// # Panics
    /// When it is not taken.
    pub fn register_as(&self, path: &Path, role: &str, kind: Option<&str>) {
        let path = path.to_str().expect("a path that is text");
        let mut words = vec!["register", path, "--as", role];
        words.extend(kind.into_iter().flat_map(|kind| ["--kind", kind]));
        let ran = self.sekimori(&words);
        assert_eq!(ran.status, 0, "{words:?}: {ran:?}");
    }

    /// A command of `sekimori` inside the sandbox, outside of the guarded group.
    ///
    /// # Panics
    /// When the sandbox's crew group cannot be opened.
    pub fn command(&self, words: &[&str], user: Option<(u32, u32)>) -> Command {
        self.command_by(&[], words, user)
    }

    fn command_by(&self, starter: &[&str], words: &[&str], user: Option<(u32, u32)>) -> Command {
        let mut line: Vec<&OsStr> = starter.iter().map(OsStr::new).collect();
        line.push(self.binary.as_os_str());
        let mut command = self
            .sandbox()
            .command(line[0], Place::Crew, user)
            .expect("the crew's group");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(&line[1..])
            .stdin(Stdio::null());
        command.arg("--state-dir").arg(&self.state).args(words);
        command
    }

    /// Runs a command of `sekimori` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sekimori(&self, words: &[&str]) -> Ran {
        self.sekimori_as(words, None)
    }

    /// The same as another user.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sekimori_as(&self, words: &[&str], user: Option<(u32, u32)>) -> Ran {
        let output = self.command(words, user).output().expect("sekimori");
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `status --json`; null when there is none.
    pub fn status(&self) -> Value {
        let ran = self.sekimori(&["status", "--json"]);
        serde_json::from_str(ran.stdout.trim()).unwrap_or_default()
    }

    /// One of the kernel's counters.
    ///
    /// # Panics
    /// When there is no such counter.
    pub fn counter(&self, name: &str) -> u64 {
        let status = self.status();
        status["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("counter {name}: {status}"))
    }

    /// `log --json`, an object for each entry.
    ///
    /// # Panics
    /// When it fails or a line is no JSON.
    pub fn log(&self) -> Vec<Value> {
        let ran = self.sekimori(&["log", "--json"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        ran.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }

    /// The id of the newest entry.
    pub fn newest(&self) -> u64 {
        self.log()
            .last()
            .and_then(|entry| entry["id"].as_u64())
            .unwrap_or(0)
    }

    /// Waits until the journal has an entry that is wanted, and returns the first.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_after(0, what, wanted)
    }

    /// The same among entries with a greater id than `after`.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn wait_after(&self, after: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let newer = |entry: &Value| entry["id"].as_u64().is_some_and(|id| id > after);
        let found = wait_until(LIMIT, || {
            self.log()
                .into_iter()
                .find(|entry| newer(entry) && wanted(entry))
        });
        found.unwrap_or_else(|| {
            let lines: Vec<String> = self
                .log()
                .iter()
                .filter(|entry| newer(entry))
                .map(Value::to_string)
                .collect();
            panic!(
                "the journal has no {what} after {after}:\n{}\n{}",
                lines.join("\n"),
                self.daemon_words()
            )
        })
    }

    /// A desktop shell of the person's: the stand-in program, registered as `session`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn desktop(&self) -> Desktop {
        let program = self.registered("desktop", "session", None);
        self.start_desktop(&program)
    }

    /// Starts a registered desktop shell.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_desktop(&self, program: &Path) -> Desktop {
        let start = self.person(Start::new(program).arg("desktop"));
        Desktop::start(self.sandbox(), start).expect("a desktop shell")
    }

    /// Makes what is started the person's: user and home.
    pub fn person(&self, start: Start) -> Start {
        start
            .user(PERSON.0, PERSON.1)
            .env("HOME", self.home())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// Starts something as the person, as a child of the topmost process.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self, start: Start) -> Process {
        self.sandbox().start(&self.person(start)).expect("start")
    }

    /// The person at `/bin/bash` on a terminal. The shell has to be registered for what is
    /// typed to be the user's.
    pub fn terminal(&self) -> Terminal {
        Terminal::start(
            self.sandbox(),
            &self.person(Start::new("/bin/bash")).directory(self.home()),
        )
    }
}

impl Drop for Theatre {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the daemon said:\n{}---", self.daemon_words());
        }
        self.end_with_the_theatre(failed);
        drop(self.sandbox.take());
        let left = self
            .remains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .left();
        if failed {
            left.iter()
                .for_each(|what| eprintln!("left behind: {what}"));
        } else {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// The text of a field, or nothing.
pub fn word<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

/// How many verdicts an entry stands for.
pub fn times(entry: &Value) -> u64 {
    entry["count"].as_u64().unwrap_or(1)
}
