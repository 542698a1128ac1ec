//! log
/// When to begin.
pub type Since = u64;
/// x
pub fn parse_since(text: &str) -> Result<u64, String> { text.parse().map_err(|_| String::new()) }
