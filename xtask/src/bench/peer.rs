//! The peer: what an administrator would do with nftables. The rules exist only in the
//! sandbox's network namespace.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use stage::{Place, Sandbox};

use crate::packages::Packages;

/// What it takes.
pub const PACKAGES: Packages = Packages {
    purpose: "for the comparison with nftables",
    names: &["nftables"],
    answers: "",
    services: &[],
};

const RULES: &str = "table inet bench {
    chain output {
        type filter hook output priority filter; policy accept;
        tcp dport { 25, 465, 587 } meta skuid != { 0, 1000 } reject
    }
}
";

/// Puts the rules in force.
pub fn load(sandbox: &Sandbox) -> Result<()> {
    nft(sandbox, RULES)
}

/// Takes them back.
pub fn unload(sandbox: &Sandbox) -> Result<()> {
    nft(sandbox, "delete table inet bench\n")
}

fn nft(sandbox: &Sandbox, rules: &str) -> Result<()> {
    let mut command = sandbox.command("nft", Place::Crew, None)?;
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("nft (Debian package nftables)")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("nft: {}", said.lines().next().unwrap_or("failed"));
    }
    Ok(())
}
