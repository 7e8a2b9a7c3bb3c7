//! A hub's own service interface, as far as exports and imports go, and the same through Resource
//! Manager.
//!
//! <https://learn.microsoft.com/rest/api/iothub/service/jobs>,
//! <https://learn.microsoft.com/rest/api/iothub/iot-hub-resource/export-devices>

use serde_json::{Value, json};
use time::macros::format_description;

use super::{
    Azure,
    answer::{Answer, HubError, Reply},
    call::Call,
    data_plane::{Outcome, Sent},
    jobs::{Job, Refused},
    resources::{no_route, page},
    state::State,
};

/// The service's error: the code is in a header, and once more in the text.
pub(super) fn error(call: &Call, status: u16, code: &str, text: &str) -> Sent {
    let tracking = format!("Tracking ID:{}-G:0-TimeStamp:{}", call.request_id, stamp(call));
    let body = json!({"Message": format!("ErrorCode:{code};{text}"), "ExceptionMessage": tracking});
    Sent::json(status, &body).with("iothub-errorcode", code)
}

fn stamp(call: &Call) -> String {
    let form = format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
    call.now.format(form).unwrap_or_default()
}

/// The refusal of a container, in the many words that were seen.
fn denied(call: &Call, text: &str) -> Sent {
    let code = "BlobContainerValidationError";
    let long = format!(
        "Error: 400 ErrorCode: {code}\r\nMessage: {text}\r\nTimestamp: {}\r\nPublic Message: {text}",
        stamp(call)
    );
    error(call, 400, code, &long)
}

fn refusal(call: &Call, refused: Refused) -> Sent {
    match refused {
        Refused::Quota => {
            let long = format!(
                "Error: 403 ErrorCode: JobQuotaExceeded\nMessage: Job quota has been exceeded\nTimestamp: {}\n\
                 Tracking ID: ",
                stamp(call)
            );
            error(call, 403, "JobQuotaExceeded", &long)
        }
        Refused::NoAddress(name) => error(call, 400, "ArgumentNull", &format!("{name} is missing.")),
        Refused::NoIdentity => {
            error(call, 400, "ArgumentInvalid", "The identity is not assigned to the IoT hub.")
        }
        Refused::Input => denied(call, "Unauthorized to read from input blob container."),
        Refused::Output => denied(call, "Unauthorized to write to output blob container."),
    }
}

fn not_found(call: &Call, id: &str) -> Sent {
    error(call, 404, "JobNotFound", &format!("Job {id} was not found."))
}

