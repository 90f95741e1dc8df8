"""Is every event declared, told in the documentation, and made from an entry as declared?"""

from pathlib import Path

import pytest

from gateway.webhooks.catalogue import BY_NAME, CATALOGUE, COMMON, document, kinds_of
from gateway.webhooks.events import Event, Told, events_of
from storage.errors import Invalid
from storage.hooks import DropWebhook, PutWebhook, Webhook
from storage.notices import Damage, Notice, PutNotice
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    ClaimRule,
    DropBinding,
    DropBinned,
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
    Entitlement,
    Entry,
    File,
    Grant,
    Host,
    Membership,
    Package,
    Provider,
    Purge,
    PutAccount,
    PutBinding,
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
    Repository,
    Role,
    Team,
    Teammate,
    Token,
    Version,
    Workspace,
)

ROOT = Path(__file__).resolve().parents[2]
ALICE = Account("usr_a", "user", "alice")
ROBOT = Account("svc_r", "service", "robot", "acme")
CI = Provider("idp_a", "ci", "https://i.example", "a", (ClaimRule({}, "svc_r"),), 60)
HOOK = Webhook("whk_a", "acme", "main", "ci", "https://receiver.example", "rev_a", 0, 0)
MINE, THEIRS = Grant("acme/main"), Grant("other/main")
CUSTOMER = Token("tok_c", "buyer", b"c" * 32, (MINE,), "entitlement", entitlement=Entitlement(metadata={"a": "b"}))
FILE = File("thing-1.0.tgz", "1.0", b"\1" * 32, 7)
ROTTEN = Damage("npm", "thing", "1.0", "thing-1.0.tgz", b"\1" * 32)


def entry(*changes: AnyChange, action: str = "t", workspace: str = "acme", repository: str = "main") -> Entry:
    return Entry(1, workspace, 9, b"", 1_800_000_000_000, "tok_x", action, repository, changes, "because", "Xena")


def account_of(id: str) -> Account | None:
    return {one.id: one for one in (ALICE, ROBOT)}.get(id)


def known_as(format: str, package: str) -> str | None:
    return None if package == "its own" else package


def told(*changes: AnyChange, action: str = "t", workspace: str = "acme", repository: str = "main") -> list[Event]:
    made = entry(*changes, action=action, workspace=workspace, repository=repository)
    return events_of(made, "acme", account_of, known_as)


