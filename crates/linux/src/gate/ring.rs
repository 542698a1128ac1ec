//! The gate's ring buffers: one process holds them, another reads.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use aya::maps::{Map, MapData, MapError, RingBuf};

use crate::Error;
use crate::pins::Pins;

/// A ring buffer that is held but not read: it takes no memory here.
pub struct Ring(MapData);

impl Ring {
    pub(super) fn open(pins: &Pins, name: &str) -> Result<Self, Error> {
        let path = pins.map(name);
        MapData::from_pin(&path)
            .map(Self)
            .map_err(|error| Error::failed(path.display(), &error))
    }

    /// Passes over all that waits in it, and over where the last reader has left off. For when
    /// one reader after the other breaks on it: where to read on is written by the reader, who
    /// may have gone astray.
    ///
    /// # Errors
    ///
    /// When its pages cannot be mapped.
    pub fn skip(&self) -> Result<(), Error> {
        use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
        let failed = |error: rustix::io::Errno| Error::failed("a ring buffer", &error);
        let page = rustix::param::page_size();
        let map = |access, offset: usize| {
            // SAFETY: the kernel chooses where, so nothing is mapped over.
            unsafe {
                mmap(
                    std::ptr::null_mut(),
                    page,
                    access,
                    MapFlags::SHARED,
                    self.0.fd(),
                    offset as u64,
                )
            }
        };
        // The first page says how far it is read, the second how far it is written
        // (kernel/bpf/ringbuf.c).
        let read = map(ProtFlags::READ | ProtFlags::WRITE, 0).map_err(failed)?;
        let written = map(ProtFlags::READ, page).inspect_err(|_| {
            // SAFETY: mapped above, and nobody else knows of it.
            let _ = unsafe { munmap(read, page) };
        });
        let written = written.map_err(failed)?;
        // SAFETY: both are whole pages, the first writable; the kernel and readers only touch
        // these words atomically. Nothing refers to the pages once they are unmapped.
        unsafe {
            let end = AtomicUsize::from_ptr(written.cast()).load(Ordering::Acquire);
            AtomicUsize::from_ptr(read.cast()).store(end, Ordering::Release);
            let _ = munmap(read, page);
            let _ = munmap(written, page);
        }
        Ok(())
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd().as_fd()
    }
}

/// Reports of the gate, being read. Only one process may do so at a time.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Begins to read a ring buffer that another process holds. Needs the privilege to ask for
    /// a map's size; reading needs none.
    ///
    /// # Errors
    ///
    /// When the descriptor is that of something else.
    pub fn of(ring: OwnedFd) -> Result<Self, Error> {
        let map = MapData::from_fd(ring)
            .and_then(Map::from_map_data)
            .map_err(|error| Error::failed("a ring buffer", &error))?;
        Self::of_map(map)
    }

    pub(super) fn of_map(map: Map) -> Result<Self, Error> {
        RingBuf::try_from(map)
            .map(Self)
            .map_err(|error: MapError| Error::failed("a ring buffer", &error))
    }

    /// Puts the next report that waits into `report`; `false` when there is none. It is taken out
    /// before it is handled, so that one that breaks its reader does not break the next one too.
    pub fn next(&mut self, report: &mut Vec<u8>) -> bool {
        let Some(item) = self.0.next() else {
            return false;
        };
        report.clear();
        report.extend_from_slice(&item);
        true
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsRawFd as _;
        let raw = self.0.as_raw_fd();
        // SAFETY: the ring buffer owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(raw) }
    }
}
