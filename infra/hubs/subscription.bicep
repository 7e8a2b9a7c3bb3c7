// What the app may do with the hubs of one subscription.
targetScope = 'subscription'

param principalId string

@description('Name (GUID) of the role Hubward Hubs.')
param hubsRole string

@description('Whether bulk exports and imports are run.')
param runsJobs bool

var iotHubDataContributor = '4fc6c259-987e-4a07-842e-c321cc9d413f'

resource hubs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, hubsRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', hubsRole)
  }
}

resource jobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (runsJobs) {
  name: guid(subscription().id, principalId, iotHubDataContributor)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', iotHubDataContributor)
  }
}
