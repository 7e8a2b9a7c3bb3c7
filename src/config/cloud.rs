//! Which of Azure's clouds: what differs from one to another.

/// One of the clouds that Azure runs.
///
/// Hosts: <https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure>
/// and <https://learn.microsoft.com/azure/china/resources-developer-guide>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cloud {
    /// `public`
    #[default]
    Public,
    /// `usgov`
    UsGov,
    /// `china`
    China,
}

impl Cloud {
    /// ARM's address in this cloud.
    pub fn arm_endpoint(self) -> &'static str {
        match self {
            Cloud::Public => "https://management.azure.com",
            Cloud::UsGov => "https://management.usgovcloudapi.net",
            Cloud::China => "https://management.chinacloudapi.cn",
        }
    }

    /// The token scope of ARM. It belongs to the cloud, also when the endpoint is another.
    pub fn arm_scope(self) -> String {
        format!("{}/.default", self.arm_endpoint())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [("public", Cloud::Public), ("usgov", Cloud::UsGov), ("china", Cloud::China)]
            .into_iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name))
            .map(|(_, cloud)| cloud)
    }
}
