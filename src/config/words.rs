//! The small languages inside strings: durations, sizes, hosts, paths, methods. Pure.
//!
//! Decides what is one and what to write instead. Errors quote what was written, so secrets do
//! not come here; [`super::given`] reads those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use url::Host;

/// Most bytes of a duration's text, and most digits of each of its numbers. Within both, no sum
/// can overflow: that would panic in `Duration::new`.
const DURATION_BYTES_MAX: usize = 40;
const DURATION_DIGITS_MAX: usize = 9;

/// Most characters of a value that a message quotes.
const SHOWN_CHARS_MAX: usize = 60;

/// Largest distance at which a word is still taken for a misspelling, for words this long or
/// shorter; longer words are allowed one more for every three letters.
const NEAR_MIN: usize = 2;

/// Units of sizes.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// `text` fit for a message: short, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string().replace("\\\"", "\"")
}

/// The word of `known` that `word` was most likely meant to be.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let reach = NEAR_MIN.max(word.len() / 3);
    known
        .filter(|other| other.len().abs_diff(word.len()) <= reach)
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        // "is" is not "id": half of a word must be right.
        .filter(|(distance, other)| *distance <= reach && distance * 2 <= other.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// `30s`, `15m`, `1h 30m`, `7d`.
///
/// # Errors
/// A text that says how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = |run: &str| run.len() > DURATION_DIGITS_MAX;
    let bounded = text.len() <= DURATION_BYTES_MAX
        && !text.split(|c: char| !c.is_ascii_digit()).any(digits)
        && text.is_ascii();
    let parsed = bounded.then(|| humantime::parse_duration(text).ok());
    let units = || text.split(|c: char| !c.is_ascii_alphabetic());
    let vague = |unit| {
        matches!(
            unit,
            "M" | "month" | "months" | "y" | "year" | "years" | "yr" | "yrs"
        )
    };
    match parsed.flatten() {
        Some(_) if units().any(vague) => Err(format!(
            "\"{text}\" is vague, for months and years differ in length: write days like \"30d\""
        )),
        Some(duration) => Ok(duration),
        None => Err(format!(
            "\"{}\" is no duration, write one like \"30s\", \"15m\" or \"7d\"",
            shown(text)
        )),
    }
}

/// A duration as [`duration`] reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 || seconds == 0 {
        return humantime::format_duration(duration)
            .to_string()
            .replace(' ', "");
    }
    // 366d reads better than what humantime makes of it: "1year 18h".
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// `512B`, `256KiB`, `10MB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let parsed = SIZES.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| number.parse::<u64>().ok()?.checked_mul(*bytes))
    });
    parsed.flatten().ok_or_else(|| {
        format!(
            "\"{}\" is no size, write one like \"256KiB\", \"16MiB\" or \"10MB\"",
            shown(text)
        )
    })
}

/// A size as [`size`] reads it.
pub(super) fn size_text(bytes: u64) -> String {
    let whole = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZES.iter().find(whole).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

/// An IP address and a port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "\"{}\" is no address to listen on, write an IP address and a port like \
             \"127.0.0.1:8080\"",
            shown(text)
        )
    })
}

/// A host as it stands in a `Host` header, without port; lower-case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let labels = |domain: &str| {
        let label = |l: &str| !l.is_empty() && l.bytes().all(is_host_byte);
        domain.len() <= 253 && domain.split('.').all(label)
    };
    match Host::parse(text) {
        Ok(Host::Domain(domain)) if labels(&domain) => Ok(domain),
        Ok(host @ (Host::Ipv4(_) | Host::Ipv6(_))) => Ok(host.to_string()),
        _ => Err(format!(
            "\"{}\" is no host, write one like \"api.example\", without scheme and port",
            shown(text)
        )),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The path of a URL as it goes on the wire: no query, nothing that anyone would normalise.
///
/// Source: RFC 3986 section 3.3.
pub(super) fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("\"{}\" does not begin with `/`", shown(text)));
    }
    if let Some(at) = text.find(['?', '#']) {
        let sign = &text[at..=at];
        return Err(format!("a path holds no `{sign}`"));
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let fits = match bytes[at] {
            b'%' => bytes
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            byte => byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte),
        };
        if !fits {
            let character = text[text.floor_char_boundary(at)..].chars().next();
            let character = character.unwrap_or('%').escape_debug();
            return Err(format!(
                "`{character}` cannot stand in a path, percent-encode it"
            ));
        }
        at += 1;
    }
    let dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if text.split('/').any(dots) {
        return Err("a path holds no `.` or `..` segments".to_owned());
    }
    Ok(text.to_owned())
}

/// A method that callers may use, in capitals.
pub(super) fn method(text: &str) -> Result<Method, String> {
    let capitals = text.to_ascii_uppercase();
    if capitals != text {
        return Err(format!("methods are in capitals, write \"{capitals}\""));
    }
    let method = Method::from_bytes(text.as_bytes())
        .map_err(|_| format!("\"{}\" is no method", shown(text)))?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(format!("{method} is never passed on"));
    }
    Ok(method)
}

/// Whether `host` is this machine or one of its neighbours, as far as the text tells. The true
/// guard looks at the address that is connected to.
pub(super) fn is_private(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => is_private_address(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_private_address(IpAddr::V6(*address)),
    }
}

/// Whether a private host is in one of `networks`; `localhost` is in that of the loopback.
pub(super) fn is_within(host: &Host<&str>, networks: &[IpNet]) -> bool {
    let has = |address: IpAddr| {
        networks
            .iter()
            .any(|net| net.contains(&address.to_canonical()))
    };
    match host {
        Host::Domain(_) => has(Ipv4Addr::LOCALHOST.into()) || has(Ipv6Addr::LOCALHOST.into()),
        Host::Ipv4(address) => has(IpAddr::V4(*address)),
        Host::Ipv6(address) => has(IpAddr::V6(*address)),
    }
}

/// Source: the IANA special-purpose address registries.
fn is_private_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            a == 0
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || shared
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

/// Whether `host` is this machine itself.
pub(super) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(_) => is_private(host),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}
