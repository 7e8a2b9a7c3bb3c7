//! Everything that is not a hub or a role: the cloud's own description, subscriptions, resource
//! groups, user-assigned identities, and GET, PUT and DELETE of what hubs send to.

use serde_json::{Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    events::Happening,
    settings::Settings,
    state::State,
};
use crate::model::ResourceId;

/// A resource group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) location: String,
    pub(super) tags: Value,
}

impl Group {
    fn view(&self, subscription: &str) -> Value {
        json!({
            "id": format!("/subscriptions/{subscription}/resourceGroups/{}", self.name),
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
            "tags": self.tags,
            "properties": {"provisioningState": "Succeeded"},
        })
    }
}

/// A user-assigned identity.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// As the service writes it: with `resourcegroups` in lower case.
    pub(super) id: String,
    pub(super) location: String,
    pub(super) tags: Value,
    pub(super) principal: String,
    pub(super) client: String,
}

impl Identity {
    pub(super) fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn view(&self, tenant: &str) -> Value {
        json!({
            "location": self.location,
            "tags": self.tags,
            "id": self.id,
            "name": self.name(),
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "properties": {"tenantId": tenant, "principalId": self.principal, "clientId": self.client},
        })
    }
}

/// One page of a list; the rest is behind `nextLink`.
pub(super) fn page(call: &Call, all: Vec<Value>, size: usize) -> Reply {
    let start = call.query.get("$skiptoken").and_then(|token| token.parse().ok()).unwrap_or(0_usize);
    let (size, total) = (size.max(1), all.len());
    let items: Vec<Value> = all.into_iter().skip(start).take(size).collect();
    let mut body = json!({"value": items});
    let next = start.saturating_add(size);
    if next < total {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.query.iter().filter(|(name, _)| *name != "$skiptoken"));
        query.append_pair("$skipToken", &next.to_string());
        body["nextLink"] = json!(call.link(&call.path, &query.finish()));
    }
    Reply::json(200, body)
}

/// For a resource that is not there.
pub(super) fn not_there(id: &ResourceId) -> Reply {
    let name = id.as_str().rsplit_once("/providers/").map_or(id.name(), |(_, rest)| rest);
    let message = format!(
        "The Resource '{name}' under resource group '{}' was not found. For more details please go to \
         https://aka.ms/ARMResourceNotFoundFix",
        id.resource_group().unwrap_or_default()
    );
    Reply::not_found("ResourceNotFound", message)
}

/// For an address that nothing answers.
pub(super) fn no_route(call: &Call) -> Reply {
    let allowed = matches!(call.method.as_str(), "GET" | "PUT" | "POST" | "PATCH" | "DELETE" | "HEAD");
    let message = format!("The simulated Azure has no operation {} {}.", call.method, call.path);
    if allowed {
        Reply::not_found("InvalidResourceType", message)
    } else {
        Reply::arm(405, "MethodNotAllowed", message)
    }
}

