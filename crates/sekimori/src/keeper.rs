//! `run`: the keeper, the part of the daemon that has privilege. It sees that the gate stands,
//! holds it, owns the registered programs and watches their files, starts the watcher, and
//! answers the watcher's short table of requests and root's own.
//!
//! It reads the configuration, which is root's, and nothing that came from the network or that
//! another user wrote: that is the watcher's. The gate needs neither of them: what it permits
//! or refuses is decided in the kernel.

mod account;
mod again;
pub mod allowance;
mod answers;
mod child;
mod code;
mod files;
mod folder;
mod forward;
mod loading;
pub mod looker;
mod mode;
mod pace;
mod pulse;
mod reload;
mod root;
mod search;
mod signals;
mod sockets;
mod starts;
mod tending;
mod verify;

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linux::cgroup::Cgroup;
use linux::code::Looks;
use linux::confine::Account;
use linux::gate::{Events, Gate, Ring};
use linux::hold::Hold;
use linux::load::{Loaded, Request};
use linux::pages::FilePages;
use linux::pins::Pins;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel::news::{News, Retention};
use crate::channel::served::Waiting;
use crate::commands::load_gate;
use crate::config::{Config, PacketWatch};
use crate::failure::Failure;
use crate::install;
use crate::notify::Notifier;
use crate::output::trouble;
use crate::paths::Paths;
use crate::registry::Registry;
use crate::syslog::Syslog;
#[cfg(test)]
pub use account::NAME as ACCOUNT_NAME;
pub use again::start_again_words;
use allowance::Allowances;
use child::{Restarts, Watcher};

/// How often failed work is retried, and children reaped, while there is any. An idle keeper sleeps.
const ROUND: Duration = Duration::from_secs(10);
/// Warnings about one user at once, how long until there is one more, and users who have a share each.
const WARNINGS_AT_ONCE: u32 = 20;
const WARNED_USERS: usize = 24;
const WARNING_EVERY: Duration = Duration::from_secs(3);
/// How long the watcher may take to write down what is left when the daemon ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How the daemon was asked to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file, when one was named.
    pub config: Option<PathBuf>,
    /// The guarded cgroup, when not all.
    pub cgroup: Option<PathBuf>,
    /// Refuse nothing.
    pub observe: bool,
    /// See [`Request::older_hooks`].
    pub older_hooks: bool,
    /// See [`Request::without_hooks`].
    pub without_hooks: Vec<String>,
}

/// The keeper's state.
pub struct Keeper {
    options: Options,
    /// What is in force.
    config: Config,
    /// Keys of the file whose new values wait for a restart.
    restart_needed: Vec<&'static str>,
    paths: Paths,
    cgroup: Cgroup,
    account: Account,
    registry: Registry,
    pace: pace::Pace,
    again: again::Again,
    /// Why the gate observes although nobody has asked for that; empty when it does not.
    not_closed: Vec<String>,
    looker: looker::Looker,
    gate: Gate,
    rings: [Ring; 2],
    code: Events,
    looks: Looks,
    hold: Hold,
    loaded: Loaded,
    sockets: sockets::Sockets,
    notifier: Notifier,
    warnings: Allowances,
    syslog: Syslog,
    search: search::Search,
    forward: forward::Forward,
    watcher: Option<Watcher>,
    waiting: Waiting,
    restarts: Restarts,
    restart_at: Option<Instant>,
    /// The watcher may not write its folder yet.
    unshared: bool,
    /// Why not was said.
    unshared_told: bool,
    tried: Instant,
    /// Until when the watcher may take to end.
    ending: Option<Instant>,
    started: Instant,
}

