//! Mail servers of which a machine holds one at a time: `cargo xtask test` unpacks their Debian packages
//! beside it, and a theatre has them laid over its own view of the machine.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind};

use crate::theatre::Theatre;

/// Where a package's files were unpacked, below the build folder.
const FOLDER: &str = "packages";

/// Numbers that no account of Debian's has.
const FIRST_ACCOUNT: u32 = 64_900;

/// Folders below `/var` that programs expect.
const VARIABLE: [&str; 6] = ["lib", "log", "spool", "mail", "cache", "tmp"];

impl Theatre {
    /// Lays the files of a server over `/usr` and `/etc`, with accounts of these names and an empty
    /// `/var` and `/run`. All of it is seen in the sandbox alone. Returns the user and group of each account;
    /// `None`, with the reason printed, where the packages were not unpacked.
    ///
    /// # Panics
    /// When the sandbox does not let it.
    pub fn unpack_server(&self, server: &str, accounts: &[&str]) -> Option<Vec<u32>> {
        let Some(unpacked) = unpacked(server) else {
            println!(
                "skipped: the packages of {server} are not unpacked (cargo xtask test does it)"
            );
            return None;
        };
        let etc = self.sandbox().folder().join("etc");
        let own = unpacked.join("etc/.");
        self.crew("cp", &["-a", "/etc", etc.to_str().expect("text")]);
        if own.exists() {
            let words = [own.to_str().expect("text"), etc.to_str().expect("text")];
            self.crew("cp", &["-a", words[0], words[1]]);
        }
        let numbers = (FIRST_ACCOUNT..).take(accounts.len()).collect();
        for (name, number) in accounts.iter().zip(FIRST_ACCOUNT..) {
            for (file, line) in [
                (
                    "passwd",
                    format!("{name}:x:{number}:{number}::/:/usr/sbin/nologin"),
                ),
                ("group", format!("{name}:x:{number}:")),
            ] {
                let file = File::options().append(true).open(etc.join(file));
                writeln!(file.expect("accounts"), "{line}").expect("an account");
            }
        }
        let layers = format!("lowerdir={}/usr:/usr", unpacked.display());
        let layers = std::ffi::CString::new(layers).expect("a path without a zero byte");
        let laid = || -> rustix::io::Result<()> {
            mount(
                "overlay",
                "/usr",
                "overlay",
                MountFlags::RDONLY,
                layers.as_c_str(),
            )?;
            mount_bind(&etc, "/etc")?;
            for place in ["/var", "/run"] {
                mount("none", place, "tmpfs", MountFlags::empty(), c"mode=0755")?;
            }
            Ok(())
        };
        let laid = self
            .sandbox()
            .run_inside(laid)
            .expect("the sandbox's namespaces");
        if let Err(error) = laid {
            println!("skipped: files cannot be laid over the machine's here: {error}");
            return None;
        }
        for folder in VARIABLE {
            self.crew("mkdir", &["-p", &format!("/var/{folder}")]);
        }
        self.crew("chmod", &["1777", "/var/tmp"]);
        self.crew("ln", &["-s", "/run", "/var/run"]);
        Some(numbers)
    }

    /// Writes a file where the sandbox alone sees it, readable for everybody.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, path: &str, text: &str) {
        let written = || {
            if let Some(folder) = Path::new(path).parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)
        };
        let written = self
            .sandbox()
            .run_inside(written)
            .expect("the sandbox's namespaces");
        written.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Where a server's packages were unpacked, if they were.
pub fn unpacked(server: &str) -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    here.ancestors()
        .map(|folder| folder.join(FOLDER).join(server))
        .find(|folder| folder.join("usr").is_dir())
}
