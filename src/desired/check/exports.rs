//! Scheduled exports: a schedule that the Functions host would take, names that tell hubs and times apart.

use super::{Around, KEY, at, endpoints};
use crate::{
    desired::{
        exports::{HUB, TIME, unscheduled},
        strict::{Mistakes, Place},
        targets::TargetKind,
    },
    schedule::Ncrontab,
};

pub(super) fn export(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
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
