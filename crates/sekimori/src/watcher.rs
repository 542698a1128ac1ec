//! The watcher, the part of the daemon without privilege: a child of the keeper, shut in before
//! it reads the first byte that a stranger could have chosen. It turns the gate's reports into
//! entries and warnings, keeps the journal, and answers at the control socket.
//!
//! What it cannot see for itself it asks the keeper for. When it breaks, the next one goes on
//! where it was; the gate does not notice.

mod answer;
mod events;
#[cfg(debug_assertions)]
mod hostile;
mod names;
mod older_irc;
mod outbox;
mod place;

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use engine::{Engine, Event, Settings};
use linux::confine::{self, Account, Landlock};
use linux::gate::Events;
use linux::pages::FilePages;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel::link::Link;
use crate::channel::news::{Hello, News, Retention};
use crate::channel::request::Request;
use crate::clock;
use crate::control::server::Server;
use crate::output::trouble;
use crate::paths::JOURNAL;
use crate::render::Style;
use names::Known;

/// The hidden command by which the keeper starts it.
pub const COMMAND: &str = "watch";

/// Reports taken from the ring buffer before other work gets its turn.
const EVENTS_AT_ONCE: usize = 2048;
/// How often old entries are removed and a journal that failed is tried again, while there is
/// something to do. An idle watcher sleeps.
const ROUND: Duration = Duration::from_secs(10);
/// How often old entries are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often reports are looked for that wake nobody, while somebody waits for entries: that of a
/// permitted connection is one.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The pause between two steps of indexing an older journal.
const INDEX_EVERY: Duration = Duration::from_millis(20);
/// How soon after reports have come it is asked which refusals were counted together: when those have
/// come to rest.
const FOLDS_AFTER: Duration = Duration::from_millis(1500);
/// How soon after reports have come it is asked whether others were lost.
const LOSSES_AFTER: Duration = Duration::from_millis(100);

/// The journal has two names: in the watcher's small world its folder is the root.
#[derive(Clone, Debug)]
pub struct Place {
    /// For opening it.
    pub inside: PathBuf,
    /// For people.
    outside: String,
}

impl Place {
    fn in_folder(outside: &Path) -> Self {
        Self {
            inside: Path::new("/").join(JOURNAL),
            outside: outside.join(JOURNAL).display().to_string(),
        }
    }

    /// A message with the name that people know.
    pub fn shown(&self, message: &impl std::fmt::Display) -> String {
        let inside = self.inside.to_string_lossy();
        message.to_string().replace(&*inside, &self.outside)
    }
}

/// The watcher's state.
struct Watcher {
    hello: Hello,
    landlock: Landlock,
    own_pages: FilePages,
    place: Place,
    engine: Engine,
    known: Known,
    older_irc: older_irc::OlderIrc,
    outbox: outbox::Outbox,
    retention: Retention,
    lost_told: events::LostTold,
    /// What was sampled before this moment, in nanoseconds since boot, was handled.
    sampled_until_ns: u64,
    /// When it is to be asked which refusals were counted together.
    folds_due: Option<Instant>,
    /// Refusals that were told one by one since the gate was last asked for those it counts together.
    refusals_told: u64,
    /// There were so many that the gate may count further ones together.
    may_be_counted: bool,
    /// When it is to be asked what was lost.
    losses_due: Option<Instant>,
    begun: Instant,
    pruned: Option<Instant>,
    /// Last, because whose channel is closed has ended to the keeper: not before the journal
    /// is in order.
    link: Link,
}

