//! Leads the guard on forwarded traffic, beside the keeper's loop: one thread that sleeps until
//! an interface comes or goes, a firewall rule changes, or the configuration is read again.
//!
//! Interfaces that nobody has looked at yet are closed. So no device is open for the moment
//! between its birth and the look, and a daemon that has ended opens nothing.

mod book;
mod sight;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guard::config::{Config, GuardForwarded};
use linux::forward::links::Changes;
use linux::forward::{Guard, Names, Rules};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{Keeper, Options};
use crate::failure::Failure;
use crate::forward;
use crate::paths::Paths;
use book::Book;
use sight::{Sight, YOUNG};

/// How long more of them may come before they are looked at.
const SWARM: Duration = Duration::from_millis(20);
/// Users can have interfaces come and go. So a look is followed by a rest, nine times as long.
const REST_FOR_LOOK: u32 = 9;
/// How often rules are looked for that another program may have removed.
const RULES_EVERY: Duration = Duration::from_secs(1);
/// When rules are tried again that could not be set.
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// How many interfaces `status` lists.
const LISTED_MAX: usize = 32;
/// How many bridges its reason names.
const NAMES_MAX: usize = 8;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The key `guard_forwarded`.
    pub mode: GuardForwarded,
    /// The key `mail_ports`.
    pub mail_ports: Vec<u16>,
    /// Refuse nothing.
    pub observe: bool,
    /// Only a part of this machine is guarded, by `--cgroup`.
    pub partial: bool,
}

impl Wanted {
    /// By the configuration and the daemon's own arguments.
    fn of(config: &Config, options: &Options) -> Self {
        Self {
            mode: config.guard_forwarded,
            mail_ports: config.mail_ports.clone(),
            observe: options.observe,
            partial: options.cgroup.is_some(),
        }
    }
}

/// The keeper's end.
#[derive(Debug)]
pub struct Forward {
    shared: Arc<Shared>,
    /// Wakes the thread.
    nudge: UnixStream,
    /// One byte for each report.
    wake: UnixStream,
    reports: Receiver<String>,
    first: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    shown: Mutex<Value>,
}

impl Forward {
    /// Starts the thread, which sets the rules at once.
    ///
    /// # Errors
    ///
    /// When the system has no room for it.
    pub fn start(config: &Config, options: &Options, paths: &Paths) -> Result<Self, Failure> {
        let wanted = Wanted::of(config, options);
        let started = Self::start_thread(wanted, forward::table(paths));
        started.map_err(|error| Failure::failed(format!("forwarded packets: {error}")))
    }

    fn start_thread(wanted: Wanted, table: String) -> std::io::Result<Self> {
        let (nudge, nudged) = UnixStream::pair()?;
        let (wake, waker) = UnixStream::pair()?;
        for end in [&nudge, &nudged, &wake, &waker] {
            end.set_nonblocking(true)?;
        }
        let (sender, reports) = channel();
        let (begun, first) = channel();
        let shared = Arc::new(Shared {
            wanted: Mutex::new(wanted),
            shown: Mutex::new(json!({ "state": "starting" })),
        });
        let mut lead = Lead::new(Arc::clone(&shared), table, sender, waker);
        thread::Builder::new().spawn(move || lead.run(&nudged, &begun))?;
        Ok(Self {
            shared,
            nudge,
            wake,
            reports,
            first,
        })
    }

    /// Waits until the rules have been set once, but not for long: a firewall that hangs must
    /// not keep the gate from being closed.
    pub fn wait(&self) {
        const LIMIT: Duration = Duration::from_secs(3);
        let _ = self.first.recv_timeout(LIMIT);
    }

    /// Something else is wanted.
    pub fn change(&self, config: &Config, options: &Options) {
        *lock(&self.shared.wanted) = Wanted::of(config, options);
        let _ = (&self.nudge).write(&[1]);
    }

    /// For `status`.
    pub fn shown(&self) -> Value {
        lock(&self.shared.shown).clone()
    }

