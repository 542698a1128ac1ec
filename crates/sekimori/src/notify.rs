//! Shows a warning on the desktop of the person concerned, by org.freedesktop.Notifications.
//!
//! The daemon is root and small, and a session bus is its user's: so a process of its own,
//! the hidden command `notify-user`, gives up root for that user, says its one sentence and
//! ends. It reads nothing but a short message on its standard input, and it has no longer
//! than [`PATIENCE`], because whoever owns the bus decides how long an answer takes.

mod audience;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use audience::user_name;
use notify_rust::{Notification, Timeout, Urgency};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use serde::{Deserialize, Serialize};

/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long its process may take altogether. It ends by itself before that, unless its user,
/// who may stop it, keeps it from doing so.
const LIFE: Duration = PATIENCE.saturating_add(Duration::from_secs(1));
/// How many deliveries may be under way at once, and how many of them to one user: what one
/// does to his own must not cost another his warning.
const UNDER_WAY_MAX: usize = 8;
const UNDER_WAY_EACH: usize = 2;
/// A message is cut to these, so that writing it to a pipe never blocks.
const TITLE_BYTES_MAX: usize = 256;
const BODY_BYTES_MAX: usize = 8 * 1024;
const MESSAGE_BYTES_MAX: u64 = 64 * 1024;
/// What showing a message takes is a third of this. A bus may send as much as it likes.
const MEMORY_BYTES_MAX: u64 = 32 * 1024 * 1024;
const RUN_USER: &str = "/run/user";

/// Deliveries under way. Dropping it leaves them to end by themselves.
#[derive(Debug)]
pub struct Notifier {
    executable: PathBuf,
    under_way: Vec<Delivery>,
}

#[derive(Debug)]
struct Delivery {
    uid: u32,
    process: Child,
    due: Instant,
}

impl Notifier {
    /// Deliveries will be made by this executable's `notify-user`.
    pub fn new(executable: PathBuf) -> Self {
        Self {
            executable,
            under_way: Vec::new(),
        }
    }

    /// Shows a warning to whom it concerns. Does not wait for it. Gives the number of people
    /// whom it could not be sent to because too much is under way, or because no process
    /// could be started.
    pub fn deliver(&mut self, uid: u32, message: &Message) -> usize {
        self.reap();
        let mut missed = 0;
        for uid in audience::of(uid) {
            missed += usize::from(!self.begin(uid, message));
        }
        missed
    }

    fn begin(&mut self, uid: u32, message: &Message) -> bool {
        let of_user = self.under_way.iter().filter(|one| one.uid == uid).count();
        if self.under_way.len() >= UNDER_WAY_MAX || of_user >= UNDER_WAY_EACH {
            return false;
        }
        let Ok(process) = spawn(&self.executable, uid, message) else {
            return false;
        };
        self.under_way.push(Delivery {
            uid,
            process,
            due: Instant::now() + LIFE,
        });
        true
    }

    /// Whether a delivery is under way.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// When the next delivery has to be ended, if it does not end by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        // Those that are past it have been killed, and are forgotten when they are gone.
        let waiting = self.under_way.iter().map(|one| one.due);
        waiting.filter(|due| *due > now).min()
    }

    /// Forgets the deliveries that have ended, and ends those that should have. Does not wait.
    pub fn reap(&mut self) {
        self.reap_at(Instant::now());
    }

    fn reap_at(&mut self, now: Instant) {
        self.under_way.retain_mut(|one| {
            let runs = matches!(one.process.try_wait(), Ok(None));
            if runs && one.due <= now {
                // By nothing else can a process be ended that its user has stopped. That it may
                // not be signalled, nothing can be done about.
                let _ = one.process.kill();
            }
            runs
        });
    }
}

/// Starts the delivery of one warning to one user. Does not wait for it.
///
/// # Errors
///
/// The process could not be started.
pub fn spawn(executable: &Path, uid: u32, message: &Message) -> io::Result<Child> {
    let runtime = format!("{RUN_USER}/{uid}");
    let mut child = Command::new(executable)
        .args([
            OsStr::new("notify-user"),
            OsStr::new("--uid"),
            OsStr::new(&uid.to_string()),
        ])
        // Nothing of the daemon's environment is the session's business.
        .env_clear()
        .env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={runtime}/bus"),
        )
        .env("XDG_RUNTIME_DIR", runtime)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // The pipe is empty and holds more than a message, so this never blocks. When the
        // process is gone already, so is the warning; its exit status says why.
        let _ = pipe.write_all(&serde_json::to_vec(message)?);
    }
    Ok(child)
}

