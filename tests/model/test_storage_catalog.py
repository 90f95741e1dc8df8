"""Is the index a dictionary under any sequence of changes, and does it come back byte-equal from its journal?"""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.digest import sha256
from storage.index.bins import files_of
from storage.index.catalog import Catalog, Reading
from storage.index.index import NO_HASH, Index
from storage.index.references import bin_usage_of, count_of, loose_since, usage_of
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Binned,
    DropBinned,
    DropFile,
    DropPackage,
    DropQuarantine,
    DropRepository,
    DropTag,
    DropVersion,
    Entry,
    File,
    Package,
    Purge,
    PutBinned,
    PutFile,
    PutPackage,
    PutQuarantine,
    PutRepository,
    PutTag,
    PutToken,
    PutVersion,
    PutWorkspace,
    Quarantine,
    Repository,
    Token,
    Version,
    Workspace,
)

WORKSPACES = ("w", "w2")
REPOSITORIES = ("r", "r2")
FORMATS = ("npm", "np")
# Names of which one begins with another, and with characters on both sides of the separator's neighbours.
NAMES = st.sampled_from(["a", "ab", "a/b", "a\x01", "é", "~"])
FORMAT = st.sampled_from(FORMATS)
NUMBER = st.integers(0, 3)


def _file(name: str, version: str, seed: int) -> File:
    return File(name, version, bytes([seed]) * 32, seed)


def _binned(id: str, format: str, files: list[tuple[str, int]], until_ms: int) -> Binned:
    held = tuple(PutFile(format, "a", _file(name, "1", seed)) for name, seed in files)
    return Binned(id, format, "a", "1", (PutVersion(format, "a", Version("1")), *held), 5, until_ms)


PACKAGE_CHANGES: st.SearchStrategy[AnyChange] = st.one_of(
    st.builds(PutPackage, FORMAT, st.builds(Package, NAMES, NUMBER)),
    st.builds(DropPackage, FORMAT, NAMES),
    st.builds(PutVersion, FORMAT, NAMES, st.builds(Version, NAMES, NUMBER)),
    st.builds(DropVersion, FORMAT, NAMES, NAMES),
    st.builds(PutFile, FORMAT, NAMES, st.builds(_file, NAMES, NAMES, NUMBER)),
    st.builds(DropFile, FORMAT, NAMES, NAMES, st.booleans()),
    st.builds(PutTag, FORMAT, NAMES, NAMES, NAMES),
    st.builds(DropTag, FORMAT, NAMES, NAMES),
    st.builds(PutQuarantine, st.builds(Quarantine, FORMAT, NAMES, st.sampled_from(["", "a", "ab"]), NAMES)),
    st.builds(DropQuarantine, FORMAT, NAMES, st.sampled_from(["", "a", "ab"])),
    st.builds(Purge, FORMAT, NAMES),
    st.builds(lambda *of: PutBinned(_binned(*of)), NAMES, FORMAT, st.lists(st.tuples(NAMES, NUMBER)), NUMBER),
    st.builds(DropBinned, NAMES),
)
SYSTEM_CHANGES: st.SearchStrategy[AnyChange] = st.one_of(
    st.builds(PutWorkspace, st.builds(Workspace, st.sampled_from(WORKSPACES), NUMBER)),
    st.builds(PutToken, st.builds(lambda id, n: Token(id, "t", bytes([n]) * 32, ()), NAMES, st.integers(0, 200))),
)
Written = tuple[str, str, tuple[AnyChange, ...]]


@st.composite
def writes(draw: st.DrawFn) -> Written:
    """Workspace, repository and changes of one entry."""
    kind = draw(st.integers(0, 9))
    workspace, repository = draw(st.sampled_from(WORKSPACES)), draw(st.sampled_from(REPOSITORIES))
    if kind == 0:
        return SYSTEM, "", (draw(SYSTEM_CHANGES),)
    if kind == 1:
        return workspace, "", (PutRepository(Repository(workspace, repository, draw(st.booleans()))),)
    if kind == 2:
        return workspace, "", (DropRepository(workspace, repository),)
    return workspace, repository, tuple(draw(st.lists(PACKAGE_CHANGES, min_size=1, max_size=4)))


