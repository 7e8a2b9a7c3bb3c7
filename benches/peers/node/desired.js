// What a hub should be, and whether it is.

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

const DATA_SENDER = '2b629674-e913-4c01-ae53-ef4638d8f975';
const EVENT_HUB = /\/resourceGroups\/([^/]+)\/providers\/Microsoft\.EventHub\/namespaces\/([^/]+)\/eventhubs\/([^/]+)$/i;

const same = (a, b) => String(a ?? '').toLowerCase() === String(b ?? '').toLowerCase();
const list = (value) => (Array.isArray(value) ? value : []);

/** A glob with `*` and `?`, compared without case. */
function glob(pattern) {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
  return new RegExp(`^${escaped}$`, 'i');
}

export class Desired {
  constructor(path) {
    const { version, guardrails, profiles } = parse(readFileSync(path, 'utf8'));
    if (version !== 1) throw new Error(`${path}: version ${version} is not understood`);
    this.subscriptions = new Set(guardrails.subscriptions.map((id) => id.toLowerCase()));
    this.targets = guardrails.targets;
    this.profiles = profiles.map((profile) => ({
      ...profile,
      tags: Object.entries(profile.match?.tags ?? {}).map(([name, pattern]) => [name, glob(pattern)]),
    }));
  }

  allows(hub) {
    return this.subscriptions.has(hub.subscription);
  }

  /** The guardrail that a target lies in: where its grants are listed. */
  scopeOf(target) {
    const key = target.toLowerCase();
    const within = (scope) => key === scope.toLowerCase() || key.startsWith(`${scope.toLowerCase()}/`);
    return this.targets.find(within) ?? target;
  }

  profileOf(document) {
    const tags = Object.entries(document.tags ?? {});
    const has = ([name, pattern]) => tags.some(([key, value]) => same(key, name) && pattern.test(value));
    return this.profiles.find((profile) => profile.tags.every(has));
  }
}

/** The endpoints that a profile wants of a hub, each with the target it names. */
export function endpointsOf(profile, document) {
  return list(profile.endpoints).map(({ name, eventHub }) => {
    const target = eventHub.replaceAll('{location}', document.location);
    const [, group, namespace, entity] = EVENT_HUB.exec(target) ?? [];
    return { name, target, group, namespace, entity };
  });
}

/** What differs between a hub and its profile, as lines; empty if nothing does. */
export function differences(profile, document, wanted, assignments) {
  const found = [];
  const principal = document.identity?.principalId;
  if (!principal || !/SystemAssigned/i.test(document.identity?.type ?? '')) found.push('no system-assigned identity');
  const { endpoints = {}, routes = [] } = document.properties?.routing ?? {};
  for (const want of wanted) {
    const it = list(endpoints.eventHubs).find(({ name }) => same(name, want.name));
    const host = /^sb:\/\/([^.:/]+)/i.exec(it?.endpointUri ?? '')?.[1];
    if (!it) found.push(`endpoint ${want.name} is missing`);
    else if (
      !same(it.authenticationType, 'identityBased') ||
      it.identity?.userAssignedIdentity ||
      !same(host, want.namespace) ||
      !same(it.entityPath, want.entity) ||
      !same(it.resourceGroup, want.group)
    ) {
      found.push(`endpoint ${want.name} is another`);
    }
    const held = assignments.some(({ properties: it }) => {
      const scope = it.scope.toLowerCase();
      const target = want.target.toLowerCase();
      return (
        same(it.principalId, principal) &&
        same(it.roleDefinitionId.split('/').at(-1), DATA_SENDER) &&
        !it.condition &&
        (target === scope || target.startsWith(`${scope}/`))
      );
    });
    if (!held) found.push(`no grant on ${want.entity}`);
  }
  for (const want of list(profile.routes)) {
    const it = list(routes).find(({ name }) => same(name, want.name));
    const right =
      it &&
      same(it.source, want.source) &&
      it.condition === want.condition &&
      it.isEnabled !== false &&
      it.endpointNames?.length === 1 &&
      same(it.endpointNames[0], want.endpoint);
    if (!right) found.push(`route ${want.name} is ${it ? 'another' : 'missing'}`);
  }
  return found;
}
