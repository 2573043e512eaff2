//! The client's network, by which requests are counted together.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address or an IPv6 /64. All clients without an address share one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(Option<Ipv6Addr>);

impl ClientNetwork {
    /// The networks that it belongs to, from coarse to fine: /48, /56 and /64, as providers give one customer a /48 or
    /// a /56; for IPv4 the /24 and the address.
    pub fn networks(self) -> [Vec<u8>; 3] {
        let bytes = self.bytes();
        let is_short = self.0.is_some_and(|address| address.to_ipv4_mapped().is_some());
        let lengths = if is_short { [15, 16, 16] } else { [6, 7, 8] };
        lengths.map(|length| bytes.get(..length).unwrap_or(&bytes).to_vec())
    }

    /// A unique representation as bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.0.map(|address| address.octets().to_vec()).unwrap_or_default()
    }
}

impl fmt::Display for ClientNetwork {
    /// `192.0.2.1`, `2001:db8:0:1::/64`, or `-`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|address| IpAddr::V6(address).to_canonical()) {
            Some(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Some(IpAddr::V6(address)) => write!(formatter, "{address}/64"),
            None => formatter.write_str("-"),
        }
    }
}

impl From<Option<IpAddr>> for ClientNetwork {
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

    fn origin(address: &str) -> ClientNetwork {
        Some(address.parse().unwrap()).into()
    }

    #[test]
    fn one_network_is_one_source() {
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff::2"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        let networks = |address: &str| origin(address).networks();
        let shared = |one: &str, other: &str| {
            let pairs = networks(one).into_iter().zip(networks(other));
            pairs.take_while(|(one, other)| one == other).count()
        };
        assert_eq!(shared("2001:db8:0:1::", "2001:db8:0:2::"), 2);
        assert_eq!(shared("2001:db8:0:1::", "2001:db8:0:101::"), 1);
        assert_eq!(shared("2001:db8:0:1::", "2001:db8:1:1::"), 0);
        assert_eq!(shared("192.0.2.1", "192.0.2.2"), 1);
        assert_eq!(shared("192.0.2.1", "192.0.3.1"), 0);
        assert_ne!(ClientNetwork::from(None), origin("::1"));
        let texts = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1:2::1"].map(|address| origin(address).to_string());
        assert_eq!(texts, ["192.0.2.1", "192.0.2.1", "2001:db8:0:1::/64"]);
    }
}
