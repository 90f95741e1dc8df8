"""Does a file that leaves on the shared node what another file may leave there, too, fail by itself, in any order?"""

import json

import pytest

from tests.harness.guests import guest
from tests.harness.running import Up, get

pytestmark = pytest.mark.native


def leave(up: Up, path: str, **body: object) -> None:
    headers = {"Authorization": f"Bearer {up.token}", "Content-Type": "application/json"}
    got = get(f"{up.edge}/-/api/v1{path}", headers, "POST", json.dumps(body).encode())
    assert got.status == 201, got.body


def test_what_is_everybodys_has_the_name_of_its_file(shared: Up) -> None:
    with guest(shared, "well_named") as mine:
        assert (mine.private, mine.public) == ("well-named/main", "well-named/open")
        leave(shared, "/users", name="ann-of-well-named")
        leave(shared, "/repositories", workspace=mine.workspace, name="images")
    with pytest.raises(AssertionError, match="users/ann"), guest(shared, "badly_named"):
        leave(shared, "/users", name="ann")
    with pytest.raises(AssertionError, match="demo at"), guest(shared, "elsewhere"):
        leave(shared, "/repositories", workspace="demo", name="images")
