//! Functions as the host finds them: one folder with a `function.json` directly below the script root.
//!
//! A function that is wrong is reported and left out; the others run. Only direct sub-folders are
//! looked at, so `functions/Sweep/function.json` beside `host.json` is not a function.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Host/HostFunctionMetadataProvider.cs`,
//! `src/WebJobs.Script/Utility.cs` (names), `src/WebJobs.Script/Host/ScriptHost.cs`
//! (`ValidateHttpFunction`); <https://learn.microsoft.com/azure/azure-functions/functions-triggers-bindings>.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::dotnet::time_span;
use super::route::RouteTemplate;
use super::schedule::Schedule;
use super::settings::{HostJson, Section, Settings, StartError, expand_percent, lookup, parse_with_comments};

/// A function that can be invoked.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The name of the trigger binding.
    pub(crate) parameter: String,
    pub(crate) trigger: Trigger,
    pub(crate) data_type: DataType,
    pub(crate) outputs: Vec<Output>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) disabled: bool,
    /// `function.json` after `%setting%` was resolved.
    pub(crate) config: Value,
}

/// What starts a function.
#[derive(Debug, Clone)]
pub(crate) enum Trigger {
    Queue { queue: String },
    ServiceBus { entity: String, sessions: bool, many: bool, auto_complete: Option<bool> },
    EventGrid { many: bool },
    Timer { schedule: Schedule, run_on_startup: bool, use_monitor: bool },
    Http { route: RouteTemplate, methods: Vec<String>, auth_level: AuthLevel },
}

impl Trigger {
    /// The `type` word of the binding.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Queue { .. } => "queueTrigger",
            Self::ServiceBus { .. } => "serviceBusTrigger",
            Self::EventGrid { .. } => "eventGridTrigger",
            Self::Timer { .. } => "timerTrigger",
            Self::Http { .. } => "httpTrigger",
        }
    }
}

/// Who may call an HTTP function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataType {
    Unset,
    String,
    Binary,
    Stream,
}

/// An output binding.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) kind: OutputKind,
    pub(crate) data_type: DataType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Queue(String),
    ServiceBus(String),
    Http,
}

/// `retry`: the host runs the same invocation again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RetryPolicy {
    /// Absent means for ever.
    pub(crate) max_retry_count: Option<u32>,
    pub(crate) delay: RetryDelay,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RetryDelay {
    Fixed(Duration),
    Exponential { min: Duration, max: Duration },
}

/// What was found below a script root.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) functions: Vec<Function>,
    /// Why some folders are not functions, by folder name.
    pub(crate) errors: BTreeMap<String, Vec<String>>,
    pub(crate) warnings: Vec<String>,
}

/// Reads every function below the script root.
pub(crate) fn index(root: &Path, host: &HostJson, settings: &Settings) -> Result<Index, StartError> {
    let read = |source| StartError::Read { path: root.to_owned(), source };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    let mut index = Index::default();
    for folder in &folders {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        let file = folder.join("function.json");
        if !file.is_file() {
            index.warnings.extend(nested_functions(folder, name));
            continue;
        }
        let allowed = |names: &Vec<String>| names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if !host.functions.as_ref().is_none_or(allowed) {
            continue;
        }
        let parsed = std::fs::read_to_string(&file)
            .map_err(|err| format!("function.json could not be read: {err}"))
            .and_then(|text| parse_with_comments(&text).map_err(|err| format!("function.json: {err}")));
        match parsed.and_then(|config| Function::parse(name, config, host, settings)) {
            Ok((function, warnings)) => {
                index.functions.push(function);
                index.warnings.extend(warnings.into_iter().map(|warning| format!("{name}: {warning}")));
            }
            Err(reason) => index.errors.entry(name.to_owned()).or_default().push(reason),
        }
    }
    refuse_conflicting_routes(&mut index);
    Ok(index)
}

/// A folder that is not a function but holds some: the host passes it by in silence, we do not.
fn nested_functions(folder: &Path, name: &str) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?;
    let nested = entries.filter_map(Result::ok).filter(|entry| entry.path().join("function.json").is_file());
    match nested.count() {
        0 => None,
        count => Some(format!(
            "the folder `{name}` holds {count} function.json one level too deep: the host only looks at folders \
             directly beside host.json, so these are not functions; stage `{name}/*` beside host.json"
        )),
    }
}

