"""Can people use the history as an audit trail, and does any change to it show? THREATS F11, F12, C11."""

import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.access.history.audit import check_export, compared, shown
from gateway.access.history.heads import KEPT, Heads, SignedHead, kept, verified
from gateway.cli.history.audit import _about
from gateway.cli.main import with_reason
from gateway.cli.terminal.output import Usage
from gateway.insight.reasons import reason_in, told_reason
from storage.commit import Decided
from storage.digest import sha256
from storage.errors import Damaged, Invalid
from storage.index.history import History
from storage.journal import frames
from storage.journal.frames import HEADER_BYTES
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Draft,
    DropPackage,
    DropRepository,
    DropTag,
    Entry,
    Membership,
    Package,
    PutAccount,
    PutMembership,
    PutPackage,
    PutRepository,
    PutTag,
    PutToken,
    PutWorkspace,
    Repository,
    Token,
    Workspace,
)
from storage.open import Store
from storage.upkeep.chain import check_journal
from tests.harness.consoles import Console
from tests.harness.stores import opened

AT_MS = 1_800_000_000_000


async def write(
    store: Store, *changes: AnyChange, workspace: str = "acme", repository: str = "main", actor: str = "tok_a",
    action: str = "test", reason: str = "",
) -> None:  # fmt: skip
    assert store.committer is not None
    draft = Draft(workspace, repository, actor, action, changes, reason)
    await store.committer.commit(lambda reading: Decided(draft))


async def filled(store: Store) -> History:
    """Seven entries of two workspaces and SYSTEM."""
    token = Token("tok_a", "laptop", b"\5" * 32, (), verify_key=b"\6" * 32)
    await write(store, PutToken(token), workspace=SYSTEM, repository="", action="token.create")
    await write(store, PutWorkspace(Workspace("acme", 1)), workspace=SYSTEM, repository="", action="workspace.create")
    await write(store, PutRepository(Repository("acme", "main")), action="repository.create")
    await write(store, PutPackage("pypi", Package("six")), PutTag("pypi", "six", "latest", "1"), action="publish")
    await write(store, PutPackage("npm", Package("left")), workspace="other", action="publish")
    await write(store, PutTag("pypi", "six", "latest", "2"), action="tag.set", reason="release")
    await write(store, DropPackage("pypi", "six"), action="package.delete")
    assert store.journal is not None
    return History(store.index, store.journal)


# ---------------------------------------------------------------- told


