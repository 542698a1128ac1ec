//! Giving back pages of the program's own file that only its start needed.
//!
//! What a program and its libraries are made of is read from their files when it is first used, and
//! in blocks: much that runs once, or lies beside what runs, then counts as this process's memory for as
//! long as it lives. What is given back stays in the kernel's page cache for as long as there is room,
//! and what is used again comes back from there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// `man 5 proc_pid_smaps`.
const MAPPINGS: &str = "/proc/self/smaps";

/// Where the program and its libraries lie in memory, as far as it is the same as in their files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FilePages(Vec<Range<usize>>);

impl FilePages {
    /// Finds them: for whoever is going to lose sight of /proc. None where that cannot be read.
    pub fn find() -> Self {
        File::open(MAPPINGS).map_or_else(|_| Self::default(), |file| read(BufReader::new(file)))
    }

    /// Gives them back. What is used again comes one block at a time, without reading the file where it is
    /// still cached. A breakpoint that a debugger or a uprobe has set since they were found goes with them.
    pub fn give_back(&self) {
        for range in &self.0 {
            // SAFETY: no byte changes. These are whole mappings of files, private and not writable,
            // in which nothing differed from the file: in particular none that the dynamic linker
            // has relocated. They belong to the program and its libraries, which stay where they
            // are as long as this process lives, so nothing else lies there now.
            let given = unsafe {
                madvise(
                    std::ptr::without_provenance_mut(range.start),
                    range.len(),
                    Advice::LinuxDontNeed,
                )
            };
            // They just stay where that is not possible, as with pages that are locked.
            let _ = given;
        }
    }
}

/// One mapping, as far as it matters.
struct Mapping {
    range: Range<usize>,
    /// As in `r-xp`.
    access: String,
    /// Device and inode; none when there is no file.
    file: Option<(String, String)>,
    /// The kernel says that no page differs from the file, neither in memory nor swapped out.
    unchanged: bool,
}

fn read(text: impl BufRead) -> FilePages {
    let mut mappings: Vec<Mapping> = Vec::new();
    let (mut anonymous, mut swap) = (None, None);
    for line in text.split(b'\n').map_while(Result::ok) {
        // A file's name need not be UTF-8.
        let line = String::from_utf8_lossy(&line);
        if let Some(mapping) = head(&line) {
            (anonymous, swap) = (None, None);
            mappings.push(mapping);
        } else if let Some(mapping) = mappings.last_mut() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("Anonymous:"), Some(kib)) => anonymous = Some(kib == "0"),
                (Some("Swap:"), Some(kib)) => swap = Some(kib == "0"),
                _ => {}
            }
            mapping.unchanged = anonymous == Some(true) && swap == Some(true);
        }
    }
    // What the dynamic linker has mapped, and not a file that somebody reads in this way.
    let programs: BTreeSet<_> = mappings
        .iter()
        .filter(|mapping| mapping.access == "r-xp")
        .filter_map(|mapping| mapping.file.clone())
        .collect();
    let given = mappings
        .into_iter()
        .filter(|mapping| mapping.unchanged && matches!(&*mapping.access, "r-xp" | "r--p"))
        .filter(|mapping| {
            mapping
                .file
                .as_ref()
                .is_some_and(|file| programs.contains(file))
        })
        .map(|mapping| mapping.range);
    FilePages(given.collect())
}

/// The first line of a mapping: range, access, offset, device, inode, name.
fn head(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (from, to) = (address(from)?, address(to)?);
    let access = words.next()?.to_owned();
    let (device, inode) = (words.nth(1)?, words.next()?);
    (from < to).then(|| Mapping {
        range: from..to,
        access,
        file: (inode != "0").then(|| (device.to_owned(), inode.to_owned())),
        unchanged: false,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mapping(range: &str, access: &str, inode: u64, name: &str, anonymous: u64) -> String {
        format!(
            "{range} {access} 00001000 fe:00 {inode} {name}\nSize: 4 kB\nRss: 4 kB\nAnonymous: {anonymous} kB\nSwap: 0 kB\nVmFlags: rd mr mw me\n"
        )
    }

    #[test]
    fn only_what_is_as_in_the_file_is_listed() {
        let text = [
            mapping("1000-2000", "r--p", 7, "/usr/bin/a b", 0),
            mapping("2000-4000", "r-xp", 7, "/usr/bin/a b", 0),
            mapping("4000-5000", "r--p", 7, "/usr/bin/a b", 4),
            mapping("5000-6000", "rw-p", 7, "/usr/bin/a b", 0),
            mapping("6000-7000", "r-xp", 8, "/lib/changed.so (deleted)", 4),
            mapping("7000-8000", "r--p", 9, "/var/data", 0),
            mapping("8000-9000", "r--s", 7, "/usr/bin/a b", 0),
            mapping("9000-a000", "r--p", 0, "[vvar]", 0),
            mapping("a000-b000", "r-xp", 0, "[vdso]", 0),
            mapping("c000-d000", "rw-p", 0, "", 0),
            mapping("e000-f000", "r-xp", 10, "/lib/swapped.so", 0).replace("Swap: 0", "Swap: 4"),
            mapping("10000-11000", "r-xp", 10, "/lib/untold.so", 0).replace("Swap:", "Spaw:"),
        ];
        let found = read(text.concat().as_bytes());
        assert_eq!(found.0, [0x1000..0x2000, 0x2000..0x4000]);
        // Whatever is in there, half a line or nothing.
        for text in [
            "",
            "\n\n",
            "1000-2000",
            "zz-1 r-xp",
            "Anonymous: 0 kB\nSwap: 0 kB",
        ] {
            assert_eq!(read(text.as_bytes()), FilePages::default(), "{text}");
        }
    }

    /// What is resident in ranges, in KiB.
    fn resident_kib(ranges: &[Range<usize>]) -> usize {
        let text = fs::read_to_string(MAPPINGS).unwrap();
        let mut inside = false;
        let mut sum = 0;
        for line in text.lines() {
            if let Some(mapping) = head(line) {
                inside = ranges.contains(&mapping.range);
            } else if let Some(kib) = line.strip_prefix("Rss:").filter(|_| inside) {
                let kib = kib.trim_end_matches("kB").trim();
                sum += kib.parse::<usize>().unwrap();
            }
        }
        sum
    }

    #[test]
    fn pages_are_given_back_and_come_again() {
        let pages = FilePages::find();
        let all = || pages.0.iter().cloned().flatten().step_by(4096);
        // SAFETY: of mappings that are readable and stay.
        let look = |at: usize| unsafe { std::ptr::without_provenance::<u8>(at).read_volatile() };
        let before: Vec<u8> = all().map(look).collect();
        let size_kib = pages.0.iter().map(Range::len).sum::<usize>() / 1024;
        assert!(size_kib > 1024, "{pages:?}");
        let full_kib = resident_kib(&pages.0);
        assert!(full_kib > size_kib / 2, "{full_kib} KiB of {size_kib}");

        pages.give_back();
        // Other tests run meanwhile.
        let left_kib = resident_kib(&pages.0);
        assert!(left_kib < full_kib / 2, "{left_kib} KiB of {full_kib}");
        assert!(all().map(look).eq(before));
    }
}
