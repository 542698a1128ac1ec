//! The stage on the real kernel: a sandbox with its own network namespace and cgroup, a mail
//! server, an IRC server, the real gate and the real daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use policy::{Kind, Role};
use serde_json::Value;
use stage::{Desktop, IrcServer, Place, Sandbox, SandboxOptions, SmtpOptions, SmtpServer, Start};

use super::cast::END;
use super::{Deed, Outcome, Play, Scene};
use crate::clock;
use crate::control::client::ask;
use crate::control::protocol::Request;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::registry::Registry;

// Addresses for documentation (RFC 5737), which exist only inside the sandbox.
pub(super) const MAIL_SERVER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 25)), 25);
pub(super) const IRC_SERVER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66)), 6667);
pub(super) const CHANNEL: &str = "#sale";
pub(super) const NICK: &str = "DEU|0734512";
pub(super) const ORDER: &str = "!spam now";

/// How long anything on the stage may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whose file the bot is: nobody's.
const BOTS_USER: u32 = 65534;

/// The stage. Everything of it is gone when this is dropped, and when this process ends in
/// whatever way.
pub struct Stage {
    // Dropped in this order: the actors first, the sandbox last.
    desktop: Desktop,
    daemon: Running,
    mail: SmtpServer,
    irc: IrcServer,
    mailer: PathBuf,
    bot: PathBuf,
    paths: Paths,
    last_entry: u64,
    _sandbox: Sandbox,
}

/// The daemon's process, which ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    /// Sets the stage: servers, gate, daemon, and the user's desktop.
    ///
    /// # Errors
    ///
    /// Status 3 when the kernel refuses what is needed.
    pub fn set() -> Result<Self, Failure> {
        let own = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("own program: {error}")))?;
        let init = [own.as_os_str(), "stage-init".as_ref()];
        let options = SandboxOptions::new(init).addresses([MAIL_SERVER.ip(), IRC_SERVER.ip()]);
        let sandbox = Sandbox::new(&options).map_err(|error| cannot(&error))?;
        let mail = SmtpServer::start(sandbox.listen(&[MAIL_SERVER])?, SmtpOptions::default())?;
        let irc = IrcServer::start(sandbox.listen(&[IRC_SERVER])?)?;

        let [shell, mailer, bot] =
            ["desktop", "mailer", "bot"].map(|name| sandbox.program(&own, name));
        let (shell, mailer, bot) = (shell?, mailer?, bot?);
        // The demo is played by root, and what root alone can write would count as the machine's own.
        std::os::unix::fs::chown(&bot, Some(BOTS_USER), Some(BOTS_USER))
            .map_err(|error| Failure::failed(format!("{}: {error}", bot.display())))?;
        let state = sandbox.folder().join("state");
        let paths = Paths::new(Some(&state));
        register(&paths, &own, &shell, &mailer)?;

        let mut daemon = start_daemon(&sandbox, &own, &paths)?;
        daemon.wait_until_ready(&paths)?;
        let desktop = Desktop::start(&sandbox, Start::new(&shell).args(["demo-part", "desktop"]))?;
        Ok(Self {
            desktop,
            daemon,
            mail,
            irc,
            mailer,
            bot,
            paths,
            last_entry: 0,
            _sandbox: sandbox,
        })
    }

    fn act(&self, scene: &Scene) -> Result<(), Failure> {
        if scene.deed == Deed::UserSends {
            let send = ["demo-part", "mailer", scene.name];
            self.desktop.run(&self.mailer, send, LIMIT)?;
            return Ok(());
        }
        let mailer = self.mailer.display().to_string();
        let mut words = vec!["demo-part", "bot"];
        if scene.irc {
            words.push("--irc");
        }
        if scene.deed == Deed::DrivesMailer {
            words.extend(["--start-mailer", &mailer, scene.name]);
        }
        let bot = self.desktop.launch(&self.bot, &words)?;
        if scene.irc {
            self.irc.wait_for_join(CHANNEL, NICK, LIMIT)?;
            self.irc.say(CHANNEL, "master", ORDER);
            self.wait_for("verdict")?;
            self.irc.say(CHANNEL, "master", END);
        }
        self.desktop.wait(bot, LIMIT)?;
        Ok(())
    }

    /// The first entry of this kind since the last scene.
    fn wait_for(&self, kind: &str) -> Result<Option<Value>, Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            let found = self.entry(kind)?;
            if found.is_some() || Instant::now() > until {
                return Ok(found);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn entry(&self, kind: &str) -> Result<Option<Value>, Failure> {
        let mut found = None;
        self.entries(|entry| {
            if found.is_none() && entry["type"] == kind {
                found = Some(entry);
            }
        })?;
        Ok(found)
    }

    /// Those since the last scene.
    fn entries(&self, each: impl FnMut(Value)) -> Result<(), Failure> {
        let request = Request::Entries {
            since: None,
            after: Some(self.last_entry),
        };
        ask(&self.paths.socket, &request, each).map(drop)
    }
}

