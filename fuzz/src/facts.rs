//! Short texts: ids, descriptions of grants, schedules, headers.

use hubward::{
    handler::TraceParent,
    model::{IotHubId, ResourceId, claim::Claim, duration::IsoDuration},
    schedule::{self, Ncrontab},
};
use time::{Duration, OffsetDateTime};

use super::text;

/// An id prints as it was read, has one key whatever its case, and lies within its parents.
pub fn ids(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(id) = ResourceId::parse(text) else {
        assert!(IotHubId::parse(text).is_err(), "a hub's id is an id");
        return;
    };
    assert_eq!(id.to_string(), text);
    assert_eq!(serde_json::to_value(&id).ok(), Some(text.into()));
    for spelling in [id.key().to_owned(), text.to_ascii_uppercase()] {
        let other = ResourceId::parse(&spelling).expect("case does not matter");
        assert_eq!((other.key(), other.resource_type()), (id.key(), id.resource_type()));
        assert_eq!(other, id);
    }
    assert_eq!(id.subscription().len(), 36);
    assert!(!id.name().is_empty());
    assert!(id.is_within(&id));
    let parents = std::iter::successors(id.parent(), ResourceId::parent);
    for parent in parents {
        assert!(id.is_within(&parent) && !parent.is_within(&id));
    }
    if let Some(account) = id.cosmos_account() {
        assert!(id.is_within(&account));
    }
    if let Ok(hub) = IotHubId::parse(text) {
        assert_eq!(hub.resource(), &id);
        assert_eq!(hub.resource_type().as_deref(), Some(IotHubId::TYPE));
        assert!(hub.resource_group().is_some());
    }
}

/// What a description claims can be written down again and claims the same.
pub fn claims(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(name) = Claim::name_in_old(text) {
        assert!(!name.contains('/'), "an id is not a name");
    }
    let profile = Claim::profile_in(text);
    let Some(claim) = Claim::read(text) else { return };
    let purpose = profile.map_or("bulk jobs".to_owned(), |name| format!("profile {name}"));
    let written = claim.describe(&purpose);
    assert_eq!(Claim::read(&written).as_ref(), Some(&claim));
    if written.ends_with(&format!(" ({purpose})")) {
        assert_eq!(Claim::profile_in(&written), profile);
    }
}

/// `{seconds since 1970}` and, on the next line, an expression. Occurrences are whole seconds that come one
/// after the other, and the one that is due is not ahead of its time.
pub fn schedules(data: &[u8]) {
    let Some((base, expression)) = text(data).and_then(|text| text.split_once('\n')) else { return };
    let Ok(schedule) = expression.parse::<Ncrontab>() else { return };
    assert_eq!(schedule.to_string(), expression);
    let Some(base) = base.parse().ok().and_then(|base| OffsetDateTime::from_unix_timestamp(base).ok()) else {
        return;
    };
    let mut before = base;
    for _ in 0..8 {
        let Some(next) = schedule.next_after(before) else { break };
        assert!(next > before, "{next} comes after {before}");
        assert_eq!(next.nanosecond(), 0);
        let just_before = next - Duration::SECOND;
        assert_eq!(schedule.next_after(just_before), Some(next), "none is passed over");
        assert_eq!(schedule::due(&schedule, just_before, next), Some(next));
        if (0..=9999).contains(&next.year()) {
            assert_eq!(schedule::time_of(&schedule::stamp(next)), Some(next));
        }
        before = next;
    }
    let Some(last) = base.checked_sub(Duration::hours(1)) else { return };
    if let Some(due) = schedule::due(&schedule, last, base) {
        assert!(last < due && due <= base, "{due} is due");
    }
}

/// Headers, lengths of time and times in names.
pub fn words(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(trace) = TraceParent::parse(text) {
        assert_eq!(TraceParent::parse(trace.as_str()).as_ref(), Some(&trace));
        assert_eq!((trace.trace_id().len(), trace.parent_id().len()), (32, 16));
        assert!(text.contains(trace.trace_id()) && text.contains(trace.parent_id()));
    }
    if let Some(duration) = IsoDuration::parse(text) {
        assert_eq!(duration.as_str(), text);
        assert_eq!(duration.duration().as_secs(), duration.seconds());
    }
    if let Some(time) = schedule::time_of(text) {
        assert_eq!(schedule::stamp(time), text, "an occurrence has one name");
    }
}
