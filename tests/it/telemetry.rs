//! What leaves over OTLP, decoded by a receiver: one trace from the event to the last look, the metrics, the logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value},
    metrics::v1::metric::Data,
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message;

/// A receiver of OTLP over HTTP that keeps what it gets.
#[derive(Clone, Default)]
struct Receiver {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Receiver {
    async fn listen(&self) -> String {
        fn keep<T: Message + Default + 'static>(
            all: &Arc<Mutex<Vec<u8>>>,
            kept: &Arc<Mutex<Vec<T>>>,
        ) -> axum::routing::MethodRouter {
            let (all, kept) = (all.clone(), kept.clone());
            post(move |body: Bytes| {
                all.lock().unwrap().extend_from_slice(&body);
                kept.lock().unwrap().push(T::decode(body).expect("what was sent is OTLP"));
                async { ([("content-type", "application/x-protobuf")], "") }
            })
        }
        let router = Router::new()
            .route("/v1/traces", keep(&self.bytes, &self.traces))
            .route("/v1/metrics", keep(&self.bytes, &self.metrics))
            .route("/v1/logs", keep(&self.bytes, &self.logs));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn spans(&self) -> Vec<Span> {
        let traces = self.traces.lock().unwrap();
        let scopes = traces.iter().flat_map(|sent| &sent.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn service(resource: Option<&Resource>) -> Option<String> {
    text(&resource?.attributes, "service.name")
}

/// Plays the demo, one hub from its creation to the end, with a handler that sends here.
async fn play(receiver: &Receiver) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hubward"));
    command
        .args(["demo", "--json", "--handler", env!("CARGO_BIN_EXE_hubward-handler")])
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.listen().await);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_spans_the_event_the_work_and_what_follows() {
    let receiver = Receiver::default();
    play(&receiver).await;

    let spans = receiver.spans();
    let mut traces: BTreeMap<Vec<u8>, Vec<&Span>> = BTreeMap::new();
    for span in &spans {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    let named = |spans: &[&Span], name: &str| spans.iter().filter(|span| span.name == name).count();
    let whole = traces.values().find(|spans| named(spans, "HubEvent") > 0 && named(spans, "Work") >= 2);
    let whole = whole.unwrap_or_else(|| {
        let names: Vec<Vec<&str>> =
            traces.values().map(|spans| spans.iter().map(|span| span.name.as_str()).collect()).collect();
        panic!("no trace has all: {names:#?}")
    });
    let work = whole.iter().find(|span| span.name == "Work").unwrap();
    for (name, value) in [
        ("faas.name", "Work"),
        ("faas.trigger", "pubsub"),
        ("messaging.system", "servicebus"),
        ("messaging.destination.name", "hub-work"),
    ] {
        assert_eq!(text(&work.attributes, name).as_deref(), Some(value), "{:#?}", work.attributes);
    }
    assert!(text(&work.attributes, "messaging.message.id").is_some());
    let call = whole
        .iter()
        .find(|span| text(&span.attributes, "arm.call").as_deref() == Some("PUT hub"))
        .expect("the hub's PUT is in the same trace");
    assert_eq!(text(&call.attributes, "http.request.method").as_deref(), Some("PUT"));
    assert!(
        text(&call.attributes, "http.response.status_code").is_some()
            && text(&call.attributes, "server.address").is_some()
    );

    let logs = receiver.logs.lock().unwrap();
    let lines: Vec<_> = logs
        .iter()
        .flat_map(|sent| &sent.resource_logs)
        .flat_map(|of| &of.scope_logs)
        .flat_map(|scope| &scope.log_records)
        .collect();
    let in_trace = lines.iter().filter(|line| line.trace_id == work.trace_id).count();
    assert!(in_trace > 0, "log lines know their trace");
    assert!(lines.iter().any(|line| text(&line.attributes, "outcome").as_deref() == Some("Changed")));
    let resources = logs.iter().flat_map(|sent| &sent.resource_logs).map(|of| service(of.resource.as_ref()));
    assert_eq!(resources.collect::<BTreeSet<_>>(), BTreeSet::from([Some("hubward".to_owned())]));

    let bytes = receiver.bytes.lock().unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(!holds(b"eyJ"), "a token was sent");
    assert!(!holds(b"SharedAccessKey=") && !holds(b"AccountKey="), "a key was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_of_looks_grants_calls_queues_and_outcomes() {
    let receiver = Receiver::default();
    play(&receiver).await;
    let metrics = receiver.metrics.lock().unwrap();
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for metric in metrics
        .iter()
        .flat_map(|sent| &sent.resource_metrics)
        .flat_map(|of| &of.scope_metrics)
        .flat_map(|scope| &scope.metrics)
    {
        let points: Vec<&[KeyValue]> = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => sum.data_points.iter().map(|point| point.attributes.as_slice()).collect(),
            Data::Histogram(of) => of.data_points.iter().map(|point| point.attributes.as_slice()).collect(),
            other => panic!("{other:?}"),
        };
        let entry = found.entry(metric.name.clone()).or_insert((metric.unit.clone(), BTreeSet::new()));
        for point in points {
            entry.1.extend(point.iter().map(|attribute| {
                format!(
                    "{}={}",
                    attribute.key,
                    text(std::slice::from_ref(attribute), &attribute.key).unwrap()
                )
            }));
        }
    }
    for (name, unit, attribute) in [
        ("hubward.outcomes", "", "hubward.outcome=Changed"),
        ("hubward.reconcile.duration", "s", "hubward.outcome=Changed"),
        ("hubward.grant.propagation", "s", "azure.role=Azure Event Hubs Data Sender"),
        ("hubward.queue.age", "s", "messaging.destination.name=hub-work"),
        ("hubward.arm.calls", "", "arm.call=PUT hub"),
        ("hubward.arm.calls", "", "http.response.status_code=200"),
        ("http.client.request.duration", "s", "http.request.method=PUT"),
        ("faas.invoke_duration", "s", "faas.name=Work"),
    ] {
        let (found_unit, attributes) =
            found.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", found.keys()));
        assert_eq!(found_unit, unit, "{name}");
        assert!(attributes.contains(attribute), "{name}: no {attribute} among {attributes:?}");
    }
}
