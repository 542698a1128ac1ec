//! When a keyboard, a mouse or a touch screen of this machine was used last, and never for what.
//!
//! The keeper opens the devices (`/dev/input`) and waits until one has something to read. It reads
//! nothing: which key it was stays in the kernel. It closes all devices, rests some seconds, and opens them
//! again, so a mouse that moves wakes it seldom. A desktop's own word (logind's IdleHint) is no
//! help: any program of the user may give it.
//!
//! What a program makes up does not come by here (XTEST, virtual keyboards of Wayland), or comes from
//! a device that hangs on no hardware (uinput), which is not opened.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, WatchFlags};
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Where the devices are.
const DEVICES: &str = "/dev/input";
/// Where the kernel shows what each hangs on.
const CLASS: &str = "/sys/class/input";
/// Devices that hang on no hardware: uinput's.
const MADE_UP: &str = "/sys/devices/virtual/input/";
/// More devices than this are not opened.
const DEVICES_MAX: usize = 256;

/// What woke the wait. Devices come after these.
const FOLDER: u64 = 0;
const RESTED: u64 = 1;
const DEVICE: u64 = 2;

/// The devices that a person can use.
pub struct Input {
    folder: PathBuf,
    /// Files in the folder that a test made, and no devices.
    is_played: bool,
    ready: OwnedFd,
    changes: OwnedFd,
    timer: OwnedFd,
    open: Vec<File>,
    is_resting: bool,
    rest: Duration,
}

impl Input {
    /// Opens this machine's devices. `played` is a folder of named pipes that stand for devices in tests.
    ///
    /// # Errors
    ///
    /// When the kernel has no room for another wait.
    pub fn watch(played: Option<&Path>, rest: Duration) -> io::Result<Self> {
        let ready = epoll::create(CreateFlags::CLOEXEC)?;
        let changes =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        for (fd, what) in [(&changes, FOLDER), (&timer, RESTED)] {
            epoll::add(&ready, fd, EventData::new_u64(what), EventFlags::IN)?;
        }
        let mut input = Self {
            folder: played.unwrap_or_else(|| Path::new(DEVICES)).to_owned(),
            is_played: played.is_some(),
            ready,
            changes,
            timer,
            open: Vec::new(),
            is_resting: false,
            rest,
        };
        input.open_all();
        Ok(input)
    }

    /// Becomes readable when [`Self::was_used`] has something to say.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Whether there is any device. Where there is none, nobody can be seen.
    pub const fn has_devices(&self) -> bool {
        self.is_resting || !self.open.is_empty()
    }

    /// Whether a device was used since the last time. Follows devices that come and go.
    pub fn was_used(&mut self) -> bool {
        let mut room = [MaybeUninit::<Event>::uninit(); 16];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let Ok((woken, _)) = epoll::wait(&self.ready, &mut room, Some(&now)) else {
            return false;
        };
        let mut used = false;
        let mut has_changed = false;
        for event in woken.iter() {
            let (flags, data) = (event.flags, event.data);
            match data.u64() {
                FOLDER => has_changed = true,
                RESTED => self.is_resting = false,
                // A device that went has nothing to read.
                _ if flags.contains(EventFlags::IN) => used = true,
                _ => has_changed = true,
            }
        }
        let had_rested = !self.is_resting && self.open.is_empty();
        if has_changed {
            // They are not told apart: all devices are opened anew.
            forget_changes(&self.changes);
        }
        if used {
            self.begin_rest();
        } else if (has_changed || had_rested) && !self.is_resting {
            self.open_all();
        }
        used
    }

    fn begin_rest(&mut self) {
        self.is_resting = self.wake_after(self.rest).is_ok();
        if self.is_resting {
            self.open.clear();
        } else {
            self.open_all();
        }
    }

    /// Sets the timer; zero stops it.
    fn wake_after(&self, rest: Duration) -> rustix::io::Result<()> {
        let spec = |time: Duration| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let once = Itimerspec {
            it_interval: spec(Duration::ZERO),
            it_value: spec(rest),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).map(drop)
    }

