//! Refusals while an IRC connection lives that is older than the daemon, beside very many other sockets:
//! each refusal is a reason to ask whether that connection is still open.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::daemon::{on_cpu_ns, watcher_of};
use super::ground::{Ground, State};
use super::table::{Row, Target};
use super::task::Task;

/// Refusals, a hundredth of a second apart, so that each wakes the daemon.
const REFUSALS: u32 = 100;
const EVERY_US: u64 = 10_000;
/// Each connection over the loopback interface is two sockets.
const CONNECTIONS: usize = 9_000;
const IRC: u16 = 6667;
/// Nobody listens there.
const MAIL_PORT: u16 = 587;
/// Any port that is not guarded.
const OTHER: u16 = 8080;

/// What was found.
pub struct Findings {
    /// Milliseconds on a CPU, of both of the daemon's processes.
    busy_ms: f64,
    /// The same without the connections.
    alone_ms: f64,
}

/// Finds out.
pub fn play(ground: &mut Ground) -> Result<Findings> {
    ground.enter(State::Off)?;
    ground.enter(State::Gate)?;
    let alone_ms = refusals(ground)?;
    ground.enter(State::Off)?;
    let held = ground.sandbox().run_inside(connections)??;
    ground.enter(State::Gate)?;
    let busy_ms = refusals(ground)?;
    ground.enter(State::Off)?;
    drop(held);
    Ok(Findings { busy_ms, alone_ms })
}

/// The connections, held by this process: one of IRC and very many others.
fn connections() -> Result<Vec<(TcpListener, Vec<TcpStream>)>> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted).context("the limit of open files")?;
    [(OTHER, CONNECTIONS), (IRC, 1)]
        .into_iter()
        .map(|(port, count)| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let listener = TcpListener::bind(address)?;
            let mut streams = Vec::new();
            for _ in 0..count {
                streams.push(TcpStream::connect(address).context("a connection")?);
                streams.push(listener.accept()?.0);
            }
            Ok((listener, streams))
        })
        .collect()
}

/// What the daemon spends on refusals.
fn refusals(ground: &mut Ground) -> Result<f64> {
    let keeper = ground.daemon()?.pid();
    let both = [keeper, watcher_of(keeper)?];
    let on_cpu = || -> Result<u64> { both.iter().map(|pid| on_cpu_ns(*pid)).sum() };
    // Whatever the start left to do is done by then.
    sleep(Duration::from_secs(1));
    let before = on_cpu()?;
    ground.stranger.ask(&Task::Refused {
        port: MAIL_PORT,
        count: REFUSALS,
        every_us: EVERY_US,
    })?;
    sleep(Duration::from_millis(200));
    Ok((on_cpu()? - before) as f64 / 1e6)
}

impl Findings {
    /// The rows of the table.
    pub fn rows(&self) -> Vec<Row> {
        vec![
            Row::number(
                "daemon's CPU for 100 refusals, beside 18,000 sockets and an older IRC connection",
                self.busy_ms,
                "ms",
                Target::AtMost(50.0),
            ),
            Row::number("… without them", self.alone_ms, "ms", Target::None),
        ]
    }
}
