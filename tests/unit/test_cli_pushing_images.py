"""Is an image layout, or an archive of images, read as that of a stranger, and refused before anything is sent? (C2)"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.packages.extents import in_archive, in_folder
from gateway.cli.packages.images import planned
from gateway.cli.packages.layouts import is_layout, layout_at, name_and_tag
from gateway.cli.terminal.output import Usage
from gateway.cli.terminal.words import Place
from tests.harness import layouts
from tests.harness.listening import Listening
from tests.unit.test_cli_pushing import node, push

__all__ = ["node", "push"]
Entry = tuple[str, bytes | str]
HERE = Place("acme", "main")


def archive(path: Path, *entries: Entry) -> Path:
    """A tar of files, and of links where the contents are text."""
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def saved(path: Path, layers: list[bytes], diff_ids: list[str] | None = None, **changed: Any) -> Path:
    """What docker save writes: the second layer, if it equals the first, as a link to it."""
    ids = diff_ids or [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}}).encode()
    names = [f"l{number}/layer.tar" for number in range(len(layers))]
    entry = {"Config": "c.json", "RepoTags": ["registry.example:5000/team/app:1.2"], "Layers": names} | changed
    entries: list[Entry] = [("manifest.json", json.dumps([entry]).encode()), ("c.json", config)]
    for number, layer in enumerate(layers):
        link = number and layer == layers[0]
        entries.append((names[number], "../l0/layer.tar" if link else layer))
    return archive(path, *entries)


def test_an_archive_of_docker_becomes_an_image_of_what_lies_in_it(tmp_path: Path) -> None:
    layer = b"layer" * 1000
    path = saved(tmp_path / "a.tar", [layer, layer])
    assert is_layout(path)
    (one,), layout = planned(path, HERE, "", "", "")
    assert (one.address, one.tag) == ("/v2/acme/main/team/app", "1.2")
    document = json.loads(one.image.documents[0].raw)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert [each["digest"] for each in document["layers"]] == [digest, digest]
    extent = layout.find(digest)
    assert extent is not None
    assert extent.read(1 << 20) == layer
    assert layout_at(path, "").images[0].digest == one.image.digest, "the same each time"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("v1", ("", "v1")),
        ("app:v1", ("app", "v1")),
        ("docker.example/library/app:v1", ("library/app", "v1")),
        ("localhost/app", ("app", "")),
        ("host:5000/a/b@sha256:0", ("a/b", "")),
        ("Bad Name:v1", ("", "v1")),
        ("", ("", "")),
    ],
)
def test_a_reference_is_taken_apart(reference: str, expected: tuple[str, str]) -> None:
    assert name_and_tag(reference) == expected


Break = Callable[[Path], Path]


def _layer_gone(path: Path) -> Path:
    largest = max((path / "blobs" / "sha256").iterdir(), key=lambda one: one.stat().st_size)
    largest.unlink()
    return path


def _layer_changed(path: Path) -> Path:
    largest = max((path / "blobs" / "sha256").iterdir(), key=lambda one: one.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))
    return path


def _layer_grown(path: Path) -> Path:
    largest = max((path / "blobs" / "sha256").iterdir(), key=lambda one: one.stat().st_size)
    largest.write_bytes(largest.read_bytes() + b"more")
    return path


def _link_out(path: Path) -> Path:
    largest = max((path / "blobs" / "sha256").iterdir(), key=lambda one: one.stat().st_size)
    outside = path.parent / "outside"
    largest.rename(outside)
    largest.symlink_to(outside)
    return path


def _manifest_of(path: Path) -> Path:
    digest = json.loads((path / "index.json").read_text())["manifests"][0]["digest"]
    return path / "blobs" / str(digest).replace(":", "/")


def _manifest_gone(path: Path) -> Path:
    _manifest_of(path).unlink()
    return path


def _manifest_changed(path: Path) -> Path:
    _manifest_of(path).write_bytes(_manifest_of(path).read_bytes() + b" ")
    return path


def _manifest_huge(path: Path) -> Path:
    with _manifest_of(path).open("r+b") as file:
        file.truncate(5 << 20)
    return path


def _index(text: str) -> Break:
    def change(path: Path) -> Path:
        (path / "index.json").write_text(text)
        return path

    return change


BROKEN: dict[str, tuple[Break, str]] = {
    "a layer that is not there": (_layer_gone, "lacks the blob sha256:"),
    "a layer with other bytes": (_layer_changed, "other bytes under sha256:"),
    "a layer of another size": (_layer_grown, "its manifest says"),
    "a blob that is a link out of it": (_link_out, "leads out of the directory"),
    "a manifest that is not there": (_manifest_gone, "is not in"),
    "a manifest with other bytes": (_manifest_changed, "other bytes under sha256:"),
    "a manifest of 5 MiB": (_manifest_huge, "over 4194304"),
    "an index that is no JSON": (_index("{"), "no JSON"),
    "an index that is a path": (
        _index('{"schemaVersion":2,"manifests":[{"digest":"../../etc/passwd","size":1}]}'),
        "digest",
    ),
    "an index of nothing": (_index('{"schemaVersion":2,"manifests":[]}'), "holds no image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_layout_is_refused_before_anything_is_sent(
    push: Callable[..., int], node: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    folder = tmp_path / "layout"
    layouts.write(folder, "v1", {"a": bytes(range(256)) * 40})
    change, words = BROKEN[case]
    for blob in (folder / "blobs" / "sha256").iterdir():
        node.answers[f"/v2/acme/main/app/blobs/sha256:{blob.name}"] = (404, "application/json", b"")
    change(folder)
    assert push(str(folder), "acme/main/oci/app") == 2
    assert words in capsys.readouterr().err
    assert {one.method for one in node.sent} <= {"HEAD"}


def test_a_hostile_archive_is_refused(tmp_path: Path) -> None:
    """Compressed, with a name twice, cut short, with a header of gigabytes, with a device."""
    good = saved(tmp_path / "good.tar", [b"x" * 5000])
    for name, content in (
        ("packed.tar", b"\x1f\x8b" + bytes(100)),
        ("short.tar", good.read_bytes()[:2000]),
        ("nothing.tar", b"no tar"),
    ):
        (tmp_path / name).write_bytes(content)
    archive(tmp_path / "twice.tar", ("a", b"1"), ("./a", b"2"))
    with tarfile.open(tmp_path / "device.tar", "w") as tar:
        device = tarfile.TarInfo("d")
        device.type = tarfile.FIFOTYPE
        tar.addfile(device)
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "header.tar").write_bytes(header.tobuf() + bytes(1024))
    for name in ("packed", "short", "nothing", "twice", "device", "header"):
        with pytest.raises(Usage):
            in_archive(tmp_path / f"{name}.tar")
        assert not is_layout(tmp_path / f"{name}.tar")


def test_links_of_an_archive_mean_its_own_entries_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    find = in_archive(archive(tmp_path / "a.tar", ("x/a", "../../outside"), ("x/b", "a"), ("c", "/etc/hosts")))
    assert [find(name) for name in ("x/a", "x/b", "c")] == [None, None, None]
    with pytest.raises(Usage):
        in_folder(tmp_path / "none")("../outside")


def test_a_config_that_tells_of_other_layers_is_refused(tmp_path: Path) -> None:
    for path in (
        saved(tmp_path / "a.tar", [b"x"], ["sha256:" + "0" * 64, "sha256:" + "1" * 64]),
        saved(tmp_path / "b.tar", [b"x"], ["../../x"]),
        saved(tmp_path / "c.tar", [b"x"], Config="../../etc/passwd"),
        saved(tmp_path / "d.tar", [b"\x28\xb5\x2f\xfd"]),
    ):
        with pytest.raises(Usage):
            layout_at(path, "")


def test_which_images_go_and_under_which_tag(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    first = layouts.write(folder, "v1", {"a": b"1"})
    listed = json.loads((folder / "index.json").read_text())["manifests"]
    second = layouts.write(folder, "v2", {"a": b"2"})
    listed += json.loads((folder / "index.json").read_text())["manifests"]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": listed}))
    both, _ = planned(folder, HERE, "app", "", "")
    assert [(one.image.digest, one.tag) for one in both] == [(first, "v1"), (second, "v2")]
    (one,), _ = planned(folder, HERE, "app:v2", "", "linux/amd64")
    assert (one.image.digest, one.tag) == (second, "v2")
    for named, tag, platform in (
        ("app", "v3", ""),
        ("app:v1", "v2", ""),
        ("App", "", ""),
        ("app", "bad tag", ""),
        ("", "", ""),
        ("app", "", "linux/arm64"),
    ):
        with pytest.raises(Usage):
            planned(folder, HERE, named, tag, platform)


def test_a_dry_run_asks_the_node_nothing_and_claims_nothing_of_it(
    push: Callable[..., int], node: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = layouts.write(tmp_path / "layout", "v1", {"a": b"1"})
    assert push(str(tmp_path / "layout"), "acme/main/oci/app", "--dry-run", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["items"]
    assert (one["digest"], one["tag"], one["blobs"]) == (digest, "v1", 2)
    assert "blobs_sent" not in one
    assert node.sent == []
