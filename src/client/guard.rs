//! Where webhooks and off-origin redirects may go: the guard against reaching private networks
//! (SSRF).
//!
//! Decides on the address that is connected to, so that no name, redirect or odd spelling leads
//! around it: names are checked as they resolve, literals as they stand in the URL. Redirects are
//! not followed at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::Resolver;

/// A host that strangers must not lead us to: webhooks go there only where the endpoint says
/// `allow_private` or has the network allowed, redirects away from a public upstream never.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is no public address, and not allowed")]
pub struct PrivateAddress {
    /// The host as the URL has it.
    pub host: String,
}

/// The client that posts webhooks: no redirects, no proxy of the environment. Unless
/// `allow_private`, names that resolve to no public address are refused; check literals with
/// [`literal`] before each request, because no resolver is asked for them.
///
/// Must be called after [`super::install_crypto_provider`].
///
/// # Errors
/// A text when the client cannot be built, for example because no CA certificates are found.
pub fn webhooks(allow_private: bool, resolver: Resolver) -> Result<reqwest::Client, String> {
    if allow_private {
        build(resolver)
    } else {
        build(PublicOnly(resolver))
    }
}

/// As [`webhooks`] without `allow_private`, but that `networks` may be reached, too.
///
/// # Errors
/// As [`webhooks`].
pub fn webhooks_within(
    networks: Arc<[IpNet]>,
    resolver: Resolver,
) -> Result<reqwest::Client, String> {
    build(Within { resolver, networks })
}

fn build(resolver: impl Resolve + 'static) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("doorbell/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(resolver);
    builder.build().map_err(|error| error.to_string())
}

/// Long enough for three SYN retransmissions; the attempt's own timeout may end it earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept to one host: as many as a fast endpoint has in flight, so that none is
/// opened anew for each webhook.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Checks a host that is an address literal; a name passes, its addresses are checked when it is
/// resolved. `Url` has already read odd spellings such as `2130706433` or `0x7f.1`.
///
/// # Errors
/// [`PrivateAddress`].
pub fn literal(url: &Url) -> Result<(), PrivateAddress> {
    literal_within(url, &[])
}

/// As [`literal`], but that `networks` pass, too.
///
/// # Errors
/// [`PrivateAddress`].
pub fn literal_within(url: &Url, networks: &[IpNet]) -> Result<(), PrivateAddress> {
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if may_reach(ip, networks) {
        return Ok(());
    }
    let host = ip.to_string();
    Err(PrivateAddress { host })
}

/// Whether `ip` is public, or in one of `networks`. An IPv4 address is the same in IPv6's clothes.
fn may_reach(ip: IpAddr, networks: &[IpNet]) -> bool {
    let plain = ip.to_canonical();
    is_public(ip) || networks.iter().any(|net| net.contains(&plain))
}

/// Whether `ip` is an address of the public Internet, by the registries of special-purpose
/// addresses (RFC 6890). Addresses that carry an IPv4 address are public when that one is.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match carried_v4(ip) {
            Some(inner) => is_public_v4(inner),
            None => GLOBAL_V6.contains(&ip) && !SPECIAL_V6.iter().any(|net| net.contains(&ip)),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|net| net.contains(&ip))
}

/// The IPv4 address behind a mapped (`::ffff:0:0/96`) or NAT64 (`64:ff9b::/96`, RFC 6052) one.
fn carried_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let nat64 = || {
        let [a, b, c, d] = [12, 13, 14, 15].map(|at| ip.octets()[at]);
        NAT64.contains(&ip).then(|| Ipv4Addr::new(a, b, c, d))
    };
    ip.to_ipv4_mapped().or_else(nat64)
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(head: [u16; 3], prefix: u8) -> Ipv6Net {
    let [a, b, c] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

const SPECIAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 8),       // this network
    v4(10, 0, 0, 8),      // private
    v4(100, 64, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 8),     // loopback
    v4(169, 254, 0, 16),  // link-local, cloud metadata
    v4(172, 16, 0, 12),   // private
    v4(192, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 24),    // documentation
    v4(192, 88, 99, 24),  // 6to4 relays
    v4(192, 168, 0, 16),  // private
    v4(198, 18, 0, 15),   // benchmarking
    v4(198, 51, 100, 24), // documentation
    v4(203, 0, 113, 24),  // documentation
    v4(224, 0, 0, 4),     // multicast
    v4(240, 0, 0, 4),     // reserved
    Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32),
];

/// All that is given out as global unicast. What lies outside is this machine, a link or a site, a
/// group, or a translation of an IPv4 address, whatever it is called today.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// Within it. 6to4 and Teredo are refused whole: they lead to relays that nobody should need.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0], 23),     // protocol assignments, Teredo
    v6([0x2001, 0xdb8, 0], 32), // documentation
    v6([0x2002, 0, 0], 16),     // 6to4
    v6([0x3fff, 0, 0], 20),     // documentation
];

