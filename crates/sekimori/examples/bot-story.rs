//! Writes the capture that the picture in the README was made from:
//!
//! ```text
//! cargo run --example bot-story > story.pcap
//! sekimori replay story.pcap --html report.html
//! ```

use std::io::Write as _;

#[allow(dead_code)]
#[path = "../tests/story/mod.rs"]
mod story;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(&story::capture())
}
