"""How are files published from a terminal? By the native protocol of their format, with progress to look at."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from gateway.cli.packages.lanes import Lanes
from gateway.cli.packages.native import NAMING, Form, Raw, Request, Whole, guess, order, request_of
from gateway.cli.packages.uploading import PARTS_BYTES_MIN, TIMEOUT, upload
from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.output import Output, Usage, safe
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Place, place
from storage.errors import Problem

CHUNK_BYTES = 1 << 20
WHOLE_FORMATS = ("npm",)
WHOLE_FACTOR = 4
"""Of these the request is made in memory: the file, its base64, and the document around it, twice for a moment."""
REMEDY = "Give the same command again: what is there is there, and a large file goes on where it stopped."


class Target(NamedTuple):
    """Where files go: `path` is for formats that have one; with a slash at its end it is a directory."""

    place: Place
    format: str
    path: str


def push(
    *files: str,
    to: str = "",
    format: str = "",
    path: str = "",
    tag: str = "latest",
    at_a_time: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 4,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Publish files. Where they go is --to, or the last argument: WORKSPACE/REPOSITORY[/FORMAT[/PATH]].

    Parameters
    ----------
    files
        The files, and without --to the place.
    to
        WORKSPACE/REPOSITORY.
    format
        pypi, npm, deb, maven or generic; a .whl, .tgz and .deb say it themselves.
    path
        generic, maven: where the file is to lie, or with a slash at the end, in which directory. deb:
        DISTRIBUTION/COMPONENT.
    tag
        npm: the dist-tag to move.
    at_a_time
        How many connections there are at most: of files, and of the parts of a large one of generic, which goes on
        where it broke or was interrupted when the command is given again.
    """
    names, target = _sorted(files, to, format, path)
    out = Output(json)
    lanes = Lanes(at_a_time)
    pushed: list[dict[str, Any]] = []
    with reach(url, profile) as node:
        try:
            with _progress(out) as progress:
                _push_all(Pushing(node, progress, target, tag, lanes, pushed), order(target.format, names))
        except KeyboardInterrupt:
            there = f"{len(pushed)} of {len(names)} files are there."
            raise KeyboardInterrupt(f"Interrupted: {there}", REMEDY) from None
        except Problem:
            lanes.close()
            raise
    lanes.close()
    if json:
        out.document({"items": pushed})
    else:
        for one in pushed:
            out.fact(one, f"{one['file']} → {one['url']}")


def _sorted(files: tuple[str, ...], to: str, format: str, path: str) -> tuple[list[Path], Target]:
    """Tell the files from the place. Raises Usage before anything is sent."""
    names = list(files)
    if to:
        target = Target(place(to), format, path)
    elif len(names) > 1:
        workspace, _, rest = names.pop().partition("/")
        repository, _, rest = rest.partition("/")
        spelt, _, inner = rest.partition("/")
        target = Target(place(f"{workspace}/{repository}"), format or spelt, path or inner)
    else:
        raise Usage("It is not said where to push.", "Add --to WORKSPACE/REPOSITORY.")
    found = [Path(name) for name in names]
    if not found:
        raise Usage("It is not said what to push.", "Name at least one file.")
    for file in found:
        if not file.is_file():
            told = f"{file} is no file." if file.exists() else f"There is no file {file}."
            raise Usage(told, "Name files; a shell spells those of a directory out: DIRECTORY/*.")
    if len(found) > 1 and target.path and target.format != "deb" and not target.path.endswith("/"):
        raise Usage("Several files cannot lie at one path.", "End the path with a slash.")
    return found, target


class Pushing(NamedTuple):
    """Where files go, how many at a time, and what is there by now."""

    node: Client
    progress: Progress
    target: Target
    tag: str
    lanes: Lanes
    pushed: list[dict[str, Any]]


def _push_all(to: Pushing, files: list[Path]) -> None:
    """What names other files is sent behind them, one after the other; all else at the same time."""
    to.lanes.files(lambda file: _push(to, file), [file for file in files if file.suffix not in NAMING])
    places = {str(file): number for number, file in enumerate(files)}
    to.pushed.sort(key=lambda one: places[one["file"]])
    for file in files:
        if file.suffix in NAMING:
            _push(to, file)


def _push(to: Pushing, file: Path) -> None:
    node, progress, target, tag, lanes, pushed = to
    format = target.format or guess(file)
    if not format:
        raise Usage(f"The format of {file.name} is not clear.", "Add --format pypi, npm, deb, maven or generic.")
    path = target.path + file.name if target.path.endswith("/") else target.path
    base = f"{node.url}/{target.place}"
    size = file.stat().st_size
    held = size * WHOLE_FACTOR if format in WHOLE_FORMATS else 0
    is_cut = format == "generic" and size >= PARTS_BYTES_MIN and lanes.count > 1
    with lanes.memory(held):
        request = request_of(format, file, path, base, tag)
        address = f"/{target.place}/{request.path}"
        size = len(request.body) if isinstance(request, Whole) else size
        shown = progress.add_task(safe(file.name), total=size)
        if is_cut:
            upload(node, file, address, lambda more: progress.advance(shown, more), lanes)
        else:
            with lanes.lane():
                _send(node, progress, shown, file, address, request, size)
    progress.update(shown, completed=size, visible=False)
    pushed.append({"file": str(file), "format": format, "url": node.url + address, "size_bytes": size})


def _send(
    node: Client, progress: Progress, shown: TaskID, file: Path, address: str, request: Request, size: int
) -> None:
    options: dict[str, Any] = {"timeout": TIMEOUT}
    with _Counting(file, progress, shown) as content:
        if isinstance(request, Form):
            parts = {request.part: (file.name, content, "application/octet-stream")}
            node.send("POST", address, data=request.fields, files=parts, **options)
        elif isinstance(request, Raw):
            length = {"Content-Length": str(size)}
            node.send("PUT", address, content=_chunks(content), headers=length, **options)
        else:
            node.send("PUT", address, content=request.body, headers={"Content-Type": request.media}, **options)


def _chunks(content: io.BufferedReader) -> Iterator[bytes]:
    while chunk := content.read(CHUNK_BYTES):
        yield chunk


class _Counting(io.BufferedReader):
    """A file that tells the progress how far it was read."""

    def __init__(self, file: Path, progress: Progress, shown: TaskID) -> None:
        super().__init__(io.FileIO(file), CHUNK_BYTES)
        self._progress = progress
        self._shown = shown

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._progress.advance(self._shown, len(data))
        return data


@contextmanager
def _progress(out: Output) -> Iterator[Progress]:
    """A bar for each file on a terminal; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    quiet = out.json or not out.err.is_terminal
    with Progress(*columns, console=out.err, transient=True, disable=quiet) as progress:
        yield progress
