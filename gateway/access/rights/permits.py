"""May this request touch this package? The part of a verdict that waits until the package is known.

Whoever may do a thing to all packages of a Repository is done when admitted. For the others:

- A file, or a document of one package, is judged by that package's name, before anything is looked for. So a package
  that exists and one that never was are refused alike (THREATS B9).
- Where a query says that it hangs on the version (queried.py), a file is looked for in the View, and one that is not
  there is refused as one that may not be read. The package's documents name all versions: they are kept as they are.
- A document over all packages of a Repository (an index, a search, a signed set) is for those alone who may read all of
  them. It cannot be cut for a reader: it is signed, or kept, as one.
- A write is judged by the changes that it comes to, under the write lock, whichever way the client went. Where a room
  says no, or that there is nothing to do, after it looked at a package that is not the writer's, the writer hears
  that it may not, and nothing of what is there.
"""

from collections.abc import Iterator
from typing import NamedTuple

from formats.kit.contract import Ask, Decision, Finds, Listed, Manifest, Plan, Room, Serve, Show, governed
from gateway.access.rights import queried
from gateway.access.rights.grants import DELETE, PUBLISH, READ, TAG, What
from gateway.access.rights.verdicts import Clearance
from gateway.queries.fields import Held
from storage.errors import Forbidden, Problem
from storage.nouns import (
    AnyChange,
    DropFile,
    DropPackage,
    DropTag,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)


class Permit(NamedTuple):
    """What a principal may do in a room of a Repository."""

    clearance: Clearance
    room: Room

    def read(self, plan: Plan, view: View) -> None:
        """Raises Forbidden where the plan would show more than may be read. What a room answers at once is made of the
        request alone, and its certificates show nothing of what is there."""
        if self.clearance.whole:
            return
        if isinstance(plan, Serve):
            self.may_read_file(plan.package, plan.file, view, plan.tag)
        elif isinstance(plan, Show):
            self.may_read(plan.claim or plan.package)
        elif isinstance(plan, Manifest | Listed):
            raise too_wide()

    def may_read(self, package: str) -> None:
        """Raises Forbidden where documents of a Package may not be read, and so none of its files."""
        if self.clearance.whole:
            return
        if not self._reads(self._known_as(package), queried.sought(self.room, package)):
            raise not_this()

    def may_read_file(self, package: str, file: str, view: View, tag: str = "") -> None:
        """Raises Forbidden where a file may not be read; with a `tag`, the one called `file` and then the version that
        this leads to. Nothing is looked for where the name of the package decides."""
        if self.clearance.whole:
            return
        known_as, documents = self._known_as(package), queried.sought(self.room, package)
        named = documents._replace(documents=False)
        if self._reads(known_as, named):
            return
        if not self._reads(known_as, documents):
            raise not_this()

        def lets(version: Held) -> bool:
            return self._reads(known_as, named._replace(held=version))

        found = queried.file_named(view, package, file, tag)
        if found is None or not queried.may_read(self.room, view, package, found, lets):
            raise not_this()

    def _known_as(self, package: str) -> str:
        known_as = governed(self.room, package) if package else None
        if known_as is None:
            raise too_wide()
        return known_as

    def _reads(self, known_as: str, sought: queried.Sought) -> bool:
        repository = self.clearance.repository
        what = What(READ, repository.workspace, repository.name, self.room.name, known_as, sought=sought)
        return self.clearance.standing.decide(what, repository.at_ms).allowed

    def reads_all(self) -> None:
        """Raises Forbidden unless all packages may be read."""
        if not self.clearance.whole:
            raise too_wide()

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        """The room's decision, if its every change may be made. Raises Forbidden, and what the room raises."""
        if self.clearance.whole:
            return self.room.decide(ask, finds, view)
        watched = Watched(view)
        try:
            decision = self.room.decide(ask, finds, watched)
        except Problem:
            self._saw_its_own(watched)
            raise
        if decision.changes:
            self.may_make(decision.changes)
        else:
            self._saw_its_own(watched)
        return decision

    def may(self, action: str, package: str) -> None:
        """Raises Forbidden where an action on a Package is not allowed, whether it is there or not."""
        if self.clearance.whole:
            return
        known_as = governed(self.room, package)
        if known_as is None or not self._allows(action, known_as):
            raise not_this()

    def may_make(self, changes: tuple[AnyChange, ...]) -> None:
        """Raises Forbidden unless each of these may be made. What a room changes of the Repository itself on the
        way goes with the packages that it is for."""
        if self.clearance.whole:
            return
        of_packages = 0
        for change in changes:
            action, package, tag = _told(change)
            known_as = governed(self.room, package)
            if known_as is None:
                continue
            of_packages += 1
            if not self._allows(action, known_as, tag):
                raise not_this()
        if not of_packages:
            raise not_this()

    def _saw_its_own(self, watched: "Watched") -> None:
        for package in watched.seen:
            known_as = governed(self.room, package) if package else ""
            if known_as is not None and not any(self._allows(one, known_as) for one in (PUBLISH, DELETE, TAG)):
                raise not_this() from None

    def _allows(self, action: str, package: str, tag: str = "") -> bool:
        repository = self.clearance.repository
        what = What(action, repository.workspace, repository.name, self.room.name, package, tag)
        if action == TAG and not tag:
            return self.clearance.standing.possible(what, repository.at_ms)
        return self.clearance.standing.decide(what, repository.at_ms).allowed


def not_this() -> Forbidden:
    """One sentence for all of them: two would tell what was found on the way."""
    return Forbidden("This token may not do this to this package.", "Ask an administrator of the repository.")


def too_wide() -> Forbidden:
    return Forbidden(
        "This covers packages that this token may not read.", "Ask for a package, or use a token for all of them."
    )


def _told(change: AnyChange) -> tuple[str, str, str]:
    """Action, Package and tag of a change to what a repository holds."""
    match change:
        case PutPackage(_, package):
            return PUBLISH, package.name, ""
        case PutVersion(_, name) | PutFile(_, name):
            return PUBLISH, name, ""
        case PutTag(_, name, tag) | DropTag(_, name, tag):
            return TAG, name, tag
        case DropPackage(_, name) | DropVersion(_, name) | DropFile(_, name):
            return DELETE, name, ""
    raise ValueError(f"no room makes a {type(change).__name__}")


class Watched:
    """A View that remembers which packages were looked at; "" = all of them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.seen: set[str] = set()

    @property
    def serial(self) -> int:
        return self._view.serial

    def package(self, package: str) -> Package | None:
        self.seen.add(package)
        return self._view.package(package)

    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]:
        self.seen.add("")
        return self._view.packages(prefix, after)

    def version(self, package: str, version: str) -> Version | None:
        self.seen.add(package)
        return self._view.version(package, version)

    def versions(self, package: str) -> list[Version]:
        self.seen.add(package)
        return self._view.versions(package)

    def file(self, package: str, name: str) -> File | None:
        self.seen.add(package)
        return self._view.file(package, name)

    def files(self, package: str) -> list[File]:
        self.seen.add(package)
        return self._view.files(package)

    def tags(self, package: str) -> dict[str, str]:
        self.seen.add(package)
        return self._view.tags(package)

    def tag(self, package: str, tag: str) -> str | None:
        self.seen.add(package)
        return self._view.tag(package, tag)

    def claimed(self, package: str) -> bool:
        self.seen.add(package)
        return self._view.claimed(package)

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        self.seen.add("")
        return self._view.touched(after)

    def gone(self, package: str, name: str) -> bytes | None:
        self.seen.add(package)
        return self._view.gone(package, name)
