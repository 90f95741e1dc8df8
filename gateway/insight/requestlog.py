"""Who asked for what, and what was answered? One JSON object a line, written without ever waiting for the disk.

A line is three fragments: when (shared by all lines of some milliseconds), who (made once a connection), what (made
once per memoised answer). The hot path only appends references to a list; a thread joins and writes them. Nothing
secret is written: `redacted` hides the credential of /t/TOKEN/ and the value of every query argument that may be one.
"""

import json
import os
import queue
import re
import threading
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from urllib.parse import unquote

from gateway.insight.gaps import Gap, gap_of, moment, tail_of

LINES_A_BATCH = 2_048
SLICE = 3 * 256
BATCHES_MAX = 64
FILE_BYTES_MAX = 64 << 20
FILES_MAX = 4
TARGET_CHARACTERS_MAX = 1_024
NEWLINE = 0x0A

Subject = tuple[str, ...]
ABOUT = ("format", "package", "version", "file", "tag")
FAMILIES = (
    "pip", "uv", "poetry", "pdm", "twine", "npm", "pnpm", "yarn", "bun", "docker", "containerd", "buildkit", "podman",
    "buildah", "skopeo", "crane", "oras", "cosign", "helm", "apache-maven", "gradle", "apache ivy", "sbt", "coursier",
    "cargo", "debian apt", "apt", "dput", "libdnf", "dnf", "zypper", "apk-tools", "nuget", "dotnet", "gem", "bundler",
    "go-http-client", "go", "huggingface_hub", "hf", "git", "curl", "wget", "python-requests", "python-httpx",
    "python-urllib", "java", "okhttp", "entrepot", "mozilla",
)  # fmt: skip
"""What programs call themselves ahead of the version, in lower case; the longer of two that begin alike comes first."""

_TOKEN_PATH = re.compile(r"^((?:https?://[^/?#]*)?/t/)[^/?#]+", re.IGNORECASE)
_TOKEN_LIKE = re.compile(r"(?<![A-Za-z0-9])ent_[A-Za-z0-9]+")
_SECRET_ARGUMENT = re.compile(
    r"token|secret|password|passwd|\bpwd\b|auth|signature|\bsig\b|credential|session|api.?key|\bkey\b|\bcode\b|jwt|\bstate\b",
    re.IGNORECASE,
)


def redacted(target: bytes) -> str:
    """The request target fit for a log: no credential, bounded in length."""
    text = target[: TARGET_CHARACTERS_MAX * 2].decode("latin-1")
    path, mark, query = text.partition("?")
    path = _TOKEN_PATH.sub(r"\1-", path)
    if "%" in path and _TOKEN_PATH.match(unquote(path)):
        path = "/t/-"
    if mark:
        path += "?" + "&".join(_argument(part) for part in query.split("&"))
    return _TOKEN_LIKE.sub("ent_-", path)[:TARGET_CHARACTERS_MAX]


def _argument(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}=-" if equals and _SECRET_ARGUMENT.search(unquote(name).replace("_", " ")) else part


def stamp(at_s: float) -> bytes:
    """The first fragment of a line."""
    return b'{"time":"%b"' % datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").encode()


def peer_tag(peer: str, scheme: str) -> bytes:
    """The second fragment: who."""
    return f',"peer":{json.dumps(peer)},"scheme":{json.dumps(scheme)}'.encode()


def family(user_agent: str) -> str:
    """Which program asks, as one of FAMILIES: never the client's own words. "" where it does not say."""
    if not user_agent:
        return ""
    lowered = user_agent[:64].lower()
    return next((one for one in FAMILIES if lowered.startswith(one)), "other")


def fragment(
    method: str,
    target: bytes,
    status: int,
    size: int,
    *,
    outcome: str = "",
    principal: str = "",
    repository: str = "",
    seconds: float = -1.0,
    about: Subject = (),
    client: str = "",
    trace: str = "",
) -> bytes:
    """The third fragment, with the end of the line. Control characters can only come out JSON-escaped.

    `principal` is an id, `trace` that of the trace the request is in. `about` are ABOUT, as far as they are known.
    """
    text = f',"method":{quoted(method)},"target":{quoted(redacted(target))},"status":{status},"bytes":{size}'
    if outcome:
        text += f',"outcome":{quoted(outcome)}'
    if principal:
        text += f',"principal":{quoted(principal)}'
    if repository:
        # a path may name anything, also where there is no such repository
        text += f',"repository":{quoted(_TOKEN_LIKE.sub("ent_-", repository))}'
    for name, value in zip(ABOUT, about, strict=False):
        if value:
            text += f',"{name}":{quoted(_TOKEN_LIKE.sub("ent_-", value[:TARGET_CHARACTERS_MAX]))}'
    if client:
        text += f',"client":{quoted(client)}'
    if trace:
        text += f',"trace":{quoted(trace)}'
    if seconds >= 0:
        text += f',"seconds":{seconds:.6f}'
    return text.encode() + b"}\n"


