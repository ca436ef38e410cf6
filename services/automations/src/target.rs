//! Where webhooks may go: not into the network the service runs in.
//!
//! A URL is checked when it is registered, and the addresses its host resolves
//! to are checked each time it is called, in the resolver of the very
//! connection, so that a name that changes its address in between gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

/// What may be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Addresses of the public internet.
    Public,
    /// These and this machine's loopback.
    PublicAndLoopback,
}

/// A webhook may not go there.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum Refused {
    #[error("must be an absolute URL, for example https://example.com/hook: {0}")]
    NotAUrl(#[from] url::ParseError),
    #[error("must be https, or http to a loopback address where configuration allows that")]
    Scheme,
    #[error("must not hold a user name or password; the signature tells who calls")]
    Userinfo,
    #[error("must not lead to {0}, which is not an address of the public internet")]
    Address(IpAddr),
    #[error("must not lead to this machine")]
    Localhost,
    #[error("the host has no address")]
    NoAddress,
}

impl Reach {
    pub(crate) fn new(allow_loopback: bool) -> Self {
        if allow_loopback { Self::PublicAndLoopback } else { Self::Public }
    }

    /// Reads the URL of a webhook.
    pub(crate) fn parse(self, text: &str) -> Result<Url, Refused> {
        let url: Url = text.parse()?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Userinfo);
        }
        let loopback = match url.host() {
            None => return Err(Refused::Scheme),
            Some(Host::Domain(domain)) => {
                let name = domain.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(address)) => self.check(address.into())?.is_loopback(),
            Some(Host::Ipv6(address)) => self.check(address.into())?.is_loopback(),
        };
        if loopback && self == Self::Public {
            return Err(Refused::Localhost);
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if loopback => Ok(url),
            _ => Err(Refused::Scheme),
        }
    }

    fn check(self, address: IpAddr) -> Result<IpAddr, Refused> {
        let allowed =
            is_public(address) || (address.is_loopback() && self == Self::PublicAndLoopback);
        if allowed { Ok(address) } else { Err(Refused::Address(address)) }
    }

    /// One address that is not allowed is enough to refuse the host.
    fn check_all(self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        for address in &addresses {
            self.check(address.ip())?;
        }
        if addresses.is_empty() { Err(Refused::NoAddress) } else { Ok(addresses) }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = reach.check_all(found.collect())?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet: none of the special
/// purposes of the IANA registries (RFC 6890 and its updates).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0 // this network
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local() // and with it the metadata services of clouds
        || address.is_documentation()
        || address.is_multicast()
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT, RFC 6598
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (18..20).contains(&b)) // benchmarks, RFC 2544
        || a >= 240) // reserved and broadcast
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Addresses that hold an IPv4 address lead to it.
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] // mapped
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] // NAT64
        | [0x2002, high, low, ..] => Some((high, low)), // 6to4
        _ => None,
    };
    if let Some((high, low)) = embedded {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Global unicast is 2000::/3, less Teredo and protocol assignments
    // (2001::/23), documentation (2001:db8::/32 and 3fff::/20).
    segments[0] & 0xe000 == 0x2000
        && !(segments[0] == 0x2001 && (segments[1] < 0x0200 || segments[1] == 0x0db8))
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_within_are_refused_however_they_are_written() {
        for url in [
            "https://127.0.0.1/",
            "https://10.0.0.5/hook",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://localhost/",
            "https://a.localhost./",
        ] {
            assert!(Reach::Public.parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn loopback_is_reached_only_where_it_is_allowed_and_nothing_else_within() {
        let reach = Reach::PublicAndLoopback;
        for url in ["http://127.0.0.1:8080/", "http://localhost:1/", "https://[::1]/"] {
            assert!(reach.parse(url).is_ok(), "{url}");
            assert!(Reach::Public.parse(url).is_err(), "{url}");
        }
        for url in ["http://10.0.0.1/", "https://10.0.0.1/", "http://[fe80::1]/"] {
            assert!(reach.parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_https_leaves_the_machine() {
        for reach in [Reach::Public, Reach::PublicAndLoopback] {
            assert!(reach.parse("https://example.com/hook").is_ok());
            assert!(reach.parse("https://[2606:4700::1111]/").is_ok());
            for url in ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "hook"] {
                assert!(reach.parse(url).is_err(), "{url}");
            }
            assert_eq!(reach.parse("https://a:b@example.com/"), Err(Refused::Userinfo));
        }
    }

    #[test]
    fn one_address_within_refuses_the_whole_host() {
        let public: SocketAddr = "93.184.215.14:0".parse().unwrap();
        let within: SocketAddr = "10.0.0.1:0".parse().unwrap();
        assert!(Reach::Public.check_all(vec![public]).is_ok());
        assert!(Reach::Public.check_all(vec![public, within]).is_err());
        assert_eq!(Reach::Public.check_all(Vec::new()), Err(Refused::NoAddress));
    }

    #[tokio::test]
    async fn a_name_that_resolves_within_is_refused_when_it_is_called() {
        let name = || "localhost".parse::<Name>().unwrap();
        assert!(Reach::Public.resolve(name()).await.is_err());
        assert!(Reach::PublicAndLoopback.resolve(name()).await.is_ok());
    }
}
