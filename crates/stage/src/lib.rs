//! A stage on which mail is sent and refused for real: namespaces, a cgroup, small SMTP,
//! IRC, web and name servers, and stand-in programs.
//!
//! The demo, the end-to-end tests and the bench play on it. It knows nothing of the gate.
//!
//! ```no_run
//! # fn main() -> Result<(), stage::Error> {
//! use std::time::Duration;
//! use stage::{Sandbox, SandboxOptions, SmtpOptions, SmtpServer, Start, program_beside};
//!
//! let sandbox = Sandbox::new(&SandboxOptions::new([program_beside("stage-init")?]))?;
//! let address = "127.0.0.1:25".parse().unwrap();
//! let server = SmtpServer::start(sandbox.listen(&[address])?, SmtpOptions::default())?;
//! let mailer = sandbox.program(&program_beside("stage-player")?, "mailer")?;
//! let sent = sandbox.start(&Start::new(&mailer).args(["mailer", "--server", "127.0.0.1:25"]))?;
//! sent.output(Duration::from_secs(10))?;
//! assert_eq!(server.messages().len(), 1);
//! # Ok(())
//! # }
//! ```

mod accept;
mod cgroup;
mod channel;
pub mod deeds;
mod desktop;
mod dns;
mod error;
mod guard;
mod http;
mod init;
mod irc;
mod network;
mod player;
mod process;
mod pty;
mod sandbox;
mod smtp;
mod sys;
mod tiny;
mod transcript;
mod wire;

pub use cgroup::cgroup2_root;
pub use desktop::Desktop;
pub use dns::{A, DnsServer, MX};
pub use error::Error;
pub use http::HttpServer;
pub use init::init_main;
pub use irc::client::IrcClient;
pub use irc::{IrcMessage, IrcServer};
pub use player::{TECHNIQUES, desktop_main, end_after, forge, player_main};
pub use process::{Output, Process, Start};
pub use pty::Pty;
pub use sandbox::{Place, Sandbox, SandboxOptions, program_beside};
pub use smtp::client::{Mail, SmtpFailure, deliver, send_over};
pub use smtp::{Connection, Message, SmtpOptions, SmtpServer};
pub use tiny::tiny_program;
pub use wire::Exit;
