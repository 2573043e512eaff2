//! Where requests come from that are counted together.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, a /64 of IPv6, or whatever has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(Option<Ipv6Addr>);

impl Origin {
    /// As bytes, which no two of them share.
    pub fn bytes(self) -> Vec<u8> {
        self.0.map(|address| address.octets().to_vec()).unwrap_or_default()
    }
}

impl fmt::Display for Origin {
    /// `192.0.2.1`, `2001:db8:0:1::/64`, or `-`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|address| IpAddr::V6(address).to_canonical()) {
            Some(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Some(IpAddr::V6(address)) => write!(formatter, "{address}/64"),
            None => formatter.write_str("-"),
        }
    }
}

impl From<Option<IpAddr>> for Origin {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Some(address.parse().unwrap()).into()
    }

    #[test]
    fn one_network_is_one_source() {
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff::2"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_ne!(Origin::from(None), origin("::1"));
        let texts = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1:2::1"].map(|address| origin(address).to_string());
        assert_eq!(texts, ["192.0.2.1", "192.0.2.1", "2001:db8:0:1::/64"]);
    }
}