class RequestLog:
    """The access log of one worker. `pending` is extended by the loop with three fragments a line; nothing else is.

    `path` None writes nothing. Where the disk does not keep up, whole batches are dropped, counted in `dropped`, and
    told by the log itself as soon as it can be written again (gaps.py). Of a process that was killed the next one
    tells that it lost its last lines: beside a log that was closed lies a mark.
    """

    def __init__(self, path: Path | None, *, file_bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX) -> None:
        self.pending: list[bytes] = []
        self.dropped = 0
        self._path = path
        self._file_bytes_max = file_bytes_max
        self._files_max = files_max
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # of what is lost, which the loop and the thread both tell
        self._gap: Gap | None = None
        self._descriptor = -1
        self._written = 0
        self._torn = False
        self._begun = False

    def flush(self) -> None:
        """Hands what is pending to the writing thread. Called by the loop, twice a second or at LINES_A_BATCH lines."""
        if not self.pending and (self._gap is None or self.behind()):
            return
        batch, self.pending = self.pending, []
        if self._path is None:
            return
        if self.behind():
            self._lose(batch)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_batches, name="requestlog", daemon=True)
            self._thread.start()
        self._batches.put(batch)

    def behind(self) -> bool:
        """Would a batch more be dropped?"""
        return self._batches.qsize() >= BATCHES_MAX

    def close(self) -> None:
        """Writes the rest and ends the thread."""
        self.flush()
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(5.0)
            self._thread = None

    def _lose(self, fragments: list[bytes]) -> None:
        with self._lock:
            self.dropped += len(fragments) // 3
            self._gap = gap_of(fragments).joined(self._gap)

    def _write_batches(self) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                # In slices, since joining more at once costs seven times as much: memory that must be mapped anew.
                for at in range(0, len(batch) or 1, SLICE):
                    self._write_slice(batch[at : at + SLICE])
            if self._gap is not None:
                self._write_slice([])
            if self._path is not None and self._gap is None and self._begun:
                self._closed(self._path).touch()
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _write_slice(self, fragments: list[bytes]) -> None:
        """These lines, behind the gap before them; what cannot be written makes the next one."""
        with self._lock:
            gap, self._gap = self._gap, None
        ahead = b"" if gap is None else gap.line()
        data = ahead + b"".join(fragments)
        sent = self._write(data)
        if sent == len(data):
            return
        left = gap if sent < len(ahead) else None
        lost = fragments[3 * data.count(b"\n", len(ahead), max(sent, len(ahead))) :]
        with self._lock:
            self._gap = left.joined(self._gap) if left is not None else self._gap
        if lost:
            self._lose(lost)

    def _write(self, data: bytes) -> int:
        """How many bytes came to the file: all, or as many as it took."""
        assert self._path is not None
        sent = 0
        try:
            if self._descriptor < 0:
                self._open(self._path)
            if self._written and self._written + len(data) > self._file_bytes_max:
                self._rotate(self._path)
                self._open(self._path)
            if self._torn:  # a line that was cut off costs itself alone
                os.write(self._descriptor, b"\n")
                self._torn = False
            while sent < len(data):
                n = os.write(self._descriptor, data[sent:] if sent else data)
                self._written += n
                sent += n
        except OSError:
            self._torn = self._torn or (sent > 0 and data[sent - 1] != NEWLINE)
        return sent

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tail = tail_of(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._written = os.fstat(self._descriptor).st_size
        self._torn = tail.torn
        if self._begun:
            return
        self._begun = True
        if self._written and not self._closed(path).exists():
            now = moment()
            with self._lock:
                self._gap = Gap(None, tail.last or now, now).joined(self._gap)
        self._closed(path).unlink(missing_ok=True)

    def _closed(self, path: Path) -> Path:
        return path.with_name(f"{path.stem}.closed")

    def _rotate(self, path: Path) -> None:
        """access.log → access.log.1 → ... ; the oldest goes."""
        os.close(self._descriptor)
        self._descriptor = -1
        for number in range(self._files_max - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
