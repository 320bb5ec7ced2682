//! The upstream of every test here.

use std::time::Duration;

use http::HeaderMap;

use crate::config;
use crate::name::Name;

pub(in crate::poll) fn upstream() -> config::Upstream {
    config::Upstream {
        name: Name::parse("tracker").expect("a name"),
        url: url::Url::parse("https://tracker.example/api").expect("a URL"),
        auth: None,
        headers: HeaderMap::new(),
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        connections_max: 4,
        redirects: 3,
        more_urls: Vec::new(),
        egress_proxy: None,
        tls: None,
        budget: None,
    }
}
