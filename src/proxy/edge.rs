//! The hooks that pingora calls in the life of a request, in their order.
//!
//! Decides nothing by itself: it asks the table, the limits and the rules of [`forward`], and
//! writes their answers down. The cheap refusals come first, and all of them before the upstream
//! hears anything.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::call::Call;
use super::joint::Shelved;
use super::problem::Problem;
use super::table::{Found, Tables, UPGRADED_IDLE, Upgrade};
use super::{forward, target};
use crate::clock::Clock;
use crate::coverage;
use crate::metrics::RouteMetrics;
use crate::shutdown::Shutdown;
use crate::upstream::{By, Denied};

/// The proxy's side of pingora.
pub(super) struct Edge {
    /// The routes in force.
    pub(super) tables: Arc<Tables>,
    /// The series of requests that no route takes.
    pub(super) no_route: RouteMetrics,
    /// For the ids of requests.
    pub(super) clock: Clock,
    /// What callers repeat.
    pub(super) coverage: coverage::Shared,
    /// Tells when answers are the last of their connections.
    pub(super) shutdown: Shutdown,
}

/// One request.
pub(super) struct Ctx {
    began: Instant,
    /// What was refused or failed here, for the answer.
    problem: Option<Problem>,
    call: Option<Call>,
}

impl Edge {
    /// Whether the request may go to an upstream, and which.
    fn admit(
        &self,
        request: &RequestHeader,
        peer: IpAddr,
        ctx: &mut Ctx,
    ) -> std::result::Result<(), Problem> {
        let table = self.tables.current();
        let Some(parts) = target::split(request.raw_path()) else {
            return Err(Problem::no_route());
        };
        let host = forward::host(&request.headers);
        let found = table.find(&request.method, parts.path, &host);
        // The upstream may read the path so; what guards one route must not be had through another.
        let readings = [target::normalised(parts.path), target::as_read(parts.path)];
        let is_same = |read: &Vec<u8>| {
            let read = table.find(&request.method, read, &host);
            found.same_route(&read)
        };
        if !readings.iter().all(is_same) {
            return Err(Problem::ambiguous());
        }
        let (route, wrong_method) = match found {
            Found::Route(route) => (route.clone(), None),
            Found::WrongMethod(route, allow) => (route.clone(), Some(allow)),
            Found::Nowhere => return Err(Problem::no_route()),
        };
        let random = [fastrand::u64(..), fastrand::u64(..)];
        let request_id = forward::request_id(&request.headers, self.clock.now(), random);
        let call = ctx.call.insert(Call::new(route, table, peer, request_id));
        if let Some(allow) = wrong_method {
            return Err(Problem::method(&allow));
        }
        call.admit(request)
    }

    /// Writes `problem` as the answer.
    async fn answer(&self, session: &mut Session, ctx: &Ctx, problem: &Problem) -> Result<()> {
        let body = problem.body();
        let mut header = ResponseHeader::build(problem.status, Some(8))?;
        header.insert_header(CONTENT_TYPE, "application/problem+json")?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        for (name, value) in &problem.headers {
            header.append_header(name.clone(), value.clone())?;
        }
        if let Some(call) = &ctx.call {
            call.tell_limits(&mut header)?;
        }
        self.close_if_draining(session);
        session
            .write_response_header(Box::new(header), false)
            .await?;
        session
            .write_response_body(Some(Bytes::from(body)), true)
            .await
    }

    /// Answers from a source's last answer, if there is one to serve; whether it did.
    async fn answer_from_shelf(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let Some(call) = &ctx.call else {
            return Ok(false);
        };
        let is_down = call.route.upstream.is_down();
        let Some(shelved) = call.shelved(session.req_header(), is_down) else {
            call.missed(session.req_header());
            return Ok(false);
        };
        self.serve(session, call, &shelved).await?;
        Ok(true)
    }

    /// Writes an answer from the shelf.
    async fn serve(&self, session: &mut Session, call: &Call, shelved: &Shelved) -> Result<()> {
        let (mut header, body) = shelved.answer()?;
        call.tell_limits(&mut header)?;
        self.close_if_draining(session);
        let is_empty = body.is_empty();
        session
            .write_response_header(Box::new(header), is_empty)
            .await?;
        if is_empty {
            return Ok(());
        }
        session.write_response_body(Some(body), true).await
    }

    /// From the start of a drain on each answer is the last of its connection.
    fn close_if_draining(&self, session: &mut Session) {
        if self.shutdown.is_draining() {
            session.set_keepalive(None);
        }
    }
}

/// The address of the other end. A socket whose peer is unknown is gone already.
fn peer_address(session: &Session) -> IpAddr {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), std::net::SocketAddr::ip)
}

