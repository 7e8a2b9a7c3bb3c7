// Calls to Azure: a cached managed-identity token, keep-alive connections, and a few tries.

import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';

const TOKEN_VERSION = '2019-08-01';
const MARGIN_MS = 5 * 60 * 1000;
const TRIES = 4;

const agent = new Agent({ connections: 64, keepAliveTimeout: 60_000, bodyTimeout: 20_000 });

/** Tokens of the managed identity, by audience. Whoever asks while one is fetched waits for that one. */
export class Identity {
  #endpoint;
  #header;
  #clientId;
  #tokens = new Map();

  constructor({ IDENTITY_ENDPOINT, IDENTITY_HEADER, AZURE_CLIENT_ID }) {
    this.#endpoint = IDENTITY_ENDPOINT;
    this.#header = IDENTITY_HEADER;
    this.#clientId = AZURE_CLIENT_ID;
  }

  async token(audience) {
    const known = this.#tokens.get(audience);
    if (known && known.expires - MARGIN_MS > Date.now()) return known.token;
    const fetching = known?.fetching ?? this.#fetch(audience);
    this.#tokens.set(audience, { fetching, expires: 0 });
    try {
      const fresh = await fetching;
      this.#tokens.set(audience, fresh);
      return fresh.token;
    } catch (error) {
      this.#tokens.delete(audience);
      throw error;
    }
  }

  async #fetch(audience) {
    const url = new URL(this.#endpoint);
    url.searchParams.set('resource', audience);
    url.searchParams.set('api-version', TOKEN_VERSION);
    if (this.#clientId) url.searchParams.set('client_id', this.#clientId);
    const { body } = await call(url, { headers: { 'x-identity-header': this.#header } });
    const answer = await body.json();
    return { token: answer.access_token, expires: Number(answer.expires_on) * 1000 };
  }
}

/** One call; again after 408, 429 and what a server or a connection does wrong. */
export async function call(url, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await request(url, { ...options, dispatcher: agent });
      if (answer.statusCode < 300) return answer;
      await answer.body.dump();
      const passing = [408, 429].includes(answer.statusCode) || answer.statusCode >= 500;
      const error = Object.assign(new Error(`answered ${answer.statusCode}`), { status: answer.statusCode });
      if (!passing || attempt === TRIES) throw error;
      await pause(Number(answer.headers['retry-after'] ?? 0) * 1000 || 250 * 2 ** (attempt - 1));
    } catch (error) {
      if (error.status || attempt === TRIES) throw error;
      await pause(250 * 2 ** (attempt - 1));
    }
  }
}
