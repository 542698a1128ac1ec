//! `--html`: collects what the report shows while captures are read, and puts the page in
//! its place.

use std::collections::HashSet;
use std::fs;
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Subject, Suspicion, printable};
use present::flow_details;
use present::report::{Capture, Host, Report};
use replay::timeline::BYTES_MAX;
use replay::{FlowRecord, Network, Summary, Timeline};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Most hosts with a picture: what they did stays in memory until the page is written.
const HOSTS_MAX: usize = 96;
/// Most captures that are listed.
const FILES_MAX: usize = 1000;
/// How a page of ours, or any, begins.
const HTML_BEGINS: &[u8] = b"<!doctype html";

/// A report that is being made.
pub struct Collector {
    path: PathBuf,
    mail_ports: Vec<u16>,
    timeline: Timeline,
    span_ns: Option<(u64, u64)>,
    report: Report,
    hosts: usize,
}

impl Collector {
    /// One whose page will be at `path`.
    ///
    /// # Errors
    ///
    /// When the page could not be written there, or would replace something that is no page.
    /// Better now than after hours of reading.
    pub fn new(path: &Path, captures: &[PathBuf], mail_ports: &[u16]) -> Result<Self, Failure> {
        let path = place(path, captures).map_err(|why| cannot(path, &why))?;
        temporary(&path).map_err(|error| cannot(&path, &error.to_string()))?;
        Ok(Self {
            path,
            mail_ports: mail_ports.to_vec(),
            timeline: Timeline::new(BYTES_MAX, mail_ports.to_vec()),
            span_ns: None,
            report: Report::default(),
            hosts: 0,
        })
    }

    /// A flow of the capture that is being read.
    pub fn flow(&mut self, flow: &FlowRecord) {
        let (first_ns, last_ns) = self.span_ns.unwrap_or((u64::MAX, 0));
        self.span_ns = Some((
            first_ns.min(flow.first_ns),
            last_ns.max(flow.last_ns).max(flow.first_ns),
        ));
        let traffic = self.report.apps.entry(flow.outcome.app).or_default();
        traffic.flows += 1;
        traffic.bytes_up += flow.bytes_up;
        traffic.bytes_down += flow.bytes_down;
        self.timeline.add(flow, || flow_details(flow));
    }

    /// The capture that was being read has ended, with these suspicious hosts.
    pub fn end_of_capture(
        &mut self,
        name: &str,
        read: Result<&Summary, &replay::Error>,
        suspicions: &[Suspicion],
        excluded: &[Network],
    ) {
        let fresh = Timeline::new(BYTES_MAX, self.mail_ports.clone());
        let mut timeline = std::mem::replace(&mut self.timeline, fresh);
        let span_ns = self.span_ns.take();
        let mut capture = Capture {
            name: name.to_owned(),
            span_ns,
            ..Capture::default()
        };
        match read {
            Ok(summary) => {
                capture.packets = summary.packets;
                capture.bytes = summary.bytes;
                capture.flows = summary.flows;
                capture.damaged = summary.damage.is_some();
                capture.not_read = !summary.not_read.telling().is_empty();
                capture.notes = notes(summary, &timeline);
                capture.notes.extend(present::not_judged(excluded));
            }
            Err(error) => {
                capture.damaged = true;
                capture.notes = vec![format!("it {error}")];
            }
        }
        let listed = self.report.files.len() < FILES_MAX;
        let room = if listed { HOSTS_MAX - self.hosts } else { 0 };
        let mut suspicions: Vec<&Suspicion> = suspicions.iter().collect();
        suspicions.sort_by_key(|suspicion| (std::cmp::Reverse(suspicion.score), suspicion.since));
        let mut seen = HashSet::new();
        let hosts = suspicions.iter().filter_map(|suspicion| {
            let Subject::Host(address) = suspicion.subject else {
                return None;
            };
            seen.insert(address).then_some((address, *suspicion))
        });
        for (at, (address, suspicion)) in hosts.enumerate() {
            if at < room {
                capture.hosts.push(Host {
                    address,
                    suspicion: suspicion.clone(),
                    activity: timeline.take(address),
                    forgotten: timeline.left() > 0,
                });
            } else {
                capture.hosts_more += 1;
            }
        }
        self.hosts += capture.hosts.len();
        if listed {
            self.report.files.push(capture);
        } else {
            let rest = &mut self.report.rest;
            rest.captures += 1;
            rest.packets += capture.packets;
            rest.flows += capture.flows;
            rest.damaged += u64::from(capture.damaged);
            rest.not_read += u64::from(capture.not_read);
            rest.hosts += capture.hosts_more;
        }
    }

