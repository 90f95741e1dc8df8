"""How are files published from a terminal? By the native protocol of their format, with progress to look at."""

import io
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from gateway.cli.packages.images import planned, push_images
from gateway.cli.packages.lanes import Lanes
from gateway.cli.packages.layouts import is_layout
from gateway.cli.packages.native import NAMING, Form, Raw, Request, Whole, guess, order, request_of
from gateway.cli.packages.trees import LeftOut, Sending, in_tree
from gateway.cli.packages.uploading import PARTS_BYTES_MIN, TIMEOUT, Advance, upload
from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.output import Output, Usage, safe
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Place, place
from storage.errors import Absent, Conflict, PreconditionFailed, Problem

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


class Job(NamedTuple):
    """What a command line asks for: what goes, and what of its directories does not."""

    going: list[Sending]
    left_out: list[LeftOut]
    target: Target


def push(
    *files: str,
    to: str = "",
    format: str = "",
    path: str = "",
    tag: str = "",
    platform: str = "",
    hidden: bool = False,
    replace: Annotated[bool, Parameter(negative="")] = False,
    dry_run: bool = False,
    at_a_time: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 4,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Publish files, directories and images. Where they go is --to, or the last argument:
    WORKSPACE/REPOSITORY[/FORMAT[/PATH]].

    Parameters
    ----------
    files
        Files and directories, and without --to the place. Of a directory every package in it; generic and maven keep
        the paths below it. A directory or .tar that is an OCI image layout, or an archive of docker save, is an image.
    to
        WORKSPACE/REPOSITORY.
    format
        pypi, npm, deb, maven, oci or generic; a .whl, .tgz, .deb and an image layout say it themselves.
    path
        generic, maven: where the file is to lie, or with a slash at the end, in which directory. deb:
        DISTRIBUTION/COMPONENT. oci: NAME[:TAG].
    tag
        npm: the dist-tag to move, latest if none is given. oci: the tag; without it those that the layout names.
    platform
        oci: OS/ARCHITECTURE[/VARIANT]; of images for several platforms only that one.
    hidden
        Take what begins with a dot from directories, too.
    replace
        generic: put it in the place of a file with other bytes that lies there. Versions of other formats stay as they
        are.
    dry_run
        Only show what would be pushed, and what not.
    at_a_time
        How many connections there are at most: of files, of the parts of a large one of generic, and of the layers of
        an image. Large ones go on where they broke or were interrupted when the command is given again.
    """
    out = Output(json)
    job = _sorted(files, to, format, path, hidden)
    _check_replacing(job, replace)
    for left in job.left_out:
        out.note(f"left out: {left.file}: {left.why}")
    lanes = Lanes(at_a_time)
    pushed: list[dict[str, Any]] = []
    going = order(job.target.format, job.going, lambda one: one.file.suffix)
    with reach(url, profile) as node, _progress(out) as progress:
        pushing = Pushing(node, progress, job.target, tag, platform, replace, lanes, pushed)
        try:
            if dry_run:
                pushed += [fact for one in going for fact in _would(pushing, one)]
            else:
                _push_all(pushing, going)
        except KeyboardInterrupt:
            there = f"{len(pushed)} of {count_of(len(going), 'file')} {'is' if len(going) == 1 else 'are'} there."
            raise KeyboardInterrupt(f"Interrupted: {there}", REMEDY) from None
        except Problem:
            lanes.close()
            raise
    lanes.close()
    _tell(out, job, pushed)


def _tell(out: Output, job: Job, pushed: list[dict[str, Any]]) -> None:
    if out.json:
        left = [{"file": str(one.file), "why": one.why} for one in job.left_out]
        out.document({"items": pushed, "left_out": left})
        return
    for one in pushed:
        more = ""
        if "blobs_sent" in one:
            sizes = f"{one['blobs_sent']} of {count_of(one['blobs'], 'blob')}, {size_of(one['bytes_sent'])}"
            more = f" ({one['digest']}; sent: {sizes})"
        out.fact(one, f"{one['file']} → {one['url']}{more}")


def _sorted(files: tuple[str, ...], to: str, format: str, path: str, hidden: bool) -> Job:
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
    if not names:
        raise Usage("It is not said what to push.", "Name at least one file.")
    going: list[Sending] = []
    left: list[LeftOut] = []
    for file in map(Path, names):
        if not file.exists():
            raise Usage(f"There is no file {file}.", "Check its name.")
        if target.format == "oci" or (not target.format and is_layout(file)):
            going.append(Sending(file, target.path, "oci"))
        elif file.is_dir():
            inside, outside = in_tree(file, target.format, target.path, hidden)
            going += inside
            left += outside
        elif file.is_file():
            going.append(_single(file, target))
        else:
            raise Usage(f"{file} is no file.", "Name files or directories.")
    if len(names) > 1 and target.path and target.format != "deb" and not target.path.endswith("/"):
        raise Usage("Several files cannot lie at one path.", "End the path with a slash.")
    return Job(going, left, target)


def _check_replacing(job: Job, replace: bool) -> None:
    """Raises Usage where a format replaces nothing, before anything is sent."""
    other = next((one.format for one in job.going if one.format != "generic"), "")
    if replace and other:
        raise Usage(f"--replace is for files of generic, and {other} keeps what is published.", "Leave it out.")


def _single(file: Path, target: Target) -> Sending:
    format = target.format or guess(file)
    if not format:
        raise Usage(f"The format of {file.name} is not clear.", "Add --format pypi, npm, deb, maven, oci or generic.")
    return Sending(file, target.path + file.name if target.path.endswith("/") else target.path, format)


class Pushing(NamedTuple):
    """Where files go, how many at a time, and what is there by now."""

    node: Client
    progress: Progress
    target: Target
    tag: str
    platform: str
    replace: bool
    lanes: Lanes
    pushed: list[dict[str, Any]]


def _push_all(to: Pushing, going: list[Sending]) -> None:
    """What names other files is sent behind them, one after the other; all else at the same time."""
    to.lanes.files(lambda one: _push(to, one), [one for one in going if one.file.suffix not in NAMING])
    places = {str(one.file): number for number, one in enumerate(going)}
    to.pushed.sort(key=lambda fact: places[fact["file"]])
    for one in going:
        if one.file.suffix in NAMING:
            _push(to, one)


def _would(to: Pushing, one: Sending) -> list[dict[str, Any]]:
    """What is said of it when it is there. Raises Usage where it cannot be pushed."""
    if one.format == "oci":
        found, _ = planned(one.file, to.target.place, one.path, to.tag, to.platform)
        return [each.fact(one.file, to.node.url) for each in found]
    request = _request(to, one)
    return [_fact(to, one, request, one.file.stat().st_size)]


def _request(to: Pushing, one: Sending) -> Request:
    base = f"{to.node.url}/{to.target.place}"
    return request_of(one.format, one.file, one.path, base, to.tag or "latest")


def _fact(to: Pushing, one: Sending, request: Request, size: int) -> dict[str, Any]:
    url = f"{to.node.url}/{to.target.place}/{request.path}"
    return {"file": str(one.file), "format": one.format, "url": url, "size_bytes": size}


def _push(to: Pushing, one: Sending) -> None:
    if one.format == "oci":
        _push_images(to, one)
        return
    node, progress, lanes, file = to.node, to.progress, to.lanes, one.file
    size = file.stat().st_size
    held = size * WHOLE_FACTOR if one.format in WHOLE_FORMATS else 0
    is_cut = one.format == "generic" and size >= PARTS_BYTES_MIN and lanes.count > 1
    with lanes.memory(held):
        request = _request(to, one)
        address = f"/{to.target.place}/{request.path}"
        size = len(request.body) if isinstance(request, Whole) else size
        shown = progress.add_task(safe(file.name), total=size)
        try:
            there = _replaced(to, address)
            if is_cut:
                upload(node, file, address, lambda more: progress.advance(shown, more), lanes, there)
            else:
                with lanes.lane():
                    _send(node, progress, shown, file, address, request, size, there)
        except (Conflict, PreconditionFailed) as problem:
            raise _in_words(problem, address) from None
    progress.update(shown, completed=size, visible=False)
    to.pushed.append(_fact(to, one, request, size))


def _replaced(to: Pushing, address: str) -> dict[str, str]:
    """The condition under which what lies there is replaced: that it is the same still when the last byte has come."""
    if not to.replace:
        return {}
    try:
        with to.lanes.lane():
            there = to.node.send("HEAD", address, headers={"Accept-Encoding": "identity"})
    except Absent:
        return {}
    return {"If-Match": there.headers["etag"]}


def _in_words(problem: Conflict | PreconditionFailed, address: str) -> Problem:
    """A room speaks to programs, of headers."""
    path = urllib.parse.unquote(address)
    if isinstance(problem, PreconditionFailed):
        return Conflict(f"Somebody else has changed {path} meanwhile.", "Look at it, then give the command again.")
    if "If-Match" not in problem.text():
        return problem
    return Conflict(f"There is a file with other bytes at {path}.", "To put this one in its place, add --replace.")


def _push_images(to: Pushing, one: Sending) -> None:
    def shown(name: str, size: int) -> Advance:
        task = to.progress.add_task(safe(name), total=size)
        return lambda more: to.progress.advance(task, more)

    found, layout = planned(one.file, to.target.place, one.path, to.tag, to.platform)
    to.pushed.extend(push_images(to.node, one.file, found, layout, to.lanes, shown))


def _send(
    node: Client,
    progress: Progress,
    shown: TaskID,
    file: Path,
    address: str,
    request: Request,
    size: int,
    there: dict[str, str],
) -> None:
    options: dict[str, Any] = {"timeout": TIMEOUT}
    with _Counting(file, progress, shown) as content:
        if isinstance(request, Form):
            parts = {request.part: (file.name, content, "application/octet-stream")}
            node.send("POST", address, data=request.fields, files=parts, **options)
        elif isinstance(request, Raw):
            headers = {"Content-Length": str(size), **there}
            node.send("PUT", address, content=_chunks(content), headers=headers, **options)
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
