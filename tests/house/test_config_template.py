"""Is docs/config.toml, taken at its word, exactly the program's defaults?"""

import re
import tomllib
from pathlib import Path

import msgspec

from gateway.config import Node

TEMPLATE = Path(__file__).resolve().parents[2] / "docs" / "config.toml"
SETTING = re.compile(r"^#(?=[a-z_]+ = )")


def uncommented(text: str) -> str:
    return "\n".join(SETTING.sub("", line) for line in text.splitlines())


def test_template_uncommented_equals_the_defaults() -> None:
    stated = tomllib.loads(uncommented(TEMPLATE.read_text()))
    assert stated == msgspec.json.decode(msgspec.json.encode(Node()))


def test_template_as_it_stands_changes_nothing() -> None:
    assert msgspec.convert(tomllib.loads(TEMPLATE.read_text()), Node) == Node()


def test_every_setting_is_explained() -> None:
    """Each setting stands under prose, or directly under another setting that does."""
    above = ""
    for line in TEMPLATE.read_text().splitlines():
        if SETTING.match(line):
            assert above.startswith("#"), f"no explanation above: {line}"
        above = line
