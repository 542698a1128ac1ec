//! The compiler and linker of the kernel programs.
//!
//! Debian's rustc and not the workspace's, because it comes with `core` built for the BPF
//! target: a stable compiler of rustup's would have to build it from unstable features. The
//! cargo that runs us drives it, so that what is downloaded is shared, and what a user has
//! configured about registries holds.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::Packages;
use crate::workspace::{Workspace, forget_compiler};
use crate::{process, terminal};

/// The compiler.
pub const RUSTC: &str = "/usr/bin/rustc";
/// The sysroot of this compiler, and two folders in it.
const SYSROOT: &str = "/usr";
const RUSTLIB: &str = "lib/rustlib";
const SOURCES: &str = "lib/rustlib/src/rust";
const LLVM: &str = "/usr/lib/llvm-22";
const BPF_LINKER: &str = "0.13.0";

const PACKAGES: Packages = Packages {
    purpose: "for the kernel toolchain",
    names: &[
        "g++",
        "libclang-22-dev",
        "libpolly-22-dev",
        "libstd-rust-web-dev-bpf",
        "libxml2-dev",
        "libzstd-dev",
        "llvm-22-dev",
        "rustc-web",
        "zlib1g-dev",
    ],
    answers: "",
    services: &[],
};

/// What builds the kernel object.
pub struct Toolchain {
    linker: PathBuf,
    wrapper: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Installs what is missing: Debian packages on the machine, the linker in the target
    /// folder.
    pub fn prepare(workspace: &Workspace) -> Result<Self> {
        PACKAGES.ensure()?;
        let root = workspace.target("kernel-tools");
        let linker = root.join("bin/bpf-linker");
        if version_of(&linker).ok().as_deref() != Some(BPF_LINKER) {
            terminal::step(&format!(
                "building bpf-linker {BPF_LINKER} into {}, once",
                workspace.shown(&root)
            ));
            install_linker(workspace, &root)?;
        }
        Ok(Self {
            linker,
            wrapper: workspace.path("xtask/kernel-rustc"),
            sysroot: make_sysroot(&root.join("sysroot"))?,
        })
    }

    /// Cargo in `folder`, with this compiler and linker.
    pub fn cargo(&self, workspace: &Workspace, folder: &Path, target: &Path) -> Command {
        let mut linker = OsString::from("linker=");
        linker.push(&self.linker);
        // Flags are parted by this character, so that the linker's path may hold blanks.
        let mut flags = OsString::from("-C\u{1f}");
        flags.push(linker);
        // The linker's own choice makes LLVM fill even twelve bytes with zeroes by a call and a
        // loop, byte after byte.
        let unordered = "link-arg=--disable-expand-memcpy-in-order";
        for flag in [
            "-C",
            "link-arg=--btf",
            "-C",
            unordered,
            "-C",
            "target-cpu=v2",
        ] {
            flags.push("\u{1f}");
            flags.push(flag);
        }
        flags.push("\u{1f}--sysroot=");
        flags.push(&self.sysroot);
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(self.sysroot.join(SOURCES));
        flags.push("=/rust");
        let mut command = workspace.cargo();
        forget_compiler(&mut command);
        command
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("RUSTC", RUSTC)
            .env("RUSTC_WRAPPER", &self.wrapper)
            // The linker takes the compiler's unfinished BPF target for a nightly matter.
            .env("RUSTC_BOOTSTRAP", "1")
            // Otherwise it is the host's, and the object another one on arm64.
            .env("AYA_BPF_TARGET_ARCH", "x86_64");
        command
    }

    /// Removes the debugging sections, which no loader reads; type and line information for
    /// the verifier stays.
    pub fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        let mut command = Command::new(format!("{LLVM}/bin/llvm-strip"));
        process::run(command.arg("--strip-debug").arg("-o").args([to, from]))
    }

    /// The versions that decide what the object looks like, as the file TOOLCHAIN holds them.
    pub fn describe(&self, lock_file: &Path) -> Result<String> {
        let rustc = process::output(Command::new(RUSTC).arg("-vV"))?;
        let field = |name: &str| {
            rustc
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .with_context(|| format!("{RUSTC} -vV has no line {name}"))
        };
        let llvm =
            process::output(Command::new(format!("{LLVM}/bin/llvm-config")).arg("--version"))?;
        Ok(format!(
            "rustc       {} (Debian package rustc-web), LLVM {}\n\
             bpf-linker  {}, LLVM {}\n\
             aya-ebpf    {}\n\
             target      bpfel-unknown-none, cpu v2\n",
            field("release:")?,
            field("LLVM version:")?,
            version_of(&self.linker)?,
            llvm.trim(),
            locked_version(lock_file, "aya-ebpf")?,
        ))
    }
}

/// A sysroot of our own beside the compiler's: the same libraries, but its sources of `core` are
/// an empty folder under a fixed name.
///
/// The linker copies the text of each source line that it finds on the machine into the object.
/// With the compiler's own sysroot, the object would hold lines of `core` on a machine that has
/// the package rust-web-src, and none on others.
fn make_sysroot(root: &Path) -> Result<PathBuf> {
    let at = |path: &Path| path.display().to_string();
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| at(root))?;
    }
    // The compiler believes in a folder of sources that holds this file.
    let std = root.join(SOURCES).join("library/std/src");
    fs::create_dir_all(&std).with_context(|| at(&std))?;
    fs::write(std.join("lib.rs"), "").with_context(|| at(&std))?;
    let libraries = Path::new(SYSROOT).join(RUSTLIB);
    for entry in fs::read_dir(&libraries).with_context(|| at(&libraries))? {
        let entry = entry.with_context(|| at(&libraries))?;
        if entry.file_name() != "src" {
            let link = root.join(RUSTLIB).join(entry.file_name());
            symlink(entry.path(), &link).with_context(|| at(&link))?;
        }
    }
    Ok(root.to_owned())
}

fn install_linker(workspace: &Workspace, root: &Path) -> Result<()> {
    let build = root.join("build");
    let mut search = OsString::from(format!("{LLVM}/bin:"));
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = workspace.cargo();
    forget_compiler(&mut command);
    command
        .args([
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER,
            "--locked",
            "--force",
        ])
        .args(["--no-default-features", "--features", "llvm-22"])
        .arg("--root")
        .arg(root)
        .env("CARGO_TARGET_DIR", &build)
        .env("RUSTC", RUSTC)
        // It links a few files, and LLVM does the work: a third less time to build it.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("LLVM_PREFIX", LLVM)
        .env("LLVM_SYS_221_PREFIX", LLVM)
        .env("PATH", search);
    process::run(&mut command).context("bpf-linker cannot be built")?;
    // Some 400 MB that nobody needs again.
    fs::remove_dir_all(&build).with_context(|| build.display().to_string())
}

/// The version in "name 1.2.3".
fn version_of(program: &Path) -> Result<String> {
    let text = process::output(Command::new(program).arg("--version"))?;
    match text.split_whitespace().nth(1) {
        Some(version) => Ok(version.to_owned()),
        None => bail!(
            "{}: no version in its answer: {}",
            program.display(),
            text.trim()
        ),
    }
}

fn locked_version(lock_file: &Path, package: &str) -> Result<String> {
    let shown = lock_file.display();
    let text = fs::read_to_string(lock_file).with_context(|| shown.to_string())?;
    let line = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|current| *current != line).skip(1);
    lines
        .next()
        .and_then(|next| next.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{shown}: no package {package}"))
}
