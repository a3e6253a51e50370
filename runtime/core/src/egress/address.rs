//! Which addresses may be connected to: public unicast, and what the operator named.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{EgressError, HostName};

/// Why a text is no range of addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a range like 10.1.2.0/24 or fd00::/8 whose bits after the prefix are zero")]
pub struct RangeError {
    text: String,
}

/// A block of addresses, `address/prefix`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u32,
}

impl AddressRange {
    /// Whether `address` lies in it. Families never mix.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => in_v4(address, first, self.prefix),
            (IpAddr::V6(first), IpAddr::V6(address)) => in_v6(address, first, self.prefix),
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(first, prefix)| {
            let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u32 = prefix.parse().ok().filter(|_| plain)?;
            let first: IpAddr = first.parse().ok()?;
            let rest_is_zero = match first {
                IpAddr::V4(first) => prefix <= 32 && first.to_bits() & !mask_v4(prefix) == 0,
                IpAddr::V6(first) => prefix <= 128 && first.to_bits() & !mask_v6(prefix) == 0,
            };
            rest_is_zero.then_some(Self { first, prefix })
        });
        parsed.ok_or_else(|| RangeError { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first, self.prefix)
    }
}

fn mask_v4(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0)
}

fn mask_v6(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0)
}

fn in_v4(address: Ipv4Addr, first: Ipv4Addr, prefix: u32) -> bool {
    (address.to_bits() ^ first.to_bits()) & mask_v4(prefix) == 0
}

fn in_v6(address: Ipv6Addr, first: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ first.to_bits()) & mask_v6(prefix) == 0
}

/// Ranges that are reached although they are not public: the operator's own, none unless configured.
#[derive(Clone, Debug, Default)]
pub struct AllowedAddresses(Vec<AddressRange>);

impl AllowedAddresses {
    /// The operator's list.
    #[must_use]
    pub fn new(ranges: Vec<AddressRange>) -> Self {
        Self(ranges)
    }

    /// Whether everything a name resolved to may be connected to. One address that may not spoils all: a name that stands for a
    /// public and a private address is more likely a trap than a service.
    pub fn check(&self, host: &HostName, addresses: &[IpAddr]) -> Result<(), EgressError> {
        let refused = addresses.iter().find_map(|address| match refused_class(*address) {
            Some(class) if !self.0.iter().any(|range| range.contains(*address)) => Some(class),
            _ => None,
        });
        match refused {
            Some(class) => Err(EgressError::Address { host: host.to_string(), class }),
            None => Ok(()),
        }
    }
}

