"""How many requests, of which kind, how many bytes? Counted in each worker, told for all of them by any.

Each worker writes its counters to a small file once a second; rendering sums the files. The loop's own cost is one
dictionary update an answer.
"""

import json
import os
from collections import Counter
from pathlib import Path

BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
Key = tuple[str, str, str]


class Metrics:
    """Counters of one worker of a node; `directory` is shared by its workers."""

    def __init__(self, directory: Path, worker: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._path = directory / f"{worker}.json"
        self.requests: Counter[Key] = Counter()
        self.bytes: Counter[Key] = Counter()
        self.seconds: Counter[str] = Counter()
        self.seconds_sum = 0.0
        self.connections = 0

    def count(self, key: Key, size: int) -> None:
        """One answer: key = (method, status, outcome)."""
        self.requests[key] += 1
        self.bytes[key] += size

    def time(self, seconds: float) -> None:
        """How long a request task took."""
        self.seconds_sum += seconds
        self.seconds[next((str(limit) for limit in BUCKETS_S if seconds <= limit), "+Inf")] += 1

    def publish(self) -> None:
        """Let the other workers see these counters."""
        told = {
            "requests": [[*key, count, self.bytes[key]] for key, count in self.requests.items()],
            "seconds": dict(self.seconds),
            "seconds_sum": self.seconds_sum,
            "connections": self.connections,
        }
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        os.replace(fresh, self._path)

    def render(self) -> str:
        """Prometheus text (version 0.0.4) over all workers."""
        self.publish()
        requests: Counter[Key] = Counter()
        sizes: Counter[Key] = Counter()
        seconds: Counter[str] = Counter()
        seconds_sum, connections = 0.0, 0
        for path in sorted(self._directory.glob("*.json")):
            told = json.loads(path.read_text())
            for method, status, outcome, count, size in told["requests"]:
                requests[method, status, outcome] += count
                sizes[method, status, outcome] += size
            seconds.update(told["seconds"])
            seconds_sum += told["seconds_sum"]
            connections += told["connections"]
        return "\n".join(_lines(requests, sizes, seconds, seconds_sum, connections)) + "\n"


def _lines(
    requests: Counter[Key], sizes: Counter[Key], seconds: Counter[str], seconds_sum: float, connections: int
) -> list[str]:
    lines = ["# TYPE entrepot_requests_total counter"]
    lines += [f"entrepot_requests_total{_labels(key)} {count}" for key, count in sorted(requests.items())]
    lines.append("# TYPE entrepot_response_bytes_total counter")
    lines += [f"entrepot_response_bytes_total{_labels(key)} {count}" for key, count in sorted(sizes.items())]
    lines.append("# TYPE entrepot_request_seconds histogram")
    total = 0
    for limit in (*map(str, BUCKETS_S), "+Inf"):
        total += seconds[limit]
        lines.append(f'entrepot_request_seconds_bucket{{le="{limit}"}} {total}')
    lines += [f"entrepot_request_seconds_sum {seconds_sum}", f"entrepot_request_seconds_count {total}"]
    lines += ["# TYPE entrepot_connections gauge", f"entrepot_connections {connections}"]
    return lines


def _labels(key: Key) -> str:
    method, status, outcome = key
    return f'{{method="{method}",status="{status}",outcome="{outcome}"}}'