impl Play for Stage {
    const SIMULATED: bool = false;

    fn play(&mut self, scene: &Scene) -> Result<Outcome, Failure> {
        if let Ok(Some(status)) = self.daemon.0.try_wait() {
            return Err(Failure::failed(format!("the daemon ended early: {status}")));
        }
        let messages = self.mail.messages().len() as u64;
        let payload = self.mail.payload_bytes();
        self.act(scene)?;
        let verdict = self.wait_for("verdict")?;
        // A finding is written together with its verdict.
        let finding = self.entry("finding")?;
        let mut last = self.last_entry;
        self.entries(|entry| last = entry["id"].as_u64().unwrap_or(last))?;
        self.last_entry = last;
        Ok(Outcome {
            verdict,
            finding,
            bot: self.bot.display().to_string(),
            messages_delivered: self.mail.messages().len() as u64 - messages,
            payload_bytes: self.mail.payload_bytes() - payload,
        })
    }
}

/// The sandbox's init logs people in, the desktop is theirs, the mailer is registered. The
/// bot is not.
fn register(paths: &Paths, init: &Path, desktop: &Path, mailer: &Path) -> Result<(), Failure> {
    let (mut registry, _) = Registry::open(paths)?;
    let programs = [
        (init, Role::System),
        (desktop, Role::Session),
        (mailer, Role::Mailer),
    ];
    for (path, role) in programs {
        registry.register(path, (role, Kind::Interactive), false, clock::now().0, None)?;
    }
    Ok(())
}

fn start_daemon(sandbox: &Sandbox, own: &Path, paths: &Paths) -> Result<Running, Failure> {
    let mut command = sandbox.command(own, Place::Crew, None)?;
    let child = command
        .arg("--state-dir")
        .arg(&paths.state)
        .args(["run", "--cgroup"])
        .arg(sandbox.cgroup())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::failed(format!("{}: {error}", own.display())))?;
    Ok(Running(child))
}

impl Running {
    /// Waits until the daemon answers. Whatever it says later is read and dropped: the demo
    /// shows the same from the journal.
    fn wait_until_ready(&mut self, paths: &Paths) -> Result<(), Failure> {
        let until = Instant::now() + LIMIT;
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(self.last_words(status));
            }
            if ask(&paths.socket, &Request::Status, |_| ()).unwrap_or(false) {
                break;
            }
            if Instant::now() > until {
                return Err(Failure::failed("the daemon did not become ready"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if let Some(mut words) = self.0.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut words, &mut std::io::sink()));
        }
        Ok(())
    }

    fn last_words(&mut self, status: std::process::ExitStatus) -> Failure {
        use std::io::Read as _;
        let mut words = String::new();
        if let Some(pipe) = &mut self.0.stderr {
            let _ = pipe.read_to_string(&mut words);
        }
        let line = words
            .lines()
            .last()
            .unwrap_or("the daemon ended without a word");
        let message = line.trim_start_matches("sekimori: ").to_owned();
        match status.code() {
            Some(3) => Failure::unsupported(message),
            _ => Failure::failed(message),
        }
    }
}

/// What the kernel refuses in a plain container is not supported there; else it failed.
fn cannot(error: &stage::Error) -> Failure {
    let message = format!("the stage cannot be set: {error}");
    match error.errno().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS) => {
            Failure::unsupported(message)
        }
        _ => Failure::failed(message),
    }
}

impl From<stage::Error> for Failure {
    fn from(error: stage::Error) -> Self {
        Self::failed(error.to_string())
    }
}
