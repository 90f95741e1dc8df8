"""What must a room answer so that the core can serve its protocol?

A room is one object with pure methods: what it gets is all it knows, what it returns is all it does. The core does the
acting once for every format: it authorises, receives, stages, commits, renders, caches, pulls and streams.

The way of a read:   read(ask) → Serve | Show | Reply;  Show → render(show, view, base) → Document
The way of a write:  read(ask) → Accept | Amend; Accept → unpack(ask, received) → Finds;
                     decide(ask, finds, view) → Decision
The way of a set:    read(ask) → Manifest | Listed | Keyring; the core keeps the big documents of a set up to date by
                     fragments(set, package, view) of what changed, and signs manifest(making, view)
The way of a pull:   upstream(ask, plan) → Learn | Pull | None. After Learn: learn(package, raw, url) → Foreign, which
                     the core lays under the View. After Pull: the upstream's own file is the answer.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, cast

import msgspec

from formats.kit.routes import Declared
from storage.errors import Invalid, Problem
from storage.nouns import AnyChange, File, Package, Version, View


class Ask(msgspec.Struct, frozen=True):
    """A request as a room sees it: strictly parsed, authorised for its verb, decoded once.

    `path` is what follows the room's home, percent-decoded once as UTF-8, without leading slash; the home is
    /{workspace}/{repository}/{format}/, and /v2/{workspace}/{repository}/ for OCI;
    `raw_path` is the same part as sent. `query` is decoded into a list of pairs. `headers` have lower-case names, and
    lack credentials. `base` is scheme://host and the home as the client sees it, without a slash at the end.
    `principal` is a display name, "" for the anonymous. `at_ms` is the core's clock.
    """

    method: str
    path: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    base: str
    workspace: str
    repository: str
    principal: str = ""
    at_ms: int = 0
    format: str = ""

    @property
    def home(self) -> str:
        """The path of `base`."""
        return "/" + self.base.split("/", 3)[3]

    def argument(self, name: str, default: str = "") -> str:
        """The first value of a query argument."""
        return next((value for key, value in self.query if key == name), default)


# ---------------------------------------------------------------- plans: what a request means


class Serve(msgspec.Struct, frozen=True):
    """The bytes of one File (GET, HEAD). The core answers ranges, conditionals, and pulls it where it is foreign.

    `filename` asks for a Content-Disposition. `headers` are added to the answer. `package` is looked up upstream when
    the file is not local. `told` are headers that tell a digest of the file where it is known: (header, algorithm,
    what stands ahead of the hex). With a `tag` the file is the one called `file` and then the version that this Tag
    points to; the request's path then ends with the tag, and the same bytes lie at the path that ends with the version
    instead. `name_header` is a header that tells a local file's name behind its last slash; `told` then is for others.
    """

    package: str
    file: str
    filename: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    told: tuple[tuple[str, str, str], ...] = ()
    tag: str = ""
    name_header: str = ""


class Show(msgspec.Struct, frozen=True):
    """A document to render (GET, HEAD).

    `page` and `argument` name it within the room; `package` is the one Package it depends on, "" for all of the
    repository's packages of this format. `foreign` = lay what the upstreams know of `package` under the view first, or,
    where `upstream` answers with a Pull, pass their file on unless there is a document of our own.
    `claim` is the name whose publication here keeps upstreams out, where that is another than `package`.
    `absolute` = the document contains addresses, so it is rendered for each base. `keep` False = render at each request
    (searches). `media` is the Content-Type; `vary` is True where it was chosen by Accept.
    """

    page: str
    media: str
    package: str = ""
    argument: str = ""
    foreign: bool = False
    absolute: bool = False
    keep: bool = True
    vary: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    claim: str = ""


class Accept(msgspec.Struct, frozen=True):
    """A package is coming (PUT, POST).

    `body` says how: "raw" = the body is the file; "multipart" = one file part named `part` and small fields;
    "spool" = an envelope that `unpack` takes apart (its bytes are not themselves kept).
    `digests` are wanted of the file beside sha256. `unpack` False = there is nothing to take apart: decide follows at
    once. `context` (None, str, int, or lists and dicts of them) is handed on to unpack and decide.
    """

    body: Literal["raw", "multipart", "spool"]
    part: str = "content"
    digests: tuple[str, ...] = ()
    bytes_max: int = 1 << 40
    unpack: bool = True
    context: Any = None


class Resume(msgspec.Struct, frozen=True):
    """A step of a resumable upload: `step` of start, append, state, finish, cancel; `session` its id ("" at start).

    `offset` is where the client believes the body goes, -1 = wherever the session stands. `length` is the announced
    length of the whole, -1 = not announced. With `finish` it is whole after this step, and decide follows as for
    Accept "raw" without unpack. `digests` are wanted beside sha256, at the start or, for a client that tells them
    late, at the end. `context` is kept from the start on; a later step that has one must have the same.

    `parts` > 1 at the start: so many, of the announced length, are sent at the same time. `part` >= 0: the step is
    about that one, and `offset` is within it.
    """

    step: Literal["start", "append", "state", "finish", "cancel"]
    session: str = ""
    offset: int = -1
    length: int = -1
    finish: bool = False
    digests: tuple[str, ...] = ()
    context: Any = None
    parts: int = 1
    part: int = -1


class Borrow(msgspec.Struct, frozen=True):
    """A file that another package has shall be here too without being sent (POST).

    Where the client may read the source and the source has it, decide(ask, Finds(blobs={"file": ...}), view) follows
    with this `context`; wherever not, the core goes on with `otherwise`, so that nobody learns what is there.
    """

    workspace: str
    repository: str
    package: str
    file: str
    otherwise: Resume
    context: Any = None


class Amend(msgspec.Struct, frozen=True):
    """A change by a small body or none (DELETE, tag and yank calls): decide(ask, Finds(body=...), view) follows."""

    bytes_max: int = 1 << 20
    context: Any = None


class Login(msgspec.Struct, frozen=True):
    """The client presents a credential in the body; the core checks it, then asks `greet` for the answer."""

    bytes_max: int = 1 << 16


class Reply(msgspec.Struct, frozen=True):
    """An answer as it stands."""

    status: int
    body: bytes = b""
    media: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """What lists the documents of a set (GET, HEAD), as it is or sealed: `seal` "clear" = signed around its text,
    "detached" = the signature alone. All seals of one set are of one generation. For rooms that are Indexed."""

    set: str
    media: str
    seal: Literal["", "clear", "detached"] = ""
    otherwise: Serve | None = None
    """What is asked for where its package was never published here: an upstream's own manifest, signed by its owner."""

    foreign: bool = False
    """Said by the core: the text is an upstream's, verified and signed anew (see Resigned)."""


