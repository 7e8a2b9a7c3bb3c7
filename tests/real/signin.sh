# Leads az to a local cloud, and signs in as the identity that its settings name. AZURE_CONFIG_DIR keeps it apart from
# one's own az; AZ is the program.
set -eu
az() { command "${AZ:-az}" "$@"; }
az cloud register --name local --endpoint-resource-manager "$HUBWARD_ARM_ENDPOINT" --output none
az cloud set --name local --output none
az login --identity --client-id "$AZURE_CLIENT_ID" --output none
