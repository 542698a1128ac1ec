//! The explanation of one entry: what, who, when, why, how it came to be, the evidence, and
//! what to do if it was legitimate.

use engine::{
    Case, CaseKind, Entry, FindingEntry, FindingKind, LineageLink, Sign, VerdictEntry,
    finding_sentence, printable, program_name, reason_sentence, tamper_words,
};
use policy::Reason;
use serde_json::Value;

use super::advice::{Refused, advice, advice_on};
use super::lineage::lineage;
use super::log::{FromJournal, grouped, line, to_seconds};
use super::response::response;
use super::{Style, Tone};

/// The explanation of an entry as `log --json` prints it, ending with a line break.
///
/// # Errors
///
/// When the JSON is not an entry that this program writes; the error names the field.
pub fn explain(entry: &Value, style: Style) -> Result<String, serde_json::Error> {
    let head = (
        entry["id"].as_u64().unwrap_or(0),
        to_seconds(entry["time"].as_str().unwrap_or("?")),
    );
    Ok(match Entry::deserialize_from(entry)? {
        Entry::Verdict(verdict) => explain_verdict(&verdict, &head, style),
        Entry::Finding(finding) => explain_finding(&finding, &head, style),
        other => {
            let (tone, word, text) = line(&other);
            format!("{}\n\n{text}\n", title(word, tone, &head, style))
        }
    })
}

fn explain_verdict(verdict: &VerdictEntry, head: &(u64, String), style: Style) -> String {
    let (tone, word, _) = line(&Entry::Verdict(verdict.clone()));
    let mut text = title(&format!("verdict: {word}"), tone, head, style) + "\n\n";
    let case = Case::from(verdict);
    if verdict.reason != Reason::Permitted {
        let title = CaseKind::of(verdict.reason, &case).title(verdict.observed);
        text += &format!("{}\n", style.paint(Tone::Strong, &title));
    }
    text += &reason_sentence(verdict.reason, &case);
    text.push('\n');
    if verdict.count > 1 {
        text += &format!(
            "This entry stands for {} refusals in quick succession. The process is the first of them.\n",
            grouped(verdict.count)
        );
    }
    text += &who(
        verdict.pid,
        verdict.uid,
        &verdict.comm,
        &tamper_words(verdict.tampered, Case::from(verdict).tampered_by),
        Some(verdict.reason),
    );
    text += &where_from(verdict.unit.as_deref(), verdict.script.as_deref());
    text += &how(
        &verdict.lineage,
        verdict.lost,
        verdict.culprit.as_deref(),
        verdict.culprit_pid,
        style,
    );
    text += &what_to_do("If this was you:", &advice(&Refused::from(verdict)), style);
    text
}

fn explain_finding(finding: &FindingEntry, head: &(u64, String), style: Style) -> String {
    let mut text = title(
        &format!("finding: {}", finding.finding.word()),
        Tone::Bad,
        head,
        style,
    ) + "\n\n";
    if let (FindingKind::IllegalSend, Some(reason)) = (finding.finding, finding.reason) {
        let title = CaseKind::of(reason, &Case::from(finding)).title(finding.observed);
        text += &format!("{}\n", style.paint(Tone::Strong, &title));
    }
    text += &finding_sentence(finding);
    text.push('\n');
    text += about_irc(finding);
    text += &who(
        finding.pid,
        finding.uid,
        &finding.comm,
        &tamper_words(finding.tampered, Case::from(finding).tampered_by),
        finding.reason,
    );
    text += &where_from(finding.unit.as_deref(), finding.script.as_deref());
    match finding.suppressed {
        0 => {}
        1 => text += "1 similar finding was held back since the last report.\n",
        more => {
            text += &format!("{more} similar findings were held back since the last report.\n");
        }
    }
    text += &how(
        &finding.lineage,
        finding.lost,
        finding.culprit.as_deref(),
        finding.culprit_pid,
        style,
    );
    text += &evidence(finding, style);
    if finding.finding == FindingKind::BotSuspected {
        let steps = response(finding, head.0);
        text += &what_to_do("If this was not you:", &steps, style);
    }
    text += &what_to_do("If this was you:", &advice_on(finding), style);
    text
}

