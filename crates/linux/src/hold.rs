//! Holding the gate in place. Its pins keep it without any process of ours; while the daemon
//! runs, it holds the links too, so that a bpffs that somebody unmounts does not open the
//! mail ports. That the pins are gone is noticed, because the gate then ends with its holder.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use aya::programs::links::PinnedLink;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::Error;
use crate::pins::Pins;

/// The links of a pinned gate, and a watch on its pins.
pub struct Hold {
    /// Each guards as long as it is open.
    _links: Vec<PinnedLink>,
    watch: Option<OwnedFd>,
}

impl Hold {
    /// Holds the links that are pinned. Without a watch when the system allows no more of
    /// them.
    ///
    /// # Errors
    ///
    /// When a link cannot be opened.
    pub fn of(pins: &Pins) -> Result<Self, Error> {
        let folder = pins.links();
        let mut links = Vec::new();
        for pin in fs::read_dir(&folder).map_err(Error::file(&folder))? {
            let path = pin.map_err(Error::file(&folder))?.path();
            let link = PinnedLink::from_pin(&path);
            links.push(link.map_err(|error| Error::failed(path.display(), &error))?);
        }
        Ok(Self {
            _links: links,
            watch: watch(pins),
        })
    }

    /// To be polled along with whatever else is waited for: readable when something happened
    /// to the pins.
    pub fn poll(&self) -> Option<PollFd<'_>> {
        let watch = self.watch.as_ref()?;
        Some(PollFd::new(watch, PollFlags::IN))
    }

    /// Whether pins have gone: removed, moved, or unmounted. Says so once; the watch ends
    /// then, because pins do not come back.
    pub fn lost_pins(&mut self) -> bool {
        let Some(watch) = &self.watch else {
            return false;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        let mut lost = false;
        while let Ok(event) = reader.next() {
            // The kernel's word that a watch has ended follows each of the others.
            lost |= event.events() != ReadFlags::IGNORED;
        }
        if lost {
            self.watch = None;
        }
        lost
    }
}

fn watch(pins: &Pins) -> Option<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let gone = WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    for folder in [pins.links(), pins.maps()] {
        inotify::add_watch(&watch, &folder, gone).ok()?;
    }
    Some(watch)
}