/// The hidden command: what the keeper sends comes on standard input.
pub fn main() -> ExitCode {
    crate::output::wait_for_no_reader();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            trouble(&format!("the watcher: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    confine::close_inherited();
    if std::io::stdin().is_terminal() {
        return Err("it is started by `sekimori run`".to_owned());
    }
    // Where the kernel keeps the clock for everybody to read is found out in /proc.
    let _ = clock::now();
    let (link, hello, [reports, samples, control, folder]) = Link::open(take_stdin()?)?;
    // The sizes of the maps are asked for while that is permitted.
    let failed = |error: linux::Error| error.to_string();
    let reports = Events::of(reports).map_err(failed)?;
    let samples = Events::of(samples).map_err(failed)?;
    // So are new sockets, of which the server needs two.
    let wake = UnixStream::pair()
        .and_then(|(wake, waker)| wake.set_nonblocking(true).map(|()| (wake, waker)))
        .map_err(|error| format!("control socket: {error}"))?;
    // Whatever the one before left it like.
    let control = UnixListener::from(control);
    control
        .set_nonblocking(false)
        .map_err(|error| format!("control socket: {error}"))?;
    // After that there is no /proc to find them in.
    let own_pages = FilePages::find();
    let (user, group) = hello.account;
    let landlock = confine::enter(folder.as_fd(), Account { user, group }).map_err(failed)?;
    drop(folder);
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
        != Some(hello.keeper)
    {
        return Err("the keeper is gone".to_owned());
    }
    let ignored = ignore_signals().map_err(|error| format!("signals: {error}"))?;
    let mut watcher = Watcher::new(link, hello, landlock, own_pages);
    #[cfg(debug_assertions)]
    hostile::play(&mut watcher.link);
    let server = Server::start(control, wake, &watcher.place, watcher.outbox.waiters())
        .map_err(|error| format!("control socket: {error}"))?;
    watcher.begin();
    watcher.serve(reports, samples, &server);
    drop(ignored);
    Ok(())
}

/// The channel comes as standard input. Nothing stays there.
fn take_stdin() -> Result<OwnedFd, String> {
    let failed = |error: std::io::Error| format!("standard input: {error}");
    let channel = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed)?;
    let nothing = std::fs::File::open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(nothing).map_err(|error| failed(error.into()))?;
    Ok(channel)
}

/// The keeper says when to end. What a service manager or a terminal sends to all of a group is
/// not for the watcher: it has reports to write down.
fn ignore_signals() -> std::io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let nobody_looks = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&nobody_looks))?;
    }
    Ok(nobody_looks)
}

impl Watcher {
    fn new(mut link: Link, hello: Hello, landlock: Landlock, own_pages: FilePages) -> Self {
        let place = Place::in_folder(&hello.state);
        let style = Style {
            colour: hello.colour,
        };
        Self {
            lost_told: events::LostTold::at(&mut link),
            landlock,
            own_pages,
            engine: Engine::new(Settings {
                mail_ports: hello.mail_ports.clone(),
                subordinate: hello.subordinate.clone(),
                ..Settings::default()
            }),
            known: Known::default(),
            older_irc: older_irc::OlderIrc::default(),
            outbox: outbox::Outbox::new(place.clone(), style),
            place,
            retention: hello.retention,
            hello,
            sampled_until_ns: 0,
            // The gate counted on while no watcher was there.
            folds_due: Some(Instant::now()),
            refusals_told: 0,
            may_be_counted: false,
            losses_due: None,
            begun: Instant::now(),
            pruned: None,
            link,
        }
    }

    fn begin(&mut self) {
        if let Some(said) = self.outbox.open_journal() {
            self.notice(said);
        }
        if self.hello.first && self.landlock != Landlock::Full {
            let word = self.landlock.word();
            self.notice(format!(
                "landlock of this kernel: {word}; the watcher is shut in by its user, its folder and its system calls"
            ));
        }
        self.take_news();
        self.find_older_irc();
        self.own_pages.give_back();
    }

