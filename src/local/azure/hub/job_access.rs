//! Whether a hub gets at the container that an export or import names.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-managed-identity#configure-bulk-device-importexport-with-managed-identities>

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    Hub,
    access::may_reach,
    target::{enter_as, holder, host, user_identity},
};
use crate::local::azure::state::State;

/// Why a hub does not get at a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local::azure) enum Denied {
    /// The hub does not have the identity.
    NoIdentity,
    /// Anything else: no container, a closed network, no role. They cannot be told apart.
    Container,
}

/// The lower-cased id of the container at an address, if the hub may read and write there now, in the
/// way that the request for the job says.
pub(in crate::local::azure) fn container(
    state: &State,
    hub: &Hub,
    address: &str,
    request: &Value,
    now: OffsetDateTime,
) -> Result<String, Denied> {
    let by_identity = request["storageAuthenticationType"]
        .as_str()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("identityBased"));
    if by_identity {
        let on_hub = match user_identity(request) {
            Some(id) => hub.users.iter().any(|user| user.eq_ignore_ascii_case(id)),
            None => hub.system_on,
        };
        if !on_hub {
            return Err(Denied::NoIdentity);
        }
    }
    let (place, signature) = address.split_once('?').unwrap_or((address, ""));
    let at = host(place);
    let account = holder(state, "primaryEndpoints/blob", "", &at).ok_or(Denied::Container)?;
    let rest = place.split_once("://").map_or(place, |(_, rest)| rest);
    let name = rest.split_once('/').map_or("", |(_, name)| name).trim_end_matches('/');
    let container = state.storage_container(&account, name).ok_or(Denied::Container)?;
    if !may_reach(hub, &at) {
        return Err(Denied::Container);
    }
    if by_identity {
        let entered = enter_as(state, hub, "storageContainers", request, &container, now);
        return entered.map(|_| container).map_err(|_| Denied::Container);
    }
    // Nobody checks signatures here: one that is there is good, if the account takes keys at all.
    let takes_keys = state.targets[&account]["properties"]["allowSharedKeyAccess"] != false;
    let signed = signature.split('&').any(|part| part.starts_with("sig="));
    if signed && takes_keys && state.is_open(&account) { Ok(container) } else { Err(Denied::Container) }
}
