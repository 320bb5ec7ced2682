//! Which addresses a redirect may lead to when it leaves a public upstream: those of the public
//! internet. The check is on the addresses that are connected to, so a name that changes its mind
//! gains nothing.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::client::Resolver;

/// What is not the public internet: RFC 6890 and its registries, multicast, and the IPv6 forms
/// that embed IPv4 addresses.
const PRIVATE: [&str; 26] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    // Unspecified, loopback and the deprecated IPv4-compatible form.
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Whether `address` is on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => unmapped(v6),
        v4 @ IpAddr::V4(_) => v4,
    };
    let inside = |net: &&str| net.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
    !PRIVATE.iter().any(inside)
}

/// Resolves names to their public addresses only.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicOnly(pub(super) Resolver);

/// A name has none but private addresses.
#[derive(Debug, thiserror::Error)]
#[error("leads into a private network")]
pub(super) struct LeadsInside;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(resolver) = *self;
        Box::pin(async move {
            let mut addresses = resolver.lookup(name.as_str(), 0).await?;
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                return Err(LeadsInside.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn unmapped(address: Ipv6Addr) -> IpAddr {
    address
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_private_network_reads() {
        assert!(PRIVATE.iter().all(|net| net.parse::<IpNet>().is_ok()));
    }

    #[test]
    fn private_addresses_are_known_in_all_their_forms() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("2606:4700:4700::1111", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("172.32.0.1", true),
            ("100.100.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(is_public(address), expected, "{address}");
        }
    }
}
