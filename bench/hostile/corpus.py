"""What does a room contribute so that the bench can attack it, and how is one attack written down?

A room brings one module in `bench/hostile/rooms/` with a `CORPUS`. It is found there by itself: no list is to be
extended. An Attack is a short sequence of requests; all but the last prepare (they must be taken), the last is judged.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Expected = Literal["refused", "harmless", "broken", "anything"]
"""refused: a 4xx in the client's dialect, and nothing stored. harmless: that, or taken. broken: the client breaks off,
so that there may be no answer at all; nothing is stored. anything: all of these."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` follows the corpus's `base`; one that begins with "/" stands alone, and `{location}` in it is
    the Location that the request before was answered with.

    Content-Length is added unless `headers` frame the body. `sent` < len(body) sends that much and then ends the
    connection's sending side: a truncated upload. `token` False leaves the credential out.
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int = -1
    token: bool = True


@dataclass(frozen=True, slots=True)
class Attack:
    """Requests of which the last is judged."""

    name: str
    requests: tuple[Request, ...]
    expected: Expected = "refused"


@dataclass(frozen=True)
class Corpus:
    """What the bench knows of one room.

    `base` is where its requests go, with `{repository}` for WORKSPACE/NAME. `good(number)` is a valid package, another
    one for each number: it must be taken. `crafted()` makes the attacks anew at each call, so that bombs need no memory
    when nobody looks at them. `mutant(dice)` is one damaged package; whether it is refused is the room's to say.
    `dialect(status, headers, body)` is "" for a refusal as this room's clients read it, else what is wrong with it.
    """

    room: str
    base: str
    good: Callable[[int], Attack]
    crafted: Callable[[], Iterable[Attack]]
    mutant: Callable[[random.Random], Attack]
    dialect: Callable[[int, Mapping[str, str], bytes], str]


WOUNDS = (b"\0", b"\xff", b"9", b"-", b"/", b'"', b"{", b"\r\n", b"..")


def damaged(data: bytes, dice: random.Random) -> bytes:
    """`data` with one to four wounds: bits, bytes, slices, the end. Never `data` itself."""
    wounded = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(wounded) + 1)
        length = dice.choice((1, 1, 2, 4, 16, 200))
        match dice.randrange(6):
            case 0 if at < len(wounded):
                wounded[at] ^= 1 << dice.randrange(8)
            case 1:
                wounded[at : at + length] = dice.randbytes(length)
            case 2:
                del wounded[at : at + length]
            case 3:
                wounded[at:at] = wounded[at : at + length] * dice.randint(1, 3)
            case 4:
                wounded[at : at + length] = dice.choice(WOUNDS) * length
            case _:
                del wounded[at:]
    return bytes(wounded) if wounded != data else bytes(wounded) + b"!"
