"""Calls to Azure: a cached managed-identity token, keep-alive connections, and a few tries."""

import asyncio
import time
from collections.abc import Mapping

import httpx

TOKEN_VERSION = "2019-08-01"
MARGIN_SECONDS = 5 * 60
TRIES = 4


class Azure:
    """One client for everything, so that connections are kept and shared."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._endpoint = settings["IDENTITY_ENDPOINT"]
        self._header = settings["IDENTITY_HEADER"]
        self._client_id = settings.get("AZURE_CLIENT_ID")
        self._tokens: dict[str, tuple[str, float]] = {}
        self._fetching = asyncio.Lock()
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=60)
        self._http = httpx.AsyncClient(limits=limits, timeout=20, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def call(
        self, method: str, url: str, audience: str, *, headers: dict[str, str] | None = None, **options
    ) -> httpx.Response:
        bearer = {"authorization": f"Bearer {await self._token(audience)}"}
        return await self._send(method, url, headers=bearer | (headers or {}), **options)

    async def _token(self, audience: str) -> str:
        if (token := self._known(audience)) is not None:
            return token
        async with self._fetching:
            if (token := self._known(audience)) is not None:
                return token
            params = {"resource": audience, "api-version": TOKEN_VERSION}
            if self._client_id:
                params["client_id"] = self._client_id
            headers = {"x-identity-header": self._header}
            answer = (await self._send("GET", self._endpoint, params=params, headers=headers)).json()
            self._tokens[audience] = (answer["access_token"], float(answer["expires_on"]))
            return answer["access_token"]

    def _known(self, audience: str) -> str | None:
        token, expires = self._tokens.get(audience, ("", 0.0))
        return token if expires - MARGIN_SECONDS > time.time() else None

    async def _send(self, method: str, url: str, **options) -> httpx.Response:
        """One call; again after 408, 429 and what a server or a connection does wrong."""
        for attempt in range(1, TRIES + 1):
            pause = 0.25 * 2 ** (attempt - 1)
            try:
                answer = await self._http.request(method, url, **options)
            except httpx.TransportError:
                if attempt == TRIES:
                    raise
            else:
                passing = answer.status_code in (408, 429) or answer.status_code >= 500
                if not passing or attempt == TRIES:
                    return answer.raise_for_status()
                pause = float(answer.headers.get("retry-after", pause))
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")
