//! Scheduled exports: a schedule that the Functions host would take, names that tell hubs and times apart.

use std::collections::BTreeMap;

use super::{Around, KEY, at, endpoints, unique};
use crate::{
    desired::{
        exports::{HUB, TIME, blob_name, unscheduled},
        strict::{Mistakes, Place},
        targets::TargetKind,
    },
    model::job::CONFIGURATIONS,
    schedule::Ncrontab,
};

/// All exports of a profile.
pub(super) fn exports(list: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let exports: Vec<Place<'_>> = list.items().collect();
    unique(exports.iter().map(|export| export.field("name")), "export", mistakes);
    for place in &exports {
        export(place, around, mistakes);
    }
    apart(&exports, mistakes);
}

/// No two exports make the same blobs: one would overwrite the other's, and `keep` of one would delete them.
fn apart(exports: &[Place<'_>], mistakes: &mut Mistakes) {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for export in exports {
        let (container, blob) = (export.field("container"), export.field("blobName"));
        // A name that is not a text has been told already.
        let written = if blob.exists() { blob.text().map(Some) } else { Some(None) };
        let (Some(container), Some(name), Some(written)) =
            (container.text(), export.field("name").text(), written)
        else {
            continue;
        };
        let first = blob_name(written, name);
        let second =
            export.field("includeConfigurations").is_true().then(|| format!("{first}{CONFIGURATIONS}"));
        for name in [Some(first), second].into_iter().flatten() {
            let key = (container.to_lowercase(), name);
            if let Some(other) = seen.get(&key) {
                let message = format!("blobs named `{}` are made in this container by {other} too", key.1);
                let place = if blob.exists() { &blob } else { export };
                mistakes.push(
                    place.mistake(message, "write a `blobName` that no other export of the profile makes"),
                );
            } else {
                seen.insert(key, export.path().to_owned());
            }
        }
    }
}

fn export(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let identity = place.field("as");
    if identity.text() == Some(KEY) {
        mistakes.push(
            identity.mistake("an export goes with an identity, never with a key", "write `as: system`"),
        );
    } else {
        endpoints::sends_as(&identity, around, mistakes);
    }
    endpoints::sends_to(TargetKind::StorageContainer, &place.field("container"), around, mistakes);
    let schedule = place.field("schedule");
    if let Some(Err(error)) = schedule.text().map(str::parse::<Ncrontab>) {
        mistakes.push(at(&schedule, unscheduled(&error)));
    }
    let blob = place.field("blobName");
    if let Some(name) = blob.text()
        && [HUB, TIME].iter().any(|word| name.matches(word).count() != 1)
    {
        mistakes.push(blob.mistake(
            "the name has to hold `{hub}` and `{time}` once each: without them, exports overwrite one another",
            "write such as `{hub}/nightly-{time}.txt`",
        ));
    }
}
