// One user-assigned identity that hubs have or are given: the app may attach it.
param name string
param principalId string

var managedIdentityOperator = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'f1a07417-d97a-45cb-824c-7a7467783830')

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: name
}

resource attaches 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: identity
  name: guid(identity.id, principalId, managedIdentityOperator)
  properties: { principalId: principalId, principalType: 'ServicePrincipal', roleDefinitionId: managedIdentityOperator }
}
