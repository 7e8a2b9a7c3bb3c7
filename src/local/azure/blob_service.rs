//! The Blob service, as far as files are written, read, listed and deleted.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/put-blob>,
//! <https://learn.microsoft.com/rest/api/storageservices/put-block-list>,
//! <https://learn.microsoft.com/rest/api/storageservices/get-blob>,
//! <https://learn.microsoft.com/rest/api/storageservices/list-blobs>,
//! <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>

use std::fmt::Write as _;

use bytes::Bytes;

use super::{
    Azure,
    answer::{http_date, iso},
    blob::{Blob, Content},
    call::{self, Call},
    data_plane::{BLOB_SUFFIX, Outcome, Sent},
    state::State,
};
use crate::model::ResourceId;

/// Most entries of a list's page.
const PAGE: usize = 5000;

/// The service's error: the code is in a header too, and a HEAD has that alone.
pub(super) fn error(call: &Call, status: u16, code: &str, text: &str) -> Sent {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{}\nRequestId:{}\nTime:{}\
         </Message></Error>",
        escape(text),
        call.request_id,
        iso(call.now)
    );
    of_service(Sent::empty(status).with_body(body.into()).with("content-type", "application/xml"), call)
        .with("x-ms-error-code", code)
}

/// For a caller, or a hub, without a role.
pub(super) fn mismatch(call: &Call) -> Sent {
    let text = "This request is not authorized to perform this operation using this permission.";
    error(call, 403, "AuthorizationPermissionMismatch", text)
}

fn of_service(sent: Sent, call: &Call) -> Sent {
    let version = call.header("x-ms-version").unwrap_or("2025-01-05").to_owned();
    sent.with("x-ms-version", version).with("server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Azure {
    /// A call to the blob service of an account that is there.
    pub(super) fn blob_service(&self, call: &Call, account: &str) -> Outcome {
        let mut state = self.lock();
        let no_container =
            || error(call, 404, "ContainerNotFound", "The specified container does not exist.");
        let id = state.storage_account(account).ok_or_else(no_container)?;
        if !state.is_open(&id) {
            let text = "This request is not authorized to perform this operation.";
            return Err(error(call, 403, "AuthorizationFailure", text));
        }
        let path = call.path.trim_start_matches('/');
        let (name, blob) = path.split_once('/').unwrap_or((path, ""));
        let of_container = call.query.get("restype").is_some_and(|kind| kind == "container");
        let container = state.storage_container(&id, name);
        let comp = call.query.get("comp").map(|comp| comp.to_ascii_lowercase());
        if of_container && blob.is_empty() {
            if call.method == "PUT" && comp.is_none() {
                return make_container(&mut state, call, &id, name);
            }
            let container = container.ok_or_else(no_container)?;
            return match (call.method.as_str(), comp.as_deref()) {
                ("GET", Some("list")) => Ok(list(&state, call, account, name, &container)),
                ("GET" | "HEAD", None) => {
                    let sent = Sent::empty(200).with("etag", "\"0x8D592D74CC20EBA\"");
                    Ok(of_service(sent.with("last-modified", http_date(call.now)), call))
                }
                ("DELETE", None) => {
                    state.remove_target(&container);
                    Ok(of_service(Sent::empty(202), call))
                }
                _ => Err(unsupported(call)),
            };
        }
        let container = container.ok_or_else(no_container)?;
        if blob.is_empty() {
            return Err(unsupported(call));
        }
        match (call.method.as_str(), comp.as_deref()) {
            ("PUT", None) => put(&mut state, call, &container, blob),
            ("PUT", Some("block")) => put_block(&mut state, call, &container, blob),
            ("PUT", Some("blocklist")) => put_block_list(&mut state, call, &container, blob),
            ("GET" | "HEAD", None) => read(&state, call, &container, blob),
            ("DELETE", None) => {
                let there = state.blob(&container, blob).ok_or_else(|| no_blob(call))?;
                check_conditions(call, Some(there))?;
                state.remove_blob(&container, blob);
                Ok(of_service(Sent::empty(202).with("x-ms-delete-type-permanent", "true"), call))
            }
            _ => Err(unsupported(call)),
        }
    }
}

fn unsupported(call: &Call) -> Sent {
    let text = format!("The simulated Azure has no operation {} {}.", call.method, call.target);
    error(call, 400, "InvalidQueryParameterValue", &text)
}

fn no_blob(call: &Call) -> Sent {
    error(call, 404, "BlobNotFound", "The specified blob does not exist.")
}

fn make_container(state: &mut State, call: &Call, account: &str, name: &str) -> Outcome {
    if state.storage_container(account, name).is_some() {
        let text = "The specified container already exists.";
        return Err(error(call, 409, "ContainerAlreadyExists", text));
    }
    let shown = state.targets.get(account).cloned().unwrap_or_default();
    let id = format!("{}/blobServices/default/containers/{name}", shown["id"].as_str().unwrap_or(account));
    let id = ResourceId::parse(&id).map_err(|_| {
        error(call, 400, "InvalidResourceName", "The specified resource name contains invalid characters.")
    })?;
    let location = shown["location"].as_str().unwrap_or("westus2").to_owned();
    state.add_target(&id, &location, call.now);
    Ok(of_service(Sent::empty(201).with("etag", "\"0x8D592D74CC20EBA\""), call))
}

/// `If-Match` and `If-None-Match`, which name tags or are `*`.
fn check_conditions(call: &Call, blob: Option<&Blob>) -> Result<(), Sent> {
    let names = |list: &str, blob: &Blob| {
        list.split(',').map(|tag| tag.trim().trim_matches('"')).any(|tag| tag == "*" || tag == blob.etag)
    };
    let unmet = || {
        let text = "The condition specified using HTTP conditional header(s) is not met.";
        error(call, 412, "ConditionNotMet", text)
    };
    let matches = |list: &str| blob.is_some_and(|blob| names(list, blob));
    if call.header("if-match").is_some_and(|list| !matches(list)) {
        return Err(unmet());
    }
    let Some(list) = call.header("if-none-match") else { return Ok(()) };
    if !matches(list) {
        return Ok(());
    }
    Err(match call.method.as_str() {
        "GET" | "HEAD" => of_service(Sent::empty(304), call).with("x-ms-error-code", "ConditionNotMet"),
        _ if list.trim() == "*" => {
            error(call, 409, "BlobAlreadyExists", "The specified blob already exists.")
        }
        _ => unmet(),
    })
}

/// What a PUT says about a blob besides its bytes.
fn content(call: &Call, data: Bytes, blocks: Vec<(String, Bytes)>) -> Content {
    let of_blob = call.header("x-ms-blob-content-type");
    // A block list's own type is that of the list.
    let kind = of_blob.or_else(|| call.header("content-type").filter(|_| blocks.is_empty()));
    let metadata = call.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-ms-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    });
    Content {
        data,
        content_type: kind.unwrap_or("application/octet-stream").to_owned(),
        metadata: metadata.collect(),
        blocks,
    }
}

