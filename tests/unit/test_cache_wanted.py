"""Does a replication policy want what it says, and nothing else?"""

from hypothesis import given
from hypothesis import strategies as st

from cache.replication.wanted import DAY_MS, Ties, chosen, passes_through, policy_of
from formats.oci import names
from formats.oci.manifest import Manifest, packed
from formats.oci.room import Oci
from storage.nouns import File, Package, PutFile, PutPackage, PutTag, PutVersion, Replication, Repository, Version
from tests.harness.views import MemoryView

NOW_MS = 1_000 * DAY_MS
SHA256 = bytes(32)
OCI = Ties(lambda _, facts: Oci().needs(facts), lambda _, *of: Oci().followers(*of))


def view_of(packages: dict[str, dict[str, int]], tags: dict[tuple[str, str], str] | None = None) -> MemoryView:
    """{package: {version: its age in days}}; each version has one file."""
    changes: list[PutPackage | PutVersion | PutFile | PutTag] = []
    for package, versions in packages.items():
        changes.append(PutPackage("generic", Package(package)))
        for version, days in versions.items():
            at_ms = NOW_MS - days * DAY_MS
            changes.append(PutVersion("generic", package, Version(version, at_ms)))
            changes.append(PutFile("generic", package, File(f"{version}.bin", version, SHA256, 10, at_ms=at_ms)))
    changes += [PutTag("generic", package, tag, version) for (package, tag), version in (tags or {}).items()]
    return MemoryView(*changes)


def wanted(policy: Replication, view: MemoryView) -> set[tuple[str, str]]:
    return {(package, file.version) for package, file in chosen(policy, "generic", view, NOW_MS)}


AGES = {"a": {"1": 30, "2": 20, "3": 1}, "acme-b": {"1": 2, "9": 40}}
ALL = {(package, version) for package, versions in AGES.items() for version in versions}


def test_eager_wants_everything_and_the_others_nothing() -> None:
    assert wanted(Replication("asia"), view_of(AGES)) == ALL
    for mode in ("metadata", "on-demand"):
        assert wanted(Replication("asia", mode), view_of(AGES)) == set()


def test_formats_and_packages_narrow() -> None:
    view = view_of(AGES)
    assert wanted(Replication("asia", formats=("pypi", "npm")), view) == set()
    assert wanted(Replication("asia", formats=("gen*",)), view) == ALL
    assert wanted(Replication("asia", packages=("acme-*",)), view) == {("acme-b", "1"), ("acme-b", "9")}
    assert wanted(Replication("asia", packages=("acme-*",), newest_max=1), view) == {("acme-b", "1")}


def test_a_version_meets_one_of_tag_age_and_rank() -> None:
    view = view_of(AGES, {("a", "stable"): "1", ("acme-b", "old"): "9"})
    assert wanted(Replication("asia", tags=("stab*",)), view) == {("a", "1")}
    assert wanted(Replication("asia", days_max=2), view) == {("a", "3"), ("acme-b", "1")}
    assert wanted(Replication("asia", newest_max=2), view) == ALL - {("a", "1")}
    assert wanted(Replication("asia", tags=("old",), newest_max=1), view) == {
        ("a", "3"),
        ("acme-b", "1"),
        ("acme-b", "9"),
    }


def test_where_there_are_no_versions_each_file_is_one() -> None:
    changes: list[PutPackage | PutFile] = []
    for name, days in (("a/old.bin", 50), ("a/new.bin", 1)):
        changes.append(PutPackage("generic", Package(name)))
        changes.append(PutFile("generic", name, File(name, "", SHA256, 10, at_ms=NOW_MS - days * DAY_MS)))
    found = chosen(Replication("asia", days_max=7), "generic", MemoryView(*changes), NOW_MS)
    assert [package for package, _ in found] == ["a/new.bin"]


def test_a_foreign_file_is_never_wanted() -> None:
    view = MemoryView(PutPackage("generic", Package("a")), PutFile("generic", "a", File("x", "1", b"", 10, source="u")))
    assert wanted(Replication("asia"), view) == set()


def test_a_tagged_image_is_wanted_with_its_layers_and_its_platforms() -> None:
    """O21: an index is nothing without its manifests, nor they without their layers."""
    blobs, children, index = ["sha256:l1", "sha256:l2", "sha256:stray"], ["sha256:m1", "sha256:m2"], "sha256:index"
    changes: list[PutPackage | PutVersion | PutFile | PutTag] = [PutPackage("oci", Package("app"))]
    changes += [PutFile("oci", "app", File(names.blob_file(one), "", SHA256, 5)) for one in blobs]
    facts = {child: Manifest("m", 1, blobs=(blob,)) for child, blob in zip(children, blobs, strict=False)}
    facts[index] = Manifest("i", 1, manifests=tuple(children))
    for digest, manifest in facts.items():
        changes.append(PutVersion("oci", "app", Version(digest, 1, packed(manifest))))
        changes.append(PutFile("oci", "app", File(names.manifest_file(digest), digest, SHA256, 5)))
    view = MemoryView(*changes, PutTag("oci", "app", "latest", index))
    policy = Replication("asia", tags=("latest",))
    found = {file.name for _, file in chosen(policy, "oci", view, NOW_MS, OCI)}
    assert found == {f"m/{one}" for one in facts} | {"b/sha256:l1", "b/sha256:l2"}


