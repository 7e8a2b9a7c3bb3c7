"""One hub's story, told by Microsoft's clients for Python: made, given an identity that may send, changed, listed.

story.py make|change|delete SUBSCRIPTION GROUP HUB. Between the first two, the grant has to become effective. Takes the
settings that `hubward local` prints; each chapter prints what the clients have read as one JSON object.
"""

import json
import os
import sys
import uuid

from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.iot.hub import IoTHubJobManager, IoTHubRegistryManager
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.iothub import IotHubClient, models
from azure.mgmt.msi import ManagedServiceIdentityClient

CHAPTER, SUBSCRIPTION, GROUP, HUB = sys.argv[1:]
ARM = os.environ["HUBWARD_ARM_ENDPOINT"]
EVENT_HUB = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data/providers"
    "/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts"
)
# Event Hubs Data Sender.
ROLE = "2b629674-e913-4c01-ae53-ef4638d8f975"

credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
place = {"base_url": ARM, "credential_scopes": [f"{ARM}/.default"]}
# Twice a second: without it, a poll of the simulator is as slow as one of Azure.
hubs = IotHubClient(credential, SUBSCRIPTION, polling_interval=0.5, **place)
roles = AuthorizationManagementClient(credential, SUBSCRIPTION, **place)
identities = ManagedServiceIdentityClient(credential, SUBSCRIPTION, **place)


def refused(call):
    """The status and code of what is refused."""
    try:
        call()
    except HttpResponseError as error:
        return {"status": error.status_code, "code": getattr(error.error, "code", None)}
    return None


def data_plane(manager):
    """The same client, at the hub's own name over plain http: the address is that of a proxy."""
    manager.protocol.config.base_url = f"http://{HUB}.azure-devices.net"
    manager.protocol._client.config.base_url = manager.protocol.config.base_url
    return manager


def wire(model):
    """What a client has understood of a document, under the names that the service uses."""
    return model.serialize(keep_readonly=True)


def made_hub():
    """From nothing to a hub whose identity may send."""
    available = hubs.iot_hub_resource.check_name_availability({"name": HUB}).name_available
    made = hubs.iot_hub_resource.begin_create_or_update(GROUP, HUB, models.IotHubDescription(
        location="westus2",
        tags={"by": "python"},
        sku=models.IotHubSkuInfo(name="S1", capacity=1),
        identity=models.ArmIdentity(type="SystemAssigned"),
    )).result()

    seen = wire(made)
    too_early = refused(lambda: route(made).result())

    assignment = roles.role_assignments.create(
        EVENT_HUB, str(uuid.uuid4()), {
            "role_definition_id": f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{ROLE}",
            "principal_id": made.identity.principal_id,
            "principal_type": "ServicePrincipal",
        })
    held = list(roles.role_assignments.list_for_scope(
        EVENT_HUB, filter=f"principalId eq '{made.identity.principal_id}'"))
    definition = roles.role_definitions.get_by_id(assignment.role_definition_id)
    return {
        "available": available,
        "made": seen,
        "tooEarly": too_early,
        "assignment": assignment.id,
        "held": [one.id for one in held],
        "role": definition.role_name,
    }


def route(hub):
    """Starts to give a hub an endpoint by identity, and a route to it."""
    hub.properties.routing.endpoints.event_hubs = [models.RoutingEventHubProperties(
        name="alerts",
        endpoint_uri="sb://ns1.servicebus.windows.net",
        entity_path="alerts",
        authentication_type="identityBased",
        subscription_id=SUBSCRIPTION,
        resource_group="rg-data",
    )]
    hub.properties.routing.routes = [models.RouteProperties(
        name="alerts", source="DeviceMessages", condition="true", endpoint_names=["alerts"], is_enabled=True)]
    return hubs.iot_hub_resource.begin_create_or_update(GROUP, HUB, hub, if_match=hub.etag)


def changed():
    """The grant is effective: routes, a tag, lists, and the hub's own address."""
    before = hubs.iot_hub_resource.get(GROUP, HUB)
    stale = before.etag
    route(before).result()
    tagged = hubs.iot_hub_resource.begin_update(GROUP, HUB, {"tags": {"by": "python", "shift": "late"}}).result()
    conflict = hubs.iot_hub_resource.get(GROUP, HUB)
    conflict.etag = stale
    stale_refused = refused(lambda: hubs.iot_hub_resource.begin_create_or_update(
        GROUP, HUB, conflict, if_match=stale).result())
    identity = identities.user_assigned_identities.create_or_update(
        GROUP, "id-python", {"location": "westus2"})
    manager = data_plane(IoTHubRegistryManager.from_token_credential(f"{HUB}.azure-devices.net", credential))
    jobs = data_plane(IoTHubJobManager.from_token_credential(f"{HUB}.azure-devices.net", credential))
    result = {
        "hub": wire(hubs.iot_hub_resource.get(GROUP, HUB)),
        "tagged": tagged.tags,
        "staleRefused": stale_refused,
        "inGroup": [hub.name for hub in hubs.iot_hub_resource.list_by_resource_group(GROUP)],
        "inSubscription": [hub.name for hub in hubs.iot_hub_resource.list_by_subscription()],
        "keys": [key.key_name for key in hubs.iot_hub_resource.list_keys(GROUP, HUB)],
        "health": [one.endpoint_id for one in hubs.iot_hub_resource.get_endpoint_health(GROUP, HUB)],
        "identity": identity.principal_id,
        "identities": [one.name for one in identities.user_assigned_identities.list_by_resource_group(GROUP)],
        "devices": manager.get_device_registry_statistics().total_device_count,
        "jobs": [job.as_dict() for job in jobs.get_import_export_jobs()],
    }
    identities.user_assigned_identities.delete(GROUP, "id-python")
    result["identityGone"] = refused(lambda: identities.user_assigned_identities.get(GROUP, "id-python"))
    return result


def deleted():
    """The hub, its grants, and what is left."""
    hub = hubs.iot_hub_resource.get(GROUP, HUB)
    mine = f"principalId eq '{hub.identity.principal_id}'"
    for grant in list(roles.role_assignments.list_for_subscription(filter=mine)):
        roles.role_assignments.delete_by_id(grant.id)
    hubs.iot_hub_resource.begin_delete(GROUP, HUB).result()
    return {
        "gone": refused(lambda: hubs.iot_hub_resource.get(GROUP, HUB)),
        "inGroup": [hub.name for hub in hubs.iot_hub_resource.list_by_resource_group(GROUP)],
        "held": [one.id for one in roles.role_assignments.list_for_subscription(filter=mine)],
    }


print(json.dumps({"make": made_hub, "change": changed, "delete": deleted}[CHAPTER]()))