/// The addresses that are not below a subscription. `/metadata/endpoints` needs no token.
pub(super) fn cloud_metadata(call: &Call) -> Reply {
    let own = format!("{}/", call.origin);
    let cloud = json!({
        "portal": "https://portal.azure.com",
        "authentication": {
            "loginEndpoint": "https://login.microsoftonline.com/",
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "media": "https://rest.media.azure.net",
        "graph": "https://graph.windows.net/",
        "graphAudience": "https://graph.windows.net/",
        "microsoftGraphResourceId": super::graph::resource(call),
        "name": "AzureCloud",
        "suffixes": {
            "storage": "core.windows.net",
            "keyVaultDns": "vault.azure.net",
            "sqlServerHostname": "database.windows.net",
            "acrLoginServer": "azurecr.io",
        },
        "batch": "https://batch.core.windows.net/",
        "resourceManager": own,
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "gallery": "https://gallery.azure.com/",
    });
    // The newer version answers with one cloud, the older ones with a list.
    Reply::json(200, if call.version() >= "2022-09-01" { cloud } else { json!([cloud]) })
}

impl State {
    /// Checks that the subscription and the group of a scope exist.
    pub(super) fn check_scope(&self, scope: &str) -> Result<(), Reply> {
        let parts: Vec<&str> = scope.split('/').filter(|part| !part.is_empty()).collect();
        let [word, subscription, rest @ ..] = parts.as_slice() else { return Ok(()) };
        if !word.eq_ignore_ascii_case("subscriptions") {
            return Ok(());
        }
        if !self.subscriptions.contains_key(&subscription.to_ascii_lowercase()) {
            let message = format!("The subscription '{subscription}' could not be found.");
            return Err(Reply::not_found("SubscriptionNotFound", message));
        }
        match rest {
            [word, group, ..] if word.eq_ignore_ascii_case("resourceGroups") => {
                self.group(subscription, group).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn group(&self, subscription: &str, name: &str) -> Result<&Group, Reply> {
        self.groups.get(&(subscription.to_ascii_lowercase(), name.to_ascii_lowercase())).ok_or_else(|| {
            Reply::not_found("ResourceGroupNotFound", format!("Resource group '{name}' could not be found."))
        })
    }

    pub(super) fn add_group(&mut self, subscription: &str, name: &str, location: &str) {
        let key = (subscription.to_ascii_lowercase(), name.to_ascii_lowercase());
        self.groups.entry(key).or_insert_with(|| Group {
            name: name.to_owned(),
            location: location.to_owned(),
            tags: json!({}),
        });
    }

    /// Adds a user-assigned identity; ids that are not given are made up.
    pub(super) fn add_identity(
        &mut self,
        id: &ResourceId,
        location: &str,
        tags: Value,
        ids: (Option<String>, Option<String>),
    ) -> &Identity {
        let spelled = format!(
            "/subscriptions/{}/resourcegroups/{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{}",
            id.subscription(),
            id.resource_group().unwrap_or_default(),
            id.name()
        );
        let principal = ids.0.unwrap_or_else(|| self.random.guid());
        let client = ids.1.unwrap_or_else(|| self.random.guid());
        let identity = Identity { id: spelled, location: location.to_owned(), tags, principal, client };
        let key = id.key().to_owned();
        self.identities.insert(key.clone(), identity);
        &self.identities[&key]
    }
}

impl Azure {
    /// `/subscriptions…` and `/tenants`, down to resource groups.
    pub(super) fn management(&self, call: &Call, parts: &[&str]) -> Answer {
        let mut state = self.lock();
        let lower: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        let tenant = state.tenant.clone();
        let subscription = |(id, name): (&String, &String)| {
            json!({
                "id": format!("/subscriptions/{id}"), "subscriptionId": id, "tenantId": tenant,
                "displayName": name, "state": "Enabled", "authorizationSource": "RoleBased",
                "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
                "managedByTenants": [],
            })
        };
        match (call.method.as_str(), words.as_slice()) {
            ("GET", ["tenants"]) => Ok(Reply::json(
                200,
                json!({"value": [{
                    "id": format!("/tenants/{tenant}"), "tenantId": tenant, "displayName": "Local",
                    "tenantCategory": "Home", "tenantType": "AAD",
                }]}),
            )),
            ("GET", ["subscriptions"]) => {
                let all = state.subscriptions.iter().map(subscription).collect();
                Ok(page(call, all, self.inner.settings.page_size))
            }
            ("GET", ["subscriptions", id]) => {
                state.check_scope(&call.path)?;
                let found = state.subscriptions.get_key_value(*id).map(subscription);
                Ok(Reply::json(200, found.unwrap_or(Value::Null)))
            }
            ("GET", ["subscriptions", id, "resourcegroups"]) => {
                state.check_scope(&call.path)?;
                let all = state.groups.iter().filter(|((sub, _), _)| sub == id);
                let all = all.map(|((sub, _), group)| group.view(sub)).collect();
                Ok(page(call, all, self.inner.settings.page_size))
            }
            ("HEAD", ["subscriptions", id, "resourcegroups", name]) => {
                Ok(Reply::empty(if state.group(id, name).is_ok() { 204 } else { 404 }))
            }
            ("GET", ["subscriptions", id, "resourcegroups", name]) => {
                state.check_scope(&call.path)?;
                Ok(Reply::json(200, state.group(id, name)?.view(id)))
            }
            ("PUT", ["subscriptions", id, "resourcegroups", _]) => {
                state.check_scope(&format!("/subscriptions/{id}"))?;
                let body = call.json()?;
                let location = body["location"].as_str().unwrap_or("westus2");
                let (name, existed) = (parts[3], state.group(id, parts[3]).is_ok());
                state.add_group(id, name, location);
                Ok(Reply::json(if existed { 200 } else { 201 }, state.group(id, name)?.view(id)))
            }
            _ => Err(no_route(call)),
        }
    }

    /// User-assigned identities, and all that hubs send to.
    pub(super) fn resource(&self, call: &Call) -> Answer {
        let settings = &self.inner.settings;
        let mut state = self.lock();
        state.check_scope(&call.path)?;
        if let Some((scope, kind)) = list_of(&call.path)
            && call.method == "GET"
        {
            return state.list_resources(call, &scope, &kind, settings);
        }
        let id = ResourceId::parse(&call.path).map_err(|_| no_route(call))?;
        let kind = id.resource_type().unwrap_or_default();
        if kind == "microsoft.managedidentity/userassignedidentities" {
            return state.user_identity(call, &id, settings);
        }
        match call.method.as_str() {
            "GET" => {
                Ok(Reply::json(200, state.targets.get(id.key()).cloned().ok_or_else(|| not_there(&id))?))
            }
            "PUT" => {
                let nested = kind.matches('/').count() > 1;
                // A container's parent is the account, two pairs up: `blobServices/default` is always there.
                let parent = id
                    .parent()
                    .map(|up| if kind.contains("/blobservices/") { up.parent().unwrap_or(up) } else { up });
                if nested && !parent.is_some_and(|up| state.targets.contains_key(up.key())) {
                    let message =
                        "Can not perform requested operation on nested resource. Parent resource not found.";
                    return Err(Reply::not_found("ParentResourceNotFound", message));
                }
                let body = if call.body.is_empty() { json!({}) } else { call.json()? };
                let location = body["location"].as_str().unwrap_or("westus2");
                if state.add_target(&id, location, call.now).is_none() {
                    return Err(no_route(call));
                }
                state.set_switches(&id, &body["properties"]);
                Ok(Reply::json(200, state.targets.get(id.key()).cloned().unwrap_or_default()))
            }
            "DELETE" => Ok(Reply::empty(if state.remove_target(id.key()) { 200 } else { 204 })),
            _ => Err(no_route(call)),
        }
    }
}

/// The scope and the lower-cased type of a list, when a path ends in a type.
fn list_of(path: &str) -> Option<(String, String)> {
    let at = path.to_ascii_lowercase().rfind("/providers/")?;
    let rest: Vec<&str> = path[at + "/providers/".len()..].split('/').collect();
    let (provider, pairs) = rest.split_first()?;
    if pairs.len() % 2 == 0 {
        return None;
    }
    let mut kind = provider.to_ascii_lowercase();
    for word in pairs.iter().step_by(2) {
        kind.push('/');
        kind.push_str(&word.to_ascii_lowercase());
    }
    let scope = path.rsplit_once('/')?.0;
    // For a top-level type the scope is what comes before the provider.
    let scope = if pairs.len() == 1 { &path[..at] } else { scope };
    Some((scope.to_ascii_lowercase(), kind))
}

impl State {
    fn list_resources(&self, call: &Call, scope: &str, kind: &str, settings: &Settings) -> Answer {
        let here = |key: &str| {
            super::state::is_within(key, scope)
                && ResourceId::parse(key).ok().and_then(|id| id.resource_type()).as_deref() == Some(kind)
        };
        let all: Vec<Value> = if kind == "microsoft.managedidentity/userassignedidentities" {
            self.identities.iter().filter(|(key, _)| here(key)).map(|(_, id)| id.view(&self.tenant)).collect()
        } else {
            self.targets.iter().filter(|(key, _)| here(key)).map(|(_, doc)| doc.clone()).collect()
        };
        if kind != "microsoft.managedidentity/userassignedidentities"
            && !super::targets::TYPES.contains(&kind)
        {
            return Err(no_route(call));
        }
        Ok(page(call, all, settings.page_size))
    }

    fn user_identity(&mut self, call: &Call, id: &ResourceId, settings: &Settings) -> Answer {
        let tenant = self.tenant.clone();
        let operation = "Microsoft.ManagedIdentity/userAssignedIdentities";
        match call.method.as_str() {
            "GET" => match self.identities.get(id.key()) {
                Some(found) => Ok(Reply::json(200, found.view(&tenant))),
                None => {
                    let message = format!(
                        "The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/{}' under resource group '{}' \
                         was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
                        id.name(),
                        id.resource_group().unwrap_or_default()
                    );
                    Err(Reply::not_found("ResourceNotFound", message))
                }
            },
            "PUT" => {
                let body = call.json()?;
                let Some(location) = body["location"].as_str() else {
                    return Err(Reply::arm(
                        400,
                        "LocationRequired",
                        "The location property is required for this definition.",
                    ));
                };
                let tags = body.get("tags").filter(|tags| tags.is_object()).cloned();
                if let Some(known) = self.identities.get_mut(id.key()) {
                    known.tags = tags.unwrap_or_else(|| json!({}));
                    return Ok(Reply::json(200, known.view(&tenant)));
                }
                let made =
                    self.add_identity(id, location, tags.unwrap_or_else(|| json!({})), (None, None)).clone();
                self.add_principal(&made.principal, call.now, settings);
                let what = Happening::of(call, "Write", &made.id, &format!("{operation}/write"), false);
                self.emit(&what, call.now, &settings.events);
                Ok(Reply::json(201, made.view(&tenant)).with("location", made.id.clone()))
            }
            "DELETE" => {
                let Some(gone) = self.identities.remove(id.key()) else { return Ok(Reply::empty(204)) };
                self.principals.remove(&gone.principal.to_ascii_lowercase());
                let what = Happening::of(call, "Delete", &gone.id, &format!("{operation}/delete"), true);
                self.emit(&what, call.now, &settings.events);
                Ok(Reply::empty(200))
            }
            _ => Err(no_route(call)),
        }
    }
}
