//! The body of an answer: decompressed, bounded, digested, and whether its end was told.
//!
//! Decides how much of it is taken into memory. What a body that may be cut is worth is decided
//! where its format is known.

use std::convert::Infallible;
use std::future::ready;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use tower::{Service as _, service_fn};
use tower_http::decompression::Decompression;

use super::exchange::failure;
use super::{Failure, Reason, Upstream};
use crate::digest::{RawDigest, RawHasher};

/// `Accept-Encoding` of every poll: what [`decoded`] reads.
pub(super) const ACCEPT_ENCODING: &str = "gzip, br, zstd, deflate";

/// Codings that [`decoded`] reads. Each has an end of its own, and fails without it.
const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

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
        let mut response = decoded(response).await;
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
        && coding(headers).is_none()
}

/// The coding that is to be undone.
fn coding(headers: &HeaderMap) -> Option<&'static str> {
    let coding = headers.get(CONTENT_ENCODING)?.as_bytes();
    CODINGS.into_iter().find(|known| known.as_bytes() == coding)
}

/// `response` with its body decompressed. reqwest would do the same in the same way, but takes the
/// headers away by which [`is_open_ended`] tells.
async fn decoded(response: reqwest::Response) -> reqwest::Response {
    if coding(response.headers()).is_none() {
        return response;
    }
    let mut response = Some(http::Response::<reqwest::Body>::from(response));
    let mut undoing = Decompression::new(service_fn(move |_: http::Request<()>| {
        let response = response.take().expect("it is asked once");
        ready(Ok::<_, Infallible>(response))
    }));
    let Ok(decoded) = undoing.call(http::Request::new(())).await;
    decoded.map(reqwest::Body::wrap).into()
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
}
