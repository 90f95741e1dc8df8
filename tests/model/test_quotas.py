"""Do quotas hold whatever comes between a reservation and the commit that spends it? (O3)"""

import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from storage.digest import sha256
from storage.errors import OverQuota
from storage.index.catalog import Reading
from storage.index.index import Index
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Binned,
    Draft,
    DropBinned,
    DropFile,
    DropPackage,
    Entry,
    File,
    PutBinned,
    PutFile,
    PutRepository,
    PutWorkspace,
    Repository,
    Workspace,
)
from storage.quotas import Quotas, Reservation, growth

SIZES = st.integers(0, 60)
REPOSITORIES = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["x", "y", "z"])


def test_what_comes_out_of_a_bin_and_goes_in_again_counts_once(tmp_path: Path) -> None:
    """Within one entry, under one id, in either order."""
    index = Index(tmp_path / "index")

    def binned(size: int) -> Binned:
        file = File("x", "1", bytes([size]) * 32, size)
        return Binned("bin_a", "generic", "p", "1", (PutFile("generic", "p", file),), 5, 50)

    repository = PutRepository(Repository("w", "a"))
    before = Entry(1, "w", 1, bytes(32), 5, "me", "test", "a", (repository, PutBinned(binned(30))))
    with index.env.begin(write=True) as txn:
        index.apply(txn, before, msgspec.msgpack.encode(before))
    cases: list[tuple[tuple[AnyChange, ...], int]] = [
        ((DropBinned("bin_a"), PutBinned(binned(40))), 10),
        ((PutBinned(binned(40)), DropBinned("bin_a")), -30),
        ((PutBinned(binned(40)), PutBinned(binned(50))), 20),
        ((DropBinned("bin_a"), DropBinned("bin_a")), -30),
        ((PutBinned(binned(50)), DropBinned("bin_a"), PutBinned(binned(7))), -23),
    ]
    for changes, more in cases:
        with index.env.begin(write=True) as txn:
            reading = Reading(index, txn)
            head = index.head(txn, "w")
            assert growth(reading, Draft("w", "a", "me", "test", changes)) == more
            entry = Entry(1, "w", head[0] + 1, head[1], 5, "me", "test", "a", changes)
            used = reading.bin_usage("w", "a").bytes
            index.apply(txn, entry, msgspec.msgpack.encode(entry))
            assert reading.bin_usage("w", "a").bytes - used == more, "as the fold does"
            txn.abort()
    index.close()


