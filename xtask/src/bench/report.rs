//! What the measurements say: the rows of the table, and BENCHMARKS.md.

use anyhow::Result;

use super::figures::Figure;
use super::ground::{Ground, State};
use super::rounds::{Operation, Samples};
use super::table::{Row, Target, markdown};
use super::work::{GROUP, PIECE_BYTES};
use super::{daemon, machine, older_irc, replay, storm};
use crate::workspace::Workspace;

const NS_PER_US: f64 = 1000.0;
const MIB: f64 = 1024.0 * 1024.0;

/// All that was measured.
pub struct Measured {
    /// The rounds.
    pub samples: Samples,
    /// Verdicts on the rounds' mail connections in the journal: right ones and others.
    pub mail_verdicts: (u64, u64),
    /// The daemon.
    pub daemon: daemon::Findings,
    /// The storm.
    pub storm: storm::Findings,
    /// Refusals beside an older IRC connection.
    pub older_irc: older_irc::Findings,
    /// Replay.
    pub replay: replay::Findings,
    /// Load averages before.
    pub load_before: String,
}

/// Verdicts on the mailer's connections to its own port, in the journal: allowed ones, and
/// others.
pub fn mail_verdicts(ground: &Ground) -> Result<(u64, u64)> {
    let mut count = (0, 0);
    for verdict in ground.verdicts()? {
        let program = verdict["program"].as_str().unwrap_or_default();
        if program.ends_with("/bin/mailer") {
            match verdict["verdict"] == "allow" {
                true => count.0 += 1,
                false => count.1 += 1,
            }
        }
    }
    Ok(count)
}

