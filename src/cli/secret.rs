//! `doorbell secret`: a new secret for an endpoint.

use std::process::ExitCode;

use serde_json::json;

use super::SecretKind;
use super::paint::Paint;
use crate::client::random;
use crate::signature::{KeyError, SigningKey, asymmetric_secret, symmetric_secret};

/// Prints a new `whsec_…`; or a new `whsk_…` and its `whpk_…`.
///
/// # Errors
/// None: what was made is a key.
pub fn secret(kind: SecretKind, json: bool) -> Result<ExitCode, KeyError> {
    let secret = match kind {
        SecretKind::Symmetric => symmetric_secret(&random()),
        SecretKind::Asymmetric => asymmetric_secret(&random()),
    };
    let public = SigningKey::parse(&secret)?.public();
    let (secret, paint) = (secret.expose(), Paint::stdout());
    match public {
        public if json => say!("{}", json!({ "secret": secret, "public": public })),
        None => say!("{secret}"),
        Some(public) => {
            say!("{secret}  {}", paint.faint("for `secrets` of the endpoint"));
            say!("{public}  {}", paint.faint("for the receiver"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
