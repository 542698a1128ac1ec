//! The registered files are looked at again: at the start, and when they have changed.

use std::time::Instant;

use super::Keeper;
use crate::output::trouble;

impl Keeper {
    /// Looks at all of them.
    pub(super) fn verify_all(&mut self) {
        for index in 0..self.registry.entries().len() {
            self.verify(index);
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
                self.verify(index);
            }
        }
        self.pace
            .keep(|path| self.registry.position(path).is_some());
    }

    /// Looks at those whose turn has come.
    pub(super) fn verify_due(&mut self) {
        for path in self.pace.due(Instant::now()) {
            if let Some(index) = self.registry.position(&path) {
                self.verify(index);
            }
        }
    }

    fn verify(&mut self, index: usize) {
        match self.registry.verify(index, &mut self.gate) {
            Ok(Some(said)) => self.notice(said),
            Ok(None) => {}
            Err(error) => trouble(&format!("{error:#}")),
        }
    }
}