/// The hidden command `notify-user`: becomes `uid` and shows the message on standard input.
///
/// # Errors
///
/// Root could not be given up, the message is none, or the desktop did not take it in time.
pub fn notify_user_main(uid: u32) -> Result<()> {
    become_ordinary()?;
    become_user(uid)?;
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    if bus.is_empty() {
        bail!("DBUS_SESSION_BUS_ADDRESS is not set, expected the address of a session bus");
    }
    let mut bytes = Vec::new();
    io::stdin()
        .take(MESSAGE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .context("standard input: cannot be read")?;
    let message: Message =
        serde_json::from_slice(&bytes).context("standard input: expected a message in JSON")?;
    show(message)
}

/// Gives up what the keeper has so that it outlives others when memory runs out, and takes a
/// bound of its own. Before root is given up: afterwards its own files in /proc are closed to it.
fn become_ordinary() -> Result<()> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(SCORE).with_context(|| format!("{SCORE}: cannot be read"))?;
    if score.starts_with('-') {
        fs::write(SCORE, "0").with_context(|| format!("{SCORE}: cannot be written"))?;
    }
    let limit = Rlimit {
        current: Some(MEMORY_BYTES_MAX),
        maximum: Some(MEMORY_BYTES_MAX),
    };
    setrlimit(Resource::Data, limit).context("the bound of memory cannot be set")
}

/// Gives up root for good, or refuses. Nothing may talk to a user's bus as root.
fn become_user(uid: u32) -> Result<()> {
    let user = Uid::from_raw(uid);
    if user.is_root() {
        bail!("user 0: root has no desktop to notify");
    }
    if rustix::process::geteuid().is_root() {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if !status
            .lines()
            .any(|line| line.split_whitespace().eq(["Threads:", "1"]))
        {
            // The calls below change the calling thread alone.
            bail!("user {uid}: root can only be given up before other threads are started");
        }
        // The folder is made by the login with the user's main group. No other group is
        // needed to write a notification, so all others go.
        let folder = format!("{RUN_USER}/{uid}");
        let metadata = fs::metadata(&folder).with_context(|| format!("{folder}: no session"))?;
        if metadata.uid() != uid {
            bail!(
                "{folder}: belongs to user {}, expected {uid}",
                metadata.uid()
            );
        }
        let group = Gid::from_raw(metadata.gid());
        rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
            .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user))
            .with_context(|| format!("user {uid}: root cannot be given up"))?;
        if rustix::thread::set_thread_uid(Uid::ROOT).is_ok() {
            bail!("user {uid}: root was not given up");
        }
    }
    if rustix::process::getuid() != user || rustix::process::geteuid() != user {
        bail!("user {uid}: cannot become that user without being root");
    }
    Ok(())
}

/// Shows the message, or gives up after [`PATIENCE`]. The process ends soon after, and a
/// thread that still waits ends with it.
fn show(message: Message) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let shown = Notification::new()
            .appname("Sekimori")
            .icon("dialog-warning")
            .summary(&message.title)
            .body(&escaped(&message.body))
            .urgency(if message.urgent {
                Urgency::Critical
            } else {
                Urgency::Normal
            })
            .timeout(Timeout::Default)
            .show();
        let _ = sender.send(shown.map(|_| ()).map_err(|error| error.to_string()));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => bail!(
            "the desktop took no notification: {}",
            error.replace('\n', " ")
        ),
        Err(_) => bail!(
            "the desktop took no notification within {} seconds",
            PATIENCE.as_secs()
        ),
    }
}

/// What travels to the process that shows it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    title: String,
    body: String,
    urgent: bool,
}

impl Message {
    /// Plain text of bounded length, whatever came.
    pub fn new(title: &str, body: &str, urgent: bool) -> Self {
        Self {
            title: cut(&plain(title, ' '), TITLE_BYTES_MAX),
            body: cut(&plain(body, '\n'), BODY_BYTES_MAX),
            urgent,
        }
    }
}

