"""Is the API's document good for what it is there for: a client that a generator makes of it, and nobody writes?

The generator is openapi-python-client, in an environment of its own. Its client is used as somebody would who has read
the document alone.
"""

import json
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.npm_registry import document
from tests.harness.running import Up, get

pytestmark = pytest.mark.native

STORY = """
import sys
from acme.client import AuthenticatedClient
from acme.api.tenancy import (
    tenancy_create_repository as create_repository, tenancy_create_workspace as create_workspace,
    tenancy_drop_repository as drop_repository, tenancy_edit_repository as edit_repository,
    tenancy_list_repositories as list_repositories, tenancy_show_repository as show_repository,
)
from acme.api.audit import audit_list_entries as list_entries
from acme.api.credentials import credentials_create_token as create_token, credentials_whoami as whoami
from acme.api.searching import searching_search as search
from acme.api.holding import holding_list_packages as list_packages
from acme.models import (
    EditRepository, NewGrant, NewRepository, NewToken, NewWorkspace, FoundHere, Refused,
    RepositoryWithFormats, SearchingSearchSort, SomeOfFoundHere, SomeOfRepositories, SomeOfRepositoryWithFormats,
)
from acme.types import Unset

url, token = sys.argv[1:]
node = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)

# what is sent twice with a key is done once; another request with it is refused
assert create_workspace.sync_detailed(client=node, body=NewWorkspace("shop")).status_code == 201
asked = dict(client=node, body=NewRepository("shop", "tools"), idempotency_key="build-17")
asked["entrepot_reason"] = "a first shop"
first, again = create_repository.sync_detailed(**asked), create_repository.sync_detailed(**asked)
assert (first.status_code, again.status_code, first.content == again.content) == (201, 201, True)
assert again.headers["Idempotency-Replayed"] == "?1", dict(again.headers)
other = create_repository.sync_detailed(client=node, body=NewRepository("shop", "more"), idempotency_key="build-17")
assert other.status_code == 422
refused = other.parsed
assert isinstance(refused, Refused)
assert (refused.status, refused.code, refused.request_id) == (422, "key-reused", other.headers["entrepot-request-id"])
explained = node.get_httpx_client().get(refused.type_)
assert explained.status_code == 200 and refused.code in explained.text

# pages, to their end
for name in ("alpha", "beta", "gamma"):
    create_repository.sync(client=node, body=NewRepository("shop", name))
names, after = [], None
while True:
    page = list_repositories.sync(client=node, workspace="shop", limit=2, **({"after": after} if after else {}))
    assert len(page.items) <= 2
    names += [one.name for one in page.items]
    after = page.next_
    if after is None:
        break
assert names == ["alpha", "beta", "gamma", "tools"], names

# a lost update is refused
seen = show_repository.sync_detailed("shop", "tools", client=node)
assert isinstance(seen.parsed, RepositoryWithFormats) and seen.parsed.public is False
etag = seen.headers["etag"]
changed = edit_repository.sync_detailed("shop", "tools", client=node, body=EditRepository(public=True), if_match=etag)
assert (changed.status_code, changed.parsed.public) == (200, True)
late = edit_repository.sync_detailed("shop", "tools", client=node, body=EditRepository(public=False), if_match=etag)
assert late.status_code == 412 and late.parsed.remedy
unchanged = show_repository.sync_detailed("shop", "tools", client=node, if_none_match=changed.headers["etag"])
assert unchanged.status_code == 304

# who asks for some members gets those
some = show_repository.sync("shop", "tools", client=node, fields="name,public")
assert isinstance(some, SomeOfRepositoryWithFormats), some
assert some.to_dict() == {"name": "tools", "public": True} and isinstance(some.upstreams, Unset)
some = list_repositories.sync(client=node, workspace="shop", fields="name", limit=2)
assert isinstance(some, SomeOfRepositories), some
assert [one.to_dict() for one in some.items] == [{"name": "alpha"}, {"name": "beta"}] and some.next_
whole = list_repositories.sync(client=node, workspace="shop", limit=2)
assert not isinstance(whole, SomeOfRepositories) and whole.items[0].public is False

# limits are told
grants = [NewGrant("shop/tools")]
limited = create_token.sync(client=node, body=NewToken("reader", grants=grants, requests_max=50))
reader = AuthenticatedClient(base_url=url, token=limited.token)
told = whoami.sync_detailed(client=reader)
assert "50" in told.headers["ratelimit-policy"] and told.headers["ratelimit"], dict(told.headers)
assert drop_repository.sync_detailed("shop", "tools", client=reader).status_code == 403

# search, as the description of q says it
def found(q, **more):
    page = search.sync(client=node, q=q, **more)
    assert isinstance(page, FoundHere), page
    return [f"{one.repository}/{one.name}" for one in page.items]

workspace, repository = "demo", "main"
assert found("name:^web") == ["main/web-app", "main/web-shop"]
assert found("web NOT shop") == ["main/web-app"]
assert found('(name:"app" OR name:shop) format:npm workspace:demo') == ["main/web-app", "main/web-shop"]
assert found("name:^web version:>=2 version:<3") == ["main/web-shop"]
assert found("size:>=1m") == [] and found("size:>=1") == ["main/web-app", "main/web-shop"]
some = search.sync(client=node, q="web-app", fields="name,versions.name")
assert isinstance(some, SomeOfFoundHere), some
assert [one.to_dict() for one in some.items] == [{"name": "web-app", "versions": [{"name": "1.0.0"}]}]
assert found("web", sort=SearchingSearchSort.UPDATED) == ["main/web-shop", "main/web-app"]
assert found("-quarantined:true uploaded:>2020-01-01 repository:main") == ["main/web-app", "main/web-shop"]
assert isinstance(search.sync(client=node, q="size:huge"), Refused)
assert [one.name for one in list_packages.sync(workspace, repository, client=node, format_="npm").items] == [
    "web-app", "web-shop"
]

# and all of it is in the audit, with the reason
entry = next(one for one in list_entries.sync("shop", client=node).items if one.reason)
assert (entry.reason, entry.repository, entry.trace) == ("a first shop", "tools", "")
print("told")
"""


def test_a_client_that_a_generator_makes_can_do_what_the_api_can(tmp_path: Path) -> None:
    """Keys, cursors, conditions, limits, refusals, search: each as the document says it."""
    generator = Path(program("openapi-python-client")).resolve()
    with Up(tmp_path / "data") as node:
        headers = {"Authorization": f"Bearer {node.token}"}
        for name, version in (("web-app", "1.0.0"), ("web-shop", "2.0.0")):
            data = json.dumps(document(name, version)).encode()
            kind = {"Content-Type": "application/json"}
            assert get(f"{node.origin}/{node.private}/npm/{name}", headers | kind, "PUT", data).status == 201
        served = tmp_path / "openapi.json"
        served.write_bytes(get(f"{node.origin}/-/api/v1/openapi.json").body)
        making = [str(generator), "generate", "--path", str(served), "--meta", "none"]
        (tmp_path / "making.json").write_text(json.dumps({"post_hooks": []}))
        config = ["--config", str(tmp_path / "making.json"), "--output-path", str(tmp_path / "acme")]
        said = run([*making, *config])
        assert "will not be generated" not in said, said
        assert "ERROR" not in said, said
        (tmp_path / "story.py").write_text(STORY)
        told = run([str(generator.with_name("python")), "story.py", node.origin, node.token], cwd=tmp_path)
        assert told.strip() == "told"
