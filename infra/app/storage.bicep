// The storage account of the app: the host's own blobs and tables, queues, outcomes, the desired state.
//
// Shared keys are off: everybody comes with an identity. Dead letters of Event Grid lie in an account of their own,
// because the system topic of a subscription cannot have an identity, and Event Grid then needs one that takes keys.
// https://learn.microsoft.com/azure/event-grid/enable-identity-system-topics
param token string
param location string
param tags object
param appPrincipalId string
param deployerId string
param deployerType string

var queueNames = ['hub-events', 'hub-requests', 'hub-outcomes', 'hub-failed']
var deploymentContainerName = 'deployments'
var outcomesContainerName = 'outcomes'
var profilesContainerName = 'profiles'

// What the host asks for on its own account: blobs (Owner, for leases), queues, tables.
var blobDataOwner = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
var queueDataContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
var tableDataContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
var blobDataContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'sthubward${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: { bypass: 'AzureServices', defaultAction: 'Allow' }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = [for name in [
  deploymentContainerName
  outcomesContainerName
  profilesContainerName
]: {
  parent: blobs
  name: name
  properties: { publicAccess: 'None' }
}]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' = [for name in queueNames: {
  parent: queues
  name: name
}]

resource hostRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [
  blobDataOwner
  queueDataContributor
  tableDataContributor
]: {
  scope: account
  name: guid(account.id, appPrincipalId, role)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: role }
}]

resource deployerBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerId)) {
  scope: account
  name: guid(account.id, deployerId, blobDataContributor)
  properties: { principalId: deployerId, principalType: deployerType, roleDefinitionId: blobDataContributor }
}

resource deployerQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerId)) {
  scope: account
  name: guid(account.id, deployerId, queueDataContributor)
  properties: { principalId: deployerId, principalType: deployerType, roleDefinitionId: queueDataContributor }
}

resource deadLetterAccount 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'stdead${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: true
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource deadLetterBlobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: deadLetterAccount
  name: 'default'
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: deadLetterBlobs
  name: 'hub-events-dead'
  properties: { publicAccess: 'None' }
}

output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
output queueEndpoint string = account.properties.primaryEndpoints.queue
output tableEndpoint string = account.properties.primaryEndpoints.table
output deploymentContainer string = deploymentContainerName
output outcomesContainer string = outcomesContainerName
output profilesContainer string = profilesContainerName
output deadLetterAccountId string = deadLetterAccount.id