PUBLISHED = (
    PutPackage("npm", Package("thing")),
    PutVersion("npm", "thing", Version("1.0")),
    PutFile("npm", "thing", FILE),
    PutTag("npm", "thing", "latest", "1.0"),
)
SAID: dict[str, list[Event]] = {
    "package.published": told(*PUBLISHED)[:1],
    "package.restored": told(*PUBLISHED, action="package.restore")[:1],
    "package.changed": told(PutVersion("npm", "thing", Version("1.0"))),
    "package.deleted": told(DropVersion("npm", "thing", "1.0")),
    "package.tagged": told(PutTag("npm", "thing", "latest", "1.0")),
    "package.untagged": told(DropTag("npm", "thing", "latest")),
    "package.quarantined": told(PutQuarantine(Quarantine("npm", "thing", "1.0", "bad"))),
    "package.released": told(DropQuarantine("npm", "thing", "1.0")),
    "package.damaged": told(PutNotice(Notice("package.damaged", "", 5, files=(ROTTEN,), files_count=1))),
    "workspace.damaged": told(PutNotice(Notice("workspace.damaged", "files", 5, used=3, of="files"))),
    "quota.near": told(PutNotice(Notice("quota.near", "", 5, 1000, 900))),
    "quota.reached": told(PutNotice(Notice("quota.reached", "", 5, 1000, 900, 200))),
    "entitlement.limit_reached": told(
        PutNotice(Notice("entitlement.limit_reached", "tok_c/bytes", 5, 1000, 999, 0, "tok_c", "b", "bytes"))
    ),
    "entitlement.expired": told(
        PutNotice(Notice("entitlement.expired", "tok_c/date", 5, 0, 0, 0, "tok_c", "b", "date", {"crm": "7"}))
    ),
    "repository.created": told(PutRepository(Repository("acme", "main")), action="repository.create"),
    "repository.changed": told(PutRepository(Repository("acme", "main")), action="upstream.add"),
    "repository.deleted": told(DropRepository("acme", "main")),
    "repository.purged": told(Purge("npm", "")),
    "repository.bin_emptied": told(DropBinned("bin_a"), DropBinned("bin_b"), action="bin.expire"),
    "member.added": told(PutMembership(Membership("usr_a", "member")), action="member.add"),
    "member.changed": told(PutMembership(Membership("usr_a", "owner")), action="member.role"),
    "member.removed": told(DropMembership("usr_a")),
    "team.created": told(PutTeam(Team("devs")), action="team.create"),
    "team.changed": told(PutTeam(Team("devs")), action="scim.group.change"),
    "team.deleted": told(DropTeam("devs")),
    "team.member_added": told(PutTeammate(Teammate("devs", "usr_a"))),
    "team.member_removed": told(DropTeammate("devs", "usr_a")),
    "role.changed": told(PutRole(Role("publisher", ("publish",)))),
    "role.deleted": told(DropRole("publisher")),
    "grant.given": told(PutBinding(Binding("bnd_a", "team:devs", MINE))),
    "grant.taken": told(DropBinding("team:devs", "bnd_a")),
    "provider.added": told(PutProvider(CI), action="oidc.add"),
    "provider.changed": told(PutProvider(CI), action="oidc.disable"),
    "provider.removed": told(DropProvider("idp_a")),
    "webhook.created": told(PutWebhook(HOOK), action="webhook.create"),
    "webhook.changed": told(PutWebhook(HOOK), action="webhook.edit"),
    "webhook.disabled": told(PutWebhook(HOOK), action="webhook.disable"),
    "webhook.deleted": told(DropWebhook("main", "whk_a")),
    "workspace.changed": told(PutWorkspace(Workspace("acme")), workspace=SYSTEM),
    "workspace.deleted": told(DropWorkspace("acme"), workspace=SYSTEM),
    "service.created": told(PutAccount(ROBOT), workspace=SYSTEM),
    "service.closed": told(PutAccount(Account("svc_r", "service", "robot", "acme", closed_ms=5)), workspace=SYSTEM),
    "token.created": told(
        PutToken(Token("tok_a", "t", b"t" * 32, (MINE, THEIRS))), action="token.create", workspace=SYSTEM
    ),
    "token.changed": told(PutToken(Token("tok_a", "t", b"t" * 32, (), owner="svc_r")), workspace=SYSTEM),
    "token.revoked": told(PutToken(Token("tok_a", "t", b"t" * 32, (MINE,), revoked_ms=5)), workspace=SYSTEM),
    "entitlement.created": told(PutToken(CUSTOMER), action="entitlement.create", workspace=SYSTEM),
    "entitlement.changed": told(PutToken(CUSTOMER), action="entitlement.edit", workspace=SYSTEM),
    "entitlement.revoked": told(
        PutToken(Token("tok_c", "b", b"c" * 32, (MINE,), revoked_ms=5, entitlement=Entitlement())), workspace=SYSTEM
    ),
    "host.bound": told(PutHost(Host("pkgs.example", "acme/main")), workspace=SYSTEM),
    "host.released": told(DropHost("pkgs.example", "acme"), workspace=SYSTEM),
}


def test_damage_is_told_by_package_so_that_queries_find_it() -> None:
    more = (ROTTEN, Damage("npm", "thing", "1.0", "b", b"\2" * 32), Damage("npm", "web", "", "c", b"\3" * 32))
    one, other = told(PutNotice(Notice("package.damaged", "", 5, files=more, files_count=7)))
    assert one.subject is not None
    assert (one.subject.name, one.subject.version, len(one.subject.files)) == ("thing", "1.0", 2)
    assert (other.data["package"], other.data["files_damaged"]) == ("web", 7)


def test_the_documentation_is_the_catalogue() -> None:
    assert (ROOT / "docs/events.md").read_text() == document(), "make it anew from gateway.webhooks.catalogue.document"


