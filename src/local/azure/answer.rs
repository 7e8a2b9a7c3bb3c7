//! Answers and the error shapes of the ARM plane.
//!
//! Three shapes are in use: ARM's own `{"error":{"code","message"}}`, the IoT Hub provider's
//! `{"code":<number>,"httpStatusCode","message"}`, and the status of a failed operation.
//! <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>

use serde_json::{Value, json};
use time::{OffsetDateTime, macros::format_description};

use super::settings::FailureShape;

/// A status, headers and a JSON body (or none).
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

/// What a handler returns; a refusal is a reply too.
pub(super) type Answer = Result<Reply, Reply>;

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// ARM's own error.
    pub(super) fn arm(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::json(status, json!({"error": {"code": code, "message": message.into()}}))
    }

    /// ARM's error for something that the gateway itself did not find.
    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::arm(404, code, message).with("x-ms-failure-cause", "gateway")
    }
}

/// An error of the IoT Hub provider: six digits, of which the first three are the status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HubError {
    pub(super) code: u32,
    pub(super) message: String,
}

impl HubError {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// For input that is refused by a code that is not published: the general "argument invalid".
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400_004, message)
    }

    pub(super) fn status(&self) -> u16 {
        u16::try_from(self.code / 1000).ok().filter(|status| (400..600).contains(status)).unwrap_or(400)
    }

    fn text(&self, correlation: &str, now: OffsetDateTime) -> String {
        let time = now
            .format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z"))
            .unwrap_or_default();
        format!(
            "{} If you contact a support representative please include this correlation identifier: \
             {correlation}, timestamp: {time}, errorcode: IH{}.",
            self.message, self.code
        )
    }

    /// As the answer to a request.
    pub(super) fn reply(&self, correlation: &str, now: OffsetDateTime) -> Reply {
        let status = self.status();
        let message = self.text(correlation, now);
        Reply::json(status, json!({"code": self.code, "httpStatusCode": status, "message": message}))
    }

    /// As the status of an operation that failed.
    pub(super) fn operation(&self, shape: FailureShape, correlation: &str, now: OffsetDateTime) -> Value {
        let message = self.text(correlation, now);
        match shape {
            FailureShape::Numeric => json!({
                "status": "Failed", "code": self.code, "httpStatusCode": self.status(), "message": message,
            }),
            FailureShape::Nested => json!({
                "status": "Failed",
                "error": {
                    "code": "ResourceOperationFailure",
                    "message": "The resource operation completed with terminal provisioning state 'Failed'.",
                    "details": [{
                        "code": self.code.to_string(),
                        "message": format!("Call to Microsoft.Devices/iotHubs failed. Error message: {message}"),
                        "details": [],
                    }],
                },
            }),
        }
    }
}

/// A time of day with seven fractional digits, as ARM writes most of them.
pub(super) fn iso(time: OffsetDateTime) -> String {
    time.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z"))
        .unwrap_or_default()
}

/// A time of day as HTTP headers have it.
pub(super) fn http_date(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC)
        .format(format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        ))
        .unwrap_or_default()
}
