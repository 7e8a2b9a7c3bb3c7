//! `hubward demo requests`: operators' requests, end to end, in the local cloud, verified from the outside.
//!
//! Requests go through `hubward request`, a program of its own, and the Service Bus queue; hostile ones go
//! past it, straight to the function that reads the storage queue. Whether a story is true is looked up in
//! the simulated Azure.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Ending, GROUP, HUB, SUBSCRIPTION, stage::Stage};
use crate::cli::{local::CloudArgs, print};

/// Plays the story.
pub(super) async fn run(args: &CloudArgs, json: bool) -> anyhow::Result<Ending> {
    let stage = Stage::start(args, &profiles(), json).await?;
    let summary = stage.play_requests().await?;
    if json {
        print(&format!("{summary}\n"));
    } else {
        print(
            "\nAll of it is verified in the simulated Azure: the hub, its writes, the outcomes that are kept.\n",
        );
    }
    Ok(Ending::Fine)
}

/// One profile, which is for no hub by itself: only requests do anything.
fn profiles() -> String {
    format!(
        "version: 1
guardrails:
  subscriptions: [ {SUBSCRIPTION} ]
  targets: [ /subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data ]
  allowRemovals: true
profiles:
  - name: pilot
    match: {{ names: [ nobody ] }}
    identity: {{ system: on }}
    endpoints: [ {{ name: alerts, eventHub: {}, as: system }} ]
",
        target("rg-data")
    )
}

fn target(group: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts"
    )
}

fn request(kind: &str, id: &str, rest: Value) -> Value {
    let hub = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Devices/IotHubs/{HUB}"
    );
    let mut request = json!({"schema": "hubward/v1", "kind": kind, "id": id, "hub": hub,
        "requestedBy": "ada@contoso.example", "reason": "a demonstration"});
    for (name, value) in rest.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    request
}

