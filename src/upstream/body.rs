//! The body of an answer: decompressed, bounded, digested, and whether its end was told.
//!
//! Decides how much of it is taken into memory. What a body that may be cut is worth is decided
//! where its format is known.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::exchange::failure;
use super::{Failure, Reason, Upstream};
use crate::digest::{RawDigest, RawHasher};

/// `Accept-Encoding` of every poll: what [`decoded`] reads.
pub(super) const ACCEPT_ENCODING: &str = "gzip, br, zstd, deflate";

/// How much of a body is decompressed at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Most memory that is taken on the word of a `Content-Length`.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// A body as it came.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) raw: RawDigest,
    /// See [`super::Body::is_open_ended`].
    pub(super) is_open_ended: bool,
}

impl Upstream {
    /// The whole body, decompressed, counted and digested as it comes: a bomb is dropped at its
    /// first byte too many, and no thread is held for longer than a chunk takes.
    pub(super) async fn body(
        &self,
        response: reqwest::Response,
        bytes_max: usize,
    ) -> Result<Whole, Failure> {
        let is_open_ended = is_open_ended(response.version(), response.headers());
        let mut response = decoded(response)?;
        let too_large = || failure(Reason::TooLarge, format!("more than {bytes_max} bytes"));
        let announced = response.content_length().unwrap_or(0);
        if announced > bytes_max as u64 {
            return Err(too_large());
        }
        let announced = usize::try_from(announced).unwrap_or(0);
        let (mut body, mut hasher) = (BytesMut::new(), RawHasher::default());
        let whole = |bytes, hasher: RawHasher| Whole {
            bytes,
            raw: hasher.finish(),
            is_open_ended,
        };
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.broken(&error))? else {
                break;
            };
            if chunk.len() > bytes_max - body.len() {
                return Err(too_large());
            }
            hasher.update(&chunk);
            if body.is_empty() {
                if chunk.len() == announced {
                    // All of it, without a copy.
                    return Ok(whole(chunk, hasher));
                }
                body.reserve(announced.min(RESERVE_BYTES_MAX));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(whole(body.freeze(), hasher))
    }
}

/// Whether nothing but the connection tells the end (RFC 9112 section 6.3, the last case): where a
/// length or chunks do, a body that is cut is an error of the client.
fn is_open_ended(version: Version, headers: &HeaderMap) -> bool {
    let ends_in_chunks = |value: &http::HeaderValue| {
        let value = value.as_bytes().trim_ascii_end().to_ascii_lowercase();
        value.ends_with(b"chunked")
    };
    version <= Version::HTTP_11
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers
            .get_all(TRANSFER_ENCODING)
            .iter()
            .any(ends_in_chunks)
        && matches!(coding(headers), Ok(None))
}

/// A coding that [`decoded`] undoes. Each has an end of its own, and fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

/// The coding that is to be undone; `None` where the body is as it is (RFC 9110 section 8.4.1).
/// What is coded twice, or in a way that is not read, is not the content.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Failure> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        let names = names.map(|name| name.trim_ascii().to_ascii_lowercase());
        codings.extend(names.filter(|name| !name.is_empty() && name != b"identity"));
    }
    match codings.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [b"gzip" | b"x-gzip"] => Ok(Some(Coding::Gzip)),
        [b"br"] => Ok(Some(Coding::Brotli)),
        [b"zstd"] => Ok(Some(Coding::Zstd)),
        [b"deflate"] => Ok(Some(Coding::Deflate)),
        _ => {
            let message = format!("a content coding that is not one of {ACCEPT_ENCODING} alone");
            Err(failure(Reason::Body, message))
        }
    }
}

/// `response` with its body decompressed. reqwest would do the same, but takes the headers away by
/// which [`is_open_ended`] tells, and reads no more of gzip than its first member.
///
/// What follows the end is one more member (RFC 1952 section 2.2), or else an error: also zeros,
/// which fill up tapes, not bodies.
fn decoded(response: reqwest::Response) -> Result<reqwest::Response, Failure> {
    let Some(coding) = coding(response.headers())? else {
        return Ok(response);
    };
    let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let body = reqwest::Response::from(http::Response::new(body));
    // Without the URL, and what may be secret in it.
    let broken = |error: reqwest::Error| io::Error::other(error.without_url());
    let coded = StreamReader::new(Box::pin(body.bytes_stream().map_err(broken)));
    macro_rules! undone {
        ($decoder:ident) => {{
            let mut decoder = $decoder::new(coded);
            decoder.multiple_members(true);
            streamed(decoder)
        }};
    }
    let body = match coding {
        Coding::Gzip => undone!(GzipDecoder),
        Coding::Brotli => undone!(BrotliDecoder),
        Coding::Zstd => undone!(ZstdDecoder),
        Coding::Deflate => undone!(ZlibDecoder),
    };
    Ok(http::Response::from_parts(head, body).into())
}

fn streamed(plain: impl AsyncRead + Send + 'static) -> reqwest::Body {
    reqwest::Body::wrap_stream(ReaderStream::with_capacity(plain, CHUNK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_a_length_by_chunks_by_a_coding_and_by_frames() {
        for (version, header, expected) in [
            (Version::HTTP_10, ("date", "now"), true),
            (Version::HTTP_11, ("connection", "close"), true),
            (Version::HTTP_11, ("transfer-encoding", "identity"), true),
            (Version::HTTP_11, ("content-encoding", "identity"), true),
            (Version::HTTP_11, ("content-length", "7"), false),
            (Version::HTTP_11, ("transfer-encoding", "chunked"), false),
            (
                Version::HTTP_11,
                ("transfer-encoding", "gzip, Chunked "),
                false,
            ),
            (Version::HTTP_10, ("content-encoding", "gzip"), false),
            (Version::HTTP_2, ("date", "now"), false),
        ] {
            let name: http::HeaderName = header.0.parse().expect("a name");
            let value = http::HeaderValue::from_static(header.1);
            let headers = HeaderMap::from_iter([(name, value)]);
            assert_eq!(is_open_ended(version, &headers), expected, "{header:?}");
        }
    }

    #[test]
    fn names_of_codings_are_written_in_any_letters_and_no_body_is_coded_twice() {
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&["", "Identity, "], Ok(None)),
            (&["GZip"], Ok(Some(Coding::Gzip))),
            (&["x-gzip"], Ok(Some(Coding::Gzip))),
            (&["identity", " br "], Ok(Some(Coding::Brotli))),
            (&["zstd"], Ok(Some(Coding::Zstd))),
            (&["deflate"], Ok(Some(Coding::Deflate))),
            (&["gzip, gzip"], Err(Reason::Body)),
            (&["gzip", "br"], Err(Reason::Body)),
            (&["compress"], Err(Reason::Body)),
            (&["x-none"], Err(Reason::Body)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
            }
            let found = coding(&headers).map_err(|failure| failure.reason);
            assert_eq!(found, expected, "{values:?}");
        }
    }
}