fn written(state: &State, call: &Call, container: &str, name: &str) -> Outcome {
    let blob = state.blob(container, name).ok_or_else(|| no_blob(call))?;
    let sent = Sent::empty(201)
        .with("etag", format!("\"{}\"", blob.etag))
        .with("last-modified", http_date(blob.modified))
        .with("x-ms-request-server-encrypted", "true");
    Ok(of_service(sent, call))
}

fn put(state: &mut State, call: &Call, container: &str, name: &str) -> Outcome {
    match call.header("x-ms-blob-type") {
        Some(kind) if kind.eq_ignore_ascii_case("BlockBlob") => {}
        Some(_) => {
            let text = "The simulated Azure has block blobs only.";
            return Err(error(call, 400, "InvalidHeaderValue", text));
        }
        None => {
            let text = "An HTTP header that's mandatory for this request is not specified.";
            return Err(error(call, 400, "MissingRequiredHeader", text));
        }
    }
    check_conditions(call, state.blob(container, name))?;
    state.put_blob(container, name, content(call, call.body.clone(), Vec::new()), call.now);
    written(state, call, container, name)
}

fn put_block(state: &mut State, call: &Call, container: &str, name: &str) -> Outcome {
    let id = call.query.get("blockid").filter(|id| !id.is_empty()).ok_or_else(|| {
        let text = "A query parameter that's mandatory for this request is not specified.";
        error(call, 400, "MissingRequiredQueryParameter", text)
    })?;
    let held = state.blobs.entry(container.to_owned()).or_default();
    held.blocks.insert((name.to_owned(), id.clone()), call.body.clone());
    Ok(of_service(Sent::empty(201).with("x-ms-request-server-encrypted", "true"), call))
}

fn put_block_list(state: &mut State, call: &Call, container: &str, name: &str) -> Outcome {
    check_conditions(call, state.blob(container, name))?;
    let text = String::from_utf8_lossy(&call.body).into_owned();
    let mut blocks = Vec::new();
    for (kind, id) in listed_blocks(&text) {
        let waiting = || state.blobs.get(container)?.blocks.get(&(name.to_owned(), id.clone())).cloned();
        let committed = || {
            let blob = state.blob(container, name)?;
            blob.blocks.iter().find(|(known, _)| *known == id).map(|(_, data)| data.clone())
        };
        let found = match kind {
            "Committed" => committed(),
            "Uncommitted" => waiting(),
            _ => waiting().or_else(committed),
        };
        let data = found
            .ok_or_else(|| error(call, 400, "InvalidBlockList", "The specified block list is invalid."))?;
        blocks.push((id, data));
    }
    let whole: Vec<u8> = blocks.iter().flat_map(|(_, data)| data.iter().copied()).collect();
    state.put_blob(container, name, content(call, whole.into(), blocks), call.now);
    written(state, call, container, name)
}

/// The blocks of a block list, in order: how they are asked for, and their ids.
fn listed_blocks(text: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for part in text.split('<').skip(1) {
        let Some((tag, id)) = part.split_once('>') else { continue };
        let kind = ["Latest", "Committed", "Uncommitted"].into_iter().find(|kind| *kind == tag.trim());
        if let Some(kind) = kind {
            found.push((kind, id.trim().to_owned()));
        }
    }
    found
}

