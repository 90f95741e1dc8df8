"""Which packages do lock files of real tools name?"""

import json

import pytest

from gateway.cli.packages.locks import Locked, locked_in
from gateway.cli.terminal.output import Usage

A, B = "a" * 64, "b" * 64


def test_requirements_with_hashes() -> None:
    lines = (
        f"# made\nidna==3.7 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}",
        f"uvicorn[standard]==0.30.1 ; python_version > '3.8' --hash=sha256:{A}",
        "-e .\nloose>=1\n",
    )
    text = "\n".join(lines)
    assert locked_in("requirements.txt", text) == [
        Locked("pypi", "idna", "3.7", frozenset((A, B))),
        Locked("pypi", "uvicorn", "0.30.1", frozenset((A,))),
    ]


def test_a_lock_of_uv() -> None:
    text = f"""version = 1
[[package]]
name = "idna"
version = "3.7"
sdist = {{ url = "https://files.example/idna.tar.gz", hash = "sha256:{A}" }}
wheels = [{{ url = "https://files.example/idna.whl", hash = "sha256:{B}" }}]
[[package]]
name = "mine"
version = "0.1"
source = {{ virtual = "." }}
"""
    assert locked_in("uv.lock", text) == [Locked("pypi", "idna", "3.7", frozenset((A, B)))]


def test_a_lock_of_npm() -> None:
    packages = {
        "": {"name": "mine", "version": "1.0.0"},
        "node_modules/ms": {"version": "2.1.3", "resolved": "https://r.example/ms/-/ms-2.1.3.tgz"},
        "node_modules/a/node_modules/@scope/b": {"version": "1.0.0", "resolved": "https://r.example/b.tgz"},
        "node_modules/again": {"name": "ms", "version": "2.1.3", "resolved": "https://r.example/ms/-/ms-2.1.3.tgz"},
        "node_modules/link": {"resolved": "packages/link", "link": True},
    }
    assert locked_in("package-lock.json", json.dumps({"lockfileVersion": 3, "packages": packages})) == [
        Locked("npm", "ms", "2.1.3"),
        Locked("npm", "@scope/b", "1.0.0"),
    ]


def test_locks_of_poetry_and_of_pep_751() -> None:
    poetry = f"""[[package]]
name = "idna"
version = "3.7"
files = [
    {{file = "idna-3.7-py3-none-any.whl", hash = "sha256:{A}"}},
    {{file = "idna-3.7.tar.gz", hash = "sha256:{B}"}},
]
"""
    common = f"""lock-version = "1.0"
[[packages]]
name = "idna"
version = "3.7"
sdist = {{ url = "https://files.example/idna.tar.gz", hashes = {{ sha256 = "{A}" }} }}
[[packages.wheels]]
url = "https://files.example/idna.whl"
hashes = {{ sha256 = "{B}" }}
[[packages]]
name = "mine"
directory = {{ path = "." }}
"""
    wanted = [Locked("pypi", "idna", "3.7", frozenset((A, B)))]
    assert locked_in("poetry.lock", poetry) == wanted
    assert locked_in("pylock.toml", common) == wanted


NPM = [Locked("npm", "ms", "2.1.3"), Locked("npm", "@scope/b", "1.0.0-rc.1")]


def test_locks_of_yarn_old_and_new() -> None:
    old = """# yarn lockfile v1


ms@^2.0.0, ms@^2.1.1:
  version "2.1.3"
  resolved "https://r.example/ms/-/ms-2.1.3.tgz#c1"
  dependencies:
    version "^9"

"@scope/b@~1.0.0":
  version "1.0.0-rc.1"
"""
    new = """__metadata:
  version: 8

"ms@npm:^2.0.0, ms@npm:^2.1.1":
  version: 2.1.3
  resolution: "ms@npm:2.1.3"

"@scope/b@npm:~1.0.0":
  version: 1.0.0-rc.1

"mine@workspace:.":
  version: 0.0.0-use.local
"""
    assert locked_in("yarn.lock", old) == NPM
    assert locked_in("yarn.lock", new) == NPM


def test_a_lock_of_pnpm() -> None:
    text = """lockfileVersion: '9.0'

importers:
  .:
    dependencies:
      ms:
        specifier: ^2.0.0
        version: 2.1.3

packages:

  ms@2.1.3:
    resolution: {integrity: sha512-x}
    engines: {node: '>=4'}

  '@scope/b@1.0.0-rc.1':
    resolution: {integrity: sha512-y}

snapshots:

  other@1.0.0: {}
"""
    assert locked_in("pnpm-lock.yaml", text) == NPM


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", ""),
        ("requirements.txt", "idna>=3\n"),
        ("uv.lock", "= ="),
        ("uv.lock", "package = [1]"),
        ("package-lock.json", "[]"),
        ("package-lock.json", "{"),
        ("package-lock.json", "[" * 100_000),
    ],
)
def test_what_is_no_lock_file_is_told_so(name: str, text: str) -> None:
    with pytest.raises(Usage):
        locked_in(name, text)