async def test_entries_are_told_with_who_and_why_the_latest_first(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        history = await filled(store)
        mine = list(history.latest("acme"))
        assert [one.entry.action for one in mine] == ["package.delete", "tag.set", "publish", "repository.create"]
        everything = list(history.latest())
        assert [one.entry.workspace for one in everything] == ["acme", "acme", "other", "acme", "acme", SYSTEM, SYSTEM]
        assert [one.entry.actor_name for one in everything] == ["laptop"] * 6 + [""]
        told = shown(mine[1].entry, mine[1].hash)
        assert (told["actor"], told["reason"]) == ({"id": "tok_a", "name": "laptop"}, "release")
        # a page goes on where the last one ended
        assert list(history.latest(below=everything[2].at)) == everything[3:]
        assert list(history.latest("acme", below=everything[2].at)) == mine[2:]
        assert list(history.latest("nobody")) == []


async def test_c11_no_hash_of_a_secret_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        history = await filled(store)
        text = msgspec.json.encode(shown(history.one(SYSTEM, 1).entry, b"")).decode()
        assert '"laptop"' in text
        for secret in (b"\5" * 32, b"\6" * 32):
            assert secret.hex() not in text


async def test_what_was_before_is_looked_up_in_the_journal(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        history = await filled(store)

        def told(serial: int) -> list[Any]:
            return compared(history.one("acme", serial).entry, (one.entry for one in history.before("acme", serial)))

        assert [one["before"] for one in told(2)] == [None, None]
        moved = told(3)[0]
        assert (moved["before"]["version"], moved["after"]["version"]) == ("1", "2")
        dropped = told(4)[0]
        assert (dropped["before"]["package"]["name"], dropped["after"]) == ("six", None)
        await write(store, PutTag("pypi", "six", "latest", "3"))
        assert told(5)[0]["before"] is None, "the package was dropped in between, and its tags with it"
        await write(store, DropTag("pypi", "six", "latest"))
        assert (told(6)[0]["before"]["version"], told(6)[0]["after"]) == ("3", None)
        await write(store, DropRepository("acme", "main"))
        assert told(7)[0]["before"]["repository"]["name"] == "main"
        await write(store, PutTag("pypi", "six", "latest", "4"))
        assert told(8)[0]["before"] is None


@pytest.mark.parametrize("bad", ["two\nlines", "esc\x1b[31m", "%0d%0aX: y", "x" * 401, "%ff", "ent_" + "A1b2" * 9])
def test_f12_a_reason_is_one_plain_line_and_no_credential(bad: str) -> None:
    with pytest.raises(Invalid):
        reason_in(bad)


@pytest.mark.parametrize("good", ["", "why not", "Größe 100% – 理由", "a=b; c"])
def test_a_reason_comes_through_the_header(good: str) -> None:
    sent = told_reason(good)
    assert sent.isascii()
    assert reason_in(sent) == good


def test_every_command_takes_a_reason() -> None:
    assert with_reason(["repo", "create", "--reason", "x y", "a/b"]) == (["repo", "create", "a/b"], "x y")
    assert with_reason(["repo", "--reason=x", "a/b"]) == (["repo", "a/b"], "x")
    assert with_reason(["quarantine", "add", "--reason", "x"]) == (["quarantine", "add", "--reason", "x"], "")
    assert with_reason(["push", "--", "--reason", "x"]) == (["push", "--", "--reason", "x"], "")
    with pytest.raises(Usage):
        with_reason(["repo", "--reason"])


# ---------------------------------------------------------------- evidence


async def written(root: Path) -> bytes:
    """The only segment of a small origin, which is stopped."""
    with opened(root) as store:
        history = await filled(store)
        Heads(root, store.identity.id).keep(history.heads(), AT_MS)
    return (root / "journal" / "00000001.seg").read_bytes()


async def test_f11_every_byte_of_the_journal_counts(tmp_path: Path) -> None:
    data = await written(tmp_path)
    path = tmp_path / "journal" / "00000001.seg"
    claims = [one.head for one in kept(tmp_path / KEPT)]
    whole = check_journal(tmp_path, claims)
    assert (whole.problems, whole.entries, whole.signed) == ([], 7, 3)
    (tmp_path / "index").rename(tmp_path / "aside")  # it takes a process to be read; without it all must be whole too
    assert check_journal(tmp_path, claims).problems == []
    chance = random.Random(11)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        assert check_journal(tmp_path, claims).problems, f"byte {at}"
    for cut in (1, 9, len(data) // 2):
        path.write_bytes(data[:-cut])
        assert check_journal(tmp_path, claims).problems
    path.write_bytes(data)
    assert check_journal(tmp_path, claims).problems == []


async def test_f11_the_index_is_compared_and_a_running_node_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await filled(store)
        assert verify(["--data", str(tmp_path)])[0] == 0
    path = tmp_path / "journal" / "00000001.seg"
    path.write_bytes(path.read_bytes()[:-1])
    assert check_journal(tmp_path).problems


def rewritten(data: bytes, actor: str) -> bytes:
    """The same history by somebody else: every hash and every checksum is right."""
    previous: dict[str, bytes] = {}
    out = [data[:HEADER_BYTES]]
    for _, body in frames.parse(data, HEADER_BYTES).frames:
        entry = msgspec.msgpack.decode(body, type=Entry)
        made = msgspec.structs.replace(entry, actor=actor, previous=previous.get(entry.workspace, bytes(32)))
        raw = msgspec.msgpack.encode(made)
        previous[entry.workspace] = sha256(raw)
        out.append(frames.frame(raw))
    return b"".join(out)


async def test_f11_a_history_that_was_written_anew_is_found_by_any_head_of_the_old_one(tmp_path: Path) -> None:
    data = await written(tmp_path)
    (tmp_path / "index").rename(tmp_path / "aside")
    claims = [one.head for one in kept(tmp_path / KEPT)]
    (tmp_path / "journal" / "00000001.seg").write_bytes(rewritten(data, "rogue"))
    assert check_journal(tmp_path).problems == [], "the chain alone cannot know"
    for claim in claims:
        assert "written anew" in check_journal(tmp_path, [claim]).problems[0]


async def test_heads_are_kept_once_for_each_move_and_signed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        history, heads = await filled(store), Heads(tmp_path, store.identity.id)
        assert {one.workspace for one in heads.keep(history.heads(), AT_MS)} == {SYSTEM, "acme", "other"}
        assert heads.keep(history.heads(), AT_MS) == []
        await write(store, PutPackage("npm", Package("right")), workspace="other")
        assert [(one.workspace, one.serial) for one in heads.keep(history.heads(), AT_MS)] == [("other", 2)]
    found = list(kept(tmp_path / KEPT))
    assert len(found) == 4
    assert all(verified(one, heads.public()) for one in found)
    assert (tmp_path / "heads.json").stat().st_mode & 0o077 == 0
    other = Heads(tmp_path / "other", "1f")
    (tmp_path / "other").mkdir()
    assert not verified(found[0], other.public())
    for field, value in (("serial", 9), ("at_ms", 1), ("workspace", "evil"), ("epoch", 1), ("hash", found[1].hash)):
        assert not verified(msgspec.structs.replace(found[0], **{field: value})), field
    assert not verified(msgspec.structs.replace(found[0], signature="!"))


# ---------------------------------------------------------------- the API and exports


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Console]:
    with opened(tmp_path / "store") as store:
        history = await filled(store)
        console = Console(tmp_path / "console", history=history, heads=Heads(tmp_path / "store", store.identity.id))
        yield console
        console.ledger.close()


async def test_people_are_told_and_asked_for_as_they_are_called(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        history = await filled(store)
        await write(store, PutMembership(Membership("usr_alice", "member")), action="member.add", repository="")
        console = Console(tmp_path / "console", history=history)
        console.add_people("acme")
        (newest,) = (await console.call("node admin", "GET", "/workspaces/acme/audit?limit=1")).json["items"]
        assert (newest["action"], newest["changes"][0]["who"]) == ("member.add", "user:alice")
        assert _about(newest) == "membership user:alice"
        serial = newest["serial"]
        one = (await console.call("node admin", "GET", f"/workspaces/acme/audit/{serial}")).json
        assert one["changes"][0]["who"] == "user:alice"
        for actor, found in (("user:laptop", 5), ("laptop", 5), ("user:nobody", 0)):
            listed = await console.call("node admin", "GET", f"/workspaces/acme/audit?actor={actor}")
            assert len([one for one in listed.json["items"] if one["workspace"] == "acme"]) == found, actor
        console.ledger.close()


async def exported(console: Console, path: str = "/workspaces/acme/audit") -> list[bytes]:
    got = (await console.call("node admin", "GET", f"{path}/export")).json
    assert got["next"] is None
    closing = msgspec.json.encode(msgspec.convert(got["closing"], SignedHead)).decode()
    return [f"{line}\n".encode() for line in (got["opening"], *got["items"], closing)]


async def test_f11_an_export_proves_itself_byte_by_byte(world: Console) -> None:
    lines = await exported(world)
    proof = check_export(lines)
    assert (proof.checked.problems, proof.checked.entries, proof.checked.signed) == ([], 4, 1)
    chance, raw = random.Random(7), b"".join(lines)
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << chance.randrange(8)
        try:
            problems = check_export(bytes(changed).splitlines(keepends=True), key=proof.key).checked.problems
        except Damaged:
            continue
        assert problems, f"byte {at}: {changed[at - 20 : at + 20]!r}"
    for without in range(1, len(lines)):
        assert check_export(lines[:without] + lines[without + 1 :]).checked.problems
    assert check_export([*lines, b"{}\n"]).checked.problems
    assert check_export([lines[0], *lines[2:0:-1], *lines[3:]]).checked.problems
    assert check_export(lines, key="A" * 43).checked.problems, "another key than the one that is trusted"
    with pytest.raises(Damaged):
        check_export([])


async def test_what_an_account_did_by_any_of_its_tokens(tmp_path: Path) -> None:
    """An administrator who asks what ann did does not know what her tokens are called."""
    with opened(tmp_path / "store") as store:
        history = await filled(store)
        accounts = [PutAccount(Account(f"usr_{one}", "user", one)) for one in ("ann", "anna")]
        tokens = [
            PutToken(Token(f"tok_{one}", name, bytes([number]) * 32, (), owner=f"usr_{one}"))
            for number, (one, name) in enumerate((("ann", "box"), ("anna", "ann")), start=40)
        ]
        await write(store, *accounts, *tokens, workspace=SYSTEM, repository="", action="account.create")
        await write(store, PutPackage("npm", Package("by-ann")), actor="tok_ann", action="publish")
        await write(store, PutPackage("npm", Package("by-anna")), actor="tok_anna", action="publish")
        console = Console(tmp_path / "console", history=history, heads=Heads(tmp_path / "store", store.identity.id))
        for said, names in (("ann", ["ann (box)"]), ("anna", ["anna (ann)"]), ("tok_ann", ["ann (box)"]), ("an", [])):
            got = await console.call("node admin", "GET", f"/workspaces/acme/audit?actor={said}")
            assert [one["actor"]["name"] for one in got.json["items"]] == names
        console.ledger.close()


async def test_filters_pages_and_who_may_look(world: Console) -> None:
    async def actions(path: str, role: str = "node admin") -> list[str]:
        got = await world.call(role, "GET", path)
        assert got.status == 200, got.body
        return [one["action"] for one in got.json["items"]]

    assert await actions("/audit?action=token") == ["token.create"]
    assert await actions("/audit?workspace=-&actor=laptop") == ["workspace.create"]
    assert await actions("/workspaces/acme/audit?repository=main&action=tag.set") == ["tag.set"]
    assert await actions("/workspaces/acme/audit?until_ms=5") == []
    assert await actions("/workspaces/acme/audit?since_ms=9999999999999") == []
    pages, after = [], ""
    while True:
        got = (await world.call("acme admin", "GET", f"/workspaces/acme/audit?limit=3&after={after}")).json
        pages.append([(one["workspace"], one["serial"]) for one in got["items"]])
        after = got["next"]
        if after is None:
            break
    assert pages == [[("acme", 4), ("acme", 3), ("acme", 2)], [("acme", 1), (SYSTEM, 2)]], "and how it was made"
    for role in ("auditor", "writer", "main admin", "stranger", "anonymous"):
        for path in ("/audit", "/audit/1", "/audit/heads", "/audit/export", "/workspaces/acme/audit",
                     "/workspaces/acme/audit/1", "/workspaces/acme/audit/export"):  # fmt: skip
            assert (await world.call(role, "GET", path)).status in (401, 403, 404), (role, path)
    for path in ("/audit", "/audit/1", "/audit/heads", "/audit/export"):
        assert (await world.call("acme admin", "GET", path)).status == 403
    assert (await world.call("acme admin", "GET", "/workspaces/acme/audit/3")).json["changes"][0]["before"]
    assert (await world.call("acme admin", "GET", "/workspaces/acme/audit/99")).status == 404
    for bad in ("after=x", "after=1:x", "since_ms=-1", "limit=0", "actor=a&actor=b"):
        assert (await world.call("node admin", "GET", f"/audit?{bad}")).status == 400, bad


async def test_a_reason_is_kept_with_the_change(world: Console) -> None:
    headers = {"Entrepot-Reason": "asked for by J%C3%B6rg"}
    body = {"public": True}
    got = await world.call("main admin", "PATCH", "/repositories/acme/main", body, headers)
    assert got.status == 200
    assert world.ledger.entries[-1].reason == "asked for by Jörg"
    bad = await world.call("main admin", "PATCH", "/repositories/acme/main", body, {"Entrepot-Reason": "a%0Ab"})
    assert bad.status == 400


def verify(arguments: list[str]) -> tuple[int, Any]:
    """`entrepot audit verify` in a process of its own, as a node has the index open in this one."""
    command = [sys.executable, "-m", "gateway.cli.main", "audit", "verify", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, msgspec.json.decode(done.stdout or done.stderr)


async def test_verify_from_the_command_line(world: Console, tmp_path: Path) -> None:
    file, data = tmp_path / "acme.jsonl", str(tmp_path / "store")
    file.write_bytes(b"".join(await exported(world)))
    code, told = verify([str(file)])
    assert (code, told["entries"]) == (0, 4)
    heads = tmp_path / "heads"
    heads.write_bytes((await world.call("node admin", "GET", "/audit/heads")).body)
    code, told = verify(["--data", data, "--heads", str(heads)])
    assert (code, told["signed_heads"]) == (0, 6)
    file.write_bytes(file.read_bytes().replace(b"publish", b"Publish", 1))
    code, told = verify([str(file)])
    assert (code, bool(told["problems"])) == (1, True)
    heads.write_bytes(heads.read_bytes().replace(b'"serial":4', b'"serial":3'))
    assert verify(["--data", data, "--heads", str(heads)])[0] == 1
    assert verify([str(tmp_path / "absent")])[0] == 3
