//! What the gate is told of the seat, and what it knows of it.

use std::collections::HashMap;

use abi::{Seat, Seated};

use super::{Bytes, Gate, removed};
use crate::Error;

impl Gate {
    /// What is known of the seat.
    pub fn seat(&self) -> Seat {
        self.seat.get(&0, 0).map(bytemuck::cast).unwrap_or_default()
    }

    fn set_seat(&mut self, seat: Seat) -> Result<(), Error> {
        let bytes: Bytes<Seat> = bytemuck::cast(seat);
        self.seat
            .set(0, bytes, 0)
            .map_err(|error| Error::failed("map seat", &error))
    }

    pub(crate) fn reads_terminals(&mut self, reads: bool) -> Result<(), Error> {
        let seat = Seat {
            reads_terminals: reads.into(),
            ..self.seat()
        };
        self.set_seat(seat)
    }

    /// Keyboard or mouse were used, in nanoseconds since boot.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn set_used(&mut self, now_ns: u64) -> Result<(), Error> {
        let seat = Seat {
            used_ns: now_ns,
            ..self.seat()
        };
        self.set_seat(seat)
    }

    /// Who sits where, as of now. `None` when nobody knows: then nothing is asked. Whoever comes
    /// to the seat is there from now on, whether a key is pressed or not. `sees_input` says whether there is
    /// any device.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn set_seated(
        &mut self,
        users: Option<&HashMap<u32, Seated>>,
        sees_input: bool,
        now_ns: u64,
    ) -> Result<(), Error> {
        let failed = |error| Error::failed("map seated", &error);
        for (user, place) in users.into_iter().flatten() {
            let known = self.seated.get(user, 0).ok();
            let known: Option<Seated> = known.map(bytemuck::cast);
            let stayed = known.filter(|known| known.at_seat == 1 && place.at_seat == 1);
            let seen_ns = match (stayed, known) {
                (Some(stayed), _) => stayed.seen_ns,
                (None, _) if place.at_seat == 1 => now_ns,
                (None, known) => known.map_or(0, |known| known.seen_ns),
            };
            let bytes: Bytes<Seated> = bytemuck::cast(Seated { seen_ns, ..*place });
            self.seated.insert(user, bytes, 0).map_err(failed)?;
        }
        let gone: Vec<u32> = self.seated.keys().filter_map(Result::ok).collect();
        let is_there = |user: &u32| users.is_some_and(|users| users.contains_key(user));
        for user in gone.into_iter().filter(|user| !is_there(user)) {
            removed("map seated", self.seated.remove(&user))?;
        }
        let seat = Seat {
            is_followed: users.is_some().into(),
            sees_input: sees_input.into(),
            ..self.seat()
        };
        self.set_seat(seat)
    }
}
