//! The kernel object: built from crates/kernel, committed beside it, and checked against it.
//!
//! The same sources and the same toolchain give the same bytes in any checkout, so a
//! comparison of bytes is the check.

mod stack;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use crate::{process, terminal};

const CRATE: &str = "crates/kernel";
const OBJECT: &str = "crates/kernel/object/gate.o";
const CHECKSUM: &str = "crates/kernel/object/gate.o.sha256";
const TOOLCHAIN: &str = "crates/kernel/object/TOOLCHAIN";

/// An object fresh from its sources.
struct Built {
    object: Vec<u8>,
    toolchain: String,
}

/// Builds the object and writes it, its checksum and its toolchain's versions.
pub fn build(workspace: &Workspace) -> Result<()> {
    let built = compile(workspace)?;
    let changed = fs::read(workspace.path(OBJECT)).ok().as_deref() != Some(&built.object);
    write(&workspace.path(OBJECT), &built.object)?;
    write(
        &workspace.path(CHECKSUM),
        checksum_line(&built.object).as_bytes(),
    )?;
    write(&workspace.path(TOOLCHAIN), built.toolchain.as_bytes())?;
    let what = if changed { "written" } else { "unchanged" };
    println!(
        "{OBJECT}: {what}, {} bytes, sha256 {}",
        built.object.len(),
        checksum(&built.object)
    );
    // Written all the same: this machine's kernel may well load it.
    stack::check(&built.object)
}

/// Builds the object aside, from nothing, and compares.
///
/// # Errors
///
/// When the object, or what stands beside it, is not what the sources give.
pub fn check(workspace: &Workspace) -> Result<()> {
    let target = target(workspace);
    if target.exists() {
        // Cargo does not notice another linker or wrapper.
        fs::remove_dir_all(&target).with_context(|| target.display().to_string())?;
    }
    let built = compile(workspace)?;
    let object = read(&workspace.path(OBJECT))?;
    let toolchain = fs::read_to_string(workspace.path(TOOLCHAIN)).unwrap_or_default();
    if object != built.object {
        bail!(
            "{OBJECT} does not match its sources (sha256 {} is committed, {} was built): {}",
            checksum(&object),
            checksum(&built.object),
            why_it_differs(&toolchain, &built.toolchain)
        );
    }
    if fs::read(workspace.path(CHECKSUM)).unwrap_or_default() != checksum_line(&object).as_bytes() {
        bail!(
            "{CHECKSUM} does not belong to {OBJECT}: run `cargo xtask kernel` and commit what it writes"
        );
    }
    println!(
        "{OBJECT}: matches its sources, sha256 {}",
        checksum(&object)
    );
    stack::check(&object)
}

/// Another compiler is the likely reason where there is one: the sources may well be unchanged.
fn why_it_differs(committed: &str, here: &str) -> String {
    if committed.is_empty() || committed == here {
        return "run `cargo xtask kernel` and commit the files that it writes".to_owned();
    }
    format!(
        "this machine's toolchain is not the one that made the committed object, so the bytes may \
         differ although the sources are the same; the object was made with {} ({TOOLCHAIN}), \
         this machine has {}; install those versions, or run `cargo xtask kernel` and commit the \
         files that it writes",
        in_one_line(committed),
        in_one_line(here)
    )
}

fn compile(workspace: &Workspace) -> Result<Built> {
    let toolchain = Toolchain::prepare(workspace)?;
    terminal::step("building the kernel object");
    let target = target(workspace);
    let folder = workspace.path(CRATE);
    let mut cargo = toolchain.cargo(workspace, &folder, &target);
    process::run(cargo.args([
        "build",
        "--locked",
        "--release",
        "--target",
        "bpfel-unknown-none",
    ]))
    .context("the kernel programs cannot be built")?;
    let stripped = target.join("gate.o");
    toolchain.strip(&target.join("bpfel-unknown-none/release/gate"), &stripped)?;
    Ok(Built {
        object: read(&stripped)?,
        toolchain: toolchain.describe(&folder.join("Cargo.lock"))?,
    })
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target("kernel")
}

fn checksum(object: &[u8]) -> String {
    Sha256::digest(object)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// As `sha256sum --check` reads it.
fn checksum_line(object: &[u8]) -> String {
    format!("{}  gate.o\n", checksum(object))
}

fn in_one_line(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    format!("“{}”", lines.collect::<Vec<_>>().join("; "))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// Under another name first: a build that runs meanwhile must not read half an object.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).with_context(|| beside.display().to_string())?;
    fs::rename(&beside, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The linker copies lines of source files that it finds on the machine. A name under the
    /// compiler's own folders is one that it finds where the package rust-web-src is installed.
    #[test]
    fn the_object_names_no_file_of_the_machine() {
        let object = include_bytes!("../../crates/kernel/object/gate.o");
        let text = String::from_utf8_lossy(object);
        assert!(
            text.contains("/rust/library/core/src/"),
            "no line information"
        );
        for folder in ["/usr/src/", "/usr/lib/", "/rustc/"] {
            assert!(!text.contains(folder), "{folder}");
        }
    }

    #[test]
    fn another_compiler_is_named_as_the_reason() {
        let why = why_it_differs("rustc 1.96.0\n", "rustc 1.97.1\n");
        assert!(why.contains("not the one that made"), "{why}");
        assert!(
            why.contains("rustc 1.96.0") && why.contains("rustc 1.97.1"),
            "{why}"
        );
        let why = why_it_differs("rustc 1.96.0\n", "rustc 1.96.0\n");
        assert!(!why.contains("toolchain"), "{why}");
    }
}
