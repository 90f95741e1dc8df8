"""What does the store hold, as of one moment?

A Reading is one LMDB transaction: everything it tells belongs together. It is also what a decision sees under the write
lock, with the earlier decisions of the same group already in it.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from storage.hooks import Webhook
from storage.index import answers, bins, ending, noticed, outlines, published
from storage.index.answers import Answer
from storage.index.index import Index
from storage.index.keys import below, join, label_history, split, touched, touched_package, unseal
from storage.index.noticed import Noticed
from storage.index.outlines import Outline
from storage.index.published import Publisher
from storage.index.references import Usage, bin_usage_of, usage_of
from storage.index.tables import Table, Tables, Txn
from storage.nouns import (
    Account,
    Binding,
    Binned,
    Edge,
    File,
    Host,
    Membership,
    Package,
    Provider,
    Quarantine,
    Repository,
    Role,
    Team,
    Teammate,
    Token,
    Version,
    Workspace,
)

_U64 = struct.Struct("<Q")
_HISTORY = label_history()
_FILE = msgspec.msgpack.Decoder(File)
_PACKAGE = msgspec.msgpack.Decoder(Package)
_VERSION = msgspec.msgpack.Decoder(Version)
_WORKSPACE = msgspec.msgpack.Decoder(Workspace)
_REPOSITORY = msgspec.msgpack.Decoder(Repository)
_TOKEN = msgspec.msgpack.Decoder(Token)
_HOST = msgspec.msgpack.Decoder(Host)
_QUARANTINE = msgspec.msgpack.Decoder(Quarantine)
_ACCOUNT = msgspec.msgpack.Decoder(Account)
_MEMBERSHIP = msgspec.msgpack.Decoder(Membership)
_TEAM = msgspec.msgpack.Decoder(Team)
_TEAMMATE = msgspec.msgpack.Decoder(Teammate)
_ROLE = msgspec.msgpack.Decoder(Role)
_PROVIDER = msgspec.msgpack.Decoder(Provider)
_WEBHOOK = msgspec.msgpack.Decoder(Webhook)
_BINDING = msgspec.msgpack.Decoder(Binding)
_EDGE = msgspec.msgpack.Decoder(Edge)

KNOWN_MAX = 4_096
"""So many things are kept of one moment."""

T = TypeVar("T")


class Reading:
    """One moment of the index. Not to be kept beyond its `with` block, nor across an await.

    What is worked out of a committed moment can be left to others who read the same one (`remember`, `recall`). What
    stands there is found sooner, so it is for what is told to who may know of it anyway (THREATS B9). Under the write
    lock, where one transaction shows more and more, nothing is remembered.
    """

    __slots__ = ("_index", "_known", "_t", "_txn")

    def __init__(self, index: Index, txn: Txn, known: dict[object, Any] | None = None) -> None:
        self._known = known
        self._index = index
        self._t: Tables = index.tables
        self._txn = txn

    def end(self) -> None:
        """Gives the transaction back. An ended one holds a reader's slot for as long as anything refers to it, and the
        frame of a request task, which may wait for a body for hours, refers to its Reading."""
        self._txn.abort()
        del self._txn

    def moment(self) -> int:
        """Which moment it is, as `Catalog.moment` tells it."""
        return int(self._txn.id())

    def recall(self, key: object) -> Any:
        """What was remembered of this very moment; None where nothing was."""
        return None if self._known is None else self._known.get(key)

    def remember(self, key: object, value: T) -> T:
        """`value`, left to who reads this moment after us. `key` says what it is: of whose, then of what."""
        if self._known is not None:
            self._known[key] = value
        return value

    def label(self, key: bytes) -> int:
        """The Serial that last moved this label; 0 if nothing ever did. Of `label_history` the history's number."""
        if key == _HISTORY:
            return self._index.history(self._txn)
        value = self._txn.get(key, db=self._t.labels)
        return 0 if value is None else int(_U64.unpack(unseal(value, "labels"))[0])

    # ------------------------------------------------------------ tenancy and access

    def workspace(self, name: str) -> Workspace | None:
        found = self.one(self._t.workspaces, "workspaces", _WORKSPACE, name)
        return found if found is not None and not found.closed_ms else None

    def workspaces(self) -> list[Workspace]:
        return [one for one in self.every_workspace() if not one.closed_ms]

    def every_workspace(self) -> list[Workspace]:
        """All there are, and those that were deleted."""
        return [_WORKSPACE.decode(value) for _, value in self.under(self._t.workspaces, "workspaces", b"")]

    def check_name(self, name: str) -> None:
        """Raises Conflict where a Workspace of this name was deleted."""
        if self.ended(name) is not None:
            raise ending.taken_for_good()

    def ended(self, name: str) -> Workspace | None:
        """The Workspace of this name, if it was deleted."""
        return ending.ended(self._txn, self._t, name)

    def ending_with(self, name: str, at_ms: int) -> Iterator[ending.Following]:
        """What would end outside of a Workspace with it."""
        return ending.following(self._txn, self._t, name, at_ms)

    def repository(self, ws: str, name: str) -> Repository | None:
        return self.one(self._t.repositories, "repositories", _REPOSITORY, ws, name)

    def repositories(self, ws: str = "") -> list[Repository]:
        """The repositories of a Workspace, or all of them."""
        prefix = below(ws) if ws else b""
        return [_REPOSITORY.decode(value) for _, value in self.under(self._t.repositories, "repositories", prefix)]

    def outline(self, ws: str, name: str) -> Outline:
        """What a verdict needs of a Repository, for the same work whether it is there or not."""
        return outlines.outline(self._txn, self._t, ws, name)

    def publics(self, ws: str) -> int:
        """How many Repositories of a Workspace are public."""
        return outlines.publics(self._txn, self._t, ws)

    def token(self, sha256: bytes) -> Token | None:
        """The token whose text has this sha256."""
        key = self._txn.get(sha256, db=self._t.secrets)
        return None if key is None else self.token_by_id(unseal(key, "secrets").decode())

    def token_by_id(self, id: str) -> Token | None:
        return self.one(self._t.tokens, "tokens", _TOKEN, id)

    def tokens(self, after: str = "") -> Iterator[Token]:
        """All there are, by id, behind `after`; each is read when it is asked for."""
        for _, value in self.under(self._t.tokens, "tokens", b"", join(after) + b"\0" if after else b""):
            yield _TOKEN.decode(value)

    def tokens_of(self, account: str) -> Iterator[Token]:
        """Those that act for an Account and are no sessions, by id."""
        for key, _ in self.under(self._t.owned, "owned", below(account)):
            found = self.token_by_id(split(key)[1])
            if found is not None:
                yield found

    def entitlements(self, ws: str, after: str = "") -> Iterator[Token]:
        """The tokens of a Workspace's customers, by id, behind `after`."""
        start = join(ws, after) + b"\0" if after else b""
        for key, _ in self.under(self._t.entitled, "entitled", below(ws), start):
            found = self.token_by_id(split(key)[1])
            if found is not None:
                yield found

    def edge_tokens(self) -> Iterator[Token]:
        """Those of kind "edge", by id."""
        for key, _ in self.under(self._t.edge_tokens, "edge_tokens", b""):
            found = self.token_by_id(key.decode())
            if found is not None:
                yield found

    def sign_ins(self, account: str = "") -> Iterator[Token]:
        """The sessions of an Account, or of all of them, those that are over too, by Account and id."""
        for key, _ in self.under(self._t.sign_ins, "sign_ins", below(account) if account else b""):
            found = self.token_by_id(split(key)[1])
            if found is not None:
                yield found

    def usage(self, ws: str, repo: str = "") -> Usage:
        """What a Workspace, or one Repository of it, holds as visible."""
        return usage_of(self._txn, self._t, join(ws, repo) if repo else join(ws))

    def bin_usage(self, ws: str, repo: str = "") -> Usage:
        """What the bins of a Workspace, or the bin of one Repository of it, hold."""
        return bin_usage_of(self._txn, self._t, join(ws, repo) if repo else join(ws))

    def answer(self, principal: str, key: bytes, now_ms: int) -> Answer | None:
        """What was answered to a request of this principal that came with this key (its sha256), within a day."""
        return answers.find(self._txn, self._t, principal, key, now_ms)

    def answers_kept(self, principal: str, most: int, now_ms: int) -> int:
        """How many answers are kept for a principal; exact where there are `most` and more."""
        return answers.kept(self._txn, self._t, principal, most, now_ms)

    def host(self, name: str) -> Host | None:
        """What this host name is bound to."""
        return self.one(self._t.hosts, "hosts", _HOST, name)

    def hosts(self) -> list[Host]:
        return [_HOST.decode(value) for _, value in self.under(self._t.hosts, "hosts", b"")]

    # ------------------------------------------------------------ what is withheld, and what is to be got anew

    def quarantine(self, ws: str, repo: str, format: str, package: str, version: str = "") -> Quarantine | None:
        """The Quarantine of exactly this."""
        return self.one(self._t.quarantines, "quarantines", _QUARANTINE, ws, repo, format, package, version)

    def quarantines(self, ws: str, repo: str) -> Iterator[Quarantine]:
        """All of a Repository, by format, Package and Version."""
        for _, value in self.under(self._t.quarantines, "quarantines", below(ws, repo)):
            yield _QUARANTINE.decode(value)

    def purged(self, ws: str, repo: str, format: str, package: str) -> int:
        """The Serial of the last purge that reached this Package; 0 for none."""
        found = 0
        for at in (("", ""), (format, ""), (format, package)):
            value = self._txn.get(join(ws, repo, *at), db=self._t.purges)
            if value is not None:
                found = max(found, int(_U64.unpack(unseal(value, "purges"))[0]))
        return found

    def binned(self, ws: str, repo: str, id: str) -> Binned | None:
        """What has this id in the bin of a Repository."""
        return bins.get(self._txn, self._t, ws, repo, id)

    def bin(self, ws: str, repo: str, after: str = "") -> Iterator[Binned]:
        """What is in the bin of a Repository, by id behind `after`."""
        for _, _, one in bins.held(self._txn, self._t, ws, repo, after):
            yield one

    def bin_ids(self, ws: str, repo: str) -> Iterator[str]:
        """The ids of all that is in the bin of a Repository."""
        return bins.ids(self._txn, self._t, ws, repo)

    def bins_due(self, now_ms: int) -> Iterator[bins.Due]:
        """What is to be emptied out of the bins by now."""
        return bins.due(self._txn, self._t, now_ms)

    # ------------------------------------------------------------ who is who, and what they were given

    def account(self, id: str) -> Account | None:
        return self.one(self._t.accounts, "accounts", _ACCOUNT, id)

    def account_named(self, kind: str, workspace: str, name: str) -> Account | None:
        """The one that bears this name now; `workspace` is "" for users."""
        key = self._txn.get(join(kind, workspace, name), db=self._t.names)
        return None if key is None else self.account(unseal(key, "names").decode())

    def accounts(self, kind: str, workspace: str = "", after: str = "") -> Iterator[Account]:
        """Those that bear a name, by name, behind `after`."""
        prefix = below(kind, workspace)
        start = join(kind, workspace, after) + b"\0" if after else b""
        for _, id in self.under(self._t.names, "names", prefix, start):
            found = self.account(id.decode())
            if found is not None:
                yield found

    def every_account(self) -> list[Account]:
        """All there are, the closed ones too."""
        return [_ACCOUNT.decode(value) for _, value in self.under(self._t.accounts, "accounts", b"")]

    def membership(self, ws: str, account: str) -> Membership | None:
        return self.one(self._t.memberships, "memberships", _MEMBERSHIP, ws, account)

    def memberships(self, ws: str, after: str = "") -> Iterator[Membership]:
        """By account, behind `after`; each is read when it is asked for."""
        start = join(ws, after) + b"\0" if after else b""
        for _, value in self.under(self._t.memberships, "memberships", below(ws), start):
            yield _MEMBERSHIP.decode(value)

    def team(self, ws: str, name: str) -> Team | None:
        return self.one(self._t.teams, "teams", _TEAM, ws, name)

    def teams(self, ws: str, after: str = "") -> Iterator[Team]:
        """By name, behind `after`; each is read when it is asked for."""
        start = join(ws, after) + b"\0" if after else b""
        for _, value in self.under(self._t.teams, "teams", below(ws), start):
            yield _TEAM.decode(value)

    def group(self, ws: str, id: str) -> Team | None:
        """The Team that an identity provider keeps by this id."""
        name = self._txn.get(join(ws, id), db=self._t.groups)
        return None if name is None else self.team(ws, unseal(name, "groups").decode())

    def teams_of(self, ws: str, account: str) -> list[Teammate]:
        """Where an Account is a teammate."""
        rows = self.under(self._t.teammates, "teammates", below(ws, account))
        return [_TEAMMATE.decode(value) for _, value in rows]

    def teammates(self, ws: str, team: str = "") -> list[Teammate]:
        """Who is in a Team, by account, or in any."""
        if not team:
            return [_TEAMMATE.decode(value) for _, value in self.under(self._t.teammates, "teammates", below(ws))]
        names = [split(key)[2] for key, _ in self.under(self._t.mates, "mates", below(ws, team))]
        found = (self.one(self._t.teammates, "teammates", _TEAMMATE, ws, account, team) for account in names)
        return [one for one in found if one is not None]

    def role(self, ws: str, name: str) -> Role | None:
        return self.one(self._t.roles, "roles", _ROLE, ws, name)

    def roles(self, ws: str) -> list[Role]:
        return [_ROLE.decode(value) for _, value in self.under(self._t.roles, "roles", below(ws))]

    def bindings(self, ws: str, subject: str = "") -> list[Binding]:
        """The Bindings of one subject, or all of a Workspace."""
        prefix = below(ws, subject) if subject else below(ws)
        return [_BINDING.decode(value) for _, value in self.under(self._t.bindings, "bindings", prefix)]

    def provider(self, ws: str, id: str) -> Provider | None:
        return self.one(self._t.providers, "providers", _PROVIDER, ws, id)

    def providers(self, ws: str) -> list[Provider]:
        return [_PROVIDER.decode(value) for _, value in self.under(self._t.providers, "providers", below(ws))]

    def webhook(self, ws: str, repo: str, id: str) -> Webhook | None:
        return self.one(self._t.webhooks, "webhooks", _WEBHOOK, ws, repo, id)

    def webhooks(self, ws: str = "") -> list[Webhook]:
        """Those of a Workspace and of its Repositories, or all there are."""
        rows = self.under(self._t.webhooks, "webhooks", below(ws) if ws else b"")
        return [_WEBHOOK.decode(value) for _, value in rows]

    def noticed(self, ws: str, repo: str, kind: str, cause: str) -> Noticed | None:
        """What was told last of this (see storage.notices); `repo` "" = of the Workspace."""
        return noticed.find(self._txn, self._t, ws, repo, kind, cause)

    # ------------------------------------------------------------ edges

    def edge(self, name: str) -> Edge | None:
        return self.one(self._t.edges, "edges", _EDGE, name)

    def edge_by_key(self, key: bytes) -> Edge | None:
        """The edge whose public key has this sha256."""
        name = self._txn.get(key, db=self._t.edge_keys)
        return None if name is None else self.edge(unseal(name, "edge_keys").decode())

    def edges(self) -> list[Edge]:
        return [_EDGE.decode(value) for _, value in self.under(self._t.edges, "edges", b"")]

    # ------------------------------------------------------------ packages and the journal's heads

    def publisher(self, ws: str, repo: str, format: str, version: str, package: str) -> Publisher | None:
        """Who published this Version first."""
        return published.publisher(self._txn, self._t, ws, repo, format, version, package)

    def packages_with(self, ws: str, repo: str, format: str, wanted: Callable[[str], bool]) -> Iterator[str]:
        """The names of Packages that have a Version that is wanted, by its name; a name may come more than once."""
        return published.packages_with(self._txn, self._t, (ws, repo, format), wanted)

    def packages_in(self, ws: str, most: int) -> int:
        """How many Packages the Repositories of a Workspace hold; exact up to `most`."""
        rows = (self.under(self._t.packages, "packages", below(ws, one.name)) for one in self.repositories(ws))
        return sum(1 for _ in islice(chain.from_iterable(rows), most))

    def view(self, ws: str, repo: str, format: str) -> "StoredView":
        """One format of one Repository; empty where there is none."""
        return StoredView(self, ws, repo, format)

    def serial(self, ws: str) -> int:
        return self._index.head(self._txn, ws)[0]

    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Serial and hash of the last entry by workspace."""
        return self._index.heads(self._txn)

    @property
    def epoch(self) -> int:
        return self._index.epoch(self._txn)

    # ------------------------------------------------------------ rows

    def one(self, table: Table, name: str, decoder: msgspec.msgpack.Decoder[T], *parts: str) -> T | None:
        """The noun under a key of `parts`; nothing has an empty name, and no table an empty key."""
        key = join(*parts)
        value = self._txn.get(key, db=table) if key else None
        return None if value is None else decoder.decode(unseal(value, name))

    def raw(self, table: Table, name: str, key: bytes) -> bytes | None:
        value = self._txn.get(key, db=table)
        return None if value is None else unseal(value, name)

    def under(self, table: Table, name: str, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys begin with `prefix`, in order, from `start` on."""
        with self._txn.cursor(db=table) as cursor:
            going = cursor.set_range(start or prefix) if start or prefix else cursor.first()
            while going and cursor.key().startswith(prefix):
                yield cursor.key(), unseal(cursor.value(), name)
                going = cursor.next()

    @property
    def tables(self) -> Tables:
        return self._t


