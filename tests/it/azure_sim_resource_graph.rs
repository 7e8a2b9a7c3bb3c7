//! Resource Graph of the simulated Azure: what queries mean, what they are answered with, and when.

use hubward::local::azure::{
    CallerPermission, Fault, FaultKind, ResourceGraphSettings, Settings, Subscription, World,
};
use serde_json::{Value, json};

use crate::azure_sim_support::{Answer, OPERATOR, SUB, Sim, bearer, call_as, hub_path, pass};

const GRAPH: &str = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01";
const HUBS: &str = "resources | where type =~ 'Microsoft.Devices/IotHubs'";
const OTHER: &str = "11111111-1111-4111-8111-111111111111";

/// Asks about the world's first subscription.
async fn ask(sim: &Sim, query: &str, options: Value) -> Answer {
    ask_about(sim, &[&SUB["/subscriptions/".len()..]], query, options).await
}

async fn ask_about(sim: &Sim, subscriptions: &[&str], query: &str, options: Value) -> Answer {
    let body = json!({"subscriptions": subscriptions, "query": query, "options": options});
    sim.call("POST", GRAPH, &[], body).await
}

/// The rows of a query that has to be good.
async fn rows(sim: &Sim, query: &str) -> Value {
    let answer = ask(sim, query, json!({"resultFormat": "objectArray"})).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.body["data"].clone()
}

/// Three hubs in a world with a namespace beside them.
async fn three_hubs() -> Sim {
    let sim = Sim::new(Settings::immediate());
    let identity = json!({"type": "SystemAssigned"});
    sim.hub("h1", json!({"tags": {"env": "prod", "rank": "2"}, "identity": identity})).await;
    sim.hub("H2", json!({"tags": {"env": "test", "rank": "1"}})).await;
    sim.hub("h3", json!({})).await;
    sim
}

