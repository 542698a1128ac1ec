//! The rounds: in each, every state in turn, and in each state every operation that is
//! compared in it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::bpf;
use super::figures::{low_percentile, middle};
use super::ground::{Ground, State};
use super::task::{Answer, Task};
use super::work::{PIECE_BYTES, WARM_UP};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The shortest system call.
    SystemCall,
    /// connect() to a port that is not guarded.
    Connect,
    /// connect() to a mail port by the mailer.
    MailConnect,
    /// The same, its median in place of the low percentile: an entry in the journal may not
    /// be had cheaply by one in ten only.
    MailMiddle,
    /// The same from socket() to close().
    MailWhole,
    /// Start and end of /bin/true.
    Spawn,
    /// Start and end of a program that is one system call long.
    SpawnTiny,
    /// One byte there and back.
    PingPong,
    /// A large piece over the loopback interface.
    Bulk,
    /// A large piece over veth.
    Veth,
    /// connect() to a port that is not guarded, by what may not send.
    SampledConnect,
    /// One byte there and back, by what may not send.
    SampledPingPong,
    /// A large piece over the loopback interface, by what may not send, to a server that has
    /// spoken.
    SampledBulk,
    /// The same to a server that has not: the gate reads it for words of mail.
    SilentBulk,
}

impl Operation {
    /// Whether a program that may not send does it: what it says is sampled.
    const fn is_sampled(self) -> bool {
        matches!(
            self,
            Self::SampledConnect | Self::SampledPingPong | Self::SampledBulk | Self::SilentBulk
        )
    }
}

/// How long the rounds are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many rounds.
    pub rounds: u32,
    /// Divides the length of each batch.
    pub divisor: u32,
}

/// A port that nobody guards, and one that the gate does.
pub const OPEN_PORT: u16 = 7777;
const MAIL_PORT: u16 = 25;
/// Time for the daemon to write an entry and to sleep again: mail is no flood.
const MAIL_EVERY_US: u64 = 2000;
/// Pieces to a silent server. The gate reads the first 16 MiB of a connection: all of them
/// have to lie before that, or the low percentile would be of those that nobody reads.
const SILENT_PIECES: u32 = 40;
const _: () = assert!((SILENT_PIECES + WARM_UP) as usize * PIECE_BYTES < 16 << 20);

/// All measurements: a low percentile for each state, operation and round.
#[derive(Default)]
pub struct Samples {
    times_ns: HashMap<(State, Operation), Vec<f64>>,
    packets: HashMap<Operation, (u64, u64)>,
    /// Connections that the mailer made through the gate.
    pub mail_connects: u64,
    /// What the gate counted as lost meanwhile.
    pub lost: u64,
    /// States and operations that could not be had, and why.
    pub missing: Vec<String>,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds in which somebody else's programs ran in the kernel for the whole machine.
    pub disturbed: usize,
}

impl Samples {
    /// One value of each round.
    pub fn of(&self, state: State, operation: Operation) -> Option<&[f64]> {
        self.times_ns.get(&(state, operation)).map(Vec::as_slice)
    }

    /// Packets of one operation, on average.
    pub fn packets(&self, operation: Operation) -> Option<f64> {
        let (packets, operations) = *self.packets.get(&operation)?;
        Some(packets as f64 / operations as f64)
    }
}

/// With fewer clean rounds than this the others count too.
const ENOUGH: usize = 10;

impl Samples {
    /// Leaves out rounds that were disturbed, when enough others remain.
    fn keep_clean(&mut self, clean: &[bool]) {
        let good = good(clean);
        self.disturbed = clean.len() - good;
        self.rounds = clean.len();
        if good < ENOUGH.min(clean.len()) {
            return;
        }
        self.rounds = good;
        for times in self.times_ns.values_mut() {
            let mut clean = clean.iter();
            times.retain(|_| *clean.next().unwrap_or(&false));
        }
    }
}

