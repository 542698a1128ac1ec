//! Bytes of a capture: from a file or standard input, uncompressed where need be, in large
//! blocks that another thread reads ahead.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::Error;

/// Longest piece that can be asked for at once, in bytes: the longest packet that capture
/// programs write (262,144), with its header and options.
pub const PIECE_MAX_BYTES: usize = 320 * 1024;
/// A block fits the second cache of most processors.
const BLOCK_BYTES: usize = 512 * 1024;
const BLOCKS: usize = 4;
/// A zstd window of 32 MiB: what `zstd -19` makes. Larger ones would need more memory than
/// replay may take.
const WINDOW_LOG_MAX: u32 = 25;
/// As much for xz, in KiB, with 1 MiB for itself: what `xz -8` makes.
const XZ_MAX_KIB: u32 = 33 * 1024;

/// What is read.
pub struct Input {
    reader: Box<dyn Read + Send>,
    /// Size of the file, where it is known.
    size_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
}

impl Input {
    /// A file, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            return Ok(Self::new(io::stdin()));
        }
        let file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(Error::Read(io::ErrorKind::IsADirectory.into()));
        }
        let mut input = Self::new(file);
        input.size_bytes = Some(about.len()).filter(|_| about.is_file());
        Ok(input)
    }

    /// Anything that can be read.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        let read_bytes = Arc::new(AtomicU64::new(0));
        Self {
            reader: Box::new(Counted {
                reader,
                read_bytes: read_bytes.clone(),
            }),
            size_bytes: None,
            read_bytes,
        }
    }

    /// Size of the file, where it is known, in bytes as they lie on the disk.
    pub const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// How much has been read, in bytes as they lie on the disk; goes on while it is read.
    pub fn read_bytes(&self) -> Arc<AtomicU64> {
        self.read_bytes.clone()
    }

    /// Starts reading. What is compressed is recognised by its first bytes.
    pub(crate) fn start(mut self) -> Result<Window, Error> {
        let mut first = [0; 6];
        let length = read_full(&mut self.reader, &mut first)?;
        let first = &first[..length];
        let whole = io::Cursor::new(first.to_vec()).chain(self.reader);
        let reader: Box<dyn Read + Send> = match first {
            [] => return Err(Error::Empty),
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(buffered(whole))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd_reader(whole)?,
            // Several compressors at once begin with a frame to pass over.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => zstd_reader(whole)?,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(NamedFailures {
                reader: lzma_rust2::XzReader::new_mem_limit(buffered(whole), true, XZ_MAX_KIB),
            }),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
                Box::new(bzip2::read::MultiBzDecoder::new(whole))
            }
            // The second is what Linux' kernel images and old programs have.
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Box::new(Lz4Frames {
                decoder: lz4_flex::frame::FrameDecoder::new(buffered(whole)),
            }),
            other => match packed(other) {
                Some(program) => return Err(Error::Packed(program)),
                None => Box::new(whole),
            },
        };
        Ok(Window::new(reader))
    }
}

fn buffered<R: Read>(reader: R) -> io::BufReader<R> {
    io::BufReader::with_capacity(64 * 1024, reader)
}

fn zstd_reader(whole: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>, Error> {
    let mut decoder = zstd::stream::read::Decoder::new(whole)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(Box::new(decoder))
}

/// What made a compressed file that is not read.
fn packed(first: &[u8]) -> Option<&'static str> {
    Some(match first {
        [0x1f, 0x9d, ..] => "compress",
        [b'L', b'Z', b'I', b'P', ..] => "lzip",
        [0x89, b'L', b'Z', b'O', ..] => "lzop",
        [b'P', b'K', 3, 4, ..] => "zip",
        [b'7', b'z', 0xbc, 0xaf, ..] => "7-Zip",
        [b'R', b'a', b'r', b'!', ..] => "RAR",
        [0xff, 6, 0, 0, b's', b'N'] => "snappy",
        [0x5d, 0, 0, ..] => "LZMA",
        _ => return None,
    })
}

/// The error of xz for a dictionary beyond the bound names no way out.
struct NamedFailures<R> {
    reader: R,
}

impl<R: Read> Read for NamedFailures<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            if error.kind() != io::ErrorKind::OutOfMemory {
                return error;
            }
            io::Error::other(
                "its dictionary is larger than 32 MiB, as `xz -9` makes it: decompress the file first",
            )
        })
    }
}

/// All frames of a file: the decoder says after each that it is at the end.
struct Lz4Frames<R: Read> {
    decoder: lz4_flex::frame::FrameDecoder<R>,
}

impl<R: io::BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.decoder.read(buffer)?;
            if length > 0 || buffer.is_empty() || self.decoder.get_mut().fill_buf()?.is_empty() {
                return Ok(length);
            }
        }
    }
}

