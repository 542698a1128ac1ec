//! Whether what the guest reports is what has to be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::packets::Seen;
use super::rogue::{MAIL_PORTS, OTHER_PORT};

/// The answer.
pub struct Judged {
    /// A line for each thing that has to hold, and figures.
    pub text: String,
    /// How many did not hold.
    pub failed: usize,
}

impl Judged {
    fn holds(&mut self, what: &str, held: bool, seen: &str) {
        let word = if held { "holds " } else { "FAILED" };
        let _ = writeln!(self.text, "{word}  {what}: {seen}");
        self.failed += usize::from(!held);
    }

    fn figure(&mut self, what: &str, seen: &str) {
        let _ = writeln!(self.text, "        {what}: {seen}");
    }
}

/// The sections of the report, by number of the boot and name.
struct Report<'a>(BTreeMap<String, Vec<&'a str>>);

impl<'a> Report<'a> {
    fn read(text: &'a str) -> Self {
        let mut sections: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        let mut here = "";
        for line in text.lines().map(str::trim_end) {
            match line.strip_prefix("== ") {
                Some(name) => here = name,
                None => sections.entry(here.to_owned()).or_default().push(line),
            }
        }
        Self(sections)
    }

    fn lines(&self, boot: &str, name: &str) -> &[&'a str] {
        let section = self.0.get(&format!("{boot} {name}"));
        section.map_or(&[], Vec::as_slice)
    }

    fn line(&self, boot: &str, name: &str, wanted: &str) -> Option<&'a str> {
        let mut lines = self.lines(boot, name).iter();
        lines.find(|line| line.contains(wanted)).copied()
    }

    /// What `systemctl show` says.
    fn property(&self, boot: &str, name: &str, property: &str) -> &'a str {
        let mut lines = self.lines(boot, name).iter();
        lines
            .find_map(|line| line.strip_prefix(property)?.strip_prefix('='))
            .unwrap_or("?")
    }

    /// A moment in microseconds since boot.
    fn moment(&self, name: &str, property: &str) -> Option<u64> {
        let moment = self.property("2", name, property).parse().ok();
        moment.filter(|moment| *moment > 0)
    }

    /// How often a rogue's attempts had this outcome.
    fn attempts(&self, boot: &str, name: &str, to: To, outcome: &str) -> Tally {
        let mut sum = Tally::default();
        for line in self.lines(boot, name) {
            let words: Vec<&str> = line.split(' ').collect();
            let [target, this, count, first, last] = words[..] else {
                continue;
            };
            if this == outcome && to.matches(target) {
                sum.count += count.parse().unwrap_or(0);
                let first = first.parse().unwrap_or(0);
                sum.first_ms = Some(sum.first_ms.map_or(first, |old: u64| old.min(first)));
                sum.last_ms = sum.last_ms.max(last.parse().unwrap_or(0));
            }
        }
        sum
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    first_ms: Option<u64>,
    last_ms: u64,
}

#[derive(Clone, Copy)]
enum To {
    /// Mail ports of the host, over the network.
    Mail,
    /// Mail ports of the guest itself.
    OwnMail,
    /// A port of the host that is not guarded.
    Other,
}

impl To {
    fn matches(self, target: &str) -> bool {
        let Some((host, port)) = target.split_once(':') else {
            return false;
        };
        let mail = MAIL_PORTS.iter().any(|mail| port == mail.to_string());
        match self {
            Self::Mail => mail && host != "127.0.0.1",
            Self::OwnMail => mail && host == "127.0.0.1",
            Self::Other => port == OTHER_PORT.to_string() && host != "127.0.0.1",
        }
    }
}

/// Judges a whole run.
pub fn judge(report: &str, seen: &Seen) -> Judged {
    let report = Report::read(report);
    let mut judged = Judged {
        text: String::new(),
        failed: 0,
    };
    let kernel = report.lines("1", "kernel").join(", ");
    judged.figure("the guest", &kernel);
    let status = |boot: &str, name: &str| report.line(boot, name, "status ").unwrap_or("no status");
    judged.holds(
        "`sekimori install` works under systemd",
        status("1", "install") == "status 0",
        status("1", "install"),
    );
    if !report.lines("1", "stand-in").is_empty() {
        too_old(&report, seen, &mut judged);
        return judged;
    }
    start(&report, &mut judged);
    rogues(&report, &mut judged);
    polkit(&report, &mut judged);
    faults(&report, &mut judged);
    judged.holds(
        "`sekimori uninstall` works under systemd",
        status("3", "uninstall") == "status 0",
        status("3", "uninstall"),
    );
    let text = format!("{seen:?}");
    judged.holds(
        "no packet to a mail port left the machine",
        seen.mail == 0 && seen.other > 0,
        &text,
    );
    judged.holds(
        "it would have been seen: one did once the gate was open",
        seen.mail_when_open > 0 && seen.marks >= 3,
        &text,
    );
    judged
}