/// Runs until it is told to end.
///
/// # Errors
///
/// When the gate cannot be had: status 3 when this machine or user cannot have it.
pub fn run(options: Options, paths: Paths) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    crate::output::wait_for_no_reader();
    // Before signals are caught: whoever ends the daemon need not wait too.
    let starts = starts(&paths);
    let config = Config::load(options.config.as_deref())?;
    let cgroup = match &options.cgroup {
        Some(folder) => Cgroup::at(folder)?,
        None => Cgroup::root()?,
    };
    let signals = signals::Signals::listen()?;
    let looker = looker::Looker::new().map_err(|error| Failure::failed(error.to_string()))?;
    // Before the gate: two daemons must not read one ring buffer.
    let sockets = sockets::Sockets::bind(&paths)?;
    let forward = forward::Forward::start(&config, &options, &paths)?;
    let (registry, said) = Registry::open(&paths)?;
    let mut options = options;
    let not_closed = mode::at_start(&mut options, &paths, &registry);
    // While the gate is loaded, it gets ready to be greeted.
    let watcher = Watcher::start();
    let request = request(&config, &options, &paths, &cgroup, &registry);
    let loaded = load_gate::in_own_process(&request)?;
    registry.store().share();
    let left_out = left_out(&loaded, &registry);
    let said: Vec<String> = said.into_iter().chain(left_out).collect();
    let closed_after = begun.elapsed();
    let gate = Gate::open(&Pins::new(&paths.pins, linux::load::OBJECT))?;
    linux::confine::needs_no_loading()?;
    let hold = Hold::of(&request.pins())?;
    let rings = [gate.events()?, gate.samples()?];
    let code = gate.code()?;
    forward.wait();
    if let Err(error) = install::tell_starter("READY=1") {
        trouble(&format!("the service manager does not listen: {error}"));
    }

    let mut keeper = Keeper {
        options,
        config,
        restart_needed: Vec::new(),
        paths,
        cgroup,
        account: account::find(),
        registry,
        pace: pace::Pace::default(),
        again: again::Again::default(),
        not_closed,
        looker,
        gate,
        rings,
        code,
        looks: Looks::default(),
        hold,
        loaded,
        sockets,
        // The link, not what it leads to now: after an upgrade of the file it still works.
        notifier: Notifier::new("/proc/self/exe".into()),
        warnings: Allowances::new(WARNINGS_AT_ONCE, WARNING_EVERY, WARNED_USERS),
        syslog: Syslog::default(),
        search: search::Search::default(),
        forward,
        watcher: None,
        waiting: Waiting::default(),
        restarts: Restarts::default(),
        restart_at: None,
        unshared: true,
        unshared_told: false,
        tried: begun,
        ending: None,
        started: begun,
    };
    said.into_iter().for_each(|text| keeper.notice(text));
    keeper.note_mode();
    keeper.notice(keeper.opening_words(closed_after));
    loading::words(&keeper.loaded)
        .into_iter()
        .for_each(|text| keeper.notice(text));
    keeper.share_folder();
    keeper.greet(watcher, true);
    keeper.serve(&signals)?;
    if let Some(starts) = starts {
        starts.ended_well();
    }
    Ok(ExitCode::SUCCESS)
}

/// What to say of registered programs for which the gate has no room.
fn left_out(loaded: &Loaded, registry: &Registry) -> Vec<String> {
    let paths = loaded
        .left_out
        .iter()
        .filter_map(|&index| Some(&registry.entries().get(index)?.stored.path));
    paths
        .map(|path| format!("the gate has no room for {path}: it does not count as registered"))
        .collect()
}

/// Waits where starts before this one failed. Only a service manager starts the daemon again
/// and again.
fn starts(paths: &Paths) -> Option<starts::Starts> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let starts = starts::Starts::in_folder(paths.socket.parent()?.to_owned());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let delay = starts.begin(Duration::from_secs(now.tv_sec.unsigned_abs()));
    std::thread::sleep(delay);
    Some(starts)
}

fn request(
    config: &Config,
    options: &Options,
    paths: &Paths,
    cgroup: &Cgroup,
    registry: &Registry,
) -> Request {
    Request {
        pins: paths.pins.clone(),
        cgroup: cgroup.path.clone(),
        mail_ports: config.mail_ports.clone(),
        irc_ports: (*config.irc_ports.start(), *config.irc_ports.end()),
        observe: options.observe,
        guard_submitters: config.guard_submitters,
        watch_packets: config.packet_watch != PacketWatch::Off,
        sample: config.packet_watch == PacketWatch::Full,
        watch_calls: config.call_watch.on_this_machine(),
        older_hooks: options.older_hooks,
        without_hooks: options.without_hooks.clone(),
        rate_per_minute: config.rate_per_minute,
        registered: registry.for_gate(),
    }
}

