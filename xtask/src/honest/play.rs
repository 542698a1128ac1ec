//! Plays the rows of one machine, one after the other, and says what came of each.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stage::{Mail, deliver};

use super::guest::Guest;
use super::journal::{self, Entry};
use super::results::{Followed, Played, Refusal};
use super::rows::{Expect, Row, Step};
use super::terminal::Terminal;
use super::{base64, patient};

/// Until one step of a row has ended.
const STEP_LIMIT: Duration = Duration::from_secs(180);
/// After a refusal, the message may still come: a mail server tries again, a helper does the rest.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What plays rows on a machine.
pub struct Player<'a> {
    /// The machine.
    pub guest: &'a mut Guest,
    /// Its name.
    pub machine: &'a str,
    /// Which build is tried.
    pub build: &'a str,
    /// Where pictures and the key for ssh lie.
    pub folder: &'a Path,
    /// How many rows were played, for marks.
    pub count: u32,
}

/// What a look shows.
struct Look {
    at_outside: bool,
    at_mailbox: bool,
    entries: Vec<Entry>,
}

/// What was seen.
struct Seen {
    good: bool,
    got: String,
    refusal: Option<Refusal>,
}

impl Player<'_> {
    /// Plays a row.
    ///
    /// # Errors
    ///
    /// When the machine does not answer any more.
    pub fn play(&mut self, row: &Row) -> Result<Played> {
        let seen = self.try_row(row, &row.steps)?;
        Ok(Played {
            machine: self.machine.to_owned(),
            row: row.id.clone(),
            good: seen.good,
            got: seen.got,
            refusal: seen.refusal,
            followed: None,
            build: self.build.to_owned(),
        })
    }

    /// Follows the advice for a row that did not work, plays it again, and takes back what can be.
    ///
    /// # Errors
    ///
    /// When the machine does not answer any more.
    pub fn follow(&mut self, row: &Row, played: &mut Played) -> Result<()> {
        let Some(refusal) = &played.refusal else {
            return Ok(());
        };
        let commands = journal::commands(&refusal.advice);
        if commands.is_empty() && row.instead.is_empty() {
            return Ok(());
        }
        let before = self.registered()?;
        let mut done = Vec::new();
        for command in &commands {
            let (status, said) = self.guest.root(command, STEP_LIMIT)?;
            let failed = if status == 0 {
                String::new()
            } else {
                format!(" (status {status}: {})", said.trim())
            };
            done.push(format!("`sudo {command}`{failed}"));
        }
        let steps = if row.instead.is_empty() {
            &row.steps
        } else {
            done.push("done as the advice says".to_owned());
            &row.instead
        };
        let mut wished = row.clone();
        if row.expect == Expect::Refused {
            wished.expect = Expect::Sent;
        }
        let seen = self.try_row(&wished, steps)?;
        played.followed = Some(Followed {
            step: done.join(", "),
            worked: seen.good,
            got: seen.got,
        });
        for command in commands {
            let path = command
                .strip_prefix("sekimori register ")
                .and_then(|rest| rest.split(' ').next());
            if let Some(path) = path.filter(|path| !before.contains(*path)) {
                self.guest
                    .root(&format!("sekimori unregister {path}"), STEP_LIMIT)?;
            }
        }
        Ok(())
    }

    fn registered(&mut self) -> Result<String> {
        Ok(self.guest.root("sekimori programs --json", STEP_LIMIT)?.1)
    }

    fn try_row(&mut self, row: &Row, steps: &[Step]) -> Result<Seen> {
        self.count += 1;
        let mark = format!("{}-{}", row.id, self.count);
        let sign = row.sign.replace("{mark}", &mark);
        // What came of the row before is out of the way.
        self.guest.root("rm -f /var/log/honest/*.eml", STEP_LIMIT)?;
        let look = self.look(&sign)?;
        let before = look.entries.last().map_or(0, |entry| entry.id);
        let mut last = (0, String::new());
        for step in steps {
            if let Err(error) = self.step(step, &mark, &mut last) {
                self.recover();
                // The machine has to be there still.
                self.guest.root("true", STEP_LIMIT)?;
                let refusal = self.refusal_after(before, &sign)?;
                let got = format!("could not be played: {error:#}");
                return Ok(Seen {
                    good: false,
                    got,
                    refusal,
                });
            }
        }
        self.judge(row, &sign, before, &last)
    }

    /// Waits for what has to come.
    fn judge(&mut self, row: &Row, sign: &str, before: u64, last: &(i32, String)) -> Result<Seen> {
        let began = Instant::now();
        let mut refused: Option<Instant> = None;
        let limit = patient(Duration::from_secs(if row.expect == Expect::Answers {
            4
        } else {
            row.limit
        }));
        let (arrived, refusal) = loop {
            let look = self.look(sign)?;
            let arrived = match row.expect {
                Expect::Kept => look.at_mailbox,
                _ => look.at_outside,
            };
            let refusal = journal::refusal(&look.entries, before);
            if refusal.is_some() {
                refused.get_or_insert_with(Instant::now);
            }
            let settled = refused.is_some_and(|at| at.elapsed() > patient(AFTER_REFUSAL));
            if arrived || settled || began.elapsed() > limit {
                break (arrived, refusal);
            }
            thread::sleep(PAUSE);
        };
        let refusal = match refusal {
            Some(refusal) => Some(self.with_advice(refusal)?),
            None => None,
        };
        Ok(seen(row.expect, arrived, refusal, last))
    }

    fn look(&mut self, sign: &str) -> Result<Look> {
        let (_, text) = self
            .guest
            .root(&format!("sh /opt/honest/look.sh '{sign}'"), STEP_LIMIT)?;
        Ok(Look {
            at_outside: text.lines().any(|line| line == "at outside"),
            at_mailbox: text.lines().any(|line| line == "at mailbox"),
            entries: journal::entries(&text),
        })
    }

    fn refusal_after(&mut self, before: u64, sign: &str) -> Result<Option<Refusal>> {
        let look = self.look(sign)?;
        match journal::refusal(&look.entries, before) {
            Some(refusal) => self.with_advice(refusal).map(Some),
            None => Ok(None),
        }
    }

    fn with_advice(&mut self, mut refusal: Refusal) -> Result<Refusal> {
        let (_, text) = self
            .guest
            .root(&format!("sekimori explain {}", refusal.id), STEP_LIMIT)?;
        refusal.advice = journal::advice(&text);
        Ok(refusal)
    }

    /// After a step that failed: a picture, and a terminal that is begun anew.
    fn recover(&mut self) {
        let picture = self
            .folder
            .join(format!("{}-{}.png", self.machine, self.count));
        let _ = self.guest.screen.picture(&picture);
        for key in ["esc", "esc"] {
            let _ = self.guest.screen.press(key);
        }
        self.guest.terminal.forget();
    }

    fn step(&mut self, step: &Step, mark: &str, last: &mut (i32, String)) -> Result<()> {
        let fill = |text: &str| text.replace("{mark}", mark);
        match step {
            Step::Root(script) => {
                *last = self.guest.root(&fill(script), STEP_LIMIT)?;
                ensure!(
                    last.0 == 0,
                    "status {} of {script}: {}",
                    last.0,
                    last.1.trim()
                );
            }
            Step::Typed(user, command) => {
                self.guest.terminal.log_in(user)?;
                *last = self.guest.terminal.command(&fill(command), STEP_LIMIT)?;
            }
            Step::Raw(text) => {
                self.guest.terminal.type_text(&keys_of(&fill(text)))?;
            }
            Step::Shown(text) => self.guest.terminal.expect(&fill(text), STEP_LIMIT)?,
            Step::Keys(keys) => self.guest.screen.press(keys)?,
            Step::Text(text) => {
                self.guest.screen.type_text(&keys_of(&fill(text)))?;
            }
            Step::Click(x, y, button) => self.guest.screen.click(*x, *y, *button)?,
            Step::Wait(seconds) => thread::sleep(patient(Duration::from_secs(*seconds))),
            Step::Until(script) => self.guest.until(&fill(script), STEP_LIMIT)?,
            Step::Ssh(command) => *last = self.ssh(&fill(command))?,
            Step::SshCommand(command) => *last = self.ssh_command(&fill(command))?,
            Step::Inbound(port, recipient) => self.inbound(*port, recipient, mark)?,
            Step::Submit(user, recipient) => self.submit(user, recipient, mark)?,
        }
        Ok(())
    }

    fn ssh_words(&self, user: &str) -> Result<Command> {
        let key = self.folder.join("key");
        ensure!(key.exists(), "no key for ssh");
        let mut command = Command::new("ssh");
        command
            .args([
                "-q",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "ConnectTimeout=120", "-o", "IdentitiesOnly=yes"])
            .arg("-i")
            .arg(key)
            .args(["-p", &self.guest.ssh.to_string()])
            .arg(format!("{user}@127.0.0.1"));
        Ok(command)
    }

    /// A person who logs in from another machine, and types.
    fn ssh(&mut self, typed: &str) -> Result<(i32, String)> {
        let mut command = self.ssh_words("taro")?;
        let mut child = command
            .arg("-tt")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("ssh cannot be started")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let done = match (output, input) {
            (Some(output), Some(input)) => {
                let mut terminal = Terminal::of(output, input);
                terminal
                    .be_ready()
                    .and_then(|()| terminal.command(typed, STEP_LIMIT))
            }
            _ => bail!("ssh has no pipes"),
        };
        let _ = child.kill();
        let _ = child.wait();
        done
    }

    /// A command of root's that another machine's ssh runs.
    fn ssh_command(&mut self, script: &str) -> Result<(i32, String)> {
        let output = self
            .ssh_words("root")?
            .arg(script)
            .stdin(Stdio::null())
            .output()
            .context("ssh cannot be started")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code().unwrap_or(-1), said))
    }

    /// A person's mailer on another machine sends by this one, after a login.
    fn submit(&mut self, user: &str, recipient: &str, mark: &str) -> Result<()> {
        let login = base64::encode(format!("\0{user}\0{user}").as_bytes());
        let stream = TcpStream::connect(("127.0.0.1", self.guest.mail[1]))?;
        stream.set_read_timeout(Some(STEP_LIMIT))?;
        let mut stream = BufReader::new(stream);
        for command in [
            "",
            "EHLO away.example.org",
            &format!("AUTH PLAIN {login}"),
            &format!("MAIL FROM:<{user}@example.org>"),
            &format!("RCPT TO:<{recipient}>"),
            "DATA",
            &format!("Subject: {mark}\r\n\r\n{mark}\r\n."),
            "QUIT",
        ] {
            say_smtp(&mut stream, command)?;
        }
        Ok(())
    }

    /// Another machine delivers a message.
    fn inbound(&mut self, port: u16, recipient: &str, mark: &str) -> Result<()> {
        let [smtp, submission] = self.guest.mail;
        let local = if port == 587 { submission } else { smtp };
        let mail = Mail {
            from: "friend@example.com".to_owned(),
            to: vec![recipient.to_owned()],
            subject: mark.to_owned(),
            body: mark.to_owned(),
            ..Mail::default()
        };
        deliver(([127, 0, 0, 1], local).into(), &mail, patient(STEP_LIMIT))
            .with_context(|| format!("the machine's port {port}"))
    }
}