impl Stage {
    async fn play_requests(&self) -> anyhow::Result<Value> {
        let cloud = &self.staged.cloud;
        ensure!(cloud.host.wait_ready().await, "the handler did not start");
        let hub = json!({"resourceGroup": GROUP, "name": HUB, "location": "westus2", "wait": true});
        self.sim("POST", "hubs", hub).await?;
        self.sim("POST", "reset-counters", json!({})).await?;

        let plan = self
            .request(&request("Onboard", "demo-plan", json!({"profile": "pilot", "dryRun": true})))
            .await?;
        ensure!(plan["outcome"] == "Planned" && self.hub_puts() == 0, "not only planned: {plan}");
        let lines: Vec<&str> =
            plan["plan"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.say(&format!(
            "A request with dryRun is answered with the plan, and changes nothing:\n  {}\n",
            lines.join("\n  ")
        ));

        let endpoint = json!({"endpoint": {"name": "alerts", "eventHub": target("rg-data"), "as": "system"}});
        let ensure_endpoint = request("EnsureEndpoint", "demo-endpoint", endpoint);
        let done = self.request(&ensure_endpoint).await?;
        let route = json!({"routes": [{"name": "all", "source": "DeviceMessages", "endpoint": "alerts"}]});
        let routed = self.request(&request("EnsureRoutes", "demo-route", route)).await?;
        ensure!(
            done["outcome"] == "Changed" && routed["outcome"] == "Changed",
            "not changed: {done} {routed}"
        );
        let sent = self.sim("POST", &format!("hubs/{HUB}/messages"), json!({})).await?;
        ensure!(sent["deliveries"][0]["delivered"] == true, "a device's message does not arrive: {sent}");
        let puts = self.hub_puts();
        self.say(&format!(
            "An endpoint and a route by request: {puts} hub PUTs in {} s of Azure's time, and a device's message arrives with the hub's own identity.\n",
            done["seconds"]
        ));

        for _ in 0..3 {
            let again = self.request(&ensure_endpoint).await?;
            ensure!(again["outcomeId"] == done["outcomeId"], "another outcome: {again}");
        }
        ensure!(self.hub_puts() == puts, "the same request was done twice");
        self.say("The same request three times more: the same outcome, and no write.\n");

        let refused = self.hostile().await?;
        ensure!(self.hub_puts() == puts, "a hostile request was done");
        self.say(&format!("{refused} hostile requests, sent past the command line: {refused} refused with a reason, no write.\n"));

        let removal = json!({"endpoint": "alerts", "withRoutes": true});
        let removed = self.request(&request("RemoveEndpoint", "demo-removal", removal)).await?;
        let state = cloud.azure.state();
        let routing = &state["hubs"][0]["properties"]["routing"];
        ensure!(
            removed["outcome"] == "Changed"
                && routing["endpoints"]["eventHubs"] == json!([])
                && self.hub_puts() == puts + 1,
            "not removed in one write: {removed} {routing}"
        );
        let offboard = request("Offboard", "demo-end", json!({"confirm": HUB, "turnIdentityOff": true}));
        let ended = self.request(&offboard).await?;
        let grants = cloud.azure.state()["roleAssignments"].as_array().map_or(0, Vec::len);
        ensure!(ended["outcome"] == "Changed" && grants == 0, "{grants} roles are left: {ended}");
        self.say("And back: endpoint and route in one write, then the identity and its role.\n");
        Ok(json!({
            "verified": true, "requests": 5, "sentAgain": 3, "hostile": refused, "refused": refused,
            "hubPuts": self.hub_puts(), "secondsToEndpoint": done["seconds"],
        }))
    }

    /// Sends a request as an operator does, and follows it; its outcome.
    async fn request(&self, request: &Value) -> anyhow::Result<Value> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, request.to_string())?;
        let path = file.path().to_string_lossy().into_owned();
        let told = self.hubward(&["request", "send", &path, "--watch", "--json", "--timeout", "300"]).await?;
        serde_json::from_str(&told).with_context(|| format!("not an outcome: {told}"))
    }

    /// Requests that mean harm, straight to the function; how many were refused.
    async fn hostile(&self) -> anyhow::Result<usize> {
        let endpoint = |target: &str, rest: Value| {
            let mut endpoint = json!({"name": "e", "eventHub": target, "as": "system"});
            for (name, value) in rest.as_object().into_iter().flatten() {
                endpoint[name] = value.clone();
            }
            request("EnsureEndpoint", "hostile", json!({"endpoint": endpoint})).to_string()
        };
        let good = target("rg-data");
        let texts = [
            endpoint(&target("rg-theirs"), json!({})),
            endpoint(&good, json!({"role": "Owner"})),
            endpoint(&good, json!({"as": "key"})),
            endpoint(&good.replace("rg-data", "rg-d\u{0430}ta"), json!({})),
            endpoint(&format!("{good}/../../../../rg-theirs"), json!({})),
            endpoint(&good, json!({})).replacen("\"kind\":", "\"kind\":\"Reconcile\",\"kind\":", 1),
            request("Offboard", "hostile", json!({"confirm": "another"})).to_string(),
            "not a request".to_owned(),
        ];
        for text in &texts {
            let before = self.refusals();
            let cloud = &self.staged.cloud;
            let url = format!("{}/admin/functions/Request", cloud.addresses.functions);
            let sent = crate::connect::http_client()?
                .post(url)
                .header("x-functions-key", &cloud.master_key)
                .json(&json!({"input": text}))
                .send()
                .await?;
            sent.error_for_status().context("the host does not start the function")?;
            self.until("a hostile request to be refused", |_| self.refusals() > before).await?;
        }
        Ok(texts.len())
    }

    /// Refusals that the functions have told.
    fn refusals(&self) -> usize {
        let lines = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().filter(|line| line.contains("a request is refused: ")).count()
    }

    fn hub_puts(&self) -> u64 {
        self.staged.cloud.azure.state()["counters"]["hubPutsAccepted"].as_u64().unwrap_or_default()
    }
}
