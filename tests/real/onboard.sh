# The reference onboarding, by hand, as Microsoft's pages tell it for the az CLI: identity, grants, endpoints, routes,
# file upload. onboard.sh grants, and when the grants work, onboard.sh routes. Takes SUBSCRIPTION and HUB, and AZ, the
# program.
set -eu
az() { command "${AZ:-az}" "$@"; }

GROUP=rg-plant-01
DATA="/subscriptions/$SUBSCRIPTION/resourceGroups/rg-data/providers"
NS1="$DATA/Microsoft.EventHub/namespaces/ns1"
SB1="$DATA/Microsoft.ServiceBus/namespaces/sb1"
ARCHIVE="$DATA/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive"

if [ "$1" = grants ]; then
    az iot hub identity assign --name "$HUB" --resource-group "$GROUP" --system-assigned --output none
    principal=$(az iot hub show --name "$HUB" --resource-group "$GROUP" --query identity.principalId --output tsv)

    grant() {
        az role assignment create --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal \
            --role "$1" --scope "$2" --output none
    }
    grant 'Azure Event Hubs Data Sender' "$NS1/eventhubs/telemetry-westus2"
    grant 'Azure Event Hubs Data Sender' "$NS1/eventhubs/alerts"
    grant 'Azure Service Bus Data Sender' "$SB1/queues/commands"
    grant 'Azure Service Bus Data Sender' "$SB1/topics/changes"
    grant 'Storage Blob Data Contributor' "$ARCHIVE"
    exit
fi

endpoint() {
    az iot hub routing-endpoint create --hub-name "$HUB" --resource-group "$GROUP" --auth-type identityBased \
        --identity '[system]' --endpoint-resource-group rg-data --endpoint-subscription-id "$SUBSCRIPTION" \
        --output none "$@"
}
EVENTS=sb://ns1.servicebus.windows.net BUS=sb://sb1.servicebus.windows.net
endpoint --endpoint-name telemetry --endpoint-type eventhub --endpoint-uri "$EVENTS" --entity-path telemetry-westus2
endpoint --endpoint-name alerts --endpoint-type eventhub --endpoint-uri "$EVENTS" --entity-path alerts
endpoint --endpoint-name commands --endpoint-type servicebusqueue --endpoint-uri "$BUS" --entity-path commands
endpoint --endpoint-name changes --endpoint-type servicebustopic --endpoint-uri "$BUS" --entity-path changes
endpoint --endpoint-name archive --endpoint-type azurestoragecontainer --container archive --encoding json \
    --batch-frequency 60 --endpoint-uri https://egressdata.blob.core.windows.net

route() {
    az iot hub route create --hub-name "$HUB" --resource-group "$GROUP" --route-name "$1" --endpoint-name "$1" \
        --source-type "$2" --condition "$3" --enabled true --output none
}
route telemetry devicemessages true
route alerts devicemessages "level = 'critical'"
route commands devicelifecycleevents true
route changes twinchangeevents true
route archive devicemessages true

az iot hub message-enrichment create --name "$HUB" --resource-group "$GROUP" --key hub --value '$iothubname' \
    --endpoints telemetry archive --output none
az iot hub update --name "$HUB" --resource-group "$GROUP" --fileupload-storage-auth-type identityBased \
    --fileupload-storage-identity '[system]' --fileupload-storage-container-name archive \
    --fileupload-storage-connectionstring 'DefaultEndpointsProtocol=https;EndpointSuffix=core.windows.net;AccountName=egressdata' \
    --fileupload-sas-ttl 1 --fileupload-notifications true --fileupload-notification-ttl 1 \
    --fileupload-notification-max-delivery-count 10 --output none
az iot hub show --name "$HUB" --resource-group "$GROUP" --output json
