"""What can a run of the bench be told?"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

from bench.numbers import bytes_of

DEFAULTS: dict[str, dict[str, int]] = {
    "regions": {"big_bytes": 100 << 20},
    "logs": {"count": 100},
    "growth": {"count": 1_000},
    "deleting": {"count": 100},
}
SCENARIOS = sorted(one.name for one in iter_modules([str(Path(__file__).with_name("scenarios"))]))


@dataclass(frozen=True, slots=True)
class Options:
    """One run, everything bounded. `only` measures one side alone; `home` is where servers keep their data."""

    scenario: str
    home: Path
    quick: bool = False
    only: str = ""
    rounds: int = 5
    seconds: float = 3.0
    big_bytes: int = 1 << 30
    at: str = "edge"
    cases: str = ""
    count: int = 200
    share_bytes: int = 0
    mutants: int = 10_000
    keep: Path | None = None
    operations: int = 10_000
    json: Path | None = None
    png: Path | None = None
    here: bool = False
    nginx_log: bool = False
    logs: tuple[Path, ...] | list[Path] = ()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench", description="Measures a node, beside others in the same run."
    )
    made.add_argument("scenario", choices=SCENARIOS, help="each says in its first line what it asks")
    made.add_argument(
        "--quick", action="store_true", help="a smoke test: one short round, small bodies; no figures to quote"
    )
    made.add_argument("--only", choices=["entrepot", "nginx"], default="", help="measure one side alone")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    made.add_argument("--big-bytes", type=bytes_of, default=1 << 30, help="the largest body, for example 256M")
    made.add_argument("--at", choices=["edge", "origin"], default="edge", help="which of the two is asked")
    made.add_argument("--cases", default="", help="only cases whose name contains this")
    made.add_argument(
        "--count",
        type=int,
        default=200,
        help="of publishes (replicate), kills (crash), clients (regions), thousands of requests (eviction) or "
        "packages (growth, deleting), millions of rows (logs)",
    )
    made.add_argument(
        "--share-bytes",
        type=bytes_of,
        default=0,
        help="what each client of the crowd reads before it leaves, but the one an edge that reads all and checks the "
        "digest; 0 = all, as far as that is sensible (regions)",
    )
    made.add_argument("--mutants", type=int, default=10_000, help="damaged packages for each room (hostile)")
    made.add_argument("--keep", type=Path, help="what was prepared stays there for the next run (deb, growth, logs)")
    made.add_argument("--operations", type=int, default=10_000, help="of all kinds together (revoke)")
    made.add_argument("--json", type=Path, help="write all rounds there")
    made.add_argument("--png", type=Path, help="draw the ratios there")
    made.add_argument("--here", action="store_true", help="stay on the machine's own loopback")
    made.add_argument(
        "--log", dest="logs", type=Path, nargs="+", default=[], help="access logs of a node to go by (eviction)"
    )
    made.add_argument("--nginx-log", action="store_true", help="nginx writes an access log too (delivery)")
    return made


def options(home: Path, arguments: list[str] | None = None) -> Options:
    """Of a command line; `--quick` shrinks what was not given."""
    made = parser()
    made.set_defaults(**DEFAULTS.get(made.parse_args(arguments).scenario, {}))
    told = made.parse_args(arguments)
    given = Options(home=home, **vars(told))
    if not given.quick:
        return given
    shrunk = ["--rounds", "1", "--seconds", "1", "--big-bytes", "16M", "--count", "10", "--mutants", "200"]
    shrunk += ["--operations", "60"]
    small = parser().parse_args([*shrunk, *(arguments or [])])
    return Options(home=home, **vars(small))
