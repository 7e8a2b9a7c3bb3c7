//! The fleet's page and its document: what they say, what they never say, and where their links lead.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use hubward::{
    fleet::{FleetReport, HubRow, Standing, StandingKind, Stopped},
    outcomes::{Word, parked::Parked, store::OutcomeStore},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    functions::{Functions, store},
    support::world::hub_id,
};

/// What a browser is answered.
pub(crate) struct Answer {
    pub(crate) status: u64,
    headers: Value,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }
}

/// Somebody asks for a path with a query, as the host passes it on.
pub(crate) async fn get_with(
    functions: &Functions,
    function: &str,
    path_and_query: &str,
    headers: Value,
) -> Answer {
    let url = url::Url::parse(&format!("https://app1.azurewebsites.net/api/{path_and_query}")).unwrap();
    let query: serde_json::Map<String, Value> =
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    let hub = url.path().splitn(4, '/').nth(3).unwrap_or_default();
    let request = json!({"Url": url.as_str(), "Method": "GET", "Query": query, "Headers": headers,
        "Params": {"hub": hub}, "Identities": []});
    let (status, answer) =
        functions.post(function, json!({"Data": {"req": request}, "Metadata": {}}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let answer = &answer["Outputs"]["res"];
    let body = answer["body"].as_str().unwrap().to_owned();
    functions.cloud.assert_no_secret(&body, path_and_query);
    Answer { status: answer["statusCode"].as_u64().unwrap(), headers: answer["headers"].clone(), body }
}

pub(crate) async fn page(functions: &Functions, below: &str) -> Answer {
    get_with(functions, "Status", &format!("status{below}"), json!({})).await
}

pub(crate) async fn document(functions: &Functions, below: &str) -> Answer {
    get_with(functions, "Hubs", &format!("hubs{below}"), json!({})).await
}

/// What a reader sees: tags gone, references resolved.
pub(crate) fn text(html: &str) -> String {
    let (_, body) = html.split_once("<body>").unwrap();
    let mut text = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The targets of a page's links, references resolved.
fn links(html: &str) -> Vec<String> {
    let targets = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    targets.map(|target| target.replace("&amp;", "&")).collect()
}

pub(crate) fn row(name: &str, profile: Option<&str>, standing: Standing) -> HubRow {
    let profile = profile.map(str::to_owned);
    HubRow { hub: hub_id(name), location: "westus2".to_owned(), profile, standing, queued: false }
}

fn report(functions: &Functions, hubs: Vec<HubRow>) -> FleetReport {
    FleetReport {
        schema: "hubward/fleet/v1".to_owned(),
        run: Uuid::from_u128(7),
        at: now(functions) - Duration::minutes(4),
        seconds: 1.5,
        calls: 9,
        hubs,
        unread: Default::default(),
        stopped: None,
    }
}

fn now(functions: &Functions) -> OffsetDateTime {
    functions.cloud.arm.reader().client().clock().now()
}

async fn told(functions: &Functions, report: &FleetReport) {
    store(&functions.cloud).tell_of_fleet(report).await.unwrap();
}

/// One hub for each way to stand.
pub(crate) fn one_of_each(now: OffsetDateTime) -> Vec<HubRow> {
    let cause = |text: &str| vec![text.to_owned()];
    let mut rows = vec![
        row("plant-1", Some("standard"), Standing::InSync),
        row("plant-2", Some("standard"), Standing::Differs { changes: 3 }),
        row("plant-3", Some("standard"), Standing::Waiting { since: now - Duration::minutes(2) }),
        row("plant-4", Some("archive"), Standing::Blocked { causes: cause("the target does not exist") }),
        row("plant-5", None, Standing::NoProfile),
        row("plant-6", Some("archive"), Standing::Refused { causes: cause("{tag:line} is not set") }),
    ];
    rows[1].queued = true;
    rows
}

pub(crate) fn parked(hub: Option<&str>, cause: &str, at: OffsetDateTime) -> Parked {
    Parked {
        schema: "hubward/parked/v1".to_owned(),
        outcome_id: Uuid::from_u128(0x00c0_ffee << 96),
        outcome: Word::Refused,
        causes: vec![cause.to_owned()],
        from: "hub-requests".to_owned(),
        parked_at: at - Duration::hours(5),
        hub: hub.map(str::to_owned),
        request: Some(json!({"id": "r-1", "note": "not for the page"})),
        text: Some("what came in is not for the page either".to_owned()),
        blob: None,
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_resync_the_page_says_so() {
    let functions = Functions::of(false, hubward::desired::sample());
    let page = page(&functions, "").await;
    assert_eq!(page.status, 200);
    let text = text(&page.body);
    assert!(text.contains("No resync has run yet"), "{text}");
    assert!(text.contains("Nothing is parked") && !page.body.contains("<table"), "{text}");
    let document = document(&functions, "").await.json();
    assert_eq!((&document["resync"], &document["summary"]["hubs"]), (&Value::Null, &json!(0)));
    assert_eq!(document["notRead"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn each_hub_is_shown_as_the_last_resync_found_it() {
    let functions = Functions::of(false, hubward::desired::sample());
    let mut fleet = report(&functions, one_of_each(now(&functions)));
    fleet.stopped = Some(Stopped { wanted: 12, allowed: 5 });
    fleet.unread.insert("11111111-1111-4111-8111-111111111111".into(), "no right to read".into());
    told(&functions, &fleet).await;
    *functions.parked.0.lock().unwrap() =
        Some(vec![parked(Some(hub_id("plant-4").as_str()), "unknown field", now(&functions))]);
    let calls = functions.cloud.count("armCalls");
    let shown = page(&functions, "").await;
    let words = text(&shown.body);
    for part in [
        "2026-01-31T11:56:00Z (4 minutes ago)",
        "in sync",
        "3 changes",
        "put on the queue",
        "for grants to spread, since 2026-01-31T11:58:00Z (2 minutes ago)",
        "the target does not exist",
        "no profile",
        "{tag:line} is not set",
        "12 hubs would have to be changed",
        "11111111-1111-4111-8111-111111111111: no right to read",
        "Hubs 1 to 6 of 6",
        "unknown field",
        "(5 hours ago)",
    ] {
        assert!(words.contains(part), "{part} is missing in {words}");
    }
    assert!(!shown.body.contains("not for the page"), "what came in is not shown");

    // The document says the same, in the same order.
    let document = document(&functions, "").await;
    assert_eq!(document.header("Content-Type"), "application/json; charset=utf-8");
    assert!(!document.body.contains("not for the page"));
    let document = document.json();
    assert_eq!(document["schema"], "hubward/status/v1");
    assert_eq!(document["summary"]["hubs"], 6);
    for kind in StandingKind::ALL {
        assert_eq!(document["summary"]["standing"][kind.word()], 1, "{document:#}");
    }
    let mut at = 0;
    for row in document["hubs"].as_array().unwrap() {
        let name = row["hub"].as_str().unwrap().rsplit('/').next().unwrap();
        at += shown.body[at..].find(&format!(">{name}</a>")).unwrap_or_else(|| panic!("{name}"));
    }
    assert_eq!(document["profiles"][1], json!({"profile": "standard", "hubs": 3, "inSync": 1}));
    assert_eq!(functions.cloud.count("armCalls"), calls, "Azure is not asked");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_hubs_are_turned_over_by_links_alone_and_none_is_missing() {
    let functions = Functions::of(false, hubward::desired::sample());
    let standing = |at: usize| match at % 4 {
        0 => Standing::Blocked { causes: vec![format!("queue q{at} does not exist")] },
        _ => Standing::InSync,
    };
    let hubs = (0..10_000).map(|at| row(&format!("plant{at:05}"), Some("standard"), standing(at))).collect();
    told(&functions, &report(&functions, hubs)).await;

    let mut seen = BTreeSet::new();
    let (mut next, mut pages) = (Some("?standing=blocked&profile=standard&q=PLANT".to_owned()), 0);
    while let Some(query) = next {
        let shown = page(&functions, &query).await;
        pages += 1;
        assert!(shown.body.len() < 400_000, "{} bytes", shown.body.len());
        let hubs = shown.body.split("/rg-plant-01/").skip(1).map(|rest| rest.split('"').next().unwrap());
        seen.extend(hubs.map(str::to_owned));
        let forward = shown.body.split("<a ").find(|link| link.contains("rel=\"next\""));
        next = forward.map(|link| links(link).remove(0).replace("/api/status", ""));
    }
    assert_eq!((pages, seen.len()), (13, 2_500));
    let found = document(&functions, "?q=Q9996").await.json();
    assert_eq!((&found["matching"], &found["summary"]["hubs"]), (&json!(1), &json!(10_000)));
    let nothing = page(&functions, "?q=nowhere").await;
    assert!(text(&nothing.body).contains("No hubs that were asked for"), "{}", nothing.body);
}

#[tokio::test(start_paused = true)]
async fn hostile_names_are_shown_and_never_run() {
    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>";
    let functions = Functions::of(false, hubward::desired::sample());
    let causes = || vec![HOSTILE.to_owned()];
    let mut hubs = vec![
        row("hub1", Some(HOSTILE), Standing::Blocked { causes: causes() }),
        row("hub2", Some(HOSTILE), Standing::Refused { causes: causes() }),
    ];
    hubs[0].location = HOSTILE.to_owned();
    let mut fleet = report(&functions, hubs);
    fleet.unread.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
    told(&functions, &fleet).await;
    let mut bad = parked(Some(HOSTILE), HOSTILE, now(&functions));
    bad.from = HOSTILE.to_owned();
    *functions.parked.0.lock().unwrap() = Some(vec![bad]);
    let hostile: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for query in [
        String::new(),
        format!("?q={hostile}"),
        format!("?profile={hostile}"),
        format!("?standing={hostile}"),
        format!("?page={hostile}"),
        format!("?code={hostile}"),
        "/a/b/%3Cscript%3E".to_owned(),
    ] {
        let shown = page(&functions, &query).await;
        assert!(!shown.body.contains("<script") && !shown.body.contains("<img"), "{query}: {}", shown.body);
    }
    let shown = page(&functions, "").await;
    assert!(text(&shown.body).contains(HOSTILE), "it is shown as it is");
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_told_to_run_nothing_to_keep_nothing_and_to_tell_nobody() {
    let functions = Functions::of(false, hubward::desired::sample());
    for shown in [page(&functions, "").await, page(&functions, "?page=0").await] {
        let (_, style) = shown.body.split_once("<style>").unwrap();
        let (style, rest) = style.split_once("</style>").unwrap();
        let digest = STANDARD.encode(Sha256::digest(style.as_bytes()));
        let policy = shown.header("Content-Security-Policy");
        assert!(policy.starts_with(&format!("default-src 'none'; style-src 'sha256-{digest}';")), "{policy}");
        assert!(!rest.contains("style=") && !shown.body.contains("<script"));
        assert_eq!(shown.header("Content-Type"), "text/html; charset=utf-8");
        assert_eq!(shown.header("Cache-Control"), "no-store");
        assert_eq!(shown.header("X-Content-Type-Options"), "nosniff");
        assert_eq!(shown.header("Referrer-Policy"), "no-referrer");
    }
    assert_eq!(document(&functions, "").await.header("Cache-Control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_key_in_the_address_is_carried_on_by_links_and_one_in_a_header_is_shown_nowhere() {
    const KEY: &str = "k+/ey==";
    let functions = Functions::of(false, hubward::desired::sample());
    told(&functions, &report(&functions, one_of_each(now(&functions)))).await;
    let by_address =
        get_with(&functions, "Status", "status?code=k%2B%2Fey%3D%3D&standing=inSync", json!({})).await;
    for link in links(&by_address.body).iter().filter(|link| !link.starts_with('#')) {
        let url = url::Url::parse(&format!("https://app1.azurewebsites.net{link}")).unwrap();
        assert!(url.query_pairs().any(|(name, value)| name == "code" && value == KEY), "{link}");
    }
    assert!(by_address.body.contains(&format!("type=\"hidden\" name=\"code\" value=\"{KEY}\"")));

    let header = json!({"x-functions-key": [KEY]});
    for query in ["status", "status?code=another"] {
        let by_header = get_with(&functions, "Status", query, header.clone()).await;
        assert!(!by_header.body.contains("code=") && !by_header.body.contains(KEY), "{}", by_header.body);
        assert!(!by_header.body.contains("name=\"code\""));
    }
    let document = get_with(&functions, "Hubs", "hubs?code=k%2B%2Fey%3D%3D", json!({})).await;
    assert!(!document.body.contains(KEY) && !document.body.contains("k%2B"), "{}", document.body);
}

#[tokio::test(start_paused = true)]
async fn a_question_with_a_mistake_is_answered_with_what_would_be_right() {
    let functions = Functions::of(false, hubward::desired::sample());
    told(&functions, &report(&functions, one_of_each(now(&functions)))).await;
    let own = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
    for (below, status, part) in [
        ("?page=0".to_owned(), 400, "number from 1"),
        ("?page=-1".to_owned(), 400, "number from 1"),
        ("?page=two".to_owned(), 400, "number from 1"),
        ("?page=99999999999999999999999".to_owned(), 400, "number from 1"),
        ("?page=2".to_owned(), 404, "there is no page 2"),
        ("?standing=fine".to_owned(), 400, "inSync, differs"),
        (format!("?q={}", "x".repeat(201)), 400, "longer than 200"),
        ("/hub1".to_owned(), 404, "subscription/resource group/hub"),
        (format!("/{own}/rg-plant-01/hub1/more"), 404, "subscription/resource group/hub"),
        ("/me/rg-plant-01/hub1".to_owned(), 400, "no hub"),
        (format!("/{own}/rg%20plant/hub1"), 400, "no hub"),
        (format!("/{own}/rg-plant-01/nowhere"), 404, "there is no such hub"),
        ("/11111111-1111-4111-8111-111111111111/rg/hub1".to_owned(), 404, "guardrails.subscriptions"),
    ] {
        let shown = page(&functions, &below).await;
        assert_eq!(shown.status, status, "{below}");
        assert!(text(&shown.body).contains(part), "{below}: {}", text(&shown.body));
        let problem = document(&functions, &below).await;
        assert_eq!((problem.status, problem.header("Content-Type")), (status, "application/problem+json"));
        let problem = problem.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(part), "{below}: {problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_said_and_the_rest_is_shown() {
    let mut functions = Functions::of(false, hubward::desired::sample());
    told(&functions, &report(&functions, one_of_each(now(&functions)))).await;
    *functions.parked.0.lock().unwrap() = None;
    functions.rewrite("version: 2");
    let shown = page(&functions, "").await;
    let words = text(&shown.body);
    assert_eq!(shown.status, 200);
    assert!(words.contains("failed requests: ") && words.contains("the account is away"), "{words}");
    assert!(words.contains("the profiles: "), "{words}");
    assert!(words.contains("plant-1") && words.contains("Not known: it could not be read."), "{words}");
    let document = document(&functions, "").await.json();
    let what: Vec<&Value> =
        document["notRead"].as_array().unwrap().iter().map(|not_read| &not_read["what"]).collect();
    assert_eq!(what, ["failed", "profiles"]);
    assert_eq!(document["matching"], 6);
    // Without the guardrails nobody knows which hubs may be looked at.
    let hub = page(&functions, "/0b1f6471-1bf0-4dda-aec3-cb9272f09590/rg-plant-01/plant-1").await;
    assert_eq!(hub.status, 503);
}
