"""Are Debian's versions in the order that dpkg has them in, and is it known which come ahead of a release?"""

import subprocess
from itertools import product

import pytest

from formats.deb.names import in_order, is_ahead
from storage.errors import Invalid
from tests.harness.clients import program

VERSIONS = (
    "1", "1.0", "1.00", "1.0-0", "1.0-1", "1.0~rc1-1", "1.0~~-1", "1.0-1~bpo12+1", "1.0-1+b1", "1.0a", "1.0+b", "1.0.1",
    "1:0.5", "0:1.0", "2~", "9", "10", "1.0-1-2", "1.0A",
)  # fmt: skip


def test_the_order_is_that_of_dpkg() -> None:
    dpkg = program("dpkg")
    for one, other in product(VERSIONS, repeat=2):
        left, right = in_order(one), in_order(other)
        said = "lt" if left < right else "gt" if left > right else "eq"
        done = subprocess.run([dpkg, "--compare-versions", one, said, other], check=False)
        assert done.returncode == 0, (one, said, other)


def test_a_tilde_ahead_of_the_revision_is_what_comes_ahead_of_a_release() -> None:
    assert [one for one in VERSIONS if is_ahead(one)] == ["1.0~rc1-1", "1.0~~-1", "2~"]


@pytest.mark.parametrize("wrong", ["", "_", "1 0", "x:1", "-1", "1_0"])
def test_what_is_no_version_has_no_place(wrong: str) -> None:
    with pytest.raises(Invalid):
        in_order(wrong)
