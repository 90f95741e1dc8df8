"""Which request means what, which right does it need, and how is a client told no?"""

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from formats.kit.contract import Accept, Amend, Finds, Login, Reply, Serve, Show
from formats.npm import ROOM
from formats.npm.wire import SHORT_JSON
from storage.errors import (
    Absent,
    Conflict,
    Forbidden,
    Invalid,
    MethodRefused,
    Problem,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unsupported,
)
from tests.harness.npm_registry import Registry, ask, document, tarball
from tests.harness.views import MemoryView


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.mark.parametrize(
    ("path", "file", "package"),
    [
        ("demo/-/demo-1.0.0.tgz", "demo-1.0.0.tgz", "demo"),
        ("@s/n/-/n-1.0.0.tgz", "n-1.0.0.tgz", "@s/n"),
        ("@s/n/-/@s/n-1.0.0.tgz", "n-1.0.0.tgz", "@s/n"),
        ("demo/main/npm/@s/n/-/n-1.0.0.tgz", "n-1.0.0.tgz", "@s/n"),
        ("-/npm/v1/attestations/demo@1.0.0", "demo-1.0.0.sigstore", "demo"),
        ("-/npm/v1/attestations/@s/n@1.0.0", "n-1.0.0.sigstore", "@s/n"),
        ("demo/main/npm/-/npm/v1/attestations/@s/n@1.0.0", "n-1.0.0.sigstore", "@s/n"),
    ],
)
def test_files_have_their_addresses(path: str, file: str, package: str) -> None:
    assert ROOM.read(ask(path)) == Serve(package, file)
    assert ROOM.read(ask(path, "HEAD")) == Serve(package, file)


@pytest.mark.parametrize(
    ("path", "page", "package", "argument"),
    [
        ("demo", "full", "demo", ""),
        ("demo/", "full", "demo", ""),
        ("@s/n", "full", "@s/n", ""),
        ("demo/1.0.0", "version", "demo", "1.0.0"),
        ("@s/n/latest", "version", "@s/n", "latest"),
        ("-/package/demo/dist-tags", "tags", "demo", ""),
        ("-/package/@s/n/dist-tags", "tags", "@s/n", ""),
        ("-/all", "all", "", ""),
        ("-/all/since", "all", "", ""),
    ],
)
def test_pages_have_their_addresses(path: str, page: str, package: str, argument: str) -> None:
    plan = ROOM.read(ask(path))
    assert isinstance(plan, Show)
    assert (plan.page, plan.package, plan.argument) == (page, package, argument)


