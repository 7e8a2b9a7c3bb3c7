//! What operators write: the document of profiles and requests.

use std::sync::LazyLock;

use hubward::{
    desired::{Choice, DesiredState, HubFacts, sample},
    model::IotHubId,
    work::WorkItem,
};
use time::{OffsetDateTime, macros::datetime};

use super::text;

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00 UTC);

static HUB: LazyLock<IotHubId> = LazyLock::new(|| {
    let id = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-iot/providers/Microsoft.Devices/IotHubs/hub1";
    IotHubId::parse(id).expect("a hub's id")
});

/// A document that allows the requests of the examples.
static STATE: LazyLock<DesiredState> = LazyLock::new(|| {
    let text = sample().replace("allowRemovals: false", "allowRemovals: true");
    DesiredState::parse(&text).expect("the sample has no mistakes")
});

/// A document of profiles, in YAML or JSON. With all defaults written out it is the same document, and it says
/// something about every hub.
pub fn profiles(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let state = match DesiredState::parse(text) {
        Ok(state) => state,
        Err(mistakes) => return assert!(!mistakes.to_string().is_empty(), "a refusal says why"),
    };
    let written = serde_json::to_string(&state).expect("what was read can be written");
    let again = DesiredState::parse(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
    for tags in [vec![], vec![("egress", "standard")]] {
        let facts = HubFacts::new(&HUB, "West US 2", tags);
        let choice = state.for_hub(&facts);
        assert_eq!(choice, again.for_hub(&facts));
        match &choice {
            Choice::Desired(_) => assert!(choice.causes().is_empty()),
            _ => assert!(!choice.causes().is_empty(), "a refusal says why"),
        }
    }
    state.demand();
    state.cosmos_accounts();
    for (_, _, schedule) in state.exports() {
        schedule.next_after(NOW);
    }
    for name in state.profile_names() {
        if let Some(quiet) = state.quiet_hours(name) {
            assert!(quiet.end(NOW).is_none_or(|end| end > NOW));
        }
    }
}

/// A request. One that is taken has a hub that is allowed and a key, and is the same when it is read again from
/// the message that it travels on in.
pub fn requests(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let request = match STATE.request(text, NOW) {
        Ok(request) => request,
        Err(mistakes) => return assert!(!mistakes.to_string().is_empty(), "a refusal says why"),
    };
    assert!(STATE.guardrails().allows_hub(&request.hub));
    assert!((1..=128).contains(&request.id.len()), "{}", request.id);
    let again = STATE.request_again(request.json().clone(), NOW).expect("it was taken before");
    assert_eq!((again.digest(), &again.id, &again.hub), (request.digest(), &request.id, &request.hub));
    let item = WorkItem::for_request(&request, NOW, None);
    assert!(item.is_true());
    let message = serde_json::to_string(&item).expect("a message");
    assert_eq!(WorkItem::parse(&message).ok(), Some(item));
}
