//! Reading and writing, split by power: [`ArmReader`] can only read, [`ArmWriter`] writes too.
//!
//! A command that only plans is handed a reader and has no way to write. The operations themselves
//! stand with what they are about: `hubs`, `targets`, `grants`, `activity`.

use azure_core::http::{Method, Url};
use serde_json::Value;

use super::{
    client::{ArmClient, Call, Repeat},
    error::ArmError,
    pace::Urgency,
};

/// Newest stable api-version of IoT Hub. Older ones break identity endpoints; never use one.
pub(super) const IOT_HUB: &str = "2023-06-30";
/// Role assignments.
pub(super) const AUTHORIZATION: &str = "2022-04-01";
/// Event Hubs.
pub(super) const EVENT_HUBS: &str = "2024-01-01";
/// Service Bus.
pub(super) const SERVICE_BUS: &str = "2021-11-01";
/// Storage.
pub(super) const STORAGE: &str = "2023-05-01";
/// Cosmos DB.
pub(super) const COSMOS_DB: &str = "2024-05-15";
/// User-assigned identities.
pub(super) const MANAGED_IDENTITY: &str = "2023-01-31";

/// Reads from ARM.
#[derive(Clone)]
pub struct ArmReader {
    pub(super) client: ArmClient,
}

/// Writes to ARM, and reads.
#[derive(Clone)]
pub struct ArmWriter {
    reader: ArmReader,
}

impl ArmReader {
    /// The reading half of a client.
    pub fn new(client: ArmClient) -> Self {
        Self { client }
    }

    /// The client below.
    pub fn client(&self) -> &ArmClient {
        &self.client
    }

    pub(super) async fn get(
        &self,
        label: &'static str,
        path: &str,
        api_version: &str,
    ) -> Result<Value, ArmError> {
        self.client.send(Call::get(label, self.client.url(path, api_version))).await?.json(label)
    }

    /// The same, where "not found" is an answer.
    pub(super) async fn find(
        &self,
        label: &'static str,
        path: &str,
        api_version: &str,
    ) -> Result<Option<Value>, ArmError> {
        match self.get(label, path, api_version).await {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks something that changes nothing and needs a body.
    pub(super) async fn ask(
        &self,
        label: &'static str,
        path: &str,
        api_version: &str,
        body: &Value,
    ) -> Result<Value, ArmError> {
        let call = Call {
            method: Method::Post,
            body: Some(body),
            ..Call::get(label, self.client.url(path, api_version))
        };
        self.client.send(call).await?.json(label)
    }

    /// Reads a list.
    pub(super) async fn list(&self, label: &'static str, first: Url) -> Result<Vec<Value>, ArmError> {
        let mut pages = self.pages(label, first);
        let mut values = Vec::new();
        while let Some(page) = pages.next().await? {
            values.extend(page);
        }
        Ok(values)
    }

    /// Reads a list page by page.
    pub(super) fn pages(&self, label: &'static str, first: Url) -> ListPages {
        ListPages { reader: self.clone(), label, next: Some(first) }
    }
}

/// The pages of a list.
pub struct ListPages {
    reader: ArmReader,
    label: &'static str,
    next: Option<Url>,
}

impl ListPages {
    /// The next page, if there is one.
    ///
    /// # Errors
    /// It could not be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, ArmError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        let client = self.reader.client();
        let mut page = client.send(Call::get(self.label, url)).await?.json(self.label)?;
        let values = match page.get_mut("value").map(Value::take) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        if let Some(link) = page.get("nextLink").and_then(Value::as_str).filter(|link| !link.is_empty()) {
            self.next = Some(client.own_link(self.label, link)?);
        }
        Ok(Some(values))
    }
}

impl ArmWriter {
    /// Reads and writes through a client.
    pub fn new(client: ArmClient) -> Self {
        Self { reader: ArmReader::new(client) }
    }

    /// The reading half.
    pub fn reader(&self) -> &ArmReader {
        &self.reader
    }

    pub(super) fn client(&self) -> &ArmClient {
        &self.reader.client
    }

    /// Writes something whose name makes the same write the same thing, and follows it to its end.
    pub(super) async fn put(
        &self,
        label: &'static str,
        path: &str,
        api_version: &str,
        body: &Value,
    ) -> Result<Option<Value>, ArmError> {
        let call = Call {
            method: Method::Put,
            body: Some(body),
            // Grants are put: they have to spread before anything can follow.
            urgency: Urgency::Early,
            ..Call::get(label, self.client().url(path, api_version))
        };
        self.carry_out(label, call).await
    }

    /// Deletes something. What is not there counts as deleted.
    pub(super) async fn delete(
        &self,
        label: &'static str,
        path: &str,
        api_version: &str,
    ) -> Result<(), ArmError> {
        let call = Call { method: Method::Delete, ..Call::get(label, self.client().url(path, api_version)) };
        match self.carry_out(label, call).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn carry_out(&self, label: &'static str, call: Call<'_>) -> Result<Option<Value>, ArmError> {
        let answer = self.client().send(call).await?;
        let json = answer.json(label).ok();
        self.client().finish(label, answer).await?;
        Ok(json)
    }
}

/// A text somewhere in an answer, if it is there and not empty.
pub(super) fn text<'a>(json: &'a Value, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

impl<'a> Call<'a> {
    /// A read.
    pub(super) fn get(label: &'static str, url: Url) -> Self {
        Call {
            label,
            method: Method::Get,
            url,
            if_match: None,
            correlation: None,
            body: None,
            repeat: Repeat::Safe,
            urgency: Urgency::Usual,
        }
    }
}