impl Measured {
    /// The table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.connect_rows();
        rows.extend(self.process_rows());
        rows.extend(self.packet_rows());
        rows.extend(self.daemon_rows());
        rows.extend(self.older_irc.rows());
        rows.extend(self.storm_rows());
        rows.extend(self.replay.rows());
        rows
    }

    fn base(&self, operation: Operation) -> Option<Figure> {
        let off = self.samples.of(State::Off, operation)?;
        Figure::of(off.iter().copied())
    }

    fn over_off(&self, state: State, operation: Operation) -> Option<Figure> {
        self.over(state, State::Off, operation)
    }

    fn over(&self, state: State, other: State, operation: Operation) -> Option<Figure> {
        let (ours, other) = (
            self.samples.of(state, operation)?,
            self.samples.of(other, operation)?,
        );
        Figure::difference(ours, other)
    }

    fn percent(&self, state: State, operation: Operation) -> Option<Figure> {
        let off = self.samples.of(State::Off, operation)?;
        Figure::percent(self.samples.of(state, operation)?, off)
    }

    fn connect_rows(&self) -> Vec<Row> {
        let us = |figure: Option<Figure>| figure.map(|figure| figure.divided_by(NS_PER_US));
        let row = |what: &str, figure, target| Row::new(what, us(figure), "µs", target);
        let (open, mail) = (Operation::Connect, Operation::MailConnect);
        use State::{EmptyPrograms, Gate, GateWithoutPackets, Nftables, OffAgain};
        let sampled = Operation::SampledConnect;
        vec![
            row(
                "connect(), open port: nothing guards",
                self.base(open),
                Target::None,
            ),
            row(
                "… off again (noise)",
                self.over_off(OffAgain, open),
                Target::None,
            ),
            row(
                "… the gate adds",
                self.over_off(Gate, open),
                Target::AtMost(0.25),
            )
            .above(us(self.over_off(EmptyPrograms, open))),
            row(
                "… the gate, beyond nftables",
                self.over(Gate, Nftables, open),
                Target::AtMost(0.0),
            ),
            row(
                "… nftables adds",
                self.over_off(Nftables, open),
                Target::None,
            ),
            row(
                "… empty programs on the same hooks add",
                self.over_off(EmptyPrograms, open),
                Target::None,
            ),
            row(
                "… the gate with packet_watch mail adds",
                self.over_off(State::GateWithoutSamples, open),
                Target::None,
            ),
            row(
                "… the gate with packet_watch off adds",
                self.over_off(GateWithoutPackets, open),
                Target::None,
            ),
            row(
                "… the gate adds, for what may not send: sampled",
                self.over_off(Gate, sampled),
                Target::None,
            ),
            row(
                "connect(), mail port: nothing guards",
                self.base(mail),
                Target::None,
            ),
            row(
                "… off again (noise)",
                self.over_off(OffAgain, mail),
                Target::None,
            ),
            row(
                "… the gate adds, allowed and journaled",
                self.over_off(Gate, mail),
                Target::AtMost(2.5),
            ),
            row(
                "… its median in place of the low percentile",
                self.over_off(Gate, Operation::MailMiddle),
                Target::None,
            ),
            row(
                "… nftables adds, not journaled",
                self.over_off(Nftables, mail),
                Target::None,
            ),
            row(
                "… the gate adds, socket() to close()",
                self.over_off(Gate, Operation::MailWhole),
                Target::None,
            ),
        ]
    }

    fn process_rows(&self) -> Vec<Row> {
        let call = Operation::SystemCall;
        let ns = |what: &str, figure: Option<Figure>| {
            let one = figure.map(|figure| figure.divided_by(f64::from(GROUP)));
            Row::new(what, one, "ns", Target::None)
        };
        use State::{Gate, GateWithEveryCall, GateWithoutCalls, GateWithoutPackets, OffAgain};
        let mut rows = vec![
            ns("a system call, any: nothing guards", self.base(call)),
            ns("… off again (noise)", self.over_off(OffAgain, call)),
            ns("… the gate adds", self.over_off(Gate, call)),
            ns(
                "… the gate with packet_watch off adds",
                self.over_off(GateWithoutPackets, call),
            ),
            ns(
                "… the gate with call_watch on adds",
                self.over_off(GateWithEveryCall, call),
            ),
        ];
        for (name, operation) in [
            ("start and end of /bin/true", Operation::Spawn),
            (
                "start and end of one system call, static",
                Operation::SpawnTiny,
            ),
        ] {
            let base = self
                .base(operation)
                .map(|figure| figure.divided_by(NS_PER_US));
            rows.push(Row::new(
                format!("{name}: nothing guards"),
                base,
                "µs",
                Target::None,
            ));
            let noise = self.percent(State::OffAgain, operation);
            rows.push(Row::new("… off again (noise)", noise, "%", Target::None));
            let added = self.percent(State::Gate, operation);
            let floor = self.percent(State::EmptyPrograms, operation);
            rows.push(Row::new("… the gate adds", added, "%", Target::AtMost(1.0)).above(floor));
            for (what, state) in [
                (
                    "… empty programs on the same hooks add",
                    State::EmptyPrograms,
                ),
                ("… the gate with call_watch off adds", GateWithoutCalls),
                ("… the gate with call_watch on adds", GateWithEveryCall),
            ] {
                let added = self.percent(state, operation);
                rows.push(Row::new(what, added, "%", Target::None));
            }
        }
        rows
    }

    fn packet_rows(&self) -> Vec<Row> {
        use State::{EmptyPair, Gate, GateWithoutPackets, GateWithoutSamples, Nftables, OffAgain};
        let mut rows = Vec::new();
        for (name, operation, sampled, silent) in [
            (
                "one byte there and back, loopback",
                Operation::PingPong,
                Operation::SampledPingPong,
                None,
            ),
            (
                "bulk, loopback",
                Operation::Bulk,
                Operation::SampledBulk,
                Some(Operation::SilentBulk),
            ),
        ] {
            let packets = self.samples.packets(operation).unwrap_or(f64::NAN);
            let us = |figure: Option<Figure>| {
                figure.map(|figure| figure.divided_by(packets * NS_PER_US))
            };
            let row = |what: &str, figure, target| Row::new(what, us(figure), "µs", target);
            rows.push(row(
                &format!("{name}, a packet: nothing guards"),
                self.base(operation),
                Target::None,
            ));
            rows.push(row(
                "… off again (noise)",
                self.over_off(OffAgain, operation),
                Target::None,
            ));
            rows.push(row(
                "… the gate, beyond the empty pair",
                self.over(Gate, EmptyPair, operation),
                Target::AtMost(0.1),
            ));
            rows.push(row(
                "… the gate adds",
                self.over_off(Gate, operation),
                Target::None,
            ));
            rows.push(row(
                "… sampled, beyond the empty pair",
                self.over(Gate, EmptyPair, sampled),
                Target::AtMost(0.1),
            ));
            if let Some(silent) = silent {
                rows.push(row(
                    "… sampled while the server is silent, beyond the empty pair",
                    self.over(Gate, EmptyPair, silent),
                    Target::None,
                ));
            }
            rows.push(row(
                "… the gate with packet_watch mail adds",
                self.over_off(GateWithoutSamples, operation),
                Target::None,
            ));
            rows.push(row(
                "… the empty pair adds",
                self.over_off(EmptyPair, operation),
                Target::None,
            ));
            rows.push(row(
                "… nftables adds",
                self.over_off(Nftables, operation),
                Target::None,
            ));
            rows.push(row(
                "… packet_watch off adds",
                self.over_off(GateWithoutPackets, operation),
                Target::Nothing,
            ));
        }
        let veth = Operation::Veth;
        let speed = self
            .base(veth)
            .map(|figure| PIECE_BYTES as f64 * 1e9 / figure.median / MIB / 1024.0);
        rows.push(match speed {
            Some(speed) => Row::number(
                "bulk, veth with GSO: nothing guards",
                speed,
                "GiB/s",
                Target::None,
            ),
            None => Row::new(
                "bulk, veth with GSO: nothing guards",
                None,
                "GiB/s",
                Target::None,
            ),
        });
        let floor = self.percent(State::EmptyPrograms, veth);
        for (what, state, target) in [
            ("… off again takes longer (noise)", OffAgain, Target::None),
            ("… with the gate takes longer", Gate, Target::AtMost(1.0)),
            (
                "… with empty programs on the same hooks takes longer",
                State::EmptyPrograms,
                Target::None,
            ),
            (
                "… with the empty pair takes longer",
                EmptyPair,
                Target::None,
            ),
            ("… with nftables takes longer", Nftables, Target::None),
            (
                "… with packet_watch mail takes longer",
                GateWithoutSamples,
                Target::None,
            ),
            (
                "… with packet_watch off takes longer",
                GateWithoutPackets,
                Target::Nothing,
            ),
        ] {
            let row = Row::new(what, self.percent(state, veth), "%", target);
            rows.push(if state == Gate { row.above(floor) } else { row });
        }
        rows
    }

    fn daemon_rows(&self) -> Vec<Row> {
        let daemon = &self.daemon;
        let mib = |bytes: u64| bytes as f64 / MIB;
        let idle = format!("daemon: CPU in {} s of idleness", daemon.watched.as_secs());
        let later = format!(
            "daemon: resident after {} verdicts, both added up",
            daemon::VERDICTS
        );
        vec![
            Row::new(
                "daemon: start to first refusal",
                Some(daemon.refuses_after_ms),
                "ms",
                Target::AtMost(100.0),
            ),
            Row::new(
                "daemon: start to ready",
                Some(daemon.ready_after_ms),
                "ms",
                Target::None,
            ),
            Row::new(
                "daemon: restart to ready, gate kept",
                Some(daemon.adopted_after_ms),
                "ms",
                Target::None,
            ),
            Row::number(
                "daemon: resident when started, both processes added up",
                mib(daemon.resident_bytes),
                "MiB",
                Target::AtMost(15.0),
            ),
            Row::number(
                "daemon: of these the keeper",
                mib(daemon.keeper_bytes),
                "MiB",
                Target::None,
            ),
            Row::number(
                later,
                mib(daemon.resident_later_bytes),
                "MiB",
                Target::AtMost(15.0),
            ),
            // Pages that both have, such as the program's own, are in memory once.
            Row::number(
                "daemon: the same, what is shared counted once",
                mib(daemon.proportional_bytes),
                "MiB",
                Target::None,
            ),
            Row::number(
                "daemon: of these its own, not of files",
                mib(daemon.own_later_bytes),
                "MiB",
                Target::None,
            ),
            Row::number(
                "daemon: resident at most",
                mib(daemon.peak_bytes),
                "MiB",
                Target::None,
            ),
            Row::number(idle, daemon.idle_ns as f64 / 1e6, "ms", Target::AtMost(0.0)),
        ]
    }

    fn storm_rows(&self) -> Vec<Row> {
        let storm = &self.storm;
        let missing = storm.processes - storm.right.min(storm.processes);
        let none = Target::AtMost(0.0);
        vec![
            Row::number(
                "short-lived processes under the gate",
                storm.processes as f64,
                "",
                Target::None,
            ),
            Row::number(
                "… without their right verdict in the journal",
                missing as f64,
                "",
                none,
            ),
            Row::number(
                "… verdicts that belong to none of them",
                storm.wrong as f64,
                "",
                none,
            ),
            Row::number(
                "… connect() ended otherwise than it must",
                storm.ended_wrong as f64,
                "",
                none,
            ),
            Row::number(
                "… reports lost, all parts of the run",
                (storm.lost + self.daemon.lost + self.samples.lost) as f64,
                "",
                none,
            ),
            Row::number(
                "… processes a second",
                storm.processes_a_second,
                "/s",
                Target::None,
            ),
            Row::new(
                "… the storm takes longer",
                Some(storm.slower_percent),
                "%",
                Target::None,
            ),
        ]
    }

    /// What does not fit the table.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "{} connections of the mailer in the rounds, {} allowed and {} other verdicts on it in the journal; \
             {} of {} refusals let through.",
            self.samples.mail_connects,
            self.mail_verdicts.0,
            self.mail_verdicts.1,
            self.daemon.let_through,
            daemon::VERDICTS
        )];
        if self.samples.disturbed > 0 {
            notes.push(format!(
                "{} rounds were disturbed by other programs in the kernel that run for the \
                 whole machine; {} rounds count.",
                self.samples.disturbed, self.samples.rounds
            ));
        }
        notes.push(format!(
            "While the daemon was watched idle, the machine started {} processes; a program \
             never seen before wakes it.",
            self.daemon.started_meanwhile
        ));
        notes.extend(
            self.samples
                .missing
                .iter()
                .map(|missing| format!("Not measured: {missing}.")),
        );
        notes.push(format!(
            "Load averages: {} before, {} after.",
            self.load_before,
            machine::load()
        ));
        notes
    }

    /// BENCHMARKS.md.
    pub fn document(&self, workspace: &Workspace, rows: &[Row]) -> String {
        let missed = rows.iter().filter(|row| row.missed_by().is_some()).count();
        let below = rows.iter().filter(|row| row.is_below_the_floor()).count();
        let judged = rows
            .iter()
            .filter(|row| row.target != Target::None && row.value.is_ok())
            .count();
        let verdict = match (missed, below) {
            (0, _) => format!("All {judged} targets are met."),
            (_, 0) => format!(
                "{} of {judged} targets are met, {missed} missed.",
                judged - missed
            ),
            _ => format!(
                "{} of {judged} targets are met, {missed} missed, {below} of those by empty programs on the same hooks too.",
                judged - missed
            ),
        };
        let notes: String = self
            .notes()
            .iter()
            .map(|note| format!("- {note}\n"))
            .collect();
        include_str!("benchmarks.md.in")
            .replace("@MACHINE@", &machine::description())
            .replace("@DATE@", &machine::date())
            .replace("@COMMIT@", &machine::commit(workspace))
            .replace("@ROUNDS@", &self.samples.rounds.to_string())
            .replace("@VERDICT@", &verdict)
            .replace("@TABLE@", markdown(rows).trim_end())
            .replace("@NOTES@", notes.trim_end())
    }
}