/// What an error is answered with; `None` when there is nobody left to answer.
fn problem_of(error: &Error) -> Option<Problem> {
    use ErrorType as Type;
    let (status, detail) = match (error.etype(), error.esource()) {
        (Type::HTTPStatus(status), _) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "the request was refused")
        }
        (
            Type::ConnectTimedout
            | Type::TLSHandshakeTimedout
            | Type::ReadTimedout
            | Type::WriteTimedout,
            ErrorSource::Upstream,
        ) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the upstream took longer than it may",
        ),
        (_, ErrorSource::Upstream) => (StatusCode::BAD_GATEWAY, "the upstream did not answer"),
        (
            Type::WriteError | Type::ReadError | Type::ConnectionClosed | Type::WriteTimedout,
            ErrorSource::Downstream,
        ) => return None,
        (Type::ReadTimedout, ErrorSource::Downstream) => (
            StatusCode::REQUEST_TIMEOUT,
            "the request body took too long",
        ),
        (_, ErrorSource::Downstream) => (StatusCode::BAD_REQUEST, "the request is malformed"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "doorbell failed"),
    };
    Some(Problem::new(status, Cow::Borrowed(detail)))
}

/// What the log may say of `error`. Its own text may quote what the upstream sent.
fn log_text(error: &Error) -> String {
    let (kind, source) = (error.etype().as_str(), error.esource().as_str());
    io_cause(error).map_or_else(
        || format!("{source} {kind}"),
        |cause| format!("{source} {kind}: {cause}"),
    )
}