/// The beginning of a text, whole characters of it.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Without control characters; a line break becomes `line_break`.
fn plain(text: &str, line_break: char) -> String {
    let plain = |c| match c {
        '\n' => line_break,
        c if char::is_control(c) => ' ',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// Desktops read a body as markup. Names of programs and files are whatever their makers
/// chose, so none of it may become a link or a picture.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader};

    use super::*;

    fn urgent(title: &str, body: &str) -> Message {
        Message::new(title, body, true)
    }

    #[test]
    fn nothing_in_a_body_is_markup() {
        assert_eq!(
            escaped("<a href=\"x\">&\nb"),
            "&lt;a href=&quot;x&quot;&gt;&amp;\nb"
        );
    }

    #[test]
    fn a_message_is_short_plain_and_whole() {
        let message = urgent("a\nb\0c", &"関".repeat(5000));
        assert_eq!(message.title, "a b c");
        assert!(message.body.len() <= BODY_BYTES_MAX && message.body.chars().all(|c| c == '関'));
        assert_eq!(urgent("", "a\n\u{1b}[0m").body, "a\n [0m");
        let longest = urgent(&"\"".repeat(9000), &"\\".repeat(9000));
        let bytes = serde_json::to_vec(&longest).unwrap();
        assert!(bytes.len() < 32 * 1024, "a pipe holds 64 KiB");
        assert_eq!(serde_json::from_slice::<Message>(&bytes).unwrap(), longest);
    }

    /// A user stops whatever shows his warnings. Another one is told all the same, and the
    /// stopped processes do not stay.
    #[test]
    fn stopped_deliveries_hold_up_nobody_else_and_are_ended() {
        const STOPPER: u32 = 1000;
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("stopped");
        let made = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!(
                "printf '#!/bin/sh\\nkill -STOP $$\\n' >{0} && chmod 700 {0}",
                script.display()
            ))
            .status();
        assert!(made.unwrap().success());
        let mut notifier = Notifier::new(script);
        let message = urgent("title", "body");
        let begun = (0..20).filter(|_| notifier.begin(STOPPER, &message));
        assert_eq!(begun.count(), UNDER_WAY_EACH);
        assert!(notifier.begin(STOPPER + 1, &message));
        let due = notifier.next_deadline().expect("a deadline");
        notifier.reap_at(due.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(notifier.under_way.len(), 3);
        let later = due + LIFE;
        let patience = Instant::now() + Duration::from_secs(60);
        while notifier.is_busy() && Instant::now() < patience {
            notifier.reap_at(later);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!notifier.is_busy(), "{notifier:?}");
    }

    /// Not a test by itself: the process that the next one starts.
    #[test]
    #[ignore = "started by another test"]
    fn ordinary() {
        become_ordinary().unwrap();
        let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert!(score.trim().parse::<i32>().unwrap() >= 0, "{score}");
        // A mapping that is never touched costs nothing, where there is no bound.
        let bytes = usize::try_from(MEMORY_BYTES_MAX).unwrap();
        assert!(Vec::<u8>::new().try_reserve_exact(bytes).is_err());
    }

    #[test]
    fn a_delivery_is_not_spared_when_memory_runs_out_and_has_little_of_it() {
        // Only root may be spared; else the bound alone is tried.
        let spared = "echo -900 2>/dev/null >/proc/self/oom_score_adj; exec \"$@\"";
        let told = Command::new("/bin/sh")
            .args(["-c", spared, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::ordinary", "--ignored"])
            .output()
            .unwrap();
        assert!(told.status.success(), "{told:?}");
    }

    #[test]
    fn root_is_never_kept() {
        assert!(become_user(0).unwrap_err().to_string().contains("user 0"));
        // Tests run in threads, so as root this refuses; as a user it is not that user.
        assert!(become_user(4_000_000).is_err());
    }

    /// A desktop that keeps what it is told.
    struct Desktop(mpsc::Sender<(String, String, u8)>);

    #[zbus::interface(name = "org.freedesktop.Notifications")]
    impl Desktop {
        #[expect(clippy::too_many_arguments, reason = "the interface has them")]
        fn notify(
            &self,
            _app_name: String,
            _replaces_id: u32,
            _app_icon: String,
            summary: String,
            body: String,
            _actions: Vec<String>,
            hints: HashMap<String, zbus::zvariant::OwnedValue>,
            _expire_timeout: i32,
        ) -> u32 {
            let urgency = hints
                .get("urgency")
                .and_then(|it| u8::try_from(it).ok())
                .unwrap_or(9);
            let _ = self.0.send((summary, body, urgency));
            1
        }

        fn get_server_information(&self) -> (String, String, String, String) {
            ("test".into(), "test".into(), "1".into(), "1.2".into())
        }

        fn get_capabilities(&self) -> Vec<String> {
            vec!["body".into(), "body-markup".into()]
        }
    }

    /// Not a test by itself: the process that [`a_desktop_is_told`] starts.
    #[test]
    #[ignore = "started by another test"]
    fn teller() {
        show(urgent("Refused", "by <b>x</b>")).unwrap();
    }

    #[test]
    fn a_desktop_is_told() {
        let Ok(mut daemon) = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: dbus-daemon cannot be started");
            return;
        };
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim();
        let (sender, receiver) = mpsc::channel();
        let connection = zbus::blocking::connection::Builder::address(address)
            .and_then(|builder| builder.name("org.freedesktop.Notifications"))
            .and_then(|builder| builder.serve_at("/org/freedesktop/Notifications", Desktop(sender)))
            .and_then(|builder| builder.build());
        let teller = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::teller", "--ignored"])
            .env("DBUS_SESSION_BUS_ADDRESS", address)
            .output();
        let told = receiver.recv_timeout(Duration::from_secs(30));
        let _ = daemon.kill();
        let _ = daemon.wait();
        assert!(connection.is_ok() && teller.unwrap().status.success());
        assert_eq!(
            told.unwrap(),
            ("Refused".into(), "by &lt;b&gt;x&lt;/b&gt;".into(), 2)
        );
    }
}
