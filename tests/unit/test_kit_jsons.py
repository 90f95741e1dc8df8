"""Does the scanner see the same in a document as a JSON reader does, however the bytes arrive?"""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from formats.kit import jsons
from formats.kit.jsons import Scanner, Write
from storage.errors import Invalid, TooLarge

KEYS = st.text(max_size=6).filter(lambda key: key != "__proto__")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def reader(data: bytes, cuts: list[int]) -> Callable[[int], bytes]:
    """Gives `data` in pieces of these sizes, over and over."""
    stream = io.BytesIO(data)
    turn = iter(range(1 << 60))
    return lambda _: stream.read(cuts[next(turn) % len(cuts)] if cuts else -1)


class Sinks:
    """Takes the data of every attachment whose name ends in .tgz."""

    def __init__(self) -> None:
        self.got: dict[str, bytes] = {}

    def __call__(self, attachment: str, /) -> Write | None:
        if not attachment.endswith(".tgz"):
            return None
        self.got[attachment] = b""

        def write(data: bytes) -> None:
            self.got[attachment] += data

        return write


def scanned(data: bytes, cuts: list[int] | None = None) -> tuple[Any, dict[str, bytes]]:
    sinks = Sinks()
    kept = Scanner(reader(data, cuts or [1 << 20]), sinks).run()
    return json.loads(kept), sinks.got


@given(VALUES, st.lists(st.integers(1, 40), min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=150, deadline=None)
def test_any_json_in_any_slicing_is_kept_byte_for_byte(
    value: Any, cuts: list[int], escaped: bool, indent: int | None
) -> None:
    data = json.dumps(value, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    assert Scanner(reader(data, cuts)).run() == data


@given(
    st.binary(max_size=300),
    VALUES,
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@example(b"\xff" * 30, None, [1], True, None, True)
@settings(max_examples=150, deadline=None)
def test_attachments_come_out_decoded_and_the_rest_as_it_was(
    tarball: bytes, other: Any, cuts: list[int], first: bool, indent: int | None, slashes: bool
) -> None:
    one = {"length": 3, "data": base64.b64encode(tarball).decode(), "content_type": "x"}
    text = {"data": '{"a": "\\" : "}'}
    attachments = {"_attachments": {"a.tgz": one, "a.sigstore": text}}
    rest = {"data": "stays", "x": {"data": "QUJD"}, "more": other}
    document = {**attachments, **rest} if first else {**rest, **attachments}
    raw = json.dumps(document, indent=indent)
    if slashes:
        raw = raw.replace("/", "\\/")
    kept, got = scanned(raw.encode("utf-8", "surrogatepass"), cuts)
    assert got == {"a.tgz": tarball}
    assert kept["_attachments"] == {"a.tgz": {**one, "data": ""}, "a.sigstore": text}
    assert json.dumps({key: kept[key] for key in rest}) == json.dumps(rest)
    assert list(kept) == list(document)


def test_only_the_data_of_an_attachment_is_diverted() -> None:
    data = {
        "_attachments": {"a.tgz": {"data": ["QUJD"], "x": "QUJD"}, "data": "QUJD"},
        "b": {"a.tgz": {"data": "QUJD"}},
    }
    assert scanned(json.dumps(data).encode()) == (data, {})
    deeper = {"x": {"_attachments": {"a.tgz": {"data": "QUJD"}}}}
    assert scanned(json.dumps(deeper).encode()) == (deeper, {})
    scalar = {"_attachments": {"a.tgz": {"data": 1, "QUJD": 2}}}
    assert scanned(json.dumps(scalar).encode()) == (scalar, {})


@pytest.mark.parametrize(
    "data", ["QUJD====", "QUJ", "QU=D", "QUJD\\n", "QU JD", "QUJ\\\\", "QQ==QQ==", "QUJ-", "Ä", "="]
)
@pytest.mark.parametrize("cut", [1, 3, 4, 1000])
def test_base64_that_is_none_is_refused(data: str, cut: int) -> None:
    raw = '{"_attachments": {"a.tgz": {"data": "' + data + '"}}}'
    with pytest.raises(Invalid, match="base64"):
        scanned(raw.encode(), [cut])


def test_base64_written_with_escapes_is_read_as_json_means_it() -> None:
    raw = b'{"_attachments": {"a.tgz": {"data": "\\u0051UJD\\u0051UJ\\u0044"}}}'
    for cut in range(1, 12):
        assert scanned(raw, [cut])[1] == {"a.tgz": b"ABCABC"}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b'{"x": [{"a": 1, "b": {}, "a" : 2}]}', "twice"),
        (b'{"__proto__": {}}', "__proto__"),
        (b'{"x": {"\\u005f_proto__": 1}}', "__proto__"),
        (b"[" * 65 + b"]" * 65, "nests"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nests"),
        (b'{"a": 1', "middle"),
        (b'{"a": "b', "middle"),
        (b'{"_attachments": {"a.tgz": {"data": "QUJD', "middle"),
        (b"{]", "brackets"),
        (b"}", "brackets"),
        (b'{"\\ud800": 1}', "no text"),
    ],
)
@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
def test_d6_what_readers_could_take_in_two_ways_is_refused(raw: bytes, why: str, cut: int) -> None:
    with pytest.raises(Invalid, match=why):
        scanned(raw, [cut])


def test_d6_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for raw in (b'{"a": "' + b"x" * 5000 + b'"}', b'{"a":' + b" " * 5000 + b"1}", b'{"a": "' + b"x" * 5000):
        with pytest.raises(TooLarge):
            Scanner(reader(raw, [100]), kept_bytes_max=4000).run()
    monkeypatch.setattr(jsons, "CONTAINERS_MAX", 10)
    with pytest.raises(TooLarge):
        Scanner(reader(b"[" + b"[]," * 10 + b"[]]", [])).run()


def test_an_attachment_does_not_count_to_what_is_kept() -> None:
    raw = json.dumps({"_attachments": {"a.tgz": {"data": base64.b64encode(bytes(9000)).decode()}}}).encode()
    sinks = Sinks()
    kept = Scanner(reader(raw, [64]), sinks, kept_bytes_max=200).run()
    assert len(kept) < 100
    assert sinks.got == {"a.tgz": bytes(9000)}