/// What is typed: `\n` is the Enter key, `\e` Escape, and `\\` a backslash.
fn keys_of(text: &str) -> String {
    let mut keys = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        keys.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('e') => '\u{1b}',
                Some(other) => other,
                None => '\\',
            },
            letter => letter,
        });
    }
    keys
}

/// One command of SMTP, and the first letter of the last line of the answer.
fn say_smtp(stream: &mut BufReader<TcpStream>, command: &str) -> Result<()> {
    if !command.is_empty() {
        write!(stream.get_mut(), "{command}\r\n")?;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        ensure!(
            line.starts_with(['2', '3']),
            "{command}: the answer is {:?}",
            line.trim()
        );
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// What was seen, against what is expected.
fn seen(expect: Expect, arrived: bool, refusal: Option<Refusal>, last: &(i32, String)) -> Seen {
    let refused = refusal.as_ref().map(|refusal| {
        let culprit = refusal
            .culprit
            .as_ref()
            .filter(|culprit| **culprit != refusal.program);
        let by = culprit.map_or(String::new(), |culprit| format!(" (culprit {culprit})"));
        format!("refused: {}, {}{by}", refusal.reason, refusal.program)
    });
    let status = if last.0 == 0 {
        String::new()
    } else {
        format!(", status {}", last.0)
    };
    let (good, got) = match (expect, refused) {
        (Expect::Answers, None) if last.0 == 0 => (true, "answers".to_owned()),
        (Expect::Answers, None) => (false, format!("status {}: {}", last.0, last.1)),
        (Expect::Answers, Some(refused)) => (false, refused + &status),
        (Expect::Refused, Some(refused)) if !arrived => (true, refused + &status),
        (Expect::Refused, _) if arrived => (false, "sent".to_owned()),
        (Expect::Refused, _) => (
            false,
            format!("nothing arrived, and nothing was refused{status}"),
        ),
        (_, None) if arrived => (true, expect.word().to_owned()),
        (_, Some(refused)) if arrived => (true, format!("{}, and {refused}", expect.word())),
        (_, Some(refused)) => (false, refused + &status),
        (_, None) => (
            false,
            format!("nothing arrived, and nothing was refused{status}"),
        ),
    };
    Seen { good, got, refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Option<Refusal> {
        Some(Refusal {
            id: 1,
            reason: "foreign-origin".to_owned(),
            program: "/m".to_owned(),
            culprit: Some("/bot".to_owned()),
            lineage: Vec::new(),
            advice: Vec::new(),
        })
    }

    fn came(
        expect: Expect,
        arrived: bool,
        refusal: Option<Refusal>,
        status: i32,
    ) -> (bool, String) {
        let seen = seen(expect, arrived, refusal, &(status, "said".to_owned()));
        (seen.good, seen.got)
    }

    #[test]
    fn a_backslash_can_be_typed() {
        assert_eq!(keys_of(r"printf 'a\\nb'; exit\n"), "printf 'a\\nb'; exit\n");
        assert_eq!(keys_of(r"\e:q\n"), "\u{1b}:q\n");
    }

    #[test]
    fn what_arrives_is_good_where_it_is_to_arrive() {
        assert_eq!(came(Expect::Sent, true, None, 0), (true, "sent".to_owned()));
        assert_eq!(
            came(Expect::Kept, true, None, 0),
            (true, "delivered".to_owned())
        );
        assert_eq!(
            came(Expect::Refused, true, refusal(), 0),
            (false, "sent".to_owned())
        );
    }

    #[test]
    fn silence_is_not_a_refusal() {
        let said = "nothing arrived, and nothing was refused, status 75".to_owned();
        assert_eq!(came(Expect::Sent, false, None, 75), (false, said.clone()));
        assert_eq!(came(Expect::Refused, false, None, 75), (false, said));
    }

    #[test]
    fn a_refusal_names_program_and_culprit() {
        let said = "refused: foreign-origin, /m (culprit /bot), status 1".to_owned();
        assert_eq!(
            came(Expect::Sent, false, refusal(), 1),
            (false, said.clone())
        );
        assert_eq!(came(Expect::Refused, false, refusal(), 1), (true, said));
    }

    #[test]
    fn a_question_answers_with_success_and_without_a_refusal() {
        assert!(came(Expect::Answers, false, None, 0).0);
        assert!(!came(Expect::Answers, false, None, 1).0);
        assert!(!came(Expect::Answers, false, refusal(), 0).0);
    }
}
