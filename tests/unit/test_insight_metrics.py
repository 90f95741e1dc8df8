"""Do the counters say what was answered, for all workers, whichever is asked?"""

import json
import os
from pathlib import Path

import pytest
import trio

from gateway.insight.metrics import KEYS_MAX, Metrics
from tests.harness.loops import started


def values(text: str) -> dict[str, float]:
    assert text.endswith("\n")
    series = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in series}


async def test_answers_are_counted_by_kind(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for _ in range(3):
        await client.get("/small")
    await client.get("/small", method="HEAD")
    await client.get("/large", "Range: bytes=0-9")
    await client.get("/slow")
    await client.get("/../x")
    told = values(loop.metrics.render())
    kind = 'entrepot_%s_total{worker="0",method="%s",status="%s",outcome="%s"}'
    assert told[kind % ("requests", "GET", "200", "HIT")] == 3
    assert told[kind % ("response_bytes", "GET", "200", "HIT")] == 15
    assert told[kind % ("requests", "HEAD", "200", "HIT")] == 1
    assert told[kind % ("response_bytes", "GET", "206", "")] == 10
    assert told[kind % ("requests", "GET", "200", "")] == 1
    assert told[kind % ("requests", "-", "400", "REFUSED")] == 1
    assert told['entrepot_request_seconds_count{worker="0"}'] == 1
    assert told['entrepot_request_seconds_bucket{worker="0",le="+Inf"}'] == 1


def test_any_worker_tells_for_all(tmp_path: Path) -> None:
    workers = [Metrics(tmp_path, number) for number in range(3)]
    for number, metrics in enumerate(workers):
        for _ in range(number + 1):
            metrics.count(("GET", "200", "HIT"), 10)
        metrics.connections = number
        metrics.publish()
    for metrics in workers:
        told = values(metrics.render())
        for number in range(3):
            labels = f'{{worker="{number}",method="GET",status="200",outcome="HIT"}}'
            assert told[f"entrepot_requests_total{labels}"] == number + 1
            assert told[f'entrepot_connections{{worker="{number}"}}'] == number


def test_remains_of_workers_that_are_gone_and_torn_files_are_left_out(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    gone = Metrics(tmp_path, 7)
    gone.count(("GET", "200", "HIT"), 1)
    gone.publish()
    told = json.loads((tmp_path / "7.json").read_text())
    (tmp_path / "7.json").write_text(json.dumps(told | {"pid": 2**22 + 1}))
    (tmp_path / "8.json").write_text('{"pid"')
    (tmp_path / "9.json").write_text(json.dumps({"pid": os.getpid(), "requests": "x"})[:-1])
    text = metrics.render()
    assert 'worker="0"' in text
    assert 'worker="7"' not in text
    assert 'worker="8"' not in text


def test_the_histogram_is_cumulative(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for seconds in (0.0001, 0.001, 0.3, 99.0):
        metrics.time(seconds)
    told = values(metrics.render())
    buckets = [
        told[f'entrepot_request_seconds_bucket{{worker="0",le="{limit}"}}'] for limit in ("0.001", "0.5", "30.0")
    ]
    assert buckets == [2, 3, 3]
    assert told['entrepot_request_seconds_count{worker="0"}'] == 4


def test_the_number_of_series_is_bounded(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for number in range(KEYS_MAX * 2):
        metrics.count(("GET", "200", str(number)), 1)
    assert len(values(metrics.render())) < KEYS_MAX * 2 + 50
    assert 'outcome="OTHER"' in metrics.render()


def test_a_full_disk_loses_an_update_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(tmp_path, 0)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Path, "write_text", full)
    metrics.count(("GET", "200", "HIT"), 1)
    metrics.publish()
    assert 'outcome="HIT"' in metrics.render()
