"""What does SCIM tell of itself (RFC 7644 section 4)?"""

from typing import Any

from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import WORKSPACE_PROVISION
from gateway.console.scim.asking import ATTRIBUTES, PREFIX, at_of, listed, told
from gateway.scim import describing
from storage.errors import Absent

ROUTES = Routes(PREFIX)


@ROUTES.add("GET", "/<workspace>/ServiceProviderConfig", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def service_provider_config(call: Call) -> Reply:
    return told(200, describing.service(at_of(call)))


@ROUTES.add("GET", "/<workspace>/ResourceTypes", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def list_resource_types(call: Call) -> Reply:
    found = describing.resource_types(at_of(call))
    return listed(found, len(found), 0)


@ROUTES.add("GET", "/<workspace>/ResourceTypes/<name>", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def show_resource_type(call: Call) -> Reply:
    return _one(call, "ResourceTypes")


@ROUTES.add("GET", "/<workspace>/Schemas", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def list_schemas(call: Call) -> Reply:
    found = describing.schemas(at_of(call))
    return listed(found, len(found), 0)


@ROUTES.add("GET", "/<workspace>/Schemas/<name>", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def show_schema(call: Call) -> Reply:
    return _one(call, "Schemas")


def _one(call: Call, kind: str) -> Reply:
    for one in describing.DOCUMENTS[kind](at_of(call)):
        if str(one["id"]).lower() == call.at["name"].lower():
            return told(200, one)
    raise Absent("There is no document of this name.")
