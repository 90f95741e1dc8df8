"""Does any address of any room tell somebody who may not know of a thing whether it is there? Cell by cell.

A row is one declared address and method (every one that there is, declared for it or not), asked by one principal. Its
cells are states of what is named: it is there; the package is not; the repository is dropped, or never was; nor the
workspace. Who may not know gets one answer for all cells, byte for byte, once the names that were asked for are the
same (THREATS B9, C5, C7). Nothing that is asked here may change anything.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from bench.hostile.drive import Attacker, Target
from bench.hostile.rooms import corpora
from bench.hostile.speaking import Ended, Reset, Said, Speaker
from formats import ROOMS
from formats.kit.routes import Declared
from gateway.access import tokens
from gateway.front.routes import full_home

WORKSPACE, REPOSITORY, SIDE, DROPPED, NEVER, NOWHERE = "secret", "main", "side", "gone", "void", "nowork"
STRANGE = "others"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
HIDDEN = ("anonymous", "unknown", "stranger", "neighbour", "customer")
"""Who may not know of the repository at all: nobody, a token that is none, one of another workspace, one and a
customer's of another repository beside it."""
NARROWED = "narrowed"
"""Who may read some packages of it, and not those that are asked for."""
READER = "reader"
"""Who may read it: what he gets shows that there is something to find. He may not write."""
GOOD, BAD, ABSENT = "good", "none", "1" * 64
"""All that was published is called something with the one; the other makes a name of the same length that was not."""
MORE = {
    "tag": "beta", "rev": "1-0", "session": "a" * 22, "user": "ann", "token": "x", "distribution": "stable",
    "component": "main", "architecture": "amd64", "reference": "latest",
}  # fmt: skip
_SAME = (
    (NOWHERE, WORKSPACE), *((f"{WORKSPACE}{sign}{one}", f"{WORKSPACE}{sign}{REPOSITORY}")
    for one in (DROPPED, NEVER) for sign in ("/", "%2F")), (BAD, GOOD),
)  # fmt: skip


@dataclass
class Told:
    """What came of it."""

    cells: int = 0
    rows: int = 0
    leaks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    """The rooms of which the reader has read something."""


class World:
    """A node with something of every room in a repository that almost nobody may know of. `admin` may do everything."""

    def __init__(self, url: str, admin: str, target: Target) -> None:
        self._url, self._admin = url, admin
        for workspace, names in ((WORKSPACE, (REPOSITORY, SIDE, DROPPED)), (STRANGE, (REPOSITORY,))):
            self._api("POST", "/workspaces", {"name": workspace})
            for name in names:
                self._api("POST", "/repositories", {"workspace": workspace, "name": name})
        self._api("DELETE", f"/repositories/{WORKSPACE}/{DROPPED}")
        self.values = {room: self._published(room, target) for room in ROOMS}
        self.tokens = {"anonymous": "", "unknown": tokens.mint()[0]} | self._made()
        self._read_once()
        self.serial = self.serials()

    def _read_once(self) -> None:
        """A key to sign with is made when somebody first reads what is signed, and that stands in the journal."""
        reader = Asker(self._url, self.tokens[READER])
        for name, room in ROOMS.items():
            for declared in room.routes:
                reader.ask("GET", cells(name, declared, self.values[name], READER)["there"])
        reader.close()

    def _made(self) -> dict[str, str]:
        place, side = f"{WORKSPACE}/{REPOSITORY}", f"{WORKSPACE}/{SIDE}"
        full = {"read": True, "write": True, "admin": True}
        narrow = [{"scope": place, "read": True, "formats": [room], "packages": ["zz*"]} for room in ROOMS]
        grants = {
            "stranger": [{"scope": STRANGE} | full],
            "neighbour": [{"scope": side} | full],
            NARROWED: narrow,
            READER: [{"scope": place, "read": True}],
        }
        made = {
            name: str(self._api("POST", "/tokens", {"name": name, "grants": given})["token"])
            for name, given in grants.items()
        }
        customer = {"name": "customer", "repositories": [SIDE]}
        told = self._api("POST", f"/workspaces/{WORKSPACE}/entitlements", customer)
        return made | {"customer": str(told["token"])}

    def _published(self, room: str, target: Target) -> dict[str, str]:
        """Publish something, and how the parts of its addresses are called."""
        corpus = corpora()[room]
        with Attacker(target, corpus) as publisher:
            for number in range(2):
                attack = corpus.good(number)
                said = publisher.ask(attack.requests[-1], publisher.prepare(attack))
                assert said is not None, attack.name
                assert 200 <= said.status < 300, (attack.name, said)
        base = f"/repositories/{WORKSPACE}/{REPOSITORY}/packages"
        names = [one["name"] for one in self._api("GET", f"{base}?format={room}")["items"] if GOOD in one["name"]]
        told = [self._api("GET", f"{base}/{name.replace('@', '%40')}?format={room}") for name in names]
        package = next(one for one in told if one["files"])
        file = package["files"][0]
        return MORE | {
            "package": package["name"],
            "version": file["version"] or "1.0",
            "file": file["name"],
            "digest": f"sha256:{file['sha256']}",
        }

    def serials(self) -> dict[str, int]:
        """How far each journal is: a refused request moves none of them."""
        found: dict[str, int] = self._api("GET", "/status")["serials"]
        return {name: serial for name, serial in found.items() if name in (WORKSPACE, STRANGE)}

    def _api(self, method: str, path: str, body: object = None) -> Any:
        with Speaker(self._url) as speaker:
            speaker.send(request_of(speaker.host, method, f"/-/api/v1{path}", self._admin, body))
            said = speaker.hear()
        if said.status >= 300:
            raise RuntimeError(f"{method} {path}: {said.status} {said.body[:300]!r}")
        return json.loads(said.body) if said.body else {}


