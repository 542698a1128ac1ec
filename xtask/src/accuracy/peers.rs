//! What others say of the same captures: nDPI's `ndpiReader` and `tshark`, as Debian ships
//! them, started once for each file and judged by the same rules as we are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocols::App;

use super::labels::{self, Connection};
use super::{Claims, Score, Tally, percent};
use crate::packages::Packages;
use crate::workspace::Workspace;
use crate::{process, terminal};

const WORKERS: usize = 2;
/// For one small capture. Both need a fraction of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// One of the others.
struct Tool {
    name: &'static str,
    packages: Packages,
    /// The command that looks at a capture and writes a table.
    command: fn(capture: &Path, table: &Table) -> Result<Command>,
    /// Reads that table.
    parse: fn(&str) -> Result<Claims>,
}

const TOOLS: [Tool; 2] = [
    Tool {
        name: "ndpiReader",
        packages: Packages {
            purpose: "for the comparison with nDPI",
            names: &["libndpi-bin"],
            answers: "",
            services: &[],
        },
        command: ndpi_reader,
        parse: parse_ndpi,
    },
    Tool {
        name: "tshark",
        packages: Packages {
            purpose: "for the comparison with tshark",
            names: &["tshark"],
            // It asks whether everybody may capture.
            answers: "wireshark-common wireshark-common/install-setuid boolean false\n",
            services: &[],
        },
        command: tshark,
        parse: parse_tshark,
    },
];

/// One of the others, and what it came to.
pub struct Peer {
    name: String,
    judged: Result<Judged>,
}

struct Judged {
    tally: Tally,
    /// Captures on which it ended with an error; what it said before counts.
    failed: usize,
}

/// Has all of them look at all captures.
pub fn compare(
    workspace: &Workspace,
    folder: &Path,
    files: &[String],
    truth: &HashMap<String, Vec<Connection>>,
) -> Vec<Peer> {
    let scratch = workspace.target("accuracy");
    let peers = TOOLS.iter().map(|tool| {
        let judged = tool
            .packages
            .ensure()
            .and_then(|()| tool.judge(&scratch.join(tool.name), folder, files, truth));
        Peer {
            name: tool.version(),
            judged,
        }
    });
    peers.collect()
}

impl Tool {
    fn judge(
        &self,
        scratch: &Path,
        folder: &Path,
        files: &[String],
        truth: &HashMap<String, Vec<Connection>>,
    ) -> Result<Judged> {
        terminal::step(&format!("{} on the same captures", self.name));
        fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        let next = AtomicUsize::new(0);
        let judged = Mutex::new(Judged {
            tally: Tally::default(),
            failed: 0,
        });
        thread::scope(|scope| {
            let work = |worker: usize| -> Result<()> {
                let result = scratch.join(worker.to_string());
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (claims, failed) = self.look(&folder.join(file), &result)?;
                    let mut judged = judged.lock().unwrap_or_else(|broken| broken.into_inner());
                    judged.failed += usize::from(failed);
                    let truth = truth.get(file.as_str()).map_or(&[][..], Vec::as_slice);
                    judged.tally.judge(file, truth, &claims);
                }
                Ok(())
            };
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| scope.spawn(move || work(worker)))
                .collect();
            for worker in workers {
                match worker.join() {
                    Ok(done) => done?,
                    Err(_) => bail!("a worker died"),
                }
            }
            Ok(())
        })?;
        fs::remove_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        Ok(judged
            .into_inner()
            .unwrap_or_else(|broken| broken.into_inner()))
    }

    /// What it says of one capture, and whether it ended with an error.
    fn look(&self, capture: &Path, result: &Path) -> Result<(Claims, bool)> {
        let shown = || format!("{} on {}", self.name, capture.display());
        let table = Table::create(result)?;
        let mut command = (self.command)(capture, &table)?;
        // Settings of whoever runs this are not to count.
        command
            .env("HOME", "/nonexistent")
            .env_remove("XDG_CONFIG_HOME")
            .stderr(Stdio::null());
        let status = process::run_within(&mut command, LIMIT).with_context(shown)?;
        let text = fs::read(result).with_context(|| result.display().to_string())?;
        let claims = (self.parse)(&String::from_utf8_lossy(&text)).with_context(shown)?;
        Ok((claims, !status.is_some_and(|status| status.success())))
    }

    /// Its name and its package's version.
    fn version(&self) -> String {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}"]);
        let version = query.args(self.packages.names).output();
        match version {
            Ok(output) if output.status.success() && !output.stdout.is_empty() => {
                format!("{} {}", self.name, String::from_utf8_lossy(&output.stdout))
            }
            _ => self.name.to_owned(),
        }
    }
}