    /// The loop. Sleeps until a report, a question, news of the keeper or a deadline.
    fn serve(&mut self, mut reports: Events, mut samples: Events, server: &Server) {
        let mut ending = false;
        while !ending && !self.link.is_gone() {
            let timeout = self.timeout();
            let mut waiting = [
                reports.as_fd(),
                samples.as_fd(),
                server.wake(),
                self.link.as_fd(),
            ]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut waiting, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    trouble(&format!("poll: {error}"));
                    break;
                }
            }
            let asked = !waiting[2].revents().is_empty();
            self.end_older_irc();
            self.take_samples(&mut samples, EVENTS_AT_ONCE);
            self.take_reports(&mut reports, &mut samples, EVENTS_AT_ONCE);
            if asked {
                server.answer_waiting(|request, who| self.answer(request, who));
            }
            ending = self.take_news();
            self.housekeeping();
        }
        self.take_samples(&mut samples, usize::MAX);
        self.take_reports(&mut reports, &mut samples, usize::MAX);
        if ending {
            self.notice("stopped; the gate stays closed without the daemon".to_owned());
        }
        self.outbox.send_lines(&mut self.link);
    }

    /// Reads what the keeper has to say. Whether it says to end.
    fn take_news(&mut self) -> bool {
        while let Ok(Some(news)) = self.link.news() {
            match news {
                News::Notice(text) => self.notice(text),
                News::Reloaded {
                    retention,
                    mail_ports,
                } => {
                    self.retention = retention;
                    self.engine.set_mail_ports(mail_ports);
                }
                News::Loaded {
                    pid,
                    uid,
                    destination,
                    file,
                    observed,
                } => self.tell_loaded((pid, uid), destination, file, observed),
                News::Ping => {
                    let _ = self.link.ask(&Request::Pong);
                }
                News::End => return true,
            }
        }
        false
    }

    /// Until there is something to do unasked; none when nothing is due.
    fn timeout(&self) -> Option<Timespec> {
        let engine = self
            .engine
            .next_deadline()
            .map(|deadline| Duration::from_nanos(deadline.since_ns(clock::now())));
        let round = self.outbox.has_work().then_some(ROUND);
        let losses = self
            .losses_due
            .map(|due| due.saturating_duration_since(Instant::now()));
        let look = self.outbox.is_awaited().then_some(LOOK_EVERY);
        let index = self.outbox.is_indexing().then_some(INDEX_EVERY);
        let folds = self
            .folds_due
            .map(|due| due.saturating_duration_since(Instant::now()));
        let due = [engine, round, losses, folds, look, index]
            .into_iter()
            .flatten()
            .min()?;
        Some(Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: due.subsec_nanos().into(),
        })
    }

    fn housekeeping(&mut self) {
        let actions = self.engine.tick(clock::now());
        self.perform(actions, clock::now());
        if self.folds_due.is_some_and(|due| due <= Instant::now()) {
            self.take_folds();
        }
        if self.losses_due.is_some_and(|due| due <= Instant::now()) {
            self.losses_due = None;
            self.tell_losses();
        }
        if let Some(said) = self.outbox.reopen_journal(ROUND) {
            self.notice(said);
        }
        self.outbox.flush();
        self.outbox.send_lines(&mut self.link);
        self.outbox.index_some(INDEX_EVERY);
        if self
            .pruned
            .is_none_or(|pruned| pruned.elapsed() >= PRUNE_EVERY)
        {
            // Not by age at the start: a clock that is wrong then is set right soon after.
            let keep_ns = self.pruned.map_or(u64::MAX, |_| {
                u64::from(self.retention.days) * 86_400 * 1_000_000_000
            });
            self.pruned = Some(Instant::now());
            self.outbox.prune(keep_ns, self.retention.entries);
            // Now and then: of the start, and of questions that were asked once.
            self.own_pages.give_back();
        } else if self.outbox.has_outgrown(self.retention.entries) {
            // Not by age: how much of that goes at once depends on the hour.
            self.outbox.prune(u64::MAX, self.retention.entries);
        }
    }

    fn perform(&mut self, actions: Vec<engine::Action>, at: engine::Timestamp) {
        self.outbox.perform(&mut self.link, actions, at);
    }

    fn notice(&mut self, text: String) {
        let now = clock::now();
        let actions = self.engine.handle(Event::Notice { text }, now);
        self.perform(actions, now);
        self.outbox.flush();
    }
}
