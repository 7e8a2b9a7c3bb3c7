//! What is counted and measured. Nothing is, while no meter is set: an instrument then does nothing.
//!
//! | Instrument | | Attributes |
//! |---|---|---|
//! | `hubward.outcomes` | outcomes told | `hubward.outcome`, `hubward.request.kind` |
//! | `hubward.reconcile.duration` | seconds of one look at a hub | `hubward.outcome` |
//! | `hubward.grant.propagation` | seconds from a grant until a hub takes what needs it | `azure.role` |
//! | `hubward.queue.age` | seconds for which a message had been due when it was taken up | `messaging.destination.name` |
//! | `hubward.arm.calls` | calls to Azure, each try counts | `arm.call`, `http.response.status_code` or `error.type` |
//! | `http.client.request.duration` | seconds of one of them | `http.request.method`, `server.address`, the same |
//! | `faas.invoke_duration` | seconds of an invocation | `faas.name`, `faas.trigger` |
//! | `faas.errors` | invocations that failed | the same |
//!
//! Names are those of OpenTelemetry's semantic conventions, as far as they have one:
//! <https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/>,
//! <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram, Meter},
};

use crate::model::role::Role;

struct Instruments {
    outcomes: Counter<u64>,
    looks: Histogram<f64>,
    propagation: Histogram<f64>,
    queue_age: Histogram<f64>,
    calls: Counter<u64>,
    call_seconds: Histogram<f64>,
    invocations: Histogram<f64>,
    failures: Counter<u64>,
}

/// Made when something is first counted, which is after [`super::start`] has set the meter.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("hubward");
    let count =
        |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
    Instruments {
        outcomes: count("hubward.outcomes", "outcomes of work on hubs"),
        looks: seconds(&meter, "hubward.reconcile.duration", "duration of one look at a hub"),
        propagation: seconds(
            &meter,
            "hubward.grant.propagation",
            "time from the making of a grant until a hub takes what needs it",
        ),
        queue_age: seconds(
            &meter,
            "hubward.queue.age",
            "time for which a message had been due when it was taken up",
        ),
        calls: count("hubward.arm.calls", "calls to Azure, each try counted"),
        call_seconds: seconds(&meter, "http.client.request.duration", "duration of HTTP client requests"),
        invocations: seconds(&meter, "faas.invoke_duration", "duration of an invocation"),
        failures: count("faas.errors", "invocations that failed"),
    }
});

fn seconds(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    // From a call's tens of milliseconds to the quarter of an hour that a grant may take.
    let bounds = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 900.0, 3600.0];
    meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(bounds.to_vec()).build()
}

/// Work has ended.
pub fn outcome(outcome: &'static str, request_kind: Option<&'static str>) {
    let mut attributes = vec![KeyValue::new("hubward.outcome", outcome)];
    attributes.extend(request_kind.map(|kind| KeyValue::new("hubward.request.kind", kind)));
    INSTRUMENTS.outcomes.add(1, &attributes);
}

/// A hub was looked at.
pub fn looked(outcome: &'static str, elapsed: Duration) {
    INSTRUMENTS.looks.record(elapsed.as_secs_f64(), &[KeyValue::new("hubward.outcome", outcome)]);
}

/// A grant works, so many seconds after it was made (at most: the hub was not asked before).
pub fn grant_took_effect(role: Role, seconds: f64) {
    INSTRUMENTS.propagation.record(seconds, &[KeyValue::new("azure.role", role.display_name())]);
}

/// A message was taken up, so many seconds after it was due.
pub fn taken_up(queue: &'static str, age_seconds: f64) {
    INSTRUMENTS.queue_age.record(age_seconds, &[KeyValue::new("messaging.destination.name", queue)]);
}

/// Azure was called.
pub fn called(call: &'static str, method: &str, host: &str, status: Option<u16>, elapsed: Duration) {
    let end = match status {
        Some(status) => KeyValue::new("http.response.status_code", i64::from(status)),
        None => KeyValue::new("error.type", "no_answer"),
    };
    INSTRUMENTS.calls.add(1, &[KeyValue::new("arm.call", call), end.clone()]);
    let attributes = [
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("server.address", host.to_owned()),
        end,
    ];
    INSTRUMENTS.call_seconds.record(elapsed.as_secs_f64(), &attributes);
}

/// A function has run.
pub fn invoked(function: &'static str, trigger: &'static str, elapsed: Duration, failed: bool) {
    let attributes = [KeyValue::new("faas.name", function), KeyValue::new("faas.trigger", trigger)];
    INSTRUMENTS.invocations.record(elapsed.as_secs_f64(), &attributes);
    if failed {
        INSTRUMENTS.failures.add(1, &attributes);
    }
}
