//! The developer's tools, run as `cargo xtask`: one file for each job, wired here.

mod accuracy;
mod bench;
mod beside;
mod boot;
mod evasions;
mod fuzz;
mod guest;
mod honest;
mod kernel;
mod libtest;
mod packages;
mod process;
mod programs;
mod terminal;
mod tests;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, checks and tests Sekimori.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Rebuild the kernel object, crates/kernel/object/gate.o.
    Kernel {
        /// Write nothing: fail when the object differs from its sources.
        #[arg(long)]
        check: bool,
    },
    /// Judge the recognition of protocols by real captures, and write ACCURACY.md.
    ///
    /// The captures are in ../shared/captures, or where SEKIMORI_CAPTURES says.
    Accuracy,
    /// Play every known way past the gate against the real kernel, and write EVASIONS.md.
    /// Needs root.
    Evasions,
    /// Run all tests, those that need root and real mail programs included.
    Test {
        /// Install no Debian packages: tests that miss one say so.
        #[arg(long)]
        skip_packages: bool,
        /// Run only the tests whose name contains this.
        filter: Option<String>,
    },
    /// Feed hostile bytes to all that parses: the fuzz targets in fuzz/.
    Fuzz(fuzz::Options),
    /// Boot Debian under QEMU with the installed unit, and see that no mail leaves before the
    /// gate is closed. Takes some minutes. Needs root.
    Boot(boot::Options),
    /// Boot desktops and mail servers under QEMU, do what honest people and machines do, and
    /// write docs/honest.md. Takes hours. Needs root.
    Honest(honest::Options),
    /// Measure what the gate costs, and write BENCHMARKS.md. Needs root.
    Bench(bench::Options),
    /// A process in the guest of `boot`.
    #[command(hide = true)]
    BootPart {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// A process in a machine of `honest`.
    #[command(hide = true)]
    HonestPart {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// A process of the bench's own.
    #[command(hide = true)]
    BenchPart {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let workspace = Workspace::find();
    let done = match Cli::parse().job {
        Job::Kernel { check: false } => kernel::build(&workspace),
        Job::Kernel { check: true } => kernel::check(&workspace),
        Job::Accuracy => accuracy::run(&workspace),
        Job::Evasions => evasions::run(&workspace),
        Job::Test {
            skip_packages,
            filter,
        } => tests::run(&workspace, skip_packages, filter.as_deref()),
        Job::Fuzz(options) => fuzz::run(&workspace, &options),
        Job::Boot(options) => boot::run(&workspace, &options),
        Job::BootPart { arguments } => boot::part(&arguments),
        Job::Honest(options) => honest::run(&workspace, &options),
        Job::HonestPart { arguments } => honest::part(&arguments),
        Job::Bench(options) => bench::run(&workspace, &options),
        Job::BenchPart { arguments } => return bench::part(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