/// What the finding says about IRC. The evidence decides, because a reader compares the two.
fn about_irc(finding: &FindingEntry) -> &'static str {
    let any = |is_it: fn(Sign) -> bool| finding.evidence.iter().any(|one| is_it(one.what));
    let open = any(Sign::is_open_irc);
    match finding.finding {
        FindingKind::BotSuspected if open => {
            "IRC communication was going on at the same time: this computer may be infected by a bot.\n"
        }
        FindingKind::BotSuspected => {
            "The evidence below points to a bot: this computer may be infected.\n"
        }
        FindingKind::IllegalSend if open => {
            "IRC communication was going on at the same time: read the evidence below.\n"
        }
        FindingKind::IllegalSend if any(Sign::shows_irc) => {
            "IRC communication had ended before this attempt. \
             A bot can still be the cause: read the evidence below.\n"
        }
        FindingKind::IllegalSend => {
            "No IRC communication was going on that would point to a bot.\n"
        }
    }
}

fn title(what: &str, tone: Tone, (id, time): &(u64, String), style: Style) -> String {
    format!(
        "{id}  {}  {}",
        style.paint(tone, what),
        style.paint(Tone::Faint, time)
    )
}

fn who(pid: u32, uid: u32, comm: &str, tampered: &str, reason: Option<Reason>) -> String {
    let mut text = match pid {
        0 => "The process is not known.\n".to_owned(),
        _ if comm.is_empty() => {
            format!("The process had the number {pid} and belonged to user {uid}.\n")
        }
        _ => format!(
            "The process had the number {pid}, belonged to user {uid}, and called itself \"{}\".\n",
            printable(comm)
        ),
    };
    // The sentence of that reason names the signs already.
    if !tampered.is_empty() && reason != Some(Reason::Tampered) {
        text += &format!("Signs of tampering: {tampered}.\n");
    }
    text
}

/// The unit and the script, where they are known.
fn where_from(unit: Option<&str>, script: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(unit) = unit {
        text += &format!("The process ran in {}.\n", printable(unit));
    }
    if let Some(script) = script {
        text += &format!("The interpreter ran the script {}.\n", program_name(script));
    }
    text
}

fn how(
    links: &[LineageLink],
    lost: u32,
    culprit: Option<&str>,
    culprit_pid: Option<u32>,
    style: Style,
) -> String {
    if links.is_empty() {
        return "\nHow the program was started is not recorded.\n".to_owned();
    }
    let picture = lineage(
        links,
        lost,
        culprit.map(|culprit| (culprit, culprit_pid)),
        style,
    );
    format!(
        "\n{}\n{}",
        style.paint(
            Tone::Strong,
            "How it was started (program, process, role, origin):"
        ),
        indented(&picture)
    )
}

fn evidence(finding: &FindingEntry, style: Style) -> String {
    if finding.evidence.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{}\n",
        style.paint(Tone::Strong, "Evidence, strongest first:")
    );
    for one in &finding.evidence {
        text += &format!("  {:+4}  {}\n", one.weight, printable(&one.detail));
    }
    text
}

