//! The command line: names and flags are a contract that other programs rely on.

use std::path::PathBuf;

use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::paths::STATE_DIR_VARIABLE;

/// Keeps a computer from sending mail its user did not ask for.
#[derive(Debug, Parser)]
#[command(
    name = "sekimori",
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:\n  \
        sekimori demo                 see it work, in a network of its own\n  \
        sudo sekimori install         guard this machine from now on\n  \
        sudo sekimori setup           choose your mailer\n  \
        sudo sekimori doctor          find what keeps honest programs from sending\n  \
        sekimori log --follow         watch what it decides\n\n\
        Exit status: 0 done, 1 failed, 2 usage, 3 not permitted or not supported here."
)]
pub struct Cli {
    /// Folder of the journal, the control socket and the pins, instead of the installed places
    #[arg(long, value_name = "DIR", env = STATE_DIR_VARIABLE, hide_env = true)]
    pub state_dir: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play the whole story on this machine, in a network namespace and cgroup of its own
    #[command(
        after_help = "Plays figures 2, 3 and 4 of the paper with real processes against the real kernel, \
        then 3 and 4 again while the bot holds an IRC connection.\nNeeds root: another user is told so, \
        and the command starts itself again by sudo.\nExit status 0 only when every scene went as it must."
    )]
    Demo(DemoArgs),
    /// Guard this machine
    #[command(
        after_help = "Examples:\n  sudo sekimori run\n  sudo sekimori run --observe    refuse nothing, only record\n\n\
        The gate outlives this command: mail ports stay closed until `sekimori uninstall`."
    )]
    Run(RunArgs),
    /// Find installed mailers, ask which are yours, and register them and the launchers
    #[command(
        after_help = "Examples:\n  sudo sekimori setup\n  sudo sekimori setup --yes      every mailer that root installed\n\n\
        Ends with what `doctor` finds. A gate that only waited for the mail servers of this machine is\n\
        closed then; one that was installed with --observe goes on observing."
    )]
    Setup {
        /// Register every mailer that root installed, without asking
        #[arg(long)]
        yes: bool,
        /// Close the gate even where it blocks a mail server of this machine
        #[arg(long)]
        anyway: bool,
    },
    /// Find what keeps honest programs from sending, and offer the registrations that settle it
    #[command(
        after_help = "Looks at the running session, its variables, the mail servers of this machine, what takes\n\
        mail from local programs, and the gate itself. Asks before each registration. Programs that run\n\
        anything for anybody, and files that others than root can change, are explained and never offered.\n\n\
        Examples:\n  sudo sekimori doctor\n  sudo sekimori doctor --yes     take all offers that are safe\n  \
        sudo sekimori doctor --json    ask nothing, one JSON object for each finding\n\n\
        Exit status: 0 nothing was found or all of it is settled, 1 something is not settled, 2 usage,\n\
        3 not permitted."
    )]
    Doctor(DoctorArgs),
    /// Propose registrations from what the journal saw
    #[command(
        after_help = "Groups the refusals of the journal by program and by what started it, with counts and the last time.\n\
        Only programs of root's are proposed; the others are listed with the reason.\n\n\
        Examples:\n  sudo sekimori learn\n  sudo sekimori learn --since 7d\n  \
        sudo sekimori learn --yes      register all that is safe, then: sudo sekimori enforce"
    )]
    Learn(LearnArgs),
    /// Close the gate, now and at every start
    #[command(
        after_help = "Ends what `install --observe` or `observe` began. Refuses while the gate would block a mail server that\n\
        this machine starts, and says what to do.\n\nExamples:\n  sudo sekimori enforce\n  \
        sudo sekimori enforce --anyway"
    )]
    Enforce {
        /// Close the gate even where it blocks a mail server of this machine
        #[arg(long)]
        anyway: bool,
    },
    /// Have the gate block nothing and only note what it would block, now and at every start
    #[command(
        after_help = "Example:\n  sudo sekimori observe          (sudo sekimori enforce closes the gate again)"
    )]
    Observe,
    /// Register a program
    #[command(
        after_help = "Examples:\n  sudo sekimori register /usr/bin/thunderbird\n  \
        sudo sekimori register /usr/bin/msmtp --kind batch\n  \
        sudo sekimori register /usr/lib/postfix/sbin/smtp --kind service\n  \
        sudo sekimori register /usr/bin/evolution --kind scheduled    it may send while nobody is there\n  \
        sudo sekimori register /usr/bin/irssi --as chat"
    )]
    Register(RegisterArgs),
    /// Take a registration back
    Unregister {
        /// The program, as `programs` lists it
        path: PathBuf,
    },
    /// List the registered programs
    Programs(JsonArg),
    /// Show the gate's state, open grants, counters, and what was dropped
    Status(JsonArg),
    /// Show verdicts, grants, findings and notices
    #[command(
        after_help = "Examples:\n  sekimori log --since 2h\n  sekimori log --since 2026-11-22T08:00:00Z --json\n  \
        sekimori log --follow"
    )]
    Log(LogArgs),
    /// Explain one verdict or finding: the process tree as it was, and the reason
    Explain {
        /// Number of the entry, as `log` shows it
        #[arg(value_parser = entry_number)]
        id: u64,
        /// Print the entry as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the live process tree with origins and roles
    Tree {
        /// Only this process, its ancestors and its descendants
        #[arg(value_parser = process_number)]
        pid: Option<u32>,
        /// One JSON object for each process
        #[arg(long)]
        json: bool,
    },
    /// Read captures, and tell what each connection in them is
    #[command(
        after_help = "Reads pcap and pcapng, also compressed with gzip, zstd, xz, bzip2 or lz4; - is standard input.\n\
        Examples:\n  sekimori replay night.pcap\n  sekimori replay --json *.pcapng.zst\n  \
        sekimori replay night.pcap --html night.html\n  \
        sekimori replay night.pcap --exclude 192.0.2.25,198.51.100.0/24\n  \
        tcpdump -w - -i eth0 | sekimori replay -\n\n\
        Exit status: 0 everything was read, 1 a file cannot be read or is damaged (it is read up to\n\
        the damage), 4 packets were not read in which conversations could be; the summary names them.\n\n\
        --exclude takes addresses and networks, with commas between them or given several times. It is\n\
        for hosts whose work you know. Replay prints their flows, but never calls such a host a bot."
    )]
    Replay(ReplayArgs),
    /// Install the systemd unit: closed before the network comes up
    #[command(
        after_help = "Installs into this machine, so it takes no --state-dir (and no SEKIMORI_STATE_DIR).\n\n\
        Examples:\n  sudo sekimori install\n  sudo sekimori install --observe    block nothing yet; then: setup, learn, enforce\n\n\
        The first start does not close the gate while it would block a mail server that this machine\n\
        starts: `status` says so, and `setup` registers the server and closes the gate.\n\n\
        --harden sets dev.tty.legacy_tiocsti=0, kernel.yama.ptrace_scope=1, fs.protected_hardlinks=1 and\n\
        fs.protected_symlinks=1 in /etc/sysctl.d/60-sekimori.conf, after asking for each. They close ways\n\
        past the gate that it cannot see. What is as strict already stays as it is."
    )]
    Install {
        /// Block nothing yet, and only note what would be blocked, until `enforce`
        #[arg(long)]
        observe: bool,
        /// Also set what the kernel offers against programs that reach into others
        #[arg(long)]
        harden: bool,
        /// Ask for no setting of --harden
        #[arg(long, requires = "harden")]
        yes: bool,
    },
    /// Remove everything that `install` and `run` made, pins included
    #[command(
        after_help = "Without --state-dir: opens the gate of this machine and removes unit and program.\n\
        With --state-dir DIR: opens the gate that `run --state-dir DIR` closed, and removes nothing outside of DIR."
    )]
    Uninstall {
        /// Remove the configuration and the journal too
        #[arg(long)]
        purge: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Manpage,
    /// Load the gate: `run` starts this as a process of its own
    #[command(hide = true)]
    LoadGate,
    /// Read what an older version kept in the journal: `run` starts this as a process of its own
    #[command(hide = true)]
    CarryOver,
    /// Close the mail ports by firewall rules when the gate could not be loaded, and open them
    /// again: the unit starts this
    #[command(hide = true)]
    BootFallback { deed: crate::fallback::Deed },
    /// Deliver a warning to one user's session: `run` starts this as a process of its own
    #[command(hide = true)]
    NotifyUser {
        #[arg(long)]
        uid: u32,
    },
    /// The topmost process of the demo's cgroup
    #[command(hide = true, disable_help_flag = true)]
    StageInit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// A stand-in program of the demo
    #[command(hide = true)]
    DemoPart {
        #[command(subcommand)]
        part: crate::demo::Part,
    },
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// One JSON object for each scene
    #[arg(long)]
    pub json: bool,
    /// Play the scenes through the same policy and engine, without a kernel
    #[arg(long)]
    pub simulate: bool,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Guard only this cgroup v2 folder and what is below
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Permit everything, and record what would have been refused
    #[arg(long)]
    pub observe: bool,
    /// Do without the hooks that older kernels lack, to try on a new one what holds on those
    #[arg(long, hide = true)]
    pub older_hooks: bool,
    /// Do without these programs of the gate, to try what holds when one of them does not run
    #[arg(long, hide = true, value_name = "PROGRAM")]
    pub without_hook: Vec<String>,
    /// Take the named pipes of this folder for keyboards and mice, to try what holds when one is used
    #[arg(long, hide = true, value_name = "DIR")]
    pub played_devices: Option<PathBuf>,
}

