//! From what a request says to a part of a profile: put into a document of its own, with the guardrails
//! in force, and checked as one.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Ask, RequestKind};
use crate::{
    desired::{
        DesiredState, SCHEMA,
        check::{self, KEY, SYSTEM},
        profiles::ProfilesDoc,
        resolve::Profile,
        strict::{Document, Mistake, Mistakes, Place, nearest, shown},
        targets::Fault,
    },
    model::{
        IotHubId, ResourceId,
        job::{CONFIGURATIONS, JobDoor, JobId, JobSpec},
    },
};

/// The name of the profile that a request becomes, in reports and on grants.
pub(super) const NAME: &str = "request";
/// Where that profile stands in its document.
const AT: &str = "profiles[0].";

impl DesiredState {
    /// What a request asks for. `None` where that cannot be told; then there is a mistake.
    pub(super) fn ask(
        &self,
        kind: RequestKind,
        root: &Place<'_>,
        value: &Value,
        mistakes: &mut Mistakes,
    ) -> Option<Ask> {
        let member = |name: &str| value.get(name).cloned().unwrap_or_default();
        let text = |name: &str| root.field(name).text().map(str::to_owned);
        match kind {
            RequestKind::Reconcile => Some(Ask::OwnProfile),
            RequestKind::Onboard => {
                self.profile_named(&root.field("profile"), mistakes).map(Ask::ProfileNamed)
            }
            RequestKind::SetIdentity => {
                let identity = root.field("identity");
                for list in ["user", "detach"] {
                    identity.field(list).items().for_each(|id| self.may_use(&id, mistakes));
                }
                self.fragment(&json!({"identity": member("identity")}), &[], mistakes)
            }
            RequestKind::EnsureEndpoint => {
                let sends = root.field("endpoint").field("as");
                self.sends_as(&sends, mistakes)?;
                let part = json!({
                    "identity": identity_for(sends.text()?),
                    "endpoints": [member("endpoint")],
                });
                self.fragment(&part, &[("endpoints[0]", "endpoint")], mistakes)
            }
            RequestKind::SetEndpointAuth => {
                self.sends_as(&root.field("as"), mistakes)?;
                let (endpoint, identity) = (text("endpoint")?, text("as")?);
                Some(Ask::EndpointAuth { endpoint, identity, key_rule: text("keyRule") })
            }
            RequestKind::RemoveEndpoint => {
                let with_routes = root.field("withRoutes").is_true();
                check::reserved(&root.field("endpoint"), mistakes);
                Some(Ask::RemoveEndpoint { endpoint: text("endpoint")?, with_routes })
            }
            RequestKind::EnsureRoutes => {
                let names = ["routes", "enrichments", "fallback"];
                let given = names.into_iter().filter(|name| value.get(*name).is_some());
                let part: Map<String, Value> = given.map(|name| (name.to_owned(), member(name))).collect();
                if part.is_empty() {
                    let fix = "add `routes`, `enrichments` or `fallback`";
                    mistakes.push(root.mistake("this asks for nothing", fix));
                }
                self.fragment(&Value::Object(part), &[], mistakes)
            }
            RequestKind::ConfigureFileUpload => {
                let sends = root.field("fileUpload").field("as");
                self.sends_as(&sends, mistakes)?;
                let mut part = json!({
                    "identity": identity_for(sends.text()?),
                    "fileUpload": member("fileUpload"),
                });
                if root.field("cloudToDevice").exists() {
                    part["cloudToDevice"] = member("cloudToDevice");
                }
                self.fragment(&part, &[], mistakes)
            }
            RequestKind::ExportDevices | RequestKind::ImportDevices => self.job(kind, root, value, mistakes),
            RequestKind::CancelJob => {
                let job_id = JobId::try_from(text("jobId")?).ok()?;
                Some(Ask::CancelJob { job_id })
            }
            RequestKind::Offboard => {
                confirmed(root, mistakes);
                if !self.guardrails().allow_removals {
                    let fix = "write `allowRemovals: true` under `guardrails`";
                    mistakes.push(
                        root.field("kind")
                            .mistake("offboarding removes, and the guardrails do not allow it", fix),
                    );
                }
                let place = root.field("profile");
                let profile = if place.exists() { Some(self.profile_named(&place, mistakes)?) } else { None };
                Some(Ask::Offboard { profile, turn_identity_off: root.field("turnIdentityOff").is_true() })
            }
        }
    }

    /// A bulk job: container and identity are checked as those of a scheduled export.
    fn job(
        &self,
        kind: RequestKind,
        root: &Place<'_>,
        value: &Value,
        mistakes: &mut Mistakes,
    ) -> Option<Ask> {
        let text = |name: &str| root.field(name).text().map(str::to_owned);
        self.sends_as(&root.field("as"), mistakes)?;
        let (container, sends_as, blob_name) = (text("container")?, text("as")?, text("blobName")?);
        let job = if kind == RequestKind::ImportDevices {
            confirmed(root, mistakes);
            if let Some(Ok(hub)) = root.field("hub").text().map(IotHubId::parse)
                && !self.guardrails().allows_import(&hub)
            {
                mistakes.push(root.field("hub").mistake(
                    format!(
                        "`guardrails.allowImports` does not name {}: an import cannot be undone",
                        hub.name()
                    ),
                    "add the hub's name there",
                ));
            }
            JobSpec::Import { blob_name, confirm: text("confirm")? }
        } else {
            let keys = root.field("excludeKeys");
            if keys.is_false() && !self.guardrails().allow_keys {
                mistakes.push(keys.mistake(
                    "this writes the keys of all devices into a blob, and the guardrails do not allow keys",
                    "leave it out, or write `allowKeys: true` under `guardrails`",
                ));
            }
            let second = root.field("includeConfigurations").is_true();
            JobSpec::Export {
                configurations_blob_name: second.then(|| format!("{blob_name}{CONFIGURATIONS}")),
                blob_name,
                exclude_keys: !root.field("excludeKeys").is_false(),
            }
        };
        // A word that is none has been told by the schema.
        let through: JobDoor =
            value.get("through").and_then(|word| JobDoor::deserialize(word).ok()).unwrap_or_default();
        let export = json!({"name": NAME, "schedule": "0 0 0 1 1 *", "container": container, "as": sends_as});
        let part = json!({"identity": identity_for(&sends_as), "exports": [export]});
        match self.fragment(&part, &[("exports[0].", "")], mistakes)? {
            Ask::Fragment(part) => Some(Ask::Job { part, job, through }),
            _ => None,
        }
    }

