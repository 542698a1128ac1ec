//! What can go wrong with a capture. Each message is one line.

use std::io;

/// A capture could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It begins with something else.
    #[error(
        "is no capture: expected pcap or pcapng, perhaps compressed with gzip, zstd, xz, bzip2 or lz4"
    )]
    NoCapture,
    /// It was compressed by a program whose format is not read.
    #[error("is compressed with {0}, which is not read: decompress it first")]
    Packed(&'static str),
    /// It has no bytes.
    #[error("is empty: expected pcap or pcapng")]
    Empty,
}

/// Where and why reading a capture ended before its end. What came before it was read.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file ends in the middle.
    #[error("ends in the middle of a packet at byte {offset}: {missing} bytes are missing")]
    Truncated {
        /// Where the packet begins, in uncompressed bytes.
        offset: u64,
        /// How many bytes should have followed.
        missing: usize,
    },
    /// A length makes no sense.
    #[error("is damaged at byte {offset}: a packet of {length} bytes cannot be")]
    Length {
        /// Where the packet begins, in uncompressed bytes.
        offset: u64,
        /// Its length, as the file says.
        length: u64,
    },
    /// A block of pcapng makes no sense.
    #[error("is damaged at byte {offset}: {what}")]
    Block {
        /// Where the block begins, in uncompressed bytes.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file cannot be read on, or its compression is damaged.
    #[error("cannot be read on after byte {offset}: {source}")]
    Read {
        /// Up to where it was read, in uncompressed bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}
