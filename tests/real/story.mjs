// One hub's story, told by Microsoft's client for JavaScript: made, changed, listed, deleted.
// story.mjs make|delete SUBSCRIPTION GROUP HUB. Takes the settings that `hubward local` prints; each chapter prints what
// the client has read as one JSON object.

import { IotHubClient } from "@azure/arm-iothub";
import { ManagedIdentityCredential } from "@azure/identity";

const [chapter, subscription, group, name] = process.argv.slice(2);
const endpoint = process.env.HUBWARD_ARM_ENDPOINT;
const credential = new ManagedIdentityCredential({ clientId: process.env.AZURE_CLIENT_ID });
const hubs = new IotHubClient(credential, subscription, {
  endpoint,
  credentialScopes: `${endpoint}/.default`,
}).iotHubResource;
// Twice a second: without it, a poll of the simulator is as slow as one of Azure.
const polling = { updateIntervalInMs: 500 };

async function all(pages) {
  const found = [];
  for await (const hub of pages) found.push(hub.name);
  return found;
}

/** The status and code of what is refused. */
async function refused(call) {
  try {
    await call();
  } catch (error) {
    return { status: error.statusCode, code: error.code };
  }
  return null;
}

async function make() {
  const { nameAvailable } = await hubs.checkNameAvailability({ name });
  const made = await hubs.beginCreateOrUpdateAndWait(
    group,
    name,
    {
      location: "westus2",
      tags: { by: "javascript" },
      sku: { name: "S1", capacity: 1 },
      identity: { type: "SystemAssigned" },
    },
    polling,
  );
  const cloudToDevice = { ...made.properties.cloudToDevice, maxDeliveryCount: 7 };
  const changed = await hubs.beginCreateOrUpdateAndWait(
    group,
    name,
    { ...made, properties: { ...made.properties, cloudToDevice } },
    { ...polling, ifMatch: made.etag },
  );
  const stale = { ...changed, etag: made.etag };
  const staleRefused = await refused(() =>
    hubs.beginCreateOrUpdateAndWait(group, name, stale, { ...polling, ifMatch: made.etag }),
  );
  const tags = { by: "javascript", shift: "late" };
  const tagged = (await hubs.beginUpdateAndWait(group, name, { tags }, polling)).tags;
  const hub = await hubs.get(group, name);
  const inGroup = await all(hubs.listByResourceGroup(group));
  const inSubscription = await all(hubs.listBySubscription());
  return { nameAvailable, staleRefused, tagged, hub, inGroup, inSubscription };
}

async function unmake() {
  await hubs.beginDeleteAndWait(group, name, polling);
  const gone = await refused(() => hubs.get(group, name));
  return { gone, left: await all(hubs.listByResourceGroup(group)) };
}

console.log(JSON.stringify(await { make, delete: unmake }[chapter]()));
