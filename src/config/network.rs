//! Networks in a configuration: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::net::IpAddr;

use crate::schema::schema;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// A network of IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl Network {
    /// Whether an address is in the network. An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether the network contains all of another one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse().map(|address: IpAddr| address.into()));
        let network =
            network.map_err(|_| D::Error::custom(format_args!("\"{text}\" is not a network such as `10.0.0.0/8`")))?;
        Ok(Self(network))
    }
}

schema!(Network, "Network", {"type": "string"});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_a_network_and_an_embedded_one_is_of_ipv4() {
        let network = |text: &str| -> Network { serde_json::from_value(text.into()).unwrap() };
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert!(network("192.0.2.1").contains(address("192.0.2.1")));
        assert!(!network("192.0.2.1").contains(address("192.0.2.2")));
        assert!(network("192.0.2.0/24").contains(address("::ffff:192.0.2.9")));
        assert!(network("2001:db8::/32").contains(address("2001:db8:1::")));
        assert!(!network("0.0.0.0/0").contains(address("2001:db8::")));
        assert!(
            network("10.0.0.0/8").covers(&network("10.1.0.0/16"))
                && !network("10.1.0.0/16").covers(&network("10.0.0.0/8"))
        );
        for bad in ["", "10.0.0.0/33", "10.0.0", "example.com", "10.0.0.0/8 "] {
            assert!(serde_json::from_value::<Network>(bad.into()).is_err(), "{bad}");
        }
    }
}