/// What the system said, if `error` comes from there.
fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut cause = error.cause.as_deref()?;
    while let Some(inner) = cause.downcast_ref::<Box<Error>>() {
        cause = inner.cause.as_deref()?;
    }
    cause.downcast_ref()
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx {
            began: Instant::now(),
            problem: None,
            call: None,
        }
    }

    /// No module of pingora is wanted; its default one compresses.
    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let peer = peer_address(session);
        // What asks for no upgrade in full is no upgrade for pingora and the upstream either.
        if !forward::wants_upgrade(session.req_header()) {
            session.req_header_mut().remove_header(&UPGRADE);
        }
        match self.admit(session.req_header(), peer, ctx) {
            Ok(()) => self.answer_from_shelf(session, ctx).await,
            Err(problem) => {
                self.answer(session, ctx, &problem).await?;
                Ok(true)
            }
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let (Some(call), Some(body)) = (&mut ctx.call, body) else {
            return Ok(());
        };
        if session.was_upgraded() {
            // No body any more, but a connection.
            return Ok(());
        }
        call.body_bytes = call.body_bytes.saturating_add(body.len() as u64);
        if call.body_bytes > call.route.config.body_bytes_max {
            ctx.problem = Some(Problem::too_large());
            let status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
            return Err(Error::new_down(ErrorType::HTTPStatus(status)));
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let call = ctx
            .call
            .as_mut()
            .ok_or_else(|| Error::new_in(ErrorType::InternalError))?;
        // Each attempt is a request that the upstream may see. The place of a failed one is free.
        call.permit = None;
        if let Err(problem) = call.identify(session.req_header()).await {
            let status = problem.status.as_u16();
            ctx.problem = Some(problem);
            return Err(Error::new_in(ErrorType::HTTPStatus(status)));
        }
        let by = By::Caller(call.identity(session.req_header()));
        match call.route.upstream.permit(by).await {
            Ok(permit) => call.permit = Some(permit),
            Err(denied) => {
                if let Denied::Budget(_) = denied {
                    call.route.over_budget();
                }
                let problem = Problem::denied(denied);
                let status = problem.status.as_u16();
                ctx.problem = Some(problem);
                return Err(Error::new_in(ErrorType::HTTPStatus(status)));
            }
        }
        call.asked = Some(Instant::now());
        let Some((way, address)) = call.route.upstream.door(call.way) else {
            ctx.problem = Some(Problem::unresolved());
            let status = StatusCode::BAD_GATEWAY.as_u16();
            return Err(Error::new_up(ErrorType::HTTPStatus(status)));
        };
        let upgrade = if session.is_upgrade_req() {
            Upgrade::Wanted
        } else {
            Upgrade::No
        };
        call.way = Some(way);
        Ok(call.route.ways[way].peer_at(address, upgrade))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        match &mut ctx.call {
            Some(call) => {
                call.rewrite(session.req_header(), upstream)?;
                call.departs(session.req_header(), upstream)?;
                if let Some(permit) = &mut call.permit {
                    permit.sent();
                }
                Ok(())
            }
            None => Err(Error::new_in(ErrorType::InternalError)),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let switching = answer.status == StatusCode::SWITCHING_PROTOCOLS;
        if switching && !session.is_upgrade_req() {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        if switching {
            session.set_read_timeout(Some(UPGRADED_IDLE));
        }
        if let Some(call) = &mut ctx.call {
            let final_answer = switching || !answer.status.is_informational();
            if let Some(asked) = call.asked.take_if(|_| final_answer) {
                call.route.metrics.upstream_answered(asked.elapsed());
            }
            if final_answer {
                call.answered(answer);
                call.keep_secret(answer)?;
                let is_error = matches!(answer.status.as_u16(), 500 | 502..=504);
                if is_error && call.shelved(session.req_header(), true).is_some() {
                    // Answered from the shelf, where errors are.
                    let status = answer.status.as_u16();
                    return Err(Error::new_up(ErrorType::HTTPStatus(status)));
                }
                call.arrives(session.req_header(), answer)?;
                if let Some(watched) = &mut call.watched {
                    let head = (answer.status, &answer.headers);
                    watched.answered(head, &self.coverage, self.clock.now());
                }
            }
            if !answer.status.is_informational() {
                call.tell_limits(answer)?;
            }
        }
        if !switching {
            for name in forward::hop_by_hop(&answer.headers) {
                answer.remove_header(&name);
            }
        }
        // HTTP/1.0 knows no chunks: such an answer ends with its connection.
        if session.req_header().version == Version::HTTP_10
            && answer.remove_header(&TRANSFER_ENCODING).is_some()
        {
            session.set_keepalive(None);
        }
        self.close_if_draining(session);
        Ok(())
    }

    /// Passes every piece on as it comes.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        if let Some(call) = &mut ctx.call {
            call.passes(body.as_ref(), end_of_stream);
            if let Some(watched) = &mut call.watched {
                watched.passes(body.as_deref(), end_of_stream, &self.coverage);
            }
        }
        Ok(None)
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Ctx) {
        let status = session.response_written().map(|written| written.status);
        let status = status.filter(|status| *status == 101 || !status.is_informational());
        let code = status.map(|status| status.as_u16());
        let took = ctx.began.elapsed();
        let request = session.req_header();
        let route = ctx.call.as_ref().map(|call| &call.route);
        let series = route.map_or(&self.no_route, |route| &route.metrics);
        series.answered(request.method.as_str(), code, took);
        tracing::debug!(
            route = route.map(|route| route.config.name.as_str()),
            request_id = ctx
                .call
                .as_ref()
                .and_then(|call| call.request_id.to_str().ok()),
            method = request.method.as_str(),
            status = code,
            took_ms = took.as_secs_f64() * 1e3,
            "proxied"
        );
    }

    /// Nothing reached the upstream: another attempt is safe for any method.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(call) = &mut ctx.call {
            call.unreached();
        }
        error.set_retry(true);
        error
    }

    /// A kept connection that the upstream closed as it was used again looks like no answer. The
    /// request was most likely not read, yet that is not known: only safe methods, which do no harm
    /// twice (RFC 9110 section 9.2.2), are sent again.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        // That a kept connection is closed as it is used again says nothing of the upstream.
        let tells = !reused || matches!(error.etype(), ErrorType::ReadTimedout);
        let call = ctx.call.as_mut().filter(|_| tells);
        if let Some(call) = call.filter(|_| *error.esource() == ErrorSource::Upstream) {
            call.broke();
        }
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
        let method = &session.req_header().method;
        if safe.contains(method) && !session.as_ref().retry_buffer_truncated() {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        let problem = ctx.problem.take().or_else(|| problem_of(error));
        let route = ctx
            .call
            .as_ref()
            .map(|call| call.route.config.name.as_str());
        if *error.esource() == ErrorSource::Upstream {
            let kind = error.etype().as_str();
            tracing::warn!(
                route,
                kind,
                error = log_text(error),
                "the upstream failed a call"
            );
        }
        // The connection is closed after this, and the answer says so.
        session.set_keepalive(None);
        let begun = session
            .response_written()
            .is_some_and(|written| !written.status.is_informational() || written.status == 101);
        let is_ours = *error.esource() != ErrorSource::Downstream;
        let shelved = ctx.call.as_ref().filter(|_| !begun && is_ours);
        let shelved = shelved.and_then(|call| {
            let shelved = call.shelved(session.req_header(), true)?;
            Some((call, shelved))
        });
        if let Some((call, shelved)) = shelved {
            let status = StatusCode::OK.as_u16();
            let _ = self.serve(session, call, &shelved).await;
            return FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            };
        }
        if let Some(problem) = problem.as_ref().filter(|_| !begun) {
            // A caller who left hears nothing.
            let _ = self.answer(session, ctx, problem).await;
        }
        FailToProxy {
            error_code: problem.map_or(0, |problem| problem.status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    /// Logged where it is handled, above; what callers do wrong is not logged but counted.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Ctx,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_quotes_the_system_but_nothing_that_an_upstream_sent() {
        let quoting = |cause: Box<dyn std::error::Error + Send + Sync>| {
            let context = "buf: Set-Cookie: hunter2";
            Error::because(ErrorType::InvalidHTTPHeader, context, cause).into_up()
        };
        let other = log_text(&quoting("hunter2".into()));
        assert_eq!(other, "Upstream InvalidHTTPHeader");
        let system = quoting(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert_eq!(log_text(&system), "Upstream InvalidHTTPHeader: broken pipe");
        let nested = quoting(Box::new(system));
        assert_eq!(log_text(&nested), "Upstream InvalidHTTPHeader: broken pipe");
    }
}