    /// Writes the page beside its place and then puts it there, so that there is a whole one
    /// or none. Ctrl-C meanwhile leaves nothing behind.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(self) -> Result<(), Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut watched = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            watched.extend(signal_hook::flag::register(signal, interrupted.clone()));
        }
        let written = (|| {
            let mut file = temporary(&self.path)?;
            let mut out = BufWriter::new(file.as_file_mut());
            self.report.write(&mut out)?;
            out.flush()?;
            drop(out);
            if interrupted.load(Ordering::Relaxed) {
                return Err(std::io::Error::other("interrupted"));
            }
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        })();
        for id in watched {
            signal_hook::low_level::unregister(id);
        }
        written.map_err(|error| cannot(&self.path, &error.to_string()))
    }
}

fn cannot(path: &Path, why: &str) -> Failure {
    Failure::failed(format!(
        "the report {} cannot be written: {why}",
        printable(&path.display().to_string())
    ))
}

/// Where the page goes: behind links, and never over something that is no page.
fn place(path: &Path, captures: &[PathBuf]) -> Result<PathBuf, String> {
    let known = match fs::metadata(path) {
        Ok(known) => known,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    if !known.is_file() {
        return Err("it is no file".to_owned());
    }
    let path = fs::canonicalize(path).map_err(|error| error.to_string())?;
    if captures
        .iter()
        .any(|capture| fs::canonicalize(capture).is_ok_and(|capture| capture == path))
    {
        return Err("it is one of the captures to read".to_owned());
    }
    let mut begins = Vec::new();
    let read = fs::File::open(&path)
        .and_then(|file| file.take(HTML_BEGINS.len() as u64).read_to_end(&mut begins));
    read.map_err(|error| error.to_string())?;
    if !begins.is_empty() && !begins.eq_ignore_ascii_case(HTML_BEGINS) {
        return Err("there is a file that is no HTML page, which is not overwritten".to_owned());
    }
    Ok(path)
}

/// A file that goes away unless it is put in its place.
fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".sekimori-report-")
        // As any file that the user makes; the mask of the process applies.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// What was wrong or left out, damage first.
fn notes(summary: &Summary, timeline: &Timeline) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(damage) = &summary.damage {
        notes.push(format!(
            "it {damage}; the {} packets before it were read",
            summary.packets
        ));
    }
    notes.extend(present::not_read(summary));
    let mut note = |number: u64, what: &str| {
        if number > 0 {
            notes.push(format!("{number} {what}"));
        }
    };
    note(
        summary.evicted,
        "flows were told before their end, because there were too many at the same time",
    );
    note(
        timeline.left(),
        "times the activity of a host was forgotten, because there were too many hosts; a picture may begin late",
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_replaces_what_is_no_page() {
        let folder = tempfile::tempdir().unwrap();
        let capture = folder.path().join("a.pcap");
        fs::write(&capture, b"\xd4\xc3\xb2\xa1").unwrap();
        let why = place(&capture, &[]).unwrap_err();
        assert!(why.contains("not overwritten"), "{why}");
        let why = place(&capture, std::slice::from_ref(&capture)).unwrap_err();
        assert!(why.contains("one of the captures"), "{why}");
        assert_eq!(place(folder.path(), &[]).unwrap_err(), "it is no file");
        assert_eq!(
            place(Path::new("/dev/null"), &[]).unwrap_err(),
            "it is no file"
        );
        let page = folder.path().join("a.html");
        assert_eq!(place(&page, &[]).unwrap(), page);
        fs::write(&page, "<!DOCTYPE html>\n<p>old").unwrap();
        assert!(place(&page, &[]).is_ok());
        fs::write(&page, "").unwrap();
        assert!(place(&page, &[]).is_ok());
    }

    #[test]
    fn where_nothing_can_be_written_is_said_at_once() {
        let path = Path::new("/nowhere/at-all/report.html");
        let Err(failure) = Collector::new(path, &[], &[25]) else {
            panic!("there is no such folder");
        };
        assert_eq!(failure.status, 1);
        assert!(
            failure
                .message
                .starts_with("the report /nowhere/at-all/report.html cannot be written"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn trying_leaves_nothing_behind_and_writing_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        let collector = Collector::new(&path, &[], &[25]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        collector.write().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(fs::read(&path).unwrap().starts_with(b"<!DOCTYPE html>"));
    }

    #[test]
    fn hosts_beyond_the_room_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = Collector::new(&folder.path().join("r.html"), &[], &[25]).unwrap();
        let suspicions: Vec<Suspicion> = (0..1000_u32)
            .map(|number| Suspicion {
                subject: Subject::Host(std::net::Ipv4Addr::from_bits(number).into()),
                since: engine::Timestamp(number.into()),
                score: number as i32,
                evidence: Vec::new(),
            })
            .collect();
        for _ in 0..2 {
            collector.end_of_capture("a", Ok(&Summary::default()), &suspicions, &[]);
        }
        assert_eq!(collector.report.files[0].hosts.len(), HOSTS_MAX);
        assert_eq!(collector.report.files[0].hosts[0].suspicion.score, 999);
        assert_eq!(collector.report.files[1].hosts.len(), 0);
        assert_eq!(
            collector.report.files[0].hosts_more,
            1000 - HOSTS_MAX as u64
        );
        assert_eq!(collector.report.files[1].hosts_more, 1000);
    }
}
