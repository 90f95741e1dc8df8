"""Does nothing hostile in CBOR reach its parser, and all that authenticators send? THREATS D6, D8."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.signin.cbors import BYTES_MAX, FIXED_BYTES, LEVELS_MAX, check, check_authenticator_data

KEY = {1: 2, 3: -7, -1: 1, -2: b"x" * 32, -3: b"y" * 32}
REASONS = "not one item|no authenticator|left over|breaks off|no such value|not told"
HOSTILE = {
    "deep lists": b"\x81" * 2_900 + b"\x00",
    "deep maps": b"\xa1\x00" * 1_400 + b"\x00",
    "deep tags": b"\xc1" * 2_900 + b"\x00",
    "a level too many": b"\x81" * (LEVELS_MAX + 1) + b"\x00",
    "a list of 2^64": b"\x9b" + b"\xff" * 8,
    "a map of 2^64": b"\xbb" + b"\xff" * 8,
    "bytes of 2^64": b"\x5b" + b"\xff" * 8 + b"x",
    "a bignum": b"\xc2\x59\x0b\x00" + b"\xff" * 0xB00,
    "a decimal": b"\xc4\x82\x1a\x7f\xff\xff\xff\x01",
    "a pattern": b"\xd8\x23\x66(a+)+$",
    "a message": b"\xd8\x24\x65hello",
    "itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "without a length": b"\x9f\x00\xff",
    "bytes without a length": b"\x5f\x41x\xff",
    "a float": b"\xfb" + b"\0" * 8,
    "undefined": b"\xf7",
    "a break": b"\xff",
    "reserved": b"\x1c",
    "nothing": b"",
    "half": b"\x82\x00",
    "half a length": b"\x19\x01",
    "two": b"\x00\x00",
    "too much": b"\x59\x0b\xb8" + b"x" * 3_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_d6_what_no_authenticator_sends_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=REASONS):
        check(HOSTILE[name])
    head = bytes(32) + b"\xc1" + bytes(4)
    with pytest.raises(ValueError, match=REASONS):
        check_authenticator_data(head + bytes(18) + cbor2.dumps(KEY) + HOSTILE[name])


_PLAIN = st.integers(-(2**63), 2**63) | st.binary(max_size=40) | st.text(max_size=20) | st.booleans() | st.none()
_ITEMS = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-9, 9), inner, max_size=4),
    max_leaves=12,
)


def levels(item: object) -> int:
    held = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else None
    return 0 if held is None else 1 + max(map(levels, held), default=0)


@given(_ITEMS)
def test_what_an_encoder_makes_is_taken_up_to_its_levels(item: object) -> None:
    data = cbor2.dumps(item, canonical=True)
    if len(data) <= BYTES_MAX and levels(item) <= LEVELS_MAX:
        check(data)
    else:
        with pytest.raises(ValueError, match=REASONS):
            check(data)


@given(st.binary(max_size=BYTES_MAX))
def test_d6_any_bytes_are_refused_or_parsed_and_nothing_else(data: bytes) -> None:
    for asked in (check, check_authenticator_data):
        try:
            asked(data)
        except ValueError:
            continue
        if asked is check:
            try:
                cbor2.loads(data)
            except (cbor2.CBORDecodeError, UnicodeDecodeError):
                continue


def test_d8_a_long_list_is_taken_and_one_byte_more_of_it_is_not_invented() -> None:
    long = b"\x99\x0b\x00" + b"\x00" * 0xB00
    check(long)
    with pytest.raises(ValueError, match="breaks off"):
        check(long[:-1])
    check_authenticator_data(bytes(FIXED_BYTES))
    check_authenticator_data(bytes(32) + b"\xc1" + bytes(4) + bytes(18) + cbor2.dumps(KEY) + cbor2.dumps({"x": True}))
