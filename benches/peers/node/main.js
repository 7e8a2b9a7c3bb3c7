// A custom handler of the Functions host: HubEvent and Work, as far as `hubward bench handler` asks for them.

import Fastify from 'fastify';
import { Identity, call } from './azure.js';
import { Desired, differences, endpointsOf } from './desired.js';
import { classify, distinct, parseHub, uuid5, workFor } from './events.js';

const ARM = process.env.HUBWARD_ARM_ENDPOINT;
const BUS = process.env.HUBWARD_BUS_ENDPOINT;
const OWN_CLIENT = process.env.AZURE_CLIENT_ID?.toLowerCase();
const ARM_AUDIENCE = 'https://management.azure.com/';
const BUS_AUDIENCE = 'https://servicebus.azure.net';

const desired = new Desired(process.env.HUBWARD_PROFILES);
const identity = new Identity(process.env);
const app = Fastify({ logger: { level: 'info' }, disableRequestLogging: true, bodyLimit: 100 * 1024 * 1024 });

const answer = (Outputs = {}, Logs = []) => ({ Outputs, Logs, ReturnValue: null });

async function arm(path, query) {
  const headers = { authorization: `Bearer ${await identity.token(ARM_AUDIENCE)}` };
  const { body } = await call(`${ARM}${path}?${new URLSearchParams(query)}`, { headers });
  return body.json();
}

async function send({ body, broker }) {
  const headers = {
    authorization: `Bearer ${await identity.token(BUS_AUDIENCE)}`,
    'content-type': 'application/json',
    brokerproperties: JSON.stringify(broker),
  };
  const sent = await call(`${BUS}/hub-work/messages`, { method: 'POST', headers, body: JSON.stringify(body) });
  await sent.body.dump();
}

/** A list of Resource Manager, all pages of it. */
async function* pages(path, query) {
  let page = await arm(path, query);
  for (;;) {
    yield* page.value;
    if (!page.nextLink) return;
    const headers = { authorization: `Bearer ${await identity.token(ARM_AUDIENCE)}` };
    page = await (await call(page.nextLink, { headers })).body.json();
  }
}

app.get('/', () => 'ok');

app.post('/HubEvent', async ({ body, log }) => {
  const logs = [];
  for (const event of distinct([body.Data.event].flat())) {
    const change = classify(event);
    if (!change || !desired.allows(change.hub) || (OWN_CLIENT && change.caller === OWN_CLIENT)) {
      log.info('an event is nothing for us');
      continue;
    }
    const work = workFor(change);
    await send(work);
    log.info({ hub: change.hub.id, message: work.body.workId }, 'a hub is to be looked at');
    logs.push(`${change.hub.name}: to be looked at`);
  }
  return answer({}, logs);
});

app.post('/Work', async ({ body, log }) => {
  const item = JSON.parse(JSON.parse(body.Data.work));
  const hub = parseHub(item.hub);
  if (item.schema !== 'hubward/work/v1' || !hub) throw new Error('not a work item');
  const record = {
    schema: 'hubward/outcome/v1',
    outcomeId: uuid5(`outcome|${item.workId}`),
    ...(await look(hub)),
    hub: hub.id,
    receivedAt: item.receivedAt,
    endedAt: new Date().toISOString(),
    looks: item.follows + 1,
  };
  log.info({ hub: hub.id, outcome: record.outcome }, 'looked');
  return answer({ outcomes: [JSON.stringify(record)] }, [`${hub.name}: ${record.outcome}`]);
});

/** Compares a hub with its profile. */
async function look(hub) {
  if (!desired.allows(hub)) return { outcome: 'Refused', causes: ['out of the guardrails'] };
  const document = await arm(hub.id, { 'api-version': '2023-06-30' });
  const profile = desired.profileOf(document);
  if (!profile) return { outcome: 'Refused', causes: ['no profile asks for it'] };
  const wanted = endpointsOf(profile, document);
  const principal = document.identity?.principalId;
  const assignments = [];
  if (principal) {
    for (const scope of new Set(wanted.map(({ target }) => desired.scopeOf(target)))) {
      const path = `${scope}/providers/Microsoft.Authorization/roleAssignments`;
      const query = { 'api-version': '2022-04-01', $filter: `principalId eq '${principal}'` };
      for await (const assignment of pages(path, query)) assignments.push(assignment);
    }
  }
  const causes = differences(profile, document, wanted, assignments);
  return { outcome: causes.length ? 'Differs' : 'InSync', causes, profile: profile.name };
}

await app.listen({ host: '127.0.0.1', port: Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT) });
