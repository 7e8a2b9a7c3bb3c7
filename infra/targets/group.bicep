// What the app may do in one group of targets: read them, and grant hubs three roles on them and nothing else.
param principalId string

@description('Names (GUIDs) of the roles Hubward Targets, Hubward Cosmos DB Grants and Hubward Target Keys.')
param targetsRole string
param cosmosRole string
param keysRole string

param allowsKeys bool
param runsJobs bool

var rbacAdministrator = 'f58310d9-a9f6-439a-9e8d-f62e7b41a168'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, targetsRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', targetsRole)
  }
}

// The condition is the wall behind all others: whatever the app is told, it cannot grant anything else.
resource grants 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, rbacAdministrator)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', rbacAdministrator)
    condition: loadTextContent('condition.txt')
    conditionVersion: '2.0'
  }
}

resource grantsInCosmos 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, cosmosRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cosmosRole)
  }
}

resource fetchesKeys 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (allowsKeys) {
  name: guid(resourceGroup().id, principalId, keysRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keysRole)
  }
}

// Checks the input of imports, and deletes exports that are older than `keep` says.
resource blobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (runsJobs) {
  name: guid(resourceGroup().id, principalId, blobDataContributor)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}
