"""Does every room keep the contract: pure, deterministic, honest about names, and unharmed by what it is sent?

A new room brings a CASE in tests/contract/room_of_ROOM.py and runs all of this.
"""

import ast
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import formats
from formats import ROOMS
from formats.kit.contract import (
    ABOUT,
    Accept,
    Amend,
    Ask,
    Foreign,
    Login,
    Plan,
    Reply,
    Resume,
    Serve,
    Show,
    about,
)
from formats.kit.routes import Declared, find
from storage import errors
from storage.errors import Invalid, Problem
from storage.nouns import PutFile, PutTag, PutVersion
from tests.contract.cases import CASES
from tests.contract.rooms import Case, Upload, World, ask, carried
from tests.harness.untimed import untimed

HOSTILE = int(os.environ.get("ENTREPOT_HOSTILE", "200"))
PROBLEMS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem
]
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "MKCOL", "get", "")
HEADERS = {
    "accept": ("application/json", "text/html;q=0", "*/*;q=x", ",,;;", "application/vnd.npm.install-v1+json"),
    "content-type": ("multipart/form-data; boundary=x", "application/partial-upload", "application/json", ";", ""),
    "content-encoding": ("gzip", "identity", ""),
    "if-match": ("*", '"x"', "W/", '"'),
    "if-none-match": ("*", '"x"'),
    "repr-digest": ("sha-256=:AAAA:", "md5", "=:", ""),
    "x-checksum-sha256": ("0" * 64, "x"),
    "upload-complete": ("?0", "?1", "?", "true"),
    "upload-offset": ("0", "-1", "9" * 30, "x"),
    "npm-command": ("publish",),
}

every_room = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def paths(case: Case) -> st.SearchStrategy[str]:
    """Real fragments in any order, and anything at all between them."""
    parts = st.one_of(st.sampled_from(case.paths), st.text(case.letters + "/", max_size=6), st.text(max_size=6))
    return st.lists(parts, max_size=6).map("".join)


@st.composite
def requests(draw: st.DrawFn, case: Case) -> Ask:
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=4, unique=True))
    headers = {name: draw(st.one_of(st.sampled_from(HEADERS[name]), st.text(max_size=12))) for name in names}
    return ask(case.room, draw(st.sampled_from(METHODS)), draw(paths(case)), headers)


def outcome(case: Case, request: Ask) -> Plan | tuple[type[Problem], str]:
    try:
        return case.room.read(request)
    except Problem as problem:
        return type(problem), problem.text()


def proper(headers: tuple[tuple[str, str], ...]) -> None:
    """No header can end its line, or say what is the core's to say."""
    for name, value in headers:
        assert name.isascii()
        assert name.replace("-", "").isalnum()
        assert all(" " <= character <= "~" for character in value), (name, value)
        assert name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "content-type")


@pytest.mark.parametrize("base", ["http://127.0.0.1:8081/acme/main", "https://packages.example/acme/main"])
@pytest.mark.parametrize("name", sorted(ROOMS))
def test_a_room_tells_its_clients_lines(name: str, base: str) -> None:
    """With the address filled in, and the token by its variable's name."""
    lines = ROOMS[name].setup(base)
    host = base.partition("://")[2].partition("/")[0]
    assert any(host in line for line in lines)
    assert any("acme/main" in line for line in lines)
    assert any("ENTREPOT_TOKEN" in line for line in lines)
    assert all(line and "\n" not in line for line in lines)
    consent = re.compile(r"--insecure(?!-)|plain-http|allow-http|llowInsecure|tls-verify|unsafeHttp")
    assert base.startswith("http:") or not [line for line in lines if consent.search(line)], "nobody consents to less"


def test_every_room_has_a_case() -> None:
    assert CASES.keys() == ROOMS.keys()


# ---------------------------------------------------------------- requests


PARTS = {
    "version": "1.0", "tag": "beta", "reference": "latest", "digest": f"sha256:{'0' * 64}", "session": "a" * 22,
    "distribution": "stable", "component": "main", "architecture": "amd64", "user": "ann", "token": "x", "rev": "1-0",
}  # fmt: skip
"""What parts of declared addresses can be, beside the packages and files that are there."""


def addresses(case: Case) -> list[tuple[Declared, str]]:
    """Every declared address of something that is there."""
    world = World(case.room)
    for upload in case.good:
        world.upload(upload)
    (package, file), *_ = world.published
    last = package.rpartition("/")[2]  # what is one segment of an address

    def filled(one: Declared) -> str:
        return one.fill(PARTS | {"package": last if "<package>" in one.path else package, "file": file})

    return [(one, filled(one)) for one in case.room.routes]


