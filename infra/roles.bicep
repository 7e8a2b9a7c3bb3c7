// Hubward's own roles: what reading and writing hubs and targets needs, and no more. `roles.json` holds their
// actions; a test holds it against the code.
targetScope = 'subscription'

@description('Every subscription that one of them is assigned in.')
param subscriptionIds array

var definitions = loadJsonContent('roles.json')
var scopes = [for id in subscriptionIds: '/subscriptions/${id}']

resource roles 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [for role in definitions: {
  name: guid(subscription().id, role.name)
  properties: {
    roleName: role.name
    description: role.description
    type: 'CustomRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: role.actions
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}]

// The names (GUIDs) of the definitions, in the order of roles.json.
output hubs string = roles[0].name
output targets string = roles[1].name
output usage string = roles[2].name
output cosmosGrants string = roles[3].name
output keys string = roles[4].name
