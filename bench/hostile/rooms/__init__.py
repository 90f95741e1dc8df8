"""Which corpora are there? One module for each room, found by its name: a new one needs no line here."""

import importlib
from pathlib import Path

from bench.hostile.corpus import Corpus


def corpora() -> dict[str, Corpus]:
    """All corpora by their room."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    found = [importlib.import_module(f"{__name__}.{name}").CORPUS for name in names]
    return {corpus.room: corpus for corpus in found}
