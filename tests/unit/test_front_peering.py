"""For whom may a peer speak? THREATS F5: an edge is nobody else."""

import pytest

from gateway.access.rights.verdicts import ANONYMOUS
from gateway.front.peers.peering import _Asking, may_speak_for
from storage.nouns import Edge

SHIELD, EDGE = Edge("gate", "asia", ("*",), parent=True), Edge("tokyo", "asia", ("*",))
FAR, PLAIN = Edge("paris", "europe", ("*",)), Edge("osaka", "asia", ("*",))


@pytest.mark.parametrize(
    ("between", "behind", "marks", "lines"),
    [
        (SHIELD, EDGE, True, True),
        (SHIELD, FAR, False, False),
        (SHIELD, None, False, True),
        (PLAIN, EDGE, False, False),
        (PLAIN, None, False, False),
        (None, EDGE, False, False),
    ],
)
def test_f5_a_shield_speaks_for_its_region_and_an_edge_for_itself(
    between: Edge | None, behind: Edge | None, marks: bool, lines: bool
) -> None:
    asking = _Asking(ANONYMOUS, None, between.name if between is not None else "gone")
    assert may_speak_for(asking, between, behind, nameless=False) is marks
    assert may_speak_for(asking, between, behind, nameless=True) is lines


def test_f5_a_token_for_some_workspaces_speaks_for_no_other_node() -> None:
    assert not may_speak_for(_Asking(ANONYMOUS, frozenset(["acme"])), None, EDGE, nameless=True)
    assert may_speak_for(_Asking(ANONYMOUS, None), None, EDGE, nameless=True)