@pytest.mark.parametrize(
    ("accept", "short"),
    [
        ("application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", True),
        ("application/vnd.npm.install-v1+json", True),
        ("APPLICATION/vnd.npm.install-v1+json", True),
        ("application/json, application/vnd.npm.install-v1+json;q=0.5", False),
        ("application/vnd.npm.install-v1+json;q=0", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_abbreviated_form_is_for_who_asks_for_it(accept: str, short: bool) -> None:
    plan = ROOM.read(ask("demo", accept=accept))
    assert isinstance(plan, Show)
    assert (plan.page, plan.media) == (("abbreviated", SHORT_JSON) if short else ("full", "application/json"))
    assert plan.vary
    assert plan.absolute
    assert plan.foreign


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../b",
        "a//b",
        "/a",
        "@s",
        "@s/",
        "-",
        "-/",
        "-/none",
        "-/package",
        "-/package/demo",
        "a%2fb",
        "a/-",
        "_x",
        "a/-rev",
        "a/-/",
        "a/-/b/c",
        "a/-/x.tgz/-rev/1",
        "a/b/c",
        "@s/n/1/2",
        "-/npm/v1/attestations/demo",
        "-/user/x",
        "a/-/@other/a-1.0.0.tgz",
        "-/npm/v1/attestations/@1",
        "node_modules",
        "-/npm/v1/oidc/token/exchange/package/a",
    ],
)
def test_a6_addresses_that_mean_nothing_are_absent(path: str) -> None:
    with pytest.raises((Absent, MethodRefused)):
        ROOM.read(ask(path))


WRITES = [
    ("PUT", "demo", Accept),
    ("PUT", "@s/n", Accept),
    ("PUT", "demo/-rev/1-a", Accept),
    ("DELETE", "demo/-rev/1-a", Amend),
    ("DELETE", "@s/n/-/n-1.0.0.tgz/-rev/1-a", Amend),
    ("DELETE", "@s/n/-/@s/n-1.0.0.tgz/-rev/1-a", Amend),
    ("PUT", "-/package/demo/dist-tags/next", Amend),
    ("DELETE", "-/package/@s/n/dist-tags/next", Amend),
]
READS = [
    ("POST", "-/npm/v1/security/advisories/bulk", Amend),
    ("POST", "-/npm/v1/security/audits/quick", Amend),
    ("POST", "-/npm/v1/security/audits", Amend),
    ("PUT", "-/user/org.couchdb.user:ada", Login),
    ("PUT", "-/user/org.couchdb.user:ada/-rev/1-a", Login),
    ("DELETE", "-/user/token/abc", Reply),
    ("GET", "-/ping", Reply),
    ("GET", "-/whoami", Reply),
    ("GET", "", Reply),
    ("GET", "-/user/org.couchdb.user:ada", Reply),
    ("GET", "-/npm/v1/user", Reply),
]


@pytest.mark.parametrize(("method", "path", "plan"), WRITES)
def test_c7_what_changes_needs_the_right_to_write(method: str, path: str, plan: type) -> None:
    assert ROOM.right(ask(path, method)) == "write"
    assert isinstance(ROOM.read(ask(path, method)), plan)


@pytest.mark.parametrize(("method", "path", "plan"), READS)
def test_c7_asking_and_logging_in_are_reads(method: str, path: str, plan: type) -> None:
    assert ROOM.right(ask(path, method)) == "read"
    assert isinstance(ROOM.read(ask(path, method)), plan)


@pytest.mark.parametrize(
    "path", [path for _, path, _ in WRITES] + ["-/v1/search", "-/all", "-/npm/v1/keys", "x/y/z", ".."]
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT", "BREW"])
def test_c7_no_change_is_planned_under_the_right_to_read(method: str, path: str) -> None:
    request = ask(path, method)
    assert ROOM.right(request) == "write"
    with suppress(Absent, MethodRefused):
        assert isinstance(ROOM.read(request), Accept | Amend)


def test_who_is_not_logged_in_is_told_so() -> None:
    plan = ROOM.read(ask("-/whoami"))
    assert isinstance(plan, Reply)
    assert json.loads(plan.body) == {"username": "ada"}
    for path in ("-/whoami", "-/npm/v1/user"):
        with pytest.raises(Unauthenticated):
            ROOM.read(ask(path, principal=""))


def test_login_takes_a_token_for_a_password() -> None:
    request = ask("-/user/org.couchdb.user:ada", "PUT", principal="")
    body = json.dumps({"_id": "org.couchdb.user:ada", "name": "ada", "password": "ent_secret", "type": "user"}).encode()
    assert ROOM.credential(request, body) == "ent_secret"
    reply = ROOM.greet(request, body, "ci", "ent_secret")
    said = json.loads(reply.body)
    assert (reply.status, said["ok"], said["token"], said["id"]) == (201, True, "ent_secret", "org.couchdb.user:ada")
    for bad in (b"", b"{}", b'{"password": 5}', b'{"password": "\xff"}', b"[" * 5000):
        with pytest.raises(Invalid):
            ROOM.credential(request, bad)


def test_a_browser_login_is_refused_so_that_clients_fall_back() -> None:
    with pytest.raises(Absent) as caught:
        ROOM.read(ask("-/v1/login", "POST"))
    assert ROOM.refuse(ask("-/v1/login", "POST"), caught.value).status == 404


@pytest.mark.parametrize(
    ("problem", "path", "status"),
    [
        (Conflict("Taken."), "demo", 403),
        (Conflict("Changed."), "demo/-rev/1", 409),
        (Absent("None."), "demo", 404),
        (Forbidden("No."), "demo", 403),
        (Invalid("Bad.", "Do better."), "demo", 400),
    ],
)
def test_problems_are_told_as_npm_shows_them(problem: Problem, path: str, status: int) -> None:
    reply = ROOM.refuse(ask(path, "PUT"), problem)
    assert (reply.status, reply.media) == (status, "application/json")
    said = json.loads(reply.body)
    assert said["error"] == problem.text()
    assert said["reason"] == problem.message


def test_signals_of_refusals() -> None:
    reply = ROOM.refuse(ask("demo"), Unauthenticated("Who?"))
    assert dict(reply.headers)["WWW-Authenticate"] == 'Bearer realm="Entrepot", Basic realm="Entrepot"'
    assert ("Retry-After", "7") in ROOM.refuse(ask("demo"), TooMany("Slow.", retry_after_s=7)).headers


# ---------------------------------------------------------------- audit


def audited(path: str, body: bytes, **headers: str) -> Any:
    request = ask(path, "POST", **headers)
    decision = ROOM.decide(request, Finds(body=body), MemoryView())
    assert decision.changes == ()
    return json.loads(decision.reply.body)


def test_o14_an_audit_is_answered_from_what_is_known() -> None:
    body = json.dumps({"demo": ["1.0.0"], "@s/n": ["1.0.0", "2.0.0"]}).encode()
    assert audited("-/npm/v1/security/advisories/bulk", body) == {}
    assert audited("-/npm/v1/security/advisories/bulk", gzip.compress(body), content_encoding="gzip") == {}
    report = audited("-/npm/v1/security/audits/quick", b'{"name": "x", "requires": {}, "dependencies": {}}')
    assert report["advisories"] == {}
    assert set(report["metadata"]["vulnerabilities"].values()) == {0}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": 1}', b'{"a": [1]}', b'{"a": "1"}', b"nonsense", b'{"\xff": []}'])
def test_o14_an_audit_of_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        audited("-/npm/v1/security/advisories/bulk", body)


def test_d5_compressed_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "-/npm/v1/security/advisories/bulk"
    monkeypatch.setattr("formats.npm.decide.AUDIT_PLAIN_BYTES_MAX", 1000)
    with pytest.raises(TooLarge):
        audited(path, gzip.compress(b" " * 1001), content_encoding="gzip")
    for body in (b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x"):
        with pytest.raises(Invalid):
            audited(path, body, content_encoding="gzip")
    with pytest.raises(Unsupported):
        audited(path, b"{}", content_encoding="br")


# ---------------------------------------------------------------- search


@pytest.fixture
def filled(registry: Registry) -> Registry:
    registry.publish(
        "left-pad", description="Pads on the left", keywords=["pad", "string"], homepage="https://example.com"
    )
    registry.publish("@acme/pad", description="Second", keywords=["string"], repository={"url": "git:x"})
    registry.publish("other", description="Does PAD things")
    return registry


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pad", ["@acme/pad", "left-pad", "other"]),
        ("left", ["left-pad"]),
        ("pad nothing", []),
        ("keywords:string", ["@acme/pad", "left-pad"]),
        ("scope:acme pad", ["@acme/pad"]),
        ("scope:@acme", ["@acme/pad"]),
        ("maintainer:ada left", ["left-pad"]),
        ("author:bob", []),
        ("not:unstable other", ["other"]),
        ("", ["@acme/pad", "left-pad", "other"]),
    ],
)
def test_search_finds_by_name_description_and_keywords(filled: Registry, text: str, found: list[str]) -> None:
    answer = filled.get(f"-/v1/search?text={text}")
    assert [one["package"]["name"] for one in answer["objects"]] == found
    assert answer["total"] == len(found)


def test_search_pages_and_objects(filled: Registry) -> None:
    assert [one["package"]["name"] for one in filled.get("-/v1/search?text=pad&size=1&from=1")["objects"]] == [
        "left-pad"
    ]
    (one,) = filled.get("-/v1/search?text=left-pad")["objects"]
    assert one["package"]["links"] == {"homepage": "https://example.com"}
    assert one["package"]["version"] == "1.0.0"
    assert one["package"]["maintainers"] == [{"username": "ada", "email": ""}]
    assert 0 < one["score"]["final"] <= 1
    assert set(one["score"]["detail"]) == {"quality", "popularity", "maintenance"}
    for query in ("size=x", "size=-1", "from=%C2%B2", "from=1e9"):
        with pytest.raises(Invalid):
            filled.get(f"-/v1/search?text=a&{query}")


def test_the_old_list_of_all(filled: Registry) -> None:
    listed = filled.get("-/all")
    assert set(listed) == {"_updated", "left-pad", "@acme/pad", "other"}
    assert listed["other"]["dist-tags"] == {"latest": "1.0.0"}
    assert listed["other"]["versions"] == {"1.0.0": "latest"}


def test_a_document_of_one_mebibyte_and_a_tarball_pass_through_a_wire_plan(registry: Registry) -> None:
    plan = ROOM.read(ask("demo", "PUT"))
    assert isinstance(plan, Accept)
    assert plan.body == "spool"
    data = tarball({"name": "demo", "version": "1.0.0"})
    status, _ = registry.send("PUT", "demo", document(data=data, text="x" * (1 << 20)))
    assert status == 201
