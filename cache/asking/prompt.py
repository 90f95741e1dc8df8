"""How is a part of a file asked of another node at once, on the loop and without a thread?

On a connection that is open and idle: one write, one wait, and a head that is read as nodes write it. Whatever is not
as it is expected (another status, another framing, an end) is None, and the connection with it: then the ordinary way
asks, in a thread, and hears what there is to hear. What is gained are two changes of threads and http.client's time.
"""

import re
import ssl
from collections.abc import Mapping

import trio

from cache.asking.addresses import Place
from cache.asking.connecting import Connection

HEAD_BYTES_MAX = 16 << 10
READ_BYTES = 64 << 10
_LINE = re.compile(rb"HTTP/1\.1 206 [\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff][\x20-\x7e\x80-\xff\t]*)?)")
_SENT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_AS_IT_IS = ("transfer-encoding", "content-encoding", "connection")
"""An answer with one of these is read in the ordinary way."""


class Part:
    """The head of an answer with a part of a file (206); of http.client's answers it has what a Body asks for."""

    status = 206
    chunked = will_close = False

    def __init__(self, fields: list[tuple[str, str]], early: bytes) -> None:
        self._fields = fields
        self.early = early

    def getheaders(self) -> list[tuple[str, str]]:
        """Names as they came."""
        return self._fields

    def close(self) -> None:
        """There is nothing behind it."""


def request_of(where: Place, headers: Mapping[str, str], agent: str) -> bytes | None:
    """A GET of this place; None where something in it could be read as more than that."""
    fields = {"Host": where.authority, "User-Agent": agent, **headers}
    if not all(_SENT.fullmatch(text) for text in (where.target, *fields, *fields.values())) or " " in where.target:
        return None
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    return f"GET {where.target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("ascii")


def part_of(data: bytes, end: int) -> Part | None:
    """What the head says that ends at `end`, with the bytes behind it; None for any other answer than a plain 206."""
    line, *lines = data[:end].split(b"\r\n")
    if _LINE.fullmatch(line) is None:
        return None
    fields = []
    for one in lines:
        match = _FIELD.fullmatch(one)
        if match is None:
            return None
        name = match[1].decode("ascii")
        if name.lower() in _AS_IT_IS and match[2].lower() != b"keep-alive":
            return None
        fields.append((name, match[2].decode("latin-1").rstrip(" \t")))
    return Part(fields, data[end + 4 :])


async def asked(connection: Connection, request: bytes, seconds_max: float) -> Part | None:
    """The answer with its first bytes, once they are here. The connection is as it was, or closed: then None.

    Raises trio.TooSlowError where nothing came for so long.
    """
    channel, patience_s = connection.channel, connection.channel.gettimeout()
    part: Part | None = None
    try:
        channel.settimeout(0)
        if channel.send(request) == len(request):
            with trio.fail_after(seconds_max):
                part = await _part(connection)
        channel.settimeout(patience_s)
    except OSError:  # ssl.SSLError is one
        part = None
    finally:
        if part is None:
            connection.close()
    return part


async def _part(connection: Connection) -> Part | None:
    """Until the head and some of the body are here."""
    data = b""
    while True:
        piece = await _received(connection)
        data += piece
        end = data.find(b"\r\n\r\n")
        if not piece or (end < 0 and len(data) > HEAD_BYTES_MAX):
            return None
        if end >= 0 and len(data) > end + 4:
            return part_of(data, end)


async def _received(connection: Connection) -> bytes:
    """What comes next, b"" at the end."""
    channel = connection.channel
    while True:
        try:
            return channel.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            await trio.lowlevel.wait_readable(channel)
