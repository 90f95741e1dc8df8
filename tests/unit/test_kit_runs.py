"""Are the runs after any changes those of the set of names alone?"""

from hypothesis import given
from hypothesis import strategies as st

from formats.kit import runs
from formats.kit.runs import Fragments, changed, cut, is_cut, spans
from tests.harness.untimed import untimed

CUTS = [name for number in range(2000) if is_cut(name := f"n{number}")]
PLAIN = [f"p{number}" for number in range(40) if not is_cut(f"p{number}")] + ["a", "zz"]
NAMES = st.sampled_from(CUTS[:12] + PLAIN[:14] + PLAIN[-2:])
CHANGES = st.dictionaries(NAMES, st.one_of(st.none(), st.binary(min_size=1, max_size=3)), max_size=12)


def update(now: list[Fragments], changes: dict[str, bytes | None]) -> tuple[list[Fragments], int]:
    """As the assembly does it: only the spans are looked into. Also how many runs were."""
    looked = 0
    result, at = [], 0
    for start, stop, inside in spans([run[0][0] for run in now], changes):
        assert start >= at
        result += now[at:start]
        joined = [fragment for run in now[start:stop] for fragment in run]
        looked += stop - start
        result += cut(changed(joined, inside))
        at = stop
    return result + now[at:], looked


@given(st.lists(CHANGES, max_size=8))
@untimed
def test_runs_follow_from_the_names_alone(steps: list[dict[str, bytes | None]]) -> None:
    now: list[Fragments] = []
    whole: dict[str, bytes] = {}
    for changes in steps:
        now, _ = update(now, changes)
        for name, data in changes.items():
            if data is None:
                whole.pop(name, None)
            else:
                whole[name] = data
        assert now == list(cut(sorted(whole.items())))


def test_one_change_looks_into_one_run() -> None:
    names = sorted(f"pkg-{number}" for number in range(5000))
    now = list(cut((name, b"x") for name in names))
    assert 40 < len(now) < 140
    assert update(now, {"pkg-2500": b"y"})[1] == 1
    assert update(now, {"pkg-2500a": b"y"})[1] == 1
    assert update(now, {now[7][0][0]: None})[1] == 2
    assert runs.RUN_NAMES == 64, "kept documents are cut so"
