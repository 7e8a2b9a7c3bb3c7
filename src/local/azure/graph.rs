//! The directory, as far as `az role assignment` asks it: what an object id or a client id stands for.
//!
//! Real clients look the directory's address up in `/metadata/endpoints`, and here it leads back to the
//! simulator. It is another service than Resource Manager: other tokens, no throttling, no faults.
//! <https://learn.microsoft.com/graph/api/directoryobject-getbyids>,
//! <https://learn.microsoft.com/graph/api/serviceprincipal-list>

use serde_json::{Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    state::State,
};

/// Where it is, below Resource Manager's own address.
const ROOT: &str = "/graph";

/// The directory's address, which is also the audience of its tokens.
pub(super) fn resource(call: &Call) -> String {
    format!("{}{ROOT}/", call.origin)
}

/// What follows the directory's root and version in a path, if it is there at all.
pub(super) fn below(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT)?.strip_prefix("/v1.0/")
}

/// A principal as the directory shows it.
struct Entry {
    object: String,
    client: String,
    name: String,
}

impl Entry {
    fn view(&self) -> Value {
        json!({
            "@odata.type": "#microsoft.graph.servicePrincipal",
            "id": self.object,
            "appId": self.client,
            "displayName": self.name,
            "servicePrincipalNames": [self.client],
            "servicePrincipalType": "ManagedIdentity",
            "accountEnabled": true,
        })
    }
}

impl Azure {
    /// A call below the directory's root.
    pub(super) fn graph(&self, call: &Call, rest: &str) -> Reply {
        self.graph_answer(call, rest).unwrap_or_else(|refusal| refusal)
    }

    fn graph_answer(&self, call: &Call, rest: &str) -> Answer {
        let state = self.lock();
        state.authenticate(call.header("authorization"), &[resource(call)])?;
        let all = state.directory(call);
        let list = |found: Vec<Value>| Reply::json(200, json!({"value": found}));
        match (call.method.as_str(), rest) {
            ("POST", "directoryObjects/getByIds") => {
                let body = call.json()?;
                let ids: Vec<&str> =
                    body["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let asked = |entry: &&Entry| ids.iter().any(|id| entry.object.eq_ignore_ascii_case(id));
                Ok(list(all.iter().filter(asked).map(Entry::view).collect()))
            }
            ("GET", "servicePrincipals") => {
                let filter = call.query.get("$filter").map(String::as_str).unwrap_or_default();
                let name = match filter.split('\'').collect::<Vec<_>>().as_slice() {
                    ["servicePrincipalNames/any(c:c eq ", name, ")"] => *name,
                    _ => return Err(Reply::arm(400, "Request_UnsupportedQuery", "Unsupported Query.")),
                };
                let asked = |entry: &&Entry| entry.client.eq_ignore_ascii_case(name);
                Ok(list(all.iter().filter(asked).map(Entry::view).collect()))
            }
            _ => {
                let message = format!("The simulated directory has no operation {} {rest}.", call.method);
                Err(Reply::arm(404, "Request_ResourceNotFound", message))
            }
        }
    }
}

impl State {
    /// Everybody whom the directory knows by now.
    fn directory(&self, call: &Call) -> Vec<Entry> {
        let callers = self.callers.iter().map(|caller| Entry {
            object: caller.object.clone(),
            client: caller.client.clone(),
            name: caller.name.clone(),
        });
        let users = self.identities.values().map(|identity| Entry {
            object: identity.principal.clone(),
            client: identity.client.clone(),
            name: identity.name().to_owned(),
        });
        // A hub's own identity has no client id that anybody uses.
        let hubs = self.hubs.values().filter_map(|hub| {
            let object = hub.system.clone()?;
            Some(Entry { client: object.clone(), object, name: hub.id.name().to_owned() })
        });
        let visible = |entry: &Entry| {
            let known = self.principals.get(&entry.object.to_ascii_lowercase());
            known.is_none_or(|known| known.visible <= call.now)
        };
        callers.chain(users).chain(hubs).filter(visible).collect()
    }
}
