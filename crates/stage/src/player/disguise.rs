//! Ways to exec a program so that it looks like another, or like none.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::UnshareFlags;

use super::args::Args;
use super::{calls, lineage, sockets};

/// Loaders that run a program given as their argument.
const LOADERS: [&str; 3] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib64/ld64.so.2",
];

/// How the program will be executed.
pub(super) struct Disguised {
    how: How,
    /// A folder to remove afterwards.
    scratch: Option<PathBuf>,
}

enum How {
    Plain,
    Path(PathBuf),
    Descriptor(OwnedFd),
    DescriptorPath(OwnedFd),
    Loader(&'static str),
    Environment,
    Inherit,
    MountedOver,
    Overlay(PathBuf),
    Spoofed,
}

/// Prepares what must exist before the fork. A technique without a disguise is plain.
pub(super) fn prepare(name: &str, args: &Args) -> io::Result<Disguised> {
    let program = args.program.first().map(String::as_str).unwrap_or_default();
    let plain = |how| Ok(Disguised { how, scratch: None });
    match name {
        "exec-memfd" => {
            let memory = memfd_create(c"mailer", MemfdFlags::empty())?;
            let mut file = fs::File::from(memory);
            file.write_all(&lineage::read_program(program)?)?;
            // Executing needs that nobody has it open for writing.
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            let reopened = fs::File::open(path)?;
            plain(How::DescriptorPath(reopened.into()))
        }
        "exec-empty-path" => plain(How::Descriptor(open_to_execute(Path::new(program))?)),
        "exec-descriptor" => plain(How::DescriptorPath(open_to_execute(Path::new(program))?)),
        "exec-deleted" => {
            let (scratch, copy) = copied(program)?;
            let descriptor = open_to_execute(&copy)?;
            fs::remove_file(&copy)?;
            Ok(Disguised {
                how: How::Descriptor(descriptor),
                scratch: Some(scratch),
            })
        }
        "exec-copy" => {
            let (scratch, copy) = copied(program)?;
            Ok(Disguised {
                how: How::Path(copy),
                scratch: Some(scratch),
            })
        }
        "exec-link" | "exec-symlink" => {
            let scratch = scratch_folder()?;
            let link = scratch.join(Path::new(program).file_name().unwrap_or_default());
            let made = if name == "exec-link" {
                fs::hard_link(program, &link)
            } else {
                symlink(program, &link)
            };
            if let Err(error) = made {
                let _ = fs::remove_dir_all(&scratch);
                return Err(error);
            }
            Ok(Disguised {
                how: How::Path(link),
                scratch: Some(scratch),
            })
        }
        "exec-loader" => {
            let loader = LOADERS.into_iter().find(|path| Path::new(path).exists());
            plain(How::Loader(loader.ok_or(io::ErrorKind::NotFound)?))
        }
        "exec-mounted-over" => plain(How::MountedOver),
        "exec-overlay" => {
            let scratch = scratch_folder()?;
            Ok(Disguised {
                how: How::Overlay(scratch.clone()),
                scratch: Some(scratch),
            })
        }
        "exec-spoofed" => plain(How::Spoofed),
        "env-exec" => plain(How::Environment),
        "inherit-exec" => plain(How::Inherit),
        _ => plain(How::Plain),
    }
}

impl Disguised {
    /// Becomes the program. Returns only on failure.
    pub(super) fn exec(&self, args: &Args) -> io::Error {
        let (program, arguments) = match args.program.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        match &self.how {
            How::Plain => Command::new(program).args(arguments).exec(),
            How::Path(path) => Command::new(path).args(arguments).exec(),
            How::Descriptor(descriptor) => calls::exec_descriptor(descriptor, &args.program),
            How::DescriptorPath(descriptor) => {
                let path = format!(
                    "/proc/self/fd/{}",
                    std::os::fd::AsRawFd::as_raw_fd(descriptor)
                );
                Command::new(path).args(arguments).exec()
            }
            How::Loader(loader) => Command::new(loader).arg(program).args(arguments).exec(),
            How::Environment => {
                let variables = args.texts("--env");
                let pairs = variables
                    .iter()
                    .filter_map(|variable| variable.split_once('='));
                Command::new(program).args(arguments).envs(pairs).exec()
            }
            How::Inherit => inherit(args).unwrap_or_else(|error| error),
            How::MountedOver => mounted_over(program, arguments).unwrap_or_else(|error| error),
            How::Overlay(place) => {
                overlaid(place, program, arguments).unwrap_or_else(|error| error)
            }
            How::Spoofed => spoofed(args).unwrap_or_else(|error| error),
        }
    }