@every_room
def test_c7_every_declared_address_is_one(case: Case) -> None:
    """By each of its methods, and with the right that was declared."""
    for declared, path in addresses(case):
        for method in declared.methods:
            request = ask(case.room, method, path, {"upload-complete": "?1"})
            assert find(case.room.routes, method, path) is not None
            assert case.room.right(request) == declared.right, (method, path)
            met = outcome(case, request)
            if isinstance(met, tuple):
                assert met[0] is not errors.MethodRefused, (method, path, met)


@every_room
@untimed
@given(data=st.data())
def test_c7_what_is_not_declared_is_not_answered(case: Case, data: st.DataObject) -> None:
    request = data.draw(requests(case))
    if isinstance(outcome(case, request), tuple):
        return
    declared = find(case.room.routes, request.method, request.path)
    assert declared is not None, f"{request.method} {request.path}"
    assert declared.right == case.room.right(request)


@every_room
@given(data=st.data())
@untimed
def test_a6_any_request_is_a_plan_or_a_problem(case: Case, data: st.DataObject) -> None:
    request = data.draw(requests(case))
    plan = outcome(case, request)
    assert plan == outcome(case, request), "the same request means the same"
    assert case.room.right(request) in ("read", "write")
    if isinstance(plan, Reply | Serve | Show):
        proper(plan.headers)
    if isinstance(plan, Accept | Amend | Resume):
        assert carried(plan.context) == plan.context, "a context survives its journey"
    if isinstance(plan, Accept | Resume | Login):
        assert plan == Login(plan.bytes_max) if isinstance(plan, Login) else case.room.right(request) == "write"


@every_room
@given(data=st.data())
@untimed
def test_head_means_what_get_means(case: Case, data: st.DataObject) -> None:
    request = data.draw(requests(case))
    get, head = (outcome(case, msgspec.structs.replace(request, method=method)) for method in ("GET", "HEAD"))
    if isinstance(get, tuple) and isinstance(head, tuple):
        get, head = get[:1], head[:1]  # the words may name the method
    assert get == head
    assert not isinstance(get, Accept | Amend | Login), "reading changes nothing"


@every_room
@given(data=st.data())
@untimed
def test_a_room_says_no_in_its_own_way_and_no_more_than_that(case: Case, data: st.DataObject) -> None:
    secret = "5ecret-in-a-header"
    request = data.draw(requests(case))
    request = msgspec.structs.replace(request, headers={**request.headers, "x-odd": secret})
    problem = data.draw(st.sampled_from(PROBLEMS))(
        'What "happened" \r\nSet-Cookie: a=b', "What to do.", retry_after_s=9
    )
    reply = case.room.refuse(request, problem)
    assert reply == case.room.refuse(request, problem)
    told = (reply.status, problem.status)
    assert reply.status // 100 == problem.status // 100 or told == (403, 507), "a 5xx is sent again and again by some"
    assert reply.status == problem.status or problem.status in (409, 416, 507), "clients act on most numbers"
    proper(reply.headers)
    text = json.dumps(json.loads(reply.body)) if "json" in reply.media else reply.body.decode()
    assert "What to do." in text
    assert "happened" in text
    assert secret not in text
    assert request.path not in text or len(request.path) < 8
    names = {name.lower() for name, _ in reply.headers}
    assert "www-authenticate" in names or problem.status != 401
    assert "allow" in names or problem.status != 405
    assert "html" not in reply.media


@every_room
@given(data=st.data())
@untimed
def test_c15_two_names_are_one_exactly_when_the_format_says_so(case: Case, data: st.DataObject) -> None:
    letters = st.text(case.letters, min_size=1, max_size=5).filter(lambda name: not name.endswith("/"))
    first, second = data.draw(letters), data.draw(letters)
    meant = [name_of(case, name) for name in (first, second)]
    if None not in meant:
        assert (meant[0] == meant[1]) == (case.canonical(first) == case.canonical(second))
        assert [case.room.normalise(name) for name in (first, second)] == meant, "typed elsewhere, it is the same name"


@every_room
@given(data=st.data())
@untimed
def test_a_typed_name_becomes_the_kept_one_or_is_refused(case: Case, data: st.DataObject) -> None:
    typed = data.draw(st.one_of(st.text(case.letters, max_size=8), st.text(max_size=8)))
    try:
        kept = case.room.normalise(typed)
    except Invalid:
        return
    assert kept
    assert case.room.normalise(kept) == kept


def name_of(case: Case, name: str) -> str | None:
    plan = outcome(case, ask(case.room, "GET", case.named(name)))
    return None if isinstance(plan, tuple) else case.meant(plan)