/// Plays all rounds.
pub fn play(ground: &mut Ground, size: Size) -> Result<Samples> {
    let mut samples = Samples::default();
    let mut states = vec![
        State::Off,
        State::Gate,
        State::Nftables,
        State::GateWithoutSamples,
        State::GateWithoutPackets,
        State::GateWithoutCalls,
        State::GateWithEveryCall,
        State::EmptyPair,
        State::EmptyPrograms,
        State::OffAgain,
    ];
    // A state that cannot be had is left out. Without the gate there is nothing to measure.
    ground.enter(State::Gate)?;
    for state in [
        State::Nftables,
        State::EmptyPair,
        State::EmptyPrograms,
        State::Off,
    ] {
        if let Err(error) = ground.enter(state) {
            samples.missing.push(format!("{state:?}: {error:#}"));
            states.retain(|other| *other != state);
        }
    }
    let make_veth = Task::MakeVeth {
        guarded: ground.sandbox().cgroup(),
        unguarded: ground.sandbox().crew_cgroup(),
    };
    let veth = ground.mailer.ask(&make_veth);
    if let Err(error) = &veth {
        samples.missing.push(format!("veth: {error:#}"));
    }
    let tiny = tiny_program(ground.sandbox().folder())?;

    let mut clean = Vec::new();
    let mut round = 0;
    while good(&clean) < size.rounds as usize && round < size.rounds * 2 {
        eprint!("\rround {} of {} ", good(&clean) + 1, size.rounds);
        // Nobody is always first or always after the same one.
        let mut order = states.clone();
        order.rotate_left(round as usize % states.len());
        if round % 2 == 1 {
            order.reverse();
        }
        let mut undisturbed = true;
        for state in order {
            ground.enter(state)?;
            undisturbed &= alone(state);
            let mut batch = Batch {
                ground,
                samples: &mut samples,
                state,
                divisor: size.divisor,
            };
            batch.run(veth.is_ok(), tiny.as_deref())?;
            undisturbed &= alone(state);
            if state == State::Gate {
                samples.lost += ground.counter("events_lost")?;
            }
        }
        clean.push(undisturbed);
        round += 1;
    }
    eprintln!();
    ground.enter(State::Off)?;
    samples.keep_clean(&clean);
    Ok(samples)
}

fn good(rounds: &[bool]) -> usize {
    rounds.iter().filter(|clean| **clean).count()
}

/// Whether no program but the gate's runs for the whole machine. While the gate is up, that
/// cannot be told.
fn alone(state: State) -> bool {
    matches!(
        state,
        State::Gate
            | State::GateWithoutSamples
            | State::GateWithoutPackets
            | State::GateWithoutCalls
            | State::GateWithEveryCall
            | State::EmptyPrograms
    ) || bpf::is_quiet().unwrap_or(true)
}

/// The operations of one state in one round.
struct Batch<'a> {
    ground: &'a mut Ground,
    samples: &'a mut Samples,
    state: State,
    divisor: u32,
}

