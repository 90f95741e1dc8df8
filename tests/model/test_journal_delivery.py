"""Does an edge end with exactly its origin's history, whatever lies between? Thousands of seeds of a hostile way.

Each seed makes an origin whose journal grows, is restored from an older copy (a new epoch) or is given to a rogue
parent that replays, cuts, reorders, forges or holds back what the origin signed; edges of full and of narrow sight
follow it over parents of every kind on a clock of its own. CI takes a sample; ENTREPOT_SEEDS=10000 takes that many, and
ENTREPOT_SEED=N replays one (THREATS F3, F4, F5, E12, and F7: an epoch fences off a history that was given up).
"""

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from cache.asking.parents import Parents
from cache.following.feed import ANEW, Anew, Beat, FrameReader, Sealer, Seen, Signed, Snapshot, beat, entries, marked
from cache.following.follower import Follower, Greeting
from cache.following.scope import Scope
from storage.digest import sha256
from storage.errors import Damaged, UpstreamFailed
from storage.index.holes import Hole
from storage.nouns import SYSTEM, Account, AnyChange, Edge, Entry, Grant, Host, PutToken, PutWorkspace, Token, Workspace

SEEDS = list(range(int(os.environ.get("ENTREPOT_SEEDS", "150"))))
if "ENTREPOT_SEED" in os.environ:
    SEEDS = [int(os.environ["ENTREPOT_SEED"])]
SECONDS = 120.0
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROGUE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WORKSPACES = ("one", "two", "three")
HONEST, SHIELD, ROGUE_PARENT, DEAD = "http://origin", "http://shield", "http://rogue", "http://dead"


