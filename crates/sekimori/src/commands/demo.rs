//! `demo`.
use std::process::ExitCode;
use crate::cli::DemoArgs;
use crate::failure::Failure;
/// `demo`.
pub fn run(_options: &DemoArgs) -> Result<ExitCode, Failure> { todo!() }