struct Counted<R> {
    reader: R,
    read_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.read_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Room for what is left of the block before, and the block.
type Block = Vec<u8>;

enum Filled {
    Bytes(Block, usize),
    Failed(io::Error),
}

/// A view on the bytes that moves forward. A piece is always in one place in memory: what is
/// left of a block is put before the next one.
pub struct Window {
    block: Block,
    position: usize,
    end: usize,
    /// Bytes before `position`, in all.
    offset: u64,
    filled: Receiver<Filled>,
    empty: Sender<Block>,
    failed: Option<io::Error>,
    ended: bool,
}

impl Window {
    fn new(mut reader: Box<dyn Read + Send>) -> Self {
        let (filled_sender, filled): (SyncSender<Filled>, _) = sync_channel(BLOCKS - 2);
        let (empty, empty_receiver) = channel::<Block>();
        let mut made = 1;
        thread::spawn(move || {
            loop {
                let mut block = match empty_receiver.try_recv() {
                    Ok(block) => block,
                    Err(_) if made < BLOCKS => {
                        made += 1;
                        vec![0; PIECE_MAX_BYTES + BLOCK_BYTES]
                    }
                    Err(_) => match empty_receiver.recv() {
                        Ok(block) => block,
                        Err(_) => return,
                    },
                };
                let outcome = fill(&mut *reader, &mut block[PIECE_MAX_BYTES..]);
                let (length, error) = outcome;
                let full = length == BLOCK_BYTES;
                if filled_sender.send(Filled::Bytes(block, length)).is_err() {
                    return;
                }
                if let Some(error) = error {
                    let _ = filled_sender.send(Filled::Failed(error));
                    return;
                }
                if !full {
                    return;
                }
            }
        });
        Self {
            block: Vec::new(),
            position: 0,
            end: 0,
            offset: 0,
            filled,
            empty,
            failed: None,
            ended: false,
        }
    }

    /// Where the view is, in uncompressed bytes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Why it ended, when that was no proper end.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// At least `length` bytes, or all that are left when they are fewer.
    #[inline]
    pub fn peek(&mut self, length: usize) -> &[u8] {
        if self.end - self.position < length && !self.ended {
            self.fetch(length.min(PIECE_MAX_BYTES));
        }
        &self.block[self.position..self.end]
    }

    /// Goes forward, at most to the end of what `peek` gave.
    #[inline]
    pub fn advance(&mut self, length: usize) {
        let length = length.min(self.end - self.position);
        self.position += length;
        self.offset += length as u64;
    }

    /// Goes forward over bytes that `peek` gave, and gives them.
    #[inline]
    pub fn take(&mut self, length: usize) -> &[u8] {
        let start = self.position;
        self.advance(length);
        &self.block[start..self.position]
    }

    /// Goes forward over what need not be seen. Says how many bytes there were.
    pub fn skip(&mut self, length: u64) -> u64 {
        let mut left = length;
        while left > 0 {
            let there = self.peek(1).len();
            if there == 0 {
                break;
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            self.advance(step);
            left -= step as u64;
        }
        length - left
    }

    #[cold]
    fn fetch(&mut self, length: usize) {
        while self.end - self.position < length && !self.ended {
            match self.filled.recv() {
                Ok(Filled::Bytes(mut next, bytes)) => {
                    // `length` is at most the room before a block, and less than it is left.
                    let rest = &self.block[self.position..self.end];
                    let start = PIECE_MAX_BYTES - rest.len();
                    next[start..PIECE_MAX_BYTES].copy_from_slice(rest);
                    let before = std::mem::replace(&mut self.block, next);
                    if !before.is_empty() {
                        // Nobody takes it any more after the last block.
                        let _ = self.empty.send(before);
                    }
                    self.position = start;
                    self.end = PIECE_MAX_BYTES + bytes;
                }
                Ok(Filled::Failed(error)) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
                Err(_) => self.ended = true,
            }
        }
    }
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_across_blocks_are_whole() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7) as u8).collect();
        let mut window = Input::new(io::Cursor::new(bytes.clone())).start().unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let length = 1 + at % 70_000;
            let there = window.peek(length);
            let whole = length.min(bytes.len() - at);
            assert!(there.len() >= whole);
            assert!(there[..whole] == bytes[at..at + whole]);
            window.advance(whole);
            at += whole;
        }
        assert_eq!(window.offset(), bytes.len() as u64);
        assert!(window.peek(1).is_empty());
    }

    #[test]
    fn nothing_is_an_error() {
        assert!(matches!(Input::new(io::empty()).start(), Err(Error::Empty)));
    }
}
