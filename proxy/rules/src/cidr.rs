//! Blocks of addresses.

use std::net::IpAddr;
use std::str::FromStr;

/// `address/prefix`; bits past the prefix are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    /// Every address of the family.
    pub fn all(family: IpAddr) -> Cidr {
        Cidr { address: family, prefix: 0 }
    }

    /// An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4, unless the block is of such addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                same(net.to_bits().into(), address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(net), canonical) => {
                let address = match (net.to_ipv4_mapped(), address, canonical) {
                    (_, _, IpAddr::V6(address)) => address,
                    (Some(_), _, IpAddr::V4(address)) => address.to_ipv6_mapped(),
                    (None, ..) => return false,
                };
                same(net.to_bits(), address.to_bits(), 128, self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

fn same(net: u128, address: u128, width: u8, prefix: u8) -> bool {
    match width.checked_sub(prefix) {
        Some(host) => (net ^ address).checked_shr(host.into()).unwrap_or(0) == 0,
        None => false,
    }
}

/// Why a text is not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCidr;

impl std::fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a network; write ADDRESS/PREFIX, such as 10.0.0.0/8")
    }
}

impl std::error::Error for InvalidCidr {}

/// `10.0.0.0/8`, or an address alone.
impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Cidr, InvalidCidr> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| InvalidCidr)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidCidr)?
            }
            Some(_) => return Err(InvalidCidr),
        };
        if prefix <= width { Ok(Cidr { address, prefix }) } else { Err(InvalidCidr) }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(cidr: &str, address: &str) -> bool {
        cidr.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_contains_the_addresses_that_share_its_prefix() {
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "fe80::1") && !contains("::/0", "127.0.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3/32", "10.1.2.2"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        assert!(contains("127.0.0.0/8", "::ffff:127.0.0.1") && !contains("::/0", "::ffff:127.0.0.1"));
        assert!(contains("::ffff:0:0/96", "127.0.0.1"));
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/ 8", "x/8"] {
            assert_eq!(text.parse::<Cidr>(), Err(InvalidCidr), "{text}");
        }
    }
}