fn refuse_conflicting_routes(index: &mut Index) {
    let mut taken: Vec<(String, Vec<String>, String)> = Vec::new();
    let mut errors = Vec::new();
    index.functions.retain(|function| {
        let Trigger::Http { route, methods, .. } = &function.trigger else { return true };
        let overlaps = |other: &[String]| {
            methods.is_empty() || other.is_empty() || methods.iter().any(|method| other.contains(method))
        };
        let shape = route.to_string().to_lowercase();
        let conflict = taken.iter().find(|(taken, other, _)| *taken == shape && overlaps(other));
        if let Some((.., other)) = conflict {
            errors.push((
                function.name.clone(),
                format!("the route `{route}` conflicts with function `{other}`"),
            ));
            return false;
        }
        taken.push((shape, methods.clone(), function.name.clone()));
        true
    });
    for (name, error) in errors {
        index.errors.entry(name).or_default().push(error);
    }
}

impl Function {
    fn parse(
        name: &str,
        mut config: Value,
        host: &HostJson,
        settings: &Settings,
    ) -> Result<(Self, Vec<String>), String> {
        if !is_function_name(name) {
            return Err(format!("'{name}' is not a valid function name."));
        }
        let mut warnings = Vec::new();
        let bindings = match Section(&config).get("bindings") {
            Some(Value::Array(bindings)) if !bindings.is_empty() => resolve_all(bindings, settings)?,
            _ => return Err("At least one binding must be declared.".to_owned()),
        };
        config["bindings"] = Value::Array(bindings.clone());
        let (mut triggers, mut outputs) = (Vec::new(), Vec::new());
        for binding in &bindings {
            let binding = Binding::parse(binding)?;
            warnings.extend(binding.missing_connection(settings));
            if binding.kind.to_lowercase().ends_with("trigger") {
                triggers.push(binding);
            } else {
                match binding.output()? {
                    Some(output) => outputs.push(output),
                    None => warnings.push(format!("the binding type `{}` does nothing here", binding.kind)),
                }
            }
        }
        let [trigger] = &triggers[..] else {
            return Err(match triggers.len() {
                0 => "No trigger binding specified. A function must have a trigger input binding.".to_owned(),
                _ => "Multiple trigger bindings defined. A function can only have a single trigger binding."
                    .to_owned(),
            });
        };
        let retry =
            Section(&config).get("retry").or(host.retry.as_ref()).map(RetryPolicy::parse).transpose()?;
        let parsed = trigger.trigger(name, &host.route_prefix)?;
        if retry.is_some() && !matches!(parsed, Trigger::Timer { .. }) {
            warnings.push(format!(
                "a retry policy is not supported for a {}; use the trigger's own",
                parsed.word()
            ));
        }
        let function = Self {
            name: name.to_owned(),
            parameter: trigger.name.clone(),
            trigger: parsed,
            data_type: trigger.data_type,
            outputs,
            retry,
            disabled: is_disabled(name, &config, settings)?,
            config,
        };
        Ok((function, warnings))
    }

    /// The output binding of that name; names under `Outputs` are case-sensitive.
    pub(crate) fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// Whether the bindings are exactly one HTTP trigger and one HTTP output.
    pub(crate) fn is_http_in_and_out(&self) -> bool {
        matches!(self.trigger, Trigger::Http { .. })
            && matches!(&self.outputs[..], [Output { kind: OutputKind::Http, .. }])
    }
}

/// One member of `bindings`, with its common properties checked.
struct Binding<'a> {
    name: String,
    kind: String,
    data_type: DataType,
    many: bool,
    section: Section<'a>,
}

impl<'a> Binding<'a> {
    fn parse(value: &'a Value) -> Result<Self, String> {
        let section = Section(value);
        let text = |path: &str| Ok::<_, String>(wrong(section.text(path))?.unwrap_or_default());
        let (name, kind) = (text("name")?, text("type")?);
        if !is_binding_name(&name) {
            return Err(format!(
                "The binding name {name} is invalid. Please assign a valid name to the binding."
            ));
        }
        let data_type = match text("dataType")?.to_lowercase().as_str() {
            "" => DataType::Unset,
            "string" => DataType::String,
            "binary" => DataType::Binary,
            "stream" => DataType::Stream,
            other => return Err(format!("the binding {name} has an unknown dataType `{other}`")),
        };
        let many = match text("cardinality")?.to_lowercase().as_str() {
            "" | "one" => false,
            "many" => true,
            other => return Err(format!("the binding {name} has an unknown cardinality `{other}`")),
        };
        Ok(Self { name, kind, data_type, many, section })
    }