#[tokio::test(start_paused = true)]
async fn queries_mean_what_they_mean_in_kusto() {
    let sim = three_hubs().await;
    let of_hubs = |rest: &str| format!("{HUBS} | {rest}");
    let names = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Value>();
    for (query, data) in [
        // Texts are ordered by their letters' codes; descending unless it is said.
        (of_hubs("project name | order by name asc"), names(&["H2", "h1", "h3"])),
        (of_hubs("project name | sort by name"), names(&["h3", "h1", "H2"])),
        // What is null is the least, unless it is said.
        (of_hubs("order by tolong(tags.rank) asc | project name"), names(&["h3", "H2", "h1"])),
        (of_hubs("order by tolong(tags.rank) desc | project name"), names(&["h1", "H2", "h3"])),
        (of_hubs("order by tolong(tags.rank) desc nulls first | project name"), names(&["h3", "h1", "H2"])),
        // Types are in lower case, and `==` minds it.
        ("resources | where type == 'Microsoft.Devices/IotHubs' | count".into(), json!([{"Count": 0}])),
        ("where type == \"microsoft.devices/iothubs\" | count".into(), json!([{"Count": 3}])),
        (of_hubs("where name == 'h2' | count"), json!([{"Count": 0}])),
        (of_hubs("where name in ('H2', 'h3') and name !in~ ('H3') | project name"), names(&["H2"])),
        (
            "Resources | where type has 'iothubs' and tags['env'] in~ ('PROD', 'x') | project name, env = tags.env"
                .into(),
            json!([{"name": "h1", "env": "prod"}]),
        ),
        (of_hubs("where not(tags.env contains 'RO') and id !endswith '/H2' | project name"), names(&["h3"])),
        (of_hubs("where tags.env != 'prod' or isempty(tags.env) | count"), json!([{"Count": 2}])),
        (
            of_hubs(
                "summarize names = make_list(name), count() by env = tostring(tags.env) | order by env desc",
            ),
            json!([
                {"env": "test", "names": ["H2"], "count_": 1},
                {"env": "prod", "names": ["h1"], "count_": 1},
                {"env": "", "names": ["h3"], "count_": 1},
            ]),
        ),
        // What is null is in no list.
        (of_hubs("summarize make_list(tags.env)"), json!([{"list_tags_env": ["prod", "test"]}])),
        (of_hubs("top 1 by name | project strcat(name, ':', sku.name)"), json!([{"Column1": "h3:S1"}])),
        (
            "resources | summarize dcount(type), countif(location == 'westus2'), make_set(resourceGroup)".into(),
            json!([{"dcount_type": 2, "countif_": 4, "set_resourceGroup": ["rg-plant-01", "rg-data"]}]),
        ),
        (
            of_hubs("extend size = array_length(properties.routing.routes) | where size < 1 | limit 2 | count"),
            json!([{"Count": 2}]),
        ),
        (
            of_hubs("take 1 | project bag_pack('n', tolower(name), 'none', plan), properties.state"),
            json!([{"Column1": {"n": "h1", "none": null}, "properties_state": "Active"}]),
        ),
        (
            of_hubs("where name =~ 'h2' | extend id = tolower(id) | project-away t*, p*, s*, l*, r*, m*, z*, e*, k*, i*"),
            names(&["H2"]),
        ),
        (of_hubs("where todatetime('2026-03-01') < ago(11h) and ago(13h) < now() | distinct location"), json!([{"location": "westus2"}])),
    ] {
        assert_eq!(rows(&sim, &query).await, data, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn hubs_are_shown_as_a_get_shows_them_but_for_their_case_and_etag() {
    let sim = Sim::new(Settings::immediate());
    let key = json!({"name": "k", "connectionString":
        "Endpoint=sb://elsewhere.servicebus.windows.net/;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0LXNlY3JldA==;EntityPath=e"});
    for at in 0..4 {
        let endpoints = json!({"eventHubs": [key]});
        let more =
            json!({"tags": {"a": "B"}, "identity": {"type": "SystemAssigned"}, "endpoints": endpoints});
        sim.hub(&format!("Hub{at}"), more).await;
    }
    let answer = ask(&sim, &format!("{HUBS} | order by name asc"), json!({})).await;
    let mut spellings = std::collections::BTreeSet::new();
    for (at, row) in answer.body["data"].as_array().unwrap().iter().enumerate() {
        let path = hub_path(&format!("Hub{at}"));
        let shown = sim.get(&path).await.body;
        for name in ["name", "location", "tags", "identity", "sku", "properties"] {
            assert_eq!(row[name], shown[name], "{name}");
        }
        assert_eq!(row["type"], "microsoft.devices/iothubs");
        assert_eq!((&row["resourceGroup"], row.get("etag")), (&json!("rg-plant-01"), None));
        let id = row["id"].as_str().unwrap();
        assert!(id.eq_ignore_ascii_case(&path), "{id}");
        spellings.insert(id.replace(&format!("Hub{at}"), "*"));
    }
    assert!(spellings.len() > 1, "ids come in more than one spelling: {spellings:?}");
    let text = answer.body.to_string();
    assert!(text.contains("SharedAccessKey=****"), "{text}");
    assert!(sim.azure.secrets().iter().all(|secret| !text.contains(secret.as_str())));
}

#[tokio::test(start_paused = true)]
async fn grants_are_in_a_table_of_their_own() {
    let sim = three_hubs().await;
    let principal =
        sim.get(&hub_path("h1")).await.body["identity"]["principalId"].as_str().unwrap().to_owned();
    assert_eq!(sim.grant(&principal).await.status, 201);
    let found = rows(
        &sim,
        "AuthorizationResources | where type =~ 'Microsoft.Authorization/roleAssignments' \
         | where properties.principalType == 'ServicePrincipal' and todatetime(properties.createdOn) > ago(1m) \
         | project who = properties.principalId, on = tolower(properties.scope), is = properties.condition, name",
    )
    .await;
    let scope = format!("{SUB}{}", crate::azure_sim_support::EVENT_HUB).to_lowercase();
    let name = crate::azure_sim_support::GRANT;
    assert_eq!(found, json!([{"who": principal, "on": scope, "is": null, "name": name}]));
    assert_eq!(
        rows(&sim, "resources | where type contains 'roleassign' | count").await,
        json!([{"Count": 0}])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_refused_by_token_and_place() {
    let sim = Sim::new(Settings::immediate());
    for (query, code, token, line, column) in [
        ("resources | where naem == 'x'", "UnknownColumn", "naem", 1, 18),
        ("resources | join (x) on y", "InvalidQueryLanguage", "join", 1, 12),
        ("resources | where type ==", "ParserFailure", "<EOF>", 1, 25),
        ("resources | where type =~ 'a", "ParserFailure", "'a", 1, 26),
        ("resources\n| where (type =~ 'a'", "ParserFailure", "<EOF>", 2, 20),
        ("resources | where name == 5", "InvalidArgument", "==", 1, 23),
        ("resources | where tolower(name)", "InvalidArgument", "tolower", 1, 18),
        ("resources | extend x = indexof(id, 'a')", "UnknownFunction", "indexof", 1, 23),
        ("resources | extend x = tolower(id, 'a')", "InvalidArgument", "tolower", 1, 23),
        ("resources | project name, name", "InvalidArgument", "name", 1, 26),
        ("resources | project id.name", "InvalidArgument", "name", 1, 23),
        ("resources | summarize count() by tags", "InvalidArgument", "tags", 1, 33),
        ("resources | order by sku.name", "InvalidArgument", "name", 1, 25),
        ("resources | take 5 5", "ParserFailure", "5", 1, 19),
        ("resourcechanges | count", "UnknownTable", "resourcechanges", 1, 0),
    ] {
        let answer = ask(&sim, query, json!({})).await;
        let error = &answer.body["error"];
        assert_eq!((answer.status, &error["code"]), (400, &json!("BadRequest")), "{query}");
        assert!(error["message"].as_str().unwrap().contains("correlationId = "), "{error}");
        assert_eq!(error["details"][0]["code"], "InvalidQuery", "{query}");
        let place = &error["details"][1];
        assert_eq!((&place["code"], &place["token"]), (&json!(code), &json!(token)), "{query}");
        let at = (place["line"].as_u64(), place["characterPositionInLine"].as_u64());
        assert_eq!(at, (Some(line), Some(column)), "{query}");
    }
    // Neither nesting nor columns made of columns made of columns are its end.
    let deep = format!("resources | where {}true{}", "(".repeat(500), ")".repeat(500));
    let wide = format!("resources{}", " | extend name = strcat(name, name)".repeat(60));
    let long = format!("resources | project p = properties{}", ".a".repeat(500));
    let far = format!("resources{}", " | extend name = tolower(name)".repeat(240));
    for query in [deep, wide, long, far, " ".to_owned()] {
        assert_eq!(ask(&sim, &query, json!({})).await.status, 400);
    }
    let chain = format!("resources | where {} | count", ["name == 'ns1'"; 400].join(" or "));
    assert_eq!(rows(&sim, &chain).await, json!([{"Count": 1}]), "a long chain is not a deep one");
    let old = "/providers/Microsoft.ResourceGraph/resources?api-version=2018-01-01";
    assert_eq!(sim.call("POST", old, &[], json!({"query": HUBS})).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn pages_lead_to_all_rows_if_there_is_an_id_and_say_so_if_not() {
    let sim = Sim::new(Settings::immediate());
    sim.hub("h1", json!({})).await;
    let copies = json!({"count": 249, "prefix": "plant"});
    assert_eq!(sim.call("POST", "/_sim/hubs/h1/copies", &[], copies).await.status, 201);

    let query = format!("{HUBS} | project id, name | order by id asc");
    let (mut token, mut seen, mut sizes) = (Value::Null, Vec::new(), Vec::new());
    loop {
        let options = if token.is_null() { json!({}) } else { json!({"$skipToken": token}) };
        let page = ask(&sim, &query, options).await.body;
        assert_eq!((&page["totalRecords"], &page["resultTruncated"]), (&json!(250), &json!("false")));
        let data = page["data"].as_array().unwrap();
        assert_eq!(page["count"], data.len());
        sizes.push(data.len());
        seen.extend(data.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        token = page["$skipToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 250, "every hub once");

    let first = ask(&sim, &query, json!({"$top": 10, "$skip": 5})).await.body;
    assert_eq!(first["count"], 10);
    let stolen = json!({"$skipToken": first["$skipToken"]});
    assert_eq!(ask(&sim, HUBS, stolen).await.status, 400, "a token is good for its own query");
    for top in [json!(0), json!(1001), json!("ten")] {
        assert_eq!(ask(&sim, &query, json!({"$top": top})).await.status, 400);
    }
    assert_eq!(ask(&sim, &query, json!({"$top": 1000})).await.body["count"], 250);

    // Without an id there is no way to the rest, nor if the query says how many it wants.
    for (rest, total) in [("project name", 250), ("take 150", 150)] {
        let cut = ask(&sim, &format!("{HUBS} | {rest}"), json!({})).await.body;
        assert_eq!((&cut["count"], &cut["totalRecords"]), (&json!(100), &json!(total)), "{rest}");
        assert_eq!((&cut["resultTruncated"], cut.get("$skipToken")), (&json!("true"), None), "{rest}");
    }
    let table =
        ask(&sim, &format!("{query} | where name == 'h1'"), json!({"resultFormat": "table"})).await.body;
    let columns = json!([{"name": "id", "type": "string"}, {"name": "name", "type": "string"}]);
    assert_eq!((&table["data"]["columns"], &table["data"]["rows"][0][1]), (&columns, &json!("h1")));

    sim.azure.inject(Fault::new(FaultKind::TruncateResult));
    let cut = ask(&sim, &query, json!({})).await.body;
    assert_eq!((&cut["resultTruncated"], cut.get("$skipToken")), (&json!("true"), None));
    assert_eq!(ask(&sim, &query, json!({})).await.body["resultTruncated"], "false", "once");
}

/// The sample world with another subscription and a hub in each.
fn two_subscriptions() -> World {
    let mut world = World::sample();
    world.subscriptions.push(Subscription {
        id: OTHER.into(),
        name: "Other".into(),
        resource_groups: vec![],
    });
    let far = format!("/subscriptions/{OTHER}/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/far");
    world.iot_hubs = vec![json!({"id": hub_path("near")}), json!({"id": far})];
    world
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_left_out_without_a_word() {
    let mut world = two_subscriptions();
    let group = format!("{SUB}/resourceGroups/rg-plant-01");
    world.callers[0].permissions =
        Some(vec![CallerPermission { scope: group, actions: vec!["*/read".into()], ..Default::default() }]);
    let sim = Sim::of(Settings::immediate(), world.clone(), 1.0);
    let own = &SUB["/subscriptions/".len()..];
    let upper = own.to_uppercase();
    let query = "resources | project name";
    for about in [vec![&upper[..], OTHER, "22222222-2222-4222-8222-222222222222"], vec![own]] {
        let answer = ask_about(&sim, &about, query, json!({})).await;
        assert_eq!(answer.body["data"], json!([{"name": "near"}]), "the namespace is in another group");
    }
    let refused = ask_about(&sim, &[OTHER], query, json!({})).await;
    assert_eq!((refused.status, &refused.body["error"]["details"][0]["code"]), (403, &json!("AccessDenied")));

    // Without subscriptions it is about all that there are; too many are cut, and a header says so.
    world.callers[0].permissions = None;
    let settings = Settings {
        resource_graph: ResourceGraphSettings { subscriptions: 1, ..Default::default() },
        ..Settings::immediate()
    };
    for (settings, hubs, cut) in [(Settings::immediate(), 2, None), (settings, 1, Some("true"))] {
        let sim = Sim::of(settings, world.clone(), 1.0);
        let answer = sim.call("POST", GRAPH, &[], json!({"query": format!("{HUBS} | count")})).await;
        assert_eq!(answer.body["data"], json!([{"Count": hubs}]));
        assert_eq!(answer.headers.get("x-ms-tenant-subscription-limit-hit").map(String::as_str), cut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_so_many_queries_in_a_window() {
    let sim = Sim::new(Settings::default());
    for left in (0..15).rev() {
        let answer = ask(&sim, HUBS, json!({})).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-ms-user-quota-remaining"], left.to_string());
        assert_eq!(answer.headers["x-ms-user-quota-resets-after"], "00:00:05");
        assert!(answer.headers.contains_key("x-ms-ratelimit-remaining-tenant-resource-requests"));
        assert!(answer.headers.contains_key("x-ms-resource-graph-request-duration"));
    }
    pass(2).await;
    let over = ask(&sim, HUBS, json!({})).await;
    assert_eq!((over.status, &over.body["error"]["code"]), (429, &json!("RateLimiting")));
    assert_eq!(over.headers["x-ms-user-quota-remaining"], "0");
    assert_eq!(
        (&over.headers["retry-after"][..], &over.headers["x-ms-user-quota-resets-after"][..]),
        ("3", "00:00:03")
    );
    // Another caller has queries of their own.
    let operator = bearer(&sim.azure, "https://management.azure.com", OPERATOR).await;
    let (status, _) = call_as(&sim.azure, &operator, "POST", GRAPH, json!({"query": HUBS})).await;
    assert_eq!(status, 200);
    pass(3).await;
    assert_eq!(ask(&sim, HUBS, json!({})).await.headers["x-ms-user-quota-remaining"], "14");

    let sim = Sim::new(Settings::immediate());
    for _ in 0..20 {
        let answer = ask(&sim, HUBS, json!({})).await;
        assert_eq!(
            (answer.status, &answer.headers["x-ms-user-quota-remaining"][..]),
            (200, "15"),
            "not counted"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn it_may_be_behind_what_there_is() {
    let resource_graph = ResourceGraphSettings {
        resources_lag_seconds: 60.0,
        authorization_lag_seconds: 20.0,
        ..Default::default()
    };
    let sim = Sim::new(Settings { resource_graph, ..Settings::immediate() });
    let tags = format!("{HUBS} | project tags");
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    sim.grant(hub["identity"]["principalId"].as_str().unwrap()).await;
    let grants = "authorizationresources | count";
    assert_eq!((rows(&sim, &tags).await, rows(&sim, grants).await), (json!([]), json!([{"Count": 0}])));
    pass(30).await;
    assert_eq!((rows(&sim, &tags).await, rows(&sim, grants).await), (json!([]), json!([{"Count": 1}])));
    pass(31).await;
    assert_eq!(rows(&sim, &tags).await, json!([{"tags": {}}]));

    let change = json!({"tags": {"a": "b"}, "wait": true});
    assert_eq!(sim.call("PATCH", "/_sim/hubs/h1", &[], change).await.status, 200);
    assert_eq!(sim.get(&hub_path("h1")).await.body["tags"], json!({"a": "b"}));
    assert_eq!(rows(&sim, &tags).await, json!([{"tags": {}}]));
    pass(61).await;
    assert_eq!(rows(&sim, &tags).await, json!([{"tags": {"a": "b"}}]));

    sim.call("DELETE", "/_sim/hubs/h1?wait=true", &[], Value::Null).await;
    assert_eq!(sim.get(&hub_path("h1")).await.status, 404);
    assert_eq!(rows(&sim, &tags).await, json!([{"tags": {"a": "b"}}]), "gone, and still shown");
    pass(61).await;
    assert_eq!(rows(&sim, &tags).await, json!([]));
}
