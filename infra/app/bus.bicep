// The Service Bus namespace with the queues of work and of requests. No keys: local authentication is off.
param name string
param location string
param tags object
param appPrincipalId string

var dataSender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
var dataReceiver = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: 'Standard', tier: 'Standard' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
  }
}

// One session a hub: the broker is the lock. Ids are remembered for a day: a process that has just started asks
// again for the exports of the last twelve hours.
resource work 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: 'hub-work'
  properties: {
    requiresSession: true
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'P1D'
    lockDuration: 'PT5M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P14D'
  }
}

resource requests 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: 'hub-requests'
  properties: {
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'P1D'
    lockDuration: 'PT5M'
    maxDeliveryCount: 10
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: 'P14D'
  }
}

resource sendsWork 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: work
  name: guid(work.id, appPrincipalId, dataSender)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: dataSender }
}

resource receivesWork 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: work
  name: guid(work.id, appPrincipalId, dataReceiver)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: dataReceiver }
}

resource sendsRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: requests
  name: guid(requests.id, appPrincipalId, dataSender)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: dataSender }
}

resource receivesRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: requests
  name: guid(requests.id, appPrincipalId, dataReceiver)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: dataReceiver }
}

output id string = namespace.id
output fullyQualifiedNamespace string = replace(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':443/', '')
