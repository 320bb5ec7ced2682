//! What changes in a request on its way to the upstream: who the caller is said to be, and whose
//! credential it carries.
//!
//! Pure: it looks at headers and says what they mean; the hooks write it down.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HeaderName, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Version};
use pingora::http::RequestHeader;

use super::target;
use crate::config::{Auth, Proxy, RouteAuth};
use crate::time::Timestamp;

/// Addresses that a request passed, as proxies tell them.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the caller used.
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The `Host` that the caller sent.
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names a request in the logs of all that it passes.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What all headers of the kind begin with; an untrusted caller sets none of them.
pub(super) const FORWARDED_PREFIX: &str = "x-forwarded-";
/// What a caller, or a proxy in front, says of the server that it called: answers quote it.
pub(super) const TOLD_OF_SERVER: [HeaderName; 4] = [
    FORWARDED,
    FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    FORWARDED_PROTO,
];
/// The same by other names.
pub(super) const FORWARDED_ALIASES: [HeaderName; 2] =
    [FORWARDED, HeaderName::from_static("x-real-ip")];

/// Longest request id of a caller that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Whose word on the caller is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The other end is a proxy of ours: it tells who called it.
    Believed,
    /// The other end is the caller.
    Peer,
}

/// Whether `peer` is one of the trusted proxies.
pub(super) fn trust(peer: IpAddr, proxy: Option<&Proxy>) -> Trust {
    if proxy.is_some_and(|proxy| proxy.trusts(peer.to_canonical())) {
        Trust::Believed
    } else {
        Trust::Peer
    }
}

/// The caller's address: the first from the right that is no trusted proxy.
///
/// What stands left of it is the caller's own invention. An entry that is no address ends the walk
/// at the last proxy that is known.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxy: Option<&Proxy>) -> IpAddr {
    let entries = |name: HeaderName| {
        let lines = headers.get_all(name).into_iter().rev();
        lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
    };
    if headers.contains_key(FORWARDED_FOR) {
        walk(peer, entries(FORWARDED_FOR).map(address), proxy)
    } else {
        walk(peer, entries(FORWARDED).map(forwarded_address), proxy)
    }
}

/// From `peer` along `entries`, as long as one is trusted and names the next.
fn walk(
    peer: IpAddr,
    mut entries: impl Iterator<Item = Option<IpAddr>>,
    proxy: Option<&Proxy>,
) -> IpAddr {
    let mut client = peer.to_canonical();
    while trust(client, proxy) == Trust::Believed {
        let Some(Some(address)) = entries.next() else {
            break;
        };
        client = address;
    }
    client
}

/// The address of `for` in one element of `Forwarded` (RFC 7239 section 4); `None` where there is
/// none, or one that is hidden (section 6).
///
/// A comma inside a quoted string cuts an element in two. No address has one, and the pieces have
/// no `for` that is whole, so the walk ends there.
fn forwarded_address(element: &[u8]) -> Option<IpAddr> {
    let pairs = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let mut nodes = pairs.filter_map(|pair| {
        let (name, node) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(node)
    });
    // Said twice is not said.
    let (Some(node), None) = (nodes.next(), nodes.next()) else {
        return None;
    };
    let unquoted = node
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    address(unquoted.unwrap_or(node))
}

/// An address with or without port and brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = plain().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

