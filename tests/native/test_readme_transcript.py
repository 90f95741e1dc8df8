"""Is what the README shows what happens, command by command and line by line?

Only addresses, places and the texts of tokens are put in; `...` in the README stands for anything. Everything runs as a
user runs it: the console script, a shell, a fresh `entrepot up` on free ports.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.harness.clients import program, python_upstream
from tests.harness.running import ENTREPOT, Up, clean_environment, get
from tests.native.test_python_clients import wheel
from tests.native.test_upstreams import reachable

pytestmark = pytest.mark.native

README = Path(__file__).resolve().parents[2] / "README.md"
MARK = "@@ended"
INSIDE = "is not on the public Internet"


def blocks(section: str) -> list[list[tuple[str, str]]]:
    """The console blocks of a section, each a list of (command, what it shows). "" is what stands before the first."""
    text = README.read_text()
    parts = {"": text.partition("\n## ")[0]} | dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", parts[section], re.M | re.S):
        pieces = re.split(r"^\$ (.*)\n", block, flags=re.M)[1:]
        found.append(list(zip(pieces[::2], pieces[1::2], strict=True)))
    return found


class Shell:
    """One shell of a user, in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        bin_folder = Path(sys.executable).parent
        environment = clean_environment() | environment | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
        self._bash = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=environment,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """What it says on both outputs."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\necho {MARK}\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        while (line := self._bash.stdout.readline()) and not line.endswith(f"{MARK}\n"):
            lines.append(line)
        assert line, f"the shell ended: {command}\n{''.join(lines)}"
        return "".join(lines) + line.removesuffix(f"{MARK}\n")

    def close(self) -> None:
        self._bash.communicate("exit\n", timeout=30)


def check(command: str, shown: str, said: str) -> None:
    if shown:
        pattern = re.escape(shown.strip()).replace(re.escape("..."), r"[\s\S]*?")
        assert re.fullmatch(pattern, said.strip()), f"$ {command}\n{said}\ninstead of\n{shown}"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path / "data") as node:
        yield node


@pytest.fixture
def shell(fresh: Up, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "home").mkdir()
    # curl draws its progress where no terminal shows the output alone
    (tmp_path / "home" / ".curlrc").write_text("silent\nshow-error\n")
    environment = {
        "HOME": str(tmp_path / "home"),
        "PIP_TARGET": str(tmp_path / "installed"),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COLUMNS": "500",
    }
    one = Shell(tmp_path, environment)
    yield one
    one.close()


def test_the_first_five_minutes(fresh: Up, shell: Shell, tmp_path: Path) -> None:
    program("curl")
    said = ""
    places = {"127.0.0.1:8081": fresh.edge.partition("//")[2], "ent_...": fresh.token}
    commands = [pair for block in blocks("The first five minutes") for pair in block]
    assert len(commands) >= 9
    for command, shown in commands:
        for old, new in places.items():
            command = command.replace(old, new)
            shown = shown.replace(old, new) if old != "ent_..." else shown
        if "$INDEX" in command:
            shell.run(f"export INDEX={reachable(python_upstream())}")
        if command.endswith(" ID"):
            command = command.removesuffix("ID") + json.loads(said)["id"]
        said = shell.run(command)
        if INSIDE in said and INSIDE not in shown:  # this machine's index is a mirror: do what the README says then
            said = shell.run(f"{command} --private-network")
        check(command, shown, said)
    assert (tmp_path / "installed" / "idna").is_dir()
    # the two lines at the very top, with a package of one's own
    (tmp_path / "dist").mkdir()
    wheel(tmp_path / "dist", "acme-demo", "1.0")
    for command, shown in blocks("")[0]:
        check(command, shown, shell.run(command.replace("127.0.0.1:8081", places["127.0.0.1:8081"])))
    assert (tmp_path / "installed" / "acme_demo.py").is_file()


def test_run_a_company_on_it(fresh: Up, shell: Shell) -> None:
    """From nothing to a customer's download that is refused by its limit."""
    program("curl")
    edge = fresh.edge.partition("//")[2]
    commands = [pair for block in blocks("Run a company on it") for pair in block]
    assert len(commands) >= 20
    for command, shown in commands:
        command = command.replace("127.0.0.1:8081", edge).replace("ent_...", fresh.token)
        check(command, shown, shell.run(command))
    assert any("used up" in shown for _, shown in commands)


def test_what_was_stored_is_there_after_a_stop_and_another_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Up(data) as node:
        url = f"/{node.public}/generic/a.txt"
        assert get(node.edge + url, {"Authorization": f"Bearer {node.token}"}, "PUT", b"kept").status == 201
        first = node.token
        assert node.stop() == 0
    for command in (["fsck", "--deep"], ["rebuild-index"], ["fsck", "--deep"]):
        done = subprocess.run([*ENTREPOT, *command, "--data", str(data), "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        json.loads(done.stdout)
    with Up(data) as node:
        assert get(node.edge + url).body == get(node.origin + url).body == b"kept"
        assert get(f"{node.edge}/-/api/v1/whoami", {"Authorization": f"Bearer {node.token}"}).status == 200
        assert get(f"{node.edge}/-/api/v1/whoami", {"Authorization": f"Bearer {first}"}).status == 401
        assert node.stop() == 0


def until_healthy(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if get(f"{url}/-/ready").status == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_an_origin_a_shield_and_an_edge_as_on_machines_of_their_own(tmp_path: Path) -> None:
    (start_origin,), (export, make, *invite), (start_gate,), (start_edge,) = blocks(
        "One origin, edges on several machines"
    )
    places = {name: (f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}") for name in ("origin", "gate", "edge")}
    (tmp_path / "home").mkdir()
    origin, edge = places["origin"][0], places["edge"][0]
    shell = Shell(tmp_path, {"HOME": str(tmp_path / "home"), "ENTREPOT_URL": f"http://{origin}", "COLUMNS": "500"})

    def started(command: str, name: str, code: str = "") -> Path:
        log = tmp_path / f"{name}.log"
        command = command.replace("/var/lib/entrepot", f"{tmp_path}/{name}").replace("0.0.0.0", "127.0.0.1")
        for option, place in zip(("--port", "--peer-port"), places[name], strict=True):
            command = re.sub(rf"{option} \d+", f"{option} {place.partition(':')[2]}", command)
        for parent in ("origin", "gate"):
            command = command.replace(f"{parent}.example:8443", places[parent][1])
        shell.run(f"{command.replace('enr_...', code)} >{log} 2>&1 & {name}=$!")
        until_healthy(f"http://{places[name][0]}", log)
        return log

    try:
        log = started(start_origin[0], "origin")
        (token,) = re.findall(r"ent_[A-Za-z0-9]{38}", log.read_text())
        shell.run(export[0].replace("ent_...", token))
        codes = []
        for command, shown in (make, *invite):
            said = shell.run(command)
            check(command, shown, said)
            codes += [json.loads(said)["code"]] if "invite" in command else []
        started(start_gate[0], "gate", codes[0])
        started(start_edge[0], "edge", codes[1])
        assert " is made" in shell.run("entrepot repo create acme/open --public")
        assert "PUT" not in shell.run("echo hi >hi.txt; entrepot push hi.txt acme/open/generic/ --url http://" + edge)
        assert get(f"http://{edge}/acme/open/generic/hi.txt").body == b"hi\n"
    finally:
        ended = shell.run("kill $edge $gate $origin; wait $edge; echo $?; wait $gate; echo $?; wait $origin; echo $?")
        shell.close()
    assert "0\n0\n0\n" in ended
