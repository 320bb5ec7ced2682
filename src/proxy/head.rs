//! Whether a request head, as it came off the wire, may be served at all.
//!
//! Decides on the raw bytes, before any parser has made them tidy: what is ambiguous here is what
//! smuggles a request past the next hop (RFC 9112 section 11.2). Leaves reading to the wire and
//! routing to the table. Pure.

use super::chunks::Chunks;
use super::target;

/// Longest head in bytes, request line and all fields. 64 KiB holds the largest cookies in use;
/// pingora alone would take 1 MiB of each connection.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Longest request target in bytes. A target may triple when it is escaped and must still fit the
/// 64 KiB that a URI may have.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Most fields of a head; pingora refuses more than 256 without an answer of ours.
const FIELDS_MAX: usize = 200;

/// Most fields that `Connection` may name; pingora takes fewer than ten.
const NOMINATIONS_MAX: usize = 9;

/// Fields besides `X-Forwarded-*` that `Connection` must not name.
const PROTECTED: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "cookie",
];

/// How the body behind a head is framed (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Exactly so many bytes follow, often none.
    Length(u64),
    /// Chunks follow.
    Chunked(Chunks),
    /// After an accepted upgrade anything follows.
    Open,
}

impl Body {
    /// Passes over `bytes`, which may hold the beginning of the next request. Tells how many of
    /// them are of this body.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let of_body = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= of_body as u64;
                of_body
            }
            Self::Chunked(chunks) => {
                let of_body = chunks.follow(bytes);
                if *chunks == Chunks::Done {
                    *self = Self::Length(0);
                }
                of_body
            }
            Self::Open => bytes.len(),
        }
    }
}

/// Why a head is not served. The text is for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Head longer than [`HEAD_BYTES_MAX`] or with more than [`FIELDS_MAX`] fields.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// Head that took too long to arrive.
    #[error("the request head took too long")]
    HeadTooSlow,
    /// Not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// CONNECT or TRACE.
    #[error("CONNECT and TRACE are not forwarded")]
    Method,
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the request target is too long")]
    TargetTooLong,
    /// Neither path, absolute URI nor, for OPTIONS, an asterisk, or with forbidden bytes.
    #[error("the request target is malformed")]
    Target,
    /// A `.` or `..` segment, however it is encoded.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// A line without name and colon, a folded line, a bare CR or LF, a control byte.
    #[error("a header field is malformed")]
    Field,
    /// None in HTTP/1.1, or several, or one that is no authority.
    #[error("the request needs exactly one valid Host")]
    Host,
    /// Absolute form and `Host` name different authorities.
    #[error("Host differs from the authority of the request target")]
    Authority,
    /// Several, or not a number.
    #[error("Content-Length is repeated or malformed")]
    Length,
    /// Anything but one `chunked`, or in HTTP/1.0.
    #[error("the only Transfer-Encoding taken is `chunked`")]
    TransferEncoding,
    /// Two framings at once.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    TwoFramings,
    /// Names fields that must not be taken out, too many, or no names.
    #[error("Connection names a field that it must not")]
    Connection,
}

impl Refusal {
    /// The status it is answered with.
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge => 431,
            Self::HeadTooSlow => 408,
            Self::Version => 505,
            Self::Method => 405,
            Self::TargetTooLong => 414,
            _ => 400,
        }
    }
}

/// The index behind the blank line that ends a head, if `bytes` holds one. The first `scanned`
/// bytes are known to hold none.
///
/// Lines may end in a bare LF here, so that a head that is refused for it has an end at all.
pub(super) fn end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(2);
    let mut newlines = bytes.iter().enumerate().skip(from);
    newlines
        .by_ref()
        .filter(|(_, byte)| **byte == b'\n')
        .find_map(|(at, _)| {
            let rest = &bytes[at + 1..];
            if rest.starts_with(b"\n") {
                Some(at + 2)
            } else {
                rest.starts_with(b"\r\n").then_some(at + 3)
            }
        })
}

/// The method of a head, for counting; empty when there is none to be read.
pub(super) fn method(head: &[u8]) -> &str {
    let word = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(word).unwrap_or_default()
}

/// Inspects one whole head, blank line included.
///
/// # Errors
/// The first [`Refusal`] found, in the order of the head.
pub(super) fn inspect(head: &[u8]) -> Result<Body, Refusal> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    let lines = head.strip_suffix(b"\r\n\r\n").ok_or(Refusal::Field)?;
    let mut lines = lines.split(|byte| *byte == b'\n').map(|line| {
        // The last line lost its CR with the suffix.
        line.strip_suffix(b"\r").unwrap_or(line)
    });
    // A bare LF would pass the loop above, and nothing else would notice it.
    if bare_line_feed(head) {
        return Err(Refusal::Field);
    }
    let line = RequestLine::parse(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for field in lines {
        fields.take(field)?;
    }
    line.check(fields.host)?;
    fields.body(line.http_1_0)
}

