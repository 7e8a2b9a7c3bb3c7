//! The pages in a real browser, over real HTTP, behind the stand-in host and its keys. Where there is no
//! browser, this says that it did not run.
//!
//! `HUBWARD_CHROMIUM` names the browser, else Chromium or Chrome on `PATH` is taken. With `HUBWARD_AXE`, the path
//! of an `axe.min.js`, the pages are checked for accessibility too. Screenshots are left in the target folder.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use hubward::{
    config::{Environment, ProcessEnvironment},
    fleet::{FleetReport, HubRow, Standing},
    local::{
        functions_host::{FunctionsHost, HostKeys, HostOptions, Worker},
        servicebus::ServiceBus,
        storage_queue::StorageQueues,
    },
    outcomes::store::OutcomeStore,
    package,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    functions::{Functions, item, store},
    resync::{onboarded, resync, work_off},
    status::{one_of_each, parked, row},
    support::{portal::Portal, world::hub_id},
};

const KEY: &str = "function-key-of-this-test";
const LIGHT: &str = "--blink-settings=preferredColorScheme=1";
const DARK: &str = "--blink-settings=preferredColorScheme=0";
const WIDE: &str = "--window-size=1280,900";
const NARROW: &str = "--window-size=360,900";

/// What a page is asked, in a copy that may run a script.
const MEASURE: &str = "
  const root = document.documentElement, found = {
    scheme: matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light',
    background: getComputedStyle(document.body).backgroundColor,
    width: innerWidth, needed: root.scrollWidth,
    outside: [...document.querySelectorAll('main *')].filter(one => {
      const box = one.getBoundingClientRect();
      return box.width > 0 && box.right > innerWidth + 1;
    }).map(one => one.outerHTML.slice(0, 120)),
    violations: [],
  };
  const tell = () => {
    parent.document.documentElement.setAttribute('data-found', encodeURIComponent(JSON.stringify(found)));
  };
  tell();
  if (window.axe) axe.run(document, { resultTypes: ['violations'] }).then(result => {
    found.violations = result.violations.map(one => one.id + ': ' + one.nodes.map(node => node.html).join(' '));
    found.passes = result.passes.length;
    tell();
  });
";

struct Browser {
    program: String,
    folder: TempDir,
}

impl Browser {
    /// The browser, if there is one.
    async fn find() -> Option<Self> {
        let named = ProcessEnvironment.get("HUBWARD_CHROMIUM");
        let usual = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
        for program in named.into_iter().chain(usual) {
            let answer = Command::new(&program).arg("--version").output().await;
            if answer.is_ok_and(|answer| answer.status.success()) {
                return Some(Self { program, folder: tempfile::tempdir().unwrap() });
            }
        }
        // Not `eprintln`, which nobody sees while tests pass.
        let text = "the test in a browser did NOT run: there is no Chromium on PATH or in HUBWARD_CHROMIUM\n";
        let _ = std::io::stderr().write_all(text.as_bytes());
        None
    }