def request_of(host: str, method: str, path: str, token: str, body: object = None) -> bytes:
    """A request as a client sends it."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    if data or method in ("PUT", "POST", "PATCH"):
        lines += ["Content-Type: application/json", "Upload-Complete: ?1", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


class Asker:
    """One principal at one node, on one connection at a time."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._speaker: Speaker | None = None

    def ask(self, method: str, path: str) -> Said:
        body: dict[str, str] | None = {} if method in ("PUT", "POST", "PATCH") else None
        for fresh in (False, True):
            speaker = self._speaker = self._speaker or Speaker(self._url)
            try:
                speaker.send(request_of(speaker.host, method, path, self._token, body))
                said = speaker.hear(head=method == "HEAD")
            except (Ended, Reset):
                self.close()
                if fresh:
                    raise
                continue
            if said.headers.get("connection", "").lower() == "close":
                self.close()
            return said
        raise AssertionError

    def close(self) -> None:
        if self._speaker is not None:
            self._speaker.close()
            self._speaker = None


def cells(room: str, declared: Declared, values: dict[str, str], principal: str) -> dict[str, str]:
    """The addresses of one row, by state."""
    there = declared.fill(one_segment(declared, values))
    absent = there.replace(GOOD, BAD).replace(values["digest"], f"sha256:{ABSENT}")
    home = full_home(WORKSPACE, REPOSITORY, room)
    found = {"there": f"{home}/{there}", "no such package": f"{home}/{absent}"}
    if principal in HIDDEN:
        found |= {
            "dropped": f"{full_home(WORKSPACE, DROPPED, room)}/{there}",
            "never": f"{full_home(WORKSPACE, NEVER, room)}/{there}",
            "no workspace": f"{full_home(NOWHERE, REPOSITORY, room)}/{there}",
        }
    return {"there": found["there"]} if principal == READER else found


def one_segment(declared: Declared, values: dict[str, str]) -> dict[str, str]:
    """A room may keep its packages below a directory that its addresses leave out."""
    last = values["package"].rpartition("/")[2]
    return values | {"package": last if "<package>" in declared.path else values["package"]}


def same(said: Said, digest: str) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """An answer without what names the state that was asked for, and the time."""
    text = said.body.decode("latin-1")
    fields = {name: value for name, value in said.headers.items() if name != "date"}
    for one, other in _SAME:
        text = text.replace(one, other)
        fields = {name: value.replace(one, other) for name, value in fields.items()}
    for one in (digest.removeprefix("sha256:"), ABSENT):
        text = text.replace(one, "")
    return said.status, tuple(sorted(fields.items())), text.encode("latin-1")


def rows(share: int) -> Iterator[tuple[str, Declared, str, str]]:
    """(room, address, method, principal); of each `share` one, the same ones in each run, and all
    that the reader reads."""
    for name, room in sorted(ROOMS.items()):
        for declared in room.routes:
            for method in METHODS:
                for principal in (*HIDDEN, NARROWED, READER):
                    chosen = crc32(f"{name} {declared.path} {method} {principal}".encode()) % share == 0
                    if chosen or (principal == READER and method == "GET"):
                        yield name, declared, method, principal


def asked(url: str, world: World, share: int = 1) -> Told:
    """All rows, or a part of them."""
    told = Told()
    askers = {principal: Asker(url, token) for principal, token in world.tokens.items()}
    for room, declared, method, principal in rows(share):
        answers: dict[str, Said] = {}
        for state, path in cells(room, declared, world.values[room], principal).items():
            answers[state] = askers[principal].ask(method, path)
            told.cells += 1
        told.rows += 1
        judge(told, f"{room} {method} {declared.path}", principal, answers, world.values[room]["digest"])
        if principal == READER and method == "GET" and answers["there"].status == 200:
            told.found.add(room)
    for asker in askers.values():
        asker.close()
    if world.serials() != world.serial:
        told.wrong.append("something was changed")
    return told


def judge(told: Told, row: str, principal: str, answers: dict[str, Said], digest: str) -> None:
    failed = [
        f"{row} as {principal}: {state} is {said.status}" for state, said in answers.items() if said.status >= 500
    ]
    told.wrong += failed
    if principal != READER and len({same(said, digest) for said in answers.values()}) != 1:
        statuses = {state: said.status for state, said in answers.items()}
        told.leaks.append(f"{row} as {principal}: {statuses}")