/// A kernel that cannot have the gate: it says so, and firewall rules close the ports for people.
fn too_old(report: &Report<'_>, seen: &Seen, judged: &mut Judged) {
    for (boot, what) in [("1", "after the installation"), ("2", "after a reboot")] {
        let why = report.line(boot, "daemon", "too old for the gate");
        judged.holds(
            &format!("{what}, the daemon names what the kernel lacks"),
            why.is_some_and(|line| line.contains("bpf_loop (Linux 5.17)")),
            why.unwrap_or("nothing"),
        );
        let state = |name| report.property(boot, "state", name);
        judged.holds(
            &format!("{what}, it ends with status 3 and is not started again"),
            state("ExecMainStatus") == "3" && state("NRestarts") == "0",
            &format!(
                "status {}, {} restarts",
                state("ExecMainStatus"),
                state("NRestarts")
            ),
        );
        let status = report.lines(boot, "status").join(" ");
        judged.holds(
            &format!("{what}, `sekimori status` names the firewall rules"),
            status.contains("nftables"),
            &status,
        );
        // Whether the packet left, only the recording knows: a firewall lets connect() go on.
        let once = report.line(boot, "stand-in", "once: ").unwrap_or("nothing");
        judged.holds(
            &format!("{what}, a user tries to reach a mail port"),
            matches!(
                once,
                "once: left" | "once: refused-by-the-gate" | "once: no-network"
            ),
            once,
        );
    }
    let status = report
        .line("2", "uninstall", "status ")
        .unwrap_or("no status");
    judged.holds("`sekimori uninstall` works", status == "status 0", status);
    let text = format!("{seen:?}");
    judged.holds(
        "no packet to a mail port left the machine, and one did once it was uninstalled",
        seen.mail == 0 && seen.mail_when_open > 0,
        &text,
    );
}

/// The order in which things started in the second boot.
fn start(report: &Report<'_>, judged: &mut Judged) {
    let state = |name| report.property("2", "state", name);
    let text = format!("{}, {} restarts", state("ActiveState"), state("NRestarts"));
    judged.holds(
        "the unit starts at boot",
        text == "active, 0 restarts",
        &text,
    );
    // Which of them there are is the kernel's matter: that there is one for what servers answer is not.
    let hooks = report.lines("2", "hooks");
    judged.holds(
        "the hooks of the gate",
        hooks.contains(&"connect4") && (hooks.contains(&"received") != hooks.contains(&"ingress")),
        &hooks.join(" "),
    );
    let closed = report.moment("state", "ActiveEnterTimestampMonotonic");
    let ms = |moment: Option<u64>| moment.map_or("?".to_owned(), |us| format!("{} ms", us / 1000));
    for (unit, property) in [
        ("unit network-pre.target", "ActiveEnterTimestampMonotonic"),
        (
            "unit systemd-networkd.service",
            "InactiveExitTimestampMonotonic",
        ),
        ("unit sysinit.target", "ActiveEnterTimestampMonotonic"),
        ("unit basic.target", "ActiveEnterTimestampMonotonic"),
    ] {
        let later = report.moment(unit, property);
        judged.holds(
            &format!(
                "the gate is closed before {}",
                unit.trim_start_matches("unit ")
            ),
            closed
                .zip(later)
                .is_some_and(|(closed, later)| closed < later),
            &format!("{}, {}", ms(closed), ms(later)),
        );
    }
    let cycles = report.lines("2", "cycles");
    judged.holds(
        "no ordering cycle",
        matches!(cycles, [read] if read.contains("basic.target")),
        &cycles.join("; "),
    );
    let verified = report.lines("2", "verify").join("; ");
    judged.holds(
        "`systemd-analyze verify`",
        verified == "status 0",
        &verified,
    );
    judged.figure("exposure", &report.lines("2", "exposure").join(" "));
    if let Some(line) = report.line("2", "daemon", "closed mail ports after") {
        judged.figure("the daemon", line);
    }
}

fn rogues(report: &Report<'_>, judged: &mut Judged) {
    for (rogue, what) in [
        ("rogue-early start", "a service that waits for nothing"),
        ("rogue-service start", "an ordinary service"),
    ] {
        let count = |to, outcome| report.attempts("2", rogue, to, outcome).count;
        let [left, refused, other] = [
            count(To::Mail, "left"),
            count(To::Mail, "refused-by-the-gate"),
            count(To::Other, "left"),
        ];
        judged.holds(
            &format!("{what} reaches no mail port over the network"),
            left == 0 && refused > 0 && other > 0,
            &format!("{left} attempts got out, {refused} refused, {other} to another port got out"),
        );
    }
    let own = report.attempts("2", "rogue-service start", To::OwnMail, "left");
    let refused = report.attempts(
        "2",
        "rogue-service start",
        To::OwnMail,
        "refused-by-the-gate",
    );
    judged.holds(
        "an ordinary service reaches none on the machine itself either",
        own.count == 0 && refused.count > 0,
        &format!("{} got out, {} refused", own.count, refused.count),
    );
    let own = report.attempts("2", "rogue-early start", To::OwnMail, "left");
    judged.figure(
        "the service that waits for nothing, on the machine itself, before the gate",
        &format!(
            "{} got out, {} to {} ms after the kernel's start",
            own.count,
            own.first_ms.unwrap_or(0),
            own.last_ms
        ),
    );
}

