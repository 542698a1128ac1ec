//! The truth about the captures: which files there are, and which connections are IRC or mail.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use protocols::App;

/// Both ends of a connection, the smaller first.
pub type Ends = (SocketAddr, SocketAddr);

/// How much a label obliges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Both sides are there: it must be recognised.
    Whole,
    /// One side, the middle or a single packet.
    Partial,
    /// Nobody can say what it is.
    Doubtful,
}

/// A labelled connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its two ends.
    pub ends: Ends,
    /// What it is.
    pub app: App,
    /// The class, as the table has it.
    pub class: String,
    /// How much that obliges.
    pub label: Label,
}

/// The ends in their order.
pub fn ends(a: SocketAddr, b: SocketAddr) -> Ends {
    if a <= b { (a, b) } else { (b, a) }
}

/// Paths of all labelled captures, below the folder.
///
/// # Errors
///
/// When the list cannot be read.
pub fn files(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join("MANIFEST.tsv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let paths = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next());
    Ok(paths.map(str::to_owned).collect())
}

/// The labelled connections of each capture.
///
/// # Errors
///
/// When the table cannot be read.
pub fn connections(folder: &Path) -> Result<HashMap<String, Vec<Connection>>> {
    let path = folder.join("CONNS.tsv");
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    parse(&String::from_utf8_lossy(&bytes)).with_context(|| path.display().to_string())
}

/// Reads the table.
pub fn parse(text: &str) -> Result<HashMap<String, Vec<Connection>>> {
    let mut found: HashMap<String, Vec<Connection>> = HashMap::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let mut cells = line.split('\t');
        let (Some(path), Some(class), Some(client), Some(server)) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            bail!(
                "line {}: expected path, class, client and server",
                number + 1
            );
        };
        let app = match class.split(['-', '?']).next() {
            Some("irc") => App::Irc,
            Some("smtp") => App::Smtp,
            _ => bail!("line {}: unknown class {class}", number + 1),
        };
        let label = if class.ends_with('?') || class == "smtp-banner" {
            Label::Doubtful
        } else if ["-oneside", "-midstream", "-fragment"]
            .iter()
            .any(|end| class.ends_with(end))
        {
            Label::Partial
        } else {
            Label::Whole
        };
        let end = |text: &str| {
            end(text).with_context(|| format!("line {}: no address: {text}", number + 1))
        };
        found.entry(path.to_owned()).or_default().push(Connection {
            ends: ends(end(client)?, end(server)?),
            app,
            class: class.to_owned(),
            label,
        });
    }
    Ok(found)
}

/// Address and port with a colon between them, IPv6 without brackets.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(address, port.parse().ok()?))
}
