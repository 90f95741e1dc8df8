"""Does a path mean one thing on each host, and is that the same thing under every spelling of the host? THREATS B4."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.messages.heads import Head
from gateway.front.routes import Place, ask_of, full_home, host_name, place_of
from storage.nouns import Host

NAMES = st.sampled_from(["acme", "main", "v2", "pypi", "oci", "t", "-"])
PLACES = st.tuples(
    st.sampled_from(["acme", "b"]), st.sampled_from(["main", "x"]), st.sampled_from(["pypi", "npm", "generic", "oci"])
)
HOSTS = {
    "": None,
    "ws": Host("w.example", "acme"),
    "repo": Host("r.example", "acme/main"),
    "region": Host("eu.example", "", "eu"),
}


def found(path: str, host: Host | None) -> Place | None:
    return place_of(Head("GET", path, host="r.example"), host)


def test_a_host_drops_what_it_implies() -> None:
    for host, path, oci in (
        (HOSTS[""], "/acme/main/pypi/simple/x/", "/v2/acme/main/app/manifests/1"),
        (HOSTS["region"], "/acme/main/pypi/simple/x/", "/v2/acme/main/app/manifests/1"),
        (HOSTS["ws"], "/main/pypi/simple/x/", "/v2/main/app/manifests/1"),
        (HOSTS["repo"], "/pypi/simple/x/", "/v2/app/manifests/1"),
    ):
        place = found(path, host)
        assert place is not None
        assert (place.workspace, place.repository, place.format) == ("acme", "main", "pypi")
        assert (place.segments, place.raw_path) == (("simple", "x", ""), "simple/x/")
        assert place.home == path.removesuffix("/simple/x/")
        secret = found("/t/ent_x" + path, host)
        assert secret is not None
        assert (secret.secret, secret.segments, secret.home) == ("ent_x", place.segments, place.home)
        image = found(oci, host)
        assert image is not None
        assert (image.workspace, image.repository, image.format) == ("acme", "main", "oci")
        assert (image.segments, image.home) == (("app", "manifests", "1"), oci.removesuffix("/app/manifests/1"))
    other = found("/acme/main/pypi/simple/", HOSTS["ws"])
    assert other is not None
    assert (other.repository, other.format) == ("acme", "main"), "the full path means something else there"


@given(st.lists(NAMES, min_size=1, max_size=6), st.sampled_from(sorted(HOSTS)))
def test_b4_two_paths_on_a_host_never_name_one_thing(names: list[str], which: str) -> None:
    """What a place is turns back into exactly the path that named it."""
    place = found("/" + "/".join(names), HOSTS[which])
    if place is not None:
        secret = f"/t/{place.secret}" if place.secret else ""
        assert f"{secret}{place.home}/{place.raw_path}".rstrip("/") == "/" + "/".join(names)


@given(PLACES, st.sampled_from(["", "ws", "repo"]))
def test_nodes_ask_each_other_by_the_whole_path(at: tuple[str, str, str], which: str) -> None:
    host = HOSTS[which]
    home = full_home(*at)
    whole = found(f"{home}/a/b/c", None)
    assert whole is not None
    assert (whole.workspace, whole.repository, whole.format) == at
    if host is not None and home.removeprefix("/v2").startswith(f"/{host.scope}/"):
        short = home.replace(f"/{host.scope}", "", 1)
        place = found(f"{short}/a/b/c", host)
        assert place is not None
        assert (place.workspace, place.repository, place.format, place.segments) == (*at, whole.segments)
        head = Head("GET", f"{short}/a/b/c", host="r.example:8080")
        assert ask_of(head, place, "", 0).base == f"http://r.example:8080{short}"


def test_b4_the_spelling_of_a_host_makes_no_difference() -> None:
    for text in ("Pkgs.Example", "pkgs.example:443", "pkgs.example.", "PKGS.EXAMPLE.:8080"):
        assert host_name(text) == "pkgs.example"
    assert host_name("[::1]:80") == "[::1]"
