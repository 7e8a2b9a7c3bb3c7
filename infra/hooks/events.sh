#!/bin/sh
# Subscribes the function HubEvent to what happens to hubs, in each subscription that has some.
#
# A subscription can have one system topic. One that is there is used, with its group; otherwise one is made
# in the group HUBWARD_EVENTS_GROUP (by default `rg-hubward-events`) of that subscription.
set -eu
: "${HUBWARD_HUB_SUBSCRIPTIONS:?run this through azd, or set what infra/main.bicep puts out}"
: "${HUBWARD_FUNCTION_APP_ID:?}"
: "${HUBWARD_DEAD_LETTER_ACCOUNT_ID:?}"
: "${AZURE_LOCATION:?}"
group=${HUBWARD_EVENTS_GROUP:-rg-hubward-events}
here=$(dirname "$0")

for subscription in $(printf '%s' "$HUBWARD_HUB_SUBSCRIPTIONS" | tr ',' ' '); do
    az provider register --subscription "$subscription" --namespace Microsoft.EventGrid --wait --output none
    found=$(az eventgrid system-topic list --subscription "$subscription" --output tsv \
        --query "[?topicType=='microsoft.resources.subscriptions' || topicType=='Microsoft.Resources.Subscriptions'].[name, resourceGroup] | [0]")
    topic=$(printf '%s' "$found" | head -n 1 | cut -f 1)
    topic_group=$(printf '%s' "$found" | tail -n 1 | cut -f 2)
    [ "$topic" != None ] || topic=
    if [ -z "$topic" ]; then
        topic_group=$group
        az group create --subscription "$subscription" --name "$group" --location "$AZURE_LOCATION" --output none
    fi
    az deployment group create --subscription "$subscription" --resource-group "$topic_group" \
        --name hubward-events --template-file "$here/../hubs/events.bicep" --output none \
        --parameters existingTopicName="$topic" functionAppId="$HUBWARD_FUNCTION_APP_ID" \
        deadLetterAccountId="$HUBWARD_DEAD_LETTER_ACCOUNT_ID"
    echo "events of hubs in $subscription come to HubEvent (system topic ${topic:-hubward-hubs} in $topic_group)"
done
