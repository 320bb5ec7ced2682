//! What Prometheus sees.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{
    Behaviour, Doorbell, Receiver, Scrape, Upstream, client, proxied, tickets, wait_until,
};

#[tokio::test]
async fn every_series_of_a_configured_name_is_there_before_anything_happened() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::accepting().await;
    let limits = "limits = [{ by = \"ip\", requests = 50, per = \"1s\" }]";
    let config = tickets(&upstream, &receiver, "") + &proxied(limits);
    let doorbell = Doorbell::start(&config).await;

    let metrics = doorbell.metrics().await;
    let (source, endpoint) = (("source", "tickets"), ("endpoint", "ops"));
    let route = ("route", "tracker");
    for outcome in ["changed", "unchanged", "not_modified", "error", "held"] {
        let labels = [source, ("outcome", outcome)];
        assert_eq!(metrics.value("doorbell_polls_total", &labels), 0.0);
    }
    for change in ["created", "updated", "deleted"] {
        let labels = [source, ("change", change)];
        assert_eq!(metrics.value("doorbell_events_total", &labels), 0.0);
    }
    for outcome in ["delivered", "dead"] {
        let labels = [endpoint, ("outcome", outcome)];
        assert_eq!(metrics.value("doorbell_deliveries_total", &labels), 0.0);
    }
    for by in ["poll", "caller"] {
        let labels = [("upstream", "tracker"), ("by", by)];
        assert_eq!(
            metrics.value("doorbell_upstream_requests_total", &labels),
            0.0
        );
    }
    for (name, labels) in [
        ("doorbell_poll_errors_total", &[source][..]),
        ("doorbell_poll_last_success_timestamp_seconds", &[source]),
        ("doorbell_poll_response_bytes_total", &[source]),
        ("doorbell_source_items", &[source]),
        (
            "doorbell_poll_duration_seconds_count",
            &[("upstream", "tracker")],
        ),
        ("doorbell_poll_lag_seconds_count", &[]),
        ("doorbell_delivery_attempts_total", &[endpoint]),
        ("doorbell_delivery_duration_seconds_count", &[endpoint]),
        ("doorbell_delivery_lag_seconds_count", &[endpoint]),
        ("doorbell_delivery_pending", &[endpoint]),
        ("doorbell_delivery_blocked_subjects", &[endpoint]),
        ("doorbell_delivery_oldest_pending_seconds", &[endpoint]),
        ("doorbell_endpoint_breaker_open", &[endpoint]),
        ("doorbell_proxy_request_duration_seconds_count", &[route]),
        ("doorbell_proxy_upstream_duration_seconds_count", &[route]),
        (
            "doorbell_proxy_rate_limited_total",
            &[route, ("limit", "ip")],
        ),
        ("doorbell_proxy_inflight_requests", &[route]),
    ] {
        assert_eq!(metrics.value(name, labels), 0.0, "{name}");
    }
    for (name, labels) in [
        ("doorbell_endpoint_enabled", &[endpoint][..]),
        ("doorbell_build_info", &[]),
    ] {
        assert_eq!(metrics.value(name, labels), 1.0, "{name}");
    }
    assert!(metrics.value("doorbell_store_size_bytes", &[]) > 0.0);
    assert!(metrics.value("process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test]
async fn a_scrape_under_load_is_true_and_promtool_has_nothing_to_say() {
    let upstream = Upstream::serving("/tickets", vec![]).await;
    let receiver = Receiver::behaving(Behaviour::RefusingEach(4), 0).await;
    let limits = "limits = [{ by = \"route\", requests = 20, per = \"1h\" }]";
    let config = tickets(&upstream, &receiver, "") + &proxied(limits);
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    let changed = [("source", "tickets"), ("outcome", "changed")];
    let before = doorbell.metrics().await;
    let before = before.value("doorbell_polls_total", &changed);

    let client = client();
    for round in 0..30 {
        upstream.change("/tickets", |list| list.push(json!({ "id": round })));
        doorbell.poll("tickets").await;
        let url = format!("{}/tracker/echo/{round}", doorbell.proxy_url());
        client.get(url).send().await.expect("the proxy answers");
        assert_accepted_by_promtool(&doorbell.metrics().await);
    }
    let delivered = [("endpoint", "ops"), ("outcome", "delivered")];
    wait_until("all is delivered", async || {
        let metrics = doorbell.metrics().await;
        let delivered = metrics.value("doorbell_deliveries_total", &delivered);
        (delivered >= 30.0).then_some(())
    })
    .await;

    let metrics = doorbell.metrics().await;
    let (source, route) = (("source", "tickets"), ("route", "tracker"));
    let polls = metrics.value("doorbell_polls_total", &changed);
    assert_eq!(polls - before, 30.0);
    let created = [source, ("change", "created")];
    assert_eq!(metrics.value("doorbell_events_total", &created), 30.0);
    assert_eq!(metrics.value("doorbell_source_items", &[source]), 30.0);
    assert_eq!(metrics.value("doorbell_deliveries_total", &delivered), 30.0);
    let attempts = metrics.value("doorbell_delivery_attempts_total", &[("endpoint", "ops")]);
    let arrived = receiver.rings().len();
    assert!(
        attempts == arrived as f64,
        "{attempts} attempts, {arrived} rings"
    );
    let passed = [route, ("method", "GET"), ("code", "200")];
    assert_eq!(
        metrics.value("doorbell_proxy_requests_total", &passed),
        20.0
    );
    assert_eq!(
        metrics.value("doorbell_proxy_rate_limited_total", &[route]),
        10.0
    );
    for (by, requests) in [("poll", 31.0), ("caller", 20.0)] {
        let labels = [("upstream", "tracker"), ("by", by)];
        assert_eq!(
            metrics.value("doorbell_upstream_requests_total", &labels),
            requests
        );
    }
}

/// Silence is the verdict: `promtool check metrics` speaks on stderr, and exits 3 when it does.
fn assert_accepted_by_promtool(metrics: &Scrape) {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr/bin/promtool");
    let promtool = if unpacked.exists() {
        unpacked
    } else {
        "promtool".into()
    };
    let mut checking = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: run `.ci/need promtool`, or `make test`");
    let mut input = checking.stdin.take().expect("stdin is piped");
    input
        .write_all(metrics.text().as_bytes())
        .expect("promtool reads");
    drop(input);
    let verdict = checking.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&verdict.stderr) + String::from_utf8_lossy(&verdict.stdout);
    assert_eq!(said, "", "in\n{}", metrics.text());
    assert!(verdict.status.success());
}
