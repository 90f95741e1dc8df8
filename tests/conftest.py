"""In which order do the files run, and how many at a time?

The longest first, so that no worker has one of them left while the others have nothing to do. A file is one piece of
work (`--dist loadfile`), and pytest-xdist would hand out first those with the most tests, which are the quickest ones:
the tests with nodes of their own are few to a file.
"""

import os

import pytest

LONGEST = (
    "tests/native/test_regions_sample.py",
    "tests/native/test_enrolment_lasts.py",
    "tests/native/test_topology.py",
    "tests/native/test_replication.py",
    "tests/native/test_readme_transcript.py",
    "tests/native/test_workspace_life.py",
    "tests/native/test_put_back.py",
    "tests/native/test_jvm_clients.py",
    "tests/native/test_hostile_packages.py",
    "tests/native/test_maven_upstream.py",
    "tests/native/test_front_attacks.py",
    "tests/native/test_foreign_regions.py",
    "tests/native/test_api_fuzz.py",
    "tests/native/test_sign_in_saml.py",
    "tests/native/test_oci_clients.py",
    "tests/native/test_oci_upstream_clients.py",
    "tests/native/test_oci_upstream_manners.py",
    "tests/native/test_oci_upstream.py",
    "tests/native/test_maven.py",
    "tests/native/test_maven_parallel.py",
    "tests/native/test_apt_upstream.py",
    "tests/native/test_apt.py",
    "tests/native/test_npm_clients.py",
    "tests/native/test_poisoned.py",
    "tests/native/test_leases.py",
    "tests/native/test_shields.py",
    "tests/native/test_traces_collected.py",
    "tests/native/test_traces.py",
    "tests/native/test_pulls.py",
    "tests/native/test_entitlements.py",
    "tests/native/test_pieces.py",
    "tests/native/test_grants.py",
    "tests/faults/test_stopped_and_killed.py",
    "tests/faults/test_crash_composing.py",
    "tests/faults/test_crash_commits.py",
    "tests/faults/test_crash_sweep.py",
    "tests/faults/test_full_edge.py",
    "tests/faults/test_clocks.py",
    "tests/model/test_journal_delivery.py",
    "tests/unit/test_api_matrix.py",
    "tests/house/test_tidy.py",
)
"""Files that take more than some ten seconds, the longest first. One that is missing here is run later than would be
best, and nothing else."""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` stands for: three for two cores, since a test waits a fifth of its time for a disk, a client, or
    the end of what it set. PYTEST_XDIST_AUTO_NUM_WORKERS is heard as ever."""
    told = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", "")
    cores = len(os.sched_getaffinity(0))
    return int(told) if told.isdecimal() else cores + (cores + 1) // 2
