//! The registered files are looked at again: at the start, and when they have changed. The look itself
//! happens beside the loop.

use std::time::Instant;

use super::Keeper;
use super::looker::FileFound;
use crate::output::trouble;

impl Keeper {
    /// Has all of them looked at.
    pub(super) fn verify_all(&mut self) {
        for index in 0..self.registry.entries().len() {
            self.look_at(index);
        }
    }

    /// Looks at those that have changed: at what users can write to not too often.
    pub(super) fn verify_changed(&mut self, paths: Vec<String>) {
        let now = Instant::now();
        for path in paths {
            if let Some(index) = self.registry.position(&path)
                && (self.registry.entries()[index].stored.root_owned
                    || self.pace.changed(&path, now))
            {
                self.look_at(index);
            }
        }
        self.pace
            .keep(|path| self.registry.position(path).is_some());
    }

    /// Looks at those whose turn has come.
    pub(super) fn verify_due(&mut self) {
        for path in self.pace.due(Instant::now()) {
            if let Some(index) = self.registry.position(&path) {
                self.look_at(index);
            }
        }
    }

    /// Takes what a look has found. One that began before the registration was changed has seen
    /// another file than the one that counts, perhaps, and is done again.
    pub(super) fn verified(&mut self, found: FileFound) {
        let Some(index) = self.registry.position(&found.path) else {
            return;
        };
        if self.registry.entries()[index].for_gate() != found.before {
            return self.look_at(index);
        }
        match self.registry.verify(index, found, &mut self.gate) {
            Ok(Some(said)) => self.notice(said),
            Ok(None) => {}
            Err(error) => trouble(&format!("{error:#}")),
        }
    }

    fn look_at(&mut self, index: usize) {
        if let Some(entry) = self.registry.entries().get(index) {
            let (path, before) = (entry.stored.path.clone(), entry.for_gate());
            self.looker.look_at(path, before, entry.stored.root_owned);
        }
    }
}