type V4Block = (Ipv4Addr, u32, &'static str);
type V6Block = (Ipv6Addr, u32, &'static str);

/// What of IPv4 is not public unicast (IANA's special-purpose registry, RFC 6890 and its updates).
const V4_REFUSED: [V4Block; 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local, where clouds keep their metadata"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast"),
];

/// Named for the message; everything else outside 2000::/3 is refused too.
const V6_REFUSED: [V6Block; 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "an IPv4 address in IPv6 form"),
    (Ipv6Addr::UNSPECIFIED, 96, "an IPv4 address in IPv6 form"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "translated to a private network"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocols, Teredo or benchmarks"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "for segment routing"),
];

/// What an IPv6-only network with NAT64 gives instead of an IPv4 address (RFC 6052).
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
const GLOBAL_UNICAST: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

/// What an address is when it is not public unicast.
fn refused_class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) if in_v6(address, NAT64, 96) => {
            let [.., a, b, c, d] = address.octets();
            refused_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) => {
            let named = V6_REFUSED.iter().find(|(first, prefix, _)| in_v6(address, *first, *prefix));
            let unknown = (!in_v6(address, GLOBAL_UNICAST, 3)).then_some("not global unicast");
            named.map(|(_, _, class)| *class).or(unknown)
        }
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4_REFUSED.iter().find(|(first, prefix, _)| in_v4(address, *first, *prefix)).map(|(_, _, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Option<&'static str> {
        refused_class(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_reached() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "9.255.255.255",
            "11.0.0.0",
            "1.0.0.0",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::1",
            "3ffe::1",
            "64:ff9b::101:101",
        ] {
            assert_eq!(class(address), None, "{address}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.192",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "64:ff9b:0:1::",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ffff::1",
            "1fff::1",
            "4000::1",
            "8000::",
        ] {
            assert!(class(address).is_some(), "{address}");
        }
    }

    #[test]
    fn every_address_of_a_refused_block_is_refused_and_its_neighbours_are_not_by_it() {
        for (first, prefix, name) in V4_REFUSED {
            let size = 1u64 << (32 - prefix);
            for offset in [0, 1, size / 2, size - 1] {
                let address = Ipv4Addr::from_bits(first.to_bits() + u32::try_from(offset).unwrap());
                assert_eq!(refused_v4(address), Some(name), "{address}");
            }
            assert_eq!(first.to_bits() & !mask_v4(prefix), 0, "{first}/{prefix}");
        }
        for (first, prefix, _) in V6_REFUSED {
            assert_eq!(first.to_bits() & !mask_v6(prefix), 0, "{first}/{prefix}");
            let last = Ipv6Addr::from_bits(first.to_bits() | !mask_v6(prefix));
            assert!(refused_class(first.into()).is_some() && refused_class(last.into()).is_some(), "{first}/{prefix}");
        }
    }

    #[test]
    fn an_embedded_address_is_judged_like_itself() {
        for (first, prefix, _) in V4_REFUSED {
            for bits in [first.to_bits(), first.to_bits() | !mask_v4(prefix)] {
                let [a, b, c, d] = bits.to_be_bytes().map(u16::from);
                let inside = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d);
                assert!(refused_class(inside.into()).is_some(), "{inside}");
            }
        }
    }

    #[track_caller]
    fn check(allowed: &[&str], addresses: &[&str], passes: bool) {
        let allowed = AllowedAddresses::new(allowed.iter().map(|text| text.parse().unwrap()).collect());
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let host = HostName::parse("a.example").unwrap();
        let checked = allowed.check(&host, &addresses);
        assert_eq!(checked.is_ok(), passes, "{allowed:?} {addresses:?}");
        if let Err(error) = checked {
            assert_eq!(error.reason(), "EGRESS_DENIED");
        }
    }

    #[test]
    fn one_bad_address_spoils_all() {
        check(&[], &["8.8.8.8", "1.1.1.1"], true);
        check(&[], &["8.8.8.8", "127.0.0.1"], false);
        check(&[], &["127.0.0.1", "8.8.8.8"], false);
    }

    #[test]
    fn the_operator_can_open_a_private_range_and_no_more() {
        check(&["127.0.0.1/32"], &["127.0.0.1"], true);
        check(&["127.0.0.1/32"], &["127.0.0.2"], false);
        check(&["127.0.0.1/32"], &["::ffff:127.0.0.1"], false);
        check(&["127.0.0.1/32"], &["127.0.0.1", "10.0.0.1"], false);
        check(&["10.1.0.0/16", "fd00::/8"], &["10.1.2.3", "fd12::1"], true);
        check(&["0.0.0.0/0"], &["127.0.0.1", "169.254.169.254"], true);
        check(&["0.0.0.0/0"], &["::1"], false);
    }

    #[test]
    fn ranges_are_written_exactly() {
        for good in ["127.0.0.1/32", "0.0.0.0/0", "10.0.0.0/8", "::1/128", "::/0", "fd00::/8"] {
            assert_eq!(good.parse::<AddressRange>().unwrap().to_string(), good);
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1/33",
            "127.0.0.1/8",
            "fd00::1/8",
            "::1/129",
            "localhost/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "/8",
            "10/8",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }
}