fn read(state: &State, call: &Call, container: &str, name: &str) -> Outcome {
    let blob = state.blob(container, name).ok_or_else(|| no_blob(call))?;
    check_conditions(call, Some(blob))?;
    let length = blob.data.len();
    let asked = call.header("x-ms-range").or_else(|| call.header("range")).and_then(range);
    let (status, start, end) = match asked.filter(|_| call.method == "GET") {
        None => (200, 0, length),
        Some((start, _)) if start >= length => {
            let text = "The range specified is invalid for the current size of the resource.";
            let sent = error(call, 416, "InvalidRange", text);
            return Err(sent.with("content-range", format!("bytes */{length}")));
        }
        Some((start, last)) => (206, start, last.map_or(length, |last| last.saturating_add(1).min(length))),
    };
    let data = blob.data.slice(start..end.max(start));
    let mut sent = Sent::empty(status)
        .with("content-length", data.len().to_string())
        .with("content-type", blob.content_type.clone())
        .with("etag", format!("\"{}\"", blob.etag))
        .with("last-modified", http_date(blob.modified))
        .with("x-ms-creation-time", http_date(blob.created))
        .with("x-ms-blob-type", "BlockBlob")
        .with("x-ms-lease-status", "unlocked")
        .with("x-ms-lease-state", "available")
        .with("x-ms-server-encrypted", "true")
        .with("accept-ranges", "bytes");
    if status == 206 {
        let last = end.saturating_sub(1);
        sent = sent.with("content-range", format!("bytes {start}-{last}/{length}"));
    }
    for (name, value) in &blob.metadata {
        sent = sent.with(&format!("x-ms-meta-{name}"), value.clone());
    }
    Ok(of_service(sent.with_body(data), call))
}

/// First and last byte of `bytes=a-b` or `bytes=a-`.
fn range(text: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((first.parse().ok()?, last))
}

fn list(state: &State, call: &Call, account: &str, name: &str, container: &str) -> Sent {
    let text = |name: &str| call.query.get(name).map(String::as_str).unwrap_or_default();
    let (prefix, marker) = (text("prefix"), text("marker"));
    let size = text("maxresults").parse().unwrap_or(PAGE).clamp(1, PAGE);
    // A marker is the next blob's name, in hexadecimal so that nobody takes it for one.
    let from = unhex(marker);
    let held = state.blobs.get(container).map(|held| &held.blobs);
    let fits = held
        .into_iter()
        .flatten()
        .filter(|(blob, _)| blob.starts_with(prefix) && blob.as_str() >= from.as_str());
    let mut body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
         ServiceEndpoint=\"https://{account}{BLOB_SUFFIX}/\" ContainerName=\"{}\">",
        escape(name)
    );
    for (tag, value) in [("Prefix", prefix), ("Marker", marker), ("MaxResults", text("maxresults"))] {
        if !value.is_empty() {
            let _ = write!(body, "<{tag}>{}</{tag}>", escape(value));
        }
    }
    body.push_str("<Blobs>");
    let mut next = String::new();
    for (at, (blob, held)) in fits.enumerate() {
        if at == size {
            next = blob.bytes().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            break;
        }
        let _ = write!(
            body,
            "<Blob><Name>{}</Name><Properties><Creation-Time>{}</Creation-Time><Last-Modified>{}</Last-Modified>\
             <Etag>{}</Etag><Content-Length>{}</Content-Length><Content-Type>{}</Content-Type>\
             <BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>\
             <ServerEncrypted>true</ServerEncrypted></Properties></Blob>",
            escape(blob),
            http_date(held.created),
            http_date(held.modified),
            held.etag,
            held.data.len(),
            escape(&held.content_type),
        );
    }
    body.push_str("</Blobs>");
    let _ = match next.is_empty() {
        true => write!(body, "<NextMarker />"),
        false => write!(body, "<NextMarker>{next}</NextMarker>"),
    };
    body.push_str("</EnumerationResults>");
    of_service(Sent::empty(200).with("content-type", "application/xml").with_body(body.into()), call)
}

fn unhex(text: &str) -> String {
    let spread: Vec<char> = text.chars().collect();
    call::decode(
        &spread.chunks(2).map(|pair| format!("%{}", pair.iter().collect::<String>())).collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_block_lists_come_apart() {
        assert_eq!(range("bytes=0-9"), Some((0, Some(9))));
        assert_eq!(range("bytes=5-"), Some((5, None)));
        assert_eq!(range("bytes=-5"), None);
        let list = "<?xml version=\"1.0\"?><BlockList>\n <Latest>YQ==</Latest><Uncommitted>Yg==</Uncommitted></BlockList>";
        assert_eq!(listed_blocks(list), [("Latest", "YQ==".to_owned()), ("Uncommitted", "Yg==".to_owned())]);
        assert_eq!(unhex("612f62"), "a/b");
    }
}
