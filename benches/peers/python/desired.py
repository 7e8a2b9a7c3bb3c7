"""What a hub should be, and whether it is."""

import re
from fnmatch import translate
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DATA_SENDER = "2b629674-e913-4c01-ae53-ef4638d8f975"
EVENT_HUB = re.compile(
    r"/resourceGroups/([^/]+)/providers/Microsoft\.EventHub/namespaces/([^/]+)/eventhubs/([^/]+)$", re.IGNORECASE
)
NAMESPACE = re.compile(r"sb://([^.:/]+)", re.IGNORECASE)


class Endpoint(NamedTuple):
    """An endpoint that a profile wants, and the target it names."""

    name: str
    target: str
    group: str
    namespace: str
    entity: str


class Desired:
    def __init__(self, path: str) -> None:
        document = yaml.safe_load(Path(path).read_text())
        if document["version"] != 1:
            raise ValueError(f"{path}: version {document['version']} is not understood")
        guardrails = document["guardrails"]
        self._subscriptions = {text.lower() for text in guardrails["subscriptions"]}
        self._targets: list[str] = guardrails["targets"]
        self._profiles = [(_patterns(profile), profile) for profile in document["profiles"]]

    def allows(self, subscription: str) -> bool:
        return subscription in self._subscriptions

    def scope_of(self, target: str) -> str:
        """The guardrail that a target lies in: where its grants are listed."""
        return next((scope for scope in self._targets if _within(target, scope)), target)

    def profile_of(self, document: dict[str, Any]) -> dict[str, Any] | None:
        tags = {name.lower(): value for name, value in (document.get("tags") or {}).items()}
        for patterns, profile in self._profiles:
            if all(pattern.match(tags.get(name, "")) for name, pattern in patterns):
                return profile
        return None


def endpoints_of(profile: dict[str, Any], document: dict[str, Any]) -> list[Endpoint]:
    wanted = []
    for endpoint in profile.get("endpoints") or []:
        target = endpoint["eventHub"].replace("{location}", document["location"])
        if (found := EVENT_HUB.search(target)) is None:
            raise ValueError(f"endpoint {endpoint['name']} names no event hub")
        wanted.append(Endpoint(endpoint["name"], target, *found.groups()))
    return wanted


def differences(
    profile: dict[str, Any],
    document: dict[str, Any],
    wanted: list[Endpoint],
    assignments: list[dict[str, Any]],
) -> list[str]:
    """What differs between a hub and its profile, as lines."""
    found = []
    identity = document.get("identity") or {}
    principal = identity.get("principalId")
    if not principal or "systemassigned" not in identity.get("type", "").lower():
        found.append("no system-assigned identity")
    routing = document["properties"].get("routing") or {}
    event_hubs = _by_name((routing.get("endpoints") or {}).get("eventHubs"))
    for want in wanted:
        endpoint = event_hubs.get(want.name.lower())
        if endpoint is None:
            found.append(f"endpoint {want.name} is missing")
        elif not _is_as_wanted(endpoint, want):
            found.append(f"endpoint {want.name} is another")
        if not any(_grants(assignment["properties"], principal, want.target) for assignment in assignments):
            found.append(f"no grant on {want.entity}")
    routes = _by_name(routing.get("routes"))
    for want in profile.get("routes") or []:
        route = routes.get(want["name"].lower())
        right = (
            route is not None
            and _same(route.get("source"), want["source"])
            and route.get("condition") == want["condition"]
            and route.get("isEnabled") is not False
            and [name.lower() for name in route.get("endpointNames") or []] == [want["endpoint"].lower()]
        )
        if not right:
            found.append(f"route {want['name']} is {'another' if route else 'missing'}")
    return found


def _is_as_wanted(endpoint: dict[str, Any], want: Endpoint) -> bool:
    host = NAMESPACE.match(endpoint.get("endpointUri") or "")
    return (
        _same(endpoint.get("authenticationType"), "identityBased")
        and not (endpoint.get("identity") or {}).get("userAssignedIdentity")
        and host is not None
        and _same(host[1], want.namespace)
        and _same(endpoint.get("entityPath"), want.entity)
        and _same(endpoint.get("resourceGroup"), want.group)
    )


def _grants(assignment: dict[str, Any], principal: str | None, target: str) -> bool:
    return (
        _same(assignment["principalId"], principal)
        and _same(assignment["roleDefinitionId"].rsplit("/", 1)[-1], DATA_SENDER)
        and not assignment.get("condition")
        and _within(target, assignment["scope"])
    )


def _patterns(profile: dict[str, Any]) -> list[tuple[str, re.Pattern[str]]]:
    tags = (profile.get("match") or {}).get("tags") or {}
    return [(name.lower(), re.compile(translate(glob), re.IGNORECASE)) for name, glob in tags.items()]


def _by_name(items: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    return {item["name"].lower(): item for item in items or []}


def _within(target: str, scope: str) -> bool:
    target, scope = target.lower(), scope.lower()
    return target == scope or target.startswith(f"{scope}/")


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").lower() == (other or "").lower()
