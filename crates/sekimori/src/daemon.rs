//! `run`: the daemon. It sees that the gate stands, turns its reports into entries and
//! warnings, watches the registered files, and answers other commands.
//!
//! The gate does not need it: what it permits or refuses is decided in the kernel.

mod answer;
mod events;
mod older_irc;
mod outbox;
mod signals;
mod watch;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::{Engine, Event, Settings};
use journal::{Journal, Opened};
use linux::cgroup::Cgroup;
use linux::gate::{Events, Gate};
use linux::hold::Hold;
use linux::load::{Loaded, Request};
use linux::pins::Pins;
use linux::programs::Programs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;
use crate::commands::load_gate;
use crate::config::{Config, PacketWatch};
use crate::control::server::Server;
use crate::failure::Failure;
use crate::install;
use crate::paths::Paths;
use crate::registry::Registry;

/// Reports taken from the ring buffer before other work gets its turn.
const EVENTS_AT_ONCE: usize = 2048;
/// How often counters are compared, old entries removed and children reaped, while there
/// is something to do. An idle daemon sleeps.
const ROUND: Duration = Duration::from_secs(10);
/// How often old entries are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How the daemon was asked to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file, when one was named.
    pub config: Option<PathBuf>,
    /// The guarded cgroup, when not all.
    pub cgroup: Option<PathBuf>,
    /// Refuse nothing.
    pub observe: bool,
}

/// The daemon's state.
pub struct Daemon {
    options: Options,
    config: Config,
    paths: Paths,
    cgroup: Cgroup,
    journal: Journal,
    registry: Registry,
    gate: Gate,
    hold: Hold,
    engine: Engine,
    programs: Programs,
    older_irc: older_irc::OlderIrc,
    outbox: outbox::Outbox,
    loaded: Loaded,
    lost_told: events::LostTold,
    started: Instant,
    pruned: Option<Instant>,
    /// When it was last tried to open a journal for writing that could not be.
    reopened: Instant,
}

/// Runs until it is told to end.
///
/// # Errors
///
/// When the gate cannot be had: status 3 when this machine or user cannot have it.
pub fn run(options: Options, paths: Paths) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let config = Config::load(options.config.as_deref())?;
    let cgroup = match &options.cgroup {
        Some(folder) => Cgroup::at(folder)?,
        None => Cgroup::root()?,
    };
    let signals = signals::Signals::listen()?;
    let opened = open_journal(&paths)?;
    let mut journal = opened.journal;
    let registry = Registry::load(&journal)?;
    // Before the gate: two daemons must not read one ring buffer.
    let server = Server::listen(&paths)?;
    let request = request(&config, &options, &paths, &cgroup, &registry);
    let loaded = load_gate::in_own_process(&request)?;
    let closed_after = begun.elapsed();
    let gate = Gate::open(&Pins::new(&paths.pins, linux::load::OBJECT))?;
    let hold = Hold::of(&request.pins())?;
    let reports = gate.events()?;
    let samples = gate.samples()?;

    let mut outbox = outbox::Outbox::new(config.notify);
    if let Some(aside) = &opened.set_aside {
        outbox.notice(&mut journal, format!(
            "the journal was damaged: it was set aside as {} and a new one begun; {} registered programs were carried over",
            aside.display(), opened.programs_saved));
    }
    let mut daemon = Daemon {
        lost_told: events::LostTold::at(&gate),
        options,
        config,
        paths,
        cgroup,
        journal,
        registry,
        gate,
        hold,
        engine: Engine::new(Settings::default()),
        programs: Programs::default(),
        older_irc: older_irc::OlderIrc::default(),
        outbox,
        loaded,
        started: Instant::now(),
        pruned: None,
        reopened: begun,
    };
    daemon.notice(daemon.opening_words(closed_after));
    if let Err(error) = install::tell_starter("READY=1") {
        daemon
            .outbox
            .trouble(&format!("the service manager does not listen: {error}"));
    }
    daemon.find_older_irc();
    daemon.serve(reports, samples, &server, &signals)?;
    daemon.notice("stopped; the gate stays closed without the daemon".to_owned());
    Ok(ExitCode::SUCCESS)
}

/// Opens the journal. Where it cannot be written, the gate must be set up all the same, so
/// what is registered is read, and the rest is tried again later.
fn open_journal(paths: &Paths) -> Result<Opened, Failure> {
    Journal::open(&paths.journal).or_else(|error| {
        let refused = matches!(
            error,
            journal::Error::Newer { .. } | journal::Error::Stranger { .. }
        );
        match Journal::open_read_only(&paths.journal) {
            Ok(journal) if !refused => Ok(Opened {
                journal,
                set_aside: None,
                programs_saved: 0,
            }),
            _ => Err(error.into()),
        }
    })
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
        watch_calls: config.call_watch.applies(),
        rate_per_minute: config.rate_per_minute,
        registered: registry.for_gate(),
    }
}