@pytest.mark.parametrize("kind", [one.name for one in CATALOGUE])
def test_every_declared_event_is_made_with_no_more_than_is_declared(kind: str) -> None:
    assert [one.kind for one in SAID[kind]] == [kind]
    event = SAID[kind][0]
    assert set(event.data) <= set(BY_NAME[kind].fields)
    assert bool(event.repository) or not BY_NAME[kind].of_repository
    document = Told(entry(), event).document("acme")
    data = document["data"]
    assert isinstance(data, dict)
    assert {name.partition(".")[0] for name in COMMON} <= set(data)


def test_one_upload_tells_of_its_version_and_its_tag_once() -> None:
    found = told(*PUBLISHED)
    assert [one.kind for one in found] == ["package.published", "package.tagged"]
    assert found[0].data["tags"] == ["latest"]
    assert found[0].data["files"] == [{"name": "thing-1.0.tgz", "size_bytes": 7, "sha256": "01" * 32}]


def test_a_bin_is_emptied_once_for_each_entry_and_what_comes_back_does_not_empty_it() -> None:
    [event] = SAID["repository.bin_emptied"]
    assert event.data == {"emptied": 2, "expired": True, "ids": ["bin_a", "bin_b"]}
    [event] = told(*(DropBinned(f"bin_{number}") for number in range(500)), action="bin.empty")
    assert (event.data["emptied"], event.data["expired"], len(event.data["ids"])) == (500, False, 100)  # type: ignore[arg-type]
    assert told(DropBinned("bin_a"), action="package.restore") == []


def test_layers_of_images_and_what_is_the_repositorys_own_are_no_publications() -> None:
    layer = PutFile("oci", "app", File("blobs/sha256:1", "", b"\1" * 32, 7))
    assert told(PutPackage("oci", Package("app")), layer) == []
    assert told(PutFile("deb", "its own", FILE)) == []


def test_f5_a_workspace_is_told_of_a_token_only_what_reaches_into_it() -> None:
    event = SAID["token.created"][0]
    assert event.data["scopes"] == ["acme/main"], "not that it reaches elsewhere"
    assert told(PutToken(Token("tok_b", "t", b"b" * 32, (THEIRS,))), workspace=SYSTEM) == []
    assert told(PutToken(Token("tok_b", "t", b"b" * 32, (Grant("*"),))), workspace=SYSTEM) == []
    assert told(PutToken(Token("tok_b", "t", b"b" * 32, (), owner="usr_a")), workspace=SYSTEM) == []
    assert told(PutWorkspace(Workspace("other")), workspace=SYSTEM) == []
    assert told(PutHost(Host("x.example", "acme2/main")), workspace=SYSTEM) == []
    assert told(*PUBLISHED, workspace="other") == []
    system = entry(PutToken(Token("tok_a", "t", b"t" * 32, (MINE,))), workspace=SYSTEM, repository="")
    data = Told(system, event).document("acme")["data"]
    assert isinstance(data, dict)
    assert (data["reason"], data["actor"]) == ("", {"id": "tok_x", "name": ""}), "words of SYSTEM stay with its owners"


def test_the_id_follows_from_webhook_entry_and_event() -> None:
    one, two = told(*PUBLISHED)
    first = Told(entry(), one).message_id("whk_a")
    assert first == Told(entry(action="other"), one).message_id("whk_a")
    others = {Told(entry(), two).message_id("whk_a"), Told(entry(), one).message_id("whk_b")}
    assert len({first, *others}) == 3
    assert "." not in first


def test_what_is_no_event_is_refused() -> None:
    for wanted, of_repository in ((("nothing.here",), False), (("member.added",), True), (("member.*",), True)):
        with pytest.raises(Invalid):
            kinds_of(wanted, of_repository=of_repository)
    assert len(kinds_of((), of_repository=False)) == len(CATALOGUE)
    assert {one.name for one in kinds_of(("package.*",), of_repository=True)} == {
        one.name for one in CATALOGUE if one.name.startswith("package.")
    }


def test_a_file_that_goes_alone_is_told_by_its_name() -> None:
    (event,) = told(DropFile("pypi", "thing", "thing-1.0.tar.gz"))
    assert (event.kind, event.data["files"]) == ("package.deleted", [{"name": "thing-1.0.tar.gz"}])
    (event,) = told(DropPackage("pypi", "thing"))
    assert (event.kind, event.data["version"]) == ("package.deleted", "")
