"""Does `entrepot push` send what twine, npm and curl would send?"""

import base64
import email.message
import email.parser
import email.policy
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import run
from tests.harness.listening import Listening

METADATA = b"""Metadata-Version: 2.4
Name: Acme.Demo
Version: 1.0
Summary: A thing
Requires-Python: >=3.9
Classifier: A :: B
Classifier: C :: D
Requires-Dist: other>=1

The description.
"""
Push = Callable[..., int]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "node") as listening:
        yield listening


@pytest.fixture
def push(node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Push:
    for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ENTREPOT_URL", node.url)
    monkeypatch.setenv("ENTREPOT_TOKEN", node.console.tokens["writer"])
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run(["push", *arguments])


def wheel(folder: Path) -> Path:
    path = folder / "acme_demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("acme_demo/__init__.py", "")
        archive.writestr("acme_demo-1.0.dist-info/METADATA", METADATA)
    return path


def tar(path: Path, name: str, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def form(headers: dict[str, str], body: bytes) -> dict[str, list[Any]]:
    """A multipart body, parsed by the standard library."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, list[Any]] = {}
    for part in message.iter_parts():
        assert isinstance(part, email.message.EmailMessage)
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.setdefault(str(name), []).append((part.get_filename(), content) if part.get_filename() else content)
    return found


def test_what_names_others_is_sent_behind_them_whatever_the_format(node: Listening, push: Push, tmp_path: Path) -> None:
    for name in ("x.changes", "y.txt"):
        (tmp_path / name).write_text(name)
    assert push("x.changes", "y.txt", "acme/main/generic/d/") == 0
    assert [one.path.rpartition("/")[2] for one in node.sent] == ["y.txt", "x.changes"]


def test_a_wheel_goes_as_twine_sends_it(push: Push, node: Listening, tmp_path: Path) -> None:
    path = wheel(tmp_path)
    assert push(str(path), "--to", "acme/main") == 0
    (sent,) = node.sent
    assert (sent.method, sent.path) == ("POST", "/acme/main/pypi/legacy/")
    assert sent.headers["Authorization"] == f"Bearer {node.console.tokens['writer']}"
    fields = form(sent.headers, sent.body)
    assert fields.pop("content") == [(path.name, path.read_bytes())]
    assert fields == {
        ":action": [b"file_upload"],
        "protocol_version": [b"1"],
        "metadata_version": [b"2.4"],
        "filetype": [b"bdist_wheel"],
        "pyversion": [b"py3"],
        "summary": [b"A thing"],
        "requires_python": [b">=3.9"],
        "classifiers": [b"A :: B", b"C :: D"],
        "requires_dist": [b"other>=1"],
        "name": [b"Acme.Demo"],
        "version": [b"1.0"],
        "sha256_digest": [hashlib.sha256(path.read_bytes()).hexdigest().encode()],
    }


def test_a_source_distribution_goes_the_same_way(push: Push, node: Listening, tmp_path: Path) -> None:
    path = tar(tmp_path / "acme_demo-1.0.tar.gz", "acme_demo-1.0/PKG-INFO", METADATA)
    assert push(str(path), "acme/main/pypi") == 0
    fields = form(node.sent[0].headers, node.sent[0].body)
    assert (fields["filetype"], fields["pyversion"], fields["name"]) == ([b"sdist"], [b"source"], [b"Acme.Demo"])


def test_a_tarball_goes_as_npm_sends_it(push: Push, node: Listening, tmp_path: Path) -> None:
    manifest = {"name": "@acme/demo", "version": "1.0.0", "main": "index.js"}
    path = tar(tmp_path / "acme-demo-1.0.0.tgz", "package/package.json", json.dumps(manifest).encode())
    assert push(str(path), "--to", "acme/main", "--tag", "next") == 0
    (sent,) = node.sent
    assert (sent.method, sent.path) == ("PUT", "/acme/main/npm/@acme%2Fdemo")
    assert sent.headers["Content-Type"] == "application/json"
    document = json.loads(sent.body)
    data = path.read_bytes()
    version = document["versions"]["1.0.0"]
    assert document["dist-tags"] == {"next": "1.0.0"}
    assert version["main"] == "index.js"
    assert version["dist"] == {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode(),
        "shasum": hashlib.sha1(data).hexdigest(),
        "tarball": f"{node.url}/acme/main/npm/@acme/demo/-/demo-1.0.0.tgz",
    }
    attached = document["_attachments"]["@acme/demo-1.0.0.tgz"]
    assert base64.b64decode(attached["data"]) == data
    assert attached["length"] == len(data)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("--to", "acme/main", "--format", "generic"), "generic/a%20file.bin"),
        (("--to", "acme/main", "--format", "generic", "--path", "x/y.bin"), "generic/x/y.bin"),
        (("--to", "acme/main", "--format", "generic", "--path", "x/"), "generic/x/a%20file.bin"),
        (("acme/main/generic",), "generic/a%20file.bin"),
        (("acme/main/generic/x/",), "generic/x/a%20file.bin"),
        (("acme/main/generic/x/\u00e9?.bin",), "generic/x/%C3%A9%3F.bin"),
    ],
)
def test_a_file_goes_where_it_is_said(
    push: Push, node: Listening, tmp_path: Path, arguments: tuple[str, ...], path: str
) -> None:
    file = tmp_path / "a file.bin"
    file.write_bytes(os.urandom(3 << 20))
    assert push(str(file), *arguments) == 0
    (sent,) = node.sent
    assert (sent.method, sent.path, sent.body) == ("PUT", f"/acme/main/{path}", file.read_bytes())
    assert sent.headers["Content-Length"] == str(3 << 20)


def test_what_is_in_the_way_is_told_in_words_of_the_command_line(
    push: Push, node: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    said = b'There is a file with other bytes at a.bin. Delete it first, or send If-Match: "00" to replace it.'
    node.answers["/acme/main/generic/a.bin"] = (409, "text/plain", said)
    assert push("a.bin", "acme/main/generic") == 1
    told = capsys.readouterr().err
    assert "There is a file with other bytes at /acme/main/generic/a.bin." in told
    assert "--replace" in told
    assert "If-Match" not in told
    node.answers["/acme/main/generic/a.bin"] = (409, "text/plain", b"a.bin is a directory of other files.")
    assert push("a.bin", "acme/main/generic") == 1
    assert "a.bin is a directory of other files." in capsys.readouterr().err


def test_what_a_format_never_replaces_is_not_sent(
    push: Push, node: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(str(wheel(tmp_path)), "acme/main", "--replace") == 2
    assert "pypi keeps what is published" in capsys.readouterr().err
    assert node.sent == []


def test_several_files_and_an_empty_one(
    push: Push, node: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"b")
    assert push("a", "b", "acme/main/generic/x/", "--json") == 0
    assert sorted(sent.path for sent in node.sent) == ["/acme/main/generic/x/a", "/acme/main/generic/x/b"]
    told = json.loads(capsys.readouterr().out)["items"]
    assert [(one["file"], one["format"], one["size_bytes"]) for one in told] == [
        ("a", "generic", 0),
        ("b", "generic", 1),
    ]


@pytest.mark.parametrize(
    ("status", "media", "answer", "code", "words"),
    [
        (409, "text/plain", b"This version is here with other bytes.", 1, "other bytes"),
        (403, "application/json", b'{"error": "no write right"}', 4, "no write right"),
        (
            404,
            "application/problem+json",
            b'{"detail": "no such repository", "remedy": "look"}',
            3,
            "no such repository",
        ),
        (507, "text/plain", b"", 1, "507"),
        (503, "text/html", b"<html>proxy</html>", 5, "503"),
    ],
)
def test_a_refusal_in_the_tools_own_dialect_is_told(
    push: Push,
    node: Listening,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    media: str,
    answer: bytes,
    code: int,
    words: str,
) -> None:
    node.answers["/acme/main/generic/a"] = (status, media, answer)
    (tmp_path / "a").write_bytes(b"a")
    assert push("a", "acme/main/generic") == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a",),
        ("--to", "acme/main"),
        ("a", "acme"),
        ("a", "--to", "acme"),
        ("a", "--to", "acme/main"),
        ("none", "--to", "acme/main", "--format", "generic"),
        ("folder", "--to", "acme/main", "--format", "generic"),
        ("a", "b.whl", "acme/main/generic/x"),
        ("a", "acme/main/cargo"),
        ("a", "acme/main/pypi"),
        ("a", "acme/main/npm"),
        ("b.whl", "--to", "acme/main"),
        ("demo-1.0-py3-none-any.whl", "--to", "acme/main"),
        ("demo-1.0.tar.gz", "acme/main/pypi"),
        ("empty.tgz", "--to", "acme/main"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(
    push: Push, node: Listening, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a", "b.whl", "demo-1.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"not an archive")
    tar(tmp_path / "demo-1.0.tar.gz", "demo-1.0/README", b"")
    tar(tmp_path / "empty.tgz", "package/package.json", b"[]")
    assert push(*arguments) == 2
    assert node.sent == []
