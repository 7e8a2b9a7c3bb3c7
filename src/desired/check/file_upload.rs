//! File upload and cloud-to-device messages: durations, and an account that the service takes.
//!
//! Ranges: <https://learn.microsoft.com/azure/iot-hub/iot-hub-configure-file-upload>,
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-c2d>.

use super::{Around, Range, duration, endpoints};
use crate::desired::{
    strict::{Mistakes, Place},
    targets::TargetKind,
};

const SAS_TTL: Range = Range { low: "PT1M", high: "P1D" };
const LOCK: Range = Range { low: "PT5S", high: "PT5M" };
const TTL: Range = Range { low: "PT1M", high: "P2D" };

pub(super) fn file_upload(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    endpoints::sends_as(&place.field("as"), around, mistakes);
    let connection = place.field("connection");
    if connection.text() == Some("accountKey") && !around.allows_keys {
        mistakes.push(connection.mistake(
            "this writes a key into the hub, and the guardrails do not allow keys",
            "write `identityOnly`, or write `allowKeys: true` under `guardrails`",
        ));
    }
    let container = place.field("container");
    let template = endpoints::sends_to(TargetKind::StorageContainer, &container, around, mistakes);
    if let Some(subscription) = template.and_then(|template| template.subscription())
        && !around.subscriptions.contains(&subscription)
    {
        mistakes.push(container.mistake(
            "the account is in a subscription without hubs, and file upload needs one in the hub's own",
            "choose an account in the hubs' subscription, such as `/subscriptions/{subscription}/…`",
        ));
    }
    duration(&place.field("sasTtl"), &SAS_TTL, mistakes);
    let notifications = place.field("notifications");
    duration(&notifications.field("lockDuration"), &LOCK, mistakes);
    duration(&notifications.field("ttl"), &TTL, mistakes);
}

pub(super) fn cloud_to_device(place: &Place<'_>, mistakes: &mut Mistakes) {
    duration(&place.field("defaultTtl"), &TTL, mistakes);
}
