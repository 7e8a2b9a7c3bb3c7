//! Settings: the only reader of the environment.
//!
//! All settings are read and checked before anything else happens, and every mistake is reported at
//! once, by name. The names are a contract with operators; README has the table.

mod cloud;

use std::{fmt, net::IpAddr, path::PathBuf};

use azure_core::http::Url;
use uuid::Uuid;

pub use cloud::Cloud;

use crate::{arm::HUB_SCOPE, fleet::Source};

/// Where the desired-state document is.
#[derive(Clone, PartialEq, Eq)]
pub enum ProfilesSource {
    /// A file.
    File(PathBuf),
    /// An https address; a blob is read with our identity.
    Url(Url),
}

impl fmt::Debug for ProfilesSource {
    /// Leaves out an address's query: it may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfilesSource::File(path) => write!(f, "{}", path.display()),
            ProfilesSource::Url(url) => without_query(url, f),
        }
    }
}

/// An address that may hold a signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(pub Url);

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        without_query(&self.0, f)
    }
}

fn without_query(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}://{}{}", url.scheme(), url.authority(), url.path())
}

/// What both programs need to reach Azure.
#[derive(Debug, Clone)]
pub struct AzureSettings {
    /// `HUBWARD_CLOUD`
    pub cloud: Cloud,
    /// `HUBWARD_ARM_ENDPOINT`, by default the cloud's.
    pub arm_endpoint: Url,
    /// `HUBWARD_IOTHUB_SCOPE`: the token scope of hubs' own service APIs.
    pub hub_scope: String,
    /// `HUBWARD_DATA_ENDPOINT`: where a local cloud answers for hubs and storage accounts. Loopback only.
    pub data_endpoint: Option<Url>,
    /// `AZURE_CLIENT_ID`: the user-assigned identity to run as.
    pub client_id: Option<Uuid>,
    /// Whether the platform offers a managed identity (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`).
    /// `azure_identity` reads the two itself.
    pub has_managed_identity: bool,
    /// `HUBWARD_PROFILES`
    pub profiles: ProfilesSource,
}

/// What the handler needs besides.
#[derive(Debug, Clone)]
pub struct HandlerSettings {
    /// How to reach Azure.
    pub azure: AzureSettings,
    /// `HUBWARD_BUS_ENDPOINT`, by default from `HubwardBus__fullyQualifiedNamespace`.
    pub bus_endpoint: Url,
    /// `HUBWARD_OUTCOMES`: the storage container where outcomes are kept.
    pub outcomes: Option<Url>,
    /// `HUBWARD_QUEUES`: the queue service of the app's storage account, for the status page.
    pub queues: Option<SignedUrl>,
    /// `FUNCTIONS_CUSTOMHANDLER_PORT`, set by the Functions host.
    pub port: u16,
    /// `HUBWARD_CHECK_RIGHTS`: whether our own rights are checked at start.
    pub check_rights: bool,
    /// `HUBWARD_RESYNC`: where a resync reads.
    pub resync: Source,
}

