"""Which users and groups together answer a search (RFC 7644 section 3.4.3)?"""

from typing import Any

from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import WORKSPACE_PROVISION
from gateway.console.scim.asking import ATTRIBUTES, PREFIX, aside, at_of, listed, window
from gateway.console.scim.groups import every_group
from gateway.console.scim.users import every_user
from gateway.scim.reading import search_of_both
from gateway.scim.resources import Group, Shown, User, shown

ROUTES = Routes(PREFIX)


@ROUTES.add("POST", "/<workspace>/.search", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def search_everything(call: Call) -> Reply:
    search, ws, at = search_of_both(await call.body(dict)), call.at["workspace"], at_of(call)
    start, count = window(search.start_index_0, search.count)

    def step() -> tuple[list[Shown], int]:
        with call.read() as reading:
            found: list[User | Group] = [*every_user(reading, ws, at), *every_group(reading, ws, at)]
        if search.filter is not None:
            found = [one for one in found if search.filter.match(one)]
        found = search.sort(found)
        return [shown(one, search) for one in found[start : start + count]], len(found)

    page, total = await aside(step)
    return listed(page, total, start)
