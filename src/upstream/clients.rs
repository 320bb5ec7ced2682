//! The HTTP clients of an upstream: whom each believes, what it shows, and where it may connect.
//!
//! Decides by who named the place. The upstream itself is asked with all that the file says. What
//! else the file names (a token endpoint elsewhere, another of the base URLs) may be on a private
//! network, for whoever wrote it knows; what only an answer names (a redirect, a link to the next
//! page) may not. Neither of these sees the client certificate.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;

use crate::client::{PublicOnly, Resolver};
use crate::config;

/// Idle connections kept by a client; polls are rare enough that more would only idle.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// All clients of one upstream.
#[derive(Debug)]
pub(super) struct Clients {
    own: reqwest::Client,
    named: OnceLock<Result<reqwest::Client, String>>,
    led: OnceLock<Result<reqwest::Client, String>>,
    config: Arc<config::Upstream>,
    resolver: Resolver,
}

impl Clients {
    /// Those of `config`.
    ///
    /// # Errors
    /// A text when no client can be built, for example because no CA certificates are found.
    pub(super) fn of(config: &Arc<config::Upstream>, resolver: Resolver) -> Result<Self, String> {
        Ok(Self {
            own: own(config, &resolver)?,
            // Built when they are needed, because most upstreams lead nowhere else, and each takes
            // the authorities of the system into memory.
            named: OnceLock::new(),
            led: OnceLock::new(),
            config: Arc::clone(config),
            resolver,
        })
    }

    /// The one for the upstream's own origin.
    pub(super) const fn own(&self) -> &reqwest::Client {
        &self.own
    }

    /// The one for other origins that the file names.
    pub(super) fn named(&self) -> Result<&reqwest::Client, String> {
        let named = self
            .named
            .get_or_init(|| finish(other(&self.config)?.dns_resolver(self.resolver.clone())));
        named.as_ref().map_err(String::clone)
    }

    /// The one for other origins that an answer led to. It does not see literal addresses: whoever
    /// uses it looks at those.
    pub(super) fn led(&self) -> Result<&reqwest::Client, String> {
        if self.config.egress_proxy.is_some() {
            // The one name that is looked up here is that of the proxy.
            return self.named();
        }
        let led = self.led.get_or_init(|| {
            finish(other(&self.config)?.dns_resolver(PublicOnly(self.resolver.clone())))
        });
        led.as_ref().map_err(String::clone)
    }
}

/// Believes whom `tls.ca` says, or the system's authorities, and shows the certificate.
fn own(config: &config::Upstream, resolver: &Resolver) -> Result<reqwest::Client, String> {
    let mut builder = plain(config)?.dns_resolver(resolver.clone());
    if let Some(authorities) = authorities(config)? {
        builder = builder.tls_certs_only(authorities);
    }
    let identity = config.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    if let Some(identity) = identity {
        let read = reqwest::Identity::from_pem(identity.pem.expose().as_bytes());
        builder = builder.identity(read.map_err(|error| build_error(&error))?);
    }
    finish(builder)
}

/// Believes the system's authorities and those of `tls.ca`: other origins have certificates of
/// either.
fn other(config: &config::Upstream) -> Result<reqwest::ClientBuilder, String> {
    let builder = plain(config)?;
    Ok(match authorities(config)? {
        Some(authorities) => builder.tls_certs_merge(authorities),
        None => builder,
    })
}

fn plain(config: &config::Upstream) -> Result<reqwest::ClientBuilder, String> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Every request has a permit; a silent second one would have none.
        .retry(reqwest::retry::never())
        .referer(false)
        // Bodies are decompressed where it is known how they ended.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(config.connections_max.min(IDLE_CONNECTIONS_MAX));
    Ok(match &config.egress_proxy {
        None => builder,
        Some(proxy) => {
            let proxy = reqwest::Proxy::all(proxy.expose());
            builder.proxy(proxy.map_err(|_| "`egress_proxy` is no proxy's URL".to_owned())?)
        }
    })
}

fn authorities(config: &config::Upstream) -> Result<Option<Vec<reqwest::Certificate>>, String> {
    let authorities = config.tls.as_ref().and_then(|tls| tls.authorities.as_ref());
    let read = |der: &CertificateDer<'_>| reqwest::Certificate::from_der(der);
    let read = authorities.map(|all| all.iter().map(read).collect::<Result<Vec<_>, _>>());
    read.transpose().map_err(|error| build_error(&error))
}

fn finish(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    builder.build().map_err(|error| build_error(&error))
}

fn build_error(error: &reqwest::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}
