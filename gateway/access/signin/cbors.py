"""Is this CBOR as an authenticator may send it? Asked of a stranger's bytes before anything takes them apart.

CTAP2's canonical form (CTAP 2.1 section 8), which WebAuthn section 6 demands: lengths that are told, no tags, at most
four levels. A general parser makes numbers, dates, patterns and messages of what is tagged, and follows references;
none of that is asked of it (D6, D8). One pass over the bytes, whose steps are bounded by their number.
"""

BYTES_MAX = 3_000
LEVELS_MAX = 4
FIXED_BYTES, FLAGS_AT = 37, 32
ATTESTED, EXTENDED = 0x40, 0x80
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG = range(7)
_SIMPLE = frozenset((20, 21, 22))
"""false, true and null."""


def check(data: bytes) -> None:
    """Raises ValueError unless this is one item, and all of it."""
    if len(data) > BYTES_MAX or _item(data, 0, LEVELS_MAX) != len(data):
        raise ValueError("this is not one item of CBOR as authenticators send it")


def check_authenticator_data(data: bytes) -> None:
    """The same for the key and the extensions in authenticator data (WebAuthn section 6.1). Raises ValueError."""
    if not FIXED_BYTES <= len(data) <= BYTES_MAX:
        raise ValueError("this is no authenticator data")
    at, flags = FIXED_BYTES, data[FLAGS_AT]
    if flags & ATTESTED:
        at = _item(data, at + 18 + int.from_bytes(data[at + 16 : at + 18]), LEVELS_MAX)
    if flags & EXTENDED:
        at = _item(data, at, LEVELS_MAX)
    if at != len(data):
        raise ValueError("something is left over")


def _item(data: bytes, at: int, levels: int) -> int:
    """Where the item ends that begins there."""
    if at >= len(data) or levels < 0:
        raise ValueError("it breaks off, or goes too deep")
    kind, short = data[at] >> 5, data[at] & 31
    at += 1
    if kind > _TAG:
        if short not in _SIMPLE:
            raise ValueError("no such value is sent")
        return at
    if kind == _TAG or short > 27:
        raise ValueError("a tag, or a length that is not told")
    size = short
    if short >= 24:
        wide = 1 << (short - 24)
        size, at = int.from_bytes(data[at : at + wide]), at + wide
    if kind in (_BYTES, _TEXT):
        at += size
    elif kind in (_LIST, _MAP):
        for _ in range(size if kind == _LIST else 2 * size):  # each takes a byte, or it breaks off
            at = _item(data, at, levels - 1)
    if at > len(data):
        raise ValueError("it breaks off")
    return at