impl Azure {
    /// A call to the service interface of the hub with this name.
    pub(super) fn hub_service(&self, call: &Call, name: &str) -> Outcome {
        let mut state = self.lock();
        let known = state.hubs.values().find(|hub| hub.id.name().eq_ignore_ascii_case(name) && hub.is_born());
        let hub = known
            .map(|hub| hub.id.key().to_owned())
            .ok_or_else(|| error(call, 401, "IotHubNotFound", "Unauthorized"))?;
        if call.version().is_empty() {
            return Err(error(call, 400, "InvalidProtocolVersion", "The api-version is missing."));
        }
        let settings = &self.inner.settings;
        let parts = call.segments();
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["jobs", "create"]) => {
                let request = read(call)?;
                let job = state
                    .start_job(call, &hub, request, "dataPlane", settings)
                    .map_err(|refused| refusal(call, refused))?;
                drop(state);
                self.wake_at(job.ends());
                Ok(Sent::json(200, &job.view(call.now, settings)))
            }
            ("GET", ["jobs"]) => {
                let all: Vec<Value> =
                    state.jobs_of(&hub, call.now).map(|job| job.view(call.now, settings)).collect();
                Ok(Sent::json(200, &Value::Array(all)))
            }
            // Another kind of jobs, which knows nothing of these and says so in its own way.
            ("GET", ["jobs", "v2", id]) => {
                Ok(Sent::json(200, &json!({"jobId": id, "type": "unknown", "status": "unknown"})))
            }
            ("GET", ["jobs", id]) => {
                let job = find(&state, &hub, id, call).ok_or_else(|| not_found(call, id))?;
                Ok(Sent::json(200, &job.view(call.now, settings)))
            }
            ("DELETE", ["jobs", id]) => match state.cancel_job(&hub, id, call.now) {
                true => Ok(Sent::empty(204)),
                false => Err(error(call, 500, "ServerError", "An internal error occurred.")),
            },
            ("GET", ["statistics", "devices"]) => {
                let registry = state.registries.get(&hub);
                let total = registry.map_or(0, super::registry::Registry::devices);
                let enabled = registry.map_or(0, |registry| {
                    let entries = registry.entries.iter();
                    entries.filter(|((_, module), entry)| module.is_empty() && entry.enabled).count()
                });
                let body = json!({
                    "totalDeviceCount": total, "enabledDeviceCount": enabled,
                    "disabledDeviceCount": total - enabled,
                });
                Ok(Sent::json(200, &body))
            }
            _ => {
                let text = format!("The simulated Azure has no operation {} {}.", call.method, call.path);
                Err(error(call, 404, "InvalidOperation", &text))
            }
        }
    }

    /// `exportDevices`, `importDevices` and `jobs` below a hub in Resource Manager; `below` is
    /// lower-cased.
    pub(super) fn arm_jobs(&self, state: &mut State, call: &Call, hub: &str, below: &[&str]) -> Answer {
        let settings = &self.inner.settings;
        match below {
            ["jobs"] => {
                let all = state.jobs_of(hub, call.now).map(|job| job.arm_view(call.now)).collect();
                Ok(page(call, all, settings.page_size))
            }
            ["jobs", id] => match find(state, hub, id, call) {
                Some(job) => Ok(Reply::json(200, job.arm_view(call.now))),
                None => Err(call.refuse(&HubError::new(404_002, format!("Job '{id}' not found.")))),
            },
            [word] => {
                let request = from_arm(word, &call.json()?);
                let job = state.start_job(call, hub, request, "arm", settings).map_err(|refused| {
                    call.refuse(&match refused {
                        Refused::Quota => HubError::new(403_003, "Job quota has been exceeded."),
                        Refused::NoAddress(name) => HubError::invalid(format!("{name} is missing.")),
                        Refused::NoIdentity => {
                            HubError::invalid("The identity is not assigned to the IoT hub.")
                        }
                        Refused::Input | Refused::Output => HubError::new(400_007, "Unable to access blob."),
                    })
                })?;
                self.wake_at(job.ends());
                Ok(Reply::json(200, job.arm_view(call.now)))
            }
            _ => Err(no_route(call)),
        }
    }
}

fn find<'a>(state: &'a State, hub: &str, id: &str, call: &Call) -> Option<&'a Job> {
    state.jobs_of(hub, call.now).find(|job| job.id.eq_ignore_ascii_case(id))
}

/// The body of a request for a job.
fn read(call: &Call) -> Result<Value, Sent> {
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|err| error(call, 400, "IotHubFormatError", &err.to_string()))?;
    let kind = body["type"].as_str().unwrap_or_default();
    if !["export", "import"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return Err(error(call, 400, "ArgumentInvalid", "The type must be export or import."));
    }
    Ok(body)
}

/// A request to Resource Manager in the data plane's spelling.
fn from_arm(word: &str, body: &Value) -> Value {
    const NAMES: [(&str, &str); 11] = [
        ("exportBlobContainerUri", "outputBlobContainerUri"),
        ("exportBlobName", "outputBlobName"),
        ("excludeKeys", "excludeKeysInExport"),
        ("inputBlobContainerUri", "inputBlobContainerUri"),
        ("outputBlobContainerUri", "outputBlobContainerUri"),
        ("inputBlobName", "inputBlobName"),
        ("outputBlobName", "outputBlobName"),
        ("authenticationType", "storageAuthenticationType"),
        ("identity", "identity"),
        ("includeConfigurations", "includeConfigurations"),
        ("configurationsBlobName", "configurationsBlobName"),
    ];
    let mut request = json!({"type": word.trim_end_matches("devices")});
    for (sent, name) in NAMES {
        if !body[sent].is_null() {
            request[name] = body[sent].clone();
        }
    }
    request
}