/// Options of `register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// The program
    pub path: PathBuf,
    /// What it is
    #[arg(long = "as", value_enum, default_value_t = RoleArg::Mailer, value_name = "ROLE")]
    pub role: RoleArg,
    /// How it comes to act [default: from the catalog, else interactive for a mailer and
    /// service for the system]
    #[arg(long, value_enum)]
    pub kind: Option<KindArg>,
    /// Register even a program that does whatever it is told, such as an interpreter
    #[arg(long)]
    pub force: bool,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object for each finding, and nothing is asked
    #[arg(long)]
    pub json: bool,
    /// Take all offers that are safe, without asking
    #[arg(long)]
    pub yes: bool,
}

/// Options of `learn`.
#[derive(Debug, Args)]
pub struct LearnArgs {
    /// One JSON object for each proposal, and nothing is asked
    #[arg(long)]
    pub json: bool,
    /// Take all proposals that are safe, without asking
    #[arg(long)]
    pub yes: bool,
    /// Only from this time on: 10m, 2h, 3d, or a time such as 2026-11-22T08:00:00Z
    #[arg(long, value_name = "T", value_parser = since)]
    pub since: Option<String>,
}

/// A time that `log --since` understands.
fn since(text: &str) -> Result<String, String> {
    crate::commands::log::parse_since(text).map(|_| text.to_owned())
}

