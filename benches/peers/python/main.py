"""A custom handler of the Functions host: HubEvent and Work, as far as `hubward bench handler` asks for them."""

import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid5

from fastapi import FastAPI
from pydantic import BaseModel

from azure import Azure
from desired import Desired, differences, endpoints_of
from events import MESSAGES, Hub, classify, distinct, now, work_for

ARM = os.environ["HUBWARD_ARM_ENDPOINT"]
BUS = os.environ["HUBWARD_BUS_ENDPOINT"]
OWN_CLIENT = os.environ.get("AZURE_CLIENT_ID", "").lower()
ARM_AUDIENCE = "https://management.azure.com/"
BUS_AUDIENCE = "https://servicebus.azure.net"

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
logging.getLogger("httpx").setLevel(logging.WARNING)
log = logging.getLogger("peer")

desired = Desired(os.environ["HUBWARD_PROFILES"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.azure = Azure(os.environ)
    yield
    await app.state.azure.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


class Invocation(BaseModel):
    """What the host sends."""

    Data: dict[str, Any]
    Metadata: dict[str, Any] = {}


class Answer(BaseModel):
    """What the host takes."""

    Outputs: dict[str, list[str]] = {}
    Logs: list[str] = []
    ReturnValue: None = None


@app.get("/")
async def probe() -> str:
    return "ok"


@app.post("/HubEvent")
async def hub_event(invocation: Invocation) -> Answer:
    answer = Answer()
    events = invocation.Data["event"]
    for event in distinct(events if isinstance(events, list) else [events]):
        change = classify(event)
        if change is None or not desired.allows(change.hub.subscription) or (OWN_CLIENT and change.caller == OWN_CLIENT):
            log.info("an event is nothing for us")
            continue
        body, broker = work_for(change)
        headers = {"content-type": "application/json", "brokerproperties": json.dumps(broker)}
        await app.state.azure.call(
            "POST", f"{BUS}/hub-work/messages", BUS_AUDIENCE, headers=headers, content=json.dumps(body)
        )
        log.info("%s is to be looked at, message %s", change.hub.id, body["workId"])
        answer.Logs.append(f"{change.hub.name}: to be looked at")
    return answer


@app.post("/Work")
async def work(invocation: Invocation) -> Answer:
    item = json.loads(json.loads(invocation.Data["work"]))
    hub = Hub.parse(item["hub"])
    if item["schema"] != "hubward/work/v1" or hub is None:
        raise ValueError("not a work item")
    outcome = await look(hub)
    record = {
        "schema": "hubward/outcome/v1",
        "outcomeId": str(uuid5(MESSAGES, f"outcome|{item['workId']}")),
        **outcome,
        "hub": hub.id,
        "receivedAt": item.get("receivedAt"),
        "endedAt": now(),
        "looks": item["follows"] + 1,
    }
    log.info("looked at %s: %s", hub.id, outcome["outcome"])
    return Answer(Outputs={"outcomes": [json.dumps(record)]}, Logs=[f"{hub.name}: {outcome['outcome']}"])


async def look(hub: Hub) -> dict[str, Any]:
    """Compares a hub with its profile."""
    if not desired.allows(hub.subscription):
        return {"outcome": "Refused", "causes": ["out of the guardrails"]}
    answer = await app.state.azure.call("GET", f"{ARM}{hub.id}", ARM_AUDIENCE, params={"api-version": "2023-06-30"})
    document = answer.json()
    profile = desired.profile_of(document)
    if profile is None:
        return {"outcome": "Refused", "causes": ["no profile asks for it"]}
    wanted = endpoints_of(profile, document)
    principal = (document.get("identity") or {}).get("principalId")
    assignments: list[dict[str, Any]] = []
    if principal:
        for scope in {desired.scope_of(endpoint.target) for endpoint in wanted}:
            assignments += [assignment async for assignment in assignments_at(scope, principal)]
    causes = differences(profile, document, wanted, assignments)
    return {"outcome": "Differs" if causes else "InSync", "causes": causes, "profile": profile["name"]}


async def assignments_at(scope: str, principal: str) -> AsyncIterator[dict[str, Any]]:
    url = f"{ARM}{scope}/providers/Microsoft.Authorization/roleAssignments"
    params: dict[str, str] | None = {"api-version": "2022-04-01", "$filter": f"principalId eq '{principal}'"}
    while url:
        page = (await app.state.azure.call("GET", url, ARM_AUDIENCE, params=params)).json()
        for assignment in page["value"]:
            yield assignment
        # The next page's address has its query in it.
        url, params = page.get("nextLink"), None