/// The value of `X-Forwarded-For` to send: `peer`, behind what a trusted one said.
pub(super) fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trust: Trust) -> HeaderValue {
    let mut chain = Vec::new();
    if trust == Trust::Believed {
        for line in headers.get_all(FORWARDED_FOR) {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    chain.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    HeaderValue::try_from(chain).expect("header values and an address join to a header value")
}

/// The caller's request id if it is sane, else a new one: a UUID of version 7 (RFC 9562 section
/// 5.7), so that ids sort by time.
pub(super) fn request_id(headers: &HeaderMap, now: Timestamp, random: [u64; 2]) -> HeaderValue {
    let mut given = headers.get_all(&REQUEST_ID).iter();
    if let (Some(only), None) = (given.next(), given.next()) {
        let sane = (1..=REQUEST_ID_BYTES_MAX).contains(&only.len());
        if sane && only.as_bytes().iter().all(u8::is_ascii_graphic) {
            return only.clone();
        }
    }
    let millis = now.as_millis().cast_unsigned() & 0xffff_ffff_ffff;
    let text = format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        random[0] & 0xfff,
        0x8000 | (random[0] >> 12 & 0x3fff),
        random[1] & 0xffff_ffff_ffff,
    );
    HeaderValue::try_from(text).expect("hexadecimal digits are a header value")
}

/// What the caller's `Authorization` is to the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing: the route is open, and the field is the caller's own.
    Open,
    /// A key of the route, which ends here.
    Key,
    /// Not a key of the route.
    Refused,
}

/// Whether the caller may use a route with `auth` (RFC 6750 section 2.1). All keys are compared,
/// so that time tells nothing.
pub(super) fn entry(auth: &RouteAuth, headers: &HeaderMap) -> Entry {
    let RouteAuth::Keys(keys) = auth else {
        return Entry::Open;
    };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return Entry::Refused;
    };
    let Some((scheme, token)) = only.as_bytes().split_at_checked(7) else {
        return Entry::Refused;
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Entry::Refused;
    }
    let token = token.trim_ascii();
    let known = keys
        .iter()
        .fold(false, |known, key| known | key.equals(token));
    if known { Entry::Key } else { Entry::Refused }
}

/// Whether the caller brought a credential for the upstream, whose own is `auth`.
pub(super) fn brings_credential(
    headers: &HeaderMap,
    query: Option<&[u8]>,
    auth: Option<&Auth>,
    entry: Entry,
) -> bool {
    let authorization = entry != Entry::Key && headers.contains_key(AUTHORIZATION);
    if authorization || headers.contains_key(COOKIE) {
        return true;
    }
    match auth {
        // `Authorization` under this name was looked at above.
        Some(Auth::Header { name, .. }) => *name != AUTHORIZATION && headers.contains_key(name),
        Some(Auth::Query { name, .. }) => {
            query.is_some_and(|query| target::has_parameter(query, name))
        }
        Some(Auth::Bearer(_) | Auth::Basic { .. } | Auth::OAuth2(_)) | None => false,
    }
}

/// Whether a request says that a body follows.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Whether a request asks to change protocols: in HTTP/1.1, named in `Connection`, and without a
/// body (RFC 9110 section 7.8).
pub(super) fn wants_upgrade(request: &RequestHeader) -> bool {
    let headers = &request.headers;
    let mut names = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    request.version == Version::HTTP_11
        && headers.contains_key(UPGRADE)
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
        && names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// The host of a `Host` field, lower-case and without port.
pub(super) fn host(headers: &HeaderMap) -> String {
    let Some(field) = headers.get(http::header::HOST) else {
        return String::new();
    };
    let field = field.to_str().unwrap_or_default();
    let host = match field.rfind(']') {
        Some(bracket) => &field[..=bracket],
        None => field.split(':').next().unwrap_or_default(),
    };
    host.to_ascii_lowercase()
}

/// Removes fields that are for one hop only from an answer (RFC 9110 section 7.6.1). Framing stays:
/// pingora writes it anew.
pub(super) fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let nominated = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !FRAMING.contains(name));
    HOP_BY_HOP
        .into_iter()
        .chain(nominated)
        .filter(|name| headers.contains_key(name))
        .collect()
}

const FRAMING: [HeaderName; 2] = [
    http::header::CONTENT_LENGTH,
    http::header::TRANSFER_ENCODING,
];

const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::TE,
    http::header::TRAILER,
    http::header::UPGRADE,
];

#[cfg(test)]
mod tests;
