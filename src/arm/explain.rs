//! What some refusals mean, in our words, and what to do: the service's own say neither.

use super::error::ArmError;

impl ArmError {
    /// The service's words, and ours where they help.
    pub fn explained(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    fn hint(&self) -> Option<String> {
        let ArmError::Refused(refusal) = self else { return None };
        if refusal.has_code("LinkedAuthorizationFailed") {
            let identity = quoted_with(&refusal.message, "userassignedidentities/", "assign/action");
            let identity = identity.unwrap_or("each user-assigned identity of the hub");
            return Some(format!(
                "Hubward may not attach the identity: grant it Managed Identity Operator on {identity}"
            ));
        }
        if refusal.has_code("AuthorizationFailed") && refusal.message.contains("roleAssignments/write") {
            return Some(
                "Hubward may not grant this role there: its own Role Based Access Control Administrator, or the \
                 condition on it, does not reach so far"
                    .to_owned(),
            );
        }
        if refusal.has_code("AuthorizationFailed") {
            return Some("Hubward's own identity lacks the right for this".to_owned());
        }
        if refusal.has_code("ScopeLocked") {
            return Some("a lock is in the way: remove it, or remove the role by hand".to_owned());
        }
        if refusal.has_code("RoleAssignmentLimitExceeded") {
            return Some(
                "the subscription is full: remove unused role assignments, or share a user-assigned identity"
                    .to_owned(),
            );
        }
        match refusal.number() {
            Some(400_116) => Some(
                "the connection string was not taken; for file upload, a hub may want one with a key: set \
                 fileUpload.connection: accountKey"
                    .to_owned(),
            ),
            Some(400_117) => Some("the hub's identity may not write there (yet)".to_owned()),
            _ => None,
        }
    }
}

/// The first text in quotes that holds one word and not another.
fn quoted_with<'a>(text: &'a str, word: &str, not: &str) -> Option<&'a str> {
    text.split('\'').skip(1).step_by(2).find(|part| {
        let lower = part.to_ascii_lowercase();
        lower.contains(word) && !lower.contains(not)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::Refusal;

    fn explained(body: &str) -> String {
        ArmError::Refused(Box::new(Refusal::parse("PUT hub", 403, body.as_bytes()))).explained()
    }

    #[test]
    fn a_missing_right_to_attach_names_the_identity_and_the_role() {
        let text = explained(
            r#"{"error":{"code":"LinkedAuthorizationFailed","message":"The client 'c' with object id 'o' has permission to perform action 'Microsoft.Devices/IotHubs/write' on scope '/h'; however, it does not have permission to perform action(s) 'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress' (respectively) or the linked scope(s) are invalid."}}"#,
        );
        assert!(text.contains("Managed Identity Operator on /subscriptions/s/"), "{text}");
        assert!(text.ends_with("userAssignedIdentities/id-egress"), "{text}");
    }

    #[test]
    fn what_needs_no_words_gets_none() {
        let text = explained(r#"{"code":400111,"message":"endpoint still routed"}"#);
        assert_eq!(text, "ARM refused PUT hub with 403 400111: endpoint still routed");
    }

    #[test]
    fn what_can_be_done_is_said_where_it_is_known() {
        let refused = |code: &str, message: &str| {
            let text = explained(&format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#));
            text.rsplit("; ").next().unwrap().to_owned()
        };
        for (code, message, hint) in [
            (
                "AuthorizationFailed",
                "no 'Microsoft.Authorization/roleAssignments/write'",
                "Role Based Access Control",
            ),
            ("AuthorizationFailed", "no 'Microsoft.Devices/IotHubs/write'", "lacks the right for this"),
            (
                "Other",
                "no 'Microsoft.Authorization/roleAssignments/write'",
                "ARM refused PUT hub with 403 Other",
            ),
            ("ScopeLocked", "m", "a lock is in the way"),
            ("RoleAssignmentLimitExceeded", "m", "the subscription is full"),
            ("400116", "m", "fileUpload.connection: accountKey"),
            ("400117", "m", "may not write there (yet)"),
            ("LinkedAuthorizationFailed", "nothing in quotes", "each user-assigned identity of the hub"),
            (
                "LinkedAuthorizationFailed",
                "no 'x/userAssignedIdentities/assign/action' on 'y'",
                "each user-assigned",
            ),
        ] {
            let told = refused(code, message);
            assert!(told.contains(hint), "{code}: {told}");
        }
    }
}