/// Every setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// A source of settings: the process environment, or a map in a test.
pub trait Environment {
    /// The value of a setting; an empty one counts as absent.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads settings")]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

impl<S: std::hash::BuildHasher> Environment for std::collections::HashMap<&str, &str, S> {
    fn get(&self, name: &str) -> Option<String> {
        std::collections::HashMap::get(self, name)
            .map(|text| (*text).to_owned())
            .filter(|text| !text.is_empty())
    }
}

impl HandlerSettings {
    /// Reads and checks all settings of the handler.
    pub fn read(environment: &impl Environment) -> Result<Self, Mistakes> {
        let mut reader = Reader { environment, mistakes: Vec::new() };
        let azure = reader.azure();
        let bus_endpoint = reader.bus_endpoint();
        let outcomes = reader.outcomes();
        let queues = reader.queues();
        let port = reader.port();
        let check_rights = reader.check_rights();
        let resync = reader.resync();
        check_log_filter(&mut reader);
        match (azure, bus_endpoint, port) {
            (Some(azure), Some(bus_endpoint), Some(port)) if reader.mistakes.is_empty() => {
                Ok(Self { azure, bus_endpoint, outcomes, queues, port, check_rights, resync })
            }
            _ => Err(Mistakes(reader.mistakes)),
        }
    }
}

impl AzureSettings {
    /// Reads and checks the settings that the command line needs.
    pub fn read(environment: &impl Environment) -> Result<Self, Mistakes> {
        let mut reader = Reader { environment, mistakes: Vec::new() };
        let azure = reader.azure();
        match azure {
            Some(azure) if reader.mistakes.is_empty() => Ok(azure),
            _ => Err(Mistakes(reader.mistakes)),
        }
    }
}

/// The container in which outcomes are kept, for commands that read them.
///
/// # Errors
/// It is not set, or no address of a container.
pub fn outcomes(environment: &impl Environment) -> Result<Url, Mistakes> {
    let mut reader = Reader { environment, mistakes: Vec::new() };
    let missing = "HUBWARD_OUTCOMES is not set; give the address of the container in which outcomes are kept";
    match reader.outcomes() {
        Some(address) => Ok(address),
        None if reader.mistakes.is_empty() => Err(Mistakes(vec![missing.to_owned()])),
        None => Err(Mistakes(reader.mistakes)),
    }
}

/// The queue service of the app's storage account, for commands that look into its queues:
/// `HUBWARD_QUEUES`. May hold a signature: never shown.
///
/// # Errors
/// It is not set, or no address.
pub fn queues(environment: &impl Environment) -> Result<Url, Mistakes> {
    let mut reader = Reader { environment, mistakes: Vec::new() };
    let missing = "HUBWARD_QUEUES is not set; give the queue service of the app's storage account, such as \
                   https://account.queue.core.windows.net";
    match reader.queues() {
        Some(SignedUrl(address)) => Ok(address),
        None if reader.mistakes.is_empty() => Err(Mistakes(vec![missing.to_owned()])),
        None => Err(Mistakes(reader.mistakes)),
    }
}

/// The Service Bus namespace's address: what commands that ask for work need besides.
///
/// # Errors
/// It is not set, or no address.
pub fn bus_endpoint(environment: &impl Environment) -> Result<Url, Mistakes> {
    let mut reader = Reader { environment, mistakes: Vec::new() };
    let endpoint = reader.bus_endpoint();
    endpoint.filter(|_| reader.mistakes.is_empty()).ok_or(Mistakes(reader.mistakes))
}

/// Where a resync reads, for commands: `HUBWARD_RESYNC`.
///
/// # Errors
/// It is set to something else.
pub fn resync_source(environment: &impl Environment) -> Result<Source, Mistakes> {
    let mut reader = Reader { environment, mistakes: Vec::new() };
    let source = reader.resync();
    if reader.mistakes.is_empty() { Ok(source) } else { Err(Mistakes(reader.mistakes)) }
}

/// The master key of a Functions host whose admin API is used: `HUBWARD_HOST_KEY`. Never shown.
pub fn host_key(environment: &impl Environment) -> Option<String> {
    environment.get("HUBWARD_HOST_KEY")
}

/// The log filter: `RUST_LOG`, or `info`.
pub fn log_filter(environment: &impl Environment) -> String {
    environment.get("RUST_LOG").unwrap_or_else(|| "info".to_owned())
}

/// Whether traces are to be exported: `OTEL_EXPORTER_OTLP_ENDPOINT` or its variant for traces is
/// set. The exporter reads the rest of the `OTEL_*` settings itself.
pub fn exports_traces(environment: &impl Environment) -> bool {
    exports(environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
}

/// Whether metrics are to be exported, by the same rule.
pub fn exports_metrics(environment: &impl Environment) -> bool {
    exports(environment, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
}

/// Whether logs are to be exported besides, by the same rule.
pub fn exports_logs(environment: &impl Environment) -> bool {
    exports(environment, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
}

fn exports(environment: &impl Environment, own: &str) -> bool {
    ["OTEL_EXPORTER_OTLP_ENDPOINT", own].iter().any(|name| environment.get(name).is_some())
}

/// The cargo that runs this program, if one does.
pub fn cargo(environment: &impl Environment) -> Option<String> {
    environment.get("CARGO")
}

fn check_log_filter<E: Environment>(reader: &mut Reader<'_, E>) {
    let filter = log_filter(reader.environment);
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
        reader
            .mistakes
            .push(format!("RUST_LOG is not a log filter ({error}); write for example info,hubward=debug"));
    }
}

struct Reader<'a, E> {
    environment: &'a E,
    mistakes: Vec<String>,
}

impl<E: Environment> Reader<'_, E> {
    fn azure(&mut self) -> Option<AzureSettings> {
        let cloud = self.cloud();
        let arm_endpoint = match self.environment.get("HUBWARD_ARM_ENDPOINT") {
            Some(text) => self.endpoint("HUBWARD_ARM_ENDPOINT", &text),
            None => Url::parse(cloud.arm_endpoint()).ok(),
        };
        let client_id = self.environment.get("AZURE_CLIENT_ID").and_then(|id| {
            let parsed = Uuid::try_parse(&id).ok();
            if parsed.is_none() {
                self.mistakes
                    .push("AZURE_CLIENT_ID is not a GUID; give the client id of the app's identity".into());
            }
            parsed
        });
        let identity = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"].map(|name| self.environment.get(name));
        if identity.iter().filter(|value| value.is_some()).count() == 1 {
            self.mistakes.push(
                "IDENTITY_ENDPOINT and IDENTITY_HEADER belong together; the platform sets both or neither"
                    .into(),
            );
        }
        if identity[0].as_deref().is_some_and(|text| Url::parse(text).is_err()) {
            self.mistakes.push("IDENTITY_ENDPOINT is not a URL".into());
        }
        let hub_scope = self.hub_scope();
        let data_endpoint = self.data_endpoint();
        let profiles = self.profiles();
        Some(AzureSettings {
            hub_scope,
            data_endpoint,
            cloud,
            arm_endpoint: arm_endpoint?,
            client_id,
            has_managed_identity: identity[0].is_some(),
            profiles: profiles?,
        })
    }

    fn hub_scope(&mut self) -> String {
        let Some(text) = self.environment.get("HUBWARD_IOTHUB_SCOPE") else { return HUB_SCOPE.to_owned() };
        if !text.starts_with("https://") || !text.ends_with("/.default") {
            self.mistakes
                .push(format!("HUBWARD_IOTHUB_SCOPE is not a token scope; write such as {HUB_SCOPE}"));
        }
        text
    }

    fn data_endpoint(&mut self) -> Option<Url> {
        const NAME: &str = "HUBWARD_DATA_ENDPOINT";
        let text = self.environment.get(NAME)?;
        let url = self.endpoint(NAME, &text)?;
        if is_loopback(&url) {
            return Some(url);
        }
        self.mistakes.push(format!(
            "{NAME} is for a local cloud, on loopback; leave it out: hubs and storage accounts tell their addresses"
        ));
        None
    }

    fn cloud(&mut self) -> Cloud {
        let Some(text) = self.environment.get("HUBWARD_CLOUD") else { return Cloud::default() };
        Cloud::parse(&text).unwrap_or_else(|| {
            self.mistakes.push(format!("HUBWARD_CLOUD is {text:?}; write public, usgov or china"));
            Cloud::default()
        })
    }

    fn profiles(&mut self) -> Option<ProfilesSource> {
        let Some(text) = self.environment.get("HUBWARD_PROFILES") else {
            self.mistakes.push(
                "HUBWARD_PROFILES is not set; give the path or the https address of profiles.yaml".into(),
            );
            return None;
        };
        if !text.contains("://") {
            return Some(ProfilesSource::File(text.into()));
        }
        self.endpoint("HUBWARD_PROFILES", &text).map(ProfilesSource::Url)
    }

    fn bus_endpoint(&mut self) -> Option<Url> {
        if let Some(text) = self.environment.get("HUBWARD_BUS_ENDPOINT") {
            return self.endpoint("HUBWARD_BUS_ENDPOINT", &text);
        }
        let Some(host) = self.environment.get("HubwardBus__fullyQualifiedNamespace") else {
            self.mistakes.push(
                "neither HUBWARD_BUS_ENDPOINT nor HubwardBus__fullyQualifiedNamespace is set; \
                 give the Service Bus namespace, such as ns1.servicebus.windows.net"
                    .into(),
            );
            return None;
        };
        self.endpoint("HubwardBus__fullyQualifiedNamespace", &format!("https://{host}"))
    }

    fn outcomes(&mut self) -> Option<Url> {
        let text = self.environment.get("HUBWARD_OUTCOMES")?;
        let url = self.endpoint("HUBWARD_OUTCOMES", &text)?;
        if url.path().trim_matches('/').is_empty() || url.query().is_some() {
            self.mistakes.push(
                "HUBWARD_OUTCOMES is not the address of a container, such as \
                 https://account.blob.core.windows.net/outcomes"
                    .into(),
            );
            return None;
        }
        Some(url)
    }

    fn queues(&mut self) -> Option<SignedUrl> {
        let text = self.environment.get("HUBWARD_QUEUES")?;
        self.endpoint("HUBWARD_QUEUES", &text).map(SignedUrl)
    }

    fn port(&mut self) -> Option<u16> {
        let port = self.environment.get("FUNCTIONS_CUSTOMHANDLER_PORT").and_then(|text| text.parse().ok());
        if port.is_none() {
            self.mistakes.push(
                "FUNCTIONS_CUSTOMHANDLER_PORT is not a port; the Functions host sets it: start the handler \
                 through the host (func start, or hubward local)"
                    .into(),
            );
        }
        port
    }

    fn resync(&mut self) -> Source {
        let Some(text) = self.environment.get("HUBWARD_RESYNC") else { return Source::default() };
        Source::parse(&text).unwrap_or_else(|| {
            self.mistakes.push(format!("HUBWARD_RESYNC is {text:?}; write auto, graph or list"));
            Source::default()
        })
    }

    fn check_rights(&mut self) -> bool {
        let text = self.environment.get("HUBWARD_CHECK_RIGHTS").unwrap_or_else(|| "on".to_owned());
        if !["on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            self.mistakes.push(format!("HUBWARD_CHECK_RIGHTS is {text:?}; write on or off"));
        }
        !text.eq_ignore_ascii_case("off")
    }

    /// An address that tokens go to: https, or http on loopback, where a local cloud is.
    fn endpoint(&mut self, name: &str, text: &str) -> Option<Url> {
        let url = match Url::parse(text) {
            Ok(url) if url.has_host() && url.username().is_empty() && url.password().is_none() => url,
            _ => {
                self.mistakes.push(format!("{name} is not a URL such as https://management.azure.com"));
                return None;
            }
        };
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        if !is_safe {
            self.mistakes.push(format!("{name} must be https; http is only taken on loopback"));
            return None;
        }
        Some(url)
    }
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host.eq_ignore_ascii_case("localhost")
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let environment = HashMap::from([
            ("HUBWARD_CLOUD", "moon"),
            ("HUBWARD_ARM_ENDPOINT", "http://management.azure.com"),
            ("AZURE_CLIENT_ID", "me"),
            ("IDENTITY_ENDPOINT", "http://localhost:1/msi/token"),
            ("RUST_LOG", "hubward=loud"),
            ("HUBWARD_CHECK_RIGHTS", "perhaps"),
        ]);
        let mistakes = HandlerSettings::read(&environment).unwrap_err().0;
        for name in [
            "HUBWARD_CLOUD",
            "HUBWARD_ARM_ENDPOINT",
            "AZURE_CLIENT_ID",
            "IDENTITY_HEADER",
            "HUBWARD_PROFILES",
            "HUBWARD_BUS_ENDPOINT",
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            "RUST_LOG",
            "HUBWARD_CHECK_RIGHTS",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(name)), "{name}: {mistakes:?}");
        }
    }

    #[test]
    fn the_bus_has_a_default_and_loopback_may_be_plain() {
        let environment = HashMap::from([
            ("HUBWARD_PROFILES", "profiles.yaml"),
            ("HUBWARD_ARM_ENDPOINT", "http://127.0.0.1:4101"),
            ("HubwardBus__fullyQualifiedNamespace", "ns1.servicebus.windows.net"),
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "7000"),
        ]);
        let settings = HandlerSettings::read(&environment).unwrap();
        assert_eq!(settings.bus_endpoint.as_str(), "https://ns1.servicebus.windows.net/");
        assert_eq!(settings.azure.arm_endpoint.as_str(), "http://127.0.0.1:4101/");
        assert!(!settings.azure.has_managed_identity);
        assert!(settings.check_rights);
    }

    #[test]
    fn a_signature_in_the_profiles_address_is_not_shown() {
        let url = Url::parse("https://acct.blob.core.windows.net/c/profiles.yaml?sig=secret").unwrap();
        assert!(!format!("{:?}", ProfilesSource::Url(url)).contains("secret"));
    }
}
