"""Which hub an Event Grid event tells of, and the message that asks for a look at it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

MESSAGES = UUID("2b6c1e57-90f2-4a41-8f4e-7d0b54c39a02")
MAX_SESSION_ID = 128
HUB = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/[^/]+/providers/Microsoft\.Devices/IotHubs/([^/]+)", re.IGNORECASE
)
CHANGES = {
    "microsoft.resources.resourcewritesuccess": ("written", "microsoft.devices/iothubs/write"),
    "microsoft.resources.resourcedeletesuccess": ("deleted", "microsoft.devices/iothubs/delete"),
}


@dataclass(frozen=True, slots=True)
class Hub:
    id: str
    subscription: str
    name: str

    @property
    def key(self) -> str:
        return self.id.lower()

    @classmethod
    def parse(cls, text: str | None) -> "Hub | None":
        found = HUB.fullmatch(text or "")
        return cls(text, found[1].lower(), found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Change:
    hub: Hub
    kind: str
    event_id: str | None
    caller: str | None


def classify(event: dict[str, Any]) -> Change | None:
    """What an event says happened to a hub."""
    kind, operation = CHANGES.get(str(event.get("eventType") or event.get("type")).lower(), (None, None))
    if kind is None:
        return None
    data = event.get("data") or {}
    hub = Hub.parse(event.get("subject") or data.get("resourceUri"))
    named = data.get("operationName")
    agrees = named.lower() == operation if named else kind == "written"
    if hub is None or not agrees:
        return None
    caller = (data.get("claims") or {}).get("appid")
    return Change(hub, kind, event.get("id"), caller.lower() if caller else None)


def distinct(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every event of a delivery once."""
    found: dict[Any, dict[str, Any]] = {}
    for event in events:
        parts = (event.get("id"), event.get("eventType") or event.get("type"), event.get("subject"))
        found[tuple(str(part).lower() for part in parts) if parts[0] else object()] = event
    return list(found.values())


def work_for(change: Change) -> tuple[dict[str, Any], dict[str, str]]:
    """The message for `hub-work`, and its broker properties."""
    hub = change.hub
    work_id = str(uuid5(MESSAGES, f"{hub.key}|event|{change.event_id}") if change.event_id else uuid4())
    body = {
        "schema": "hubward/work/v1",
        "workId": work_id,
        "hub": hub.id,
        "reason": {"kind": change.kind, "eventId": change.event_id},
        "receivedAt": now(),
        "follows": 0,
    }
    session = hub.key
    if len(session) > MAX_SESSION_ID:
        session = f"{hub.name.lower()[: MAX_SESSION_ID - 37]}~{uuid5(MESSAGES, hub.key)}"
    return body, {"MessageId": work_id, "SessionId": session}


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
