//! `host.json` and app settings, as the host layers them.
//!
//! `host.json` is read with Newtonsoft.Json, so comments and trailing commas are fine; then an app
//! setting `AzureFunctionsJobHost__a__b` overrides the member `a.b`. Names are compared without case.
//!
//! Facts: <https://learn.microsoft.com/azure/azure-functions/functions-host-json>,
//! `Azure/azure-functions-host` `src/WebJobs.Script/Config/HostJsonFileConfigurationSource.cs` and
//! `ScriptJobHostOptionsSetup.cs`; the extensions' option classes in `Azure/azure-sdk-for-net`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::dotnet::time_span;

/// App settings; the host hands all of them to the worker as environment variables.
pub(crate) type Settings = BTreeMap<String, String>;

/// `functionTimeout` on every plan but Consumption.
const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Why a host cannot start at all. A mistake in one function is not among these: see
/// [`FunctionsHost::status`](super::FunctionsHost::status).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no readable `host.json` in the script root.
    #[error("could not read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// `host.json` is not JSON, comments aside.
    #[error("could not parse {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A member of `host.json`, or the app setting that overrides it, cannot be used.
    #[error("host.json: `{path}` {reason}")]
    HostJson {
        /// The member, dotted.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StartError {
    fn host_json(path: &str, reason: impl Into<String>) -> Self {
        Self::HostJson { path: path.to_owned(), reason: reason.into() }
    }
}

/// The parts of `host.json` that change what this host does.
#[derive(Debug, Clone)]
pub(crate) struct HostJson {
    pub(crate) custom_handler: CustomHandler,
    /// Absent means unbounded.
    pub(crate) function_timeout: Option<Duration>,
    /// Only these functions are loaded when it is present.
    pub(crate) functions: Option<Vec<String>>,
    pub(crate) extension_bundle: Option<Value>,
    pub(crate) retry: Option<Value>,
    pub(crate) route_prefix: String,
    pub(crate) queues: QueuesOptions,
    pub(crate) service_bus: ServiceBusOptions,
}

/// `customHandler`.
#[derive(Debug, Clone)]
pub(crate) struct CustomHandler {
    pub(crate) executable: String,
    /// What comes after the executable, in order.
    pub(crate) arguments: Vec<String>,
    pub(crate) working_directory: String,
    pub(crate) worker_directory: String,
    pub(crate) stderr_for_errors_only: bool,
    pub(crate) forward_http: bool,
    pub(crate) initialization_timeout: Duration,
}

/// `extensions.queues`.
#[derive(Debug, Clone)]
pub(crate) struct QueuesOptions {
    pub(crate) batch_size: usize,
    pub(crate) new_batch_threshold: usize,
    pub(crate) max_polling_interval: Duration,
    pub(crate) visibility_timeout: Duration,
    pub(crate) max_dequeue_count: u32,
    pub(crate) base64: bool,
}

/// `extensions.serviceBus`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceBusOptions {
    pub(crate) auto_complete: bool,
    pub(crate) max_auto_lock_renewal: Duration,
    pub(crate) max_concurrent_calls: usize,
    pub(crate) max_concurrent_sessions: usize,
    pub(crate) max_concurrent_calls_per_session: usize,
    pub(crate) max_batch: usize,
    pub(crate) session_idle_timeout: Duration,
}