class Model:
    """What the index should hold, in plain dictionaries keyed by tuples."""

    def __init__(self) -> None:
        self.workspaces: dict[str, Workspace] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.tokens: dict[str, Token] = {}
        self.packages: dict[tuple[str, ...], Package] = {}
        self.versions: dict[tuple[str, ...], Version] = {}
        self.files: dict[tuple[str, ...], File] = {}
        self.tags: dict[tuple[str, ...], str] = {}
        self.gone: dict[tuple[str, ...], bytes] = {}
        self.claims: set[tuple[str, ...]] = set()
        self.seen: set[bytes] = set()
        self.quarantines: dict[tuple[str, ...], Quarantine] = {}
        self.bins: dict[tuple[str, ...], Binned] = {}

    def apply(self, workspace: str, repository: str, change: Any) -> None:
        at = (workspace, repository, getattr(change, "format", ""))
        match change:
            case PutWorkspace(made):
                self.workspaces[made.name] = made
            case PutToken(token):
                self.tokens[token.id] = token
            case PutRepository(made):
                self.repositories[workspace, made.name] = made
            case DropRepository(_, name):
                self.repositories.pop((workspace, name), None)
                for table in (self.packages, self.versions, self.files, self.tags, self.gone, self.quarantines):
                    _drop(table, (workspace, name))
                _drop(self.bins, (workspace, name))
                self.claims = {key for key in self.claims if key[:2] != (workspace, name)}
            case PutPackage(_, made):
                self.packages[(*at, made.name)] = made
                self.claims.add((*at, made.name))
            case DropPackage(_, package):
                self.packages.pop((*at, package), None)
                _drop(self.versions, (*at, package))
                _drop(self.tags, (*at, package))
                self._bury(key for key in self.files if key[:4] == (*at, package))
            case PutVersion(_, package, made):
                self.versions[(*at, package, made.name)] = made
            case DropVersion(_, package, version):
                self.versions.pop((*at, package, version), None)
                mine = (key for key, file in self.files.items() if file.version == version)
                self._bury(key for key in mine if key[:4] == (*at, package))
                for key in [key for key, to in self.tags.items() if key[:4] == (*at, package) and to == version]:
                    del self.tags[key]
            case PutFile(_, package, file):
                self.seen.add(file.sha256)
                self.files[(*at, package, file.name)] = file
                self.gone.pop((*at, package, file.name), None)
                self.claims.add((*at, package))
            case DropFile(_, package, name, forget):
                self._bury(key for key in [(*at, package, name)] if key in self.files)
                if forget:
                    self.gone.pop((*at, package, name), None)
            case PutTag(_, package, tag, version):
                self.tags[(*at, package, tag)] = version
            case DropTag(_, package, tag):
                self.tags.pop((*at, package, tag), None)
            case PutQuarantine(made):
                self.quarantines[workspace, repository, made.format, made.package, made.version] = made
            case DropQuarantine(_, package, version):
                self.quarantines.pop((*at, package, version), None)
            case PutBinned(made):
                self.seen.update(file.sha256 for _, file in files_of(made))
                self.bins[workspace, repository, made.id] = made
            case DropBinned(id):
                self.bins.pop((workspace, repository, id), None)

    def _bury(self, keys: Iterator[tuple[str, ...]]) -> None:
        for key in list(keys):
            self.gone[key] = self.files.pop(key).sha256


def _drop(table: dict[Any, Any], prefix: tuple[str, ...]) -> None:
    for key in [key for key in table if key[: len(prefix)] == prefix]:
        del table[key]


def _named(table: dict[tuple[str, ...], Any], prefix: tuple[str, ...]) -> list[Any]:
    return [table[key] for key in sorted(table) if key[:-1] == prefix]


