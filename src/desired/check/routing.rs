//! Routes and enrichments: sources, and the endpoints that they name.

use std::collections::BTreeSet;

use super::{Around, BUILT_IN, unique};
use crate::desired::strict::{Mistakes, Place, nearest, shown};

/// The message sources known today.
const SOURCES: [&str; 7] = [
    "DeviceMessages",
    "TwinChangeEvents",
    "DeviceLifecycleEvents",
    "DeviceJobLifecycleEvents",
    "DeviceConnectionStateEvents",
    "DigitalTwinChangeEvents",
    "MqttBrokerMessages",
];

/// A source that the service's model lists and that no route can have.
const INVALID_SOURCE: &str = "Invalid";

pub(super) fn routes(profile: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let routes: Vec<Place<'_>> = profile.field("routes").items().collect();
    unique(routes.iter().map(|route| route.field("name")), "route", mistakes);
    for route in &routes {
        source(&route.field("source"), mistakes);
        leads_to(&route.field("endpoint"), around, mistakes);
    }
}

pub(super) fn enrichments(profile: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let mut keys = BTreeSet::new();
    for enrichment in profile.field("enrichments").items() {
        let key = enrichment.field("key");
        // The service tells keys apart by case.
        if let Some(text) = key.text()
            && !keys.insert(text)
        {
            let message = format!("another enrichment has the key `{}`", shown(text));
            mistakes.push(key.mistake(message, "choose another key"));
        }
        let mut names = BTreeSet::new();
        for endpoint in enrichment.field("endpoints").items() {
            leads_to(&endpoint, around, mistakes);
            if let Some(text) = endpoint.text()
                && !names.insert(text.to_lowercase())
            {
                mistakes.push(endpoint.mistake("this endpoint is listed already", "drop the line"));
            }
        }
    }
}

fn leads_to(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let (Some(text), Some(names)) = (place.text(), &around.endpoints) else { return };
    if text == BUILT_IN || names.contains(&text) {
        return;
    }
    let fix = match nearest(text, names.iter().copied().chain([BUILT_IN])) {
        Some(near) => format!("write `{near}`"),
        None => format!("write the name of one of the profile's endpoints, or `{BUILT_IN}`"),
    };
    mistakes.push(place.mistake(format!("the profile has no endpoint `{}`", shown(text)), fix));
}

fn source(place: &Place<'_>, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    if text.eq_ignore_ascii_case(INVALID_SOURCE) {
        let fix = format!("write a message source, such as `{}`", SOURCES[0]);
        mistakes.push(place.mistake(format!("`{text}` is no source that a route can have"), fix));
    } else if let Some(near) = nearest(text, SOURCES).filter(|_| !SOURCES.contains(&text)) {
        mistakes
            .push(place.mistake(format!("there is no source `{}`", shown(text)), format!("write `{near}`")));
    }
}
