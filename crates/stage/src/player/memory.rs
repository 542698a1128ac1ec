//! Stub.
use super::args::Args;
use super::mailer::Report;
pub(super) fn attempt(_n: &str, _a: &Args) -> Result<Option<Report>, String> {
    Err("not yet".into())
}
