"""Is every shape of head answered as declared, in the declared state of the socket, on both ways through the loop?

Each shape is sent with another request pipelined right behind it. Where the connection is declared closed, that request
must never have been seen by anyone; where it is kept, it must be answered in its turn. The table is that of all doors,
tests/harness/shapes.py.
"""

from pathlib import Path

import pytest
import trio

from tests.harness.loops import started
from tests.harness.shapes import OWN, SHAPES, Shape

BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("path", ["/small", "/slow"], ids=["hot", "task"])
@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
async def test_each_shape_gets_its_answer_and_leaves_the_socket_as_declared(
    nursery: trio.Nursery, tmp_path: Path, path: str, shape: Shape
) -> None:
    loop = await started(nursery, tmp_path)
    for _ in range(2):  # the second time from memory, where there is one
        client = await loop.client()
        loop.fake.seen.clear()
        await client.send(shape.head.replace("{line}", f"GET {path}").encode("latin-1") + shape.body + BEHIND)
        got = await client.response()
        assert got.status == (200 if shape.status == OWN else shape.status)
        if shape.state == "kept":
            assert (await client.response()).status == 200
            assert loop.fake.seen.count("/smuggled") == 1
            assert got.headers.get("connection", "keep-alive") == "keep-alive"
        else:
            assert await client.rest() == b""
            assert "/smuggled" not in loop.fake.seen
            assert got.headers["connection"] == "close"
        await client.stream.aclose()


@pytest.mark.parametrize("shape", SHAPES[:40], ids=[shape.name for shape in SHAPES[:40]])
async def test_a_head_that_comes_byte_by_byte_is_the_same_head(
    nursery: trio.Nursery, tmp_path: Path, shape: Shape
) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    data = shape.head.replace("{line}", "GET /small").encode("latin-1") + shape.body
    with trio.move_on_after(5):
        try:
            for n in range(min(len(data), 400)):
                await client.stream.send_all(data[n : n + 1])
        except trio.BrokenResourceError:
            pass  # refused before the end, as it may be
    assert (await client.response()).status == (200 if shape.status == OWN else shape.status)
