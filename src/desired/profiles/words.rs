//! Texts with a rule of their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::desired::Switch;

/// `on`, `off` or `unmanaged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::desired) enum SwitchWord {
    On,
    Off,
    #[default]
    Unmanaged,
}

impl From<SwitchWord> for Switch {
    fn from(word: SwitchWord) -> Self {
        match word {
            SwitchWord::On => Switch::On,
            SwitchWord::Off => Switch::Off,
            SwitchWord::Unmanaged => Switch::Unmanaged,
        }
    }
}

/// `automatic` or `campaign`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::desired) enum Rollout {
    #[default]
    Automatic,
    Campaign,
}

/// `repair` or `report`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::desired) enum Drift {
    #[default]
    Repair,
    Report,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::desired) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A time of day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "a time of day in quotes, from \"00:00\" to \"23:59\""))]
pub(in crate::desired) struct ClockText(
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))] pub(in crate::desired) String,
);

/// A distance from UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "a distance from UTC in quotes, such as \"+01:00\""))]
pub(in crate::desired) struct OffsetText(
    #[schemars(regex(pattern = r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$"))] pub(in crate::desired) String,
);

/// The GUID of a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "the GUID of a subscription, such as 0b1f6471-1bf0-4dda-aec3-cb9272f09590"))]
pub(in crate::desired) struct SubscriptionGuid(
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"))]
    pub(in crate::desired) String,
);

/// The name of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend(
    "patternErrorMessage" = "1 to 64 letters, digits, `.`, `_` or `-`, with a letter or digit first"
))]
pub(in crate::desired) struct ProfileName(
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))] pub(in crate::desired) String,
);

/// The name of an IoT hub, by the service's rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "the name of a hub: 3 to 50 letters, digits or `-`"))]
pub(in crate::desired) struct HubName(
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]{3,50}$"))] pub(in crate::desired) String,
);

/// The name of an endpoint or a route, by the service's rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 64 letters, digits, `.`, `_` or `-`"))]
pub(in crate::desired) struct ServiceName(
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))] pub(in crate::desired) String,
);

/// What names begin with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 32 letters, digits, `.`, `_` or `-`"))]
pub(in crate::desired) struct NamePrefix(
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,32}$"))] pub(in crate::desired) String,
);

/// The key of an enrichment. The service's published rule is for the count alone; what is allowed here
/// is what an application property's name may have in every protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 128 letters, digits, `.`, `_` or `-`"))]
pub(in crate::desired) struct EnrichmentKey(
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,128}$"))] pub(in crate::desired) String,
);

/// The name of an authorization rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 256 letters, digits, `.`, `_` or `-`"))]
pub(in crate::desired) struct RuleName(
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,256}$"))] pub(in crate::desired) String,
);

/// A message source. An open set: the service adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "the name of a message source, such as `DeviceMessages`"))]
pub(in crate::desired) struct Source(
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9]{0,63}$"))] pub(in crate::desired) String,
);

/// A text with `*`, `?`, `[a-z]` and `{one,two}`, compared without case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(in crate::desired) struct Glob(#[schemars(length(min = 1, max = 256))] pub(in crate::desired) String);

/// A duration in ISO 8601, such as `PT1H`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(in crate::desired) struct IsoText(#[schemars(length(max = 32))] pub(in crate::desired) String);
