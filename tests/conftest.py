"""In which order do the files run? The longest first, so that no worker has one of them left while the others are idle.

A file is one piece of work (`--dist loadfile`), and pytest-xdist would hand out first those with the most tests, which
are the quickest ones. Where no file takes long any more, the order of the folders is kept.
"""

import pytest

LONGEST: tuple[str, ...] = ()
"""Files that take more than about ten seconds, the longest first. A file that is not named here costs a little time
where it is one of these, and nothing else."""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))
