"""Which bytes does a client get for what it asked: variants, conditions, ranges?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.messages.answers import (
    Answer,
    Extents,
    Wire,
    cut,
    date_seconds,
    field_lines,
    http_date,
    part_of,
    plan,
)
from gateway.delivery.messages.heads import Head

BODY = bytes(range(100))
MODIFIED = 1_700_000_000


def asked(method: str = "GET", **headers: str) -> Head:
    return Head(method, "/x", headers={name.replace("_", "-"): value for name, value in headers.items()})


def resource(**changes: object) -> Answer:
    given_: dict[str, object] = {"media": "text/plain", "etag": '"e"', "modified_s": MODIFIED, "body": BODY} | changes
    return Answer(**given_)  # type: ignore[arg-type]


def fields(wire: Wire) -> dict[str, str]:
    lines = wire.rest.decode("latin-1").split("\r\n")
    assert lines[-2:] == ["", ""]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[:-2])}


def test_a_whole_answer() -> None:
    wire = plan(resource(headers=(("X-A", "b"),), outcome="HIT"), asked())
    assert (wire.status, wire.body, wire.size, wire.close) == (200, BODY, 100, False)
    assert fields(wire) == {
        "content-type": "text/plain", "etag": '"e"', "last-modified": http_date(MODIFIED), "x-a": "b",
        "entrepot-outcome": "HIT", "accept-ranges": "bytes", "content-length": "100",
    }  # fmt: skip


def test_head_has_the_length_and_no_body() -> None:
    for answer in (resource(), resource(body=None, extents=((3, 0, 100),))):
        wire = plan(answer, asked("HEAD", range="bytes=0-1"))
        assert (wire.status, wire.body, wire.extents, wire.size) == (200, b"", (), 0)
        assert fields(wire)["content-length"] == "100"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": 'W/"e"'}, 304),
        ({"if_none_match": '"a", "e"'}, 304),
        ({"if_none_match": '"a,b", W/"e"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": "e"}, 200),
        ({"if_none_match": '"x"', "if_modified_since": http_date(MODIFIED)}, 200),
        ({"if_modified_since": http_date(MODIFIED)}, 304),
        ({"if_modified_since": http_date(MODIFIED + 5)}, 304),
        ({"if_modified_since": http_date(MODIFIED - 1)}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_modified_since": "Tue, 99 Nov 2026 08:00:00 GMT"}, 200),
        ({"if_match": '"e"'}, 200),
        ({"if_match": 'W/"e"'}, 412),
        ({"if_match": '"x"'}, 412),
        ({"if_match": "*"}, 200),
        ({"if_unmodified_since": http_date(MODIFIED - 1)}, 412),
        ({"if_unmodified_since": http_date(MODIFIED)}, 200),
        ({"if_none_match": '"e"', "range": "bytes=0-1"}, 304),
        ({"if_range": '"e"', "range": "bytes=0-1"}, 206),
        ({"if_range": 'W/"e"', "range": "bytes=0-1"}, 200),
        ({"if_range": '"x"', "range": "bytes=0-1"}, 200),
        ({"if_range": http_date(MODIFIED), "range": "bytes=0-1"}, 206),
        ({"if_range": http_date(MODIFIED + 1), "range": "bytes=0-1"}, 200),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    assert plan(resource(), asked(**headers)).status == status


def test_conditions_touch_only_what_is_read_and_whole() -> None:
    assert plan(resource(status=404), asked(if_none_match="*", range="bytes=0-1")).status == 404
    assert plan(resource(), asked("POST", if_none_match="*", range="bytes=0-1")).status == 200
    assert (
        plan(resource(etag="", modified_s=0), asked(if_none_match='"e"', if_modified_since=http_date(1))).status == 200
    )


def test_a_304_names_the_validators_and_carries_nothing() -> None:
    wire = plan(
        resource(headers=(("Cache-Control", "no-cache"), ("Content-Disposition", "x"))), asked(if_none_match="*")
    )
    assert (wire.body, wire.size) == (b"", 0)
    assert fields(wire) == {"etag": '"e"', "last-modified": http_date(MODIFIED), "cache-control": "no-cache"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=10-19", (206, 10, 20)),
        ("bytes=10-", (206, 10, 100)),
        ("bytes=-10", (206, 90, 100)),
        ("bytes=-1000", (206, 0, 100)),
        ("bytes=99-1000", (206, 99, 100)),
        ("bytes=0-" + "9" * 500, (206, 0, 100)),
        ("bytes=100-", (416, 0, 0)),
        ("bytes=9223372036854775808-", (416, 0, 0)),
        ("bytes=" + "9" * 500 + "-", (416, 0, 0)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=20-10", (200, 0, 100)),
        ("bytes=200-110", (200, 0, 100)),
        ("bytes=0-0,-1", (200, 0, 100)),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), (200, 0, 100)),
        ("bytes=", (200, 0, 100)),
        ("bytes=-", (200, 0, 100)),
        ("bytes=a-b", (200, 0, 100)),
        ("bytes=+1-2", (200, 0, 100)),
        ("bits=0-1", (200, 0, 100)),
        ("bytes 0-1", (200, 0, 100)),
    ],
)
def test_a10_ranges(text: str, expected: tuple[int, int, int]) -> None:
    assert part_of(text, 100) == expected


def test_a10_a_416_tells_the_size_and_is_never_stored() -> None:
    wire = plan(resource(headers=(("Cache-Control", "max-age=9"),)), asked(range="bytes=100-"))
    assert (wire.status, wire.size) == (416, 0)
    assert fields(wire)["content-range"] == "bytes */100"
    assert fields(wire)["cache-control"] == "no-store"
    assert plan(resource(body=b""), asked(range="bytes=0-")).status == 416


@st.composite
def shards(draw: st.DrawFn) -> tuple[bytes, Extents]:
    """An object, and runs in a file of 0xff that hold it."""
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))
    data = draw(st.binary(min_size=sum(sizes), max_size=sum(sizes)))
    return data, tuple((0, n * 100, size) for n, size in enumerate(sizes))


@given(shards(), st.integers(0, 200), st.integers(0, 200) | st.none(), st.booleans())
def test_a10_the_bytes_of_a_range_are_the_slice_of_the_object(
    shard: tuple[bytes, Extents], first: int, last: int | None, suffix: bool
) -> None:
    data, extents = shard
    file, at = bytearray(b"\xff" * 1000), 0
    for _, offset, length in extents:
        file[offset : offset + length] = data[at : at + length]
        at += length
    wanted = f"bytes=-{first}" if suffix else f"bytes={first}-{'' if last is None else last}"
    for answer in (Answer(body=data), Answer(extents=extents)):
        wire = plan(answer, asked(range=wanted))
        sent = wire.body + b"".join(bytes(file[offset : offset + length]) for _, offset, length in wire.extents)
        assert len(sent) == wire.size == int(fields(wire)["content-length"])
        if wire.status == 206:
            low, _, high = fields(wire)["content-range"].removeprefix("bytes ").partition("/")[0].partition("-")
            assert sent == data[int(low) : int(high) + 1] != b""
            assert sent == (data[-first:] if suffix else data[first : len(data) if last is None else last + 1])
        elif wire.status == 200:
            assert sent == data
        else:
            assert (wire.status, sent) == (416, b"")
            assert (suffix and (not first or not data)) or first >= len(data)


def test_cut_keeps_what_is_whole() -> None:
    extents = ((3, 5, 10), (4, 0, 10))
    assert cut(extents, 0, 20) is extents
    assert cut(extents, 9, 12) == ((3, 14, 1), (4, 0, 2))


def variants() -> Answer:
    return resource(variants={"gzip": Answer(body=b"gz"), "zstd": Answer(body=b"z", etag='"own"')})


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("gzip, zstd", "zstd"), ("zstd;q=0.5, gzip", "gzip"), ("GZIP;q=0.1", "gzip"), ("*", "zstd"),
        ("gzip;q=0", ""), ("", ""), ("br", ""), ("identity", ""), ("gzip;q=x", ""), ("gzip;q=7", ""),
        ("zstd;q=0, *;q=0.1", "gzip"),
    ],
)  # fmt: skip
def test_the_best_variant_the_client_takes(accepted: str, coding: str) -> None:
    wire = plan(variants(), asked(accept_encoding=accepted))
    told = fields(wire)
    assert told.get("content-encoding", "") == coding
    assert told["vary"] == "Accept-Encoding"
    assert wire.body == {"gzip": b"gz", "zstd": b"z", "": BODY}[coding]
    assert told["etag"] == {"gzip": '"e-gzip"', "zstd": '"own"', "": '"e"'}[coding]
    again = plan(variants(), asked(accept_encoding=accepted, if_none_match=told["etag"]))
    assert again.status == 304
    assert fields(again)["vary"] == "Accept-Encoding"


def test_vary_is_added_to_and_not_repeated() -> None:
    answer = variants()
    answer.headers = (("Vary", "Accept"),)
    assert fields(plan(answer, asked()))["vary"] == "Accept, Accept-Encoding"
    answer.headers = (("vary", "accept-encoding"),)
    assert fields(plan(answer, asked()))["vary"] == "accept-encoding"


@given(st.text(max_size=12), st.text(max_size=12))
def test_a5_no_field_can_end_its_line(name: str, value: str) -> None:
    try:
        line = field_lines([(name, value)])
    except ValueError:
        return
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line.endswith(b"\r\n")
    assert b"\0" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\n"), ("X", "a\0"), ("X Y", "a"), ("", "a"), ("X:", "a"), ("X", "☃")],
)
def test_a5_what_splits_a_response_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        plan(resource(headers=((name, value),)), asked())


@given(st.integers(0, 4_000_000_000))
def test_dates_come_back(seconds: int) -> None:
    assert date_seconds(http_date(seconds)) == seconds