    /// Opens all devices anew; what was pressed before does not count any more.
    fn open_all(&mut self) {
        let _ = self.wake_after(Duration::ZERO);
        self.open.clear();
        // Before the folder is read, so that nothing comes in between. The folder itself may come later.
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ATTRIB;
        if inotify::add_watch(&self.changes, &self.folder, flags | WatchFlags::ONLYDIR).is_err()
            && let Some(parent) = self.folder.parent()
        {
            let only = WatchFlags::CREATE | WatchFlags::ONLYDIR;
            let _ = inotify::add_watch(&self.changes, parent, only);
        }
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten().take(DEVICES_MAX) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with("event") || !(self.is_played || is_hardware(&name)) {
                continue;
            }
            let Ok(device) = open(&entry.path()) else {
                continue;
            };
            if !self.is_played && only_keys_and_moves(&device).is_err() {
                continue;
            }
            let data = EventData::new_u64(DEVICE);
            if epoll::add(&self.ready, &device, data, EventFlags::IN).is_ok() {
                self.open.push(device);
            }
        }
    }
}

/// Reads what an inotify that does not wait has to say, for who looks at everything anew.
pub fn forget_changes(changes: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(changes, &mut buffer);
    while reader.next().is_ok() {}
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

/// Whether the device hangs on hardware.
fn is_hardware(name: &str) -> bool {
    let device = fs::canonicalize(Path::new(CLASS).join(name));
    device.is_ok_and(|path| !path.starts_with(MADE_UP))
}

/// `struct input_mask` of `linux/input.h`.
#[repr(C)]
struct InputMask {
    kind: u32,
    bytes: u32,
    codes: u64,
}

/// `EVIOCSMASK`, since Linux 4.4.
const SET_MASK: rustix::ioctl::Opcode = opcode::write::<InputMask>(b'E', 0x93);
/// The mask of the kinds of events themselves (`EV_SYN`).
const KINDS: u32 = 0;
/// Keys, buttons and fingers (`EV_KEY`), and mice that move (`EV_REL`). A sensor of movement in a laptop
/// reports positions instead (`EV_ABS`), by itself.
static KEYS_AND_MOVES: u64 = 1 << 1 | 1 << 2;

/// Has the kernel pass over everything else of the device.
fn only_keys_and_moves(device: &File) -> rustix::io::Result<()> {
    let mask = InputMask {
        kind: KINDS,
        bytes: size_of_val(&KEYS_AND_MOVES) as u32,
        codes: (&raw const KEYS_AND_MOVES) as u64,
    };
    // SAFETY: the request reads an `input_mask`, and from it eight bytes at an address that stays valid.
    unsafe { ioctl(device, Setter::<SET_MASK, _>::new(mask)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::{Read as _, Write as _};

    const REST: Duration = Duration::from_millis(50);

    fn device(folder: &Path, name: &str) -> File {
        let path = folder.join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // For both, so that the pipe has an end that writes at all times.
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    }

    fn wait(input: &mut Input) -> bool {
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let fd = input.as_fd();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        assert_ne!(poll(&mut fds, Some(&limit)).unwrap(), 0, "nothing came");
        input.was_used()
    }

    fn wait_until_used(input: &mut Input) {
        while !wait(input) {}
    }

    #[test]
    fn a_device_that_is_used_is_noticed_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut keyboard = device(folder.path(), "event0");
        let mut input = Input::watch(Some(folder.path()), REST).unwrap();
        assert!(input.has_devices() && !input.was_used());
        for _ in 0..3 {
            keyboard.write_all(b"k").unwrap();
            wait_until_used(&mut input);
            assert!(input.has_devices());
            // A device that is opened anew has nothing to read; a pipe still has.
            keyboard.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn devices_and_their_folder_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("input");
        let mut input = Input::watch(Some(&devices), REST).unwrap();
        assert!(!input.has_devices());
        fs::create_dir(&devices).unwrap();
        let mut mouse = device(&devices, "event3");
        while !input.has_devices() {
            assert!(!wait(&mut input));
        }
        mouse.write_all(b"m").unwrap();
        wait_until_used(&mut input);
        fs::remove_file(devices.join("event3")).unwrap();
        while input.has_devices() {
            wait(&mut input);
        }
    }

    #[test]
    fn other_files_are_no_devices() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mice"), b"x").unwrap();
        fs::write(folder.path().join("event0"), b"x").unwrap();
        let input = Input::watch(Some(folder.path()), REST).unwrap();
        assert!(!input.has_devices());
        // No device takes the mask but an event device.
        let file = File::open(folder.path().join("event0")).unwrap();
        assert!(only_keys_and_moves(&file).is_err());
    }
}