class StoredView:
    """nouns.View over the index."""

    __slots__ = ("_format", "_reading", "_repo", "_ws")

    def __init__(self, reading: Reading, ws: str, repo: str, format: str) -> None:
        self._reading = reading
        self._ws = ws
        self._repo = repo
        self._format = format

    def _key(self, *parts: str) -> bytes:
        return join(self._ws, self._repo, self._format, *parts)

    @property
    def serial(self) -> int:
        return self._reading.serial(self._ws)

    def package(self, package: str) -> Package | None:
        raw = self._reading.raw(self._reading.tables.packages, "packages", self._key(package))
        return None if raw is None else _PACKAGE.decode(raw)

    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]:
        """Packages whose names begin with `prefix` and stand behind `after`, by name."""
        first = self._key(prefix)
        start = self._key(after) + b"\0" if after and after >= prefix else b""
        for _, value in self._reading.under(self._reading.tables.packages, "packages", first, start):
            yield _PACKAGE.decode(value)

    def version(self, package: str, version: str) -> Version | None:
        raw = self._reading.raw(self._reading.tables.versions, "versions", self._key(package, version))
        return None if raw is None else _VERSION.decode(raw)

    def versions(self, package: str) -> list[Version]:
        rows = self._reading.under(self._reading.tables.versions, "versions", self._key(package) + b"\0")
        return [_VERSION.decode(value) for _, value in rows]

    def file(self, package: str, name: str) -> File | None:
        raw = self._reading.raw(self._reading.tables.files, "files", self._key(package, name))
        return None if raw is None else _FILE.decode(raw)

    def files(self, package: str) -> list[File]:
        rows = self._reading.under(self._reading.tables.files, "files", self._key(package) + b"\0")
        return [_FILE.decode(value) for _, value in rows]

    def tags(self, package: str) -> dict[str, str]:
        rows = self._reading.under(self._reading.tables.tags, "tags", self._key(package) + b"\0")
        return {split(key)[-1]: value.decode() for key, value in rows}

    def tag(self, package: str, tag: str) -> str | None:
        raw = self._reading.raw(self._reading.tables.tags, "tags", self._key(package, tag))
        return None if raw is None else raw.decode()

    def claimed(self, package: str) -> bool:
        return self._reading.raw(self._reading.tables.claims, "claims", self._key(package)) is not None

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        """Serial and name of every Package that changed or was dropped behind Serial `after`, once, in this order."""
        at = (self._ws, self._repo, self._format)
        start = touched(*at, after + 1)
        for key, _ in self._reading.under(self._reading.tables.touched, "touched", below(*at), start):
            yield touched_package(key, *at)

    def gone(self, package: str, name: str) -> bytes | None:
        return self._reading.raw(self._reading.tables.gone, "gone", self._key(package, name))


class Catalog:
    """Where readings come from. One per process."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: tuple[int, dict[object, Any]] = (0, {})  # one reference: threads read, too

    def moment(self) -> int:
        """Moves whenever anything was applied, by whichever process."""
        return self._index.moment()

    def read(self) -> "Look":
        """A consistent moment, for a `with` block; about a microsecond."""
        return Look(self._index, self._known_at)

    def _known_at(self, moment: int) -> dict[object, Any]:
        """A committed moment is the same for all who look at it."""
        at, known = self._known
        if at != moment or len(known) >= KNOWN_MAX:
            known = {}
            self._known = (moment, known)
        return known


class Look:
    """A Reading for as long as its `with` block lasts."""

    __slots__ = ("_index", "_known_at", "_reading")

    def __init__(self, index: Index, known_at: Callable[[int], dict[object, Any]]) -> None:
        self._index, self._known_at = index, known_at

    def __enter__(self) -> Reading:
        txn = self._index.env.begin()
        self._reading = Reading(self._index, txn, self._known_at(txn.id()))
        return self._reading

    def __exit__(self, *_: object) -> None:
        self._reading.end()