/// Resolves names to public addresses only. A name with both kinds keeps the public ones: what is
/// connected to is what was checked.
#[derive(Debug, Clone)]
pub struct PublicOnly(pub Resolver);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(resolver) = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str(), 0).await?;
            let public = reachable(name.as_str(), addresses, &[])?;
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// As [`PublicOnly`], and to addresses of these networks.
#[derive(Debug, Clone)]
struct Within {
    resolver: Resolver,
    networks: Arc<[IpNet]>,
}

impl Resolve for Within {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { resolver, networks } = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str(), 0).await?;
            let reachable = reachable(name.as_str(), addresses, &networks)?;
            Ok(Box::new(reachable.into_iter()) as Addrs)
        })
    }
}

fn reachable(
    host: &str,
    mut addresses: Vec<SocketAddr>,
    networks: &[IpNet],
) -> Result<Vec<SocketAddr>, PrivateAddress> {
    addresses.retain(|address| may_reach(address.ip(), networks));
    if addresses.is_empty() {
        let host = host.to_owned();
        return Err(PrivateAddress { host });
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts of URLs, in every spelling that reaches a socket, that must be refused.
    const REFUSED: [&str; 67] = [
        "0.0.0.0",
        "0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.255.255.254",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0.0.0x1",
        "127.0.0.1.",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:1ff::1]",
        "[2001:db8::1]",
        "[2002:7f00:1::]",
        "[2002:808:808::1]",
        "[5f00::1]",
        "[fc00::1]",
        "[fdff::1]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[::ffff:0:7f00:1]",
        "[200::1]",
        "[1fff::1]",
        "[3fff::1]",
        "[4000::1]",
        "[ff02::1]",
        "[ff0e::1]",
    ];

    /// Hosts just outside the refused ranges, and names, whose addresses are checked later.
    const PASSED: [&str; 28] = [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "134744072",
        "0x08.0x08.0x08.0x08",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "[2606:4700::1111]",
        "[2001:200::1]",
        "[2000::1]",
        "[3ffe::1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::8.8.8.8]",
        "example.com",
        "localhost",
    ];

    fn url(host: &str) -> Url {
        Url::parse(&format!("https://{host}/hook")).expect("a URL")
    }

    #[test]
    fn private_literals_are_refused_in_every_spelling() {
        for host in REFUSED {
            assert!(literal(&url(host)).is_err(), "{host} must be refused");
        }
        for host in PASSED {
            assert_eq!(literal(&url(host)), Ok(()), "{host} must pass");
        }
    }

    #[test]
    fn a_name_keeps_its_public_addresses_only() {
        let address = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 443);
        let mixed = vec![address("127.0.0.1"), address("1.1.1.1"), address("::1")];
        assert_eq!(reachable("x", mixed, &[]), Ok(vec![address("1.1.1.1")]));
        let private = vec![address("10.0.0.1"), address("::ffff:10.0.0.1")];
        assert!(reachable("x", private, &[]).is_err());
    }

    #[test]
    fn allowed_networks_are_reached_and_no_others() {
        let networks = ["10.1.0.0/16", "fd12::/16"].map(|net| net.parse().expect("a network"));
        for (host, expected) in [
            ("1.1.1.1", true),
            ("10.1.2.3", true),
            ("0x0a010203", true),
            ("[::ffff:10.1.2.3]", true),
            ("[fd12::1]", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("[::1]", false),
            ("[fd13::1]", false),
            // A translator's way to an address, which may be another there.
            ("[64:ff9b::10.1.2.3]", false),
        ] {
            let passes = literal_within(&url(host), &networks).is_ok();
            assert_eq!(passes, expected, "{host}");
        }
        let address = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 443);
        let mixed = ["10.1.2.3", "10.2.0.1", "127.0.0.1", "1.1.1.1"]
            .map(address)
            .to_vec();
        let kept = vec![address("10.1.2.3"), address("1.1.1.1")];
        assert_eq!(reachable("x", mixed, &networks), Ok(kept));
    }

    #[tokio::test]
    async fn a_name_of_the_loopback_is_refused_before_anything_is_sent() {
        super::super::install_crypto_provider();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let port = listener.local_addr().expect("an address").port();
        let client = webhooks(false, Resolver::system()).expect("a client");
        let sent = client
            .post(format!("http://localhost:{port}/"))
            .send()
            .await;
        let error = sent.expect_err("localhost is private");
        let mut source = std::error::Error::source(&error);
        let mut found = false;
        while let Some(cause) = source {
            found |= cause.is::<PrivateAddress>();
            source = cause.source();
        }
        assert!(found, "{error:?} names the private address");
        assert!(listener.accept().is_err(), "nobody may have connected");
    }
}
