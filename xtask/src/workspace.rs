//! Where things lie in this checkout, and how its cargo is called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A checkout of the sources.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub fn find() -> Self {
        let own =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let own = Path::new(&own);
        let root = own.parent().unwrap_or(own).to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        // A relative one is relative to where cargo was called, which is where we are.
        let target = match env::current_dir() {
            Ok(here) if env::var_os("CARGO_TARGET_DIR").is_some() => here.join(target),
            _ => root.join(target),
        };
        Self { root, target }
    }

    /// A path in the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path among what is built and cached.
    pub fn target(&self, relative: &str) -> PathBuf {
        self.target.join(relative)
    }

    /// The path as it is shown: relative to the checkout where it lies in it.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// The cargo that runs us, for this workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        forget_own_package(&mut command);
        command
    }
}

/// Removes what `cargo run` tells about the package xtask: it would be taken for the
/// package of whatever is started. The search path for libraries is a part of it, and to the
/// gate it is a sign of tampering.
pub fn forget_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || [
                "CARGO_CRATE_NAME",
                "CARGO_PRIMARY_PACKAGE",
                "OUT_DIR",
                "LD_LIBRARY_PATH",
            ]
            .contains(&text.as_ref());
        if own {
            command.env_remove(&name);
        }
    }
}

/// Removes what chooses or steers the compiler of the workspace, for a build with another
/// compiler. What says how to reach a registry stays.
pub fn forget_compiler(command: &mut Command) {
    forget_own_package(command);
    const STEERING: [&str; 6] = [
        "RUSTC",
        "RUSTFLAGS",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
    ];
    const STEERING_PREFIXES: [&str; 6] = [
        "RUSTC_",
        "CARGO_BUILD_RUST",
        "CARGO_BUILD_TARGET",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if STEERING.contains(&text.as_ref())
            || STEERING_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
}
