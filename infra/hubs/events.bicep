// What happens to hubs of one subscription, to the function HubEvent. Deployed into the group of the system topic,
// after the code of the functions.
@description('Name of the system topic that this subscription has, in this group: there can be only one. Empty: it has none.')
param existingTopicName string = ''

@description('Resource id of the function app.')
param functionAppId string

@description('Resource id of the storage account that takes what could not be delivered.')
param deadLetterAccountId string

var topicName = empty(existingTopicName) ? 'hubward-hubs' : existingTopicName

resource made 'Microsoft.EventGrid/systemTopics@2022-06-15' = if (empty(existingTopicName)) {
  name: 'hubward-hubs'
  location: 'global'
  properties: {
    source: subscription().id
    topicType: 'Microsoft.Resources.Subscriptions'
  }
}

resource topic 'Microsoft.EventGrid/systemTopics@2022-06-15' existing = {
  name: topicName
}

resource hubEvents 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2022-06-15' = {
  parent: topic
  name: 'hubward'
  dependsOn: [made]
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: '${functionAppId}/functions/HubEvent'
        maxEventsPerBatch: 1
        preferredBatchSizeInKilobytes: 64
      }
    }
    filter: {
      includedEventTypes: [
        'Microsoft.Resources.ResourceWriteSuccess'
        'Microsoft.Resources.ResourceDeleteSuccess'
      ]
      isSubjectCaseSensitive: false
      advancedFilters: [
        {
          operatorType: 'StringIn'
          key: 'data.operationName'
          values: [
            'Microsoft.Devices/IotHubs/write'
            'Microsoft.Devices/IotHubs/delete'
          ]
        }
      ]
    }
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
    deadLetterDestination: {
      endpointType: 'StorageBlob'
      properties: {
        resourceId: deadLetterAccountId
        blobContainerName: 'hub-events-dead'
      }
    }
  }
}
