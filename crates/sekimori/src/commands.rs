//! One file for each command, or for a few that belong together.

mod demo;
mod doctor;
mod documents;
mod explain;
mod install;
mod learn;
pub mod load_gate;
pub mod log;
mod mode;
mod programs;
mod reader;
mod replay;
mod setup;
mod status;
mod tree;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::{Failure, need_root};
use crate::output::all_said;
use crate::paths::Paths;
use crate::{fallback, keeper, notify, store};

/// Runs the command and gives its exit status.
pub fn dispatch(cli: Cli) -> ExitCode {
    let paths = Paths::new(cli.state_dir.as_deref());
    run(cli.command, paths)
        .and_then(|status| all_said().map(|()| status))
        .unwrap_or_else(|failure| failure.report())
}

fn run(command: Command, paths: Paths) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Run(options) => {
            need_root("run")?;
            let options = keeper::Options {
                config: options.config,
                cgroup: options.cgroup,
                observe: options.observe,
                older_hooks: options.older_hooks,
                without_hooks: options.without_hook,
            };
            keeper::run(options, paths)
        }
        Command::Setup { yes, anyway } => setup::run(yes, anyway, &paths),
        Command::Doctor(options) => doctor::run(&options, &paths),
        Command::Learn(options) => learn::run(&options, &paths),
        Command::Enforce { anyway } => mode::enforce(anyway, &paths),
        Command::Observe => mode::observe(&paths),
        Command::Register(options) => programs::register(&options, &paths),
        Command::Unregister { path } => programs::unregister(&path, &paths),
        Command::Programs(options) => programs::list(options.json, &paths),
        Command::Status(options) => status::run(options.json, &paths),
        Command::Log(options) => log::run(&options, &paths),
        Command::Explain { id, json } => explain::run(id, json, &paths),
        Command::Tree { pid, json } => tree::run(pid, json, &paths),
        Command::Replay(options) => replay::run(&options),
        Command::Install { observe } => install::install(observe, &paths),
        Command::Uninstall { purge } => install::uninstall(purge, &paths),
        Command::Completions { shell } => documents::completions(shell),
        Command::Manpage => documents::manpage(),
        Command::LoadGate => load_gate::run(),
        Command::BootFallback { deed } => fallback::run(deed, &paths),
        // No other file: what is no journal is set aside.
        Command::CarryOver => store::carry_over_main(&paths.journal),
        Command::NotifyUser { uid } => notify::notify_user_main(uid)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Failure::from),
        Command::StageInit { arguments } => Ok(stage::init_main(arguments)),
        Command::DemoPart { part } => Ok(crate::demo::play(part)),
    }
}