fn what_to_do(title: &str, lines: &[String], style: Style) -> String {
    let Some((first, rest)) = lines.split_first() else {
        return String::new();
    };
    let mut text = format!("\n{}\n  {first}\n", style.paint(Tone::Strong, title));
    for line in rest {
        text += &format!("  {line}\n");
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::lineage::tests::figure_4;
    use super::*;

    pub(crate) fn entry(id: u64, body: Value) -> Value {
        let mut whole = json!({"id": id, "time": "2026-01-01T00:00:02.123456Z"});
        for (name, value) in body.as_object().unwrap() {
            whole[name] = value.clone();
        }
        whole
    }

    fn common() -> Value {
        json!({
            "reason": "foreign-origin", "judged": "connect", "observed": false, "pid": 4243, "uid": 1000,
            "comm": "thunderbird", "program": "/usr/bin/thunderbird", "role": "mailer", "kind": "interactive",
            "origin": "foreign", "culprit": "/tmp/update", "culprit_pid": 4242, "destination": "192.0.2.25:587",
            "tampered": [], "lost": 0, "lineage": figure_4(),
        })
    }

    pub(crate) fn verdict() -> Value {
        let mut body = common();
        body["type"] = "verdict".into();
        body["verdict"] = "refuse".into();
        body["lineage"][3]["kind"] = "interactive".into();
        entry(41, body)
    }

    pub(crate) fn finding() -> Value {
        let mut body = common();
        body["type"] = "finding".into();
        body["finding"] = "bot-suspected".into();
        body["suppressed"] = 17.into();
        body["evidence"] = json!([
            {"what": "irc-same-lineage", "weight": 60,
             "detail": "IRC connection to 192.0.2.66:6667 by /tmp/update (pid 4242), open for 62 s"},
            {"what": "drives-mailer", "weight": 30, "detail": "/usr/bin/thunderbird was started on behalf of /tmp/update (pid 4242)"},
            {"what": "older-than-gate", "weight": -10, "detail": "1 of 4 links of the lineage are older than the gate"},
        ]);
        body["lineage"][3]["kind"] = "interactive".into();
        entry(42, body)
    }

    #[test]
    fn a_finding_is_explained_from_what_to_what_to_do() {
        assert_eq!(
            explain(&finding(), Style::default()).unwrap(),
            "\
42  finding: bot-suspected  2026-01-01T00:00:02Z

/usr/bin/thunderbird tried to connect to the mail server 192.0.2.25:587, but it was started through /tmp/update, \
which is not registered.
IRC communication was going on at the same time: this computer may be infected by a bot.
The process had the number 4243, belonged to user 1000, and called itself \"thunderbird\".
17 similar findings were held back since the last report.

How it was started (program, process, role, origin):
  /usr/lib/systemd/systemd       pid 1     system     system (older than the gate)
  └─ /usr/bin/gnome-shell        pid 1200  session    user
     └─ /tmp/update              pid 4242  unknown    foreign  ◀ culprit
        └─ /usr/bin/thunderbird  pid 4243  mailer     foreign

Evidence, strongest first:
   +60  IRC connection to 192.0.2.66:6667 by /tmp/update (pid 4242), open for 62 s
   +30  /usr/bin/thunderbird was started on behalf of /tmp/update (pid 4242)
   -10  1 of 4 links of the lineage are older than the gate

If this was not you:
  End the processes. First check that these numbers still belong to the programs above:
    ps -o pid,user,lstart,args -p 4242,4243
    sudo kill -KILL 4242 4243
  Look at the file, and look for what starts it again:
    sudo ls -l /tmp/update
    sudo grep -rlsF -e /tmp/update /etc /var/spool/cron /root /home
  Keep a copy for whoever examines it. The copy cannot be run:
    sudo install -m 0400 /tmp/update /root/sekimori-finding-42
  Change the passwords that were used or saved on this computer, mail passwords first. Do this on another computer. \
Then change the password of this account:
    sudo passwd \"$(id -nu 1000)\"

If this was you:
  If you know every program above and started it yourself, you need not end it. Its mail stays blocked.
"
        );
    }

    #[test]
    fn the_sentence_about_irc_follows_the_evidence() {
        let said = |kind: &str, signs: &[&str]| {
            let mut entry = finding();
            entry["finding"] = kind.into();
            entry["evidence"] = signs
                .iter()
                .map(|sign| json!({"what": sign, "weight": 15, "detail": "seen"}))
                .collect();
            let text = explain(&entry, Style::default()).unwrap();
            let about_irc =
                |line: &&str| line.starts_with(['I', 'N', 'T']) && !line.starts_with("The process");
            text.lines().find(about_irc).unwrap_or_default().to_owned()
        };
        let none = "No IRC communication was going on that would point to a bot.";
        assert_eq!(said("illegal-send", &["own-engine", "repeated"]), none);
        for sign in [
            "irc-just-ended",
            "speaks-irc",
            "machine-nick",
            "keyed-channel",
            "bot-command",
            "bot-command-word",
            "bot-reply",
        ] {
            let text = said("illegal-send", &["own-engine", sign]);
            assert!(
                text.starts_with("IRC communication had ended"),
                "{sign}: {text}"
            );
        }
        let open = "IRC communication was going on at the same time";
        for sign in ["irc-same-lineage", "irc-elsewhere"] {
            assert!(said("illegal-send", &[sign]).starts_with(open), "{sign}");
            assert!(said("bot-suspected", &[sign]).starts_with(open), "{sign}");
        }
        let ended = said("bot-suspected", &["irc-just-ended", "machine-nick"]);
        assert!(!ended.contains("going on"), "{ended}");
    }

    #[test]
    fn conduct_is_explained_without_a_refusal() {
        let mut conduct = finding();
        for field in ["reason", "culprit", "culprit_pid"] {
            conduct[field] = Value::Null;
        }
        conduct["judged"] = "conduct".into();
        conduct["program"] = "/opt/chat".into();
        conduct["role"] = "unknown".into();
        conduct["comm"] = "".into();
        conduct["lineage"] = json!([]);
        conduct["suppressed"] = 0.into();
        conduct["evidence"] = json!([
            {"what": "speaks-irc", "weight": 15, "detail": "joined #x with key on 192.0.2.66:8080"},
        ]);
        assert_eq!(
            explain(&conduct, Style::default()).unwrap(),
            "\
42  finding: bot-suspected  2026-01-01T00:00:02Z

/opt/chat behaves on the network as bots do.
The evidence below points to a bot: this computer may be infected.
The process had the number 4243 and belonged to user 1000.

How the program was started is not recorded.

Evidence, strongest first:
   +15  joined #x with key on 192.0.2.66:8080

If this was not you:
  End the processes. First check that these numbers still belong to the programs above:
    ps -o pid,user,lstart,args -p 4243
    sudo kill -KILL 4243
  Look at the file, and look for what starts it again:
    sudo ls -l /opt/chat
    sudo grep -rlsF -e /opt/chat /etc /var/spool/cron /root /home
  Keep a copy for whoever examines it. The copy cannot be run:
    sudo install -m 0400 /opt/chat /root/sekimori-finding-42
  Change the passwords that were used or saved on this computer, mail passwords first. Do this on another computer. \
Then change the password of this account:
    sudo passwd \"$(id -nu 1000)\"

If this was you:
  If you know every program above, you need not end it. The gate blocked nothing.
"
        );
    }

    #[test]
    fn a_verdict_is_explained() {
        let mut own = verdict();
        own["program"] = "/tmp/update".into();
        own["role"] = "unknown".into();
        own["reason"] = "not-a-mailer".into();
        own["tampered"] = json!(["another process traced it"]);
        own["lineage"].as_array_mut().unwrap().pop();
        assert_eq!(
            explain(&own, Style::default()).unwrap(),
            "\
41  verdict: refuse  2026-01-01T00:00:02Z

Mail stopped: a bot-like program
/tmp/update tried to connect to the mail server 192.0.2.25:587, but it is not registered as a mailer.
The process had the number 4243, belonged to user 1000, and called itself \"thunderbird\".
Signs of tampering: another process traced it.

How it was started (program, process, role, origin):
  /usr/lib/systemd/systemd  pid 1     system     system (older than the gate)
  └─ /usr/bin/gnome-shell   pid 1200  session    user
     └─ /tmp/update         pid 4242  unknown    foreign  ◀ culprit

If this was you:
  /tmp/update runs from a folder for temporary files: a bot would put its program there too. If you trust this program, \
move it to a folder that only root can change, such as /usr/local/bin, start it from there, and register it by its new path.
"
        );
    }

    #[test]
    fn what_was_permitted_needs_no_advice() {
        let mut allowed = verdict();
        allowed["verdict"] = "allow".into();
        allowed["reason"] = "permitted".into();
        allowed["culprit"] = Value::Null;
        allowed["culprit_pid"] = Value::Null;
        let text = explain(&allowed, Style::default()).unwrap();
        assert!(text.starts_with("41  verdict: allow  2026"), "{text}");
        assert!(
            !text.contains("register ") && !text.contains("culprit"),
            "{text}"
        );
    }

    #[test]
    fn other_entries_are_told_in_a_line() {
        let notice = entry(44, json!({"type": "notice", "text": "the gate is up"}));
        assert_eq!(
            explain(&notice, Style::default()).unwrap(),
            "44  notice  2026-01-01T00:00:02Z\n\nthe gate is up\n"
        );
        assert!(explain(&json!({"id": 1, "type": "verdict"}), Style::default()).is_err());
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let mut hostile = finding();
        for field in ["program", "culprit", "comm"] {
            hostile[field] = "/tmp/\x1b]0;x\x07\u{202e}\n".into();
        }
        hostile["lineage"][2]["program"] = "/tmp/\x1b]0;x\x07\u{202e}\n".into();
        hostile["evidence"][0]["detail"] = "\x1b[2J".into();
        let text = explain(&hostile, Style::default()).unwrap();
        assert!(
            text.lines().all(|line| engine::printable(line) == line),
            "{text:?}"
        );
    }
}
