"""Does the index's stamp stand for what the fold makes of a journal?"""

import hashlib
from pathlib import Path
from typing import get_args

import msgspec

from storage.contents import Binned, DropBinned, PutBinned
from storage.hooks import DropWebhook, PutWebhook, Webhook
from storage.index import stamp
from storage.index.index import Index
from storage.notices import Damage, Notice, PutNotice
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    DropBinding,
    DropFile,
    DropHost,
    DropMembership,
    DropPackage,
    DropProvider,
    DropQuarantine,
    DropRepository,
    DropRole,
    DropTag,
    DropTeam,
    DropTeammate,
    DropVersion,
    DropWorkspace,
    Edge,
    Entry,
    Exchange,
    File,
    Grant,
    Host,
    Membership,
    NetworkRule,
    Once,
    Package,
    Provider,
    Purge,
    PutAccount,
    PutBinding,
    PutEdge,
    PutFile,
    PutHost,
    PutMembership,
    PutPackage,
    PutProvider,
    PutQuarantine,
    PutRepository,
    PutRole,
    PutTag,
    PutTeam,
    PutTeammate,
    PutToken,
    PutVersion,
    PutWorkspace,
    Quarantine,
    Replication,
    Repository,
    Role,
    SignIn,
    Team,
    Teammate,
    Token,
    Upstream,
    Version,
    Workspace,
)

GRANT = Grant("acme/main")
TOKEN = Token("t1", "t", b"1" * 32, (GRANT,), owner="u1")
FILE = File("f", "1", b"f" * 32, 6)
ENTRIES: list[tuple[str, str, tuple[AnyChange, ...]]] = [
    (
        SYSTEM,
        "",
        (
            PutWorkspace(Workspace("acme", 1, 10, (NetworkRule(True, ("10.0.0.0/8",)),))),
            PutAccount(Account("u1", "user", "ann")),
            PutAccount(Account("u2", "service", "ci", "acme")),
            PutToken(TOKEN),
            PutToken(
                Token("t2", "s", b"2" * 32, (), kind="session", owner="u1", sign_in=SignIn("password", 1, 2, 3, 4))
            ),
            PutToken(
                Token("t3", "o", b"3" * 32, (GRANT,), kind="oidc", owner="u2", exchange=Exchange("p", "i", "s", 9))
            ),
            PutToken(Token("t4", "c", b"4" * 32, (GRANT,), kind="entitlement")),
            PutToken(Token("t5", "e", b"5" * 32, (), kind="edge")),
            PutHost(Host("a.example", "acme")),
            PutHost(Host("b.example")),
            DropHost("b.example"),
            PutEdge(Edge("tokyo", "asia", ("*",), key=b"k" * 32)),
        ),
    ),
    (
        "acme",
        "",
        (
            PutRepository(
                Repository(
                    "acme",
                    "main",
                    True,
                    (Upstream("generic", "https://u.example"),),
                    replications=(Replication("asia"),),
                    bin_s=60,
                )
            ),
            PutRepository(Repository("acme", "other")),
            PutMembership(Membership("u1", "owner")),
            PutMembership(Membership("u2", "member")),
            PutTeam(Team("web")),
            PutTeam(Team("old")),
            PutTeammate(Teammate("web", "u1")),
            PutTeammate(Teammate("old", "u1")),
            DropTeammate("old", "u1"),
            DropTeam("old"),
            PutRole(Role("r", ("read",))),
            PutRole(Role("s", ("read",))),
            DropRole("s"),
            PutBinding(Binding("b1", "u1", GRANT)),
            PutBinding(Binding("b2", "u2", GRANT)),
            DropBinding("u1", "b1"),
            PutProvider(Provider("p", "p", "i", "a", (), 5)),
            PutProvider(Provider("q", "q", "i", "a", (), 5)),
            DropProvider("q"),
            DropMembership("u2"),
            PutWebhook(Webhook("w1", "acme", "", "n", "h", "r", 0, 0)),
            PutWebhook(Webhook("w2", "acme", "main", "n", "h", "r", 0, 0)),
            DropWebhook("", "w1"),
            PutNotice(Notice("quota.near", "", 5, 100, 90)),
        ),
    ),
    (
        "acme",
        "main",
        (
            PutPackage("generic", Package("a")),
            PutVersion("generic", "a", Version("1")),
            PutFile("generic", "a", FILE),
            PutFile("generic", "a", File("g", "1", b"g" * 32, 7)),
            DropFile("generic", "a", "g"),
            PutTag("generic", "a", "x", "1"),
            PutTag("generic", "a", "y", "1"),
            DropTag("generic", "a", "y"),
            PutVersion("generic", "a", Version("2")),
            DropVersion("generic", "a", "2"),
            PutPackage("generic", Package("b")),
            PutVersion("generic", "b", Version("1")),
            DropPackage("generic", "b"),
            PutQuarantine(Quarantine("generic", "a", "1", "bad", 5)),
            PutQuarantine(Quarantine("generic", "z")),
            DropQuarantine("generic", "z"),
            Purge("generic", "a"),
            Purge(),
            PutBinned(Binned("i", "generic", "a", "1", (PutFile("generic", "a", FILE),), 5, 60)),
            PutNotice(Notice("package.damaged", "", 6, files=(Damage("generic", "a", "1", "f", b"f" * 32),))),
            PutBinned(Binned("j", "generic", "a", "1", (), 5, 60)),
            DropBinned("j"),
        ),
    ),
    ("acme", "other", (PutPackage("npm", Package("c")), PutNotice(Notice("quota.near", "", 5, 1, 1)))),
    ("acme", "", (DropRepository("acme", "other"),)),
    (SYSTEM, "", (PutWorkspace(Workspace("left")), PutAccount(Account("u3", "service", "ci", "left")))),
    ("left", "", (PutRepository(Repository("left", "main", True)), PutMembership(Membership("u3", "member")))),
    ("left", "main", (PutPackage("npm", Package("d")), PutFile("npm", "d", FILE))),
    (SYSTEM, "", (DropWorkspace("left"),)),
]
FOLDED = "2 b39bead0cc7295a9"


def test_the_layout_stands_for_what_the_fold_makes(tmp_path: Path) -> None:
    """Where this fails, the fold makes other rows than it did: an index that was filled before must be made anew. Raise
    storage.index.stamp.LAYOUT, unless a table or a field was added, which the stamp sees by itself; then freeze the
    new sum here."""
    told = {type(change) for _, _, changes in ENTRIES for change in changes}
    assert told == set(get_args(AnyChange)), "each kind of change is among them"
    index, heads = Index(tmp_path / "index"), dict[str, tuple[int, bytes]]()
    with index.env.begin(write=True) as txn:
        for number, (workspace, repository, changes) in enumerate(ENTRIES):
            serial, previous = heads.get(workspace, (0, bytes(32)))
            once = Once("u1", b"k" * 32, b"r" * 32, b"answer") if number == 2 else None
            entry = Entry(
                7, workspace, serial + 1, previous, 1000 + number, "t1", "x", repository, changes, "", "ann", once
            )
            raw = msgspec.msgpack.encode(entry)
            index.apply(txn, entry, raw)
            heads[workspace] = (serial + 1, hashlib.sha256(raw).digest())
    rows = hashlib.sha256(repr(index.dump().rows).encode()).hexdigest()[:16]
    index.close()
    assert f"{stamp.LAYOUT} {rows}" == FOLDED