/// Where a tool's table goes.
struct Table {
    path: PathBuf,
    /// The same, open and empty.
    file: File,
}

impl Table {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

fn ndpi_reader(capture: &Path, table: &Table) -> Result<Command> {
    let mut command = Command::new("ndpiReader");
    command.args(["-q", "-i"]).arg(capture);
    // Standard output has other things.
    command.arg("-C").arg(&table.path).stdout(Stdio::null());
    Ok(command)
}

fn tshark(capture: &Path, table: &Table) -> Result<Command> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(capture);
    command.args(["-Y", "irc || smtp", "-T", "fields", "-E", "occurrence=l"]);
    for field in TSHARK_FIELDS {
        command.args(["-e", field]);
    }
    command.stdout(table.file.try_clone().context("the table's file")?);
    Ok(command)
}

const TSHARK_FIELDS: [&str; 8] = [
    "tcp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
];

/// A line for each packet in which it saw one of the protocols. What is in no TCP stream is
/// no flow that we count.
fn parse_tshark(text: &str) -> Result<Claims> {
    let mut claims = Claims::new();
    let mut known = HashSet::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split('\t').collect();
        let [stream, from, to, protocols, fields @ ..] = &cells[..] else {
            bail!("unexpected line: {line}");
        };
        let (Ok(stream), Ok(from), Ok(to)) = (stream.parse::<u32>(), from.parse(), to.parse())
        else {
            continue;
        };
        // In a tunnel the inner addresses are those of the connection.
        let layers: Vec<_> = protocols.split(':').collect();
        let inner = layers
            .iter()
            .rfind(|layer| matches!(**layer, "ip" | "ipv6"));
        let address = match (inner, fields) {
            (Some(&"ip"), [source, destination, ..])
            | (Some(&"ipv6"), [_, _, source, destination]) => (source, destination),
            _ => continue,
        };
        let (Ok(source), Ok(destination)) = (address.0.parse(), address.1.parse()) else {
            bail!("no addresses: {line}");
        };
        let ends = labels::ends(
            SocketAddr::new(source, from),
            SocketAddr::new(destination, to),
        );
        for (layer, app) in [("irc", App::Irc), ("smtp", App::Smtp)] {
            if layers.contains(&layer) && known.insert((stream, app)) {
                claims.entry(ends).or_default().push(app);
            }
        }
    }
    Ok(claims)
}

/// A line for each flow, with a head that names the columns. A protocol is told as `SMTP`, or
/// with who is behind it, as `SMTP.Google`.
fn parse_ndpi(text: &str) -> Result<Claims> {
    let mut lines = text.lines();
    let mut claims = Claims::new();
    // No flows, no table.
    let Some(head) = lines.next() else {
        return Ok(claims);
    };
    let names: Vec<_> = head.trim_start_matches('#').split(',').collect();
    let column = |name: &str| {
        let found = names.iter().position(|column| *column == name);
        found.with_context(|| format!("no column {name} in: {head}"))
    };
    let (transport, told) = (column("protocol")?, column("ndpi_proto")?);
    let ends = [
        (column("src_ip")?, column("src_port")?),
        (column("dst_ip")?, column("dst_port")?),
    ];
    for line in lines {
        let cells: Vec<_> = line.split(',').collect();
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        if cell(transport) != "6" {
            continue;
        }
        let app = match () {
            () if cell(told).split('.').any(|name| name == "IRC") => App::Irc,
            () if cell(told).split('.').any(|name| name == "SMTP") => App::Smtp,
            () => continue,
        };
        let [a, b] = ends.map(|(address, port)| {
            let address: IpAddr = cell(address).parse().ok()?;
            Some(SocketAddr::new(address, cell(port).parse().ok()?))
        });
        let (Some(a), Some(b)) = (a, b) else {
            bail!("no addresses: {line}");
        };
        claims.entry(labels::ends(a, b)).or_default().push(app);
    }
    Ok(claims)
}

