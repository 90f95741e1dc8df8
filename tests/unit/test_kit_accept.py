"""Does content negotiation follow RFC 9110, and what the Python tools send?"""

import pytest

from formats.kit.accept import choose

JSON = "application/vnd.pypi.simple.v1+json"
HTML1 = "application/vnd.pypi.simple.v1+html"
HTML = "text/html"
OFFERED = (JSON, HTML1, HTML)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, HTML),
        ("", HTML),
        ("*/*", HTML),
        ("*/*;q=0.1", HTML),
        (JSON, JSON),
        (JSON.upper(), JSON),
        ("text/html", HTML),
        (f"{JSON}, {HTML1}; q=0.1, text/html; q=0.01", JSON),
        (f"{JSON}, {HTML1};q=0.2, {HTML};q=0.01", JSON),
        (f"{JSON};q=0.1, {HTML1};q=0.2", HTML1),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        (f"{JSON}, text/html", JSON),
        ("text/*", HTML),
        (f"text/html;q=0, {JSON};q=0.5", JSON),
        ("text/html;q=0, */*", JSON),
        (f"{JSON};q=0, */*;q=0.4, text/html;q=0.3", HTML1),
        ("application/json", None),
        ("text/html;q=0", None),
        ("text/html;q=2", None),
        ("text/html;q=-1", None),
        ("text/html;q=nan", None),
        ("*/html", None),
        ("nonsense", None),
        (",,,;;;===", None),
        (f"text/html;level=1;q=0.4, {JSON};q=0.3", HTML),
    ],
)
def test_the_best_offer_wins(header: str | None, expected: str | None) -> None:
    assert choose(header, OFFERED, HTML) == expected


def test_a_flood_of_ranges_is_cut_off() -> None:
    flood = ",".join(f"a/b{i}" for i in range(100_000))
    assert choose(flood + ",text/html", OFFERED, HTML) is None