impl Daemon {
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
        } else {
            format!(
                "; {} processes are older than the gate, {} of them foreign",
                self.loaded.seeded, self.loaded.foreign
            )
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
        format!(
            "{how} after {} ms on {}: mail ports {ports}{mode}{seeded}{hint}",
            closed_after.as_millis(),
            self.cgroup.path.display()
        )
    }

    /// The loop. Sleeps until a report, a command, a changed file, a signal or a deadline.
    fn serve(
        &mut self,
        mut reports: Events,
        mut samples: Events,
        server: &Server,
        signals: &signals::Signals,
    ) -> Result<(), Failure> {
        let mut watch = watch::Watch::new(&self.registry);
        self.verify_all();
        loop {
            let timeout = self.timeout();
            let woken = {
                let mut waiting = vec![
                    PollFd::from_borrowed_fd(reports.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(server.wake(), PollFlags::IN),
                    PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(samples.as_fd(), PollFlags::IN),
                ];
                // Last, because it may not be there; asked about at each turn.
                let pins = self.hold.poll();
                if let Some(fd) = watch.as_ref().map(watch::Watch::as_fd) {
                    waiting.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                }
                waiting.extend(pins);
                match poll(&mut waiting, timeout.as_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(Failure::failed(format!("poll: {error}"))),
                }
                waiting
                    .iter()
                    .map(|fd| !fd.revents().is_empty())
                    .collect::<Vec<_>>()
            };
            self.end_older_irc();
            self.take_samples(&mut samples, EVENTS_AT_ONCE);
            self.take_reports(&mut reports, EVENTS_AT_ONCE);
            if woken[1] {
                server.answer_waiting(|request, who| self.answer(request, who));
                // A registration may have come or gone.
                if let Some(watch) = &mut watch {
                    watch.follow(&self.registry);
                }
            }
            if let Some(watch) = &mut watch
                && woken[4]
            {
                for path in watch.changed() {
                    self.verify(&path);
                }
                watch.follow(&self.registry);
            }
            if woken[2] {
                match signals.take() {
                    Some(signals::Signal::End) => break,
                    Some(signals::Signal::Reload) => self.reload(),
                    None => {}
                }
            }
            self.housekeeping();
        }
        self.take_samples(&mut samples, usize::MAX);
        self.take_reports(&mut reports, usize::MAX);
        Ok(())
    }

    /// Until the engine or the outbox has something to do; none when nothing is due.
    fn timeout(&self) -> Option<Timespec> {
        let engine = self
            .engine
            .next_deadline()
            .map(|deadline| Duration::from_nanos(deadline.since_ns(clock::now())));
        let round = self.outbox.has_work().then_some(ROUND);
        let due = [engine, round].into_iter().flatten().min()?;
        Some(Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: due.subsec_nanos().into(),
        })
    }

    fn housekeeping(&mut self) {
        let actions = self.engine.tick(clock::now());
        self.outbox
            .perform(&mut self.journal, actions, clock::now());
        self.tell_losses();
        if self.hold.lost_pins() {
            self.notice(format!(
                "pins of the gate in {} are gone: mail ports stay closed only as long as this daemon runs; restart it to set the gate up anew",
                self.paths.pins.display()
            ));
        }
        self.reopen_journal();
        self.outbox.flush(&mut self.journal);
        if self
            .pruned
            .is_none_or(|pruned| pruned.elapsed() >= PRUNE_EVERY)
        {
            // Not by age at the start: a clock that is wrong then is set right soon after.
            let keep_ns = self.pruned.map_or(u64::MAX, |_| {
                u64::from(self.config.journal_keep_days) * 86_400 * 1_000_000_000
            });
            self.pruned = Some(Instant::now());
            let (now, most) = (clock::now().0, self.config.journal_max_entries);
            if let Err(error) = self.journal.prune(now, keep_ns, most) {
                self.outbox.trouble(&error.to_string());
            }
        }
    }

    /// A journal that could not be written at the start may be by now.
    fn reopen_journal(&mut self) {
        if !self.journal.is_read_only() || self.reopened.elapsed() < ROUND {
            return;
        }
        self.reopened = Instant::now();
        if let Ok(opened) = Journal::open(&self.paths.journal) {
            self.journal = opened.journal;
            self.notice(format!(
                "the journal can be written again; {} entries were not kept",
                self.outbox.unwritten()
            ));
        }
    }

    fn notice(&mut self, text: String) {
        let now = clock::now();
        let actions = self.engine.handle(Event::Notice { text }, now);
        self.outbox.perform(&mut self.journal, actions, now);
        self.outbox.flush(&mut self.journal);
    }

    fn verify_all(&mut self) {
        for index in 0..self.registry.entries().len() {
            self.verify_index(index);
        }
    }

    fn verify(&mut self, path: &str) {
        if let Some(index) = self
            .registry
            .entries()
            .iter()
            .position(|entry| entry.stored.path == path)
        {
            self.verify_index(index);
        }
    }

    fn verify_index(&mut self, index: usize) {
        match self
            .registry
            .verify(index, &mut self.journal, &mut self.gate)
        {
            Ok(Some(said)) => self.notice(said),
            Ok(None) => {}
            Err(error) => self.outbox.trouble(&format!("{error:#}")),
        }
    }

    /// Reads the configuration again. A broken one changes nothing.
    fn reload(&mut self) {
        let config = match Config::load(self.options.config.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                return self.notice(format!(
                    "configuration not read again, the old one stays in force: {error:#}"
                ));
            }
        };
        if (config.packet_watch, config.call_watch)
            != (self.config.packet_watch, self.config.call_watch)
        {
            self.notice("packet_watch and call_watch change with the next start only".to_owned());
        }
        let request = request(
            &config,
            &self.options,
            &self.paths,
            &self.cgroup,
            &self.registry,
        );
        match request
            .settings()
            .and_then(|settings| self.gate.apply_settings(&settings))
        {
            Ok(()) => {
                self.outbox.set_notify(config.notify);
                self.config = config;
                self.notice("configuration read again".to_owned());
            }
            Err(error) => self.notice(format!(
                "configuration not read again, the old one stays in force: {error}"
            )),
        }
    }
}