    fn text(&self, path: &str) -> Result<Option<String>, String> {
        wrong(self.section.text(path)).map(|text| text.filter(|text| !text.is_empty()))
    }

    fn required(&self, path: &str) -> Result<String, String> {
        self.text(path)?.ok_or_else(|| format!("the binding {} needs `{path}`", self.name))
    }

    fn flag(&self, path: &str, default: bool) -> Result<bool, String> {
        wrong(self.section.flag(path, default))
    }

    /// The queue, or `topic/Subscriptions/subscription`, that a Service Bus binding names.
    fn entity(&self) -> Result<String, String> {
        match (self.text("queueName")?, self.text("topicName")?, self.text("subscriptionName")?) {
            (Some(queue), None, None) => Ok(queue),
            (None, Some(topic), Some(subscription)) => Ok(format!("{topic}/Subscriptions/{subscription}")),
            (None, Some(topic), None) if self.kind.eq_ignore_ascii_case("serviceBus") => Ok(topic),
            _ => Err(format!("the binding {} needs `queueName`, or a topic and its subscription", self.name)),
        }
    }

    fn trigger(&self, function: &str, route_prefix: &str) -> Result<Trigger, String> {
        match self.kind.to_lowercase().as_str() {
            "queuetrigger" => Ok(Trigger::Queue { queue: self.required("queueName")?.to_lowercase() }),
            "servicebustrigger" => Ok(Trigger::ServiceBus {
                entity: self.entity()?,
                sessions: self.flag("isSessionsEnabled", false)?,
                many: self.many,
                auto_complete: match self.section.get("autoCompleteMessages") {
                    Some(_) => Some(self.flag("autoCompleteMessages", true)?),
                    None => None,
                },
            }),
            "eventgridtrigger" => Ok(Trigger::EventGrid { many: self.many }),
            "timertrigger" => Ok(Trigger::Timer {
                schedule: self
                    .required("schedule")?
                    .parse()
                    .map_err(|err: String| format!("The schedule expression is not valid: {err}"))?,
                run_on_startup: self.flag("runOnStartup", false)?,
                use_monitor: self.flag("useMonitor", true)?,
            }),
            "httptrigger" => self.http(function, route_prefix),
            other => Err(format!("the trigger type `{other}` is not known to this host")),
        }
    }

    fn http(&self, function: &str, route_prefix: &str) -> Result<Trigger, String> {
        let auth_level = match self.text("authLevel")?.unwrap_or_default().to_lowercase().as_str() {
            "anonymous" => AuthLevel::Anonymous,
            "" | "function" => AuthLevel::Function,
            "admin" => AuthLevel::Admin,
            other => return Err(format!("the authLevel `{other}` is not known")),
        };
        let methods = match self.section.get("methods") {
            Some(Value::Array(methods)) => {
                methods.iter().filter_map(Value::as_str).map(str::to_uppercase).collect()
            }
            _ => Vec::new(),
        };
        let route = self.text("route")?.unwrap_or_else(|| function.to_owned());
        let lower = route.trim_start_matches('/').to_lowercase();
        if lower.starts_with("admin") || lower.starts_with("runtime") {
            return Err(format!(
                "The specified route conflicts with one or more built in routes: `{route}`."
            ));
        }
        Ok(Trigger::Http { route: RouteTemplate::parse(route_prefix, &route)?, methods, auth_level })
    }

    fn output(&self) -> Result<Option<Output>, String> {
        let kind = match self.kind.to_lowercase().as_str() {
            "queue" => OutputKind::Queue(self.required("queueName")?),
            "servicebus" => OutputKind::ServiceBus(self.entity()?),
            "http" => OutputKind::Http,
            _ => return Ok(None),
        };
        Ok(Some(Output { name: self.name.clone(), kind, data_type: self.data_type }))
    }