def signed(*tags: PutTag) -> MemoryView:
    """Two images, the older one with a referrer and what refers to that, and a signature of each under a tag."""
    changes: list[PutPackage | PutVersion | PutFile | PutTag] = [PutPackage("oci", Package("app"))]
    facts = {
        "sha256:old": Manifest("m", 1, blobs=("sha256:l1",)),
        "sha256:new": Manifest("m", 1, blobs=("sha256:l2",)),
        "sha256:bill": Manifest("m", 1, blobs=("sha256:s1",), subject="sha256:old"),
        "sha256:seal": Manifest("m", 1, blobs=("sha256:s2",), subject="sha256:bill"),
        "sha256:sig-old": Manifest("m", 1, blobs=("sha256:s3",)),
        "sha256:sig-new": Manifest("m", 1, blobs=("sha256:s4",)),
    }
    for at_ms, (digest, manifest) in enumerate(facts.items()):
        version = Version(digest, at_ms, packed(manifest))
        changes.append(PutVersion("oci", "app", version))
        changes.append(PutFile("oci", "app", File(names.manifest_file(digest), digest, SHA256, 5, at_ms=at_ms)))
        changes += [PutFile("oci", "app", File(names.blob_file(one), "", SHA256, 5)) for one in manifest.blobs]
        if manifest.subject:
            changes.append(PutVersion("oci", names.referrers_of("app", manifest.subject), version))
    changes += [PutTag("oci", "app", f"sha256-{one}.sig", f"sha256:sig-{one}") for one in ("old", "new")]
    return MemoryView(*changes, *tags)


OLD_WITH_ALL = {"m/sha256:old", "b/sha256:l1", "m/sha256:bill", "b/sha256:s1", "m/sha256:seal", "b/sha256:s2"}
OLD_WITH_ALL |= {"m/sha256:sig-old", "b/sha256:s3"}


def test_signatures_and_bills_of_materials_follow_their_image() -> None:
    view = signed(PutTag("oci", "app", "v1", "sha256:old"))
    found = {file.name for _, file in chosen(Replication("asia", tags=("v*",)), "oci", view, NOW_MS, OCI)}
    assert found == OLD_WITH_ALL, "and none of another image's"


def test_a_signature_is_not_the_newest_image() -> None:
    view = signed()
    newest = {file.name for _, file in chosen(Replication("asia", newest_max=1), "oci", view, NOW_MS, OCI)}
    assert newest == {"m/sha256:new", "b/sha256:l2", "m/sha256:sig-new", "b/sha256:s4"}
    both = {file.name for _, file in chosen(Replication("asia", newest_max=2), "oci", view, NOW_MS, OCI)}
    assert both == newest | OLD_WITH_ALL


NAMES = st.sampled_from(["a", "b", "acme-b", "acme-c"])
PACKAGES = st.dictionaries(NAMES, st.dictionaries(st.sampled_from("123456"), st.integers(0, 60), min_size=1))


@given(PACKAGES, st.integers(1, 7), st.integers(1, 70))
def test_more_of_a_query_never_wants_less(packages: dict[str, dict[str, int]], newest: int, days: int) -> None:
    view = view_of(packages)
    by_rank, by_age = Replication("asia", newest_max=newest), Replication("asia", days_max=days)
    both = Replication("asia", newest_max=newest, days_max=days)
    assert wanted(both, view) == wanted(by_rank, view) | wanted(by_age, view)
    assert wanted(by_rank, view) <= wanted(Replication("asia", newest_max=newest + 1), view)
    for package, versions in packages.items():
        got = sorted(versions[version] for name, version in wanted(by_rank, view) if name == package)
        assert got == sorted(versions.values())[:newest], "the youngest, and so many of them"


def test_a_policy_is_for_its_region_alone() -> None:
    repository = Repository("acme", "main", replications=(Replication("asia", "metadata"), Replication("europe")))
    assert policy_of(repository, "europe") == Replication("europe")
    assert policy_of(repository, "") is None
    assert policy_of(repository, "africa") is None
    assert passes_through(repository, "asia")
    assert not passes_through(repository, "europe")
