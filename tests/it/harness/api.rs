//! The admin API, as a person's script asks it.

use serde_json::Value;

use super::{Doorbell, client};

/// Asks the admin API; status and answer, null where that is no JSON.
pub(crate) async fn send(
    doorbell: &Doorbell,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("{}/api/v1/{path}", doorbell.admin_url());
    let method = method.parse().expect("a method");
    let request = client()
        .request(method, url)
        .header("content-type", "application/json");
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// What the admin API answers, which must be 200.
pub(crate) async fn get(doorbell: &Doorbell, path: &str) -> Value {
    let (status, answer) = send(doorbell, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// What the admin API says to a POST.
pub(crate) async fn post(doorbell: &Doorbell, path: &str, body: Value) -> (u16, Value) {
    send(doorbell, "POST", path, Some(body)).await
}