    /// Removes what was prepared.
    pub(super) fn remove(&self) {
        if let Some(scratch) = &self.scratch {
            let _ = fs::remove_dir_all(scratch);
        }
    }
}

/// Connects first, and leaves the socket to the program as `--fd N`.
fn inherit(args: &Args) -> io::Result<io::Error> {
    let server = args.server().map_err(io::Error::other)?;
    let stream =
        sockets::connect_plainly(server, std::time::Duration::from_secs(5)).map_err(|failure| {
            failure
                .errno()
                .map_or_else(|| io::Error::other("connect"), io::Error::from_raw_os_error)
        })?;
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&stream).to_string();
    let (program, arguments) = args
        .program
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Command::new(program)
        .args(arguments)
        .args(["--fd", &number])
        .exec())
}

/// Puts this program in the place of the other one, in a mount namespace of its own.
fn mounted_over(program: &str, arguments: &[String]) -> io::Result<io::Error> {
    let own = std::env::current_exe()?;
    calls::unshare(UnshareFlags::NEWNS | lineage::unless_root())?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount_bind(&own, program)?;
    Ok(Command::new(program).args(arguments).exec())
}

/// Lays the program's folder and an empty one over each other, in a mount namespace of its own,
/// and becomes the program as it is found there.
fn overlaid(place: &Path, program: &str, arguments: &[String]) -> io::Result<io::Error> {
    let program = Path::new(program);
    let folder = program.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = program.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    calls::unshare(UnshareFlags::NEWNS | lineage::unless_root())?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let layers = CString::new(format!("lowerdir={}:{}", folder.display(), place.display()))?;
    mount("overlay", place, "overlay", MountFlags::empty(), &*layers)?;
    Ok(Command::new(place.join(name)).args(arguments).exec())
}

/// Becomes this very program again, which then calls itself something else: `--as PATH` is
/// its `argv[0]`, and the last part of that its short name.
fn spoofed(args: &Args) -> io::Result<io::Error> {
    let name = args.text("--as").unwrap_or("/usr/bin/thunderbird");
    let comm = Path::new(name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let words = ["technique", "plain", "--comm", &comm];
    Ok(Command::new("/proc/self/exe")
        .arg0(name)
        .args(words)
        .args(args.option_words())
        .exec())
}

fn open_to_execute(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A copy of the program under its own name in a folder of its own.
fn copied(program: &str) -> io::Result<(PathBuf, PathBuf)> {
    let scratch = scratch_folder()?;
    let copy = scratch.join(Path::new(program).file_name().unwrap_or_default());
    let write = || -> io::Result<()> {
        fs::write(&copy, lineage::read_program(program)?)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
    };
    match write() {
        Ok(()) => Ok((scratch, copy)),
        Err(error) => {
            let _ = fs::remove_dir_all(&scratch);
            Err(error)
        }
    }
}

fn scratch_folder() -> io::Result<PathBuf> {
    let path = scratch_path("folder")?;
    fs::DirBuilder::new().mode(0o755).create(&path)?;
    Ok(path)
}

/// An unpredictable path that does not exist.
pub(super) fn scratch_path(what: &str) -> io::Result<PathBuf> {
    let mut bytes = [0u8; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(std::env::temp_dir().join(format!(
        "stage-player-{what}-{:016x}",
        u64::from_ne_bytes(bytes)
    )))
}
