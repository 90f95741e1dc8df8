"""What does this service say that it can do (RFC 7644 section 4)? Three documents, made from the models."""

from collections.abc import Callable
from functools import cache
from typing import Any

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    Context,
    ETag,
    Filter,
    Meta,
    Patch,
    Resource,
    ResourceType,
    Schema,
    ServiceProviderConfig,
    Sort,
)

from gateway.scim.resources import Group, Shown, User

RESULTS_MAX = 1_000
MODELS: tuple[type[Resource[Any]], ...] = (User, Group)


def service(at: str) -> Shown:
    """The ServiceProviderConfig; `at` is the address under which the workspace's SCIM is."""
    made = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=RESULTS_MAX),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer",
                description="A token that was made for this, by: entrepot scim token.",
                primary=True,
            )
        ],
    )
    return _placed(made, "ServiceProviderConfig", f"{at}/ServiceProviderConfig")


def resource_types(at: str) -> list[Shown]:
    """Users and Groups."""
    made = [ResourceType.from_resource(one) for one in MODELS]
    return [_placed(one, "ResourceType", f"{at}/ResourceTypes/{one.id}") for one in made]


def schemas(at: str) -> list[Shown]:
    """The attributes of each."""
    return [_placed(one, "Schema", f"{at}/Schemas/{one.id}") for one in _schemas()]


@cache
def _schemas() -> tuple[Schema, ...]:
    return tuple(one.to_schema() for one in MODELS)


def _placed(resource: Resource[Any], kind: str, location: str) -> Shown:
    placed = resource.model_copy(update={"meta": Meta(resource_type=kind, location=location)})
    return placed.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)


DOCUMENTS: dict[str, Callable[[str], list[Shown]]] = {"ResourceTypes": resource_types, "Schemas": schemas}