impl HostJson {
    /// Reads `host.json` and the settings that override it. `processors` scales some defaults.
    pub(crate) fn read(root: &Path, settings: &Settings, processors: usize) -> Result<Self, StartError> {
        let path = root.join("host.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| StartError::Read { path: path.clone(), source })?;
        let mut root = parse_with_comments(&text).map_err(|source| StartError::Parse { path, source })?;
        settings.iter().for_each(|(name, value)| override_member(&mut root, name, value));
        let host = Section(&root);
        if host.text("version")?.as_deref() != Some("2.0") {
            return Err(StartError::host_json("version", "must be \"2.0\""));
        }
        let function_timeout = match host.text("functionTimeout")?.as_deref() {
            None => Some(DEFAULT_FUNCTION_TIMEOUT),
            Some("-1") => None,
            Some(text) => Some(span("functionTimeout", text)?),
        };
        Ok(Self {
            custom_handler: custom_handler(&host, settings)?,
            function_timeout,
            functions: host.list("functions")?,
            extension_bundle: host.get("extensionBundle").cloned(),
            retry: host.get("retry").cloned(),
            route_prefix: host.text("extensions.http.routePrefix")?.unwrap_or_else(|| "api".to_owned()),
            queues: queues(&host, processors)?,
            service_bus: service_bus(&host, processors)?,
        })
    }
}

fn custom_handler(host: &Section<'_>, settings: &Settings) -> Result<CustomHandler, StartError> {
    const AT: &str = "customHandler.description";
    let expand =
        |text: String| expand_percent(&text, |name| Some(lookup(settings, name).unwrap_or_default()));
    let executable = host.text(&format!("{AT}.defaultExecutablePath"))?.unwrap_or_default();
    if executable.is_empty() {
        return Err(StartError::host_json(
            &format!("{AT}.defaultExecutablePath"),
            "is missing: the host says \"Missing worker Description.\" and does not start",
        ));
    }
    let mut arguments = host.list(&format!("{AT}.arguments"))?.unwrap_or_default();
    arguments.extend(host.text(&format!("{AT}.defaultWorkerPath"))?.filter(|path| !path.is_empty()));
    arguments.extend(host.list(&format!("{AT}.workerArguments"))?.unwrap_or_default());
    Ok(CustomHandler {
        executable: expand(executable).unwrap_or_default(),
        arguments,
        working_directory: host.text(&format!("{AT}.workingDirectory"))?.unwrap_or_default(),
        worker_directory: host.text(&format!("{AT}.workerDirectory"))?.unwrap_or_default(),
        stderr_for_errors_only: host.flag(&format!("{AT}.useStdErrorStreamForErrorsOnly"), true)?,
        forward_http: host.flag("customHandler.enableForwardingHttpRequest", false)?,
        initialization_timeout: host.span("customHandler.initializationTimeout", 30.0)?,
    })
}

fn queues(host: &Section<'_>, processors: usize) -> Result<QueuesOptions, StartError> {
    let batch_size = host.count("extensions.queues.batchSize", 16)?;
    if !(1..=32).contains(&batch_size) {
        return Err(StartError::host_json("extensions.queues.batchSize", "must be between 1 and 32"));
    }
    let encoding = host.text("extensions.queues.messageEncoding")?.unwrap_or_default().to_lowercase();
    let base64 = match encoding.as_str() {
        "" | "base64" => true,
        "none" => false,
        _ => {
            return Err(StartError::host_json("extensions.queues.messageEncoding", "must be base64 or none"));
        }
    };
    let max_dequeue_count = host.count("extensions.queues.maxDequeueCount", 5)?;
    Ok(QueuesOptions {
        batch_size,
        new_batch_threshold: host
            .count("extensions.queues.newBatchThreshold", batch_size / 2 * processors)?,
        max_polling_interval: host.span("extensions.queues.maxPollingInterval", 60.0)?,
        visibility_timeout: host.span("extensions.queues.visibilityTimeout", 0.0)?,
        max_dequeue_count: u32::try_from(max_dequeue_count).unwrap_or(u32::MAX),
        base64,
    })
}

fn service_bus(host: &Section<'_>, processors: usize) -> Result<ServiceBusOptions, StartError> {
    let at = |name: &str| format!("extensions.serviceBus.{name}");
    Ok(ServiceBusOptions {
        auto_complete: host.flag(&at("autoCompleteMessages"), true)?,
        max_auto_lock_renewal: host.span(&at("maxAutoLockRenewalDuration"), 300.0)?,
        max_concurrent_calls: host.count(&at("maxConcurrentCalls"), 16 * processors)?.max(1),
        max_concurrent_sessions: host.count(&at("maxConcurrentSessions"), 8)?.max(1),
        max_concurrent_calls_per_session: host.count(&at("maxConcurrentCallsPerSession"), 1)?.max(1),
        max_batch: host.count(&at("maxMessageBatchSize"), 1000)?.max(1),
        session_idle_timeout: host.span(&at("sessionIdleTimeout"), 60.0)?,
    })
}

/// Typed, dotted access to configuration, where every scalar may also be text.
pub(crate) struct Section<'a>(pub(crate) &'a Value);

impl<'a> Section<'a> {
    pub(crate) fn get(&self, path: &str) -> Option<&'a Value> {
        let member = |at: &'a Value, name: &str| {
            let members = at.as_object()?;
            members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        path.split('.').try_fold(self.0, member).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, StartError> {
        match self.get(path) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(StartError::host_json(path, "must be text")),
        }
    }

    pub(crate) fn flag(&self, path: &str, default: bool) -> Result<bool, StartError> {
        match self.text(path)?.map(|text| text.to_lowercase()).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(StartError::host_json(path, "must be true or false")),
        }
    }

    fn count(&self, path: &str, default: usize) -> Result<usize, StartError> {
        let wrong = |_| StartError::host_json(path, "must be a whole number");
        self.text(path)?.map_or(Ok(default), |text| text.parse().map_err(wrong))
    }

    fn span(&self, path: &str, default_seconds: f64) -> Result<Duration, StartError> {
        let default = Duration::from_secs_f64(default_seconds);
        self.text(path)?.map_or(Ok(default), |text| span(path, &text))
    }

    /// A list of texts; it may also come as one text that holds a JSON array.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>, StartError> {
        let wrong = || StartError::host_json(path, "must be a list of texts");
        let texts = |value: &Value| serde_json::from_value(value.clone()).map_err(|_| wrong());
        match self.get(path) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some).map_err(|_| wrong()),
            Some(value) => texts(value).map(Some),
        }
    }
}

