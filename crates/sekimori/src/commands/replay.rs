//! `replay`: captures in, flows and findings out.

mod report;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use engine::{Observation, Suspicion, Timestamp};
use guard::config::Config;
use present::Style;
use protocols::App;
use replay::{FlowRecord, HostSettings, Hosts, Input, Settings, Sink, Summary};

use crate::cli::ReplayArgs;
use crate::failure::Failure;
use crate::output::{all_said, not_said, style, trouble};

/// How often the progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);
const BAR_COLUMNS: u64 = 30;

/// Exit status of a replay that did its work, but of captures that hold something it cannot
/// read: to find no bot then says little.
const NOT_ALL_READ: u8 = 4;

/// `replay`. Exit status 1 when a file could not be read, or not to its end; the others are
/// read all the same. 4 when packets were not read in which conversations could be.
pub fn run(options: &ReplayArgs) -> Result<ExitCode, Failure> {
    let style = style();
    let config = config(options.config.as_deref())?;
    let screen = Arc::new(Mutex::new(Screen::default()));
    let html = options.html.as_deref();
    let mut page = html
        .map(|path| report::Collector::new(path, &options.files, &config.mail_ports))
        .transpose()?;
    // Who does not read the flows any more may still want the page.
    locked(&screen).needed = page.is_none();
    let mut ended = Ended::All;
    for file in &options.files {
        let name = file.display().to_string();
        let mut counts = Counts::default();
        let mut print = |flow: &FlowRecord| {
            counts.add(flow);
            if let Some(page) = &mut page {
                page.flow(flow);
            }
            locked(&screen).flow(flow, &name, options.json, style);
        };
        let mut hosts = Hosts::new(HostSettings {
            mail_ports: config.mail_ports.clone(),
            exclude: options.exclude.clone(),
        });
        if !options.json {
            locked(&screen).heading(&name, options.files.len() > 1, style);
        }
        let read = read(file, &screen, &mut hosts, &mut print);
        let (findings, excluded) = (hosts.findings(), hosts.excluded());
        if let Some(page) = &mut page {
            page.end_of_capture(&name, read.as_ref(), &findings, &excluded);
        }
        let mut screen = locked(&screen);
        screen.erase_bar();
        match read {
            Ok(summary) => {
                if options.json {
                    screen.findings_json(&findings, &name);
                    let read = Ok(&summary);
                    screen.line(&present::summary_json(
                        &name,
                        read,
                        findings.len(),
                        &excluded,
                    ));
                } else {
                    screen.line(&closing(&summary, &counts));
                    screen.line(&present::verdict(&summary, findings.len()));
                    if let Some(words) = present::not_judged(&excluded) {
                        screen.line(&words);
                    }
                    screen.findings(&findings, style);
                }
                screen.flush();
                ended = ended.max(report(&name, &summary));
            }
            Err(error) => {
                if options.json {
                    screen.line(&present::summary_json(&name, Err(&error), 0, &excluded));
                }
                screen.flush();
                trouble(&format!("{name} {error}"));
                ended = Ended::Failed;
            }
        }
    }
    if let Some(page) = page {
        page.write()?;
    }
    Ok(match ended {
        Ended::All => ExitCode::SUCCESS,
        Ended::Part => ExitCode::from(NOT_ALL_READ),
        Ended::Failed => ExitCode::FAILURE,
    })
}

/// The configuration, for its mail ports. A capture can come from another machine, so nothing
/// about this machine's own file keeps it from being read.
fn config(named: Option<&Path>) -> Result<Config, Failure> {
    match Config::load(named) {
        Ok(config) => Ok(config),
        Err(error) if named.is_some() => Err(Failure::failed(format!("{error:#}"))),
        Err(error) => {
            trouble(&format!(
                "{error:#}; the default mail ports are used instead"
            ));
            Ok(Config::default())
        }
    }
}

/// How much was read, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    All,
    Part,
    Failed,
}

fn read(
    file: &Path,
    screen: &Arc<Mutex<Screen>>,
    hosts: &mut Hosts,
    print: &mut impl FnMut(&FlowRecord),
) -> Result<Summary, replay::Error> {
    let input = Input::open(file)?;
    let _progress = Progress::start(&input, screen.clone());
    let mut weigher = Weigher { hosts, print };
    replay::replay_into(input, &Settings::default(), &mut weigher)
}

/// Flows are printed, and what the hosts did is weighed.
struct Weigher<'a, P> {
    hosts: &'a mut Hosts,
    print: &'a mut P,
}

impl<P: FnMut(&FlowRecord)> Sink for Weigher<'_, P> {
    fn flow(&mut self, flow: FlowRecord) {
        (self.print)(&flow);
    }

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.hosts.observe(host, observation, Timestamp(time_ns));
    }
}

