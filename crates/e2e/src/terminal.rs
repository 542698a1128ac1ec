//! A person at a shell on a terminal.

use std::time::Duration;

use stage::{Pty, Sandbox, Start};

use crate::LIMIT;

/// An interactive bash on a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    pty: Pty,
}

impl Terminal {
    /// Starts `shell` and waits for its prompt. The home of whoever uses it must have a
    /// `.bashrc` that sets [`Terminal::PROMPT`].
    pub(crate) fn start(sandbox: &Sandbox, shell: &Start) -> Self {
        let pty = sandbox.start_on_pty(shell).expect("a shell on a terminal");
        pty.read_until(Self::PROMPT, LIMIT).expect("a prompt");
        Self { pty }
    }

    /// What the shell writes when it waits.
    pub const PROMPT: &str = "ready> ";

    /// The terminal itself.
    pub fn pty(&self) -> &Pty {
        &self.pty
    }

    /// Types a command and waits for its exit status, as `$?` shows it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn run(&self, command: &str) -> i32 {
        self.run_for(command, Duration::from_secs(40))
    }

    /// The same with another limit.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn run_for(&self, command: &str, limit: Duration) -> i32 {
        // The echo of the line has no digits here and no carriage return after it.
        self.pty
            .type_line(&format!("{command}; printf 'status-%d-end\\n' $?"))
            .expect("type");
        let shown = self
            .pty
            .read_until("-end\r\n", limit)
            .unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.pty.screen()));
        let status = shown
            .rsplit("status-")
            .next()
            .and_then(|rest| rest.split("-end").next());
        status
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("{command}: {shown}"))
    }

    /// All that was ever shown.
    pub fn screen(&self) -> String {
        self.pty.screen()
    }
}