@every_room
def test_c15_names_are_really_compared(case: Case) -> None:
    """The test above would pass if every name were refused."""
    assert sum(name_of(case, one + two) is not None for one in case.letters for two in case.letters) >= 4


# ---------------------------------------------------------------- uploads and pages


def filled(case: Case) -> World:
    world = World(case.room)
    for upload in case.good:
        world.upload(upload)
    return world


def shown(world: World, case: Case, base: str = "") -> list[Any]:
    return [world.page(path, headers, base) for path, headers in case.pages]


@every_room
def test_the_same_uploads_decide_and_render_the_same(case: Case) -> None:
    one, two = World(case.room), World(case.room)
    for upload in case.good:
        assert one.upload(upload) == two.upload(upload)
        assert shown(one, case) == shown(two, case)
    assert None not in shown(one, case), "the suite looks at pages that are there"
    for document in shown(one, case):
        proper(document.headers)


@every_room
def test_a_decision_stays_within_its_room_and_its_bytes(case: Case) -> None:
    world = World(case.room)
    for upload in case.good:
        decision = world.upload(upload)
        assert decision.changes
        assert decision.action
        assert 200 <= decision.reply.status < 300
        proper(decision.reply.headers)
        for change in decision.changes:
            assert change.format == case.room.name  # type: ignore[union-attr]
            if isinstance(change, PutFile):
                assert len(world.kept[change.file.sha256]) == change.file.size
                assert change.file.source == ""


def reachable(world: World, case: Case, package: str, name: str) -> bytes | None:
    """The identity of the bytes that a client gets at a file's address."""
    plan = case.room.read(ask(case.room, "GET", case.room.address(package, name)))
    assert isinstance(plan, Serve)
    assert (plan.package, plan.file) == (package, name)
    file = world.view.file(plan.package, plan.file)
    return file.sha256 if file else None


@every_room
def test_what_was_published_is_served_as_it_came(case: Case) -> None:
    world = filled(case)
    assert len(world.published) >= len(case.good)
    for (package, name), sha256 in world.published.items():
        assert reachable(world, case, package, name) == sha256


@every_room
def test_c15_again_changes_nothing_and_other_bytes_are_refused(case: Case) -> None:
    world = filled(case)
    serial = world.view.serial
    for upload in case.good:
        repeated = world.upload(upload)
        assert repeated.changes == ()
        assert repeated.reply.status < 300
        other = case.other(upload)
        assert other.body != upload.body
        with pytest.raises(Problem) as refused:
            world.upload(other)
        assert 400 <= refused.value.status < 500
    assert world.view.serial == serial


@every_room
def test_a_page_depends_on_what_its_plan_names(case: Case) -> None:
    """Else a kept page would stay stale, or one address would leak into another's pages."""
    world = World(case.room)
    packages: list[str] = []
    for upload in case.good:
        before = {index: world.page(*page) for index, page in enumerate(case.pages)}
        changes = world.upload(upload).changes
        changed = {change.package for change in changes if isinstance(change, PutFile | PutVersion | PutTag)}
        packages += [change.package for change in changes if isinstance(change, PutFile)]
        for index, (path, headers) in enumerate(case.pages):
            plan = case.room.read(ask(case.room, "GET", path, headers))
            assert isinstance(plan, Show)
            if plan.package and plan.package not in changed:
                assert world.page(path, headers) == before[index], f"{path} changed with another package"
            here, there = world.page(path, headers), world.page(path, headers, "https://elsewhere.example/w/r/f")
            if here is not None and there is not None and not plan.absolute:
                assert here == there, f"{path} holds addresses and does not say so"
                assert b"elsewhere.example" not in there.body
    assert len(set(packages)) > 1


@every_room
def test_a_removal_leaves_no_reachable_byte(case: Case) -> None:
    world = filled(case)
    for request, body in case.remove(world):
        assert case.room.right(request) == "write"
        assert world.amend(request, body).changes
    for (package, name), sha256 in world.published.items():
        assert reachable(world, case, package, name) is None
        for document in shown(world, case):
            assert document is None or (
                name.encode() not in document.body and sha256.hex().encode() not in document.body
            )


# ---------------------------------------------------------------- hostile input


