//! Hosts that the user knows: a monitor, a scanner, a mail server. Replay does not judge them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no address and no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 192.0.2.7 or a network such as 192.0.2.0/24")]
pub struct NotANetwork;

impl Network {
    /// Whether it holds this address. IPv4 addresses inside IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let bits = match bits {
            // `parse` would also take a sign.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
            None => width(address),
        };
        if bits > width(address) {
            return Err(NotANetwork);
        }
        let mapped = address.to_canonical();
        if mapped == address {
            return Ok(Self { address, bits });
        }
        let bits = bits.checked_sub(96).ok_or(NotANetwork)?;
        Ok(Self {
            address: mapped,
            bits,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            return write!(out, "{}", self.address);
        }
        write!(out, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        // People write the address of a host with the length of its network.
        assert!(holds("192.0.2.77/24", "192.0.2.1"));
        assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1") && holds("::/0", "2001:db8::1"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(holds("::ffff:192.0.2.0/120", "192.0.2.9"));
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in [
            "",
            "monitor",
            "192.0.2",
            "192.0.2.7/",
            "192.0.2.7/33",
            "192.0.2.7/+8",
            "192.0.2.7/8/8",
            "2001:db8::/129",
            "::ffff:192.0.2.0/24",
            "/24",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_people_write_it() {
        for text in ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