def compare(model: Model, reading: Reading) -> None:
    assert reading.workspaces() == [model.workspaces[name] for name in sorted(model.workspaces)]
    assert reading.repositories() == [model.repositories[key] for key in sorted(model.repositories)]
    assert list(reading.tokens()) == [model.tokens[id] for id in sorted(model.tokens)]
    for workspace in WORKSPACES:
        assert reading.repositories(workspace) == _named(model.repositories, (workspace,))  # type: ignore[arg-type]
        assert reading.publics(workspace) == sum(one.public for one in reading.repositories(workspace))
    for where in itertools.product(WORKSPACES, REPOSITORIES):
        there = model.repositories.get(where)
        assert reading.outline(*where) == (there is not None, there is not None and there.public, 0)
        mine = {key: held for key, held in model.quarantines.items() if key[:2] == where}
        assert list(reading.quarantines(*where)) == [mine[key] for key in sorted(mine)]
        assert all(reading.quarantine(*key) == held for key, held in mine.items())
        binned = {key: one for key, one in model.bins.items() if key[:2] == where}
        assert list(reading.bin(*where)) == [binned[key] for key in sorted(binned)]
        assert list(reading.bin(*where, after="a/b")) == [binned[key] for key in sorted(binned) if key[2] > "a/b"]
        assert all(reading.binned(*key) == one for key, one in binned.items())
    for now_ms in range(4):
        due = sorted((one.until_ms, key) for key, one in model.bins.items() if one.until_ms <= now_ms)
        assert list(reading.bins_due(now_ms)) == [key for _, key in due]
    for at in itertools.product(WORKSPACES, REPOSITORIES, FORMATS):
        view = reading.view(*at)
        assert list(view.packages()) == _named(model.packages, at)
        for prefix, after in (("a", ""), ("", "ab"), ("a", "a"), ("a", "b"), ("b", "a")):
            wanted = [one for one in _named(model.packages, at) if one.name.startswith(prefix) and one.name > after]
            assert list(view.packages(prefix, after)) == wanted
        for package in ("a", "ab", "a/b", "a\x01", "é", "~", "absent"):
            key = (*at, package)
            assert view.package(package) == model.packages.get(key)
            assert view.claimed(package) == (key in model.claims)
            assert view.versions(package) == _named(model.versions, key)
            assert view.files(package) == _named(model.files, key)
            assert list(view.tags(package).values()) == _named(model.tags, key)
            for name in ("a", "ab", "é"):
                assert view.file(package, name) == model.files.get((*key, name))
                assert view.version(package, name) == model.versions.get((*key, name))
                assert view.gone(package, name) == model.gone.get((*key, name))


def compare_references(model: Model, index: Index) -> None:
    """Each blob is cited as often as files name it; each place holds what is visible in it (E11)."""
    with index.env.begin() as txn:
        for seed in range(4):
            binned = [file for one in model.bins.values() for _, file in files_of(one)]
            named = [file for file in (*model.files.values(), *binned) if file.sha256 == bytes([seed]) * 32]
            assert count_of(txn, index.tables, bytes([seed]) * 32) == len(named)
            since = loose_since(txn, index.tables, bytes([seed]) * 32)
            assert named or since == (5 if bytes([seed]) * 32 in model.seen else None)
        for workspace, repository in itertools.product(WORKSPACES, ("", *REPOSITORIES)):
            place = (workspace, repository) if repository else (workspace,)
            mine = [file for key, file in model.files.items() if key[: len(place)] == place]
            assert usage_of(txn, index.tables, "\0".join(place).encode()) == (len(mine), sum(one.size for one in mine))
            held = [file for key, one in model.bins.items() if key[: len(place)] == place for _, file in files_of(one)]
            expected = (len(held), sum(file.size for file in held))
            assert bin_usage_of(txn, index.tables, "\0".join(place).encode()) == expected
        assert txn.stat(index.tables.refs)["entries"] == len({one.sha256 for one in (*model.files.values(), *binned)})


@contextmanager
def fresh_index() -> Iterator[Index]:
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder))
        try:
            yield index
        finally:
            index.close()


def journal_of(made: list[Written]) -> list[tuple[Entry, bytes]]:
    """Entries with a proper chain."""
    heads: dict[str, tuple[int, bytes]] = {}
    journal = []
    for workspace, repository, changes in made:
        serial, previous = heads.get(workspace, (0, NO_HASH))
        entry = Entry(1, workspace, serial + 1, previous, 5, "me", "test", repository, changes)
        raw = msgspec.msgpack.encode(entry)
        heads[workspace] = (serial + 1, sha256(raw))
        journal.append((entry, raw))
    return journal