impl Keeper {
    fn opening_words(&self, closed_after: Duration) -> String {
        let how = if self.loaded.adopted {
            "adopted the gate that was there".to_owned()
        } else {
            format!(
                "closed mail ports after {} ms, and the whole gate stood",
                self.loaded.closed_after_ms
            )
        };
        let ports = self
            .config
            .mail_ports
            .iter()
            .map(u16::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let mode = if self.options.observe {
            "; observing only, nothing is refused"
        } else {
            ""
        };
        let seeded = if self.loaded.seeded == 0 {
            String::new()
        } else if self.loaded.carried > 0 {
            format!(
                "; the records of {} processes were carried over from an older gate, and {} of {} processes are foreign",
                self.loaded.carried, self.loaded.foreign, self.loaded.seeded
            )
        } else {
            format!(
                "; {} processes are older than the gate, {} of them foreign",
                self.loaded.seeded, self.loaded.foreign
            )
        };
        let calls = match &self.loaded.unwatched_calls {
            Some(why) => format!(
                "; calls that reach into other processes are not watched ({why}): set kernel.yama.ptrace_scope=1, which forbids them"
            ),
            None => String::new(),
        };
        let mailers = self
            .registry
            .entries()
            .iter()
            .filter(|entry| entry.stored.role == "mailer")
            .count();
        let hint = if mailers == 0 {
            "; no mailer is registered yet (sudo sekimori setup)"
        } else {
            ""
        };
        let forced: Vec<&str> = self
            .registry
            .entries()
            .iter()
            .filter(|entry| entry.stored.forced)
            .map(|entry| entry.stored.path.as_str())
            .collect();
        let forced = if forced.is_empty() {
            String::new()
        } else {
            format!("; registered by --force: {}", forced.join(", "))
        };
        format!(
            "{how} after {} ms on {}: mail ports {ports}{mode}{seeded}{calls}{hint}{forced}",
            closed_after.as_millis(),
            self.cgroup.path.display()
        )
    }

    /// The loop. Sleeps until a request, a changed file, a signal or a deadline.
    fn serve(&mut self, signals: &signals::Signals) -> Result<(), Failure> {
        let mut files = files::Files::new(&self.registry);
        self.verify_all();
        if self.loaded.adopted {
            // Programs may have been registered while no daemon ran.
            self.judge_again();
        }
        let mut seldom = true;
        self.look_at_code();
        while !self.is_over() {
            // The watcher's requests and the kernel's come again and again, all else is as rare as the start.
            if seldom {
                FilePages::find().give_back();
            }
            let woken = self.wait(signals, files.as_ref())?;
            seldom = !woken.is_usual();
            if woken.code {
                self.look_at_code();
            }
            if woken.watcher {
                self.turn();
            }
            if woken.ended {
                self.watcher_ended();
            }
            if woken.root {
                self.listen_to_root();
            }
            if woken.forward {
                self.take_reports();
            }
            if woken.looked {
                self.take_looks();
                // A registration may have come or gone.
                if let Some(files) = &mut files {
                    files.follow(&self.registry);
                }
            }
            if let Some(files) = &mut files
                && woken.files
            {
                self.verify_changed(files.changed());
                files.follow(&self.registry);
            }
            self.verify_due();
            if woken.signal {
                match signals.take() {
                    Some(signals::Signal::End) => self.end(),
                    Some(signals::Signal::Reload) => self.reload(),
                    None => {}
                }
            }
            self.housekeeping();
        }
        Ok(())
    }

    /// Takes what was read beside the loop.
    fn take_looks(&mut self) {
        while let Some(found) = self.looker.next() {
            match found {
                looker::Found::File(found) => self.verified(found),
                looker::Found::Command(asked) => self.answer_root(asked),
                looker::Found::Judged(looked) => self.judged_again(looked),
            }
        }
    }

    fn wait(
        &self,
        signals: &signals::Signals,
        files: Option<&files::Files>,
    ) -> Result<Woken, Failure> {
        let timeout = self.timeout();
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut waiting = vec![
            readable(signals.as_fd()),
            readable(self.sockets.root.as_fd()),
        ];
        // Those that may not be there have an end that never has anything to say in their place.
        waiting.push(files.map_or_else(|| silent(signals), |files| readable(files.as_fd())));
        match &self.watcher {
            Some(watcher) => {
                waiting.push(if watcher.gone {
                    silent(signals)
                } else {
                    watcher.served.poll(&self.waiting)
                });
                waiting.push(readable(watcher.ended()));
            }
            None => waiting.extend([silent(signals), silent(signals)]),
        }
        waiting.push(readable(self.looker.as_fd()));
        waiting.push(readable(self.code.as_fd()));
        waiting.push(readable(self.forward.as_fd()));
        waiting.extend(self.hold.poll());
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(Failure::failed(format!("poll: {error}"))),
        }
        let woken = |at: usize| !waiting[at].revents().is_empty();
        Ok(Woken {
            signal: woken(0),
            root: woken(1),
            files: woken(2),
            watcher: woken(3),
            ended: woken(4),
            looked: woken(5),
            code: woken(6),
            forward: woken(7),
        })
    }