    /// The name of a profile, as the document writes it.
    fn profile_named(&self, place: &Place<'_>, mistakes: &mut Mistakes) -> Option<String> {
        let name = place.text()?;
        if let Some(known) = self.profile_names().find(|known| known.eq_ignore_ascii_case(name)) {
            return Some(known.to_owned());
        }
        let fix = match nearest(name, self.profile_names()) {
            Some(near) => format!("write `{near}`"),
            None => "write the name of a profile in profiles.yaml".to_owned(),
        };
        mistakes.push(place.mistake(format!("there is no profile `{}`", shown(name)), fix));
        None
    }

    /// A profile that says nothing but this, if it has no mistakes. `renamed` are places that have
    /// another name in the request.
    pub(super) fn fragment(
        &self,
        part: &Value,
        renamed: &[(&str, &str)],
        mistakes: &mut Mistakes,
    ) -> Option<Ask> {
        let mut profile = json!({"name": NAME});
        for (name, value) in part.as_object()? {
            profile[name] = value.clone();
        }
        let whole = json!({"version": 1, "guardrails": self.document.guardrails, "profiles": [profile]});
        let document = Document::from_value(whole);
        let mut found = SCHEMA.check(&document);
        check::check_part(&document.root(), &mut found);
        if !found.is_empty() {
            mistakes.append(found.at_paths(|path| {
                let path = path.strip_prefix(AT).unwrap_or(path);
                let renamed = renamed
                    .iter()
                    .find_map(|(here, there)| Some(format!("{there}{}", path.strip_prefix(here)?)));
                renamed.unwrap_or_else(|| path.to_owned())
            }));
            return None;
        }
        let document: ProfilesDoc = match SCHEMA.read(&document) {
            Ok(document) => document,
            Err(disagreement) => {
                mistakes.append(disagreement);
                return None;
            }
        };
        match Profile::compile(0, document.profiles.first()?) {
            Ok(profile) => Some(Ask::Fragment(Box::new(profile))),
            Err(fault) => {
                let Fault { message, fix } = fault;
                mistakes.push(Mistake { at: None, path: String::new(), message, fix });
                None
            }
        }
    }

    /// What a request may send with: in full, since it has no list of identities to choose a name from.
    /// `None` where that cannot be told.
    fn sends_as(&self, place: &Place<'_>, mistakes: &mut Mistakes) -> Option<()> {
        let text = place.text()?;
        if text == SYSTEM || text == KEY {
            return Some(());
        }
        if let Some(near) = nearest(text, [SYSTEM, KEY]) {
            mistakes
                .push(place.mistake(format!("`{}` is no identity", shown(text)), format!("write `{near}`")));
            return None;
        }
        self.may_use(place, mistakes);
        check::user(text).ok().map(|_| ())
    }

    /// Whether a request may name a user-assigned identity. Whoever holds it gets what the hub gets, so
    /// a message cannot bring one of its own: it is one that a profile lists, or lies in a scope that
    /// the guardrails name for it.
    fn may_use(&self, place: &Place<'_>, mistakes: &mut Mistakes) {
        let Some(text) = place.text() else { return };
        match check::user(text) {
            Err(fault) => mistakes.push(check::at(place, fault)),
            Ok(id) if self.knows_identity(&id) => {}
            Ok(_) => mistakes.push(place.mistake(
                "this identity is in no profile and outside `guardrails.identities`",
                "add it to one of the two, or send with another",
            )),
        }
    }

    /// Whether a request may bring this identity.
    pub(super) fn knows_identity(&self, id: &ResourceId) -> bool {
        self.guardrails().identities.iter().any(|scope| id.is_within(scope))
            || self.profiles.iter().any(|profile| profile.identities().contains(id))
    }
}

/// The identity block that lets something send as this.
pub(super) fn identity_for(sends_as: &str) -> Value {
    match sends_as {
        SYSTEM => json!({"system": "on"}),
        KEY => json!({}),
        id => json!({"user": [id]}),
    }
}

/// Whether the hub's name was written once more.
pub(super) fn confirmed(root: &Place<'_>, mistakes: &mut Mistakes) {
    let (hub, confirm) = (root.field("hub"), root.field("confirm"));
    let (Some(hub), Some(name)) = (hub.text(), confirm.text()) else { return };
    let wanted = hub.rsplit('/').next().unwrap_or_default();
    if !name.eq_ignore_ascii_case(wanted) {
        let message = format!("`{}` is not the hub's name", shown(name));
        mistakes.push(
            confirm.mistake(message, format!("write `{}`, if that is the hub you mean", shown(wanted))),
        );
    }
}
