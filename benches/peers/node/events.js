// Which hub an Event Grid event tells of, and the message that asks for a look at it.

import { createHash, randomUUID } from 'node:crypto';

const MESSAGES = Buffer.from('2b6c1e5790f24a418f4e7d0b54c39a02', 'hex');
const MAX_SESSION_ID = 128;
const HUB =
  /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Devices\/IotHubs\/([^/]+)$/i;
const CHANGES = {
  'microsoft.resources.resourcewritesuccess': ['written', 'microsoft.devices/iothubs/write'],
  'microsoft.resources.resourcedeletesuccess': ['deleted', 'microsoft.devices/iothubs/delete'],
};

/** A name-based (version 5) UUID. */
export function uuid5(name, namespace = MESSAGES) {
  const bytes = createHash('sha1').update(namespace).update(name).digest().subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x50;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export function parseHub(id) {
  const parts = HUB.exec(id ?? '');
  return parts && { id, key: id.toLowerCase(), subscription: parts[1].toLowerCase(), name: parts[3] };
}

/** What an event says happened to a hub, or null. */
export function classify(event) {
  const [change, operation] = CHANGES[String(event?.eventType ?? event?.type).toLowerCase()] ?? [];
  if (!change) return null;
  const hub = parseHub(event.subject ?? event.data?.resourceUri);
  const named = event.data?.operationName?.toLowerCase();
  if (!hub || (named !== operation && !(change === 'written' && named === undefined))) return null;
  return { hub, change, eventId: event.id ?? null, caller: event.data?.claims?.appid?.toLowerCase() };
}

/** Every event of a delivery once. */
export function distinct(events) {
  const key = (event) => `${event?.id}|${event?.eventType ?? event?.type}|${event?.subject}`.toLowerCase();
  return [...new Map(events.map((event) => [event?.id ? key(event) : Symbol('no id'), event])).values()];
}

/** The message for `hub-work`, and its broker properties. */
export function workFor({ hub, change, eventId }) {
  const workId = eventId ? uuid5(`${hub.key}|event|${eventId}`) : randomUUID();
  const body = {
    schema: 'hubward/work/v1',
    workId,
    hub: hub.id,
    reason: { kind: change, eventId },
    receivedAt: new Date().toISOString(),
    follows: 0,
  };
  const session =
    hub.key.length <= MAX_SESSION_ID
      ? hub.key
      : `${hub.name.toLowerCase().slice(0, MAX_SESSION_ID - 37)}~${uuid5(hub.key)}`;
  return { body, broker: { MessageId: workId, SessionId: session } };
}