fn bare_line_feed(head: &[u8]) -> bool {
    let mut before = b'\n';
    head.iter().any(|byte| {
        let bare = *byte == b'\n' && before != b'\r';
        before = *byte;
        bare
    })
}

/// The first line, in its parts.
struct RequestLine<'a> {
    target: &'a [u8],
    options: bool,
    http_1_0: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return Err(Refusal::RequestLine);
        }
        let http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
            _ => return Err(Refusal::RequestLine),
        };
        if method.eq_ignore_ascii_case(b"CONNECT") || method.eq_ignore_ascii_case(b"TRACE") {
            return Err(Refusal::Method);
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(Refusal::TargetTooLong);
        }
        if target.is_empty() || !target.iter().copied().all(target::may_stand) {
            return Err(Refusal::Target);
        }
        let options = method == b"OPTIONS";
        Ok(Self {
            target,
            options,
            http_1_0,
        })
    }

    fn check(&self, host: Option<&[u8]>) -> Result<(), Refusal> {
        if host.is_none() && !self.http_1_0 {
            return Err(Refusal::Host);
        }
        if self.target == b"*" && self.options {
            return Ok(());
        }
        let parts = target::split(self.target).ok_or(Refusal::Target)?;
        if let Some(authority) = parts.authority {
            if !is_authority(authority) {
                return Err(Refusal::Target);
            }
            // Byte for byte, which is what pingora asks for too.
            if host.is_some_and(|host| host != authority) {
                return Err(Refusal::Authority);
            }
        }
        if target::has_dot_segment(parts.path) {
            return Err(Refusal::DotSegment);
        }
        Ok(())
    }
}

/// What the fields say about authority and framing.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    nominations: usize,
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    upgrade: bool,
    upgrade_nominated: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(Refusal::Field)?);
        let value = value[1..].trim_ascii();
        // A folded line and a blank before the colon both fail here (RFC 9112 section 5.1, 5.2).
        let spelled = !name.is_empty() && name.iter().copied().all(is_token);
        let clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if !spelled || !value.iter().all(clean) {
            return Err(Refusal::Field);
        }
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() || !(value.is_empty() || is_authority(value)) {
                return Err(Refusal::Host);
            }
            self.host = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::Length);
            }
            self.length = Some(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.encoding.is_some() {
                return Err(Refusal::TransferEncoding);
            }
            self.encoding = Some(value);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.take_nominations(value)?;
        }
        Ok(())
    }

    /// `Connection` takes fields out of the forwarded request. It must not take out those that say
    /// who asked for what, and how long it is.
    fn take_nominations(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for name in names.filter(|name| !name.is_empty()) {
            self.nominations += 1;
            let forwarded = b"x-forwarded-";
            let protected = PROTECTED
                .iter()
                .any(|protected| name.eq_ignore_ascii_case(protected.as_bytes()))
                || name
                    .get(..forwarded.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(forwarded));
            self.upgrade_nominated |= name.eq_ignore_ascii_case(b"upgrade");
            let spelled = name.iter().copied().all(is_token);
            if protected || !spelled || self.nominations > NOMINATIONS_MAX {
                return Err(Refusal::Connection);
            }
        }
        Ok(())
    }

    fn body(&self, http_1_0: bool) -> Result<Body, Refusal> {
        let length = self.length.map(parse_length).transpose()?;
        if let Some(encoding) = self.encoding {
            if self.length.is_some() {
                return Err(Refusal::TwoFramings);
            }
            if http_1_0 || !encoding.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferEncoding);
            }
            return Ok(Body::Chunked(Chunks::START));
        }
        // Any other mention of an upgrade is ignored (RFC 9110 section 7.8).
        if self.upgrade && self.upgrade_nominated && !http_1_0 && length.is_none() {
            return Ok(Body::Open);
        }
        Ok(Body::Length(length.unwrap_or(0)))
    }
}

fn parse_length(digits: &[u8]) -> Result<u64, Refusal> {
    // `parse` would also take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Length);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Refusal::Length)?;
    digits.parse().map_err(|_| Refusal::Length)
}

/// Whether `text` may be a host with an optional port; user information is not taken (RFC 9110
/// section 4.2.4).
fn is_authority(text: &[u8]) -> bool {
    !text.contains(&b'@') && http::uri::Authority::try_from(text).is_ok()
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