/// Reports on standard error what was wrong with a file that could be read.
fn report(name: &str, summary: &Summary) -> Ended {
    let not_read = present::not_read(summary);
    for what in &not_read {
        trouble(&format!("{name}: {what}"));
    }
    if summary.evicted > 0 {
        trouble(&format!(
            "{name} has too many flows at the same time; {} were told before their end",
            summary.evicted
        ));
    }
    match &summary.damage {
        None if not_read.is_empty() => Ended::All,
        None => Ended::Part,
        Some(damage) => {
            trouble(&format!(
                "{name} {damage}; the {} packets before it were read",
                summary.packets
            ));
            Ended::Failed
        }
    }
}

fn closing(summary: &Summary, counts: &Counts) -> String {
    format!(
        "{} flows in {} packets: {} IRC, {} mail, {} not recognised.",
        summary.flows, summary.packets, counts.irc, counts.smtp, counts.unknown
    )
}

#[derive(Default)]
struct Counts {
    irc: u64,
    smtp: u64,
    unknown: u64,
}

impl Counts {
    fn add(&mut self, flow: &FlowRecord) {
        match flow.outcome.app {
            App::Irc => self.irc += 1,
            App::Smtp => self.smtp += 1,
            App::Unknown => self.unknown += 1,
            _ => {}
        }
    }
}

/// Rows on standard output and a bar on standard error, which can be the same terminal.
struct Screen {
    out: BufWriter<io::Stdout>,
    out_is_terminal: bool,
    bar: bool,
    /// Without a reader there is nothing left to do.
    needed: bool,
    gone: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            out_is_terminal: io::stdout().is_terminal(),
            bar: false,
            needed: true,
            gone: false,
        }
    }
}

impl Screen {
    fn heading(&mut self, name: &str, several: bool, style: Style) {
        if several {
            self.line(&format!("{}:", engine::printable(name)));
        }
        self.line(&present::heading(present::FLOW_HEADINGS, style));
    }

    fn flow(&mut self, flow: &FlowRecord, file: &str, json: bool, style: Style) {
        let line = if json {
            present::flow_json(flow, file)
        } else {
            present::flow_line(flow, style)
        };
        self.line(&line);
    }

    fn findings(&mut self, findings: &[Suspicion], style: Style) {
        if findings.is_empty() {
            return;
        }
        self.line("");
        self.line(&present::heading("FINDINGS", style));
        for finding in findings {
            for line in present::finding_lines(finding, style) {
                self.line(&line);
            }
        }
    }

    fn findings_json(&mut self, findings: &[Suspicion], file: &str) {
        for finding in findings {
            self.line(&present::finding_json(finding, file));
        }
    }

    fn line(&mut self, line: &str) {
        if self.out_is_terminal {
            self.erase_bar();
        }
        if !self.gone
            && let Err(error) = writeln!(self.out, "{line}")
        {
            self.nobody_reads(&error);
        }
    }

    fn flush(&mut self) {
        if !self.gone
            && let Err(error) = self.out.flush()
        {
            self.nobody_reads(&error);
        }
    }

    /// As behind `| head`, or on a full disk.
    fn nobody_reads(&mut self, error: &io::Error) {
        not_said(error);
        if self.needed {
            let all_said = all_said().inspect_err(Failure::say);
            std::process::exit(all_said.map_or_else(|failure| failure.status.into(), |()| 0))
        }
        self.gone = true;
    }

    fn draw_bar(&mut self, read: u64, size: u64) {
        if self.out_is_terminal {
            self.flush();
        }
        let done = read.min(size);
        let filled = (done * BAR_COLUMNS / size.max(1)) as usize;
        let bar = "█".repeat(filled) + &"░".repeat(BAR_COLUMNS as usize - filled);
        let percent = done * 100 / size.max(1);
        let _ = write!(
            io::stderr(),
            "\r{bar} {percent:>3} %  {} of {} MB",
            done / 1_000_000,
            size / 1_000_000
        );
        self.bar = true;
    }

    fn erase_bar(&mut self) {
        if self.bar {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.bar = false;
        }
    }
}

fn locked(screen: &Mutex<Screen>) -> std::sync::MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws the bar while a file is read, when somebody can see it.
struct Progress {
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Progress {
    fn start(input: &Input, screen: Arc<Mutex<Screen>>) -> Option<Self> {
        let size = input.size_bytes().filter(|_| io::stderr().is_terminal())?;
        let read: Arc<AtomicU64> = input.read_bytes();
        let (end, ended) = channel();
        let thread = thread::spawn(move || {
            while ended.recv_timeout(DRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
                locked(&screen).draw_bar(read.load(Ordering::Relaxed), size);
            }
        });
        Some(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
