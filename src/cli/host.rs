//! The Functions host's admin API: a request straight to the function, where there is no queue to send it to.
//! <https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http>

use anyhow::{Context, bail};
use azure_core::http::{HttpClient, Method, Request, Url};
use serde_json::json;

use super::Usage;
use crate::config::{self, ProcessEnvironment, is_loopback};

/// The function that takes requests from the storage queue.
const FUNCTION: &str = "Request";

/// Starts the function with a text, as if it had been on its queue. The host answers before it has run.
///
/// # Errors
/// What is wrong with the address, or the host's answer, and what to do about it.
pub(super) async fn start(transport: &dyn HttpClient, base: &str, text: &str) -> anyhow::Result<()> {
    let url = address(base)?;
    let mut request = Request::new(url.clone(), Method::Post);
    request.insert_header("content-type", "application/json");
    if let Some(key) = config::host_key(&ProcessEnvironment) {
        request.insert_header("x-functions-key", key);
    }
    request.set_body(json!({"input": text}).to_string());
    let answer = transport.execute_request(&request).await.with_context(|| {
        format!("no Functions host answers at {base}; is it running? (`hubward local`, `func start`)")
    })?;
    match u16::from(answer.status()) {
        202 => Ok(()),
        401 | 403 => bail!("the host at {base} wants its master key; set HUBWARD_HOST_KEY"),
        404 => bail!("the host at {base} has no function {FUNCTION}; is it Hubward's?"),
        status => bail!("the host at {base} answered {status}"),
    }
}

/// Where the function is started. A key and what operators ask for go to this machine, or over TLS.
fn address(base: &str) -> Result<Url, Usage> {
    let mistake = |why: &str| Usage(format!("--host-url {base}: {why}; write such as http://127.0.0.1:7071"));
    let mut url = Url::parse(base).map_err(|error| mistake(&error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(mistake("plain http is for this machine only")),
        _ => return Err(mistake("this is no address of a host")),
    }
    url.set_path(&format!("{}/admin/functions/{FUNCTION}", url.path().trim_end_matches('/')));
    url.set_query(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_this_machine_or_over_tls() {
        for good in ["http://127.0.0.1:7071", "http://localhost:7071/", "https://app.azurewebsites.net"] {
            assert!(address(good).unwrap().path().ends_with("/admin/functions/Request"), "{good}");
        }
        for bad in ["http://app.azurewebsites.net", "ftp://127.0.0.1", "127.0.0.1:7071", ""] {
            assert!(address(bad).unwrap_err().0.starts_with("--host-url "), "{bad}");
        }
    }
}
