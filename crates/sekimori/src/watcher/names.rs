//! What the decoder asks about programs and processes: from memory, else from the keeper.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use abi::{ProcessRecord, ProgramEvent};
use linux::decode::{Names, Owner};
use linux::programs::Programs;

use crate::channel::link::Link;
use crate::channel::request::{OF_A_SERVER, Request};

/// Indexes that nobody has a name for. Past that all are asked about again.
const NAMELESS_MAX: usize = 1024;
/// Names in a list that are asked for at most: more than the gate's table holds.
const LISTED_MAX: u32 = 65_536;

/// What is known without asking.
#[derive(Default)]
pub struct Known {
    programs: Programs,
    nameless: HashSet<u32>,
}

/// Names by the keeper.
pub struct Asked<'a> {
    /// Whom to ask.
    pub link: &'a mut Link,
    /// What was asked before.
    pub known: &'a mut Known,
}

impl Asked<'_> {
    /// Asks; what cannot be had is missing.
    fn ask(&mut self, request: &Request) -> Option<Vec<u8>> {
        self.link.ask(request).ok().flatten()
    }

    /// Its event was lost, or it is from before a restart: looks through all, once.
    fn learn_all(&mut self) {
        let mut skip = 0;
        while skip < LISTED_MAX {
            let Some(list) = self.ask(&Request::Programs { skip }) else {
                return;
            };
            let count = self.learn(&list);
            if count == 0 {
                return;
            }
            skip += count;
        }
    }

    /// Reads a list of names, and returns how many there were.
    fn learn(&mut self, mut list: &[u8]) -> u32 {
        let mut count = 0;
        while let Some((head, rest)) = list.split_first_chunk::<6>() {
            let [a, b, c, d, low, high] = *head;
            let length = usize::from(u16::from_le_bytes([low, high]));
            let Some((name, rest)) = rest.split_at_checked(length) else {
                break;
            };
            let name = String::from_utf8_lossy(name);
            let index = u32::from_le_bytes([a, b, c, d]);
            self.known.programs.keep(index, name.into());
            list = rest;
            count += 1;
        }
        count
    }
}

impl Names for Asked<'_> {
    fn name(&mut self, index: u32) -> Option<Arc<str>> {
        if index == 0 || self.known.nameless.contains(&index) {
            return None;
        }
        if let Some(name) = self.known.programs.name(index) {
            return Some(name);
        }
        self.learn_all();
        let name = self.known.programs.name(index);
        if name.is_none() {
            if self.known.nameless.len() >= NAMELESS_MAX {
                self.known.nameless.clear();
            }
            self.known.nameless.insert(index);
        }
        name
    }

    fn seen(&mut self, event: &ProgramEvent) {
        // One of those without a name may be this one.
        self.known.nameless.clear();
        if let Some(name) = self.ask(&Request::Program { key: event.key }) {
            self.learn(&name);
        }
    }

    fn process(&mut self, pid: u32) -> Option<ProcessRecord> {
        let bytes = self.ask(&Request::Process { pid })?;
        bytemuck::try_pod_read_unaligned(&bytes).ok()
    }

    fn owner(&mut self, own_port: u16, remote: SocketAddr) -> Owner {
        let answer = self.ask(&Request::Owner { own_port, remote });
        let pid: Option<[u8; 4]> = answer.and_then(|bytes| bytes.try_into().ok());
        match pid.map(u32::from_le_bytes) {
            Some(OF_A_SERVER) => Owner::Server,
            Some(pid) => Owner::Process(pid),
            None => Owner::Unknown,
        }
    }

    fn path(&mut self, pid: u32) -> Option<Arc<str>> {
        let bytes = self.ask(&Request::Path { pid })?;
        Some(String::from_utf8_lossy(&bytes).into())
    }
}