class Listed(msgspec.Struct, frozen=True):
    """A document that the manifest of a set lists (GET, HEAD): by its `path` within the set, or by its `sha256` (hex)
    in any generation that is still kept."""

    set: str
    media: str
    path: str = ""
    sha256: str = ""
    otherwise: Serve | None = None
    """As for Manifest."""


class Keyring(msgspec.Struct, frozen=True):
    """The OpenPGP certificates that this repository signs with (GET, HEAD)."""

    media: str
    armored: bool = False


Plan = Serve | Show | Manifest | Listed | Keyring | Accept | Resume | Borrow | Amend | Login | Reply
READS = (Serve, Show, Manifest, Listed, Keyring)


# ---------------------------------------------------------------- what comes back


class Blob(msgspec.Struct, frozen=True):
    """Bytes that `unpack` derived from an upload and wants kept: small ones as `data`, large ones as the `path` of a
    file in the directory that unpack was given. The core fills in `sha256`, `size`, `digests` before `decide`."""

    data: bytes = b""
    path: str = ""
    digests_wanted: tuple[str, ...] = ()
    sha256: bytes = b""
    size: int = -1
    digests: dict[str, str] = {}


class Received(msgspec.Struct, frozen=True):
    """What arrived: the multipart `fields`, and the staged file as an open descriptor for reading with its digests.

    `blob` identifies the file (absent, size 0, for a spool). `descriptor` is readable by os.pread or
    open(descriptor, closefd=False); the file's first byte lies at `start` in it, and it ends where the descriptor
    ends. `directory` is where derived files may be written, side by side. `context` is the plan's.
    """

    fields: dict[str, list[str]]
    filename: str
    descriptor: int
    blob: Blob
    directory: str
    context: Any = None
    start: int = 0


