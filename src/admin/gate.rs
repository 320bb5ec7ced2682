//! Who may ask: the token, and the two checks that keep a browser's other pages out.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Parts, Problem};
use crate::config;

/// Lets bearers of the token pass; everyone, when none is configured.
pub(super) async fn token(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let admin = parts.live.load().admin.clone();
    if shows_token(&admin, request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "show the admin token as `Authorization: Bearer …`",
    )
    .into_response()
}

/// As [`token`], unless `metrics_token = false`.
pub(super) async fn metrics_token(state: State<Parts>, request: Request, next: Next) -> Response {
    if !state.live.load().admin.metrics_token {
        return next.run(request).await;
    }
    token(state, request, next).await
}

/// Refuses a `Host` that is neither an IP literal, `localhost`, nor configured: a page whose name
/// was rebound to this address carries its own name (DNS rebinding).
pub(super) async fn host(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let known = host.is_some_and(|host| is_known_host(host, &parts.live.load().admin.hosts));
    // Checks of load balancers may send none; a browser's page always has one.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz")
        && !request.headers().contains_key(header::HOST);
    if known || is_probe {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this Host is not served here: use an IP address or localhost, or add it to admin.hosts",
    )
    .into_response()
}

/// Refuses state-changing requests that a web page of another origin could have sent: they need
/// `content-type: application/json`, which a form cannot send, and a same-origin or no `Origin`.
pub(super) async fn mutations(request: Request, next: Next) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe {
        return next.run(request).await;
    }
    let headers = request.headers();
    if !is_json(headers) {
        return Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send `content-type: application/json`",
        )
        .into_response();
    }
    if !is_same_origin(headers) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "this Origin may not change anything here",
        )
        .into_response();
    }
    next.run(request).await
}

fn shows_token(admin: &config::Admin, headers: &HeaderMap) -> bool {
    let Some(token) = &admin.token else {
        return true;
    };
    let shown = headers
        .get(header::AUTHORIZATION)
        .map(http::HeaderValue::as_bytes);
    let bearer = shown.and_then(|value| {
        let (scheme, rest) = value.split_at_checked("bearer ".len())?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then_some(rest.trim_ascii())
    });
    bearer.is_some_and(|guess| token.equals(guess))
}

fn is_known_host(host: &str, configured: &[String]) -> bool {
    let name = without_port(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || configured.contains(&name)
}

/// The host of a `Host` value: `[::1]:80`, `a.example:80`, `127.0.0.1`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    matches!((origin, host), (Some((_, authority)), Some(host)) if authority == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_literals_localhost_or_configured() {
        let configured = ["doorbell.internal".to_owned()];
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("LocalHost:9090", true),
            ("doorbell.internal", true),
            ("Doorbell.Internal:1", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_known_host(host, &configured), expected, "{host:?}");
        }
    }
}
