"""Which requests were there? A look at the client log of all nodes, and all of it into a file."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from cyclopts import App, Parameter

from gateway.cli.history.usage import called, path_of, since_of
from gateway.cli.terminal.client import API, Client, reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, instant, seconds
from gateway.console.calls.clock import now_ms

app = App(name="logs")
NEXT, ROWS, UNTIL = "entrepot-next", "entrepot-rows", "entrepot-counted-until"


@app.default
def logs(
    workspace: AtWorkspace = "",
    /,
    *,
    repository: str = "",
    package: str = "",
    principal: str = "",
    country: str = "",
    client: str = "",
    status: str = "",
    since: str = "24h",
    until: str = "",
    edges: Annotated[bool, Parameter(negative="")] = False,
    limit: int = 100,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show requests, the latest first; they are there a minute or two after they were answered.

    Parameters
    ----------
    workspace
        One workspace; without it all, for admins of the node.
    repository
        Of this repository alone.
    package
        Of this package alone.
    principal
        Of this one: a NAME, user:NAME, service:NAME (all tokens that it has now), the id of a token, or edge:NAME.
    country
        From this country alone: two letters.
    client
        By this program alone: pip, npm.
    status
        With this status.
    since
        Not older than this: 30m, 12h.
    until
        Older than this.
    edges
        Also what edges fetched for their clients: the principal is edge:NAME then. Counts never have it.
    limit
        At most so many.
    """
    told = {"repository": repository, "package": package, "principal": principal, "status": status}
    told |= {"country": country.upper(), "client": client, "edges": "true" if edges else ""}
    told |= {"until_ms": str(now_ms() - seconds(until) * 1000) if until else ""}
    with reach(url, profile) as node:
        found: Any = node.get(path_of(workspace, "logs"), **told, **since_of(since), limit=str(limit))
    columns = (
        *("time", "node", "peer", "country", "method", "status", "bytes", "outcome", "principal"),
        *("repository", "format", "package", "version", "file", "client"),
    )
    rows = [(instant(one["time_ms"]), *(_cell(one, name) for name in columns[1:])) for one in found["items"]]
    Output(json).rows(found, columns, rows)


def _cell(line: Any, column: str) -> Any:
    """A gap in the log says how large it is where others say how they ended."""
    if column != "outcome" or line["outcome"] != "LOST":
        return called(line, column)
    lost = "?" if line["lost"] is None else line["lost"]
    return f"LOST {lost} since {instant(line['lost_since_ms'])}"


