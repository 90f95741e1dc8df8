"""Does the form parser see the same form however it arrives, and refuse everything that is off?"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests_toolbelt import MultipartEncoder

from formats.kit.multipart import End, Event, Field, FileData, FileStart, Form, Limits, Parser, boundary_of
from storage.errors import Invalid, Problem, TooLarge, Unsupported
from tests.harness.untimed import untimed

BOUNDARY = b"x--y"
BODY = (
    b'--x--y\r\nContent-Disposition: form-data; name="content"; filename="a b.whl"\r\n'
    b"Content-Type: application/zip\r\n\r\nPK\r\n--x--z\r\n--x-\r\n\r\r\n\r\n--x--y\r\n"
    b'content-disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n--x--y\r\n'
    b'Content-Disposition: form-data; name="empty"\r\n\r\n\r\n--x--y\r\n'
    b"Content-Disposition: form-data; name=\"gpg\"; filename*=utf-8''%C3%A4%22\r\n\r\n\r\n--x--y--\r\n"
)
EXPECTED = [
    FileStart("content", "a b.whl", "application/zip"),
    b"PK\r\n--x--z\r\n--x-\r\n\r\r\n",
    Field(":action", "file_upload"),
    Field("empty", ""),
    FileStart("gpg", 'ä"', "application/octet-stream"),
    End(),
]


def joined(events: list[Event]) -> list[object]:
    """The events with adjoining data put together."""
    out: list[object] = []
    for event in events:
        if not isinstance(event, FileData):
            out.append(event)
        elif out and isinstance(out[-1], bytes):
            out[-1] += bytes(event.data)
        else:
            out.append(bytes(event.data))
    return out


def parse(body: bytes, slices: list[int], boundary: bytes = BOUNDARY, limits: Limits | None = None) -> list[object]:
    parser = Parser(boundary, limits)
    events: list[Event] = []
    at = 0
    for step in [*slices, len(body)]:
        events += parser.feed(memoryview(body)[at : at + step])
        at += step
    parser.finish()
    return joined(events)


@untimed
@given(st.lists(st.integers(0, 40), max_size=60))
def test_any_slicing_gives_the_same_events(slices: list[int]) -> None:
    assert parse(BODY, slices) == EXPECTED


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    assert parse(BODY, [1] * len(BODY)) == EXPECTED


@untimed
@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=40)), max_size=6),
    st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b", b"\r\n--", b"\r\n--b", b"z"]), max_size=40),
    st.lists(st.integers(1, 9), max_size=200),
)
def test_what_a_real_encoder_writes_is_read_back(
    fields: list[tuple[str, str]], pieces: list[bytes], slices: list[int]
) -> None:
    content = b"".join(pieces)
    encoder = MultipartEncoder(
        [*[("f" + str(i), value) for i, (_, value) in enumerate(fields)], ("content", ("n.whl", content, "a/b"))],
        boundary="bb",
    )
    if b"\r\n--bb" in content:
        return
    body = encoder.read()
    events = parse(body, slices, b"bb")
    assert [e.value for e in events if isinstance(e, Field)] == [value for _, value in fields]
    assert b"".join(e for e in events if isinstance(e, bytes)) == content


@untimed
@given(st.binary(max_size=200), st.lists(st.integers(1, 30), max_size=20))
def test_hostile_bytes_raise_problems_only(noise: bytes, slices: list[int]) -> None:
    for body in (noise, b"--x--y\r\n" + noise, BODY[:100] + noise + BODY[100:]):
        with contextlib.suppress(Problem):
            parse(body, slices)


@untimed
@given(st.integers(0, len(BODY) - 3))
def test_a_truncated_form_is_never_whole(cut: int) -> None:
    with pytest.raises(Problem):
        parse(BODY[:cut], [7] * 50)


DISPOSITION = b"Content-Disposition: form-data; name=a"


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + BODY,
        b"\r\n" + BODY,
        BODY + b"x",
        BODY + b"\r\n",
        BODY[:-2] + b"\n",
        BODY.replace(b"--x--y\r\n", b"--x--y \r\n", 1),
        BODY.replace(b"\r\n", b"\n"),
        b"--x--y\r\n\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\nContent-Type: a/b\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\nContent-Disposition: attachment; name=a\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"; name=b\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b'; filename="a\r\n\r\nv\r\n--x--y--',
        b"--x--y\r\n" + DISPOSITION + b" junk\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\n" + DISPOSITION + b"\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\n folded\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\nX : y\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\nX: a\nb\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\nX: a\0b\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\nX: \xff\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"; filename*=utf-8''%ff\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"; filename*=latin-1''a\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"; filename*=utf-8''a%0d%0ab\r\n\r\nv\r\n--x--y--",
        b"--x--y\r\n" + DISPOSITION + b"\r\n\r\n\xff\r\n--x--y--",
    ],
)
def test_what_is_off_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse(body, [])
    with pytest.raises(Invalid):
        parse(body, [1] * len(body))


def test_a_transfer_encoding_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        parse(b"--x--y\r\n" + DISPOSITION + b"\r\nContent-Transfer-Encoding: base64\r\n\r\nv\r\n--x--y--", [])


@pytest.mark.parametrize(
    ("limits", "body"),
    [
        (Limits(field_bytes_max=10), b"--x--y\r\n" + DISPOSITION + b"\r\n\r\n" + b"v" * 11 + b"\r\n--x--y--"),
        (Limits(field_bytes_max=10), b"--x--y\r\n" + DISPOSITION + b"\r\n\r\n" + b"v" * 11),
        (Limits(fields_bytes_max=10), (b"--x--y\r\n" + DISPOSITION + b"\r\n\r\nvvvvvv\r\n") * 2 + b"--x--y--"),
        (Limits(parts_max=2), (b"--x--y\r\n" + DISPOSITION + b"\r\n\r\n\r\n") * 3 + b"--x--y--"),
        (Limits(header_bytes_max=64), b"--x--y\r\n" + b"X" * 65),
        (Limits(header_bytes_max=64), b"--x--y\r\n" + DISPOSITION + b"\r\nX: " + b"y" * 40 + b"\r\n\r\nv\r\n--x--y--"),
        (Limits(), b"--x--y\r\n" + DISPOSITION + b"".join(b"\r\nX%d: y" % i for i in range(16)) + b"\r\n\r\n"),
    ],
)
def test_every_limit_holds(limits: Limits, body: bytes) -> None:
    for slices in ([], [1] * len(body)):
        with pytest.raises(TooLarge):
            parse(body, slices, limits=limits)


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data ; Boundary="a b:c"', b"a b:c"),
        ("multipart/form-data; charset=utf-8; boundary=----X'()", None),
        ("multipart/form-data; charset=utf-8; boundary=----X", b"----X"),
    ],
)
def test_the_boundary_is_found(header: str, boundary: bytes | None) -> None:
    if boundary is None:
        with pytest.raises(Invalid):
            boundary_of(header)
    else:
        assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        'multipart/form-data; boundary="ä"',
        "multipart/form-data; boundary=a; boundary=b",
        f"multipart/form-data; boundary={'a' * 71}",
        'multipart/form-data; boundary="a',
    ],
)
def test_an_unusable_boundary_is_invalid(header: str) -> None:
    with pytest.raises(Invalid):
        boundary_of(header)


def test_another_media_type_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        boundary_of("multipart/mixed; boundary=abc")


def test_the_form_hands_on_its_file_and_drops_the_others() -> None:
    got = bytearray()
    form = Form(BOUNDARY, "content", lambda data: got.extend(data))
    for at in range(0, len(BODY), 5):
        form.feed(BODY[at : at + 5])
    form.finish()
    assert form.fields == {":action": ["file_upload"], "empty": [""]}
    assert (form.found, form.filename, bytes(got)) == (True, "a b.whl", EXPECTED[1])


def test_a_form_may_lack_the_file_but_not_have_two() -> None:
    one = b'--x--y\r\nContent-Disposition: form-data; name="content"; filename="f"\r\n\r\nv\r\n'
    form = Form(BOUNDARY, "other", lambda data: None)
    form.feed(one + b"--x--y--")
    assert not form.found
    with pytest.raises(Invalid):
        Form(BOUNDARY, "content", lambda data: None).feed(one + one + b"--x--y--")
    with pytest.raises(TooLarge):
        Form(BOUNDARY, "other", lambda data: None, others_bytes_max=0).feed(one)