    async fn run(&self, url: &str, flags: &[&str]) -> String {
        let profile = format!("--user-data-dir={}", self.folder.path().join("profile").display());
        let output = Command::new(&self.program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--virtual-time-budget=20000", &profile])
            .args(flags)
            .arg(url)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The page as the browser has it. (Scripts cannot be turned off in it: it is itself asked by one.)
    async fn dump(&self, url: &str) -> String {
        self.run(url, &[WIDE, "--dump-dom"]).await
    }

    /// What a copy of a page says of itself, in a frame of this width: a window cannot be as narrow as a phone.
    /// The page itself lets no script run.
    async fn measure(&self, page: &str, scheme: &str, width: u64) -> Value {
        let axe = ProcessEnvironment.get("HUBWARD_AXE").map(|path| fs::read_to_string(path).unwrap());
        let script = format!("<script>{}</script><script>{MEASURE}</script>", axe.unwrap_or_default());
        let copy = page.replace("</body>", &format!("{script}</body>"));
        let copy = copy.replace('&', "&amp;").replace('"', "&quot;");
        let frame = format!(
            "<!DOCTYPE html><html><meta charset=utf-8><meta name=color-scheme content=\"light dark\">\
             <iframe width={width} height=900 style=\"border:0\" srcdoc=\"{copy}\"></iframe></html>"
        );
        let file = self.folder.path().join("frame.html");
        fs::write(&file, frame).unwrap();
        let dom = self.run(&format!("file://{}", file.display()), &[scheme, WIDE, "--dump-dom"]).await;
        let (_, found) = dom.split_once("data-found=\"").expect("the script has run");
        let found = found.split('"').next().unwrap();
        let pair = format!("x={found}");
        let (_, found) = url::form_urlencoded::parse(pair.as_bytes()).next().unwrap();
        serde_json::from_str(&found).unwrap()
    }

    async fn screenshot(&self, url: &str, flags: &[&str], name: &str) -> PathBuf {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("status-{name}.png"));
        let shot = format!("--screenshot={}", file.display());
        let flags: Vec<&str> = flags.iter().copied().chain([shot.as_str()]).collect();
        self.run(url, &flags).await;
        file
    }
}

/// The stand-in host in front of the functions, on a port of its own; the folder has what is deployed of the
/// two functions.
struct Site {
    address: String,
    _host: FunctionsHost,
    _folder: TempDir,
}

async fn site(functions: &Functions) -> Site {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in package::FILES {
        if ["host.json", "Status/function.json", "Hubs/function.json"].contains(&name) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let clock = functions.cloud.clock.clone();
    let mut options = HostOptions::new(
        folder.path(),
        Worker::InProcess(functions.router()),
        ServiceBus::new(clock.clone()),
        StorageQueues::new(clock.clone()),
        clock,
    );
    options.keys =
        HostKeys { enforce: true, function: KEY.into(), master: "m".into(), event_grid: "e".into() };
    let host = FunctionsHost::start(options).unwrap();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}/api", listener.local_addr().unwrap());
    let router = host.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Site { address, _host: host, _folder: folder }
}

/// A fleet with something of everything, and one hub that is really there.
async fn fleet() -> Functions {
    let functions = onboarded(hubward::desired::sample(), &["hub1"]).await;
    resync(&functions).await;
    work_off(&functions).await;
    let mut report: FleetReport = store(&functions.cloud).of_fleet().await.unwrap().unwrap();
    report.hubs.extend(one_of_each(report.at));
    let many = |at: usize| row(&format!("site-{at:04}"), Some("standard"), Standing::InSync);
    report.hubs.extend((0..400).map(many).collect::<Vec<HubRow>>());
    let long = "a-very-long-hub-name-as-long-as-they-may-be-012345";
    let target = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry";
    let causes =
        vec![format!("{target} does not exist; create it or correct the profile"), "another".to_owned()];
    report.hubs.insert(0, row(long, Some("a-profile-with-a-rather-long-name"), Standing::Blocked { causes }));
    report.unread =
        BTreeMap::from([("11111111-1111-4111-8111-111111111111".into(), "no right to read".into())]);
    store(&functions.cloud).tell_of_fleet(&report).await.unwrap();
    let hub = hub_id("hub1");
    *functions.parked.0.lock().unwrap() =
        Some(vec![parked(Some(hub.as_str()), "`endpoint.name` is missing", report.at)]);
    Portal::new(&functions.cloud, &hub).await.undo().await;
    functions
}

#[tokio::test(start_paused = true)]
async fn the_pages_work_in_a_browser_without_scripts_light_and_dark_wide_and_narrow() {
    let Some(browser) = Browser::find().await else { return };
    let functions = fleet().await;
    tokio::time::resume();
    let site = site(&functions).await;
    let hub = "0b1f6471-1bf0-4dda-aec3-cb9272f09590/rg-plant-01/hub1";
    let (fleet, hub) =
        (format!("{}/status?code={KEY}", site.address), format!("{}/status/{hub}?code={KEY}", site.address));

    let no_key = browser.dump(&format!("{}/status", site.address)).await;
    assert!(!no_key.contains("Hubward"), "{no_key}");
    for (name, url, heading) in [("fleet", &fleet, ">Fleet</h1>"), ("hub", &hub, ">hub1</h1>")] {
        let page = browser.dump(url).await;
        assert!(page.contains(heading) && page.contains("</table>"), "{page}");
        assert!(page.matches("<tr").count() > 3, "{page}");
        assert!(!page.contains("<script"), "it needs none, and its policy would let none run: {page}");
        functions.cloud.assert_no_secret(&page, name);
        for (scheme, flag) in [("light", LIGHT), ("dark", DARK)] {
            for (size, window, width) in [("wide", WIDE, 1280), ("narrow", NARROW, 360)] {
                let found = browser.measure(&page, flag, width).await;
                let story = format!("{name} {scheme} {size}: {found:#}");
                assert_eq!(found["scheme"], scheme, "{story}");
                let background = if scheme == "light" { "rgb(255, 255, 255)" } else { "rgb(13, 17, 23)" };
                assert_eq!(found["background"], background, "the style is in force: {story}");
                assert_eq!(found["width"], width, "{story}");
                assert!(found["needed"].as_u64() <= Some(width), "it scrolls sideways: {story}");
                assert_eq!(found["outside"], serde_json::json!([]), "{story}");
                assert_eq!(found["violations"], serde_json::json!([]), "{story}");
                let file = browser.screenshot(url, &[flag, window], &format!("{name}-{scheme}-{size}")).await;
                assert!(fs::metadata(file).unwrap().len() > 5_000);
            }
        }
    }

    // A link of the page leads to the hub, with the key that the page was opened with.
    let page = browser.dump(&format!("{fleet}&q=hub1")).await;
    let (_, link) = page.split_once("href=\"/api/status/").unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let opened = browser.dump(&format!("{}/status/{link}", site.address)).await;
    assert!(opened.contains(">hub1</h1>") && opened.contains("update the hub"), "{opened}");
}

#[tokio::test(start_paused = true)]
async fn the_host_asks_for_a_key_and_passes_the_rest_of_an_address_on() {
    let functions = onboarded(hubward::desired::sample(), &["hub1"]).await;
    resync(&functions).await;
    functions.work(&item(hub_id("hub1"))).await;
    tokio::time::resume();
    let site = site(&functions).await;
    let client = hubward::connect::http_client().unwrap();
    let get = async |path: &str, key: Option<&str>| {
        let mut request = client.get(format!("{}/{path}", site.address));
        if let Some(key) = key {
            request = request.header("x-functions-key", key);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
    };
    for path in ["status", "hubs", "status/a/b/c", "hubs?code=wrong"] {
        assert_eq!(get(path, None).await.0, 401, "{path}");
    }
    let (status, headers, body) = get("status/?standing=inSync", Some(KEY)).await;
    assert_eq!((status, headers["referrer-policy"].to_str().unwrap()), (200, "no-referrer"));
    assert!(body.contains(">hub1</a>") && !body.contains(KEY), "{body}");
    let (status, _, body) =
        get("hubs/0b1f6471-1bf0-4dda-aec3-cb9272f09590/rg-plant-01/hub1", Some(KEY)).await;
    let view: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, view["standing"].as_str()), (200, Some("inSync")), "{view:#}");
    assert_eq!(get("hubs?page=9", Some(KEY)).await.0, 404);
}
