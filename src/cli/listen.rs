//! `doorbell listen`: a receiver that verifies and prints.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use super::ListenArguments;
use super::paint::Paint;
use super::receiver::{self, Arrival};
use crate::secret::Secret;
use crate::signature::{VerifyingKey, symmetric_secret};

/// Listens until `interrupted` resolves.
///
/// # Errors
/// A bad secret, or an address that cannot be bound.
pub async fn listen(
    arguments: ListenArguments,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    let paint = Paint::stdout();
    let given = arguments.secret.filter(|secret| !secret.is_empty());
    let made = given.is_none();
    let secret = given.map_or_else(|| symmetric_secret(&crate::client::random()), Secret::new);
    let key = match VerifyingKey::parse(&secret) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("doorbell: --secret: {error}");
            return Ok(ExitCode::from(super::BAD_CONFIG));
        }
    };
    let listener = TcpListener::bind(arguments.address)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.address))?;
    let (address, mut arrivals) = receiver::serve(listener, key)?;
    if arguments.json {
        let mut told = json!({ "listening": format!("http://{address}") });
        if made {
            told["secret"] = json!(secret.expose());
        }
        say!("{told}");
    } else {
        say!("listening on {}", paint.strong(format!("http://{address}")));
        if made {
            say!("point an endpoint here:\n\n{}", endpoint(address, &secret));
        }
    }
    tokio::pin!(interrupted);
    loop {
        let arrival = tokio::select! {
            Some(arrival) = arrivals.recv() => arrival,
            () = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        match (arrival, arguments.json) {
            (Arrival::Ring(ring), true) => {
                say!("{}", json!({ "id": ring.id, "payload": ring.payload }));
            }
            (Arrival::Ring(ring), false) => say!("{}", receiver::line(&ring, paint)),
            (Arrival::Refused(why), true) => say!("{}", json!({ "refused": why })),
            (Arrival::Refused(why), false) => say!("{} {why}", paint.bad("refused")),
        }
    }
}

fn endpoint(address: std::net::SocketAddr, secret: &Secret) -> String {
    format!(
        "[endpoints.here]\nurl = \"http://{address}/\"\nsecrets = [\"{}\"]\n\
         allow_private = true\n",
        secret.expose()
    )
}