@app.command
def export(
    workspace: AtWorkspace = "",
    /,
    *,
    to: Annotated[str, Parameter(help="A file, or a folder for Parquet; - is stdout.")] = "-",
    form: Annotated[Literal["ndjson", "parquet"], Parameter(name="--format")] = "ndjson",
    after: str = "",
    repository: str = "",
    package: str = "",
    principal: str = "",
    country: str = "",
    client: str = "",
    status: str = "",
    since: str = "30d",
    until: str = "",
    edges: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Write all requests, the oldest first. What broke off goes on with --after CURSOR, or by itself where it writes to
    a file or folder that it began.

    Parameters
    ----------
    workspace
        One workspace; without it all, for admins of the node.
    form
        Lines of JSON, or Parquet: then a folder of files.
    after
        Where an export broke off.
    repository
        Of this repository alone.
    package
        Of this package alone.
    principal
        Of this one: a NAME, user:NAME, service:NAME (all tokens that it has now), the id of a token, or edge:NAME.
    country
        From this country alone: two letters.
    client
        By this program alone: pip, npm.
    status
        With this status.
    since
        Not older than this: 12h, 7d.
    until
        Older than this.
    edges
        Also what edges fetched for their clients: the principal is edge:NAME then.
    """
    target = _Target(to, form)
    told = {"repository": repository, "package": package, "principal": principal, "country": country}
    told |= {"edges": "true" if edges else ""}
    told |= {"client": client, "status": status, "until_ms": str(now_ms() - seconds(until) * 1000) if until else ""}
    begun = target.begun()
    told |= {"since_ms": str(now_ms() - seconds(since) * 1000), "after": after} if after or not begun else begun
    if not told["until_ms"]:
        told["until_ms"] = str(now_ms())
    asked = {name: value for name, value in told.items() if value}
    with reach(url, profile) as node, target:
        rows, sure_ms = _pour(node, path_of(workspace, f"logs/{form}"), asked, target)
    target.forget()
    out = Output(json)
    if to != "-":
        out.fact({"rows": rows, "counted_until_ms": sure_ms}, count_of(rows, "row"))
    out.note(f"Up to {instant(sure_ms)} the requests at all nodes are in it." if sure_ms else
             "Some node has not told yet how far its requests are in it.")  # fmt: skip


def _pour(node: Client, path: str, asked: dict[str, str], target: "_Target") -> tuple[int, int]:
    """Piece after piece: the number of rows, and up to when (ms) all that there was is in them."""
    rows = 0
    while True:
        piece = node.send("GET", API + path, params=asked)
        rows += int(piece.headers.get(ROWS, "0"))
        cursor = piece.headers.get(NEXT, "")
        target.write(piece.content, asked | {"after": cursor})
        if not cursor:
            return rows, int(piece.headers.get(UNTIL, "0"))
        asked["after"] = cursor


class _Target:
    """Where an export goes: stdout, a file of lines, or a folder of Parquet files. Beside it, while it is under way,
    stands how far it came: `.cursor`, written after what it speaks of is on the disk."""

    def __init__(self, to: str, form: str) -> None:
        self._form = form
        self._path = None if to == "-" else Path(to)
        if form == "parquet" and self._path is None:
            raise Usage("Parquet is written into a folder.", "Add --to FOLDER.")
        self._state = None if self._path is None else self._path.with_name(f"{self._path.name}.cursor")
        self._file: BinaryIO | None = None
        self._number = 0

    def begun(self) -> dict[str, str]:
        """The arguments with which to go on; {} where nothing was begun. What was written behind them is cut off."""
        if self._state is None or self._path is None or not self._state.exists():
            return {}
        size, *pairs = self._state.read_text().splitlines()
        self._number = int(size)
        return dict(pair.split("=", 1) for pair in pairs)

    def __enter__(self) -> "_Target":
        if self._path is None:
            self._file = sys.stdout.buffer
        elif self._form == "parquet":
            _writable(lambda path: path.mkdir(parents=True, exist_ok=True), self._path)
        else:
            _writable(lambda path: path.open("ab").close(), self._path)
            self._file = self._path.open("r+b" if self._number and self._path.exists() else "wb")
            self._file.truncate(self._number)
            self._file.seek(self._number)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.flush()
            if self._path is not None:
                self._file.close()

    def write(self, data: bytes, asked: dict[str, str]) -> None:
        """One piece; `asked` is what to ask next."""
        if self._file is not None:
            self._file.write(data)
            self._file.flush()
            self._number += len(data)
            if self._path is not None:
                os.fsync(self._file.fileno())
        elif data and self._path is not None:
            self._number += 1
            (self._path / f"part-{self._number:06}.parquet").write_bytes(data)
        if self._state is not None:
            lines = "".join(f"{name}={value}\n" for name, value in asked.items())
            self._state.write_text(f"{self._number}\n{lines}")

    def forget(self) -> None:
        """It is whole."""
        if self._state is not None:
            self._state.unlink(missing_ok=True)


def _writable(begin: Callable[[Path], None], path: Path) -> None:
    """Raises Usage, before anything is asked of a node, where nothing can be written."""
    try:
        begin(path)
    except OSError as error:
        raise Usage(f"{path} cannot be written: {error.strerror}.", "Name another place with --to.") from None
