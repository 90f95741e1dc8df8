"""The node that real clients talk to: one origin and one edge for all tests of this folder, two workers each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.running import Up


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(Path(tmp_path_factory.mktemp("node")) / "data", workers=2) as up:
        yield up
        text = up.log.read_text()
    assert '"level":"error"' not in text, text[-4000:]
    assert up.token not in text