    /// Until there is something to do unasked; none when nothing is due.
    fn timeout(&self) -> Option<Timespec> {
        let busy = self.notifier.is_busy() || self.unshared || self.registry.is_unsaved();
        let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let pulse = self.watcher.as_ref().filter(|watcher| !watcher.gone);
        let pulse = pulse.map(|watcher| watcher.pulse.due());
        let due = [
            self.restart_at.map(until),
            self.ending.map(until),
            self.pace.next().map(until),
            pulse.map(until),
            self.notifier.next_deadline().map(until),
            self.syslog.due().map(until),
            busy.then_some(ROUND),
        ];
        let due = due.into_iter().flatten().min()?;
        Some(Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: due.subsec_nanos().into(),
        })
    }

    fn housekeeping(&mut self) {
        self.notifier.reap();
        self.syslog.tick(&self.config.syslog, Instant::now());
        self.feel_pulse();
        if self.hold.lost_pins() {
            self.notice(format!(
                "pins of the gate in {} are gone: mail ports stay closed only as long as this daemon runs; restart it to set the gate up anew",
                self.paths.pins.display()
            ));
        }
        if self.tried.elapsed() >= ROUND {
            self.tried = Instant::now();
            if self.registry.save_again() {
                self.notice("the registered programs could be written".to_owned());
            }
            self.share_folder();
        }
        self.restart_watcher();
    }

    /// Lets the watcher use the state folder, and gives it a journal of before. Not before
    /// what that journal has of registrations is safe: it is not believed afterwards.
    fn share_folder(&mut self) {
        if !self.unshared || self.registry.is_unsaved() {
            return;
        }
        let folder = self.registry.store().folder();
        let shared = folder::share(folder, self.account)
            .and_then(|()| folder::hand_over_journal(folder, self.account));
        match shared {
            Ok(()) => self.unshared = false,
            Err(error) if !self.unshared_told => {
                self.unshared_told = true;
                trouble(&format!(
                    "{}: the watcher cannot be let in: {error}",
                    self.paths.state.display()
                ));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self) {
        if self.ending.is_none() {
            self.give_up_judging();
            self.registry.save_again();
            for path in self.registry.tombstones() {
                trouble(&format!(
                    "{path}: was unregistered, but {} could not be written: it is registered again at the next start",
                    self.registry.store().path().display()
                ));
            }
            self.ending = Some(Instant::now() + LAST_WORDS);
            self.restart_at = None;
            self.waiting.push(News::End);
        }
    }

    fn is_over(&self) -> bool {
        self.ending
            .is_some_and(|until| self.watcher.is_none() || until <= Instant::now())
    }

    fn retention(&self) -> Retention {
        Retention {
            days: self.config.journal_keep_days,
            entries: self.config.journal_max_entries,
        }
    }

    /// Something for the journal. It waits until there is a watcher that writes it.
    fn notice(&mut self, text: String) {
        self.waiting.push(News::Notice(text));
    }
}

/// Who has something to say.
#[derive(Default)]
struct Woken {
    signal: bool,
    root: bool,
    files: bool,
    watcher: bool,
    ended: bool,
    looked: bool,
    code: bool,
    forward: bool,
}

impl Woken {
    const fn is_usual(&self) -> bool {
        (self.watcher || self.code)
            && !(self.signal
                || self.root
                || self.files
                || self.ended
                || self.looked
                || self.forward)
    }
}

/// A place in the list for something that is not there.
fn silent(signals: &signals::Signals) -> PollFd<'_> {
    PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::empty())
}
