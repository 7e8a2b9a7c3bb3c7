// Everything that Hubward needs, in one deployment of a subscription: the function app and what it stands on, the
// roles of its identity on the hubs' subscriptions and on the targets' groups, alerts.
//
// Event subscriptions come after the code (hubs/events.bicep): Event Grid checks that the function is there.
targetScope = 'subscription'

@description('Name of this installation. It is part of the names of the group and of its resources.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of the function app and what belongs to it. It has to offer Flex Consumption.')
@minLength(1)
param location string

@description('Ids of the subscriptions that hubs are in, with commas between: those of guardrails.subscriptions. Empty: this one.')
param hubSubscriptions string = ''

@description('Groups with targets, as /subscriptions/{id}/resourceGroups/{name}, with commas between: no wider than guardrails.targets.')
@minLength(1)
param targetGroups string

@description('Resource ids of user-assigned identities that hubs have or are given, with commas between.')
param hubIdentities string = ''

@description('Whether bulk exports and imports are run.')
param runsJobs bool = false

@description('Whether endpoints may be given keys (guardrails.allowKeys): the way back from an identity.')
param allowsKeys bool = false

@description('Version of the custom runtime; compare with `az functionapp list-flexconsumption-runtimes --runtime custom`.')
param runtimeVersion string = '1.0'

@description('Most instances of each function. One instance works on 32 hubs at a time.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

@description('OpenTelemetry collector (OTLP over HTTP) for traces, metrics and logs of the handler. Empty: none are sent.')
param otlpEndpoint string = ''

@description('Who is told of alerts, by mail. Empty: alerts are raised and nobody is mailed.')
param alertMail string = ''

@description('Object id of whoever deploys: may then write profiles.yaml and read outcomes. azd fills it in.')
param deployerId string = ''

@description('Kind of that object id.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param deployerType string = 'User'

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var subscriptionsOfHubs = empty(hubSubscriptions) ? [subscription().subscriptionId] : split(hubSubscriptions, ',')
var groupsOfTargets = split(targetGroups, ',')
var identitiesOfHubs = empty(hubIdentities) ? [] : split(hubIdentities, ',')
var subscriptionsOfTargets = [for id in groupsOfTargets: split(id, '/')[2]]

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-hubward-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  name: 'hubward-identity'
  scope: group
  params: {
    name: 'id-hubward-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'hubward-monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    appPrincipalId: identity.outputs.principalId
  }
}

module storage 'app/storage.bicep' = {
  name: 'hubward-storage'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    appPrincipalId: identity.outputs.principalId
    deployerId: deployerId
    deployerType: deployerType
  }
}

module bus 'app/bus.bicep' = {
  name: 'hubward-bus'
  scope: group
  params: {
    name: 'sb-hubward-${token}'
    location: location
    tags: tags
    appPrincipalId: identity.outputs.principalId
  }
}

module app 'app/function.bicep' = {
  name: 'hubward-function-app'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    runtimeVersion: runtimeVersion
    maximumInstances: maximumInstances
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    deploymentContainer: storage.outputs.deploymentContainer
    outcomesContainer: storage.outputs.outcomesContainer
    profilesContainer: storage.outputs.profilesContainer
    busNamespace: bus.outputs.fullyQualifiedNamespace
    insightsConnection: monitoring.outputs.insightsConnection
    otlpEndpoint: otlpEndpoint
  }
}

module alerts 'app/alerts.bicep' = {
  name: 'hubward-alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    alertMail: alertMail
    busId: bus.outputs.id
    insightsId: monitoring.outputs.insightsId
  }
}

module roles 'roles.bicep' = {
  name: 'hubward-roles'
  params: {
    subscriptionIds: union(subscriptionsOfHubs, subscriptionsOfTargets)
  }
}

module hubs 'hubs/subscription.bicep' = [for id in subscriptionsOfHubs: {
  name: 'hubward-hubs-${uniqueString(id, environmentName)}'
  scope: subscription(id)
  params: {
    principalId: identity.outputs.principalId
    hubsRole: roles.outputs.hubs
    runsJobs: runsJobs
  }
}]

module usage 'targets/subscription.bicep' = [for id in union(subscriptionsOfTargets, []): {
  name: 'hubward-usage-${uniqueString(id, environmentName)}'
  scope: subscription(id)
  params: {
    principalId: identity.outputs.principalId
    usageRole: roles.outputs.usage
  }
}]

module targets 'targets/group.bicep' = [for id in groupsOfTargets: {
  name: 'hubward-targets-${uniqueString(id, environmentName)}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    principalId: identity.outputs.principalId
    targetsRole: roles.outputs.targets
    cosmosRole: roles.outputs.cosmosGrants
    keysRole: roles.outputs.keys
    allowsKeys: allowsKeys
    runsJobs: runsJobs
  }
}]

module identities 'hubs/identity.bicep' = [for id in identitiesOfHubs: {
  name: 'hubward-identity-${uniqueString(id, environmentName)}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    name: last(split(id, '/'))
    principalId: identity.outputs.principalId
  }
}]

// azd keeps these; the hooks read them.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output HUBWARD_FUNCTION_APP string = app.outputs.name
output HUBWARD_FUNCTION_APP_ID string = app.outputs.id
output HUBWARD_STORAGE_ACCOUNT string = storage.outputs.name
output HUBWARD_PROFILES_CONTAINER string = storage.outputs.profilesContainer
output HUBWARD_DEAD_LETTER_ACCOUNT_ID string = storage.outputs.deadLetterAccountId
output HUBWARD_HUB_SUBSCRIPTIONS string = join(subscriptionsOfHubs, ',')
// For the command line: the same names as the settings.
output HUBWARD_OUTCOMES string = '${storage.outputs.blobEndpoint}${storage.outputs.outcomesContainer}'
output HUBWARD_QUEUES string = storage.outputs.queueEndpoint
output HUBWARD_BUS_ENDPOINT string = 'https://${bus.outputs.fullyQualifiedNamespace}'
