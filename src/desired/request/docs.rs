//! Requests as they are written: these types *are* their schema.
//!
//! What a request names of a hub has the types of a profile: it is a part of one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::profiles::{
    CloudToDeviceDoc, EndpointDoc, EnrichmentDoc, FileUploadDoc, IdentityDoc, ProfileName, RouteDoc,
    RuleName, ServiceName, SwitchWord, Through,
};

/// A key that makes a request itself, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend(
    "patternErrorMessage" = "1 to 128 letters, digits, `.`, `_`, `:` or `-`, with a letter or digit first"
))]
pub(super) struct RequestKey(
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"))] pub(super) String,
);

/// A line that people read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 256 characters on one line"))]
pub(super) struct Line(#[schemars(regex(pattern = r"^[^\p{Cc}\p{Cf}]{1,256}$"))] pub(super) String);

/// The name of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 900 printable characters"))]
pub(super) struct BlobName(#[schemars(regex(pattern = r"^[^\p{Cc}]{1,900}$"))] pub(super) String);

/// A hub's id of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 128 letters, digits, `-` or `_`"))]
pub(super) struct JobIdText(#[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,128}$"))] pub(super) String);

fn yes() -> bool {
    true
}

/// The parts that all requests have, and each kind's own.
macro_rules! requests {
    ($($(#[$about:meta])* $kind:ident { $($(#[$rule:meta])* $field:ident: $type:ty,)* })*) => {
        /// What a request can ask for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum RequestKind {
            $($(#[$about])* $kind,)*
        }

        impl RequestKind {
            /// All of them.
            pub const ALL: &'static [RequestKind] = &[$(RequestKind::$kind),*];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(RequestKind::$kind => stringify!($kind),)* }
            }

            /// The schema of requests of this kind.
            pub(super) fn make_schema(self) -> crate::desired::strict::Schema {
                match self { $(RequestKind::$kind => crate::desired::strict::Schema::of::<$kind>(),)* }
            }
        }

        $(
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            pub(super) struct $kind {
                /// The version of this contract. There is one.
                #[schemars(extend("const" = "hubward/v1"))]
                pub(super) schema: String,
                /// What is asked for.
                #[schemars(extend("const" = stringify!($kind)))]
                pub(super) kind: String,
                /// The idempotency key: the same request sent twice is done once.
                pub(super) id: RequestKey,
                /// The hub's resource id.
                pub(super) hub: String,
                /// Who asks.
                pub(super) requested_by: Line,
                /// Why.
                pub(super) reason: Line,
                /// When it may begin, in RFC 3339 with an offset: at most 30 days ahead.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String")]
                pub(super) not_before: Option<String>,
                /// Whether it is only planned: the outcome is `Planned`, with the steps.
                #[serde(default)]
                pub(super) dry_run: bool,
                $($(#[$rule])* pub(super) $field: $type,)*
            }
        )*
    };
}

requests! {
    /// Makes the hub what its profile says, now.
    Reconcile {}

    /// Makes the hub what a profile says, whatever hubs that is for.
    Onboard {
        /// The profile's name.
        profile: ProfileName,
    }

    /// Turns the system-assigned identity on or off, attaches and detaches user-assigned ones.
    SetIdentity {
        /// As in a profile.
        identity: IdentityDoc,
    }

    /// Creates or changes one routing endpoint, with the identity and the role that it needs.
    EnsureEndpoint {
        /// As in a profile. `as` is `system`, `key`, or the id of a user-assigned identity.
        endpoint: EndpointDoc,
    }

    /// Changes what an endpoint authenticates with, and nothing else of it.
    SetEndpointAuth {
        /// The endpoint's name.
        endpoint: ServiceName,
        /// `system`, `key`, or the id of a user-assigned identity.
        #[serde(rename = "as")]
        identity: String,
        /// With `key`: the authorization rule whose key it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "RuleName")]
        key_rule: Option<RuleName>,
    }

    /// Removes one endpoint, if `guardrails.allowRemovals` is `true`.
    RemoveEndpoint {
        /// The endpoint's name.
        endpoint: ServiceName,
        /// Whether routes and enrichments that name no other endpoint go with it.
        #[serde(default)]
        with_routes: bool,
    }

    /// Creates or changes routes and enrichments, to endpoints that the hub has.
    EnsureRoutes {
        /// As in a profile.
        #[serde(default)]
        #[schemars(length(max = 100))]
        routes: Vec<RouteDoc>,
        /// As in a profile.
        #[serde(default)]
        #[schemars(length(max = 10))]
        enrichments: Vec<EnrichmentDoc>,
        /// As in a profile.
        #[serde(default)]
        fallback: SwitchWord,
    }

    /// Sets up file upload, with the identity and the role that it needs.
    ConfigureFileUpload {
        /// As in a profile. `as` is `system`, `key`, or the id of a user-assigned identity.
        file_upload: FileUploadDoc,
        /// As in a profile.
        #[serde(default)]
        cloud_to_device: CloudToDeviceDoc,
    }

    /// Exports the hub's devices into a blob, with an identity of the hub.
    ExportDevices {
        /// The id of the storage container, with placeholders as in an endpoint.
        container: String,
        /// `system`, or the id of a user-assigned identity. The hub has it already.
        #[serde(rename = "as")]
        identity: String,
        /// The blob to write. One of that name is written over.
        blob_name: BlobName,
        /// Whether the devices' keys are left out.
        #[serde(default = "yes")]
        exclude_keys: bool,
        /// Whether configurations and deployments are exported too, into a blob of the same name with
        /// `.configurations` behind it.
        #[serde(default)]
        include_configurations: bool,
        /// Which of the hub's doors the job goes through.
        #[serde(default)]
        through: Through,
    }

    /// Creates, changes and deletes devices as a blob says, if `guardrails.allowImports` names the hub.
    /// Cannot be undone.
    ImportDevices {
        /// The id of the storage container, with placeholders as in an endpoint.
        container: String,
        /// `system`, or the id of a user-assigned identity. The hub has it already.
        #[serde(rename = "as")]
        identity: String,
        /// The blob with one device a line.
        blob_name: BlobName,
        /// The hub's name once more: whoever asks has looked.
        confirm: String,
        /// Which of the hub's doors the job goes through.
        #[serde(default)]
        through: Through,
    }

    /// Cancels a running export or import, through the hub's own service API.
    CancelJob {
        /// The hub's id of the job.
        job_id: JobIdText,
    }

    /// Takes away what a profile lists or owns, and the roles that nothing needs then. No profile may match
    /// the hub any more: it would bring everything back.
    Offboard {
        /// The profile that the hub is taken out of. Without it, only roles are taken away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        profile: Option<ProfileName>,
        /// The hub's name once more: whoever asks has looked.
        confirm: String,
        /// Whether the system-assigned identity is turned off too.
        #[serde(default)]
        turn_identity_off: bool,
    }
}