fn span(path: &str, text: &str) -> Result<Duration, StartError> {
    time_span(text)
        .ok_or_else(|| StartError::host_json(path, format!("is `{text}`, not a time span hh:mm:ss")))
}

/// The value of an app setting; names are compared without case, and `:` equals `__`.
pub(crate) fn lookup(settings: &Settings, name: &str) -> Option<String> {
    let same = |key: &str| key.replace("__", ":").eq_ignore_ascii_case(&name.replace("__", ":"));
    settings.iter().find(|(key, _)| same(key)).map(|(_, value)| value.clone())
}

/// Replaces each `%name%` by what `resolve` says; the error is a name that it does not know.
pub(crate) fn expand_percent(text: &str, resolve: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('%') {
        let Some((name, after)) = after.split_once('%') else { break };
        expanded += before;
        expanded += &resolve(name).ok_or_else(|| name.to_owned())?;
        rest = after;
    }
    Ok(expanded + rest)
}

fn override_member(root: &mut Value, setting: &str, value: &str) {
    let mut parts = setting.split("__").flat_map(|part| part.split(':'));
    if !parts.next().is_some_and(|prefix| prefix.eq_ignore_ascii_case("AzureFunctionsJobHost")) {
        return;
    }
    let mut at = root;
    for part in parts {
        if let (Value::Array(items), Ok(index)) = (&mut *at, part.parse::<usize>()) {
            // Bounded: an index far beyond the end is a slip, not a wish for a million nulls.
            if index > items.len() {
                return;
            }
            if index == items.len() {
                items.push(Value::Null);
            }
        }
        at = match at {
            Value::Array(items) => match part.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => item,
                None => return,
            },
            other => {
                if !other.is_object() {
                    *other = Value::Object(Map::new());
                }
                let Value::Object(members) = other else { return };
                let known = members.keys().find(|key| key.eq_ignore_ascii_case(part)).cloned();
                members.entry(known.unwrap_or_else(|| part.to_owned())).or_insert(Value::Null)
            }
        };
    }
    *at = Value::from(value);
}

/// JSON as Newtonsoft reads it: `//` and `/* */` comments and trailing commas are skipped.
pub(crate) fn parse_with_comments(text: &str) -> serde_json::Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut plain = String::with_capacity(text.len());
    let (mut chars, mut in_string) = (text.chars().peekable(), false);
    while let Some(char) = chars.next() {
        match (in_string, char, chars.peek()) {
            (true, '\\', _) => {
                plain.push(char);
                plain.extend(chars.next());
            }
            (_, '"', _) => {
                in_string = !in_string;
                plain.push(char);
            }
            (false, '/', Some('/')) => while chars.next_if(|next| *next != '\n').is_some() {},
            (false, '/', Some('*')) => {
                chars.next();
                let mut last = ' ';
                for next in chars.by_ref() {
                    if (last, next) == ('*', '/') {
                        break;
                    }
                    last = next;
                }
            }
            (false, ']' | '}', _) => {
                let kept = plain.trim_end().len();
                if plain[..kept].ends_with(',') {
                    plain.truncate(kept - 1);
                }
                plain.push(char);
            }
            _ => plain.push(char),
        }
    }
    serde_json::from_str(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn comments_and_trailing_commas_are_skipped_outside_strings() {
        let text = r#"{ // one
            "a": "http://x/*y*/", /* two * / */ "b": [1, 2, ], }"#;
        assert_eq!(parse_with_comments(text).unwrap(), json!({ "a": "http://x/*y*/", "b": [1, 2] }));
        assert!(parse_with_comments("{").is_err());
    }

    #[test]
    fn a_setting_overrides_a_member_whatever_its_case() {
        let mut root = json!({ "customHandler": { "description": { "arguments": ["a"] } } });
        override_member(&mut root, "azurefunctionsjobhost__CUSTOMHANDLER__description__arguments__1", "b");
        override_member(&mut root, "AzureFunctionsJobHost__extensions__queues__batchSize", "4");
        override_member(&mut root, "Other__extensions", "no");
        assert_eq!(
            root,
            json!({
                "customHandler": { "description": { "arguments": ["a", "b"] } },
                "extensions": { "queues": { "batchSize": "4" } },
            })
        );
    }

    #[test]
    fn percent_names_are_replaced_or_reported() {
        let resolve = |name: &str| (name == "A").then(|| "x".to_owned());
        assert_eq!(expand_percent("%A%-100%", resolve), Ok("x-100%".to_owned()));
        assert_eq!(expand_percent("%B%", resolve), Err("B".to_owned()));
    }
}
