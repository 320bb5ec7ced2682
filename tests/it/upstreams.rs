//! How an upstream is reached: with tokens that are fetched, over TLS of its own, at several
//! addresses, through somebody else; by polls and by callers alike.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;

use serde_json::json;

use crate::harness::{
    Answering, Asks, Authority, Corpse, Doorbell, Egress, SECRET, Secure, Server, Upstream, client,
    fixture, proxied,
};

/// What no log, answer or metric may show.
const CLIENT_SECRET: &str = "correct-horse";

/// An API behind tokens: only the newest is good.
#[derive(Default)]
struct Guarded {
    given: usize,
    is_down: bool,
    asked: Vec<String>,
}

type Guard = Arc<Mutex<Guarded>>;

async fn guarded(State(guard): State<Guard>, request: Request) -> Response {
    let mut guard = guard.lock();
    let path = request.uri().path().to_owned();
    guard.asked.push(path.clone());
    if path == "/token" {
        if guard.is_down {
            return (axum::http::StatusCode::BAD_GATEWAY, CLIENT_SECRET).into_response();
        }
        guard.given += 1;
        let body = format!(
            r#"{{"access_token":"battery{}","token_type":"Bearer","expires_in":3600}}"#,
            guard.given
        );
        return ([("content-type", "application/json")], body).into_response();
    }
    let wanted = format!("Bearer battery{}", guard.given);
    let shown = request.headers().get("authorization");
    if shown.is_some_and(|shown| shown.as_bytes() == wanted.as_bytes()) {
        ([("content-type", "application/json")], "[]").into_response()
    } else {
        axum::http::StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn issuer() -> (Server, Guard) {
    let guard = Guard::default();
    let router = Router::new()
        .fallback(guarded)
        .with_state(Arc::clone(&guard));
    (Server::serving(router).await, guard)
}

/// The list `/tickets` of an upstream with these keys, polled by hand, and a route to it.
fn watched(upstream: &str) -> String {
    format!(
        "[upstreams.tracker]\n{upstream}\n[sources.tickets]\nupstream = \"tracker\"\n\
         path = \"/tickets\"\nevery = \"manual\"\nitems = \"$[*]\"\nid = \"$.id\"\n\
         [endpoints.ops]\nurl = \"http://127.0.0.1:1/\"\nsecrets = [\"{SECRET}\"]\n\
         allow_private = true\n{}",
        proxied("")
    )
}

fn with_tokens(api: &str, issuer: &str) -> String {
    watched(&format!(
        "url = \"{api}\"\nauth = {{ oauth2 = {{ token_url = \"{issuer}/token\", \
         client_id = \"me\", client_secret = \"{CLIENT_SECRET}\" }} }}\ntimeout = \"5s\""
    ))
}

async fn call(doorbell: &Doorbell) -> reqwest::Response {
    let url = format!("{}/tracker/tickets", doorbell.proxy_url());
    client().get(url).send().await.expect("an answer")
}

#[tokio::test]
async fn polls_and_callers_share_one_token_and_replace_it_when_it_is_refused() {
    let (api, guard) = issuer().await;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(guard.lock().given, 1, "one token for both");

    // The token is worth nothing any more: a call is answered so, and the next one is not.
    guard.lock().given += 1;
    assert_eq!(call(&doorbell).await.status(), 401);
    assert_eq!(call(&doorbell).await.status(), 200);
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(guard.lock().given, 3);
}

#[tokio::test]
async fn a_poll_replaces_a_token_that_is_refused_and_asks_again() {
    let (api, guard) = issuer().await;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    doorbell.poll("tickets").await;
    guard.lock().given += 1;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let asked = guard.lock().asked.join(" ");
    assert_eq!(asked, "/token /tickets /tickets /token /tickets");
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_no_secret_is_told() {
    let (api, guard) = issuer().await;
    guard.lock().is_down = true;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(
        (&polled["outcome"], &polled["reason"]),
        (&"error".into(), &"auth".into())
    );
    for _ in 0..5 {
        let answer = call(&doorbell).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let kind = answer.headers()["content-type"].clone();
        assert_eq!(kind, "application/problem+json");
        assert!(!answer.text().await.expect("a body").contains(CLIENT_SECRET));
    }
    let asked = guard.lock().asked.clone();
    assert!(asked.iter().all(|path| path == "/token"), "{asked:?}");
    assert!(asked.len() <= 3, "the endpoint is left alone: {asked:?}");

    let admin = format!("{}/api/v1/sources/tickets", doorbell.admin_url());
    let status = client().get(admin).send().await.expect("an answer");
    let status = status.text().await.expect("a body");
    assert!(
        status.contains("the token endpoint: answered 502"),
        "{status}"
    );
    let metrics = doorbell.metrics().await;
    let labels = [("source", "tickets"), ("reason", "auth")];
    assert_eq!(metrics.value("doorbell_poll_errors_total", &labels), 1.0);
    for told in [status, doorbell.said()] {
        assert!(!told.contains(CLIENT_SECRET), "{told}");
        assert!(!told.contains("battery"), "{told}");
    }
}

#[tokio::test]
async fn a_callers_own_credential_needs_no_token() {
    let (api, guard) = issuer().await;
    guard.lock().is_down = true;
    let doorbell = Doorbell::start(&with_tokens(&api.url, &api.url)).await;
    let url = format!("{}/tracker/tickets", doorbell.proxy_url());
    let own = client().get(url).header("authorization", "Bearer battery0");
    assert_eq!(own.send().await.expect("an answer").status(), 200);
    assert_eq!(guard.lock().asked, ["/tickets"]);
}

fn over_tls(api: &Secure, tls: &str) -> String {
    watched(&format!("url = \"{api}\"\n{tls}"))
}

fn believing() -> String {
    format!("ca = \"{}\"", fixture("ca.pem"))
}

fn showing() -> String {
    let (cert, key) = (fixture("client.pem"), fixture("client.key.pem"));
    format!("cert = \"{cert}\", key = \"{key}\"")
}

#[tokio::test]
async fn an_authority_of_ones_own_is_believed_where_it_is_named_and_nowhere_else() {
    let api = Secure::answering(Asks::Politely, "200 OK", "");
    let doorbell = Doorbell::start(&over_tls(&api, "")).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "tls", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 502);
    assert!(api.seen().is_empty());

    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(api.seen().len(), 2);
    assert!(api.seen().iter().all(|seen| !seen.is_certified));
}

#[tokio::test]
async fn who_asks_for_a_certificate_gets_ours_from_polls_and_from_callers() {
    let api = Secure::answering(Asks::Firmly, "200 OK", "");
    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "error", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 502);
    assert!(api.seen().is_empty());

    let tls = format!("tls = {{ {}, {} }}", believing(), showing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    assert_eq!(call(&doorbell).await.status(), 200);
    assert_eq!(api.seen().len(), 2);
    assert!(api.seen().iter().all(|seen| seen.is_certified));
    assert!(!doorbell.said().contains("PRIVATE"));
}

/// Redirects and links lead there by name, through a proxy, for no address here is public.
#[tokio::test]
async fn no_other_origin_sees_our_certificate_or_our_credential() {
    let other = Secure::answering(Asks::Politely, "200 OK", "");
    for (status, headers) in [
        ("302 Found", "location: https://other.example/there\r\n"),
        (
            "200 OK",
            "link: <https://other.example/there>; rel=\"next\"\r\n",
        ),
    ] {
        let api = Secure::answering(Asks::Firmly, status, headers);
        let egress = Egress::knowing(&[("api.example", &api), ("other.example", &other)]);
        let tls = format!("tls = {{ {}, {} }}", believing(), showing());
        let auth = "auth = { bearer = \"battery\" }\nheaders = { x-own = \"battery\" }";
        let config = polled_through("https://api.example", &egress, &format!("{tls}\n{auth}"));
        let by_links = "items = \"$[*]\"\npaginate = { by = \"link\" }";
        let config = config.replace("items = \"$[*]\"", by_links);
        let doorbell = Doorbell::start(&config).await;
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
        assert!(api.seen()[0].is_certified && api.seen()[0].head.contains("battery"));
        assert!(egress.heads()[1].starts_with("CONNECT other.example:443 "));
    }
    let seen = other.seen();
    assert_eq!(seen.len(), 2);
    assert!(
        !seen
            .iter()
            .any(|seen| seen.is_certified || seen.head.contains("battery"))
    );
}

/// Method: one authority is the upstream's, another one the system's.
#[tokio::test]
async fn a_token_comes_from_another_origin_that_the_system_believes_and_sees_no_certificate() {
    for authority in [Authority::Own, Authority::Public] {
        let api = Secure::answering(Asks::Firmly, "200 OK", "");
        let login = Secure::issuing(authority);
        let tls = format!("tls = {{ {}, {} }}", believing(), showing());
        let config = with_tokens(&api.to_string(), &login.to_string());
        let config = config.replace("timeout = \"5s\"", &format!("timeout = \"5s\"\n{tls}"));
        let doorbell = believed_by_the_system(&config).await;
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{authority:?}: {polled}");
        assert_eq!(call(&doorbell).await.status(), 200);
        let asked = login.seen();
        assert!(asked.len() == 1 && !asked[0].is_certified, "{asked:?}");
        assert!(asked[0].head.contains("POST /token "));
        for seen in api.seen() {
            assert!(seen.is_certified && seen.head.contains("Bearer battery"));
        }
    }
}

/// Where the endpoint is the upstream itself, it is shown what the upstream is shown.
#[tokio::test]
async fn a_token_of_the_upstreams_own_origin_is_asked_for_with_its_certificate() {
    let login = Secure::issuing(Authority::Own);
    let tls = format!("tls = {{ {}, {} }}", believing(), showing());
    let config = with_tokens(&login.to_string(), &login.to_string());
    let config = config.replace("timeout = \"5s\"", &format!("timeout = \"5s\"\n{tls}"));
    let doorbell = Doorbell::start(&config).await;
    doorbell.poll("tickets").await;
    assert!(login.seen()[0].head.contains("POST /token ") && login.seen()[0].is_certified);
}

#[tokio::test]
async fn who_names_an_authority_for_an_upstream_believes_no_other_there() {
    let api = Secure::vouched_for_by(Authority::Public);
    let polled = believed_by_the_system(&over_tls(&api, "")).await;
    assert_eq!(polled.poll("tickets").await["outcome"], "unchanged");
    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = believed_by_the_system(&over_tls(&api, &tls)).await;
    assert_eq!(doorbell.poll("tickets").await["reason"], "tls");
}

/// A doorbell on a system that believes [`Authority::Public`].
async fn believed_by_the_system(config: &str) -> Doorbell {
    let corpse = Corpse::new(config).in_which("SSL_CERT_FILE", fixture("public-ca.pem"));
    corpse.restart().await
}

#[tokio::test]
async fn a_private_upstream_leads_to_no_other_private_place() {
    let other = Secure::answering(Asks::Politely, "200 OK", "");
    let away = format!("location: {other}/there\r\n");
    let api = Secure::answering(Asks::Nobody, "302 Found", &away);
    let tls = format!("tls = {{ {} }}", believing());
    let doorbell = Doorbell::start(&over_tls(&api, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "redirect", "{polled}");
    assert!(other.seen().is_empty());
    // To another one of its own it does, and that one sees nothing of ours.
    let urls = format!(
        "urls = [\"{api}\", \"{other}\"]\ntls = {{ {}, {} }}\nauth = {{ bearer = \"battery\" }}",
        believing(),
        showing()
    );
    let doorbell = Doorbell::start(&watched(&urls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let seen = other.seen();
    assert!(!seen[0].is_certified && !seen[0].head.contains("battery"));
}

fn at_several(urls: &[&str]) -> String {
    watched(&format!("urls = {urls:?}"))
}

#[tokio::test]
async fn several_addresses_take_turns_and_are_one_source() {
    let list = vec![json!({"id": 1, "a": 1})];
    let one = Upstream::serving("/tickets", list.clone()).await;
    let other = Upstream::serving("/api/tickets", list).await;
    let urls = [one.to_string(), format!("{other}/api")];
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    for _ in 0..4 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
        assert_eq!(call(&doorbell).await.status(), 200);
    }
    let asked = (one.arrivals("/").len(), other.arrivals("/").len());
    assert_eq!(asked, (4, 4), "each has every other turn");
    for upstream in [&one, &other] {
        for arrival in upstream.arrivals("/") {
            let host = arrival.headers["host"].to_str().expect("text");
            assert!(upstream.to_string().ends_with(host), "{host}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_gone_costs_no_poll_and_no_call() {
    let list = vec![json!({"id": 1, "a": 1})];
    let one = Upstream::serving("/tickets", list.clone()).await;
    let gone = Upstream::serving("/tickets", list).await;
    let urls = [gone.to_string(), one.to_string()];
    drop(gone);
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    for _ in 0..6 {
        let polled = doorbell.poll("tickets").await;
        assert_eq!(polled["outcome"], "unchanged", "{polled}");
        assert_eq!(call(&doorbell).await.status(), 200);
    }
    assert_eq!(one.arrivals("/").len(), 12);
    assert!(doorbell.said().contains("is left out"));
}

#[tokio::test]
async fn an_address_that_answers_5xx_is_left_out() {
    let one = Upstream::serving("/tickets", vec![]).await;
    let ill = Upstream::serving("/tickets", vec![]).await;
    ill.answer("/tickets", Answering::Status(500));
    let urls = [ill.to_string(), one.to_string()];
    let doorbell = Doorbell::start(&at_several(&[&urls[0], &urls[1]])).await;
    let mut failed = 0;
    for _ in 0..12 {
        failed += u32::from(call(&doorbell).await.status() != 200);
    }
    assert_eq!(failed, 3, "as many as it takes to be left out");
    assert_eq!(ill.arrivals("/").len(), 3);
}

/// The same, through `egress` and without a route.
fn polled_through(url: &str, egress: &Egress, more: &str) -> String {
    let egress = format!("egress_proxy = \"{egress}\"");
    let config = watched(&format!("url = \"{url}\"\n{egress}\n{more}"));
    config.split("[proxy]").next().expect("a part").to_owned()
}

/// `user:hunter2`.
const PROOF: &str = "Basic dXNlcjpodW50ZXIy";

#[tokio::test]
async fn polls_go_through_an_egress_proxy_which_alone_hears_its_password() {
    let api = Upstream::serving("/tickets", vec![]).await;
    let egress = Egress::knowing(&[("api.invalid", &api)]);
    let auth = "auth = { bearer = \"battery\" }";
    let config = polled_through("http://api.invalid", &egress, auth);
    let doorbell = Doorbell::start(&config).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let head = egress.heads()[0].to_lowercase();
    assert!(
        head.starts_with("get http://api.invalid/tickets http/1.1"),
        "{head}"
    );
    let proof = format!("proxy-authorization: {PROOF}").to_lowercase();
    assert!(
        head.contains(&proof) && head.contains("authorization: bearer battery"),
        "{head}"
    );
    assert!(!doorbell.said().contains("hunter2"));
}

#[tokio::test]
async fn https_goes_through_an_egress_proxy_unread() {
    let api = Secure::answering(Asks::Nobody, "200 OK", "");
    let egress = Egress::knowing(&[("api.example", &api)]);
    let tls = format!(
        "tls = {{ {} }}\nauth = {{ bearer = \"battery\" }}",
        believing()
    );
    let doorbell = Doorbell::start(&polled_through("https://api.example", &egress, &tls)).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["outcome"], "unchanged", "{polled}");
    let head = egress.heads()[0].to_lowercase();
    assert!(
        head.starts_with("connect api.example:443 http/1.1"),
        "{head}"
    );
    assert!(
        head.contains(&PROOF.to_lowercase()) && !head.contains("battery"),
        "{head}"
    );
    let seen = api.seen();
    assert!(seen[0].head.contains("battery") && !seen[0].head.contains(PROOF));
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_a_failed_connection_without_its_password() {
    let egress = "egress_proxy = \"http://user:hunter2@127.0.0.1:1\"";
    let config = watched(&format!("url = \"http://api.invalid\"\n{egress}"));
    let doorbell = Doorbell::start(config.split("[proxy]").next().expect("a part")).await;
    let polled = doorbell.poll("tickets").await;
    assert_eq!(polled["reason"], "connect", "{polled}");
    let admin = format!("{}/api/v1/sources/tickets", doorbell.admin_url());
    let status = client().get(admin).send().await.expect("an answer");
    let status = status.text().await.expect("a body");
    assert!(!status.contains("hunter2") && !doorbell.said().contains("hunter2"));
}
