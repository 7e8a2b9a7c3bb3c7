// What somebody has to look at: outcomes that failed, messages that nobody could work on, queues that stand still.
// docs/operations.md says for each what to do.
param token string
param location string
param tags object
param alertMail string
param busId string
param insightsId string

var mails = empty(alertMail) ? [] : [{ name: 'owner', emailAddress: alertMail, useCommonAlertSchema: true }]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-hubward-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'hubward'
    enabled: true
    emailReceivers: mails
  }
}

// A dead letter is work that was given up ten times: no outcome tells of it.
resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'hubward-dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'Messages of hub-work or hub-requests were given up after ten tries.'
    severity: 1
    enabled: true
    scopes: [busId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead letters'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'DeadletteredMessages'
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            { name: 'EntityName', operator: 'Include', values: ['hub-work', 'hub-requests'] }
          ]
        }
      ]
    }
    actions: [{ actionGroupId: people.id }]
  }
}

// The handler writes a line for each outcome, with `outcome`, and `queue_age_s`: how long the message had been due.
var rules = [
  {
    name: 'hubward-failed-outcomes'
    description: 'Work on hubs has failed, or is blocked until a person moves something.'
    severity: 2
    query: 'traces | extend line = parse_json(message) | where tostring(line.outcome) in (\'Failed\', \'Blocked\') | project timestamp, hub = tostring(line[\'hub.id\']), outcome = tostring(line.outcome)'
  }
  {
    name: 'hubward-oldest-message'
    description: 'A message had been due for more than fifteen minutes when it was worked on.'
    severity: 2
    query: 'traces | extend line = parse_json(message) | where todouble(line.queue_age_s) > 900 | project timestamp, hub = tostring(line[\'hub.id\']), age = todouble(line.queue_age_s)'
  }
  {
    name: 'hubward-resync-stopped'
    description: 'A resync was stopped by guardrails.maxHubsChanged.'
    severity: 2
    query: 'traces | extend line = parse_json(message) | where tostring(line.message) has \'maxHubsChanged\' and tostring(line.level) == \'ERROR\''
  }
]

resource logAlerts 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for rule in rules: {
  name: rule.name
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: rule.name
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [insightsId]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [people.id] }
  }
}]
