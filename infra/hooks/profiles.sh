#!/bin/sh
# Puts the desired state where the app reads it, unless one is there: a fleet's profiles are not overwritten
# by a deployment.
set -eu
: "${HUBWARD_STORAGE_ACCOUNT:?run this through azd, or set what infra/main.bicep puts out}"
: "${HUBWARD_PROFILES_CONTAINER:?}"
file=${HUBWARD_PROFILES_FILE:-profiles.yaml}

exists=$(az storage blob exists --auth-mode login --account-name "$HUBWARD_STORAGE_ACCOUNT" \
    --container-name "$HUBWARD_PROFILES_CONTAINER" --name profiles.yaml --query exists --output tsv)
if [ "$exists" = true ]; then
    echo "profiles.yaml is in $HUBWARD_STORAGE_ACCOUNT/$HUBWARD_PROFILES_CONTAINER and stays as it is"
    exit 0
fi
if [ ! -f "$file" ]; then
    echo "There is no $file yet. Write one (profiles.sample.yaml is a start), check it with \`hubward plan\`, then:" >&2
    echo "  az storage blob upload --auth-mode login --account-name $HUBWARD_STORAGE_ACCOUNT" \
        "--container-name $HUBWARD_PROFILES_CONTAINER --name profiles.yaml --file profiles.yaml" >&2
    echo "Until then the functions change nothing." >&2
    exit 0
fi
az storage blob upload --auth-mode login --account-name "$HUBWARD_STORAGE_ACCOUNT" \
    --container-name "$HUBWARD_PROFILES_CONTAINER" --name profiles.yaml --file "$file" --output none
echo "$file is in $HUBWARD_STORAGE_ACCOUNT/$HUBWARD_PROFILES_CONTAINER"
