//! What root's own files say that a program is for: menu entries, sessions, autostart, alternatives.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use guard::catalog::Catalog;
use guard::proposal::{Proposer, Purpose};
use linux::identity;

use crate::setup::DesktopEntry;

/// Files of one folder that are read.
const FILES_MAX: usize = 4096;
/// A longer file is passed over.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Proposes for this computer.
pub fn proposer(catalog: Catalog) -> Proposer {
    let purposes = Purposes::of_this_computer();
    let purpose = Box::new(move |file: &Path| purposes.of(file));
    Proposer::new(catalog, identity::identify, purpose)
}

/// Programs by their file, with what they are for.
#[derive(Debug, Default)]
pub struct Purposes {
    pub(super) of: HashMap<PathBuf, Purpose>,
}

impl Purposes {
    /// Of this computer.
    pub fn of_this_computer() -> Self {
        Self::below(Path::new("/"))
    }

    /// Where `root` stands for `/`. Of two purposes the one that is found first counts.
    pub fn below(root: &Path) -> Self {
        let mut purposes = Self::default();
        for folder in ["usr/share/xsessions", "usr/share/wayland-sessions"] {
            purposes.read(root, folder, |_| Some(Purpose::Session));
        }
        for alternative in [
            "x-terminal-emulator",
            "x-session-manager",
            "x-window-manager",
        ] {
            let purpose = match alternative {
                "x-terminal-emulator" => Purpose::Terminal,
                _ => Purpose::Session,
            };
            purposes.add(root, &format!("/etc/alternatives/{alternative}"), purpose);
        }
        for folder in ["usr/local/share/applications", "usr/share/applications"] {
            purposes.read(root, folder, by_categories);
        }
        purposes.read(root, "etc/xdg/autostart", |_| Some(Purpose::DesktopPart));
        purposes
    }

    /// What the program in this file is for.
    pub fn of(&self, file: &Path) -> Option<Purpose> {
        self.of.get(file).copied()
    }

    fn read(
        &mut self,
        root: &Path,
        folder: &str,
        purpose: impl Fn(&DesktopEntry) -> Option<Purpose>,
    ) {
        let files = fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).take(FILES_MAX).collect();
        files.sort();
        for file in files {
            let Some(entry) = roots_text(&file).and_then(|text| DesktopEntry::parse(&text, "C"))
            else {
                continue;
            };
            if entry.hidden {
                continue;
            }
            if let (Some(command), Some(purpose)) = (entry.command.first(), purpose(&entry)) {
                self.add(root, command, purpose);
            }
        }
    }

    fn add(&mut self, root: &Path, command: &str, purpose: Purpose) {
        let candidates: Vec<PathBuf> = if let Some(path) = command.strip_prefix('/') {
            vec![root.join(path)]
        } else if command.contains('/') {
            Vec::new()
        } else {
            ["usr/local/bin", "usr/bin", "usr/games"]
                .iter()
                .map(|folder| root.join(folder).join(command))
                .collect()
        };
        if let Some(file) = candidates
            .into_iter()
            .find_map(|path| fs::canonicalize(path).ok())
        {
            self.of.entry(file).or_insert(purpose);
        }
    }
}

fn by_categories(entry: &DesktopEntry) -> Option<Purpose> {
    let has = |wanted: &str| entry.categories.iter().any(|it| it == wanted);
    if has("TerminalEmulator") {
        Some(Purpose::Terminal)
    } else if has("FileManager") {
        Some(Purpose::FileManager)
    } else if entry.email {
        Some(Purpose::Mailer)
    } else {
        entry.browser.then_some(Purpose::Browser)
    }
}

/// A short file that root alone can write.
fn roots_text(path: &Path) -> Option<String> {
    let about = fs::metadata(path).ok()?;
    let is_roots = about.uid() == 0 && about.mode() & 0o022 == 0;
    let is_short = about.is_file() && about.len() <= FILE_BYTES_MAX;
    (is_roots && is_short).then(|| fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests;
