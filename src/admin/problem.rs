//! Errors of the admin API: `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::config::MemberFault;
use crate::deliver::SteerError;
use crate::store::StoreError;

/// Most errors that the detail, which people read, repeats.
const TOLD_MAX: usize = 3;

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<MemberFault>,
}

impl Problem {
    /// An answer with `status` whose `detail` says what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// 422, with what is wrong with which member.
    #[must_use]
    pub fn unprocessable(errors: &[MemberFault]) -> Self {
        let told = errors.iter().take(TOLD_MAX).map(|error| &*error.detail);
        let told: Vec<&str> = told.collect();
        Self {
            errors: errors.to_vec(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, told.join("; "))
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Gone(_) => Self::new(StatusCode::GONE, error.to_string()),
            StoreError::Full | StoreError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            other => {
                tracing::error!(error = %other, "the store failed an API request");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the store failed, see the log",
                )
            }
        }
    }
}

impl From<SteerError> for Problem {
    fn from(error: SteerError) -> Self {
        match error {
            SteerError::Unknown(_) => Self::not_found(error.to_string()),
            SteerError::Busy | SteerError::Crowded | SteerError::Draining => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            SteerError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = serde_json::json!(self.errors);
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
