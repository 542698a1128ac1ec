//! What a worker is asked to do and what it answers: one JSON line each way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One piece of work.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Start a program and leave it running.
    Launch {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Connect to a listening socket of one's own, again and again.
    Connect {
        /// Port on 127.0.0.1.
        port: u16,
        /// How often.
        count: u32,
        /// From one connection's beginning to the next, at least.
        every_us: u64,
    },
    /// Connect to a port where nobody listens, and count what is not refused by the gate.
    Refused {
        /// Port on 127.0.0.1.
        port: u16,
        /// How often.
        count: u32,
        /// From one attempt's beginning to the next, at least.
        every_us: u64,
    },
    /// Connect until the gate refuses, and say when that was.
    AwaitRefusal {
        /// Port on 127.0.0.1 where nobody listens.
        port: u16,
    },
    /// Make the shortest system calls, in groups.
    SystemCalls {
        /// How many groups.
        count: u32,
    },
    /// Map a page, touch it and unmap it, in groups.
    Maps {
        /// How many groups.
        count: u32,
    },
    /// Start a program and wait for its end, again and again.
    Spawn {
        /// The program.
        program: PathBuf,
        /// How often.
        count: u32,
    },
    /// Send one byte to and fro over one loopback connection.
    PingPong {
        /// How many times there and back.
        count: u32,
    },
    /// Move pieces of [`super::work::PIECE_BYTES`] over one connection.
    Bulk {
        /// Over the veth pair, not the loopback interface.
        veth: bool,
        /// The far end has said something before, as most servers have.
        far_speaks: bool,
        /// How many pieces.
        count: u32,
    },
    /// Make the veth pair and the namespace at its other end.
    MakeVeth {
        /// The guarded cgroup, to which the worker belongs.
        guarded: PathBuf,
        /// A cgroup that is not guarded, to which the far end belongs.
        unguarded: PathBuf,
    },
    /// Start many short-lived processes, each of which connects once.
    Storm {
        /// The programs, in turn.
        callers: Vec<PathBuf>,
        /// Port on 127.0.0.1.
        port: u16,
        /// How many processes.
        count: u32,
    },
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Nanoseconds of each operation.
    pub each_ns: Vec<u64>,
    /// Nanoseconds of each operation with what belongs to it before and after.
    pub whole_ns: Vec<u64>,
    /// Packets on the interface meanwhile.
    pub packets: u64,
    /// A number: of the monotonic clock, of a process, or a count.
    pub number: u64,
    /// Each process that was started: its id, which program it was, and its exit status.
    pub processes: Vec<(u32, usize, i32)>,
    /// Why it did not work.
    pub failure: Option<String>,
}

/// One end of the way between the bench and a worker.
#[derive(Debug)]
pub struct Link {
    reader: BufReader<UnixStream>,
}

impl Link {
    /// Over a connected socket.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(message)?;
        line.push('\n');
        let stream = self.reader.get_mut();
        stream
            .write_all(line.as_bytes())
            .context("the other side is gone")
    }

    /// Waits for one message; none when the other side has ended.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).context(line)
    }

    /// Has a task done.
    pub fn ask(&mut self, task: &Task) -> Result<Answer> {
        self.send(task)?;
        self.answer()
    }

    /// Waits for the answer to a task that was sent.
    pub fn answer(&mut self) -> Result<Answer> {
        let answer: Answer = self.receive()?.context("the worker ended early")?;
        match answer.failure {
            Some(failure) => bail!("the worker: {failure}"),
            None => Ok(answer),
        }
    }
}