class Uploads(RuleBasedStateMachine):
    """Uploads of two repositories of one workspace, each bounded, and the workspace too."""

    open = Bundle("open")

    @initialize(workspace=st.integers(0, 200), a=st.integers(0, 120), b=st.integers(0, 120))
    def begin(self, workspace: int, a: int, b: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.index = Index(Path(self.folder.name) / "index")
        self.quotas = Quotas(Path(self.folder.name) / "reserved", self.index)
        self.caps = {"": workspace, "a": a, "b": b}
        self.files: dict[tuple[str, str], int] = {}
        self.kept: dict[bytes, tuple[str, int]] = {}
        self.unspent: list[Reservation] = []
        self.sessions = 0
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.write(SYSTEM, "", PutWorkspace(Workspace("w", 0, workspace)))
        for name in ("a", "b"):
            self.write("w", name, PutRepository(Repository("w", name, quota_bytes=self.caps[name])))

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.quotas.close()
            self.index.close()
            self.folder.cleanup()

    def write(self, workspace: str, repository: str, *changes: AnyChange, kept: Reservation | None = None) -> None:
        """Commit as the committer does: check, apply and settle in one transaction. Raises OverQuota."""
        draft = Draft(workspace, repository, "me", "test", changes)
        with self.index.env.begin(write=True) as txn:
            self.quotas.check(txn, draft, kept, ())
            serial, previous = self.heads.get(workspace, (0, bytes(32)))
            entry = Entry(1, workspace, serial + 1, previous, 5, "me", "test", repository, changes)
            raw = msgspec.msgpack.encode(entry)
            before = Reading(self.index, txn).usage(workspace, repository).bytes if repository else 0
            expected = growth(Reading(self.index, txn), draft) if repository else 0
            self.index.apply(txn, entry, raw)
            self.quotas.settle(txn, [kept] if kept is not None else [])
            if repository:
                assert Reading(self.index, txn).usage(workspace, repository).bytes - before == expected
        self.heads[workspace] = (serial + 1, sha256(raw))

    def used(self, place: str) -> int:
        return sum(size for (repository, _), size in self.files.items() if place in ("", repository))

    def promised(self, place: str) -> int:
        return sum(size for repository, size in self.kept.values() if place in ("", repository))

    def fits(self, repository: str, more: int) -> bool:
        return all(
            not self.caps[place] or self.used(place) + self.promised(place) + more <= self.caps[place]
            for place in ("", repository)
        )

    @rule(target=open, repository=REPOSITORIES, size=SIZES, session=st.booleans())
    def reserve(self, repository: str, size: int, session: bool) -> Reservation | None:
        fits = self.fits(repository, size)
        self.sessions += 1
        try:
            kept = self.quotas.reserve("w", repository, size, f"s{self.sessions}" if session else "")
        except OverQuota:
            assert not fits
            return None
        bounded = bool(self.caps[""] or self.caps[repository])
        assert fits
        assert (kept is not None) == bounded
        if kept is not None:
            self.kept[kept.id] = (repository, size)
        return kept

    @rule(kept=open, size=SIZES)
    def grow(self, kept: Reservation | None, size: int) -> None:
        if kept is None or kept.id not in self.kept or size < kept.size:
            return
        repository, before = self.kept[kept.id]
        try:
            kept.resize(size)
        except OverQuota:
            assert not self.fits(repository, size - before)
        else:
            assert size == before or self.fits(repository, size - before)
            self.kept[kept.id] = (repository, size)

    @rule(kept=consumes(open), name=NAMES, other=st.integers(-3, 5))
    def commit(self, kept: Reservation | None, name: str, other: int) -> None:
        """What comes may be a little more or less than was reserved."""
        if kept is None or kept.id not in self.kept:
            return
        repository, size = self.kept[kept.id]
        size = max(size + other, 0)
        more = size - self.files.get((repository, name), 0)
        try:
            self.write("w", repository, PutFile("generic", "p", File(name, "1", bytes([size]) * 32, size)), kept=kept)
        except OverQuota:
            assert more > 0
            assert not self.fits(repository, more - self.kept[kept.id][1] if more > self.kept[kept.id][1] else more)
            kept.release()
        else:
            self.files[repository, name] = size
            self.unspent.append(kept)
        del self.kept[kept.id]

    @rule()
    def spend(self) -> None:
        """What the committer does after its transaction, perhaps late."""
        self.quotas.spent(self.unspent)
        self.unspent = []

    @rule(kept=consumes(open))
    def give_up(self, kept: Reservation | None) -> None:
        if kept is not None and kept.id in self.kept:
            kept.release()
            del self.kept[kept.id]

    @rule(repository=REPOSITORIES, name=NAMES)
    def drop(self, repository: str, name: str) -> None:
        self.write("w", repository, DropFile("generic", "p", name))
        self.files.pop((repository, name), None)

    @rule(repository=REPOSITORIES, name=NAMES, size=SIZES)
    def replace_all(self, repository: str, name: str, size: int) -> None:
        """Without a reservation, in one draft that drops and puts: a link, or metadata of a room."""
        more = size - self.used(repository)
        changes = (DropPackage("generic", "p"), PutFile("generic", "p", File(name, "1", b"r" * 32, size)))
        try:
            self.write("w", repository, *changes)
        except OverQuota:
            assert more > 0
            assert not self.fits(repository, more)
        else:
            self.files = {key: value for key, value in self.files.items() if key[0] != repository}
            self.files[repository, name] = size

    @invariant()
    def what_is_told_is_so(self) -> None:
        if not hasattr(self, "index"):
            return
        for place in ("", "a", "b"):
            if self.caps[place]:
                assert self.used(place) <= self.caps[place]
            assert self.quotas.reserved("w", place) == self.promised(place)


Uploads.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestUploads = Uploads.TestCase
