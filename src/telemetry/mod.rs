//! Logs, traces and metrics.
//!
//! Logs are JSON lines on stdout: the Functions host forwards stdout as information and takes every
//! line on stderr for an error. Traces, [`metrics`] and logs leave over OTLP when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and cost nothing otherwise.
//!
//! One trace spans an event, the work that it leads to, and all that follows: messages carry its context.
//!
//! Field names: `hub.id`, `hub.name`, `function.name`, `invocation.id`, `arm.call`, `outcome`,
//! `duration_ms`, and OpenTelemetry's own for HTTP and messaging.
//!
//! Only Hubward's own code may log below `info`, whatever the filter says: HTTP libraries write
//! headers, and so tokens, at `trace`.

pub mod metrics;

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider as _},
};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::{
    Resource, logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider,
};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, filter::FilterFn, layer::SubscriberExt, registry::Registry, util::SubscriberInitExt,
};

use crate::config::{self, Environment};

/// What has to be flushed: the host kills the handler without warning.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// Sends what has been collected. Called at the end of every invocation.
    pub async fn flush(&self) {
        let Self { traces, metrics, logs } = self.clone();
        if traces.is_none() && metrics.is_none() && logs.is_none() {
            return;
        }
        // The exporters work on threads of their own, and flushing waits for them.
        let flushed = tokio::task::spawn_blocking(move || {
            traces.is_none_or(|traces| traces.force_flush().is_ok())
                & metrics.is_none_or(|metrics| metrics.force_flush().is_ok())
                & logs.is_none_or(|logs| logs.force_flush().is_ok())
        });
        if !flushed.await.unwrap_or(false) {
            tracing::debug!("telemetry could not be flushed");
        }
    }
}

/// Sets up logs on stdout, and all that is to leave over OTLP.
pub fn start(environment: &impl Environment) -> Telemetry {
    let filter =
        EnvFilter::try_new(config::log_filter(environment)).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    let traces = config::exports_traces(environment).then(exporter).flatten();
    let spans = traces.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("hubward"));
        layer.with_filter(FilterFn::new(may_log))
    });
    let sent = config::exports_logs(environment).then(logger).flatten();
    let lines = sent
        .as_ref()
        .map(|provider| OpenTelemetryTracingBridge::new(provider).with_filter(FilterFn::new(may_log)));
    let registry = Registry::default()
        .with(filter)
        .with(logs.with_filter(FilterFn::new(may_log)))
        .with(spans)
        .with(lines);
    // A second start (in tests) keeps the first subscriber.
    let _ = registry.try_init();
    let metrics = config::exports_metrics(environment).then(meter).flatten();
    if let Some(provider) = &metrics {
        opentelemetry::global::set_meter_provider(provider.clone());
    }
    Telemetry { traces, metrics, logs: sent }
}

fn may_log(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("hubward") || *metadata.level() <= Level::INFO
}

/// What all that is sent comes from. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word.
fn resource() -> Resource {
    let builder = Resource::builder_empty()
        .with_service_name("hubward")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    builder.with_detectors(&[Box::new(opentelemetry_sdk::resource::EnvResourceDetector::new())]).build()
}

fn meter() -> Option<SdkMeterProvider> {
    let exporter = opentelemetry_otlp::MetricExporter::builder().with_http().build().ok()?;
    Some(SdkMeterProvider::builder().with_resource(resource()).with_periodic_exporter(exporter).build())
}

fn exporter() -> Option<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build().ok()?;
    Some(SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

fn logger() -> Option<SdkLoggerProvider> {
    let exporter = opentelemetry_otlp::LogExporter::builder().with_http().build().ok()?;
    Some(SdkLoggerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

/// Makes a span a child of the caller's, given as a W3C `traceparent`. Must be called before the
/// span is entered.
pub fn set_parent(span: &Span, trace_parent: Option<&str>) {
    if let Some(context) = trace_parent.and_then(parse_trace_parent) {
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
}

/// The current span as a `traceparent`, for messages. `None` while traces are off.
pub fn trace_parent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid()
        .then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

fn parse_trace_parent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_parents_are_read_and_rubbish_is_not() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            parse_trace_parent(good).unwrap().trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        for bad in ["", "00", "00-x-y-z", "00-00000000000000000000000000000000-0000000000000000-00"] {
            assert!(parse_trace_parent(bad).is_none(), "{bad}");
        }
    }
}