impl Batch<'_> {
    fn run(&mut self, veth: bool, tiny: Option<&Path>) -> Result<()> {
        use State::{EmptyPair, EmptyPrograms, Gate, Nftables, Off, OffAgain};
        use State::{GateWithEveryCall, GateWithoutCalls, GateWithoutPackets, GateWithoutSamples};
        let off_or_gate = matches!(self.state, Off | OffAgain | Gate);
        let other_gate = matches!(self.state, GateWithoutSamples | GateWithoutPackets);
        if off_or_gate || other_gate || matches!(self.state, Nftables | EmptyPrograms) {
            self.connect(Operation::Connect, OPEN_PORT, 1500, 0)?;
        }
        if off_or_gate || matches!(self.state, GateWithoutPackets | GateWithEveryCall) {
            let calls = |count| Task::SystemCalls { count };
            self.time(Operation::SystemCall, 2000, calls)?;
        }
        if off_or_gate || other_gate || matches!(self.state, Nftables | EmptyPair) {
            let ping_pong = |count| Task::PingPong { count };
            self.time(Operation::PingPong, 3000, ping_pong)?;
            self.time(Operation::Bulk, 300, bulk(false, false))?;
        }
        let is_peer = matches!(self.state, Nftables | EmptyPair | EmptyPrograms);
        if veth && (off_or_gate || other_gate || is_peer) {
            self.time(Operation::Veth, 300, bulk(true, false))?;
        }
        if off_or_gate || self.state == EmptyPair {
            let connect = |count| Task::Connect {
                port: OPEN_PORT,
                count,
                every_us: 0,
            };
            self.time(Operation::SampledConnect, 1500, connect)?;
            let ping_pong = |count| Task::PingPong { count };
            self.time(Operation::SampledPingPong, 3000, ping_pong)?;
            self.time(Operation::SampledBulk, 300, bulk(false, true))?;
            self.time(Operation::SilentBulk, SILENT_PIECES, bulk(false, false))?;
        }
        let other_calls = matches!(self.state, GateWithoutCalls | GateWithEveryCall);
        if off_or_gate || other_calls || self.state == EmptyPrograms {
            let program = PathBuf::from("/bin/true");
            self.spawn(Operation::Spawn, &program, 120)?;
            if let Some(tiny) = tiny {
                self.spawn(Operation::SpawnTiny, tiny, 150)?;
            }
        }
        // Last, because the daemon still writes when it is over.
        if off_or_gate || self.state == Nftables {
            self.connect(Operation::MailConnect, MAIL_PORT, 100, MAIL_EVERY_US)?;
        }
        Ok(())
    }

    fn connect(
        &mut self,
        operation: Operation,
        port: u16,
        count: u32,
        every_us: u64,
    ) -> Result<()> {
        let answer = self.time(operation, count, |count| Task::Connect {
            port,
            count,
            every_us,
        })?;
        if operation == Operation::MailConnect {
            self.keep(Operation::MailMiddle, middle(&answer.each_ns));
            self.keep(Operation::MailWhole, low_percentile(&answer.whole_ns));
            if self.state == State::Gate {
                self.samples.mail_connects += answer.each_ns.len() as u64 + u64::from(WARM_UP);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, operation: Operation, program: &Path, count: u32) -> Result<()> {
        let program = program.to_owned();
        self.time(operation, count, |count| Task::Spawn { program, count })?;
        Ok(())
    }

    fn time(
        &mut self,
        operation: Operation,
        count: u32,
        task: impl FnOnce(u32) -> Task,
    ) -> Result<Answer> {
        // What may not send is sampled; a registered mailer is not.
        let who = if operation.is_sampled() {
            &mut self.ground.stranger
        } else {
            &mut self.ground.mailer
        };
        let answer = who.ask(&task(count / self.divisor))?;
        self.keep(operation, low_percentile(&answer.each_ns));
        if answer.packets > 0 {
            let sum = self.samples.packets.entry(operation).or_default();
            sum.0 += answer.packets;
            sum.1 += answer.each_ns.len() as u64;
        }
        Ok(answer)
    }

    fn keep(&mut self, operation: Operation, ns: f64) {
        let key = (self.state, operation);
        self.samples.times_ns.entry(key).or_default().push(ns);
    }
}

/// Pieces over veth or loopback, to a far end that has said something before or has not.
fn bulk(veth: bool, far_speaks: bool) -> impl FnOnce(u32) -> Task {
    move |count| Task::Bulk {
        veth,
        far_speaks,
        count,
    }
}

/// An executable file that does nothing but end. Where its machine code is not known, none.
pub fn tiny_program(folder: &Path) -> Result<Option<PathBuf>> {
    use std::os::unix::fs::PermissionsExt;
    let Some(bytes) = stage::tiny_program() else {
        return Ok(None);
    };
    let path = folder.join("bin").join("tiny");
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(Some(path))
}
