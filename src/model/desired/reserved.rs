//! The container that is Hubward's own: no hub may write there, whatever the document allows.

use super::ResourceId;

/// A storage container by the names in its address: an account's name is taken once in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedContainer {
    account: String,
    container: String,
}

impl ReservedContainer {
    /// The container of an address such as `https://account.blob.core.windows.net/outcomes`.
    pub fn of_address(host: &str, path: &str) -> Option<Self> {
        let account = host.split('.').next().filter(|account| !account.is_empty())?;
        let container = path.split('/').find(|part| !part.is_empty())?;
        Some(Self { account: account.to_ascii_lowercase(), container: container.to_ascii_lowercase() })
    }

    /// Whether a role at this scope, or an endpoint to it, would reach the container: it is the container
    /// itself, or the account around it.
    pub fn is_reached_by(&self, scope: &ResourceId) -> bool {
        let parts: Vec<&str> = scope.key().split('/').collect();
        let after = |kind: &str| {
            let at = parts.iter().position(|part| *part == kind)?;
            parts.get(at + 1).copied()
        };
        after("storageaccounts") == Some(&self.account)
            && after("containers").is_none_or(|container| container == self.container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_and_the_account_around_it_are_reserved_and_nothing_else() {
        let own = ReservedContainer::of_address("Egressdata.blob.core.windows.net", "/outcomes").unwrap();
        let group = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers";
        let reached = |rest: &str| own.is_reached_by(&ResourceId::parse(&format!("{group}/{rest}")).unwrap());
        let container = "blobServices/default/containers";
        assert!(reached(&format!("Microsoft.Storage/storageAccounts/EGRESSDATA/{container}/Outcomes")));
        assert!(reached("Microsoft.Storage/storageAccounts/egressdata"));
        assert!(!reached(&format!("Microsoft.Storage/storageAccounts/egressdata/{container}/archive")));
        assert!(!reached(&format!("Microsoft.Storage/storageAccounts/other/{container}/outcomes")));
        assert!(!reached("Microsoft.EventHub/namespaces/egressdata/eventhubs/outcomes"));
        assert_eq!(ReservedContainer::of_address("account.blob.core.windows.net", "/"), None);
    }
}