def verify(signature: bytes, message: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


class Origin:
    """A journal that grows and may be restored; makes streams as cache.peer does, for one scope."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.epoch = 1
        self.bodies: list[tuple[str, int, bytes]] = []
        self.restored = 0

    def head(self, workspace: str) -> tuple[int, bytes]:
        mine = [(serial, body) for name, serial, body in self.bodies if name == workspace]
        return (mine[-1][0], sha256(mine[-1][1])) if mine else (0, bytes(32))

    def append(self, workspace: str) -> None:
        serial, previous = self.head(workspace)
        changes: tuple[AnyChange, ...] = ()
        if workspace == SYSTEM:
            number = len(self.bodies)
            grant = Grant(self.dice.choice((*WORKSPACES, "*")))
            changes = (PutToken(Token(f"t{number}-{self.epoch}", "t", number.to_bytes(32), (grant,))),)
        entry = Entry(self.epoch, workspace, serial + 1, previous, 0, "me", f"e{self.epoch}", "", changes)
        self.bodies.append((workspace, serial + 1, msgspec.msgpack.encode(entry)))

    def restore(self) -> None:
        """From a copy that lacks the last entries: a new epoch, as bringing back a backup makes one (E12)."""
        keep = self.dice.randint(0, len(self.bodies))
        self.bodies = self.bodies[:keep]
        self.epoch += 1
        self.restored += 1

    # what a snapshot asks of a Reading

    def every_workspace(self) -> list[Workspace]:
        return []

    def every_account(self) -> list[Account]:
        return []

    def edges(self) -> list[Edge]:
        return []

    def hosts(self) -> list[Host]:
        return []

    def tokens(self) -> list[Token]:
        found: list[Token] = []
        for name, _, body in self.bodies:
            changes = msgspec.msgpack.decode(body, type=Entry).changes if name == SYSTEM else ()
            found += [one.token for one in changes if isinstance(one, PutToken)]
        return found

    def heads(self) -> dict[str, tuple[int, bytes]]:
        return {name: self.head(name) for name in {name for name, _, _ in self.bodies}}

    def beat(self, scope: Scope) -> bytes:
        total = sum(serial for name, (serial, _) in self.heads().items() if scope.allows(name))
        return beat(self.epoch, total, int(trio.current_time() * 1000))

    async def stream(self, scope: Scope, greeting: Greeting) -> AsyncIterator[bytes]:
        """Signed frames, until the epoch ends."""
        sealer = Sealer(KEY.sign, greeting.nonce, scope.name)
        epoch, after = self.epoch, {name: n for name, n in greeting.after.items() if scope.allows(name)}
        if any(serial > self.head(name)[0] for name, serial in after.items()):
            yield sealer.sealed(self.beat(scope) + ANEW)
            return
        first = self.beat(scope)
        if scope.mark != greeting.mark:
            snapshot = self._snapshot(scope)
            after[SYSTEM] = self.head(SYSTEM)[0]
            first += snapshot
        yield sealer.sealed(first)
        while epoch == self.epoch:
            fresh = [one for one in self.bodies if scope.allows(one[0]) and one[1] > after.get(one[0], 0)]
            data = b"".join(self._frame(scope, name, body) for name, _, body in fresh)
            after |= {name: serial for name, serial, _ in fresh}
            yield sealer.sealed(data + self.beat(scope))
            await trio.sleep(1.0)

    def _snapshot(self, scope: Scope) -> bytes:
        hash, body = scope.snapshot(self, self.epoch)
        return marked(Snapshot(scope.mark.ljust(32, b"\0"), hash, body))

    @staticmethod
    def _frame(scope: Scope, name: str, body: bytes) -> bytes:
        if scope.workspaces is None or name != SYSTEM:
            return entries([body])
        return marked(Seen(sha256(body), msgspec.msgpack.encode(scope.seen(msgspec.msgpack.decode(body, type=Entry)))))


class EdgeIndex:
    """Applies as storage.index.applier does, in memory, and remembers that it never went back without starting anew."""

    def __init__(self) -> None:
        self._epoch, self._mark = 0, b""
        self._heads: dict[str, tuple[int, bytes]] = {}
        self.tokens: set[str] = set()
        self.resets = 0

    @property
    def applier(self) -> "EdgeIndex":
        return self

    def heads(self) -> dict[str, tuple[int, bytes]]:
        return {name: head for name, head in self._heads.items() if head[0]}

    def epoch(self) -> int:
        return self._epoch

    def scope(self) -> bytes:
        return self._mark

    def _take(self, entry: Entry, hash: bytes) -> int:
        self._epoch = self._epoch or entry.epoch
        serial, known = self._heads.get(entry.workspace, (0, bytes(32)))
        if entry.epoch > self._epoch:
            raise Damaged("epoch")
        if entry.serial <= serial:
            if entry.serial == serial and hash != known:
                raise Damaged("other history")
            return 0
        if entry.serial != serial + 1 or entry.previous != known:
            raise Damaged("chain")
        self._heads[entry.workspace] = (entry.serial, hash)
        self.tokens |= {one.token.id for one in entry.changes if isinstance(one, PutToken)}
        return 1

    def apply_raw(self, bodies: list[bytes]) -> int:
        kept = dict(self._heads), self._epoch, set(self.tokens)
        try:
            return sum(self._take(msgspec.msgpack.decode(body, type=Entry), sha256(body)) for body in bodies)
        except Damaged:
            self._heads, self._epoch, self.tokens = kept
            raise

    def apply_seen(self, body: bytes, hash: bytes) -> int:
        return self._take(msgspec.msgpack.decode(body, type=Entry), hash)

    def replace_system(self, body: bytes, hash: bytes, scope: bytes) -> None:
        entry = msgspec.msgpack.decode(body, type=Entry)
        serial, known = self._heads.get(SYSTEM, (0, bytes(32)))
        if self._epoch not in (0, entry.epoch) or serial > entry.serial or (serial == entry.serial and known != hash):
            raise Damaged("back")
        self._epoch, self._mark = entry.epoch, scope
        self._heads[SYSTEM] = (entry.serial, hash)
        self.tokens = {one.token.id for one in entry.changes if isinstance(one, PutToken)}

    def forget_workspace(self, workspace: str) -> set[bytes]:
        self._heads.pop(workspace, None)
        return set()

    anew = False
    outdated = False

    def holes(self) -> tuple[Hole, ...]:
        return ()

    def take_over(self) -> None:
        raise AssertionError("nothing is learned beside this")

    def reset_for_resync(self, epoch: int = 0) -> None:
        self.resets += bool(self._heads)
        self._heads, self._epoch, self._mark, self.tokens = {}, epoch, b"", set()


class Way:
    """The parents: the origin, a shield that hands its stream on, one that is dead, and a rogue one."""

    def __init__(self, dice: random.Random, origin: Origin, scope: Scope) -> None:
        self.dice, self.origin, self.scope = dice, origin, scope
        self.recorded: list[bytes] = []

    @asynccontextmanager
    async def __call__(self, parent: str, greeting: Greeting) -> AsyncIterator[AsyncIterator[bytes]]:
        if parent == DEAD:
            raise UpstreamFailed("refused")
        true = self.origin.stream(self.scope, greeting)
        pieces = {HONEST: self._cut, SHIELD: self._lossy, ROGUE_PARENT: self._rogue}[parent](true)
        try:
            yield pieces
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]
            await true.aclose()  # type: ignore[attr-defined]

    async def _cut(self, true: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in true:
            at = self.dice.randint(0, len(piece))
            for part in (piece[:at], piece[at:]):
                if part:
                    yield part

    async def _lossy(self, true: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Breaks off, and falls silent, where it pleases."""
        async for piece in true:
            luck = self.dice.random()
            if luck < 0.05:
                return
            if luck < 0.1:
                await trio.sleep(self.dice.uniform(0, 8))
            if luck < 0.13:
                yield piece[: self.dice.randint(0, len(piece))]
                return
            yield piece

    async def _rogue(self, true: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One attack a connection."""
        attack = self.dice.choice(("forge", "replay", "reorder", "drop", "twice", "anew", "epoch", "own", "flip"))
        changes = (PutWorkspace(Workspace("x")),)
        forged = Entry(self.origin.epoch, "one", 1, bytes(32), 0, "rogue", "forged", "", changes)
        if attack == "replay":
            for piece in list(self.recorded):
                yield piece
        elif attack == "forge":
            yield beat(self.origin.epoch, 1, 0) + entries([msgspec.msgpack.encode(forged)])
        elif attack == "own":
            yield Sealer(ROGUE.sign, bytes(32), self.scope.name).sealed(entries([msgspec.msgpack.encode(forged)]))
        elif attack == "anew":
            yield beat(self.origin.epoch, 0, 0) + ANEW
        elif attack == "epoch":
            yield beat(self.origin.epoch + 7, 0, 0)
        held = b""
        async for piece in true:
            self.recorded = [*self.recorded[-20:], piece]
            if attack == "reorder":
                held, piece = piece, held
            elif attack == "drop" and self.dice.random() < 0.3:
                continue
            elif attack == "twice":
                piece += piece
            elif attack == "flip" and piece:
                at = self.dice.randrange(len(piece))
                piece = piece[:at] + bytes([piece[at] ^ 1 << self.dice.randrange(8)]) + piece[at + 1 :]
            if piece:
                yield piece


async def inline(step: Callable[[], object]) -> object:
    await trio.lowlevel.checkpoint()
    return step()


@pytest.mark.parametrize("seed", SEEDS)
async def test_f3_f4_f5_e12_an_edge_ends_where_its_origin_is(
    seed: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    dice = random.Random(seed)
    random.seed(seed)  # the follower's own jitter
    origin = Origin(dice)
    narrow = dice.random() < 0.6
    scope = Scope("edge", "", frozenset(dice.sample(WORKSPACES, dice.randint(1, 2)))) if narrow else Scope("edge")
    others = dice.sample((SHIELD, ROGUE_PARENT, DEAD), dice.randint(0, 3))
    urls = [*others]
    urls.insert(dice.randint(0, len(urls)), HONEST)
    index = EdgeIndex()
    follower = Follower(
        index, Parents(urls, trio.current_time), Way(dice, origin, scope), tmp_path / "follower.lock",
        name="edge", verify=verify, slowly=inline,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.run)
        for _ in range(dice.randint(20, 60)):
            for _ in range(dice.randint(0, 3)):
                origin.append(dice.choice((*WORKSPACES, SYSTEM)))
            if dice.random() < 0.03:
                origin.restore()
            await trio.sleep(dice.uniform(0, 2))
            assert "x" not in index.heads()
            assert not any(token not in every(origin) and not origin.restored for token in index.tokens), "forged"
        expected = {name: head for name, head in origin.heads().items() if scope.allows(name)}
        with trio.move_on_after(SECONDS):
            while not (index.heads() == expected and index.epoch() in (0, origin.epoch)):  # noqa: ASYNC110
                await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert index.heads() == expected, f"ENTREPOT_SEED={seed}: parents {urls}"
    assert index.resets <= origin.restored, f"ENTREPOT_SEED={seed}: a rogue parent made it start anew"
    mine = {one.id for one in origin.tokens() if scope.workspaces is None or concerns(scope, one)}
    assert index.tokens == mine, f"ENTREPOT_SEED={seed}"


def every(origin: Origin) -> set[str]:
    return {one.id for one in origin.tokens()}


def concerns(scope: Scope, token: Token) -> bool:
    return any(one.scope == "*" or scope.allows(one.scope) for one in token.grants)


def test_the_frames_of_a_narrow_sight_survive_any_cutting() -> None:
    frames = [Seen(bytes(32), b"x" * 9), Snapshot(bytes(32), bytes(32), b"y"), Signed(bytes(64)), Beat(1, 2, 3), Anew()]
    data = b"".join(marked(one) for one in frames[:3]) + beat(1, 2, 3) + ANEW  # type: ignore[arg-type]
    for step in range(1, 40):
        reader = FrameReader()
        found = [frame for at in range(0, len(data), step) for frame in reader.feed(data[at : at + step])]
        assert found == frames