    /// The host would fail to connect at run time; here nothing connects, so somebody must say it.
    fn missing_connection(&self, settings: &Settings) -> Option<String> {
        let default = match self.kind.to_lowercase().as_str() {
            "queue" | "queuetrigger" => "AzureWebJobsStorage",
            "servicebus" | "servicebustrigger" => "AzureWebJobsServiceBus",
            _ => return None,
        };
        let name = self.text("connection").ok()?.unwrap_or_else(|| default.to_owned());
        let prefixed = format!("AzureWebJobs{name}");
        let named = |setting: &str| {
            let setting = setting.replace(':', "__").to_lowercase();
            [&name, &prefixed].iter().any(|name| {
                let name = name.to_lowercase();
                setting == name
                    || setting.strip_prefix(&name).is_some_and(|rest| rest.starts_with("__"))
                    || setting == format!("connectionstrings__{name}")
            })
        };
        let found = settings.keys().any(|setting| named(setting));
        (!found).then(|| format!("no app setting for the connection `{name}` of binding {}", self.name))
    }
}

impl RetryPolicy {
    fn parse(value: &Value) -> Result<Self, String> {
        let section = Section(value);
        let text = |path: &str| wrong(section.text(path));
        let count = text("maxRetryCount")?.ok_or("a retry policy needs `maxRetryCount`")?;
        let count: i64 = count.parse().map_err(|_| "`maxRetryCount` must be a whole number".to_owned())?;
        let span = |path: &str| {
            let text = text(path)?.ok_or_else(|| format!("this retry strategy needs `{path}`"))?;
            time_span(&text).ok_or_else(|| format!("`{path}` is not a time span"))
        };
        let delay = match text("strategy")?.unwrap_or_default().to_lowercase().as_str() {
            "fixeddelay" => RetryDelay::Fixed(span("delayInterval")?),
            "exponentialbackoff" => {
                RetryDelay::Exponential { min: span("minimumInterval")?, max: span("maximumInterval")? }
            }
            other => return Err(format!("the retry strategy `{other}` is not known")),
        };
        Ok(Self { max_retry_count: u32::try_from(count).ok(), delay })
    }

    /// How long to wait before retry number `retry` (1 is the first).
    pub(crate) fn delay(&self, retry: u32) -> Duration {
        match self.delay {
            RetryDelay::Fixed(delay) => delay,
            RetryDelay::Exponential { min, max } => {
                min.saturating_mul(2u32.saturating_pow(retry.saturating_sub(1))).min(max)
            }
        }
    }
}

/// Resolves `%setting%` in every text of every binding.
fn resolve_all(bindings: &[Value], settings: &Settings) -> Result<Vec<Value>, String> {
    let resolve = |text: &str| {
        expand_percent(text, |name| lookup(settings, name))
            .map_err(|name| format!("'%{name}%' does not resolve to a value."))
    };
    let mut resolved = Vec::new();
    for binding in bindings {
        let Value::Object(members) = binding else { return Err("a binding is not an object".to_owned()) };
        let mut copy = Map::new();
        for (name, value) in members {
            let value = match value {
                Value::String(text) => json!(resolve(text)?),
                other => other.clone(),
            };
            copy.insert(name.clone(), value);
        }
        resolved.push(Value::Object(copy));
    }
    Ok(resolved)
}

/// Whether settings or the legacy member switch a function off.
fn is_disabled(name: &str, config: &Value, settings: &Settings) -> Result<bool, String> {
    let on = |text: String| text == "1" || text.eq_ignore_ascii_case("true");
    let setting = lookup(settings, &format!("AzureWebJobs.{name}.Disabled"))
        .or_else(|| lookup(settings, &format!("AzureWebJobs_{name}_Disabled")));
    match setting {
        Some(text) => Ok(on(text)),
        None => match Section(config).get("disabled") {
            Some(Value::Bool(disabled)) => Ok(*disabled),
            Some(Value::String(name)) => Ok(lookup(settings, name).is_some_and(on)),
            _ => Ok(false),
        },
    }
}

fn wrong<T>(result: Result<T, StartError>) -> Result<T, String> {
    result.map_err(|err| match err {
        StartError::HostJson { path, reason } => format!("`{path}` {reason}"),
        other => other.to_string(),
    })
}

fn is_function_name(name: &str) -> bool {
    let rest = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(rest)
        && !name.eq_ignore_ascii_case("host")
}

fn is_binding_name(name: &str) -> bool {
    let plain = name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric());
    plain || name == "$return"
}