class Finds(msgspec.Struct, frozen=True):
    """What was found in an upload. `facts` is the room's own msgpack; `blobs` are named by the room ("file" is the
    uploaded file itself where the plan was raw or multipart and the core adds it). `body` is Amend's body."""

    facts: bytes = b""
    blobs: dict[str, Blob] = {}
    body: bytes = b""
    context: Any = None


class Decision(msgspec.Struct, frozen=True):
    """What to write and what to say. No changes = nothing is written (an idempotent repeat)."""

    action: str
    changes: tuple[AnyChange, ...]
    reply: Reply


class Progress(msgspec.Struct, frozen=True):
    """Where a resumable upload stands after a step: `offset` bytes are kept, of `length` (-1 = not known). `refused` =
    the client's offset was another one, so nothing was added. `bytes_max` and `seconds_left` are its limits. It has so
    many `parts`; asked about one of them, `offset` is within that."""

    session: str
    offset: int
    length: int = -1
    refused: bool = False
    bytes_max: int = -1
    seconds_left: int = -1
    parts: int = 1


class Document(msgspec.Struct, frozen=True):
    """A rendered page. `headers` are part of it."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


PAGE_BREAK = b"\x1e"
"""Between the pages of an answer (RFC 7464): no JSON text has this byte in it."""


class Learn(msgspec.Struct, frozen=True):
    """Ask a foreign registry for what it knows of the plan's package; `learn` translates the answer.

    `path` is relative to the upstream's url, escaped as it goes on the wire. It may depend on the package alone: what
    was learnt serves every request for that package, and an edge asks its origin by the package's name.

    `pages_max`: an answer whose Link header names a next page is read on, up to so many, and `learn` gets the bodies
    with a PAGE_BREAK between them; `bytes_max` is for all.
    """

    path: str
    accept: str = "*/*"
    bytes_max: int = 256 << 20
    pages_max: int = 1


class Pull(msgspec.Struct, frozen=True):
    """One file of a foreign registry, asked for by its path and passed on as it is, while it is kept.

    `path` is relative to the upstream's url, escaped as it goes on the wire. `immutable`: once it is here nobody is
    asked again; else it is fresh for the upstream's `fresh_s` and then renewed by its validators. A path that the
    upstream does not have (404, 410) is not asked for again within `negative_s`; no other failure is remembered.

    `digests` (hex by algorithm) are known beforehand and must hold. `announced` are headers of the upstream's answer
    that announce one: (header, algorithm), hex with or without "algorithm:" ahead; where one is there it must hold.
    `also` are digests to compute on the way, for Serve.told. `digest_of` (path, algorithm): the answer is that digest
    of the file at that path; it is computed where that file is here, and only else asked for at `path`.

    `media` is the Content-Type to answer with, "" for the upstream's own. `headers` names headers of the upstream's
    answer, in lower case, that are kept and passed on. `looked` is a header of the upstream's answer to a HEAD that
    tells the sha256 (with or without "sha256:" ahead): renewing begins with one, since registries that count requests
    do not count it. `lies_at` is the path at which the same file lies for ever, up to its sha256 in hex, which is
    added: whoever asks for that path with the same `accept` needs no request any more.
    """

    path: str
    accept: str = "*/*"
    immutable: bool = False
    bytes_max: int = 1 << 40
    digests: dict[str, str] = {}
    announced: tuple[tuple[str, str], ...] = ()
    also: tuple[str, ...] = ()
    digest_of: tuple[str, str] = ("", "")
    media: str = ""
    headers: tuple[str, ...] = ()
    looked: str = ""
    lies_at: str = ""


Fetch = Learn | Pull


class Foreign(msgspec.Struct, frozen=True):
    """What a foreign registry knows of a package, in our own nouns; files carry `source`."""

    package: Package
    versions: tuple[Version, ...] = ()
    files: tuple[File, ...] = ()
    tags: dict[str, str] = {}


ABOUT = Ask("GET", "", "", (), {}, "", "", "")
"""The Ask that goes with a question by name alone (see `about`)."""


def about(package: str) -> Show:
    """The plan that stands for "what is known of this package", whichever request led to it."""
    return Show("", "", package, foreign=True)


class Room(Protocol):
    """One native protocol. Its methods are the questions a protocol answers; all are pure and may raise Problem."""

    name: str
    """The path segment and the `format` of its changes."""

    escaped_slash: bool
    """May a path segment hold %2F (npm's @scope%2Fname)? Elsewhere the core refuses it."""

    draws: bool
    """May a repository draw this format from upstreams?"""

    routes: tuple[Declared, ...]
    """Every address at which there can be anything, the right that it needs, and its methods (THREATS C7)."""

    def setup(self, base: str) -> list[str]:
        """What a person types, or writes into which file, so that each client uses the repository at `base`, which is
        scheme://host/WORKSPACE/REPOSITORY. One line each; "#" begins a remark; the token is $ENTREPOT_TOKEN."""
        ...

    def normalise(self, package: str) -> str:
        """The one spelling under which a View holds this package, for names that people type outside of the protocol.

        Raises Invalid for what no package can be called.
        """
        ...

    def address(self, package: str, file: str) -> str:
        """The path below the home at which this published file is read, not escaped: `read` makes a Serve of it."""
        ...

    def withheld(self, package: Package) -> str:
        """Why no file of this package is given out, not even by its address (quarantine); "" where they are."""
        ...

    def right(self, ask: Ask) -> Literal["read", "write"]:
        """Which right the request needs; decided before anything else is looked at."""
        ...

    def read(self, ask: Ask) -> Plan: ...

    def unpack(self, ask: Ask, received: Received) -> Finds:
        """Take an upload apart. Runs in a limited worker process: hostile input, no network, deadline."""
        ...

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        """What the upload or amendment changes, given what is there. Runs under the write lock: no slow work."""
        ...

    def render(self, show: Show, view: View, base: str) -> Document: ...

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        """How a foreign registry is asked for this, where it is not local and the name is not claimed here. None where
        it would not have it. The core decides whom it asks, how often, and whether it may."""
        ...

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        """Translate a foreign registry's answer, fetched at `url` (for relative addresses). Runs limited."""
        ...

    def refuse(self, ask: Ask, problem: Problem) -> Reply: ...


class Greeting(Protocol):
    """What a room has besides, whose `read` may answer Login."""

    def greet(self, ask: Ask, body: bytes, principal: str, secret: str) -> Reply:
        """Answer a Login whose credential was good."""
        ...

    def credential(self, ask: Ask, body: bytes) -> str:
        """The secret that a Login body presents."""
        ...


class Resumable(Protocol):
    """What a room has besides, whose `read` may answer Resume."""

    def progress(self, ask: Ask, plan: Resume, at: Progress) -> Reply:
        """Tell the client where its upload stands after start, append (unless it was the end), state or cancel."""
        ...


class Scoped(Protocol):
    """What a room has besides, whose clients fetch a pass for a while and for a scope (gateway/access/credentials)."""

    def resource(self, ask: Ask) -> str:
        """What the scopes of such clients call the thing that is asked for; "" where it has no name."""
        ...

    def borrowed(self, plan: Borrow) -> str:
        """The same for the source of a Borrow."""
        ...


class Governed(Protocol):
    """What a room has besides, whose Views hold packages under names that are not those people know."""

    def governed(self, package: str) -> str | None:
        """The name by which grants speak of a Package of the View; None for what is part of the repository itself."""
        ...


class Composed(Protocol):
    """What a room has besides, whose Versions are nothing without files that are not of that Version alone."""

    def needs(self, facts: bytes) -> tuple[str, ...]:
        """The names of the files of the same Package that a Version with these facts needs, by itself."""
        ...

    def followers(self, package: str, version: str, view: View) -> tuple[str, ...]:
        """The Versions of the same Package that are about this one, and go where it goes: its signatures."""
        ...


class Drawn(Protocol):
    """What a room has besides, whose foreign files are asked for by their path (Pull)."""

    def version_of(self, serve: Serve, sha256: bytes) -> str:
        """Of which Version the file with these bytes is, for whoever asks by rank or age; "" where it is of none by
        itself."""
        ...


def governed(room: Room, package: str) -> str | None:
    """The name by which grants speak of a Package: its own, where the room says nothing else."""
    asked: Governed | None = cast("Governed", room) if hasattr(room, "governed") else None
    return package if asked is None else asked.governed(package)


class Ordered(Protocol):
    """What a room has besides, whose versions have an order."""

    def order(self, version: str) -> Any:
        """A key: that of an older version is less than that of a newer one. Raises Invalid for what is no version."""
        ...


class Staged(Protocol):
    """What a room has besides whose order of versions knows some that come ahead of a release."""

    def prerelease(self, version: str) -> bool:
        """Is this one of those? Raises Invalid for what is no version."""
        ...


def prerelease(room: Room | None, version: str) -> bool:
    """Does this version come ahead of a release, by the order of its format? No where it has none."""
    if room is None or not hasattr(room, "prerelease"):
        return False
    try:
        return cast("Staged", room).prerelease(version)
    except Invalid:
        return False


def order_of(room: Room) -> Callable[[str], Any] | None:
    """The sort key of a room's versions, None where they have no order."""
    asked: Ordered | None = cast("Ordered", room) if hasattr(room, "order") else None
    return None if asked is None else asked.order


# ---------------------------------------------------------------- sets of big documents


class Part(msgspec.Struct, frozen=True):
    """A big document of a set: the fragments of its packages in the order of their names. `path` is its place within
    the set; `forms` are those it is offered in (formats.kit.pieces), each with the ending of its path. Its plain form
    is listed too, whether or not anybody fetches it."""

    path: str
    forms: tuple[tuple[str, str], ...]


class Made(msgspec.Struct, frozen=True, array_like=True):
    """One form of a Part as it came out."""

    path: str
    size: int
    sha256: bytes


class Making(msgspec.Struct, frozen=True):
    """A generation of a set that wants its manifest. `made` is sorted by path, `at_ms` is the core's clock."""

    set: str
    workspace: str
    repository: str
    made: tuple[Made, ...]
    at_ms: int


class Written(msgspec.Struct, frozen=True):
    """A manifest; after `fresh_s` seconds it is written anew though nothing changed (0 = never). Clients refuse it
    after `valid_s` (0 = never)."""

    body: bytes
    fresh_s: int = 0
    valid_s: int = 0


class Indexed(Protocol):
    """What a room has besides, whose `read` may answer Manifest and Listed."""

    def parts(self, set: str, view: View) -> tuple[Part, ...]:
        """The documents of a set. Raises Absent where there is no such set."""
        ...

    def fragments(self, set: str, package: str, view: View) -> dict[str, bytes]:
        """What a package gives to the parts of a set, by their path; what it does not name it is not in.

        Depends on that Package and on the one that `parts` reads, on nothing else.
        """
        ...

    def manifest(self, making: Making, view: View) -> Written: ...


class Resigned(Protocol):
    """What an Indexed room has besides, where the manifests of its upstreams may be signed anew."""

    def claim(self, set: str) -> str:
        """The name whose publication here keeps upstreams out of a set."""
        ...

    def theirs(self, set: str) -> Pull:
        """How an upstream is asked for the manifest of a set, signed around its text."""
        ...

    def believed(self, body: bytes, set: str, before: bytes, at_ms: int) -> int:
        """For how many seconds the text of an upstream's manifest is valid still, 0 = without end.

        `before` is what was believed last, b"" = nothing. Raises UpstreamFailed where it is of another set, over, or
        older than that.
        """
        ...