@every_room
def test_d4_damaged_packages_are_refused_or_harmless(case: Case) -> None:
    """ENTREPOT_HOSTILE = how many; each has its own seed, which an assertion names."""
    refused = 0
    for seed in range(HOSTILE):
        upload = case.mutant(random.Random(f"{case.room.name} {seed}"))
        world = World(case.room)
        met = meeting(world, upload)
        assert met is None or isinstance(met, Problem), f"seed {seed}: {type(met).__name__} {met}"
        if met is None:
            assert set(world.published.values()) <= world.kept.keys(), f"seed {seed}"
            shown(world, case)
            continue
        refused += 1
        assert 400 <= met.status < 500, f"seed {seed}"
        assert world.view.serial == 0, f"seed {seed}"
        case.room.refuse(ask(case.room, upload.method, upload.path, upload.headers), met)
    assert refused > HOSTILE // 4, "the damage is damage"


def meeting(world: World, upload: Upload) -> Exception | None:
    """What an upload comes to."""
    try:
        world.upload(upload)
    except Exception as error:
        return error
    return None


@every_room
def test_d4_learning_from_damaged_answers(case: Case) -> None:
    if case.room.upstream(ABOUT, about("demo")) is None:
        with pytest.raises(Problem):
            case.room.learn("demo", b"{}", "http://upstream.example/")
        return
    world = filled(case)
    plans = [case.room.read(ask(case.room, "GET", path, headers)) for path, headers in case.pages]
    pages = [plan for plan in plans if isinstance(plan, Show) and plan.package and plan.foreign]
    learnt = 0
    for seed in range(HOSTILE):
        dice = random.Random(f"learn {case.room.name} {seed}")
        page = dice.choice(pages)
        raw = case.room.render(page, world.view, "http://upstream.example").body
        met = learning(case, page.package, damaged_answer(raw, dice) if seed else raw)
        assert isinstance(met, Problem | Foreign), f"seed {seed}: {type(met).__name__} {met}"
        if isinstance(met, Foreign):
            learnt += 1
            assert met.package.name == page.package
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(met), type=Foreign) == met
            assert all(file.source.startswith(("http://", "https://")) for file in met.files), f"seed {seed}"
    assert learnt, "an answer that is whole is understood"


def learning(case: Case, package: str, raw: bytes) -> Foreign | Exception:
    """What an upstream's answer comes to."""
    try:
        return case.room.learn(package, raw, f"http://upstream.example/{package}/")
    except Exception as error:
        return error


def damaged_answer(raw: bytes, dice: random.Random) -> bytes:
    wounded = bytearray(raw)
    for _ in range(dice.randint(1, 5)):
        at = dice.randrange(len(wounded) + 1)
        wounded[at : at + dice.randint(0, 4)] = dice.choice(
            (b"", b'"', b"{", b"[]", b"null", b"<a href=", b"\xff", b"-1", b"\\u0000")
        )
    return bytes(wounded)


# ---------------------------------------------------------------- purity

FORMATS = Path(formats.__file__).parent
IMPURE = {
    "aiohttp", "anyio", "asyncio", "cache", "concurrent", "ctypes", "gateway", "glob", "http", "httpx2", "lmdb",
    "logging", "marshal", "multiprocessing", "os", "pathlib", "pickle", "random", "requests", "secrets", "select",
    "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "trio", "uuid",
}  # fmt: skip
OF_STORAGE = {"storage.nouns", "storage.errors", "storage.digest"}
CLOCKS = {"now", "utcnow", "today"}
CALLS = {"eval", "exec", "input", "print", "__import__", "globals", "breakpoint"}
MODULES = sorted(FORMATS.rglob("*.py"))


def imported(node: ast.AST) -> list[str]:
    """What an import statement names, in full and with a dot behind."""
    if isinstance(node, ast.Import):
        return [alias.name + "." for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}." for alias in node.names]
    return []


@pytest.mark.parametrize("module", MODULES, ids=[str(one.relative_to(FORMATS)) for one in MODULES])
def test_formats_are_pure(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        for name in imported(node):
            assert name.partition(".")[0] not in IMPURE, f"{module.name} imports {name}"
            assert not name.startswith("urllib.") or name.startswith("urllib.parse.")
            assert not name.startswith("storage.") or any(name.startswith(one + ".") for one in OF_STORAGE), name
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global), f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCKS, f"line {node.lineno}: a clock"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in CALLS, f"line {node.lineno}: {node.func.id}"


def test_rooms_do_not_know_each_other() -> None:
    for module in MODULES:
        own = module.relative_to(FORMATS).parts[0]
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("formats.") and own in ROOMS:
                assert (node.module or "").split(".")[1] in (own, "kit"), f"{module.name} imports {node.module}"


def test_hostile_knob_is_sane() -> None:
    assert HOSTILE >= 1
    with pytest.raises(Invalid):
        World(ROOMS["generic"]).upload(CASES["generic"].mutant(random.Random(1)))