/// Who may register, by pkexec: what each step ended with, and whether the program was
/// registered after it.
fn polkit(report: &Report<'_>, judged: &mut Judged) {
    // What a step ended with, and whether polkit's agent failed in it: before polkit 125 the one on a
    // terminal needs a session, right password or not.
    let step_end = |step: &str| {
        let lines = report.lines("2", "polkit");
        let begin = format!("{step} status ");
        let Some(end) = lines.iter().position(|line| line.starts_with(&begin)) else {
            return ("nothing", false);
        };
        let mut said = lines[..end]
            .iter()
            .rev()
            .take_while(|line| !line.contains(" status "));
        let is_broken = said.any(|line| line.contains("No session for cookie"));
        (lines[end], is_broken)
    };
    for (step, succeeds, is_registered, what) in [
        (
            "unasked",
            false,
            false,
            "without a password nobody registers",
        ),
        ("wrong-password", false, false, "nor with a wrong one"),
        (
            "password",
            true,
            true,
            "with an administrator's password, a person does",
        ),
        ("taken-back", true, false, "and takes it back"),
        (
            "rule",
            true,
            true,
            "an administrator's rule lets a person register",
        ),
        ("other-command", false, true, "and nothing else"),
    ] {
        let (line, is_broken) = step_end(step);
        let held = match line.split(' ').collect::<Vec<_>>()[..] {
            [_, _, status, _, registered] => {
                (status == "0") == succeeds && registered == if is_registered { "1" } else { "0" }
            }
            _ => false,
        };
        let what = format!("polkit: {what}");
        if !held && is_broken {
            judged.figure(
                &what,
                "not to be seen: this polkit has no session for its agent",
            );
        } else {
            judged.holds(&what, held, line);
        }
    }
    let (line, _) = step_end("uninstall");
    judged.holds(
        "polkit: `uninstall` stays root's",
        !line.starts_with("uninstall status 0 ") && line.ends_with(" active active"),
        line,
    );
}

fn faults(report: &Report<'_>, judged: &mut Judged) {
    let mail_left = |boot: &str, name: &str| {
        let left = |to| report.attempts(boot, name, to, "left").count;
        left(To::Mail) + left(To::OwnMail)
    };
    let refused =
        |boot: &str, name: &str| report.attempts(boot, name, To::Mail, "refused-by-the-gate");
    for (section, what) in [
        ("killed", "daemon killed"),
        ("clock", "clock set forward and back"),
        ("journal", "journal and state folder removed"),
        ("pins-removed", "pins removed"),
    ] {
        let name = format!("rogue-service {section}");
        let left = mail_left("2", &name);
        judged.holds(
            &format!("{what}: mail ports stay closed"),
            left == 0 && refused("2", &name).count > 0,
            &format!("{left} attempts got out"),
        );
    }
    let restarts = report.property("2", "killed", "NRestarts");
    judged.holds("killed, it is started again", restarts == "1", restarts);

    let clocks = report.lines("2", "clock");
    let set: Vec<_> = clocks
        .iter()
        .filter(|line| line.starts_with("clock "))
        .collect();
    let silent = set.iter().any(|line| line.ends_with("new-entries 0"));
    judged.holds(
        "refusals are told whatever the clock says",
        set.len() == 3 && !silent,
        &format!("{set:?}"),
    );
    let kept = clocks.contains(&"first entry kept");
    judged.holds("and no entry is lost", kept, "the first entry");
    let removed = report.line("2", "journal-removed", "a new one was begun");
    judged.holds(
        "journal removed: said",
        removed.is_some(),
        removed.unwrap_or("nothing"),
    );
    let removed = report
        .line("2", "folder-removed", "not kept")
        .or_else(|| report.line("2", "folder-removed", "a new one was begun"));
    judged.holds(
        "its folder removed: said",
        removed.is_some(),
        removed.unwrap_or("nothing"),
    );

    let (after, later) = (
        "rogue-service pins-removed-and-killed",
        "rogue-service closed-again",
    );
    let again = refused("2", later).count > refused("2", after).count
        && mail_left("2", after) == mail_left("2", later);
    judged.holds(
        "pins removed and the daemon killed: its next start closes the ports again",
        again,
        &format!("{} attempts got out meanwhile", mail_left("2", after)),
    );
    let third = "rogue-service third";
    judged.holds(
        "and so does the next boot",
        mail_left("3", third) == 0 && refused("3", third).count > 0,
        &format!("{} attempts got out", mail_left("3", third)),
    );
    let open = mail_left("3", "rogue-service open");
    judged.holds(
        "uninstalled, the gate is open",
        open > 0,
        &format!("{open} attempts got out"),
    );
}