/// Whether to print JSON.
#[derive(Debug, Args)]
pub struct JsonArg {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Go on printing what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only from this time on: 10m, 2h, 3d, or a time such as 2026-11-22T08:00:00Z
    #[arg(long, value_name = "T", value_parser = crate::commands::log::parse_since)]
    pub since: Option<crate::commands::log::Since>,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Captures; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON object for each flow
    #[arg(long)]
    pub json: bool,
    /// Write a page with pictures of the suspicious hosts, and a summary
    #[arg(long, value_name = "REPORT")]
    pub html: Option<PathBuf>,
    /// Do not judge these hosts: a known monitor, scanner or mail server
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    pub exclude: Vec<replay::Network>,
    /// Configuration file that names the mail ports
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What a program can be registered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// May send mail
    Mailer,
    /// An IRC client that people chat with
    Chat,
    /// Starts programs for the user
    Launcher,
    /// A command interpreter that people type into
    Shell,
    /// Takes mail from local programs
    Submitter,
    /// A desktop shell
    Session,
    /// Part of the machine
    System,
    /// Typed in front of a command, such as env and nice
    Helper,
    /// Runs one program in a sandbox, such as flatpak
    Sandbox,
}

/// How a program comes to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// When a person presses a button; of a system program, it logs people in
    Interactive,
    /// Sends whatever it is handed; of a launcher, it opens links that others hand it
    Batch,
    /// Without a person
    Service,
    /// When a person presses a button, and also at times that were set before
    Scheduled,
}

