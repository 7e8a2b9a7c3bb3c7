// How much room a subscription with targets has for role assignments: only read, and only to warn in time.
targetScope = 'subscription'

param principalId string

@description('Name (GUID) of the role Hubward Role Assignment Usage.')
param usageRole string

resource usage 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, usageRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', usageRole)
  }
}