/// The comparison, as a section of the report.
pub fn section(ours: &Tally, peers: &[Peer]) -> String {
    let mut text = String::from(
        "## Beside others\n\nOn the same captures in the same run, judged by the same rules: the same connections \
         count, the same are left out, and a flow is matched by its ends.\n\n\
         | program | protocol | right | missed | false alarms | precision | recall | in part, recognised |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    rows(&mut text, "sekimori replay", ours);
    let mut notes = String::new();
    for peer in peers {
        match &peer.judged {
            Ok(judged) => {
                rows(&mut text, &peer.name, &judged.tally);
                if judged.failed > 0 {
                    let _ = writeln!(
                        notes,
                        "- {} ended with an error on {} captures; what it said before that counts.",
                        peer.name, judged.failed
                    );
                }
                let better = better(ours, &judged.tally);
                let _ = match better.is_empty() {
                    true => writeln!(notes, "- {} is better in nothing.", peer.name),
                    false => writeln!(notes, "- {} is better: {}.", peer.name, better.join("; ")),
                };
            }
            Err(reason) => {
                let _ = writeln!(notes, "- {}: not compared: {reason:#}.", peer.name);
            }
        }
    }
    text + "\n" + &notes
}

fn rows(text: &mut String, name: &str, tally: &Tally) {
    for (protocol, score) in [("IRC", tally.irc), ("SMTP", tally.smtp)] {
        let _ = writeln!(
            text,
            "| {name} | {protocol} | {} | {} | {} | {} | {} | {} of {} |",
            score.right,
            score.missed,
            score.false_alarms,
            percent(score.right, score.right + score.false_alarms),
            percent(score.right, score.right + score.missed),
            score.partial,
            score.partial_of,
        );
    }
}

/// In what the other is better, in words.
fn better(ours: &Tally, other: &Tally) -> Vec<String> {
    let mut found = Vec::new();
    for (name, ours, other) in [
        ("IRC", ours.irc, other.irc),
        ("SMTP", ours.smtp, other.smtp),
    ] {
        let mut compare = |what: &str, of: fn(&Score) -> (usize, usize)| {
            let ((part, whole), (other_part, other_whole)) = (of(&ours), of(&other));
            // As fractions: nothing out of nothing is no success.
            if other_part * whole > part * other_whole {
                found.push(format!(
                    "{what} of {name}, {other_part} of {other_whole} against {part} of {whole}"
                ));
            }
        };
        compare("precision", |score| {
            (score.right, score.right + score.false_alarms)
        });
        compare("recall", |score| (score.right, score.right + score.missed));
        compare("sessions captured in part", |score| {
            (score.partial, score.partial_of)
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::labels::Ends;

    fn ends(a: &str, b: &str) -> Ends {
        labels::ends(a.parse().unwrap(), b.parse().unwrap())
    }

    #[test]
    fn tshark_tells_packets_and_we_count_connections() {
        let claims = parse_tshark(
            "0\t25\t4000\teth:ethertype:ip:tcp:smtp\t10.0.0.1\t10.0.0.2\t\t\n\
             0\t4000\t25\teth:ethertype:ip:tcp:smtp:imf\t10.0.0.2\t10.0.0.1\t\t\n\
             1\t6667\t4001\teth:ethertype:ip:ipv6:tcp:irc\t10.0.0.1\t10.0.0.2\t2001:db8::1\t2001:db8::2\n\
             \t53\t53\teth:ethertype:ip:udp:irc\t10.0.0.1\t10.0.0.2\t\t\n",
        )
        .unwrap();
        assert_eq!(claims.len(), 2);
        assert_eq!(claims[&ends("10.0.0.1:25", "10.0.0.2:4000")], [App::Smtp]);
        let inner = ends("[2001:db8::1]:6667", "[2001:db8::2]:4001");
        assert_eq!(claims[&inner], [App::Irc]);
        assert!(parse_tshark("not a table").is_err());
    }

    #[test]
    fn ndpi_tells_flows() {
        let claims = parse_ndpi(
            "#flow_id,protocol,src_ip,src_port,dst_ip,dst_port,ndpi_proto\n\
             0,6,10.0.0.1,4000,10.0.0.2,25,SMTP.Google\n\
             1,6,10.0.0.1,4001,10.0.0.2,465,SMTPS\n\
             2,17,10.0.0.1,4002,10.0.0.2,25,SMTP\n\
             3,6,2001:db8::1,4003,2001:db8::2,6667,IRC\n",
        )
        .unwrap();
        assert_eq!(claims.len(), 2);
        assert_eq!(claims[&ends("10.0.0.1:4000", "10.0.0.2:25")], [App::Smtp]);
        assert!(parse_ndpi("").unwrap().is_empty());
        assert!(parse_ndpi("#another,table\n").is_err());
    }

    #[test]
    fn who_is_better_is_said() {
        let tally = |right, missed| Tally {
            irc: Score {
                right,
                missed,
                ..Score::default()
            },
            ..Tally::default()
        };
        assert!(better(&tally(3, 0), &tally(2, 1)).is_empty());
        assert_eq!(
            better(&tally(2, 1), &tally(3, 0)),
            ["recall of IRC, 3 of 3 against 2 of 3"]
        );
    }
}