@settings(max_examples=60, deadline=None)
@given(st.lists(writes(), max_size=25))
def test_the_catalog_is_what_a_dictionary_would_be(made: list[Written]) -> None:
    model = Model()
    with fresh_index() as index:
        with index.env.begin(write=True) as txn:
            for entry, raw in journal_of(made):
                index.check_chain(txn, entry)
                index.apply(txn, entry, raw)
                for change in entry.changes:
                    model.apply(entry.workspace, entry.repository, change)
        with Catalog(index).read() as reading:
            compare(model, reading)
        compare_references(model, index)


@settings(max_examples=40, deadline=None)
@given(st.lists(writes(), max_size=25), st.integers(1, 7))
def test_the_same_journal_gives_the_same_bytes_however_it_is_cut(made: list[Written], step: int) -> None:
    journal = journal_of(made)
    with fresh_index() as index:
        with index.env.begin(write=True) as txn:
            for entry, raw in journal:
                index.apply(txn, entry, raw)
        whole = index.dump()
    with fresh_index() as index:
        for start in range(0, len(journal), step):
            with index.env.begin(write=True) as txn:
                for _, raw in journal[start : start + step]:
                    index.apply(txn, msgspec.msgpack.decode(raw, type=Entry), raw)
        assert index.dump() == whole
        with index.env.begin(write=True) as txn:
            index.drop_fold(txn)
        assert index.dump().rows == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(writes(), min_size=1, max_size=15))
def test_every_change_moves_the_label_of_what_it_touches(made: list[Written]) -> None:
    """What differs between two moments has another label, else a remembered answer would outlive the truth."""
    with fresh_index() as index:
        before: dict[tuple[str, str, str, str], Any] = {}
        for entry, raw in journal_of(made):
            with index.env.begin(write=True) as txn:
                index.apply(txn, entry, raw)
            with Catalog(index).read() as reading:
                after = _labelled(reading)
            for key in before:
                assert before[key][0] != after[key][0] or before[key][1] == after[key][1]
            before = after


def _labelled(reading: Reading) -> dict[tuple[str, str, str, str], Any]:
    """Label and content of every package."""
    from_keys = {}
    for workspace, repository, format in itertools.product(WORKSPACES, REPOSITORIES, FORMATS):
        view = reading.view(workspace, repository, format)
        for package in ("a", "ab", "a/b", "a\x01", "é", "~"):
            label = reading.label("\0".join(("p", workspace, repository, format, package)).encode())
            held = (view.package(package), view.versions(package), view.files(package), view.tags(package))
            from_keys[workspace, repository, format, package] = (label, held)
    return from_keys


@settings(max_examples=60, deadline=None)
@given(st.lists(writes(), max_size=25), st.integers(0, 12))
def test_what_was_touched_is_told_once_and_in_order(made: list[Written], after: int) -> None:
    last: dict[tuple[str, str, str], dict[str, int]] = {}
    with fresh_index() as index:
        with index.env.begin(write=True) as txn:
            for entry, raw in journal_of(made):
                index.apply(txn, entry, raw)
                for change in entry.changes:
                    if isinstance(change, DropRepository):
                        for at, packages in last.items():
                            if at[:2] == (entry.workspace, change.name):
                                packages.update(dict.fromkeys(packages, entry.serial))
                    elif entry.repository:
                        if isinstance(change, PutBinned | DropBinned):
                            continue  # nothing visible changes
                        named: Any = change.quarantine if isinstance(change, PutQuarantine) else change
                        package = named.package if isinstance(named.package, str) else named.package.name
                        at = (entry.workspace, entry.repository, named.format)
                        last.setdefault(at, {})[package] = entry.serial
        with Catalog(index).read() as reading:
            for at, packages in last.items():
                wanted = sorted((serial, name) for name, serial in packages.items() if serial > after)
                assert list(reading.view(*at).touched(after)) == wanted
