//! A desktop shell on the stage: programs that it is told to start are its own children.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::process::{Process, Start};
use crate::sandbox::Sandbox;
use crate::wire::Exit;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A running stand-in for a desktop shell, which starts what the user "clicks". It ends
/// when this is dropped.
#[derive(Debug)]
pub struct Desktop {
    process: Process,
    /// How far the output has been read. Held while a command is answered: answers come in
    /// the order of the commands.
    seen: Mutex<usize>,
    /// How far it had been read when a process was started. What is said of its number before
    /// that is about another one.
    begun: Mutex<HashMap<u32, usize>>,
}

impl Desktop {
    /// Starts `start`, which must be the `desktop` role of a stand-in program without
    /// further arguments, and waits until it takes commands.
    ///
    /// # Errors
    /// When it does not start or answer.
    pub fn start(sandbox: &Sandbox, start: Start) -> Result<Self, Error> {
        let process = sandbox.start(&start.input_pipe())?;
        let (end, _) = process.output_after("{\"event\":\"ready\"}\n", 0, ANSWER_LIMIT)?;
        Ok(Self {
            process,
            seen: Mutex::new(end),
            begun: Mutex::default(),
        })
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts a program as a child of the desktop shell and returns its process id. What
    /// it prints appears in the desktop's own output.
    ///
    /// # Errors
    /// When the program does not start; arguments must be UTF-8.
    pub fn launch<A: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<u32, Error> {
        let mut argv = vec![program.to_string_lossy().into_owned()];
        argv.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_string_lossy().into_owned()),
        );
        let command = serde_json::to_string(&argv).map_err(|e| Error::Message(e.to_string()))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.write(format!("{command}\n").as_bytes())?;
        // Other programs' lines may stand in between.
        let (end, _) = self
            .process
            .output_after("{\"event\":\"start", *seen, ANSWER_LIMIT)?;
        let (end, rest) = self.process.output_after("}\n", end, ANSWER_LIMIT)?;
        *seen = end;
        let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
        match rest.starts_with("ed\"") {
            true => {
                let pid = digits.parse().map_err(|_| Error::Message(rest))?;
                let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                begun.insert(pid, end);
                Ok(pid)
            }
            false => Err(Error::Init {
                what: format!("let the desktop start {}", program.display()),
                errno: digits.parse().unwrap_or(libc::EIO),
            }),
        }
    }

    /// Starts a program and waits until it has ended.
    ///
    /// # Errors
    /// When it does not start, or still runs after `limit`.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        limit: Duration,
    ) -> Result<Exit, Error> {
        let pid = self.launch(program, arguments)?;
        self.wait(pid, limit)
    }

    /// Waits until a program that was launched has ended.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&self, pid: u32, limit: Duration) -> Result<Exit, Error> {
        let begun = {
            let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.get(&pid).copied().unwrap_or(0)
        };
        let (end, _) = self.process.output_after(
            &format!("{{\"event\":\"exited\",\"pid\":{pid},"),
            begun,
            limit,
        )?;
        let (_, rest) = self.process.output_after("}\n", end, ANSWER_LIMIT)?;
        serde_json::from_str(&format!("{{{}", rest.trim_end()))
            .map_err(|e| Error::Message(e.to_string()))
    }

    /// All that the desktop shell and its programs have printed so far.
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.process.close_input();
    }
}
