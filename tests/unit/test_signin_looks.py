"""Can the pages for people be read: by weak eyes, in the dark, and where names are long?"""

import re
from pathlib import Path

import pytest

from gateway.console.signin import style
from gateway.console.signin.style import STYLE

TEMPLATES = Path(style.__file__).parent / "templates"
LEAST = 4.5  # WCAG 2.2, 1.4.3 (AA)


def luminance(color: str) -> float:
    text = color.removeprefix("#")
    text = "".join(2 * char for char in text) if len(text) == 3 else text
    parts = [int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("number", "canvas"), [(1, "#ffffff"), (2, "#121212")])
def test_small_print_stands_out_in_light_and_dark(number: int, canvas: str) -> None:
    found = re.search(r"\.small \{ color: light-dark\((#\w+), (#\w+)\)", STYLE)
    assert found is not None
    assert contrast(found[number], canvas) >= LEAST


def test_long_names_break_instead_of_making_the_page_wide() -> None:
    assert re.search(r"td[^{]*\{[^}]*overflow-wrap: anywhere", STYLE)
    assert "focus-visible" in STYLE


def test_every_page_says_what_it_is_in_a_heading() -> None:
    pages = [one for one in TEMPLATES.glob("*.html") if "{% extends" in one.read_text()]
    assert len(pages) > 10
    assert [one.name for one in pages if "<h1>" not in one.read_text()] == []


def test_on_a_narrow_screen_each_cell_says_what_it_is_of() -> None:
    """The heads of tables are not shown there: a row is a list, and no word is broken for the width of a column."""
    assert re.search(r"@media \(max-width: [0-9]+rem\) \{[^@]*td \{ display: block", STYLE)
    account = (TEMPLATES / "account.html").read_text()
    heads = [one for one in re.findall(r"<th>([^<]*)</th>", account) if one]
    assert re.findall(r'<td data-of="([^"]+)">', account) == heads