    /// Readable when there is a report.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The reports since the last call.
    pub fn reports(&self) -> Vec<String> {
        let mut bytes = [0; 64];
        while matches!((&self.wake).read(&mut bytes), Ok(count) if count > 0) {}
        self.reports.try_iter().collect()
    }
}

impl Keeper {
    /// Has the guard's reports written down.
    pub(super) fn take_reports(&mut self) {
        let reports = self.forward.reports();
        reports.into_iter().for_each(|text| self.notice(text));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Force {
    /// Nothing was tried yet, or another program has removed the rules.
    New,
    /// Rules for these wishes; why bridges are not guarded.
    Set(Wanted, Option<String>),
    /// No rules are wanted, and why.
    Off(String),
    /// Rules are wanted, and there are none.
    Failed(String),
}

/// The thread's own state.
struct Lead {
    shared: Arc<Shared>,
    guard: Option<Guard>,
    sender: Sender<String>,
    waker: UnixStream,
    force: Force,
    /// What the rules know.
    applied: Names,
    sight: Sight,
    book: Book,
    counted: Instant,
    checked: Instant,
    /// The rules have changed since they were checked.
    suspect: bool,
    tried: Instant,
    complained: bool,
}

impl Lead {
    fn new(shared: Arc<Shared>, table: String, sender: Sender<String>, waker: UnixStream) -> Self {
        let now = Instant::now();
        Self {
            shared,
            guard: Guard::find(table),
            sender,
            waker,
            force: Force::New,
            applied: Names::default(),
            sight: Sight::new(),
            book: Book::default(),
            counted: now,
            checked: now,
            suspect: false,
            tried: now,
            complained: false,
        }
    }

    fn run(&mut self, nudged: &UnixStream, begun: &Sender<()>) {
        // Capabilities are a thread's own.
        if let Err(error) = linux::confine::needs_no_loading() {
            crate::output::trouble(&error.to_string());
        }
        let changes = Changes::listen().ok();
        let mut links = true;
        let mut pause = SWARM;
        loop {
            if links || self.sight.seen.waiting {
                let begun = Instant::now();
                self.sight.look(links);
                pause = SWARM.max(REST_FOR_LOOK * begun.elapsed());
            }
            self.check();
            self.enforce();
            self.count();
            self.show();
            let _ = begun.send(());
            let Some(woken) = wait(nudged, changes.as_ref(), self.timeout()) else {
                return;
            };
            links = woken.links;
            if links {
                // Interfaces come in swarms. Those that nobody has looked at yet are closed.
                thread::sleep(pause);
            }
            self.suspect |= woken.rules;
        }
    }

    /// Sees whether another program has removed the rules, as a restart of a firewall does.
    fn check(&mut self) {
        if !self.suspect || self.checked.elapsed() < RULES_EVERY {
            return;
        }
        self.suspect = false;
        self.checked = Instant::now();
        self.miss();
    }

    /// Notices that the rules are gone.
    fn miss(&mut self) {
        let Force::Set(_, why) = &self.force else {
            return;
        };
        let gone = |guard: &Guard| !guard.is_set(why.is_none());
        if self.guard.as_ref().is_some_and(gone) {
            self.force = Force::New;
            self.report(
                "Another program removed the firewall rules that guard forwarded packets \
                 (a restart of the firewall does); they are set again."
                    .to_owned(),
            );
        }
    }

    /// Has the rules be as they are wanted.
    fn enforce(&mut self) {
        let wanted = lock(&self.shared.wanted).clone();
        if let Some(why) = not_wanted(&wanted) {
            if self.force != Force::Off(why.clone()) {
                let cleared = self.guard.as_ref().map(Guard::clear);
                self.force = match cleared {
                    Some(Err(error)) => Force::Failed(error.to_string()),
                    _ => Force::Off(why),
                };
            }
            return;
        }
        let is_set = matches!(&self.force, Force::Set(set, _) if *set == wanted);
        let rests = matches!(self.force, Force::Failed(_)) && self.tried.elapsed() < RETRY_EVERY;
        if rests || is_set && self.rename() {
            return;
        }
        if is_set {
            self.miss();
        }
        self.set(wanted);
    }

    /// Says to the rules which interface is whose, where that has changed. `false` when they
    /// do not take it.
    fn rename(&mut self) -> bool {
        let Force::Set(_, why) = &self.force else {
            return false;
        };
        let bridges = why.is_none();
        let names = self.names(bridges);
        if names == self.applied {
            return true;
        }
        if names.users.is_empty() != self.applied.users.is_empty() {
            return false;
        }
        let guard = self.guard.as_ref();
        let taken = guard.is_some_and(|guard| guard.rename(&names, bridges).is_ok());
        if taken {
            self.applied = names;
        }
        taken
    }

    fn set(&mut self, wanted: Wanted) {
        self.tried = Instant::now();
        let rules = Rules {
            mail_ports: wanted.mail_ports.clone(),
            all: wanted.mode == GuardForwarded::On,
            observe: wanted.observe,
        };
        let counts = self.is_counting();
        let Some(guard) = &self.guard else {
            return self.failed("nft is not installed (install nftables)".to_owned());
        };
        if counts {
            // The new rules begin at 0.
            self.book.read(guard.refused(), Instant::now());
        }
        // Bridges with a port of a user's stay closed until it is known that they are guarded.
        let names = self.names(false);
        match guard.set(&rules, &names) {
            Ok(bridges) => {
                self.applied = names;
                self.book.began();
                self.force = Force::Set(wanted, bridges.map(|error| error.to_string()));
                self.complained = false;
                self.rename();
            }
            Err(error) => self.failed(error.to_string()),
        }
    }

    fn failed(&mut self, why: String) {
        let matters = !self.sight.seen.users.is_empty()
            || lock(&self.shared.wanted).mode == GuardForwarded::On;
        if matters && !self.complained {
            self.complained = true;
            self.report(format!(
                "Forwarded packets to mail ports are NOT guarded: {why}. \
                 What users send by TUN, TAP and virtual cables leaves unseen."
            ));
        }
        self.force = Force::Failed(why);
    }

    /// Which interface is whose. A bridge without rules for its ports is its ports' users'.
    fn names(&self, bridges: bool) -> Names {
        let mut names = self.sight.seen.names.clone();
        if !bridges {
            for name in self.sight.seen.users_bridges.keys() {
                names.roots.remove(name);
                names.users.insert(name.clone());
            }
        }
        names.plain()
    }

    fn is_counting(&self) -> bool {
        match &self.force {
            Force::Set(wanted, _) => {
                wanted.mode == GuardForwarded::On || !self.applied.users.is_empty()
            }
            _ => false,
        }
    }

    /// Reads what was refused, and reports it.
    fn count(&mut self) {
        let now = Instant::now();
        if !self.is_counting() || now.duration_since(self.counted) < self.book.pause() {
            return;
        }
        self.counted = now;
        let Some(guard) = &self.guard else { return };
        self.book.read(guard.refused(), now);
        if let Some(refused) = self.book.due(now) {
            let what = self.sight.seen.users.get(&refused.interface);
            let what = what.or_else(|| self.sight.seen.users_bridges.get(&refused.interface));
            let what = what
                .map_or("an interface of root's", String::as_str)
                .to_owned();
            let observe = lock(&self.shared.wanted).observe;
            self.report(refused.words(&what, observe));
        }
    }

    fn timeout(&self) -> Duration {
        let rest = |every: Duration, since: Instant| every.saturating_sub(since.elapsed());
        let due = [
            self.sight.seen.waiting.then_some(YOUNG),
            self.suspect.then(|| rest(RULES_EVERY, self.checked)),
            self.is_counting()
                .then(|| rest(self.book.pause(), self.counted)),
            matches!(self.force, Force::Failed(_)).then(|| rest(RETRY_EVERY, self.tried)),
        ];
        // Never at once again: whatever goes wrong, the thread sleeps.
        let due = due.into_iter().flatten().min();
        due.map_or(Duration::MAX, |due| due.max(Duration::from_millis(20)))
    }

    fn report(&self, text: String) {
        // The keeper has ended when nobody takes it. A full pipe wakes the loop as well.
        let _ = self.sender.send(text);
        let _ = (&self.waker).write(&[1]);
    }

    fn show(&self) {
        let wanted = lock(&self.shared.wanted).clone();
        let (state, reason) = match &self.force {
            Force::New => ("starting", String::new()),
            Force::Set(..) if wanted.observe => ("observing", self.reason(&wanted)),
            Force::Set(..) => ("guarded", self.reason(&wanted)),
            Force::Off(why) => ("off", why.clone()),
            Force::Failed(why) => ("open", why.clone()),
        };
        let bridges = match &self.force {
            Force::Set(_, why) => why.clone(),
            _ => None,
        };
        let users: Vec<Value> = self
            .sight
            .seen
            .users
            .iter()
            .take(LISTED_MAX)
            .map(|(name, what)| json!({ "name": name, "what": what }))
            .collect();
        let roots = &self.applied.roots;
        *lock(&self.shared.shown) = json!({
            "guard_forwarded": wanted.mode.word(),
            "state": state,
            "reason": reason,
            "users_interfaces": users,
            "users_interfaces_count": self.sight.seen.users.len(),
            "roots_interfaces": roots.iter().take(LISTED_MAX).collect::<Vec<_>>(),
            "roots_interfaces_count": roots.len(),
            "bridges_not_guarded": bridges,
            "packets_refused": self.book.total(),
        });
    }

    fn reason(&self, wanted: &Wanted) -> String {
        if wanted.mode == GuardForwarded::On {
            return "guard_forwarded = \"on\": no forwarded packet reaches a mail port".to_owned();
        }
        let mut others: Vec<String> = [
            ("IPv4", "/proc/sys/net/ipv4/ip_forward"),
            ("IPv6", "/proc/sys/net/ipv6/conf/all/forwarding"),
        ]
        .iter()
        .filter(|(_, path)| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1"))
        .map(|(name, _)| format!("{name} is forwarded"))
        .collect();
        if !self.sight.seen.bridges.is_empty() {
            let names: Vec<&str> = self.sight.seen.bridges.iter().map(String::as_str).collect();
            others.push(format!(
                "bridges: {}",
                names[..names.len().min(NAMES_MAX)].join(", ")
            ));
        }
        if others.is_empty() {
            return "this machine forwards nothing now; should it begin to, packets from users' \
                    interfaces to mail ports are refused"
                .to_owned();
        }
        format!(
            "this machine forwards for others ({}); what comes in by root's interfaces passes, \
             and packets from users' interfaces to mail ports are refused",
            others.join("; ")
        )
    }
}

/// Why no rules are wanted.
fn not_wanted(wanted: &Wanted) -> Option<String> {
    match wanted.mode {
        GuardForwarded::On => None,
        GuardForwarded::Off => Some("guard_forwarded = \"off\"".to_owned()),
        GuardForwarded::Auto => {
            let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            (wanted.partial && space("self") == space("1")).then(|| {
                "only one cgroup of this machine is guarded, and forwarded packets belong to \
                 none; guard_forwarded = \"on\" guards them all"
                    .to_owned()
            })
        }
    }
}

/// What has woken the thread.
#[derive(Default)]
struct Woken {
    links: bool,
    rules: bool,
}

/// Sleeps. `None` when the keeper has ended.
fn wait(nudged: &UnixStream, changes: Option<&Changes>, timeout: Duration) -> Option<Woken> {
    let timeout = Timespec::try_from(timeout).ok();
    let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut waiting = vec![readable(nudged.as_fd())];
    waiting.extend(changes.map(|changes| readable(changes.links())));
    waiting.extend(changes.and_then(Changes::rules).map(readable));
    if poll(&mut waiting, timeout.as_ref()).is_err() {
        // Interrupted. What is missed is looked up.
        return Some(Woken::default());
    }
    let mut bytes = [0; 64];
    loop {
        match (&*nudged).read(&mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    // By what is taken, not by what woke: a report may have come in between.
    let (links, rules) = changes.map(Changes::take).unwrap_or_default();
    Some(Woken { links, rules })
}