impl From<RoleArg> for policy::Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Mailer => Self::Mailer,
            RoleArg::Chat => Self::Chat,
            RoleArg::Launcher => Self::Launcher,
            RoleArg::Shell => Self::Shell,
            RoleArg::Submitter => Self::Submitter,
            RoleArg::Session => Self::Session,
            RoleArg::System => Self::System,
            RoleArg::Helper => Self::Helper,
            RoleArg::Sandbox => Self::Sandbox,
        }
    }
}

impl From<KindArg> for policy::Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Interactive => Self::Interactive,
            KindArg::Batch => Self::Batch,
            KindArg::Service => Self::Service,
            KindArg::Scheduled => Self::Scheduled,
        }
    }
}

/// Commands that take no `--state-dir` behind their name: `install` is about this machine alone.
const WITHOUT_STATE_DIR: [&str; 1] = ["install"];
const STATE_DIR: &str = "state_dir";

/// The command line as it is parsed, completed and documented.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let Some(state_dir) = command
        .get_arguments()
        .find(|arg| arg.get_id() == STATE_DIR)
        .cloned()
    else {
        return command;
    };
    // The variable is read once, in front of the command.
    let state_dir: Arg = state_dir.env(None::<&str>);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .filter(|name| !WITHOUT_STATE_DIR.contains(&name.as_str()))
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| sub.arg(state_dir.clone()))
    })
}

/// Reads the command line. Ends the process with status 2 on a usage error.
pub fn parse() -> Cli {
    read(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

fn read(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let behind = matches
        .subcommand()
        .and_then(|(_, sub)| sub.try_get_one::<PathBuf>(STATE_DIR).ok().flatten());
    if let Some(folder) = behind {
        cli.state_dir = Some(folder.clone());
    }
    Ok(cli)
}

fn entry_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "expected the number of an entry, as `sekimori log` shows it in the first column, such as 17"
            .to_owned()
    })
}

fn process_number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "expected the number of a process, as `ps` shows it, such as 4321".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        read(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_state_folder_is_named_before_or_behind_a_command() {
        for line in [
            "sekimori --state-dir /s status",
            "sekimori status --state-dir /s",
            "sekimori uninstall --state-dir /s --purge",
        ] {
            assert_eq!(parsed(line).unwrap().state_dir, Some("/s".into()), "{line}");
        }
        assert_eq!(parsed("sekimori status").unwrap().state_dir, None);
    }

    #[test]
    fn install_takes_no_state_folder() {
        assert!(parsed("sekimori install --state-dir /s").is_err());
        let mut command = command();
        let help = |name: &str, command: &mut clap::Command| {
            let sub = command.find_subcommand_mut(name).unwrap();
            sub.render_long_help().to_string()
        };
        assert!(!help("install", &mut command).contains("--state-dir <DIR>"));
        assert!(help("uninstall", &mut command).contains("--state-dir <DIR>"));
    }

    /// Advice is written without the command line; its own tests permit these forms and no others.
    #[test]
    fn every_command_of_an_advice_is_understood() {
        let mut lines = vec![
            "sekimori programs".to_owned(),
            "sekimori setup --yes".to_owned(),
        ];
        for role in policy::Role::ALL {
            let line = format!("sekimori register /x --as {}", role.word());
            let kinds = policy::Kind::ALL.iter();
            lines.extend(kinds.map(|kind| format!("{line} --kind {}", kind.word())));
            lines.push(line);
        }
        for line in lines {
            let is_unknown = line.contains("--as unknown");
            assert_eq!(parsed(&line).is_ok(), !is_unknown, "{line}");
        }
    }

    #[test]
    fn a_number_that_is_none_says_what_is_expected() {
        for (line, expected) in [
            ("sekimori explain abc", "number of an entry"),
            ("sekimori explain -- -1", "number of an entry"),
            (
                "sekimori explain 99999999999999999999",
                "number of an entry",
            ),
            ("sekimori tree abc", "number of a process"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains(expected) && !text.contains("digit"), "{text}");
        }
        let Command::Explain { id, .. } = parsed("sekimori explain 17").unwrap().command else {
            panic!("another command");
        };
        assert_eq!(id, 17);
    }
}
